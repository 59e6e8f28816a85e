-- title = "Statements"
-- pool = "slow"
-- interval = "5s"
-- order = 130
-- letter = "s"
-- sampling = { samples = "two" }
-- only_shown = true
-- extension = "pg_stat_statements"
-- key = ["usename", "queryid", "toplevel"]
-- sort = "-share_pct"
-- rates = ["calls", "rows", "blocks_read", "read_ms", "temp_bytes", "wal_bytes"]
-- narrow = ["class", "usename", "share_pct", "calls", "mean_ms", "query"]
-- compact = ["class", "usename", "share_pct", "calls", "calls_change", "mean_ms", "mean_change_ms", "sd_ms", "rows_per_call", "blocks_read", "temp_bytes", "wal_bytes", "query"]
-- empty = "no statement has ended since the statistics began"
-- about = """
-- Statements of this database, from pg_stat_statements: the 200 that have taken most time since the statistics
-- began, with what they did in the last interval. Mean and deviation are those of the interval, not of all time:
-- they are made from two samples.
-- Cost: some 10 ms with 5,000 statements, of which the texts are read from a file; only while shown.
-- Blind spot: a statement counts when it ends. One that has just become expensive appears once it has overtaken
-- the 200th. A statement that is evicted (pg_stat_statements.max) or reset takes its figures along. Texts are not
-- shown if statements of databases in other encodings are among them: the server converts all or none. Planning
-- time is not included unless track_planning is on. No percentiles. The class goes by the role and the text; which
-- application sent it is not recorded. Without pg_read_all_stats others' texts are hidden. This program's own
-- statements are left out.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.class]
-- help = "Class of work, by the role and the text: oltp, olap, refresh, maintenance."
-- [columns.usename]
-- title = "role"
-- help = "Role the statement ran as (SET ROLE counts here)."
-- [columns.queryid]
-- hidden = true
-- help = "Identity of the normalised statement."
-- [columns.toplevel]
-- hidden = true
-- unit = "flag"
-- help = "Sent by a client rather than run by a function (14 and later)."
-- [columns.share_pct]
-- title = "share"
-- unit = "percent"
-- help = "Share of the execution time of all statements here, in the interval."
-- [columns.calls]
-- title = "calls"
-- unit = "per_second"
-- help = "Executions that ended, per second."
-- [columns.mean_ms]
-- title = "mean"
-- unit = "ms"
-- help = "Mean execution time of those that ended in the interval."
-- [columns.sd_ms]
-- title = "deviation"
-- unit = "ms"
-- help = "Standard deviation of the execution time in the interval: the sums of squares of two samples, subtracted."
-- [columns.rows_per_call]
-- title = "rows"
-- unit = "count"
-- help = "Rows returned or changed per execution, in the interval."
-- [columns.rows]
-- title = "rows/s"
-- unit = "per_second"
-- hidden = true
-- help = "Rows returned or changed, per second."
-- [columns.blocks_read]
-- title = "read"
-- unit = "per_second"
-- help = "Blocks that were not in shared_buffers, per second."
-- [columns.read_ms]
-- title = "reading"
-- unit = "ms"
-- hidden = true
-- help = "Milliseconds spent reading blocks, per second; 0 without track_io_timing."
-- [columns.temp_bytes]
-- title = "temp/s"
-- unit = "bytes"
-- help = "Written to temporary files, per second: sorts and hashes that did not fit work_mem."
-- [columns.wal_bytes]
-- title = "WAL/s"
-- unit = "bytes"
-- help = "WAL written, per second."
-- [columns.total_calls]
-- unit = "count"
-- hidden = true
-- help = "Executions since the statistics began."
-- [columns.total_exec_ms]
-- title = "time"
-- unit = "ms"
-- hidden = true
-- help = "Execution time since the statistics began."
-- [columns.m2]
-- hidden = true
-- help = "calls x stddev^2 in ms^2, since the statistics began."
-- [columns.total_rows]
-- unit = "count"
-- hidden = true
-- help = "Rows returned or changed since the statistics began."
-- [columns.total_blocks]
-- unit = "count"
-- hidden = true
-- help = "Blocks of tables and indexes read since the statistics began, from shared_buffers or not."
-- [columns.stats_since]
-- unit = "time"
-- hidden = true
-- help = "Time at which the statement's statistics began; none before pg_stat_statements 1.11."
-- [columns.calls_change]
-- title = "calls ±"
-- unit = "per_second"
-- change = true
-- help = "Difference to the calls per second before the moment marked with the key b, if one is."
-- [columns.mean_change_ms]
-- title = "mean ±"
-- unit = "ms"
-- change = true
-- help = "Difference to the mean before the moment marked with the key b, if one is."
-- [columns.query]
-- help = "The statement, constants replaced by parameters."

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       t.usename, t.queryid, t.toplevel, t.calls, t.rows, t.blocks_read, t.read_ms, t.temp_bytes, t.wal_bytes,
       t.total_calls, t.total_exec_ms, t.m2, t.total_rows, t.total_blocks, t.stats_since, t.query
FROM (VALUES (true, NULL::pg_catalog.float8, NULL::pg_catalog.float8, NULL::pg_catalog.timestamptz))
    AS fallback (toplevel, blk_read_time, shared_blk_read_time, stats_since) -- for extension versions that lack the column
CROSS JOIN LATERAL (
    SELECT pg_catalog.pg_get_userbyid(s.userid)::pg_catalog.text AS usename,
           s.queryid::pg_catalog.text AS queryid,
           toplevel,
           s.calls,
           s.rows,
           s.shared_blks_read AS blocks_read,
           coalesce(shared_blk_read_time, blk_read_time) AS read_ms,
           s.temp_blks_written * pg_catalog.current_setting('block_size')::pg_catalog.int8 AS temp_bytes,
           s.wal_bytes::pg_catalog.float8 AS wal_bytes,
           s.calls AS total_calls,
           s.total_exec_time AS total_exec_ms,
           s.calls * s.stddev_exec_time * s.stddev_exec_time AS m2,
           s.rows AS total_rows,
           s.shared_blks_hit + s.shared_blks_read AS total_blocks,
           extract(epoch FROM stats_since)::pg_catalog.float8 AS stats_since,
           -- a text of some megabytes stays in the server
           pg_catalog."substring"(pg_catalog.textsend(coalesce(s.query, '<not shown: databases here have other encodings>')), 1, 16385)
               AS query
    -- it converts the texts of all databases to the encoding of this one, and fails for all of them over one;
    -- LATIN1 always converts to UTF8, SQL_ASCII takes anything and has anything: it is tried
    FROM {pg_stat_statements}((
        SELECT true /* texts */ AND (me.encoding = 0 OR NOT EXISTS (
            SELECT FROM {pg_stat_statements}(false) AS e
            LEFT JOIN pg_catalog.pg_database AS o ON o.oid = e.dbid
            WHERE o.encoding NOT IN (0, me.encoding) AND NOT (me.encoding = 6 AND o.encoding = 8)
               OR o.oid IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_database AS x WHERE x.encoding NOT IN (0, me.encoding))))
        FROM pg_catalog.pg_database AS me
        WHERE me.datname = pg_catalog.current_database())) AS s
    WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
      -- this program's own begin with it
      AND (pg_catalog.strpos(s.query, '/* htap-top */') > 0) IS NOT TRUE
    ORDER BY s.total_exec_time DESC
    LIMIT 200
) AS t
