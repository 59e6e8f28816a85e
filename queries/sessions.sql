-- title = "Sessions"
-- pool = "oltp"
-- interval = "1s"
-- key = ["datname", "usename", "application_name", "state", "waiting"]
-- sort = "-n"
-- about = """
-- All client sessions counted by database, role, application and state, without this program's own.
-- Cost: one pass over pg_stat_activity, 0.1 ms with 20 sessions, about 2 ms with 1,000.
-- Blind spot: sessions of other roles have no state where our role is not a member of pg_monitor;
-- behind a pooler these are its server connections, not the clients.
-- """
--
-- [columns.datname]
-- title = "database"
-- help = "Database the sessions are connected to."
-- [columns.usename]
-- title = "role"
-- help = "Role that logged in."
-- [columns.application_name]
-- title = "app"
-- help = "What the client calls itself."
-- [columns.state]
-- help = "active, idle, idle in transaction, …; none where the server hides it (needs pg_monitor)."
-- [columns.waiting]
-- unit = "flag"
-- help = "Waits for a lock another session holds."
-- [columns.n]
-- title = "sessions"
-- unit = "count"
-- help = "How many sessions, at this instant."

SELECT a.datname::pg_catalog.text AS datname,
       a.usename::pg_catalog.text AS usename,
       a.application_name,
       a.state,
       coalesce(a.wait_event_type = 'Lock', false) AS waiting,
       pg_catalog.count(*) AS n
FROM pg_catalog.pg_stat_activity AS a
WHERE (a.backend_type = 'client backend'
       OR (a.backend_type IS NULL AND a.datid IS NOT NULL AND a.usesysid IS NOT NULL))
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND (NOT (a.usename = session_user
               AND a.application_name = (SELECT pg_catalog.current_setting('application_name')))) IS NOT FALSE
GROUP BY 1, 2, 3, 4, 5
