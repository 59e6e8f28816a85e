-- title = "Index bloat estimate"
-- pool = "slow"
-- interval = "5min"
-- internal = true
-- key = ["relid"]
-- sort = "-bloat_bytes"
-- about = """
-- Space the 100 largest B-trees occupy beyond what REINDEX would leave, estimated from the planner's statistics:
-- no index is read, no lock is taken. Equal keys count as deduplicated if PostgreSQL does that (13 and later).
-- Indexes as built are at most 2 points off; one filled in random order is some 25 % larger than one built at
-- once. Cost and age as for bloat_estimate. Blind spot: values that go together (columns of one index, NULLs in
-- several columns) count as independent, and wide entries may be compressed or differ in width, which can hide
-- bloat: if that may hide more than 5 points, the estimate is a lower bound (≥). n/a if a column has no statistics
-- or its values are in the table's TOAST (the index has them in full), or if our role may not SELECT. Only B-trees
-- are estimated. m measures one index exactly.
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
-- help = "The same as a share of the index's size. An estimate: below some 5 % it means nothing."
-- [columns.lower_bound]
-- hidden = true
-- help = "There may be more bloat than estimated, by over 5 % of the index."

WITH RECURSIVE largest AS MATERIALIZED (
    SELECT c.oid, c.relname, greatest(c.reltuples, 0) AS reltuples, c.relpages, i.indrelid, t.relname AS table_name, n.nspname,
           coalesce(toast.relpages > 0, false) AS has_toast,
           i.indkey, i.indnatts,
           pg_catalog.current_setting('block_size')::pg_catalog.float8 AS block_size,
           coalesce(o.fillfactor, 90) AS fillfactor,
           coalesce(o.deduplicate_items, true) AND NOT i.indisunique AND i.indnatts = i.indnkeyatts AS deduplicated
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = t.reltoastrelid
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
    SELECT r.oid, r.has_toast, p.attname, p.null_frac, p.avg_width, p.n_distinct, p.example_width
    FROM (SELECT l.indrelid AS oid, l.nspname, l.table_name AS relname, l.has_toast FROM largest AS l
          UNION SELECT l.oid, l.nspname, l.relname, false FROM largest AS l WHERE 0 = ANY (l.indkey)) AS r
    CROSS JOIN LATERAL (
        SELECT p.attname, p.null_frac, p.avg_width, p.n_distinct,
               CASE WHEN r.has_toast
                    THEN greatest(pg_catalog.octet_length(p.histogram_bounds::pg_catalog.text)
                                      / pg_catalog.array_length(p.histogram_bounds, 1),
                                  pg_catalog.octet_length(p.most_common_vals::pg_catalog.text)
                                      / pg_catalog.array_length(p.most_common_vals, 1)) END AS example_width
        FROM pg_catalog.pg_stats AS p
        WHERE p.schemaname = r.nspname AND p.tablename = r.relname AND NOT p.inherited
        OFFSET 0
    ) AS p
),
stored AS MATERIALIZED (
    SELECT l.oid,
           a.attnum::pg_catalog.int8 AS position,
           s.null_frac,
           -- Of a value in TOAST avg_width has the pointer only, an index the value. The examples have values of up to
           -- 1 kB in full: of such a column there are none, or they are wider, or so wide that others may be left out.
           a.attlen = -1 AND a.attstorage <> 'p' AND s.has_toast AND s.null_frac < 1
               AND coalesce(s.example_width > 500 OR s.example_width > 8 + s.width * CASE y.typcategory WHEN 'S' THEN 1.2 ELSE 2.5 END,
                            s.width >= 18) AS outside,
           -- an index may compress what the table did not (TOAST_INDEX_TARGET)
           a.attlen = -1 AND a.attstorage IN ('x', 'm') AND s.width > 500 AS compressed,
           a.attlen > 0 OR a.atttypid = 1560 OR a.atttypid = 1042 AND s.width = a.atttypmod - 3 AS fixed,
           CASE WHEN a.attlen > 0 THEN a.attlen ELSE s.width END AS width,
           CASE WHEN a.attlen = -1 AND s.width <= 127 THEN 1
                ELSE CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END END AS align,
           CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * l.reltuples ELSE s.n_distinct END AS distinct_values,
           -- equal numeric, float, jsonb, array and record values may differ in their bytes
           a.atttypid NOT IN (1700, 700, 701, 3802, 2249) AND NOT (y.typelem <> 0 AND y.typlen = -1 OR y.typtype IN ('c', 'r'))
               AS same_bytes
    FROM largest AS l
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = l.oid
    JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
    CROSS JOIN LATERAL (SELECT l.indkey[a.attnum - 1] = 0 AS expression) AS e
    LEFT JOIN pg_catalog.pg_attribute AS h ON h.attrelid = l.indrelid AND h.attnum = l.indkey[a.attnum - 1]
    LEFT JOIN LATERAL (
        SELECT k.null_frac, k.n_distinct, k.has_toast, k.example_width,
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
       CASE WHEN e.known THEN 100 * greatest(0, e.pages - e.expected) / e.pages END AS bloat_pct,
       coalesce(e.known AND e.expected - e.least > 0.05 * e.pages, false) AS lower_bound
FROM (
    SELECT l.oid::pg_catalog.int8 AS relid,
           l.relpages::pg_catalog.float8 AS pages,
           l.block_size,
           -- a meta page, and above the leaves pages that are filled to 70 percent
           f.leaves + 1 + ceil(f.leaves / u.fan_out) AS expected,
           CASE WHEN c.compressed THEN 0 ELSE f.leaves_least + 1 + ceil(f.leaves_least / u.fan_out) END AS least,
           c.known
    FROM largest AS l
    CROSS JOIN LATERAL (
        SELECT pg_catalog.bool_and(s.null_frac IS NOT NULL AND s.outside IS NOT TRUE) AS known,
               pg_catalog.bool_or(s.compressed) AS compressed,
               coalesce(pg_catalog.bool_and(s.fixed AND s.null_frac = 0), false) AS all_fixed,
               l.deduplicated AND pg_catalog.bool_and(s.same_bytes) AS deduplicated,
               -- NULLs of a single column are equal keys of their own
               CASE WHEN l.indnatts = 1 THEN pg_catalog.max(s.null_frac) ELSE 0 END AS nulls,
               CASE WHEN l.indnatts = 1 THEN 0 WHEN pg_catalog.bool_or(s.null_frac = 1) THEN 1
                    ELSE 1 - coalesce(exp(pg_catalog.sum(ln(1 - s.null_frac)) FILTER (WHERE s.null_frac < 1)), 1)
               END AS with_nulls,
               pg_catalog.sum(ln(k.keys)) AS ln_keys,
               -- if each value of a column goes with one of the others only
               pg_catalog.max(ln(k.keys)) AS ln_keys_least
        FROM stored AS s
        CROSS JOIN LATERAL (
            SELECT greatest(1, s.distinct_values) + CASE WHEN s.null_frac > 0 AND l.indnatts > 1 THEN 1 ELSE 0 END AS keys
        ) AS k
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
        -- a page without its header of 24 and special space of 16; what of it is left free by fillfactor
        SELECT l.block_size - 40 AS bytes, floor(l.block_size * (100 - l.fillfactor) / 100) AS free,
               greatest(1, floor((0.7 * l.block_size - 40) / (t.tuple_bytes + 4)) - 1) AS fan_out
    ) AS u
    CROSS JOIN LATERAL (
        -- With as many keys as there can be, and with as few.
        SELECT pg_catalog.max(h.leaves) AS leaves, pg_catalog.min(h.leaves_least) AS leaves_least
        FROM (VALUES (c.ln_keys), (c.ln_keys_least)) AS v (ln_keys)
        CROSS JOIN LATERAL (
            SELECT CASE WHEN c.deduplicated
                        THEN greatest(1, t.rows / greatest(1, least(t.rows, exp(least(v.ln_keys, 600))))) ELSE 1 END AS per_key
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
            SELECT b.entry_bytes + 4 AS bytes,
                   t.rows / r.rows_per_entry AS n,
                   CASE WHEN c.deduplicated THEN ceil(l.reltuples * c.nulls / (132 * 9)) ELSE 0 END AS pages_of_nulls
        ) AS g
        CROSS JOIN LATERAL (
            -- Of a page's entries the last goes to the next one, and its key stays; wide ones fit as a whole or not
            -- at all: how many, if all are of one width, and if they are of several.
            SELECT CASE WHEN g.bytes <= 304 THEN (u.bytes - u.free - t.tuple_bytes - 4) / g.bytes
                        ELSE least(floor(u.bytes / g.bytes), floor((u.bytes - u.free) / g.bytes) + 1) - 1 END AS alike,
                   CASE WHEN g.bytes <= 304 THEN (u.bytes - u.free - t.tuple_bytes - 4) / g.bytes
                        ELSE least(u.bytes / g.bytes - 1.5, (u.bytes - u.free) / g.bytes - 0.6) END AS apart
        ) AS m
        CROSS JOIN LATERAL (
            SELECT ceil(g.n / greatest(1, CASE WHEN c.all_fixed OR r.rows_per_entry > 1 THEN m.alike ELSE least(m.alike, m.apart) END))
                       + g.pages_of_nulls AS leaves,
                   ceil(g.n / greatest(1, CASE WHEN c.all_fixed OR r.rows_per_entry > 1 THEN m.alike ELSE greatest(m.alike, m.apart) END))
                       + g.pages_of_nulls AS leaves_least
        ) AS h
    ) AS f
) AS e
ORDER BY bloat_bytes DESC NULLS LAST
