-- title = "autovacuum: off for all or for a table, or too rare for a large table with many updates"
-- order = 100
-- about = """
-- With a scale factor of 0.2 a table of a million rows keeps 200,000 dead rows before autovacuum comes. Finds
-- tables of a million rows or more whose updates and deletes amount to a tenth of their rows.
-- Cost: 3 ms for 1,000 tables. Blind spot: how fast the counters grew; they count from their last reset.
-- """

WITH server AS MATERIALIZED (
    SELECT pg_catalog.current_setting('autovacuum')::pg_catalog.bool AS on_at_all,
           pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::pg_catalog.float8 AS scale_factor,
           pg_catalog.current_setting('autovacuum_vacuum_threshold')::pg_catalog.float8 AS threshold,
           -- from 18 on; -1 switches it off
           nullif(pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true), '-1')::pg_catalog.float8 AS most
),
tables AS MATERIALIZED (
    SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relkind,
           greatest(c.reltuples, 0)::pg_catalog.int8 AS rows,
           coalesce(o.enabled, true) AS enabled,
           coalesce(o.scale_factor, server.scale_factor) AS scale_factor,
           coalesce(o.threshold, server.threshold) AS threshold,
           coalesce(nullif(o.most, -1), CASE WHEN o.most IS NULL THEN server.most END) AS most
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN server
    CROSS JOIN LATERAL (
        SELECT pg_catalog.bool_and(x.option_value::pg_catalog.bool) FILTER (WHERE x.option_name = 'autovacuum_enabled') AS enabled,
               pg_catalog.max(CASE x.option_name WHEN 'autovacuum_vacuum_scale_factor' THEN x.option_value::pg_catalog.float8 END)
                   AS scale_factor,
               pg_catalog.max(CASE x.option_name WHEN 'autovacuum_vacuum_threshold' THEN x.option_value::pg_catalog.float8 END)
                   AS threshold,
               pg_catalog.max(CASE x.option_name WHEN 'autovacuum_vacuum_max_threshold' THEN x.option_value::pg_catalog.float8 END)
                   AS most
        FROM (SELECT p.option_name,
                     CASE WHEN p.option_name LIKE 'autovacuum%' THEN p.option_value END AS option_value
              FROM pg_catalog.pg_options_to_table(c.reloptions) AS p) AS x
    ) AS o
    WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'
),
counted AS (
    SELECT t.*,
           pg_catalog.pg_stat_get_tuples_updated(t.oid) + pg_catalog.pg_stat_get_tuples_deleted(t.oid) AS changes,
           least(t.threshold + t.scale_factor * t.rows, t.most) AS due_at
    FROM tables AS t
    WHERE t.rows >= 1000000
)
SELECT 'danger' AS severity, 'autovacuum' AS subject,
       'off for the whole server: dead rows pile up, and the planner''s statistics become stale' AS evidence,
       'ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()' AS cure
FROM server
WHERE NOT server.on_at_all
UNION ALL
(SELECT CASE WHEN t.rows >= 10000 THEN 'warning' ELSE 'info' END,
        t.name,
        'autovacuum is switched off for it (' || t.rows || ' rows as of the last ANALYZE): its dead rows pile up',
        CASE t.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' ELSE 'ALTER TABLE ' END || t.name || ' RESET (autovacuum_enabled)'
 FROM tables AS t
 WHERE NOT t.enabled
 ORDER BY t.rows DESC
 LIMIT 200)
UNION ALL
(SELECT CASE WHEN t.n_dead >= 1000 OR t.reltuples >= 10000 THEN 'warning' ELSE 'info' END,
        t.name,
        'autovacuum is switched off for its TOAST (' || t.n_dead || ' dead rows there): updated and deleted rows pile up',
        CASE t.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' ELSE 'ALTER TABLE ' END || t.name
        || ' RESET (toast.autovacuum_enabled)'
 FROM (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relkind, x.reltuples,
              pg_catalog.pg_stat_get_dead_tuples(x.oid) AS n_dead
       FROM pg_catalog.pg_class AS x
       JOIN pg_catalog.pg_class AS c ON c.reltoastrelid = x.oid
       JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
       WHERE x.relkind = 't' AND x.reloptions IS NOT NULL AND c.relkind IN ('r', 'm') AND c.oid >= 16384
         AND c.relpersistence <> 't'
         AND EXISTS (SELECT FROM pg_catalog.pg_options_to_table(x.reloptions) AS o
                     WHERE o.option_name = 'autovacuum_enabled'
                       AND NOT CASE WHEN o.option_name = 'autovacuum_enabled' THEN o.option_value::pg_catalog.bool END)) AS t
 ORDER BY t.n_dead DESC
 LIMIT 200)
UNION ALL
(SELECT 'warning', c.name,
        c.changes || ' updates and deletes of ' || c.rows || ' rows, but autovacuum waits for '
        || c.due_at::pg_catalog.int8 || ' dead ones (scale factor ' || c.scale_factor || ')',
        CASE c.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' ELSE 'ALTER TABLE ' END || c.name
        || ' SET (autovacuum_vacuum_scale_factor = 0.01)'
 FROM counted AS c
 WHERE c.enabled AND c.due_at >= 0.2 * c.rows AND c.changes >= 0.1 * c.rows
 ORDER BY c.changes DESC
 LIMIT 200)
