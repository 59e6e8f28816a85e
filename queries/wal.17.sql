-- 17 moved the checkpoint counters to pg_stat_checkpointer, and no longer tells what sessions wrote.

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       k.num_timed + k.restartpoints_timed AS checkpoints_timed,
       k.num_requested + k.restartpoints_req AS checkpoints_requested,
       k.write_time AS checkpoint_write_ms,
       k.sync_time AS checkpoint_sync_ms,
       k.buffers_written AS buffers_checkpoint,
       b.buffers_clean,
       b.maxwritten_clean,
       NULL::pg_catalog.int8 AS buffers_backend,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_wal_lsn_diff(
                /*?wal_lsn_bytes*/ pg_catalog.pg_current_wal_lsn() /*:NULL::pg_catalog.pg_lsn*/, '0/0')::pg_catalog.int8 END
           AS wal_lsn_bytes,
       w.wal_records,
       w.wal_fpi,
       w.wal_buffers_full,
       a.archived_count AS archived,
       a.failed_count AS archive_failed,
       pg_catalog.current_setting('archive_mode') <> 'off'
           AND a.last_failed_time > coalesce(a.last_archived_time, '-infinity') AS archive_failing,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.last_archived_time)::pg_catalog.float8 AS last_archived_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.last_failed_time)::pg_catalog.float8 AS last_failed_s,
       a.last_failed_wal AS archive_failed_wal,
       /*?last_checkpoint_s*/
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail if it is revoked
            THEN substring(pg_catalog.query_to_xml(
                     'SELECT extract(epoch FROM pg_catalog.clock_timestamp() - checkpoint_time)::pg_catalog.float8 AS s
                      FROM pg_catalog.pg_control_checkpoint()', false, true, '')::pg_catalog.text
                 FROM '>(-?[0-9.]+)<')::pg_catalog.float8
       END
       /*:NULL::pg_catalog.float8*/ AS last_checkpoint_s,
       extract(epoch FROM pg_catalog.current_setting('checkpoint_timeout')::pg_catalog.interval)::pg_catalog.float8
           AS checkpoint_timeout_s,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) AS max_wal_size_bytes,
       pg_catalog.current_setting('checkpoint_completion_target')::pg_catalog.float8 AS checkpoint_completion_target,
       pg_catalog.current_setting('wal_compression') AS wal_compression,
       pg_catalog.current_setting('full_page_writes')::pg_catalog.bool AS full_page_writes,
       extract(epoch FROM k.stats_reset)::pg_catalog.float8 AS stats_reset
FROM pg_catalog.pg_stat_bgwriter AS b
CROSS JOIN pg_catalog.pg_stat_checkpointer AS k
CROSS JOIN /*?archived archive_failed archive_failing last_archived_s last_failed_s archive_failed_wal*/
    pg_catalog.pg_stat_archiver
    /*:(SELECT NULL::pg_catalog.int8 AS archived_count, NULL::pg_catalog.int8 AS failed_count,
               NULL::pg_catalog.timestamptz AS last_archived_time, NULL::pg_catalog.timestamptz AS last_failed_time,
               NULL::pg_catalog.text AS last_failed_wal)*/ AS a
CROSS JOIN /*?wal_records wal_fpi wal_buffers_full*/ pg_catalog.pg_stat_wal
    /*:(SELECT NULL::pg_catalog.int8 AS wal_records, NULL::pg_catalog.numeric AS wal_fpi,
               NULL::pg_catalog.int8 AS wal_buffers_full)*/ AS w
