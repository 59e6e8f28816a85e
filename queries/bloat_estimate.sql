-- title = "Bloat estimate"
-- pool = "slow"
-- interval = "5min"
-- internal = true
-- key = ["relid"]
-- sort = "-bloat_bytes"
-- about = """
-- Space the 100 largest tables and materialized views occupy beyond what their rows need, estimated from the
-- planner's statistics: no table is read, no lock is taken. The columns of a row are laid out one after another as
-- heap_form_tuple() does, each aligned as its type asks, and rows are counted page by page. On tables as loaded
-- the estimate is at most 2 points too high; after a VACUUM it is at most 5 off, or marked as a lower bound (≥; 70
-- kinds of tables are tested).
-- Cost: 10 ms for a few tables, some 100 ms for 100 tables of 8 columns, every five minutes. Blind spot: as old as
-- the last ANALYZE or VACUUM; dead rows not yet vacuumed do not show. Statistics tell neither how long values in
-- TOAST are nor how the widths of wide rows differ, which can hide bloat: if that may hide more than 5 points, the
-- estimate is a lower bound. n/a if a column has no statistics, if the table was never analysed, or if our role
-- may not SELECT (pg_monitor does not suffice: GRANT pg_read_all_data). m measures one table exactly.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the relation. A table's row includes its TOAST, which also has a row of its own."
-- [columns.bloat_bytes]
-- title = "bloat"
-- unit = "bytes"
-- help = "Pages beyond the expected ones, TOAST included, free space by fillfactor not counted. A later INSERT or UPDATE can use it; only VACUUM FULL, pg_repack or a rewrite gives it back."
-- [columns.bloat_pct]
-- title = "bloat %"
-- unit = "percent"
-- warn = 30.0
-- danger = 50.0
-- help = "The same as a share of the relation's size. An estimate: below some 5 % it means nothing."
-- [columns.lower_bound]
-- hidden = true
-- help = "There may be more bloat than estimated, by over 5 % of the relation."

WITH RECURSIVE largest AS MATERIALIZED (
    SELECT c.oid, c.relname, n.nspname, c.relnatts, c.reltuples, c.relpages,
           toast.oid AS toast,
           coalesce(toast.relpages, 0) AS toast_pages,
           greatest(coalesce(toast.reltuples, 0), 0) AS toast_tuples,
           pg_catalog.current_setting('block_size')::pg_catalog.float8 AS block_size,
           coalesce((SELECT x.option_value::pg_catalog.float8
                     FROM pg_catalog.pg_options_to_table(c.reloptions) AS x
                     WHERE x.option_name = 'fillfactor'), 100) AS fillfactor
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relpages > 0 AND c.oid >= 16384
    ORDER BY c.relpages + coalesce(toast.relpages, 0) DESC
    LIMIT 100
),
known AS MATERIALIZED (
    -- OFFSET 0: table by table, not by a pass over all of pg_statistic
    SELECT l.oid, p.attname, p.null_frac, p.avg_width, p.n_distinct
    FROM largest AS l
    CROSS JOIN LATERAL (
        SELECT p.attname, p.null_frac, p.avg_width, p.n_distinct
        FROM pg_catalog.pg_stats AS p
        WHERE p.schemaname = l.nspname AND p.tablename = l.relname AND NOT p.inherited
        OFFSET 0
    ) AS p
),
stored AS MATERIALIZED (
    SELECT l.oid,
           pg_catalog.row_number() OVER (PARTITION BY l.oid ORDER BY a.attnum) AS position,
           s.null_frac,
           -- bit(n) has one width, so has char(n) in an encoding of single bytes, and what is the same in all rows
           a.attlen > 0 OR a.atttypid = 1560 OR a.atttypid = 1042 AND s.avg_width = a.atttypmod - 3 OR s.n_distinct = 1 AS fixed,
           -- at most so many rows have it in TOAST, where 18 bytes point at it
           CASE WHEN a.attlen = -1 AND a.attstorage <> 'p'
                THEN l.reltuples * (1 - s.null_frac) * least(1, greatest(0, (s.avg_width - 1) / 17.0)) ELSE 0 END AS outside,
           CASE WHEN a.attlen > 0 THEN a.attlen ELSE s.avg_width END AS width,
           -- a value of up to 126 bytes has a header of one byte and is not aligned
           CASE WHEN a.attlen = -1 AND s.avg_width <= 127 THEN 1
                ELSE CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END END AS align
    FROM largest AS l
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN known AS s ON s.oid = l.oid AND s.attname = a.attname
),
walked AS (
    -- Where a row's next column begins: after `bytes` on average. That is `rest` modulo `grid`, for certain;
    -- behind a column of varying width nothing is certain, and half of an alignment is lost on average.
    SELECT l.oid, 0::pg_catalog.int8 AS position, 0::pg_catalog.float8 AS bytes, 8 AS grid, 0 AS rest
    FROM largest AS l
    UNION ALL
    SELECT w.oid, c.position,
           -- avg_width is cut to a whole number
           w.bytes + (1 - c.null_frac) * (p.pad + c.width + CASE WHEN c.fixed THEN 0 ELSE 0.25 END),
           CASE WHEN c.null_frac = 0 THEN a.grid WHEN c.null_frac = 1 THEN w.grid ELSE joint.grid END,
           CASE WHEN c.null_frac = 0 THEN a.rest WHEN c.null_frac = 1 THEN w.rest ELSE w.rest % joint.grid END
    FROM walked AS w
    JOIN stored AS c ON c.oid = w.oid AND c.position = w.position + 1 AND c.null_frac IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.align <= w.grid THEN (c.align - w.rest % c.align) % c.align
                    ELSE greatest(c.align * ceil(floor(w.bytes) / c.align) - w.bytes,
                                  (w.grid - w.rest) % w.grid + (c.align - w.grid) / 2.0) END AS pad
    ) AS p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.fixed THEN greatest(w.grid, c.align) ELSE 1 END AS grid,
               CASE WHEN NOT c.fixed THEN 0
                    WHEN c.align <= w.grid THEN (w.rest + p.pad::pg_catalog.int4 + c.width) % w.grid
                    ELSE c.width % c.align END AS rest
    ) AS a
    CROSS JOIN LATERAL (
        -- some rows have the column, some do not
        SELECT pg_catalog.max(g.grid) AS grid FROM (VALUES (1), (2), (4), (8)) AS g (grid)
        WHERE g.grid <= least(w.grid, a.grid) AND w.rest % g.grid = a.rest % g.grid
    ) AS joint
)
SELECT e.relid,
       CASE WHEN e.known THEN (greatest(0, e.pages - e.expected) * e.block_size)::pg_catalog.int8 END AS bloat_bytes,
       CASE WHEN e.known THEN 100 * greatest(0, e.pages - e.expected) / e.pages END AS bloat_pct,
       coalesce(e.known AND e.expected - e.least > 0.05 * e.pages, false) AS lower_bound
FROM (
    SELECT b.*
    FROM largest AS l
    CROSS JOIN LATERAL (
        SELECT pg_catalog.count(*) AS columns,
               coalesce(pg_catalog.bool_and(s.null_frac IS NOT NULL), true) AS known,
               coalesce(pg_catalog.bool_and(s.fixed AND s.null_frac = 0), true) AS all_fixed,
               least(coalesce(pg_catalog.sum(s.outside), 0), l.toast_tuples) AS outside,
               -- the share of rows with a NULL, which have a bitmap of all columns; a dropped one is NULL in each
               CASE WHEN pg_catalog.count(*) < l.relnatts OR pg_catalog.bool_or(s.null_frac = 1) THEN 1
                    ELSE 1 - coalesce(exp(pg_catalog.sum(ln(1 - s.null_frac)) FILTER (WHERE s.null_frac < 1)), 1)
               END AS with_nulls
        FROM stored AS s
        WHERE s.oid = l.oid
    ) AS c
    LEFT JOIN walked AS w ON w.oid = l.oid AND w.position = c.columns
    CROSS JOIN LATERAL (
        -- header of 23 bytes and bitmap, columns, both aligned to 8
        SELECT 24 + c.with_nulls * (8 * ceil((23 + (l.relnatts + 7) / 8) / 8.0) - 24) + w.bytes
               + CASE WHEN w.grid = 8 THEN (8 - w.rest) % 8
                      ELSE greatest(8 * ceil(floor(w.bytes) / 8) - w.bytes,
                                    (w.grid - w.rest) % w.grid + (8 - w.grid) / 2.0) END AS tuple_bytes
    ) AS t
    CROSS JOIN LATERAL (
        -- page header 24, line pointer 4, no row shorter than 24
        SELECT greatest(1, least((l.block_size - 24) / 28,
                                 (l.block_size - 24 - floor(l.block_size * (100 - l.fillfactor) / 100))
                                     / (t.tuple_bytes + 4))) AS rows
    ) AS p
    CROSS JOIN LATERAL (
        -- Wide rows leave a part of each page unused: of one width less than a row, of several half a row and more.
        SELECT CASE WHEN c.all_fixed THEN floor(p.rows) WHEN t.tuple_bytes <= 300 THEN p.rows
                    ELSE greatest(1, least(floor(p.rows), p.rows - 0.6)) END AS few,
               CASE WHEN c.all_fixed THEN floor(p.rows) WHEN t.tuple_bytes <= 300 THEN p.rows
                    ELSE greatest(1, floor(p.rows), p.rows - 0.6) END AS many
    ) AS r
    CROSS JOIN LATERAL (
        -- A page of TOAST holds four full chunks. All but the last of a value are full; how full that is nobody counts.
        SELECT ceil(l.reltuples / r.few) AS rows, ceil(l.reltuples / r.many) AS rows_least,
               ceil(l.toast_tuples / 4) AS chunks, ceil((l.toast_tuples - c.outside) / 4) AS chunks_least
    ) AS x
    CROSS JOIN LATERAL (
        SELECT l.oid::pg_catalog.int8 AS relid, l.block_size, (l.relpages + l.toast_pages)::pg_catalog.float8 AS pages,
               x.rows + x.chunks AS expected, x.rows_least + x.chunks_least AS least, c.known AND l.reltuples >= 0 AS known
        UNION ALL
        SELECT l.toast::pg_catalog.int8, l.block_size, l.toast_pages::pg_catalog.float8,
               x.chunks, x.chunks_least, c.known AND l.reltuples >= 0
        WHERE l.toast_pages > 0
    ) AS b
) AS e
ORDER BY bloat_bytes DESC NULLS LAST
