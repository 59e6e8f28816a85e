-- 14 counts sessions and their time.

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       d.datname::pg_catalog.text AS datname,
       d.numbackends::pg_catalog.int8 AS numbackends,
       d.xact_commit, d.xact_rollback, d.blks_read, d.blks_hit, d.tup_returned, d.tup_fetched,
       d.tup_inserted, d.tup_updated, d.tup_deleted, d.temp_files, d.temp_bytes, d.deadlocks, d.conflicts,
       d.active_time AS active_ms,
       d.idle_in_transaction_time AS idle_in_xact_ms,
       d.sessions,
       d.sessions_fatal,
       d.sessions_killed,
       NULL::pg_catalog.int8 AS parallel_to_launch,
       NULL::pg_catalog.int8 AS parallel_launched,
       d.checksum_failures,
       extract(epoch FROM pg_catalog.clock_timestamp() - d.stats_reset)::pg_catalog.float8 AS stats_reset_s
FROM pg_catalog.pg_stat_database AS d
WHERE d.datname IS NOT NULL
ORDER BY d.xact_commit DESC, datname
LIMIT 200
