-- title = "Databases"
-- pool = "oltp"
-- interval = "2s"
-- order = 220
-- letter = "d"
-- only_shown = true
-- key = ["datname"]
-- counters = ["checksum_failures"]
-- sort = "-xact_commit"
-- narrow = ["datname", "xact_commit", "numbackends", "blks_read"]
-- compact = ["datname", "xact_commit", "numbackends", "blks_read", "tup_returned", "temp_bytes"]
-- rates = ["xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_returned", "tup_fetched", "tup_inserted", "tup_updated", "tup_deleted", "temp_files", "temp_bytes", "deadlocks", "conflicts", "active_ms", "idle_in_xact_ms", "sessions", "sessions_fatal", "sessions_killed", "parallel_to_launch", "parallel_launched"]
-- about = """
-- The counters of each database of this server, per second, to tell which of several databases loads the machine.
-- Cost: 0.3 ms; on PostgreSQL 13 and 14 more, since every sample makes the statistics collector write its file.
-- Blind spot: a statement is counted when it ends, and a session reports at most once a second and when idle, so
-- counters lag behind the work. Reads of the catalogues shared by all databases are left out.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.datname]
-- title = "database"
-- help = "The database."
-- [columns.numbackends]
-- title = "now"
-- unit = "count"
-- help = "Sessions connected, this program's and parallel workers included."
-- [columns.xact_commit]
-- title = "commits"
-- unit = "per_second"
-- help = "Transactions committed, read-only ones and this program's included. Each parallel worker that starts counts as two."
-- [columns.xact_rollback]
-- title = "rollbacks"
-- unit = "per_second"
-- help = "Transactions rolled back, by ROLLBACK, error or a lost client."
-- [columns.blks_read]
-- title = "blocks read"
-- unit = "per_second"
-- help = "Blocks not found in shared_buffers. The kernel may have had them: this is not disk I/O."
-- [columns.blks_hit]
-- title = "blocks hit"
-- unit = "per_second"
-- help = "Blocks found in shared_buffers."
-- [columns.tup_returned]
-- title = "returned"
-- unit = "per_second"
-- help = "Rows read by sequential scans and index entries read: what the server looked at."
-- [columns.tup_fetched]
-- title = "fetched"
-- unit = "per_second"
-- help = "Rows fetched by index scans. Far below returned means large scans: OLAP, or a missing index."
-- [columns.tup_inserted]
-- title = "inserted"
-- unit = "per_second"
-- help = "Rows inserted."
-- [columns.tup_updated]
-- title = "updated"
-- unit = "per_second"
-- help = "Rows updated; each leaves a dead version."
-- [columns.tup_deleted]
-- title = "deleted"
-- unit = "per_second"
-- help = "Rows deleted; each leaves a dead version."
-- [columns.temp_files]
-- title = "temp files"
-- unit = "per_second"
-- help = "Sorts and hashes that did not fit work_mem; counted when the file is dropped."
-- [columns.temp_bytes]
-- title = "temp/s"
-- unit = "bytes"
-- help = "Bytes written to such files."
-- [columns.deadlocks]
-- unit = "per_second"
-- help = "Deadlocks resolved by aborting a transaction."
-- [columns.conflicts]
-- unit = "per_second"
-- help = "Standby only: statements cancelled because replay needed what they held."
-- [columns.active_ms]
-- title = "active/s"
-- unit = "ms"
-- help = "Time sessions spent on statements, per second: 1,000 ms is one busy session on average. Counted when a statement ends. PostgreSQL 14 and later."
-- [columns.idle_in_xact_ms]
-- title = "idle in xact/s"
-- unit = "ms"
-- help = "Time sessions spent idle in a transaction, per second: time the client took between statements. PostgreSQL 14 and later."
-- [columns.sessions]
-- title = "new sessions"
-- unit = "per_second"
-- help = "Sessions begun. Many: connections are not pooled. PostgreSQL 14 and later."
-- [columns.sessions_fatal]
-- title = "fatal"
-- unit = "per_second"
-- help = "Sessions ended by a fatal error. PostgreSQL 14 and later."
-- [columns.sessions_killed]
-- title = "killed"
-- unit = "per_second"
-- help = "Sessions ended by an administrator (pg_terminate_backend). PostgreSQL 14 and later."
-- [columns.parallel_to_launch]
-- title = "workers wanted"
-- unit = "per_second"
-- help = "Parallel workers that plans asked for. PostgreSQL 18 and later."
-- [columns.parallel_launched]
-- title = "workers launched"
-- unit = "per_second"
-- help = "Parallel workers that were launched. Fewer than asked for: max_parallel_workers or max_worker_processes was used up, and the statements took longer than planned. PostgreSQL 18 and later."
-- [columns.checksum_failures]
-- title = "bad checksums"
-- unit = "count"
-- danger = 0.0
-- help = "Blocks whose checksum was wrong: the storage or the memory is faulty. None if checksums are off."
-- [columns.stats_reset_s]
-- title = "counting for"
-- unit = "seconds"
-- help = "Since the last reset of its counters; none if never."

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       d.datname::pg_catalog.text AS datname,
       d.numbackends::pg_catalog.int8 AS numbackends,
       d.xact_commit, d.xact_rollback, d.blks_read, d.blks_hit, d.tup_returned, d.tup_fetched,
       d.tup_inserted, d.tup_updated, d.tup_deleted, d.temp_files, d.temp_bytes, d.deadlocks, d.conflicts,
       NULL::pg_catalog.float8 AS active_ms,
       NULL::pg_catalog.float8 AS idle_in_xact_ms,
       NULL::pg_catalog.int8 AS sessions,
       NULL::pg_catalog.int8 AS sessions_fatal,
       NULL::pg_catalog.int8 AS sessions_killed,
       NULL::pg_catalog.int8 AS parallel_to_launch,
       NULL::pg_catalog.int8 AS parallel_launched,
       d.checksum_failures,
       extract(epoch FROM pg_catalog.clock_timestamp() - d.stats_reset)::pg_catalog.float8 AS stats_reset_s
FROM pg_catalog.pg_stat_database AS d
WHERE d.datname IS NOT NULL
ORDER BY d.xact_commit DESC, datname
LIMIT 200
