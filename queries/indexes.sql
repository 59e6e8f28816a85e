-- title = "Indexes"
-- pool = "slow"
-- interval = "10s"
-- order = 190
-- letter = "x"
-- sampling = { rests_on = ["index_bloat_estimate"] }
-- only_shown = true
-- key = ["relid"]
-- labels = ["relation", "index"]
-- counters = ["idx_scans_total"]
-- compact = ["relation", "index", "size_bytes", "idx_scan", "hint"]
-- rates = ["idx_scan", "idx_tup_read"]
-- empty = "this database has no indexes of its own"
-- about = """
-- 200 indexes of this database: invalid ones first, then the largest; one that seems superfluous (never used, or
-- covered by another) counts tenfold. Indexes of system catalogues and TOAST are left out.
-- Cost: one pass over pg_index and pg_class and one counter for each index; no lock is taken. 1,000 tables with
-- 2,000 indexes take 30 ms.
-- Blind spot: use is counted on this server only: an index never used here may serve the readers of a standby, or
-- a report once a year. Whether an index is superfluous is judged by its columns, not by what the planner would
-- do.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.relid]
-- hidden = true
-- help = "OID of the index."
-- [columns.relation]
-- title = "table"
-- help = "Its table, with its schema unless it is public."
-- [columns.index]
-- help = "Name of the index; it is in the schema of its table."
-- [columns.size_bytes]
-- title = "size"
-- unit = "bytes"
-- help = "Size. While somebody holds or awaits ACCESS EXCLUSIVE on it or its table, the size as of the last VACUUM, ANALYZE or CREATE INDEX (relpages), because reading it would wait."
-- [columns.bloat_bytes]
-- title = "bloat"
-- unit = "bytes"
-- help = "Estimate of the space REINDEX would give back (index_bloat_estimate.sql, every 5 min, the 100 largest B-trees): a lower bound. n/a if a column has no statistics or our role may not see them."
-- [columns.bloat_pct]
-- title = "bloat"
-- unit = "percent"
-- help = "The same estimate in percent of the index. An index filled in random order normally has about 25."
-- [columns.idx_scan]
-- title = "scans/s"
-- unit = "per_second"
-- help = "Scans begun; in a nested loop each round counts. Checks of a unique index on INSERT do not."
-- [columns.idx_scans_total]
-- title = "scans"
-- unit = "count"
-- help = "The same, all since the counters began."
-- [columns.idx_tup_read]
-- title = "entries"
-- unit = "per_second"
-- help = "Index entries read by scans, those of dead rows included."
-- [columns.last_idx_scan_s]
-- title = "last scan"
-- unit = "seconds"
-- help = "Since the last scan, by the end of its transaction. PostgreSQL 16 and later."
-- [columns.is_unique]
-- title = "unique"
-- unit = "flag"
-- help = "A unique index: it does its work on writes, used by scans or not."
-- [columns.is_valid]
-- title = "valid"
-- unit = "flag"
-- help = "Scans may use it. An invalid one is still kept up to date by each write."
-- [columns.backs_constraint]
-- title = "constraint"
-- unit = "flag"
-- help = "A primary key, unique or exclusion constraint relies on it: it can be dropped only with the constraint."
-- [columns.hint]
-- help = "Never used: not scanned since counters older than a day began, and neither unique nor part of a constraint or replica identity; an index newer than the counters can be told apart only if track_commit_timestamp is on. Not reported on a standby, nor for a partition's part of a partitioned index. Duplicate: same columns, order, classes, collations and condition. Same leading columns: a B-tree whose columns begin another's; the shorter one may still be worth its smaller size. Try the effect first: DROP INDEX CONCURRENTLY cannot be undone."

WITH here AS MATERIALIZED (
    -- The counters begin anew with their reset and after a crash; the latter moves pg_stat_bgwriter's.
    SELECT greatest(pg_catalog.pg_stat_get_db_stat_reset_time(d.oid),
                    pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) AS since,
           pg_catalog.current_setting('block_size')::pg_catalog.int8 AS block_size,
           r.standby,
           pg_catalog.current_setting('track_commit_timestamp') = 'on' AND NOT r.standby AS commit_ts
    FROM pg_catalog.pg_database AS d
    CROSS JOIN (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) AS r
    WHERE d.datname = pg_catalog.current_database()
),
constraints AS MATERIALIZED (
    SELECT DISTINCT k.conindid FROM pg_catalog.pg_constraint AS k WHERE k.contype IN ('p', 'u', 'x') AND k.conindid >= 16384
),
pairs AS MATERIALIZED (
    -- a: superfluous beside b
    SELECT a.indexrelid, b.indexrelid AS other,
           a.indkey::pg_catalog.text = b.indkey::pg_catalog.text AND a.indnkeyatts = b.indnkeyatts AS same
    FROM pg_catalog.pg_index AS a
    JOIN pg_catalog.pg_index AS b
      ON b.indrelid = a.indrelid AND b.indkey[0] = a.indkey[0] AND b.indexrelid <> a.indexrelid
    JOIN pg_catalog.pg_class AS ac ON ac.oid = a.indexrelid
    JOIN pg_catalog.pg_class AS bc ON bc.oid = b.indexrelid AND bc.relam = ac.relam
    WHERE a.indrelid >= 16384 AND a.indisvalid AND b.indisvalid
      AND b.indpred::pg_catalog.text IS NOT DISTINCT FROM a.indpred::pg_catalog.text
      AND CASE
          WHEN a.indkey::pg_catalog.text = b.indkey::pg_catalog.text AND a.indnkeyatts = b.indnkeyatts
          THEN a.indclass::pg_catalog.text = b.indclass::pg_catalog.text
               AND a.indcollation::pg_catalog.text = b.indcollation::pg_catalog.text
               AND a.indoption::pg_catalog.text = b.indoption::pg_catalog.text
               AND b.indexprs::pg_catalog.text IS NOT DISTINCT FROM a.indexprs::pg_catalog.text
               AND NOT a.indisexclusion AND NOT b.indisexclusion
               -- of two the one that does less, or is younger
               AND (a.indexrelid IN (SELECT k.conindid FROM constraints AS k), a.indisunique, a.indisreplident,
                    -a.indexrelid::pg_catalog.int8)
                   < (b.indexrelid IN (SELECT k.conindid FROM constraints AS k), b.indisunique, b.indisreplident,
                      -b.indexrelid::pg_catalog.int8)
          ELSE NOT a.indisunique AND NOT a.indisexclusion AND ac.relam = 403 -- btree
               AND a.indnatts = a.indnkeyatts AND b.indnkeyatts >= a.indnkeyatts
               AND a.indexprs IS NULL AND b.indexprs IS NULL
               AND pg_catalog.starts_with(b.indkey::pg_catalog.text, a.indkey::pg_catalog.text || ' ')
               AND pg_catalog.starts_with(b.indclass::pg_catalog.text || ' ', a.indclass::pg_catalog.text || ' ')
               AND pg_catalog.starts_with(b.indcollation::pg_catalog.text || ' ', a.indcollation::pg_catalog.text || ' ')
               AND pg_catalog.starts_with(b.indoption::pg_catalog.text || ' ', a.indoption::pg_catalog.text || ' ')
          END
),
chosen AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.indisunique, i.indisvalid, u.backs_constraint, u.unused, c.relname, c.relpages,
           c.relispartition, c.xmin, u.scans
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    CROSS JOIN LATERAL (
        SELECT s.scans, s.backs_constraint,
               s.scans = 0 AND NOT s.backs_constraint AND NOT i.indisunique AND NOT i.indisexclusion
                   AND NOT i.indisreplident AND NOT c.relispartition AS unused
        FROM (SELECT pg_catalog.pg_stat_get_numscans(i.indexrelid) AS scans,
                     -- IN and no join: whatever the planner expects, it is looked up in a hash table
                     i.indexrelid IN (SELECT k.conindid FROM constraints AS k) AS backs_constraint
              OFFSET 0) AS s
    ) AS u
    -- partitioned indexes hold nothing; 99 is pg_toast
    WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indrelid >= 16384 AND c.relnamespace <> 99
    ORDER BY i.indisvalid,
             c.relpages::pg_catalog.float8
                 * CASE WHEN u.unused OR i.indexrelid IN (SELECT p.indexrelid FROM pairs AS p) THEN 10 ELSE 1 END DESC,
             c.relname
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
       c.indexrelid::pg_catalog.int8 AS relid,
       CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname::pg_catalog.text || '.' END
           || t.relname::pg_catalog.text AS relation,
       c.relname::pg_catalog.text AS index,
       CASE WHEN c.indrelid IN (SELECT k.relation FROM locked AS k) OR c.indexrelid IN (SELECT k.relation FROM locked AS k)
            THEN c.relpages::pg_catalog.int8 * here.block_size
            ELSE /*?size_bytes*/ pg_catalog.pg_relation_size(c.indexrelid) /*:NULL::pg_catalog.int8*/ END AS size_bytes,
       c.scans AS idx_scan,
       c.scans AS idx_scans_total,
       pg_catalog.pg_stat_get_tuples_returned(c.indexrelid) AS idx_tup_read,
       NULL::pg_catalog.float8 AS last_idx_scan_s,
       c.indisunique AS is_unique,
       c.indisvalid AS is_valid,
       c.backs_constraint,
       CASE WHEN NOT c.indisvalid
            THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS g
                                   WHERE g.datname = pg_catalog.current_database() AND g.index_relid = c.indexrelid)
                      THEN 'being built'
                      -- whose build it is, is hidden from our role
                      WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS g
                                   WHERE g.datname = pg_catalog.current_database() AND g.index_relid IS NULL)
                      THEN 'invalid, or being built'
                      ELSE 'invalid: a CREATE INDEX CONCURRENTLY failed' END
            WHEN p.same THEN 'duplicate of ' || p.other
            WHEN p.other IS NOT NULL THEN 'same leading columns as ' || p.other
            WHEN c.unused AND d.days >= 1 AND NOT here.standby
            THEN 'never used since the counters began, ' || d.days::pg_catalog.text
                 || CASE d.days WHEN 1 THEN ' day' ELSE ' days' END
       END AS hint
FROM chosen AS c
CROSS JOIN here
JOIN pg_catalog.pg_class AS t ON t.oid = c.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN LATERAL (
    SELECT p.same, o.relname::pg_catalog.text AS other
    FROM pairs AS p
    JOIN pg_catalog.pg_class AS o ON o.oid = p.other
    WHERE p.indexrelid = c.indexrelid
    ORDER BY p.same DESC, p.other
    LIMIT 1
) AS p ON true
CROSS JOIN LATERAL (
    -- the row in pg_class is never older than its index
    SELECT pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp()
               - greatest(here.since, CASE WHEN here.commit_ts THEN pg_catalog.pg_xact_commit_timestamp(c.xmin) END))
               / 86400)::pg_catalog.int8 AS days
    OFFSET 0
) AS d
ORDER BY c.indisvalid, c.relpages DESC, relation, index
