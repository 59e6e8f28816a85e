-- title = "Processes to read"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- sampling = { on_olap_server = "node_host_processes", crowded = "every_other" }
-- about = """
-- Processes whose use of the machine is worth reading: those with the oldest running statements, those that were active
-- last, and a few at random, so that each one's turn comes. At most 13 rows; a process may have several.
-- Cost: 0.2 ms with 200 sessions, and a pass over pg_stat_activity that other panels share.
-- """
--
-- [columns.pid]
-- help = "Process id."
-- [columns.leader_pid]
-- help = "For a parallel worker: the backend it works for."
-- [columns.datname]
-- help = "Database of the session."
-- [columns.usename]
-- help = "Role that logged in."
-- [columns.application_name]
-- help = "What the client calls itself."
-- [columns.backend_type]
-- help = "client backend, parallel worker, checkpointer, …; none if the server hides it (needs pg_monitor)."
-- [columns.query]
-- help = "Beginning of its statement, by which refreshes and maintenance are recognised."
-- [columns.started_s]
-- help = "Time of its start, in seconds since the epoch."

WITH s AS MATERIALIZED (
    SELECT a.pid, a.leader_pid, a.datname, a.usename, a.application_name, a.backend_type, a.state, a.backend_start,
           a.query_start, a.state_change, a.query
    FROM pg_catalog.pg_stat_activity AS a
)
SELECT a.pid::pg_catalog.int8 AS pid,
       a.leader_pid::pg_catalog.int8 AS leader_pid,
       a.datname::pg_catalog.text AS datname,
       a.usename::pg_catalog.text AS usename,
       a.application_name,
       a.backend_type,
       pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 300) AS query,
       extract(epoch FROM a.backend_start)::pg_catalog.float8 AS started_s
FROM (
    (SELECT * FROM s ORDER BY s.state = 'active' DESC NULLS LAST, s.query_start NULLS LAST LIMIT 5)
    UNION ALL
    (SELECT * FROM s ORDER BY s.state_change DESC NULLS LAST LIMIT 4)
    UNION ALL
    -- neighbours, from anywhere: to sort all by chance takes longer
    (SELECT * FROM s
     OFFSET (SELECT pg_catalog.floor(pg_catalog.random() * greatest(pg_catalog.count(*) - 3, 1)) FROM s) LIMIT 4)
) AS a
