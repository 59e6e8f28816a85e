-- 14 brought pg_stat_activity.query_id and pg_locks.waitstart.

WITH s AS MATERIALIZED (
    SELECT a.pid, a.leader_pid, a.datname, a.usename, a.application_name, a.client_addr, a.client_hostname,
           a.client_port, a.backend_type, a.state, a.wait_event_type, a.wait_event, a.backend_start, a.xact_start,
           a.query_start, a.state_change, a.query_id AS query_id, a.query,
           pg_catalog.age(a.backend_xmin) AS xmin_age,
           pg_catalog.age(a.backend_xid) AS xid_age,
           a.backend_type IS NULL AS restricted,
           (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = a.usesysid) AS superuser
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.pid <> pg_catalog.pg_backend_pid()
      AND (a.state <> 'idle' OR a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL
           OR a.wait_event_type = 'Lock' OR a.backend_type IN ('autovacuum worker', 'walsender')
           OR (a.backend_type IS NULL AND a.datid IS NOT NULL AND a.usesysid IS NOT NULL))
      AND (NOT (a.usename = session_user
               AND pg_catalog.split_part(a.application_name, ' - ', 1)
                   = (SELECT pg_catalog.split_part(pg_catalog.current_setting('application_name'), ' - ', 1)))) IS NOT FALSE
),
waiters AS MATERIALIZED (
    SELECT w.pid, pg_catalog.pg_blocking_pids(w.pid) AS blockers
    FROM (SELECT pid FROM s WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT 50) AS w
),
waits AS MATERIALIZED (
    -- the EXISTS keeps the lock table unread while nobody waits
    SELECT l.pid, pg_catalog.min(l.waitstart) AS since
    FROM pg_catalog.pg_locks AS l
    WHERE NOT l.granted AND EXISTS (SELECT FROM waiters)
    GROUP BY l.pid
),
blockers AS MATERIALIZED (
    SELECT DISTINCT pg_catalog.unnest(blockers) AS pid FROM waiters
)
SELECT s.pid::pg_catalog.int8 AS pid,
       s.leader_pid::pg_catalog.int8 AS leader_pid,
       s.datname::pg_catalog.text AS datname,
       s.usename::pg_catalog.text AS usename,
       s.application_name,
       CASE WHEN s.client_port < 0 THEN 'local'
            ELSE coalesce(s.client_hostname, pg_catalog.host(s.client_addr)) END AS client,
       s.backend_type,
       s.state,
       s.wait_event_type,
       s.wait_event,
       extract(epoch FROM pg_catalog.clock_timestamp() - CASE WHEN s.state = 'active' THEN s.query_start
                                                              ELSE s.state_change END)::pg_catalog.float8 AS query_age_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - s.xact_start)::pg_catalog.float8 AS xact_age_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - s.state_change)::pg_catalog.float8 AS state_age_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - s.backend_start)::pg_catalog.float8 AS backend_age_s,
       s.xmin_age::pg_catalog.int8 AS xmin_age,
       s.xid_age::pg_catalog.int8 AS xid_age,
       nullif(pg_catalog.array_to_string(waiters.blockers, ','), '') AS blocked_by,
       extract(epoch FROM pg_catalog.clock_timestamp() - waits.since)::pg_catalog.float8 AS wait_s,
       s.query_id,
       s.query,
       s.backend_start::pg_catalog.text AS backend_start,
       s.xact_start::pg_catalog.text AS xact_start,
       s.query_start::pg_catalog.text AS query_start,
       s.restricted,
       s.superuser
FROM s
LEFT JOIN waiters ON waiters.pid = s.pid
LEFT JOIN waits ON waits.pid = s.pid
LEFT JOIN blockers ON blockers.pid = s.pid
ORDER BY CASE WHEN s.wait_event_type = 'Lock' OR blockers.pid IS NOT NULL THEN 0
              WHEN s.state = 'active' OR s.xmin_age IS NOT NULL OR s.xid_age IS NOT NULL THEN 1
              WHEN NOT s.restricted THEN 2
              ELSE 3 END,
         greatest(s.xmin_age, s.xid_age) DESC NULLS LAST,
         query_age_s DESC NULLS LAST
LIMIT 200
