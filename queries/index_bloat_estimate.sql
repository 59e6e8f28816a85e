-- title = "Index bloat estimate"
-- pool = "slow"
-- interval = "5min"
-- key = ["relid"]
-- sort = "-bloat_bytes"
-- about = """
-- Space the 100 largest B-trees occupy beyond what REINDEX would leave, estimated from the planner's statistics:
-- no index is read, no lock is taken. Equal keys count as deduplicated where PostgreSQL does that (13 and later).
-- Indexes as built are at most 2 points off; one filled in random order is some 25 % larger than one built at once.
-- Cost and age as of bloat_estimate. Blind spot: values that go together (columns of one index, NULLs in several
-- columns) count as independent, which can hide bloat: a lower bound. n/a where a column has no statistics,
-- and where our role may not SELECT. Other kinds than B-trees are not estimated. m measures one index exactly.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the index."
-- [columns.bloat_bytes]
-- title = "bloat"
-- unit = "bytes"
-- help = "Pages beyond those that REINDEX would leave, free space by fillfactor not counted."
-- [columns.bloat_pct]
-- title = "bloat %"
-- unit = "percent"
-- warn = 50.0
-- danger = 75.0
-- help = "The same out of the index's size. An estimate: below some 5 % it means nothing."

WITH RECURSIVE largest AS MATERIALIZED (
    SELECT c.oid, c.relname, greatest(c.reltuples, 0) AS reltuples, c.relpages, i.indrelid, t.relname AS table_name, n.nspname,
           i.indkey, i.indnatts,
           pg_catalog.current_setting('block_size')::pg_catalog.float8 AS block_size,
           coalesce(o.fillfactor, 90) AS fillfactor,
           coalesce(o.deduplicate_items, true) AND NOT i.indisunique AND i.indnatts = i.indnkeyatts AS deduplicated
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    CROSS JOIN LATERAL (
        SELECT pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'fillfactor')::pg_catalog.float8 AS fillfactor,
               pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'deduplicate_items')::pg_catalog.bool
                   AS deduplicate_items
        FROM pg_catalog.pg_options_to_table(c.reloptions) AS x
    ) AS o
    -- 403 is btree, 99 pg_toast
    WHERE c.relkind = 'i' AND c.relam = 403 AND c.relpersistence <> 't' AND c.relpages > 1 AND c.oid >= 16384
      AND c.relnamespace <> 99 AND i.indisvalid
    ORDER BY c.relpages DESC
    LIMIT 100
),
known AS MATERIALIZED (
    -- OFFSET 0: table by table, not by a pass over all of pg_statistic
    SELECT r.oid, p.attname, p.null_frac, p.avg_width, p.n_distinct
    FROM (SELECT l.indrelid AS oid, l.nspname, l.table_name AS relname FROM largest AS l
          UNION SELECT l.oid, l.nspname, l.relname FROM largest AS l WHERE 0 = ANY (l.indkey)) AS r
    CROSS JOIN LATERAL (
        SELECT p.attname, p.null_frac, p.avg_width, p.n_distinct
        FROM pg_catalog.pg_stats AS p
        WHERE p.schemaname = r.nspname AND p.tablename = r.relname AND NOT p.inherited
        OFFSET 0
    ) AS p
),
stored AS MATERIALIZED (
    SELECT l.oid,
           a.attnum::pg_catalog.int8 AS position,
           s.null_frac,
           a.attlen > 0 OR a.atttypid = 1560 OR a.atttypid = 1042 AND s.width = a.atttypmod - 3 AS fixed,
           CASE WHEN a.attlen > 0 THEN a.attlen ELSE s.width END AS width,
           CASE WHEN a.attlen = -1 AND s.width <= 127 THEN 1
                ELSE CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END END AS align,
           CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * l.reltuples ELSE s.n_distinct END AS distinct_values,
           -- equal numeric, float, jsonb, array and record values may differ in their bytes
           a.atttypid NOT IN (1700, 700, 701, 3802, 2249) AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_type AS y WHERE y.oid = a.atttypid AND (y.typelem <> 0 AND y.typlen = -1 OR y.typtype IN ('c', 'r'))
           ) AS same_bytes
    FROM largest AS l
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = l.oid
    CROSS JOIN LATERAL (SELECT l.indkey[a.attnum - 1] = 0 AS expression) AS e
    LEFT JOIN pg_catalog.pg_attribute AS h ON h.attrelid = l.indrelid AND h.attnum = l.indkey[a.attnum - 1]
    LEFT JOIN LATERAL (
        SELECT k.null_frac, k.n_distinct,
               -- of an expression it is the width in memory, whose header is longer
               k.avg_width - CASE WHEN e.expression AND k.avg_width BETWEEN 5 AND 130 THEN 3 ELSE 0 END AS width
        FROM known AS k
        WHERE k.oid = CASE WHEN e.expression THEN l.oid ELSE l.indrelid END
          AND k.attname = CASE WHEN e.expression THEN a.attname ELSE h.attname END
    ) AS s ON true
),
walked AS (
    -- Where an entry's next column begins: after `bytes` on average. That is `rest` modulo `grid`, for certain;
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
                    ELSE greatest(c.align * ceil(w.bytes / c.align) - w.bytes,
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
       CASE WHEN e.known THEN 100 * greatest(0, e.pages - e.expected) / e.pages END AS bloat_pct
FROM (
    SELECT l.oid::pg_catalog.int8 AS relid,
           l.relpages::pg_catalog.float8 AS pages,
           l.block_size,
           -- a meta page, and above the leaves a page for some 250 of them
           f.leaves + 1 + ceil(f.leaves / 250) AS expected,
           c.known
    FROM largest AS l
    CROSS JOIN LATERAL (
        SELECT pg_catalog.bool_and(s.null_frac IS NOT NULL) AS known,
               l.deduplicated AND pg_catalog.bool_and(s.same_bytes) AS deduplicated,
               -- NULLs of a single column are equal keys of their own
               CASE WHEN l.indnatts = 1 THEN pg_catalog.max(s.null_frac) ELSE 0 END AS nulls,
               CASE WHEN l.indnatts = 1 THEN 0 WHEN pg_catalog.bool_or(s.null_frac = 1) THEN 1
                    ELSE 1 - coalesce(exp(pg_catalog.sum(ln(1 - s.null_frac)) FILTER (WHERE s.null_frac < 1)), 1)
               END AS with_nulls,
               pg_catalog.sum(ln(greatest(1, s.distinct_values)
                                 + CASE WHEN s.null_frac > 0 AND l.indnatts > 1 THEN 1 ELSE 0 END)) AS ln_keys
        FROM stored AS s
        WHERE s.oid = l.oid
    ) AS c
    LEFT JOIN walked AS w ON w.oid = l.oid AND w.position = l.indnatts
    CROSS JOIN LATERAL (
        SELECT 8 + 8 * c.with_nulls + w.bytes
               + CASE WHEN w.grid = 8 THEN (8 - w.rest) % 8
                      ELSE greatest(8 * ceil(w.bytes / 8) - w.bytes,
                                    (w.grid - w.rest) % w.grid + (8 - w.grid) / 2.0) END AS tuple_bytes,
               CASE WHEN c.deduplicated THEN l.reltuples * (1 - c.nulls) ELSE l.reltuples END AS rows
    ) AS t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.deduplicated
                    THEN greatest(1, t.rows / greatest(1, least(t.rows, exp(least(c.ln_keys, 600))))) ELSE 1 END AS per_key
    ) AS d
    CROSS JOIN LATERAL (
        -- equal keys share an entry of up to 812 bytes, 6 for each row (_bt_dedup_start_pending)
        SELECT CASE WHEN d.per_key < 1.5 THEN 1
                    ELSE d.per_key / ceil(d.per_key / greatest(1, floor((812 - t.tuple_bytes) / 6))) END AS rows_per_entry
    ) AS r
    CROSS JOIN LATERAL (
        SELECT t.tuple_bytes + CASE WHEN r.rows_per_entry = 1 THEN 0
                                    WHEN r.rows_per_entry < 8 THEN 6 * r.rows_per_entry + 4
                                    ELSE 8 * ceil(6 * r.rows_per_entry / 8) END AS entry_bytes
    ) AS b
    CROSS JOIN LATERAL (
        -- page header 24, special space 16, line pointer 4, and the high key
        SELECT greatest(1, (l.block_size - 40 - floor(l.block_size * (100 - l.fillfactor) / 100) - t.tuple_bytes - 4)
                           / (b.entry_bytes + 4)) AS entries
    ) AS g
    CROSS JOIN LATERAL (
        SELECT ceil(t.rows / r.rows_per_entry / CASE WHEN b.entry_bytes > 300 THEN floor(g.entries) ELSE g.entries END)
               + CASE WHEN c.deduplicated THEN ceil(l.reltuples * c.nulls / (132 * 9)) ELSE 0 END AS leaves
    ) AS f
) AS e
ORDER BY bloat_bytes DESC NULLS LAST
