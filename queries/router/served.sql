-- Sent before each read on the replica, in the same round trip: its answer counts only if it comes from the server that
-- was looked at, and that has replayed the session's last write.
SELECT pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text AS replayed,
       (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())
        OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 AS started
