-- 16 brought pg_replication_slots.conflicting.

WITH here AS MATERIALIZED (
    SELECT r.standby,
           CASE WHEN r.standby THEN /*?lag_bytes retained_bytes*/
                    greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
                    /*:NULL::pg_catalog.pg_lsn*/
                ELSE /*?lag_bytes write_lag_bytes flush_lag_bytes retained_bytes*/ pg_catalog.pg_current_wal_lsn()
                    /*:NULL::pg_catalog.pg_lsn*/ END AS lsn,
           CASE WHEN r.standby THEN pg_catalog.pg_is_wal_replay_paused() END AS replay_paused
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) AS r
)
SELECT u.kind, u.name, u.pid, u.client, u.state, u.sync_state, u.lag_bytes, u.lag_s, u.write_lag_bytes, u.flush_lag_bytes,
       u.retained_bytes, u.wal_status, u.safe_wal_bytes, u.xmin_age, u.catalog_xmin_age, u.active, u.inactive_s,
       u.conflicting, u.restricted, pg_catalog.pg_wal_lsn_diff(h.lsn, '0/0')::pg_catalog.int8 AS head_bytes, u.lasting,
       u.wanted, CASE WHEN u.kind = 'receiver' THEN h.replay_paused END AS replay_paused,
       CASE WHEN u.kind = 'receiver' THEN pg_catalog.current_setting('restore_command') <> '' END AS restores,
       CASE WHEN u.kind = 'receiver'
            THEN /*?replayed_s*/ extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
                 /*:NULL*/ END::pg_catalog.float8 AS replayed_s
FROM (
    SELECT 'replica' AS kind,
           r.application_name AS name,
           r.pid::pg_catalog.int8 AS pid,
           CASE WHEN r.client_port < 0 THEN 'local'
                ELSE coalesce(r.client_hostname, pg_catalog.host(r.client_addr)) END AS client,
           r.state,
           r.sync_state,
           pg_catalog.pg_wal_lsn_diff(here.lsn, r.replay_lsn)::pg_catalog.int8 AS lag_bytes,
           extract(epoch FROM r.replay_lag)::pg_catalog.float8 AS lag_s,
           pg_catalog.pg_wal_lsn_diff(here.lsn, r.write_lsn)::pg_catalog.int8 AS write_lag_bytes,
           pg_catalog.pg_wal_lsn_diff(here.lsn, r.flush_lsn)::pg_catalog.int8 AS flush_lag_bytes,
           NULL::pg_catalog.int8 AS retained_bytes,
           NULL::pg_catalog.text AS wal_status,
           NULL::pg_catalog.int8 AS safe_wal_bytes,
           pg_catalog.age(r.backend_xmin)::pg_catalog.int8 AS xmin_age,
           NULL::pg_catalog.int8 AS catalog_xmin_age,
           true AS active,
           NULL::pg_catalog.float8 AS inactive_s,
           NULL::pg_catalog.bool AS conflicting,
           r.state IS NULL AS restricted,
           r.state = 'streaming' AND r.application_name !~ '_sync_[0-9]+_[0-9]+$' AS lasting,
           NULL::pg_catalog.bool AS wanted
    -- the view pg_stat_replication would go through the statements of all sessions
    FROM (SELECT w.pid, a.application_name, a.client_addr, a.client_hostname, a.client_port, a.backend_xmin, w.state,
                 w.write_lsn, w.flush_lsn, w.replay_lsn, w.replay_lag, w.sync_state
          FROM pg_catalog.pg_stat_get_wal_senders() AS w
          CROSS JOIN LATERAL pg_catalog.pg_stat_get_activity(w.pid) AS a) AS r
    CROSS JOIN here
    /*?slot*/
    UNION ALL
    SELECT 'slot',
           s.slot_name::pg_catalog.text,
           s.active_pid::pg_catalog.int8,
           s.database::pg_catalog.text,
           s.slot_type,
           NULL,
           pg_catalog.pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::pg_catalog.int8,
           NULL,
           NULL,
           NULL,
           pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn)::pg_catalog.int8,
           s.wal_status,
           s.safe_wal_size,
           pg_catalog.age(s.xmin)::pg_catalog.int8,
           pg_catalog.age(s.catalog_xmin)::pg_catalog.int8,
           s.active,
           NULL::pg_catalog.float8,
           s.conflicting,
           false,
           NOT s.temporary,
           NULL
    FROM pg_catalog.pg_replication_slots AS s
    CROSS JOIN here
    /*:*/
    /*?receiver*/
    UNION ALL
    SELECT 'receiver',
           coalesce(w.slot_name, 'walreceiver'),
           w.pid::pg_catalog.int8,
           w.sender_host || coalesce(':' || w.sender_port::pg_catalog.text, ''),
           CASE WHEN w.pid IS NULL THEN 'not running' ELSE w.status END,
           NULL,
           pg_catalog.pg_wal_lsn_diff(here.lsn, pg_catalog.pg_last_wal_replay_lsn())::pg_catalog.int8,
           CASE WHEN w.pid IS NOT NULL AND pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() THEN 0
                ELSE extract(epoch FROM pg_catalog.clock_timestamp()
                             - coalesce(pg_catalog.pg_last_xact_replay_timestamp(), pg_catalog.pg_postmaster_start_time()))
           END::pg_catalog.float8,
           pg_catalog.pg_wal_lsn_diff(w.latest_end_lsn, w.written_lsn)::pg_catalog.int8,
           pg_catalog.pg_wal_lsn_diff(w.latest_end_lsn, w.flushed_lsn)::pg_catalog.int8,
           NULL,
           NULL,
           NULL,
           NULL,
           NULL,
           w.pid IS NOT NULL,
           NULL,
           NULL,
           w.pid IS NOT NULL AND w.status IS NULL,
           false,
           -- whether there is anybody to receive from is told to pg_read_all_settings
           CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
                THEN pg_catalog.current_setting('primary_conninfo') <> '' END
    FROM here
    LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON true
    WHERE here.standby
    /*:*/
    UNION ALL
    -- those that commits wait for and that are not there
    SELECT 'replica', n.names, NULL, NULL,
           'missing: ' || n.wanted - n.there || ' of ' || n.wanted,
           'sync', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, false, false, NULL
    FROM here
    CROSS JOIN LATERAL (
        SELECT o.names,
               coalesce(substring(pg_catalog.lower(o.names) FROM '^\s*(?:first|any)?\s*([0-9]+)\s*\(')::pg_catalog.int8, 1)
                   AS wanted,
               (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_wal_senders() AS r
                WHERE r.sync_state IN ('sync', 'quorum') OR r.sync_state IS NULL) AS there
        FROM (SELECT pg_catalog.current_setting('synchronous_standby_names') AS names OFFSET 0) AS o
        WHERE o.names <> ''
    ) AS n
    WHERE NOT here.standby AND n.there < n.wanted
) AS u
CROSS JOIN here AS h
ORDER BY u.kind, u.retained_bytes DESC NULLS LAST, u.lag_bytes DESC NULLS LAST, u.name
LIMIT 200
