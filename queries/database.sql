-- title = "OLTP"
-- pool = "oltp"
-- interval = "1s"
-- order = 40
-- digit = 4
-- sampling = { samples = "two", background = "5s" }
-- counters = [
--     "xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_inserted", "tup_updated", "tup_deleted",
--     "tup_returned", "tup_fetched", "temp_files", "temp_bytes", "deadlocks", "conflicts", "active_time_ms",
--     "wal_lsn_bytes", "checkpoints"
-- ]
-- chart = { kind = "stat" }
-- about = """
-- One row: the counters of the current database and facts about the server. Rates are differences of two
-- samples. Cost: 0.2 ms; on PostgreSQL 13 and 14 more, since every sample makes the statistics collector
-- write its file. Blind spot: a statement is counted when it ends, and a session reports at most once a
-- second and when idle, so counters lag behind the work.
-- """
--
-- [columns.now_epoch]
-- unit = "time"
-- hidden = true
-- help = "Server's clock at the sample."
-- [columns.xmax]
-- hidden = true
-- help = "Next transaction id as 64-bit number: with now_epoch it turns ages in transactions into time. Reading it uses up no id."
-- [columns.xmin]
-- hidden = true
-- help = "The oldest transaction id that a snapshot taken now sees as running, as 64-bit number."
-- [columns.postmaster_start]
-- title = "started"
-- unit = "time"
-- help = "Server start. A change means that all rates start over."
-- [columns.stats_reset]
-- title = "stats reset"
-- unit = "time"
-- help = "Last reset of this database's counters; none if never."
-- [columns.in_recovery]
-- title = "standby"
-- unit = "flag"
-- help = "A standby: read only, WAL is replayed."
-- [columns.replay_lag_s]
-- title = "replay lag"
-- unit = "seconds"
-- help = "Standby only: 0 when all received WAL is replayed and the receiver runs, else the age of the last replayed commit. On an idle primary without receiver it grows although nothing is missing. Measured between two servers' clocks."
-- [columns.xact_commit]
-- title = "commits"
-- unit = "count"
-- help = "Transactions committed, read-only ones and this program's included. Each parallel worker that starts counts as two."
-- [columns.xact_rollback]
-- title = "rollbacks"
-- unit = "count"
-- help = "Transactions rolled back, by ROLLBACK, error or a lost client."
-- [columns.blks_read]
-- title = "blocks read"
-- unit = "count"
-- help = "Blocks not found in shared_buffers. The kernel may have had them: this is not disk I/O."
-- [columns.blks_hit]
-- title = "blocks hit"
-- unit = "count"
-- help = "Blocks found in shared_buffers."
-- [columns.tup_inserted]
-- title = "inserted"
-- unit = "count"
-- help = "Rows inserted."
-- [columns.tup_updated]
-- title = "updated"
-- unit = "count"
-- help = "Rows updated; each leaves a dead version."
-- [columns.tup_deleted]
-- title = "deleted"
-- unit = "count"
-- help = "Rows deleted; each leaves a dead version."
-- [columns.tup_returned]
-- title = "returned"
-- unit = "count"
-- help = "Rows read by sequential scans and index entries read: what the server looked at."
-- [columns.tup_fetched]
-- title = "fetched"
-- unit = "count"
-- help = "Rows fetched by index scans. Far below returned means large scans: OLAP, or a missing index."
-- [columns.temp_files]
-- title = "temp files"
-- unit = "count"
-- help = "Sorts and hashes that did not fit work_mem; counted when the file is dropped."
-- [columns.temp_bytes]
-- title = "temp bytes"
-- unit = "bytes"
-- help = "Bytes written to such files."
-- [columns.deadlocks]
-- unit = "count"
-- help = "Deadlocks resolved by aborting a transaction."
-- [columns.conflicts]
-- unit = "count"
-- help = "Standby only: statements cancelled because replay needed what they held."
-- [columns.active_time_ms]
-- title = "active time"
-- unit = "ms"
-- help = "Time sessions spent on statements; its rate is the average number of busy sessions. Counted when a statement ends. PostgreSQL 14 and later."
-- [columns.numbackends]
-- title = "sessions"
-- unit = "count"
-- help = "Sessions in this database, this program's and parallel workers included."
-- [columns.numbackends_all]
-- title = "all sessions"
-- unit = "count"
-- help = "Sessions in all databases."
-- [columns.max_connections]
-- title = "max"
-- unit = "count"
-- help = "max_connections."
-- [columns.usable_connections]
-- title = "usable"
-- unit = "count"
-- help = "max_connections without the slots reserved for superusers and (16 and later) pg_use_reserved_connections: where ordinary roles are refused."
-- [columns.datfrozen_age]
-- title = "xid age"
-- unit = "count"
-- warn = 500000000
-- danger = 1500000000
-- help = "Age of the oldest unfrozen row's transaction. Normal up to slightly above autovacuum_freeze_max_age (200 M); near 2.1 G the server refuses writes."
-- [columns.wal_lsn_bytes]
-- title = "WAL"
-- unit = "bytes"
-- help = "WAL position; its rate is WAL written by the whole server. None on a standby."
-- [columns.checkpoints]
-- unit = "count"
-- help = "Checkpoints, timed and requested; timed ones skipped for lack of work are counted as well."

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
       NULL::pg_catalog.float8 AS active_time_ms,
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
