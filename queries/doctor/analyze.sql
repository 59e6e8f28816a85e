-- title = "tables the planner knows nothing about, because they were never analysed"
-- order = 120
-- about = """
-- Without statistics the planner guesses, and estimates of bloat are n/a. Autovacuum analyses a table after
-- changes to a tenth of it, a partitioned table as a whole never. Statistics of a table that our role may not read
-- are hidden.
-- Cost: 5 ms for 1,000 tables; pg_stats is read only for tables that were never seen analysed.
-- Blind spot: a reset clears the counters; pg_stats then shows that a table was analysed, but not when.
-- """

WITH RECURSIVE large AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relname, n.nspname, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
           greatest(c.reltuples::pg_catalog.int8, pg_catalog.pg_stat_get_live_tuples(c.oid)) AS rows
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND c.oid >= 16384 AND c.relpersistence <> 't'
      AND pg_catalog.pg_stat_get_last_analyze_time(c.oid) IS NULL
      AND pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid) IS NULL
),
-- pg_partition_tree would lock them
parts (root, oid) AS (
    SELECT l.oid, l.oid FROM large AS l WHERE l.relkind = 'p'
    UNION ALL
    SELECT t.root, i.inhrelid FROM parts AS t JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.oid
),
sized AS (
    SELECT l.*,
           CASE WHEN l.relkind <> 'p' THEN l.rows
                ELSE (SELECT pg_catalog.sum(greatest(c.reltuples, 0))::pg_catalog.int8
                      FROM parts AS t
                      JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
                      WHERE t.root = l.oid AND c.relkind = 'r') END AS all_rows
    FROM large AS l
)
(SELECT CASE s.relkind WHEN 'p' THEN 'info' ELSE 'warning' END AS severity,
       s.name AS subject,
       CASE s.relkind WHEN 'p' THEN 'a partitioned table of ' || s.all_rows || ' rows without statistics of the whole: autovacuum never'
                                    || ' analyses it, and joins and groups over all partitions are guessed'
                      ELSE 'about ' || s.all_rows || ' rows, never analysed: the planner guesses' END AS evidence,
       'ANALYZE ' || s.name AS cure
FROM sized AS s
WHERE s.readable AND s.all_rows >= 10000
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stats AS x
                  WHERE x.schemaname = s.nspname AND x.tablename = s.relname AND (x.inherited OR s.relkind <> 'p'))
ORDER BY s.all_rows DESC, s.name
LIMIT 200)
UNION ALL
SELECT 'unknown', s.nspname,
       pg_catalog.count(*) || CASE pg_catalog.count(*) WHEN 1 THEN ' table' ELSE ' tables' END || ' of schema ' || s.nspname
       || ': needs SELECT, see reading', ''
FROM sized AS s
WHERE NOT s.readable AND s.all_rows >= 10000
GROUP BY s.nspname
