-- title = "pg_stat_statements: loaded, created in this database, of the server's own version"
-- order = 40
-- about = """
-- Without it the mean time per class of work is missing. After pg_upgrade the extension keeps its old version and
-- lacks columns. A throw-away server may lack it.
-- Cost: 2 ms; pg_available_extensions reads the files of all extensions.
-- Blind spot: shared_preload_libraries is shown only to pg_read_all_settings (pg_monitor has it).
-- """

WITH here AS MATERIALIZED (
    SELECT pg_catalog.current_database()::pg_catalog.text AS database,
           (SELECT g.setting FROM pg_catalog.pg_settings AS g WHERE g.name = 'shared_preload_libraries') AS libraries,
           coalesce(pg_catalog.current_setting('htap_top.throw_away', true) = 'on', false) AS throw_away,
           -- it counts whatever anybody runs, and it is there only where the library is loaded
           pg_catalog.current_setting('pg_stat_statements.max', true) IS NOT NULL AS settings_there,
           a.default_version, x.extversion, n.nspname
    FROM (SELECT 'pg_stat_statements'::pg_catalog.name AS name) AS wanted
    LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = wanted.name
    LEFT JOIN pg_catalog.pg_extension AS x ON x.extname = wanted.name
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = x.extnamespace
),
-- what one library more is to be appended to
loaded AS MATERIALIZED (
    SELECT here.*,
           CASE WHEN here.libraries IS NULL AND here.settings_there THEN true
                ELSE here.libraries ~ '(^|[ ,/"])pg_stat_statements([ ,"]|$)' END AS is_loaded
    FROM here
)
SELECT CASE WHEN l.throw_away THEN 'info' ELSE f.severity END AS severity,
       'pg_stat_statements' AS subject,
       f.evidence,
       f.cure
FROM loaded AS l
CROSS JOIN LATERAL (
    SELECT 'warning' AS severity,
           'the extension is not installed on this server: mean times per class of work are missing' AS evidence,
           'install the contrib package of the server (Debian: part of postgresql-' || v.major
           || ', Red Hat: postgresql-contrib)' AS cure
    FROM (SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000 AS major) AS v
    WHERE l.default_version IS NULL
    UNION ALL
    SELECT 'warning',
           'it is not in shared_preload_libraries: nothing counts statements, and mean times per class of work are missing',
           pg_catalog.format('ALTER SYSTEM SET shared_preload_libraries = %s; restart the server; CREATE EXTENSION IF NOT EXISTS pg_stat_statements',
               -- a list is not one quoted text
               (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(pg_catalog.btrim(e.entry, ' "')), ', ' ORDER BY e.place)
                FROM pg_catalog.unnest(pg_catalog.string_to_array(
                         pg_catalog.concat_ws(',', nullif(l.libraries, ''), 'pg_stat_statements'), ','))
                     WITH ORDINALITY AS e (entry, place)))
    WHERE l.default_version IS NOT NULL AND NOT l.is_loaded
    UNION ALL
    SELECT 'unknown',
           'needs pg_read_all_settings to see whether pg_stat_statements is loaded: '
           || pg_catalog.format('GRANT pg_monitor TO %I', current_user), ''
    WHERE l.default_version IS NOT NULL AND l.is_loaded IS NULL
    UNION ALL
    SELECT 'warning',
           'not created in database ' || l.database || ': mean times per class of work are missing',
           'CREATE EXTENSION pg_stat_statements'
    WHERE l.default_version IS NOT NULL AND l.extversion IS NULL AND l.is_loaded IS NOT FALSE
    UNION ALL
    SELECT 'info',
           'has version ' || l.extversion || ' here, but the server comes with ' || l.default_version
           || ': an upgrade of the server did not update it',
           'ALTER EXTENSION pg_stat_statements UPDATE'
    WHERE l.extversion <> l.default_version
    UNION ALL
    SELECT 'info',
           'is in schema ' || l.nspname || ', which our role may not use',
           pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', l.nspname, current_user)
    WHERE l.nspname IS NOT NULL AND NOT pg_catalog.has_schema_privilege(l.nspname::pg_catalog.text, 'USAGE')
) AS f
