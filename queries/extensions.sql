-- title = "Extensions"
-- pool = "oltp"
-- interval = "10s"
-- about = """
-- Whether pg_stat_statements is here, and where. Apart from the facts: whoever locks pg_extension holds up
-- only what rests on an extension. Cost: 0.1 ms.
-- """
--
-- [columns.pgss_version]
-- title = "pg_stat_statements"
-- help = "Version of the extension in this database; none where it is not installed."
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
