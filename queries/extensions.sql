-- title = "Extensions"
-- pool = "oltp"
-- interval = "2s"
-- internal = true
-- sampling = { first = true, at_connect = true }
-- about = """
-- Version and schema of pg_stat_statements, if it is installed. Kept apart from the facts, so that a lock on
-- pg_extension delays only what depends on an extension. Read every 2 s, so that CREATE EXTENSION is noticed within two
-- samples. Cost: 0.1 ms.
-- """
--
-- [columns.pgss_version]
-- title = "pg_stat_statements"
-- help = "Version of the extension in this database; none if it is not installed."
-- [columns.pgss_schema]
-- title = "its schema"
-- help = "Schema it is installed in."

SELECT e.extversion AS pgss_version,
       e.nspname AS pgss_schema
FROM (SELECT) AS one
LEFT JOIN (
    SELECT x.extversion, n.nspname::pg_catalog.text AS nspname
    FROM pg_catalog.pg_extension AS x
    JOIN pg_catalog.pg_namespace AS n ON n.oid = x.extnamespace
    WHERE x.extname = 'pg_stat_statements'
) AS e ON true
