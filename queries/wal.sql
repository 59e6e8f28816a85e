-- title = "WAL and checkpoints"
-- pool = "oltp"
-- interval = "5s"
-- order = 160
-- letter = "w"
-- sampling = { samples = "two_if_named" }
-- counters = [
--     "checkpoints_timed", "checkpoints_requested", "checkpoint_write_ms", "checkpoint_sync_ms",
--     "buffers_checkpoint", "buffers_clean", "maxwritten_clean", "buffers_backend", "wal_lsn_bytes",
--     "wal_records", "wal_fpi", "wal_buffers_full", "archived", "archive_failed"
-- ]
-- chart = { kind = "stat" }
-- trends = [{ column = "wal_bytes_per_s", title = "WAL per second" }]
-- about = """
-- One row: how much WAL is written, how often checkpoints come and why, who writes dirty blocks, whether
-- WAL is archived, and the settings that govern it. Counters of the whole server; rates are differences of
-- two samples.
-- Cost: 0.5 ms; counters in memory, and one read of pg_control for the last checkpoint. On PostgreSQL 13
-- and 14 each sample makes the statistics collector write its file.
-- Blind spot: a checkpoint is counted when it begins, its times when it ends. WAL counters of a session
-- reach the view at the end of its statement. On a standby checkpoints are restartpoints, and no WAL is
-- written.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.checkpoints_timed]
-- title = "timed"
-- unit = "count"
-- help = "Checkpoints because checkpoint_timeout had passed, those skipped for lack of work included. This is normal."
-- [columns.checkpoints_requested]
-- title = "requested"
-- unit = "count"
-- help = "Checkpoints because WAL reached max_wal_size, or by command (CHECKPOINT, CREATE DATABASE, base backup). Many: raise max_wal_size; each makes full page images of all blocks written after it."
-- [columns.checkpoint_write_ms]
-- title = "write time"
-- unit = "ms"
-- help = "Time checkpoints spent writing, spread on purpose over checkpoint_completion_target."
-- [columns.checkpoint_sync_ms]
-- title = "sync time"
-- unit = "ms"
-- help = "Time checkpoints spent in fsync. Seconds per checkpoint: the storage cannot take what is written."
-- [columns.buffers_checkpoint]
-- title = "by checkpoints"
-- unit = "count"
-- help = "Blocks written by checkpoints; restartpoints of a standby as well."
-- [columns.buffers_clean]
-- title = "by bgwriter"
-- unit = "count"
-- help = "Blocks written by the background writer, so that sessions find clean ones."
-- [columns.maxwritten_clean]
-- title = "bgwriter stops"
-- unit = "count"
-- help = "Rounds the background writer broke off at bgwriter_lru_maxpages. Growing while sessions write themselves: raise it."
-- [columns.buffers_backend]
-- title = "by sessions"
-- unit = "count"
-- help = "Blocks written by sessions themselves, including blocks by which relations grew. Unknown from PostgreSQL 17 on: see I/O."
-- [columns.wal_lsn_bytes]
-- title = "WAL"
-- unit = "bytes"
-- help = "WAL position; its rate is WAL written by the whole server. None on a standby."
-- [columns.wal_records]
-- title = "records"
-- unit = "count"
-- help = "WAL records written. PostgreSQL 14 and later."
-- [columns.wal_fpi]
-- title = "full pages"
-- unit = "count"
-- help = "Full page images in WAL: a block's first change after a checkpoint. Much of WAL, so fewer checkpoints or wal_compression make less WAL. PostgreSQL 14 and later."
-- [columns.wal_buffers_full]
-- title = "buffers full"
-- unit = "count"
-- help = "Times a session had to write WAL because wal_buffers were full. Growing: raise wal_buffers. PostgreSQL 14 and later."
-- [columns.archived]
-- unit = "count"
-- help = "WAL files archived."
-- [columns.archive_failed]
-- title = "failed"
-- unit = "count"
-- help = "Attempts to archive that failed. Growing: WAL is kept until it works, and fills the disk."
-- [columns.archive_failing]
-- title = "failing"
-- unit = "flag"
-- help = "The last attempt to archive failed: WAL is kept until one succeeds."
-- [columns.last_archived_s]
-- title = "last archived"
-- unit = "seconds"
-- help = "Since a WAL file was last archived."
-- [columns.last_failed_s]
-- title = "last failed"
-- unit = "seconds"
-- help = "Since an attempt to archive last failed."
-- [columns.archive_failed_wal]
-- title = "failed at"
-- help = "The WAL file of that attempt."
-- [columns.last_checkpoint_s]
-- title = "last checkpoint"
-- unit = "seconds"
-- help = "Since the last finished checkpoint began (on a standby: that of the last restartpoint). Far above checkpoint_timeout: nothing was written, or one does not end. None if our role may not call pg_control_checkpoint()."
-- [columns.checkpoint_timeout_s]
-- title = "timeout"
-- unit = "seconds"
-- help = "checkpoint_timeout."
-- [columns.max_wal_size_bytes]
-- title = "max_wal_size"
-- unit = "bytes"
-- help = "max_wal_size: a checkpoint is requested well before this much WAL has accumulated. A soft limit."
-- [columns.checkpoint_completion_target]
-- title = "completion target"
-- help = "checkpoint_completion_target: share of the time between checkpoints over which writes are spread."
-- [columns.wal_compression]
-- title = "compression"
-- help = "wal_compression: off, or how full page images are compressed (on is pglz)."
-- [columns.full_page_writes]
-- title = "full_page_writes"
-- unit = "flag"
-- help = "full_page_writes. Off risks torn pages after a crash."
-- [columns.wal_bytes_per_s]
-- title = "WAL written/s"
-- unit = "bytes"
-- help = "WAL written since the sample before, per second."
-- [columns.forced_every_s]
-- title = "forced every"
-- unit = "seconds"
-- help = "Over the last five minutes: time between two checkpoints that were requested, by the volume of WAL or by a command. None if there were fewer than three."
-- [columns.bytes_per_checkpoint]
-- title = "WAL between"
-- unit = "bytes"
-- help = "Over the same time: WAL written between two checkpoints."
-- [columns.stats_reset]
-- title = "stats reset"
-- unit = "time"
-- help = "Last reset of the checkpoint counters. A change means that rates start over."

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       b.checkpoints_timed,
       b.checkpoints_req AS checkpoints_requested,
       b.checkpoint_write_time AS checkpoint_write_ms,
       b.checkpoint_sync_time AS checkpoint_sync_ms,
       b.buffers_checkpoint,
       b.buffers_clean,
       b.maxwritten_clean,
       b.buffers_backend,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_wal_lsn_diff(
                /*?wal_lsn_bytes*/ pg_catalog.pg_current_wal_lsn() /*:NULL::pg_catalog.pg_lsn*/, '0/0')::pg_catalog.int8 END
           AS wal_lsn_bytes,
       NULL::pg_catalog.int8 AS wal_records,
       NULL::pg_catalog.int8 AS wal_fpi,
       NULL::pg_catalog.int8 AS wal_buffers_full,
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
       extract(epoch FROM b.stats_reset)::pg_catalog.float8 AS stats_reset
FROM pg_catalog.pg_stat_bgwriter AS b
CROSS JOIN /*?archived archive_failed archive_failing last_archived_s last_failed_s archive_failed_wal*/
    pg_catalog.pg_stat_archiver
    /*:(SELECT NULL::pg_catalog.int8 AS archived_count, NULL::pg_catalog.int8 AS failed_count,
               NULL::pg_catalog.timestamptz AS last_archived_time, NULL::pg_catalog.timestamptz AS last_failed_time,
               NULL::pg_catalog.text AS last_failed_wal)*/ AS a
