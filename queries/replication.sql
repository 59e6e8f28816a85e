-- title = "Replication"
-- pool = "oltp"
-- interval = "5s"
-- order = 170
-- letter = "r"
-- sampling = { background = "10s" }
-- key = ["kind", "name", "pid"]
-- trends = [{ column = "lag_bytes", title = "greatest lag" }, { column = "retained_bytes", title = "most retained WAL" }]
-- labels = ["kind", "name"]
-- narrow = ["kind", "name", "state", "lag_bytes", "lag_s"]
-- compact = ["kind", "name", "state", "lag_bytes", "lag_s", "retained_bytes", "wal_status"]
-- empty = "no replica, no slot"
-- about = """
-- Who receives this server's WAL and how far behind it is (replicas), what WAL and rows are kept for whom (slots),
-- and on a standby what it receives itself (receiver). A replica with a slot is two rows.
-- Cost: below 1 ms; from memory.
-- Blind spot: a replica without slot that was not connected while this program watched does not show at all; one
-- that was shows as gone for an hour. On a standby the last WAL received counts as current: it does not know how
-- far ahead the primary is. Without pg_monitor the server hides replicas' and receivers' details; slots are
-- visible to everybody.
-- """
--
-- [columns.kind]
-- help = "replica (a walsender serves it), slot, or receiver (this server is a standby)."
-- [columns.name]
-- help = "application_name of the replica or subscription, name of the slot; for the receiver the slot it uses, else walreceiver."
-- [columns.pid]
-- hidden = true
-- help = "Process id of the walsender, of the walsender using the slot, or of the receiver."
-- [columns.client]
-- help = "Host of the replica, or local; for a logical slot its database; for a receiver the server it receives from."
-- [columns.state]
-- help = "For a replica: startup, catchup, streaming, backup, stopping. For a slot: physical or logical, and from PostgreSQL 17 on why it was invalidated. For a receiver: its state, or not running: then WAL comes from the archive, or not at all. gone: was there while this program watched. missing: commits wait for that many synchronous standbys, which are not connected."
-- [columns.sync_state]
-- title = "sync"
-- help = "async, potential, sync or quorum: whether commits wait for it (synchronous_standby_names)."
-- [columns.lag_bytes]
-- title = "lag"
-- unit = "bytes"
-- help = "WAL it has not replayed yet; for a logical slot: not confirmed by its client; for a receiver: received and not replayed."
-- [columns.lag_s]
-- title = "lag time"
-- unit = "seconds"
-- warn = 10.0
-- danger = 60.0
-- help = "How long the WAL that it has not replayed has been there, as seen by this program; if that was not seen, what the server reports: for a replica the time until recent WAL was replayed (replay_lag), for a receiver the age of the last replayed commit, between two servers' clocks, or since its start. 0 if nothing waits."
-- [columns.write_lag_bytes]
-- title = "not written"
-- unit = "bytes"
-- help = "WAL it has not written yet: network, or a slow walsender. For a receiver: sent by the server above and not written here."
-- [columns.flush_lag_bytes]
-- title = "not flushed"
-- unit = "bytes"
-- help = "WAL it has not flushed to disk yet: lost if this server is lost."
-- [columns.retained_bytes]
-- title = "retained"
-- unit = "bytes"
-- help = "WAL kept for the slot: from its restart_lsn to now. Without a limit (max_slot_wal_keep_size) it grows until the disk is full."
-- [columns.wal_status]
-- title = "WAL"
-- help = "reserved: within max_wal_size. extended: beyond, kept all the same. unreserved: may be removed at the next checkpoint. lost: the slot has become useless, drop it."
-- [columns.safe_wal_bytes]
-- title = "safe"
-- unit = "bytes"
-- help = "WAL that can still be written before the slot may be lost. None without max_slot_wal_keep_size."
-- [columns.xmin_age]
-- title = "xmin age"
-- unit = "count"
-- help = "Transaction ids given out since the oldest snapshot it holds: dead rows since then stay, in all databases."
-- [columns.catalog_xmin_age]
-- title = "catalog age"
-- unit = "count"
-- help = "The same for rows of system catalogues only: logical slots."
-- [columns.active]
-- unit = "flag"
-- help = "Somebody is connected. An inactive slot keeps WAL and rows forever: drop it if nobody will come back."
-- [columns.inactive_s]
-- title = "inactive"
-- unit = "seconds"
-- warn = 600.0
-- danger = 86400.0
-- help = "Since the slot was last left, or since the server's start. PostgreSQL 17 and later."
-- [columns.conflicting]
-- unit = "flag"
-- help = "A logical slot on a standby that was invalidated by recovery. PostgreSQL 16 and later."
-- [columns.restricted]
-- unit = "flag"
-- help = "The server hides its details from our role. Cure: GRANT pg_monitor to it."
-- [columns.replay_paused]
-- title = "paused"
-- unit = "flag"
-- help = "For a receiver: replay on this standby is paused (pg_wal_replay_pause)."
-- [columns.gone_s]
-- hidden = true
-- unit = "seconds"
-- help = "How long it has been gone."
-- [columns.down_s]
-- hidden = true
-- unit = "seconds"
-- help = "For a receiver: how long none has lasted; ≥ if none has been seen at all."
-- [columns.grown_bytes]
-- hidden = true
-- unit = "bytes"
-- help = "WAL added for the slot since it was first seen without a reader."
-- [columns.head_bytes]
-- hidden = true
-- unit = "bytes"
-- help = "Position of the newest WAL here."
-- [columns.lasting]
-- hidden = true
-- unit = "flag"
-- help = "Meant to last: a streaming replica, or a slot that is not temporary."
-- [columns.wanted]
-- hidden = true
-- unit = "flag"
-- help = "For a receiver: primary_conninfo is set. Unknown if our role may not read it."
-- [columns.restores]
-- hidden = true
-- unit = "flag"
-- help = "For a receiver: restore_command is set, so that WAL comes from an archive if none is received."
-- [columns.replayed_s]
-- hidden = true
-- unit = "seconds"
-- help = "For a receiver: since the last commit that was replayed here, by the primary's clock. A primary that nobody writes to commits nothing."

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
           NULL::pg_catalog.bool,
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
