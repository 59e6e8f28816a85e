-- Whether the replica may serve reads: is it still in recovery, how far is it, is it a copy of the primary.
SELECT pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text AS replayed,
       (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())
        OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 AS started,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() END AS paused,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail where it is revoked
            THEN substring(pg_catalog.query_to_xml(
                     'SELECT system_identifier FROM pg_catalog.pg_control_system()', false, true, '')::pg_catalog.text
                 FROM '>([0-9]+)<')
       END AS system
