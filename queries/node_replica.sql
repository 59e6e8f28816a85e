-- title = "The OLAP pool's own server"
-- pool = "replica"
-- interval = "1s"
-- internal = true
-- about = """
-- What the OLAP pool's server says of itself, if it is another one than the watched server: whether it is in recovery,
-- how far it has replayed, and what recovery has cancelled there. It only feeds the panel of nodes.
-- Blind spot: the receiver's columns are empty for a role without pg_read_all_stats."""

SELECT r.in_recovery,
       substring(pg_catalog.current_setting('server_version') FROM '^\S+') AS version,
       (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 AS started_us,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail where it is revoked
            THEN /*?system*/ substring(pg_catalog.query_to_xml(
                     'SELECT system_identifier FROM pg_catalog.pg_control_system()', false, true, '')::pg_catalog.text
                 FROM '>([0-9]+)<') /*:NULL*/
       END AS system,
       CASE WHEN r.in_recovery
            THEN /*?paused*/ pg_catalog.pg_is_wal_replay_paused() /*:NULL*/ END::pg_catalog.bool AS paused,
       CASE WHEN r.in_recovery
            THEN /*?replayed_bytes*/ pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0') /*:NULL*/
       END::pg_catalog.int8 AS replayed_bytes,
       CASE WHEN r.in_recovery
            THEN /*?caught_up*/ pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() /*:NULL*/
       END::pg_catalog.bool AS caught_up,
       CASE WHEN r.in_recovery
            THEN /*?replay_age_s*/ extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
                 /*:NULL*/ END::pg_catalog.float8 AS replay_age_s,
       w.receives, w.slot_name,
       CASE WHEN r.in_recovery THEN nullif(pg_catalog.current_setting('primary_slot_name', true), '') END AS set_slot_name,
       CASE WHEN r.in_recovery THEN pg_catalog.current_setting('restore_command', true) <> '' END AS restores,
       pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool AS feedback,
       pg_catalog.host(pg_catalog.inet_server_addr()) AS address,
       /*?sessions*/
       (SELECT pg_catalog.sum(pg_catalog.pg_stat_get_db_numbackends(o.oid)) FROM pg_catalog.pg_database AS o)::pg_catalog.int8
       /*:NULL::pg_catalog.int8*/ AS sessions,
       c.by_snapshot, c.by_lock, c.by_bufferpin, c.by_deadlock, c.by_tablespace
FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery OFFSET 0) AS r
CROSS JOIN LATERAL (
    /*?receives slot_name*/
    SELECT pg_catalog.count(*) > 0 AS receives, pg_catalog.max(x.slot_name) AS slot_name
    FROM pg_catalog.pg_stat_wal_receiver AS x WHERE x.pid IS NOT NULL
    /*:SELECT NULL::pg_catalog.bool AS receives, NULL::pg_catalog.text AS slot_name*/
) AS w
CROSS JOIN LATERAL (
    /*?by_snapshot by_lock by_bufferpin by_deadlock by_tablespace*/
    SELECT pg_catalog.sum(d.confl_snapshot)::pg_catalog.int8 AS by_snapshot,
           pg_catalog.sum(d.confl_lock)::pg_catalog.int8 AS by_lock,
           pg_catalog.sum(d.confl_bufferpin)::pg_catalog.int8 AS by_bufferpin,
           pg_catalog.sum(d.confl_deadlock)::pg_catalog.int8 AS by_deadlock,
           pg_catalog.sum(d.confl_tablespace)::pg_catalog.int8 AS by_tablespace
    FROM pg_catalog.pg_stat_database_conflicts AS d
    /*:SELECT NULL::pg_catalog.int8 AS by_snapshot, NULL::pg_catalog.int8 AS by_lock, NULL::pg_catalog.int8 AS by_bufferpin,
              NULL::pg_catalog.int8 AS by_deadlock, NULL::pg_catalog.int8 AS by_tablespace*/
) AS c
