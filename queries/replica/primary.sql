-- Facts about a server, and whether it can have one more replica. $1 is the name of the slot.
SELECT pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int8 AS version_num,
       pg_catalog.current_setting('server_version') AS version,
       r.rolname::pg_catalog.text AS role,
       r.rolsuper OR r.rolreplication AS may_replicate,
       pg_catalog.current_setting('wal_level') AS wal_level,
       pg_catalog.current_setting('max_wal_senders')::pg_catalog.int8 AS max_wal_senders,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_wal_senders() AS w) AS senders,
       pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8 AS max_replication_slots,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots AS s) AS slots,
       EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1) AS has_slot,
       (SELECT pg_catalog.min(t.spcname::pg_catalog.text) FROM pg_catalog.pg_tablespace AS t
        WHERE t.spcname NOT IN ('pg_default', 'pg_global')) AS tablespace,
       pg_catalog.current_setting('port')::pg_catalog.int8 AS port,
       pg_catalog.current_setting('max_slot_wal_keep_size') AS slot_keeps,
       pg_catalog.current_setting('max_connections') AS max_connections,
       pg_catalog.current_setting('max_worker_processes') AS max_worker_processes,
       pg_catalog.current_setting('max_prepared_transactions') AS max_prepared_transactions,
       pg_catalog.current_setting('max_locks_per_transaction') AS max_locks_per_transaction,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::pg_catalog.int8 END AS lsn,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail if it is revoked
            THEN substring(pg_catalog.query_to_xml(
                     'SELECT system_identifier FROM pg_catalog.pg_control_system()', false, true, '')::pg_catalog.text
                 FROM '>([0-9]+)<')
       END AS system
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user
