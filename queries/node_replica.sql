-- title = "The OLAP pool's own server"
-- pool = "replica"
-- interval = "1s"
-- internal = true
-- about = """
-- What the OLAP pool's server reports about itself, if it is not the watched server: whether it is in recovery, how far
-- it has replayed, and what recovery has cancelled there. It only feeds the panel Nodes.
-- Blind spot: the receiver's columns are empty for a role without pg_read_all_stats."""
--
-- [columns.in_recovery]
-- unit = "flag"
-- help = "pg_is_in_recovery: a standby."
-- [columns.version]
-- help = "Version of PostgreSQL."
-- [columns.started_us]
-- help = "When it started, in microseconds since the epoch."
-- [columns.system]
-- help = "System identifier, the same on all copies; none if our role may not read it."
-- [columns.paused]
-- unit = "flag"
-- help = "Replay is paused, or is to be."
-- [columns.replayed_bytes]
-- unit = "bytes"
-- help = "Position of the WAL that is replayed."
-- [columns.caught_up]
-- unit = "flag"
-- help = "All WAL that was received is replayed."
-- [columns.replay_age_s]
-- unit = "seconds"
-- help = "Age of the last replayed commit, between two servers' clocks."
-- [columns.receives]
-- unit = "flag"
-- help = "A receiver runs."
-- [columns.slot_name]
-- help = "Slot that the receiver uses; none if our role may not see it."
-- [columns.set_slot_name]
-- help = "primary_slot_name."
-- [columns.restores]
-- unit = "flag"
-- help = "restore_command is set."
-- [columns.feedback]
-- unit = "flag"
-- help = "hot_standby_feedback."
-- [columns.address]
-- help = "Address that our session is connected to; none over a socket."
-- [columns.sessions]
-- unit = "count"
-- help = "Sessions in all databases."
-- [columns.by_snapshot]
-- unit = "count"
-- help = "Statements that recovery cancelled because they needed removed rows."
-- [columns.by_lock]
-- unit = "count"
-- help = "Because of a lock."
-- [columns.by_bufferpin]
-- unit = "count"
-- help = "Because of a pinned buffer."
-- [columns.by_deadlock]
-- unit = "count"
-- help = "Because of a deadlock."
-- [columns.by_tablespace]
-- unit = "count"
-- help = "Because of a dropped tablespace."

SELECT r.in_recovery,
       substring(pg_catalog.current_setting('server_version') FROM '^\S+') AS version,
       (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 AS started_us,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail if it is revoked
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
