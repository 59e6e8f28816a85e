-- The primary's position in the WAL, and what a reader's wait for it depends on. If it is itself in recovery it has no
-- such position.
SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text END AS written,
       (pg_catalog.date_part('epoch', pg_catalog.current_setting('wal_writer_delay')::pg_catalog.interval)
        OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 AS writer_delay_ms,
       pg_catalog.current_setting('wal_block_size')::pg_catalog.int8 AS block,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail where it is revoked
            THEN substring(pg_catalog.query_to_xml(
                     'SELECT system_identifier FROM pg_catalog.pg_control_system()', false, true, '')::pg_catalog.text
                 FROM '>([0-9]+)<')
       END AS system
