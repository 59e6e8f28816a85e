-- title = "Bloat estimate"
-- pool = "slow"
-- interval = "5min"
-- key = ["relid"]
-- sort = "-bloat_bytes"
-- about = """
-- Space the 100 largest tables and materialized views occupy beyond what their rows need, estimated from
-- the planner's statistics (after ioguix): no table is read, no lock is taken.
-- Cost: 1 ms for a few tables, some 60 ms beside 10,000, each five minutes. Blind spot: as old as the last ANALYZE or VACUUM; dead rows not yet
-- vacuumed do not show; padding between columns counts as bloat. n/a where a column has no statistics or
-- is of type name, where the table was never analysed, and where our role may not SELECT (pg_monitor
-- does not suffice: GRANT pg_read_all_data). For the truth on one table use pgstattuple_approx.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the relation."
-- [columns.bloat_bytes]
-- title = "bloat"
-- unit = "bytes"
-- help = "Pages beyond the expected ones, TOAST included, free space by fillfactor not counted. A later INSERT or UPDATE can use it; only VACUUM FULL, pg_repack or a rewrite gives it back."
-- [columns.bloat_pct]
-- title = "bloat %"
-- unit = "percent"
-- warn = 30.0
-- danger = 50.0
-- help = "The same out of the relation's size. An estimate: below some 10 % it means nothing."

WITH largest AS MATERIALIZED (
    SELECT c.oid, c.relname, n.nspname, c.reltuples, c.relpages, c.reloptions,
           coalesce(toast.relpages, 0) AS toast_pages,
           greatest(coalesce(toast.reltuples, 0), 0) AS toast_tuples,
           pg_catalog.current_setting('block_size')::pg_catalog.float8 AS block_size
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relpages > 0 AND c.oid >= 16384
    ORDER BY c.relpages + coalesce(toast.relpages, 0) DESC
    LIMIT 100
)
SELECT e.relid,
       CASE WHEN e.known THEN (greatest(0, e.pages - e.expected) * e.block_size)::pg_catalog.int8 END AS bloat_bytes,
       CASE WHEN e.known THEN 100 * greatest(0, e.pages - e.expected) / e.pages END AS bloat_pct
FROM (
    SELECT l.oid::pg_catalog.int8 AS relid,
           (l.relpages + l.toast_pages)::pg_catalog.float8 AS pages,
           l.block_size,
           -- 24 bytes of page header; a TOAST page holds four chunks
           ceil(l.reltuples / ((l.block_size - 24) * o.fillfactor / 100 / w.tuple_bytes))
               + ceil(l.toast_tuples / 4) AS expected,
           w.known AND l.reltuples >= 0 AS known
    FROM largest AS l
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT x.option_value::pg_catalog.float8
                         FROM pg_catalog.pg_options_to_table(l.reloptions) AS x
                         WHERE x.option_name = 'fillfactor'), 100) AS fillfactor
    ) AS o
    CROSS JOIN LATERAL (
        -- line pointer 4, tuple header 23 and null bitmap, both parts aligned to 8
        SELECT 4 + 8 * ceil((23 + CASE WHEN a.nullable THEN (a.columns + 7) / 8 ELSE 0 END) / 8.0)
                 + 8 * ceil(a.data_bytes / 8) AS tuple_bytes,
               a.known
        FROM (
            SELECT pg_catalog.count(*) AS columns,
                   coalesce(pg_catalog.bool_or(s.null_frac > 0), false) AS nullable,
                   coalesce(pg_catalog.sum((1 - s.null_frac) * s.avg_width), 0)::pg_catalog.float8 AS data_bytes,
                   pg_catalog.count(s.attname) = pg_catalog.count(*)
                       AND NOT pg_catalog.bool_or(att.atttypid = 19) AS known
            FROM pg_catalog.pg_attribute AS att
            LEFT JOIN (
                SELECT p.attname, p.null_frac, p.avg_width
                FROM pg_catalog.pg_stats AS p
                WHERE p.schemaname = l.nspname AND p.tablename = l.relname AND NOT p.inherited
                OFFSET 0
            ) AS s ON s.attname = att.attname
            WHERE att.attrelid = l.oid AND att.attnum > 0 AND NOT att.attisdropped
        ) AS a
    ) AS w
) AS e
ORDER BY bloat_bytes DESC NULLS LAST
