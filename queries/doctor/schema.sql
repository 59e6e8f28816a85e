-- title = "the shop's schema: installed, of this version, its roles with their limits"
-- order = 60
-- about = """
-- The business panels, summaries and experiments work on what htap-top init creates. The dashboard watches any
-- database without it, so its absence is only a note.
-- Cost: 1 ms. Blind spot: missing objects within the schemas; htap-top init creates what is missing.
-- """
-- may_read = ["htap.schema_version"]

WITH here AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS there,
           coalesce(pg_catalog.bool_or(n.nspname = 'htap'), false) AS has_htap,
           pg_catalog.count(*) FILTER (WHERE pg_catalog.obj_description(n.oid, 'pg_namespace') LIKE 'htap-top:%') AS ours,
           pg_catalog.string_agg(n.nspname, ', ' ORDER BY n.nspname)
               FILTER (WHERE coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace') NOT LIKE 'htap-top:%', true)) AS foreign_ones
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('shop', 'mart', 'htap')
),
known AS MATERIALIZED (
    SELECT c.oid,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'htap' AND c.relname = 'schema_version'
),
version AS MATERIALIZED (
    -- as text within: a direct name would have to exist
    SELECT substring(pg_catalog.query_to_xml('SELECT max(version) AS version FROM htap.schema_version', false, true, '')::pg_catalog.text
                     FROM '>([0-9]+)<')::pg_catalog.int8 AS number
    FROM known
    WHERE known.readable
),
limits (role, name) AS (
    VALUES ('htap_oltp', 'statement_timeout'), ('htap_oltp', 'lock_timeout'),
           ('htap_oltp', 'idle_in_transaction_session_timeout'),
           ('htap_olap', 'default_transaction_read_only'), ('htap_olap', 'statement_timeout'),
           ('htap_olap', 'idle_in_transaction_session_timeout'),
           ('htap_refresh', 'idle_in_transaction_session_timeout'), ('htap_monitor', 'statement_timeout')
)
SELECT 'info' AS severity, 'shop' AS subject,
       'the shop is not installed here: the business panels stay empty, all others work' AS evidence,
       'htap-top init -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) AS cure
FROM here
WHERE here.ours = 0
UNION ALL
SELECT 'warning', here.foreign_ones,
       'has a name that the shop needs but was not created by htap-top (its comment is missing): htap-top init will refuse',
       'rename it, or install the shop into another database'
FROM here
WHERE here.ours > 0 AND here.foreign_ones IS NOT NULL
UNION ALL
SELECT 'warning', 'htap.schema_version',
       CASE WHEN version.number IS NULL THEN 'contains no version: the installation is incomplete'
            ELSE 'the schema has version ' || version.number || ', this program''s is {schema_version}' END,
       CASE WHEN version.number > {schema_version} THEN 'use the newer htap-top'
            ELSE 'htap-top init -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) END
FROM version
WHERE version.number IS DISTINCT FROM {schema_version}
UNION ALL
SELECT 'warning', 'htap.schema_version',
       'schemas of htap-top exist, but not this table: an old or incomplete installation',
       'htap-top init -d ' || pg_catalog.quote_ident(pg_catalog.current_database())
FROM here
WHERE here.ours > 0 AND NOT EXISTS (SELECT FROM known)
UNION ALL
SELECT 'unknown', 'htap.schema_version',
       'its version needs '
       || pg_catalog.format('GRANT USAGE ON SCHEMA htap TO %1$I; GRANT SELECT ON htap.schema_version TO %1$I', current_user), ''
FROM known
WHERE NOT known.readable
UNION ALL
SELECT 'warning', l.role,
       'a role of the shop without ' || pg_catalog.string_agg(l.name, ', ' ORDER BY l.name)
       || ': its limits keep one kind of work from stopping the other',
       pg_catalog.string_agg(
           pg_catalog.format('ALTER ROLE %I SET %s = ', l.role, l.name)
           || CASE WHEN l.name = 'default_transaction_read_only' THEN 'on'
                   WHEN l.name = 'lock_timeout' THEN '''1s'''
                   WHEN l.name = 'idle_in_transaction_session_timeout' THEN
                       CASE l.role WHEN 'htap_oltp' THEN '''10s''' ELSE '''5min''' END
                   WHEN l.role = 'htap_oltp' THEN '''5s'''
                   WHEN l.role = 'htap_monitor' THEN '''30s'''
                   ELSE '''60s''' END, '; ' ORDER BY l.name)
FROM limits AS l
JOIN pg_catalog.pg_roles AS r ON r.rolname = l.role
CROSS JOIN here
WHERE here.ours > 0
  AND NOT EXISTS (
      SELECT
      FROM pg_catalog.pg_db_role_setting AS s
      CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (assignment)
      WHERE s.setrole = r.oid AND pg_catalog.split_part(c.assignment, '=', 1) = l.name
        AND substring(c.assignment FROM '=(.*)$') !~ '^(0+ *[a-z]*|off|false|no)$')
GROUP BY l.role
UNION ALL
SELECT 'warning', w.role,
       'a role of the shop is missing: a restore into another cluster leaves roles out',
       'htap-top init -d ' || pg_catalog.quote_ident(pg_catalog.current_database())
FROM here
CROSS JOIN (VALUES ('htap_oltp'), ('htap_olap'), ('htap_refresh'), ('htap_monitor')) AS w (role)
WHERE here.ours > 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = w.role)
