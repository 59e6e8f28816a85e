-- 16 brought the time of the last scan.

WITH busiest AS MATERIALIZED (
    -- one counter for every table, the rest below for the chosen only
    SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.reltuples, c.relpages, c.reltoastrelid,
           pg_catalog.pg_stat_get_blocks_fetched(c.oid) AS fetched
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384
    ORDER BY fetched DESC, c.relpages DESC
    LIMIT 200
),
locked AS MATERIALIZED (
    -- what is being rewritten or dropped: to ask for its size would wait
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       b.oid::pg_catalog.int8 AS relid,
       CASE WHEN n.nspname = 'public' THEN b.relname::pg_catalog.text
            ELSE n.nspname::pg_catalog.text || '.' || b.relname::pg_catalog.text END AS relation,
       b.relkind::pg_catalog.text AS relkind,
       CASE WHEN b.oid IN (SELECT k.relation FROM locked AS k) OR b.reltoastrelid IN (SELECT k.relation FROM locked AS k)
            THEN (b.relpages::pg_catalog.int8 + coalesce(toast.relpages, 0))
                 * pg_catalog.current_setting('block_size')::pg_catalog.int8
            ELSE /*?size_bytes*/ pg_catalog.pg_relation_size(b.oid) + coalesce(pg_catalog.pg_relation_size(nullif(b.reltoastrelid, 0)), 0) /*:NULL::pg_catalog.int8*/ END AS size_bytes,
       t.seq_scan,
       t.seq_tup_read,
       x.idx_scan,
       pg_catalog.pg_stat_get_tuples_inserted(b.oid) AS n_tup_ins,
       pg_catalog.pg_stat_get_tuples_updated(b.oid) AS n_tup_upd,
       pg_catalog.pg_stat_get_tuples_deleted(b.oid) AS n_tup_del,
       pg_catalog.pg_stat_get_tuples_hot_updated(b.oid) AS n_tup_hot_upd,
       b.fetched - t.hit AS heap_blks_read,
       t.hit AS heap_blks_hit,
       (100.0 * t.hit / nullif(b.fetched, 0))::pg_catalog.float8 AS hit_pct,
       (100.0 * t.seq_scan / nullif(t.seq_scan + coalesce(x.idx_scan, 0), 0))::pg_catalog.float8 AS seq_share_pct,
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_stat_get_lastscan(b.oid))::pg_catalog.float8
           AS last_seq_scan_s,
       CASE WHEN b.reltuples >= 10000 AND t.seq_scan >= 100 AND t.seq_scan * 9 >= coalesce(x.idx_scan, 0)
                 AND t.seq_tup_read / nullif(t.seq_scan, 0) >= 10000
            THEN 'many sequential scans of a large table: an index may be missing' END AS hint
FROM busiest AS b
JOIN pg_catalog.pg_namespace AS n ON n.oid = b.relnamespace
LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = b.reltoastrelid
CROSS JOIN LATERAL (
    SELECT pg_catalog.pg_stat_get_numscans(b.oid) AS seq_scan,
           pg_catalog.pg_stat_get_tuples_returned(b.oid) AS seq_tup_read,
           pg_catalog.pg_stat_get_blocks_hit(b.oid) AS hit
    OFFSET 0
) AS t
CROSS JOIN LATERAL (
    SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))::pg_catalog.int8 AS idx_scan
    FROM pg_catalog.pg_index AS i
    WHERE i.indrelid = b.oid
) AS x
ORDER BY b.fetched DESC, b.relpages DESC
