-- 16 brought the time of the last scan.

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
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_stat_get_lastscan(c.indexrelid))::pg_catalog.float8
           AS last_idx_scan_s,
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
