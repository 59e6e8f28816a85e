-- Standbys that are connected; a role without pg_read_all_stats sees their number only.
SELECT a.application_name, coalesce(pg_catalog.host(a.client_addr), 'local') AS client, w.state, w.sync_state,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), w.sent_lsn)::pg_catalog.int8 AS unsent,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), w.replay_lsn)::pg_catalog.int8 AS lag
FROM pg_catalog.pg_stat_get_wal_senders() AS w
CROSS JOIN LATERAL pg_catalog.pg_stat_get_activity(w.pid) AS a
ORDER BY 1, 2
