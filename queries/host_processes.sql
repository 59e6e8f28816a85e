-- title = "Processes to read"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- sampling = { crowded = "every_other" }
-- about = """
-- Processes whose use of the machine is worth reading: those with the oldest running statements, those that were the last to
-- do something, and a few at random, so that each one's turn comes. At most 16.
-- Cost: one pass over pg_stat_activity, shared with other panels.
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

SELECT r.pid, r.leader_pid, r.datname, r.usename, r.application_name, r.backend_type, r.query, r.started_s
FROM (
    SELECT a.pid::pg_catalog.int8 AS pid,
           a.leader_pid::pg_catalog.int8 AS leader_pid,
           a.datname::pg_catalog.text AS datname,
           a.usename::pg_catalog.text AS usename,
           a.application_name,
           a.backend_type,
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 300) AS query,
           extract(epoch FROM a.backend_start)::pg_catalog.float8 AS started_s,
           pg_catalog.row_number() OVER (ORDER BY a.state = 'active' DESC NULLS LAST, a.query_start NULLS LAST) AS oldest,
           pg_catalog.row_number() OVER (ORDER BY a.state_change DESC NULLS LAST) AS latest,
           pg_catalog.row_number() OVER (ORDER BY pg_catalog.random()) AS drawn
    FROM pg_catalog.pg_stat_activity AS a
) AS r
WHERE r.oldest <= 6 OR r.latest <= 5 OR r.drawn <= 5
