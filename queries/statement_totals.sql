-- title = "Statement totals"
-- pool = "slow"
-- interval = "5s"
-- internal = true
-- sampling = { text_varies = true }
-- extension = "pg_stat_statements"
-- key = ["usename", "class"]
-- sort = "-total_exec_ms"
-- about = """
-- Calls and execution time of this database's statements by role, from pg_stat_statements without the texts and
-- without this program's own. Differences of two samples give the true mean latency and its spread for the
-- interval.
-- Cost: some 3 ms with 5,000 statements. Blind spot: a statement counts when it ends; a statement that is evicted
-- (pg_stat_statements.max) or reset takes its figures along; planning time is not included; no percentiles.
-- """
--
-- [columns.usename]
-- title = "role"
-- help = "Role the statements ran as (SET ROLE counts here)."
-- [columns.class]
-- help = "refresh or maintenance, if the texts tell; else the role does."
-- [columns.calls]
-- unit = "count"
-- help = "Statements ended; nested ones (pg_stat_statements.track = all) are left out from 14 on."
-- [columns.total_exec_ms]
-- title = "time"
-- unit = "ms"
-- help = "Time spent executing."
-- [columns.m2]
-- hidden = true
-- help = "Sum over the statements of calls x stddev^2 in ms^2: the spread within the same statement."
-- [columns.sum_squares]
-- hidden = true
-- help = "Sum of the squared execution times in ms^2: with calls and time of two samples it gives the spread over all the role's statements in between."

SELECT t.usename, t.class, t.calls, t.total_exec_ms, t.m2, t.sum_squares
FROM (VALUES (true)) AS fallback (toplevel) -- for extension versions before 1.9, which lack the column
CROSS JOIN LATERAL (
    SELECT pg_catalog.pg_get_userbyid(s.userid)::pg_catalog.text AS usename,
           -- what the texts tell: the program writes the lists
           CASE WHEN s.queryid = ANY ('{}'/*refresh*/::pg_catalog.int8[]) THEN 'refresh'
                WHEN s.queryid = ANY ('{}'/*maintenance*/::pg_catalog.int8[]) THEN 'maintenance' END AS class,
           pg_catalog.sum(s.calls)::pg_catalog.int8 AS calls,
           pg_catalog.sum(s.total_exec_time) AS total_exec_ms,
           pg_catalog.sum(s.calls * s.stddev_exec_time * s.stddev_exec_time) AS m2,
           pg_catalog.sum(s.calls * (s.stddev_exec_time * s.stddev_exec_time + s.mean_exec_time * s.mean_exec_time))
               AS sum_squares
    FROM {pg_stat_statements}(false) AS s
    WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
      AND toplevel
      AND (s.queryid = ANY ('{}'/*own*/::pg_catalog.int8[])) IS NOT TRUE
    GROUP BY s.userid, 2
) AS t
