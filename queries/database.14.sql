-- 14 brought active_time.

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       /*?xmax*/ pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8
       /*:NULL::pg_catalog.int8*/ AS xmax,
       /*?xmin*/ pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8
       /*:NULL::pg_catalog.int8*/ AS xmin,
       extract(epoch FROM /*?postmaster_start*/ pg_catalog.pg_postmaster_start_time() /*:NULL::pg_catalog.timestamptz*/)::pg_catalog.float8
           AS postmaster_start,
       extract(epoch FROM d.stats_reset)::pg_catalog.float8 AS stats_reset,
       r.in_recovery,
       CASE WHEN NOT r.in_recovery THEN NULL
            WHEN /*?replay_lag_s*/ pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn()
                 AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) /*:false*/ THEN 0
            ELSE extract(epoch FROM pg_catalog.clock_timestamp()
                     - /*?replay_lag_s*/ pg_catalog.pg_last_xact_replay_timestamp() /*:NULL::pg_catalog.timestamptz*/)
       END::pg_catalog.float8 AS replay_lag_s,
       d.xact_commit, d.xact_rollback, d.blks_read, d.blks_hit,
       d.tup_inserted, d.tup_updated, d.tup_deleted, d.tup_returned, d.tup_fetched,
       d.temp_files, d.temp_bytes, d.deadlocks, d.conflicts,
       d.active_time AS active_time_ms,
       d.numbackends::pg_catalog.int8 AS numbackends,
       /*?numbackends_all*/
       (SELECT pg_catalog.sum(pg_catalog.pg_stat_get_db_numbackends(o.oid)) FROM pg_catalog.pg_database AS o)::pg_catalog.int8
       /*:NULL::pg_catalog.int8*/ AS numbackends_all,
       pg_catalog.current_setting('max_connections')::pg_catalog.int8 AS max_connections,
       pg_catalog.current_setting('max_connections')::pg_catalog.int8
           - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
           - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int8, 0) AS usable_connections,
       pg_catalog.age(o.datfrozenxid)::pg_catalog.int8 AS datfrozen_age,
       CASE WHEN NOT r.in_recovery
            THEN pg_catalog.pg_wal_lsn_diff(
                /*?wal_lsn_bytes*/ pg_catalog.pg_current_wal_lsn() /*:NULL::pg_catalog.pg_lsn*/, '0/0')::pg_catalog.int8 END
           AS wal_lsn_bytes,
       /*?checkpoints*/ (SELECT b.checkpoints_timed + b.checkpoints_req FROM pg_catalog.pg_stat_bgwriter AS b) /*:NULL::pg_catalog.int8*/ AS checkpoints
FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery OFFSET 0) AS r
CROSS JOIN pg_catalog.pg_database AS o
JOIN pg_catalog.pg_stat_database AS d ON d.datid = o.oid
WHERE o.datname = pg_catalog.current_database()
