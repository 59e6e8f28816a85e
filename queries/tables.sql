-- title = "Tables"
-- pool = "slow"
-- interval = "5s"
-- order = 180
-- letter = "t"
-- only_shown = true
-- key = ["relid"]
-- labels = ["relation"]
-- sort = "-heap_blks_hit"
-- narrow = ["relation", "heap_blks_hit", "size_bytes", "seq_tup_read", "hint"]
-- compact = ["relation", "heap_blks_hit", "size_bytes", "seq_tup_read", "idx_scan", "n_tup_upd", "hint"]
-- rates = ["seq_scan", "seq_tup_read", "idx_scan", "n_tup_ins", "n_tup_upd", "n_tup_del", "n_tup_hot_upd", "heap_blks_read", "heap_blks_hit"]
-- empty = "this database has no tables of its own"
-- about = """
-- The 200 busiest tables and materialized views of this database, by the blocks read of them since the counters
-- began: how they are read, and what is written, per second. System catalogues are left out.
-- Cost: one pass over pg_class and one counter for each table; no lock is taken. 1,000 tables take 10 ms.
-- Blind spot: a statement is counted when it ends. A table that has just become busy appears once it has overtaken
-- the 200th. Blocks of indexes and TOAST are not counted here. A standby has counters of its own.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.relid]
-- hidden = true
-- help = "OID of the relation."
-- [columns.relation]
-- title = "table"
-- help = "Name, with its schema unless it is public."
-- [columns.relkind]
-- title = "kind"
-- help = "r table or partition, m materialized view."
-- [columns.size_bytes]
-- title = "size"
-- unit = "bytes"
-- help = "Table and its TOAST, without indexes. While somebody holds or awaits ACCESS EXCLUSIVE on it, the size as of the last VACUUM, ANALYZE or CREATE INDEX (relpages), because reading it would wait."
-- [columns.seq_scan]
-- title = "seq scans"
-- unit = "per_second"
-- help = "Sequential scans begun."
-- [columns.seq_tup_read]
-- title = "rows by seq"
-- unit = "per_second"
-- help = "Rows read by sequential scans. It comes in bursts: a scan reports when its statement ends."
-- [columns.idx_scan]
-- title = "idx scans"
-- unit = "per_second"
-- help = "Index scans begun, on all indexes of the table; in a nested loop each round counts. None if it has no index."
-- [columns.n_tup_ins]
-- title = "inserted"
-- unit = "per_second"
-- help = "Rows inserted; rolled back ones count as well."
-- [columns.n_tup_upd]
-- title = "updated"
-- unit = "per_second"
-- help = "Rows updated; each leaves a dead version."
-- [columns.n_tup_del]
-- title = "deleted"
-- unit = "per_second"
-- help = "Rows deleted."
-- [columns.n_tup_hot_upd]
-- title = "HOT"
-- unit = "per_second"
-- help = "Updates that touched no index (HOT). Far below updated: indexed columns are updated, or pages are full (fillfactor)."
-- [columns.heap_blks_read]
-- title = "blocks read"
-- unit = "per_second"
-- help = "Blocks of the table not found in shared_buffers; the kernel may have had them."
-- [columns.heap_blks_hit]
-- title = "blocks hit"
-- unit = "per_second"
-- help = "Blocks of the table found in shared_buffers."
-- [columns.hit_pct]
-- title = "hit"
-- unit = "percent"
-- help = "Share of blocks found in shared_buffers of all read, since the counters began."
-- [columns.seq_share_pct]
-- title = "seq share"
-- unit = "percent"
-- help = "Share of sequential scans of all scans, since the counters began."
-- [columns.last_seq_scan_s]
-- title = "last seq scan"
-- unit = "seconds"
-- help = "Since the last sequential scan, by the end of its transaction. PostgreSQL 16 and later."
-- [columns.hint]
-- help = "Many sequential scans: at least 100, a tenth of all scans or more, and 10,000 rows or more each, on average. Reports do so on purpose; if an OLTP statement does, an index is missing."

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
       NULL::pg_catalog.float8 AS last_seq_scan_s,
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
