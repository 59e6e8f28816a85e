-- The position after everything that was committed on this session: the insert position, because a commit with
-- synchronous_commit = off is not flushed yet. If it is flushed, the replica has it within a few milliseconds.
SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text END AS written,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text END AS flushed
