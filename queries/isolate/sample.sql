-- All sessions, and the blockers of the 50 longest waits for a lock; read once per second.
WITH s AS MATERIALIZED (
    SELECT a.pid, a.leader_pid, a.usename, a.application_name, a.datname, a.backend_type, a.state, a.wait_event_type,
           a.wait_event, a.backend_start, a.query_start,
           -- bytes: a text of another encoding has no characters to count, and none fails
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.pid <> pg_catalog.pg_backend_pid()
),
waiters AS MATERIALIZED (
    SELECT w.pid, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(w.pid), ',') AS blockers
    FROM (SELECT pid FROM s WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT 50) AS w
)
SELECT s.pid::pg_catalog.int8 AS pid,
       s.leader_pid::pg_catalog.int8 AS leader_pid,
       s.usename::pg_catalog.text AS usename,
       s.application_name,
       s.datname::pg_catalog.text AS datname,
       s.backend_type,
       s.state,
       s.wait_event_type,
       s.wait_event,
       extract(epoch FROM s.backend_start)::pg_catalog.float8 AS started_s,
       extract(epoch FROM s.query_start)::pg_catalog.float8 AS query_start_s,
       s.query,
       waiters.blockers AS blocked_by
FROM s
LEFT JOIN waiters ON waiters.pid = s.pid
