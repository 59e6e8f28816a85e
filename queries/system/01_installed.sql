-- What was installed, so that it can be completed, upgraded and removed.
CREATE SCHEMA IF NOT EXISTS htap AUTHORIZATION htap_owner;
CREATE SCHEMA IF NOT EXISTS shop AUTHORIZATION htap_owner;
CREATE SCHEMA IF NOT EXISTS mart AUTHORIZATION htap_owner;
-- From here to the end of 11_rights.sql.
SET LOCAL ROLE htap_owner;
COMMENT ON SCHEMA htap IS 'htap-top: control of refreshes and partitions';

CREATE TABLE IF NOT EXISTS htap.schema_version (
    version      integer PRIMARY KEY,
    program      text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);

-- What is ours, named as pg_identify_object() does, because numbers change with a dump. What else lies in
-- our schemas is somebody else's. Kind 'partition' stands for a table and all its parts.
CREATE TABLE IF NOT EXISTS htap.object (
    kind     text NOT NULL,
    identity text NOT NULL,
    PRIMARY KEY (kind, identity)
);
