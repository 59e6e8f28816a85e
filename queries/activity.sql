-- title = "Queries"
-- pool = "oltp"
-- interval = "1s"
-- key = ["pid", "backend_start"]
-- labels = ["pid", "class", "usename", "application_name"]
-- compact = ["pid", "class", "usename", "application_name", "state", "query_age_s", "xmin_age", "wait", "query"]
-- empty = "no backend runs or holds anything; idle ones are not listed"
-- about = """
-- Every backend that does something or holds something: all but idle sessions without snapshot or
-- transaction id, and without this program's own. At most 200, worst first: blockers and lock waiters,
-- then running statements and holders of a snapshot by the age of what they hold, idle transactions last.
-- Cost: one pass over pg_stat_activity, 0.3 ms with 20 sessions, 2 ms with 1,000. Lock queues are read only while somebody
-- waits, and for the 50 longest waits only.
-- Blind spot: what starts and ends between two samples is never seen; pg_stat_statements sees it.
-- Without pg_monitor the server hides what other roles' sessions do: they are marked restricted.
-- """
--
-- [columns.pid]
-- help = "Process id of the backend."
-- [columns.class]
-- title = "class"
-- help = "oltp, olap, refresh or maintenance, by the rules in the configuration (role, application, statement); worked out here, the server knows no such thing."
-- [columns.leader_pid]
-- title = "leader"
-- help = "For a parallel worker: the backend it works for. Cancel that one."
-- [columns.datname]
-- title = "database"
-- help = "Database of the session; none for physical replication."
-- [columns.usename]
-- title = "role"
-- help = "Role that logged in; SET ROLE does not show here."
-- [columns.application_name]
-- title = "app"
-- help = "What the client calls itself. Not to be trusted: any client can send any name."
-- [columns.client]
-- help = "Client host, or local for a Unix-domain socket. Behind a pooler this is the pooler."
-- [columns.backend_type]
-- title = "type"
-- help = "client backend, parallel worker, autovacuum worker, walsender, …"
-- [columns.state]
-- help = "active: runs a statement. idle in transaction: the client keeps a transaction open and sends nothing. disabled: track_activities is off there."
-- [columns.wait_event_type]
-- title = "wait type"
-- help = "What kind of thing the backend waits for at this instant. None while active means it runs on a CPU, or queues for one: PostgreSQL cannot tell these apart."
-- [columns.wait_event]
-- title = "wait event"
-- help = "What exactly it waits for. One instant is chance: the Waits panel counts many."
-- [columns.wait]
-- help = "Wait event, or the first backend it waits behind."
-- [columns.query_age_s]
-- title = "age"
-- unit = "seconds"
-- help = "Active: since the statement began, lock waits included. Otherwise: how long it has been in this state. Within a function or DO block it is the age of the outer statement."
-- [columns.xact_age_s]
-- title = "xact"
-- unit = "seconds"
-- help = "Since the transaction began. Long transactions keep locks, and with a snapshot or a transaction id they keep dead rows."
-- [columns.state_age_s]
-- title = "in state"
-- unit = "seconds"
-- help = "Since the state last changed."
-- [columns.backend_age_s]
-- title = "session"
-- unit = "seconds"
-- help = "Since the session connected."
-- [columns.xmin_age]
-- title = "xmin age"
-- unit = "count"
-- help = "Transactions begun since its snapshot: no row that died after it can be vacuumed in its database. None in READ COMMITTED between statements. A plain VACUUM shows one too, but the server ignores it."
-- [columns.xid_age]
-- title = "xid age"
-- unit = "count"
-- help = "Transactions begun since it first wrote. An open writer holds back vacuum just as a snapshot does."
-- [columns.blocks]
-- unit = "count"
-- help = "Sessions that wait for this one, directly or behind others."
-- [columns.harm]
-- help = "The order of the list: waiters it holds up count 1000 each, then its snapshot and its age in seconds; who waits counts half, and so does a parallel worker. A rank, not a measure."
-- [columns.blocked_by]
-- title = "blocked by"
-- help = "Backends it waits behind, from pg_blocking_pids: holders of the lock and those before it in the queue. 0 is a prepared transaction. Read for the 50 longest waits."
-- [columns.wait_s]
-- title = "lock wait"
-- unit = "seconds"
-- warn = 1.0
-- danger = 10.0
-- help = "Time waiting for this lock. Not known on PostgreSQL 13, nor in the wait's first moments."
-- [columns.query_id]
-- title = "query id"
-- help = "Joins with pg_stat_statements. PostgreSQL 14 and later, with compute_query_id on."
-- [columns.query]
-- help = "Text of the statement that runs, or of the last one where idle: then it is not what holds the locks. Cut at track_activity_query_size."
-- [columns.backend_start]
-- hidden = true
-- help = "Together with pid this names one session for good: pids are used again."
-- [columns.xact_start]
-- hidden = true
-- help = "Identity of the transaction for terminate."
-- [columns.query_start]
-- hidden = true
-- help = "Identity of the statement for cancel."
-- [columns.superuser]
-- unit = "flag"
-- hidden = true
-- help = "The role that logged in is a superuser: no rule of the guard touches it."
-- [columns.restricted]
-- unit = "flag"
-- help = "The server hides this session's details from our role. Cure: GRANT pg_monitor to it."

WITH s AS MATERIALIZED (
    SELECT a.pid, a.leader_pid, a.datname, a.usename, a.application_name, a.client_addr, a.client_hostname,
           a.client_port, a.backend_type, a.state, a.wait_event_type, a.wait_event, a.backend_start, a.xact_start,
           a.query_start, a.state_change, NULL::pg_catalog.int8 AS query_id, a.query,
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
       NULL::pg_catalog.float8 AS wait_s,
       s.query_id,
       s.query,
       s.backend_start::pg_catalog.text AS backend_start,
       s.xact_start::pg_catalog.text AS xact_start,
       s.query_start::pg_catalog.text AS query_start,
       s.restricted,
       s.superuser
FROM s
LEFT JOIN waiters ON waiters.pid = s.pid
LEFT JOIN blockers ON blockers.pid = s.pid
ORDER BY CASE WHEN s.wait_event_type = 'Lock' OR blockers.pid IS NOT NULL THEN 0
              WHEN s.state = 'active' OR s.xmin_age IS NOT NULL OR s.xid_age IS NOT NULL THEN 1
              WHEN NOT s.restricted THEN 2
              ELSE 3 END,
         greatest(s.xmin_age, s.xid_age) DESC NULLS LAST,
         query_age_s DESC NULLS LAST
LIMIT 200
