-- title = "Statement of a backend"
-- pool = "oltp"
-- interval = "2s"
-- internal = true
-- extension = "pg_stat_statements"
-- since = 14
-- key = ["pid"]
-- about = """
-- What pg_stat_statements has counted for the statement that one backend runs, or ran last, read while its detail
-- is open: all executions by this role in this database since the statistics began. The identifier that links them
-- exists from PostgreSQL 14 on. Cost: one pass over pg_stat_statements without its texts.
-- Blind spot: an execution counts once it has ended; the running one is not included.
-- """
--
-- [columns.pid]
-- hidden = true
-- help = "The backend."
-- [columns.calls]
-- unit = "count"
-- help = "Executions."
-- [columns.mean_ms]
-- title = "mean"
-- unit = "ms"
-- help = "Mean execution time."
-- [columns.stddev_ms]
-- title = "deviation"
-- unit = "ms"
-- help = "Standard deviation of the execution time."
-- [columns.max_ms]
-- title = "longest"
-- unit = "ms"
-- help = "The longest execution."
-- [columns.rows_per_call]
-- title = "rows/call"
-- unit = "count"
-- help = "Rows returned or changed, on average."
-- [columns.read_pct]
-- title = "read"
-- unit = "percent"
-- help = "Share of the blocks it read that were not in the buffer cache."
-- [columns.temp_bytes]
-- title = "temp/call"
-- unit = "bytes"
-- help = "Written to temporary files, on average."
-- [columns.wal_bytes]
-- title = "WAL/call"
-- unit = "bytes"
-- help = "WAL written, on average."

SELECT a.pid::pg_catalog.int8 AS pid,
       s.calls,
       s.mean_ms,
       s.stddev_ms,
       s.max_ms,
       s.rows_per_call,
       s.read_pct,
       s.temp_bytes,
       s.wal_bytes
FROM pg_catalog.pg_stat_activity AS a
CROSS JOIN LATERAL (
    SELECT pg_catalog.sum(p.calls)::pg_catalog.int8 AS calls,
           (pg_catalog.sum(p.total_exec_time) / pg_catalog.sum(p.calls))::pg_catalog.float8 AS mean_ms,
           pg_catalog.max(p.stddev_exec_time)::pg_catalog.float8 AS stddev_ms,
           pg_catalog.max(p.max_exec_time)::pg_catalog.float8 AS max_ms,
           (pg_catalog.sum(p.rows) / pg_catalog.sum(p.calls))::pg_catalog.float8 AS rows_per_call,
           (100 * pg_catalog.sum(p.shared_blks_read)
               / nullif(pg_catalog.sum(p.shared_blks_hit + p.shared_blks_read), 0))::pg_catalog.float8 AS read_pct,
           (pg_catalog.sum(p.temp_blks_written) * pg_catalog.current_setting('block_size')::pg_catalog.int8
               / pg_catalog.sum(p.calls))::pg_catalog.float8 AS temp_bytes,
           (pg_catalog.sum(p.wal_bytes) / pg_catalog.sum(p.calls))::pg_catalog.float8 AS wal_bytes
    FROM {pg_stat_statements}(false) AS p
    WHERE p.queryid = a.query_id AND p.dbid = a.datid AND p.userid = a.usesysid
    HAVING pg_catalog.sum(p.calls) > 0
) AS s
WHERE a.pid = {pid}
