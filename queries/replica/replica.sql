-- How far a standby has replayed. The receiver's columns are empty for a role without pg_read_all_stats.
SELECT CASE WHEN r.recovery THEN pg_catalog.pg_is_wal_replay_paused() END AS paused,
       CASE WHEN r.recovery THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::pg_catalog.int8 END AS lsn,
       w.pid IS NOT NULL AS receives,
       w.status, w.sender_host, w.sender_port::pg_catalog.int8 AS sender_port,
       CASE WHEN w.pid IS NOT NULL AND pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() THEN 0
            WHEN r.recovery
            THEN extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) * 1000
       END::pg_catalog.float8 AS lag_ms,
       pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool AS feedback,
       (SELECT pg_catalog.sum(c.confl_tablespace) FROM pg_catalog.pg_stat_database_conflicts AS c)::pg_catalog.int8 AS by_tablespace,
       (SELECT pg_catalog.sum(c.confl_lock) FROM pg_catalog.pg_stat_database_conflicts AS c)::pg_catalog.int8 AS by_lock,
       (SELECT pg_catalog.sum(c.confl_snapshot) FROM pg_catalog.pg_stat_database_conflicts AS c)::pg_catalog.int8 AS by_snapshot,
       (SELECT pg_catalog.sum(c.confl_bufferpin) FROM pg_catalog.pg_stat_database_conflicts AS c)::pg_catalog.int8 AS by_bufferpin,
       (SELECT pg_catalog.sum(c.confl_deadlock) FROM pg_catalog.pg_stat_database_conflicts AS c)::pg_catalog.int8 AS by_deadlock
FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery OFFSET 0) AS r
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON true
