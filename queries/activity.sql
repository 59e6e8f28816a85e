-- title = "Queries"
-- pool = "oltp"
-- interval = "1s"
-- order = 80
-- digit = 8
-- sampling = { background = "5s" }
-- key = ["pid", "backend_start"]
-- labels = ["pid", "class", "usename", "application_name"]
-- narrow = ["pid", "class", "application_name", "state", "query_age_s", "wait", "query"]
-- compact = ["pid", "class", "usename", "application_name", "state", "cpu_pct", "query_age_s", "xmin_age", "wait", "pooler_client", "query"]
-- empty = "no backend is running or holding anything; idle ones are not listed"
-- about = """
-- Every backend that is doing or holding something: all but idle sessions without a snapshot or transaction id,
-- and without this program's own. At most 200, worst first: blockers and lock waiters, then running statements and
-- holders of a snapshot by the age of what they hold, idle transactions last.
-- Cost: one pass over pg_stat_activity, 0.3 ms with 20 sessions, 2 ms with 1,000. Lock queues are read only while
-- somebody waits, and only for the 50 longest waits.
-- Blind spot: what starts and ends between two samples is never seen; pg_stat_statements sees it. Without
-- pg_monitor the server hides what other roles' sessions do: they are marked restricted.
-- """
--
-- [columns.pid]
-- help = "Process id of the backend."
-- [columns.class]
-- title = "class"
-- help = "oltp, olap, refresh or maintenance, by the rules in the configuration (role, application, statement); derived by this program; the server does not know it."
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
-- help = "What the client calls itself; for a logical replication worker, its subscription. Do not trust it: any client can send any name."
-- [columns.client]
-- help = "Client host, or local for a Unix-domain socket. Behind a pooler this is the pooler."
-- [columns.client_port]
-- title = "port"
-- hidden = true
-- help = "The client's TCP port; -1 for a Unix-domain socket. Behind a pooler this is the pooler's."
-- [columns.pooler_client]
-- title = "behind pooler"
-- help = "Only with --pooler: the client that has this server connection of the pooler, as address:port and application name. Blind spot: a connection that changes hands between the two samples may show the client before or after."
-- [columns.backend_type]
-- title = "type"
-- help = "client backend, parallel worker, autovacuum worker, walsender, …"
-- [columns.state]
-- help = "active: runs a statement. idle in transaction: the client keeps a transaction open and sends nothing. disabled: track_activities is off there."
-- [columns.wait_event_type]
-- title = "wait type"
-- help = "Kind of event the backend is waiting for at this instant. None while active means it runs on a CPU, or queues for one: PostgreSQL cannot tell these apart."
-- [columns.wait_event]
-- title = "wait event"
-- help = "The exact event it is waiting for. One instant is chance: the Waits panel counts many."
-- [columns.wait]
-- help = "Wait event, or the first backend it waits behind."
-- [columns.cpu_pct]
-- title = "cpu"
-- unit = "percent"
-- help = "Processor time, that of its parallel workers included: 100 % is one core. Only if the Host panel can be read; ?: not read yet."
-- [columns.memory_bytes]
-- title = "memory"
-- unit = "bytes"
-- help = "Resident memory, shared buffers that it has touched included."
-- [columns.read_bytes_per_s]
-- title = "read /s"
-- unit = "bytes"
-- help = "Bytes per second that came from storage, not from the page cache; parallel workers included."
-- [columns.write_bytes_per_s]
-- title = "write /s"
-- unit = "bytes"
-- help = "Bytes per second given to the kernel to write; parallel workers included."
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
-- help = "Sessions that wait for this one, directly or behind others. ≥ if more than 50 wait: whom the others wait for is not read."
-- [columns.harm]
-- help = "The order of the list: waiters it blocks count 1000 each, then come its snapshot and its age in seconds; a waiting backend counts half, and so does a parallel worker. Below 1, active backends come first, each group by pid, so that rows keep their places. A rank, not a measurement."
-- [columns.blocked_by]
-- title = "blocked by"
-- help = "Backends it waits behind, from pg_blocking_pids: holders of the lock and those before it in the queue. 0 is a prepared transaction. Read for the 50 longest waits."
-- [columns.wait_s]
-- title = "lock wait"
-- unit = "seconds"
-- warn = 1.0
-- danger = 10.0
-- help = "Time waiting for this lock. Unknown on PostgreSQL 13 and in the first moments of the wait."
-- [columns.query_id]
-- title = "query id"
-- help = "Joins with pg_stat_statements. PostgreSQL 14 and later, with compute_query_id on."
-- [columns.query]
-- help = "Text of the running statement, or of the last one if idle: that one does not hold the locks. Cut at 2,000 bytes, and by the server at track_activity_query_size; its detail shows more."
-- [columns.backend_start]
-- hidden = true
-- help = "Identifies one session together with pid: pids are reused."
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
-- [columns.blocked_by_xid]
-- hidden = true
-- help = "Transaction ids of the prepared transactions it waits for, which blocked by shows as 0. A | separates candidates of which only one is the blocker."
-- [columns.prepared_xid]
-- hidden = true
-- help = "Transaction id of a prepared transaction."
-- [columns.may_signal]
-- unit = "flag"
-- hidden = true
-- help = "Our role may cancel and terminate it: it is a superuser, or has pg_signal_backend or the privileges of the session's role; only a superuser may end a superuser's session."
-- [columns.restricted]
-- unit = "flag"
-- help = "The server hides this session's details from our role. Cure: GRANT pg_monitor to it."

WITH me AS MATERIALIZED (
    SELECT r.rolsuper AS super,
           pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS signals,
           -- 18 and later
           EXISTS (SELECT FROM pg_catalog.pg_roles AS w
                   WHERE w.rolname = 'pg_signal_autovacuum_worker' AND pg_catalog.pg_has_role(w.oid, 'USAGE')) AS signals_workers
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolname = current_user
),
s AS MATERIALIZED (
    SELECT a.pid, a.leader_pid, a.datname, a.usename,
           -- of a worker of logical replication its subscription, as a statement has it; none if its name is not ASCII
           CASE WHEN pg_catalog.starts_with(a.backend_type, 'logical replication')
                THEN (SELECT pg_catalog.quote_ident(w.subname::pg_catalog.text)
                      FROM pg_catalog.pg_stat_subscription AS w
                      WHERE w.pid = a.pid
                        AND pg_catalog.encode(pg_catalog.textsend(w.subname::pg_catalog.text), 'hex') ~ '^([2-6].|7[^f])+$')
                ELSE a.application_name END AS application_name,
           a.client_addr, a.client_hostname,
           a.client_port, a.backend_type, a.state, a.wait_event_type, a.wait_event, a.backend_start, a.xact_start,
           a.query_start, a.state_change, NULL::pg_catalog.int8 AS query_id,
           -- bytes: a text of another encoding has no characters to count, and none fails
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query,
           pg_catalog.age(a.backend_xmin) AS xmin_age,
           pg_catalog.age(a.backend_xid) AS xid_age,
           a.backend_type IS NULL AS restricted,
           r.rolsuper AS superuser,
           a.usesysid
    FROM pg_catalog.pg_stat_activity AS a
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
    WHERE a.pid <> pg_catalog.pg_backend_pid()
      AND (a.state <> 'idle' OR a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL
           OR a.wait_event_type = 'Lock' OR a.backend_type IN ('autovacuum worker', 'walsender')
           OR (a.backend_type IS NULL AND a.datid IS NOT NULL AND a.usesysid IS NOT NULL))
      AND (NOT (a.usename = session_user
               AND pg_catalog.split_part(a.application_name, ' - ', 1)
                   = (SELECT pg_catalog.split_part(pg_catalog.current_setting('application_name'), ' - ', 1)))) IS NOT FALSE
),
waiters AS MATERIALIZED (
    SELECT w.pid, /*?blocked_by*/ pg_catalog.pg_blocking_pids(w.pid) /*:NULL::pg_catalog.int4[]*/ AS blockers
    FROM (SELECT pid FROM s WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT 50) AS w
),
locks AS MATERIALIZED (
    -- the EXISTS keeps the lock table unread while nobody waits for a prepared transaction
    SELECT l.pid, l.granted, l.mode, l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
           l.classid, l.objid, l.objsubid, l.virtualtransaction
    FROM pg_catalog.pg_locks AS l
    WHERE (NOT l.granted OR l.pid IS NULL) AND EXISTS (SELECT FROM waiters AS w WHERE 0 = ANY (w.blockers))
),
modes (mode, at, conflicts) AS (
    -- the server's table of conflicts, one column per mode in this order
    VALUES ('AccessShareLock', 1, '00000001'), ('RowShareLock', 2, '00000011'), ('RowExclusiveLock', 3, '00001111'),
           ('ShareUpdateExclusiveLock', 4, '00011111'), ('ShareLock', 5, '00110111'), ('ShareRowExclusiveLock', 6, '00111111'),
           ('ExclusiveLock', 7, '01111111'), ('AccessExclusiveLock', 8, '11111111')
),
prepared AS MATERIALIZED (
    -- pg_blocking_pids says 0 for any prepared transaction: it is the one that holds the same thing in a mode that
    -- conflicts. Two of the same virtual transaction cannot be told apart, but by their transaction id.
    SELECT asked.pid, held.virtualtransaction, p.transaction, p.gid, p.prepared, p.owner, p.database
    FROM waiters AS w
    JOIN locks AS asked ON asked.pid = w.pid AND NOT asked.granted
    JOIN modes AS a ON a.mode = asked.mode
    JOIN locks AS held ON held.pid IS NULL AND held.granted
     AND (asked.locktype, asked.database, asked.relation, asked.page, asked.tuple, asked.virtualxid, asked.transactionid,
          asked.classid, asked.objid, asked.objsubid)
         IS NOT DISTINCT FROM (held.locktype, held.database, held.relation, held.page, held.tuple, held.virtualxid,
                               held.transactionid, held.classid, held.objid, held.objsubid)
    JOIN modes AS h ON h.mode = held.mode AND pg_catalog.substr(a.conflicts, h.at, 1) = '1'
    JOIN locks AS its ON its.pid IS NULL AND its.granted AND its.virtualtransaction = held.virtualtransaction
     AND its.locktype = 'transactionid'
     AND (held.locktype <> 'transactionid' OR its.transactionid = held.transactionid)
    JOIN /*?blocked_by*/ pg_catalog.pg_prepared_xacts
         /*:(SELECT NULL::pg_catalog.xid AS transaction, NULL::pg_catalog.text AS gid,
                    NULL::pg_catalog.timestamptz AS prepared, NULL::pg_catalog.name AS owner,
                    NULL::pg_catalog.name AS database WHERE false)*/ AS p ON p.transaction = its.transactionid
    WHERE 0 = ANY (w.blockers)
),
behind AS MATERIALIZED (
    SELECT c.pid, pg_catalog.string_agg(c.xids, ',') AS xids
    FROM (SELECT x.pid, pg_catalog.string_agg(DISTINCT x.transaction::pg_catalog.text, '|') AS xids
          FROM prepared AS x
          GROUP BY x.pid, x.virtualtransaction) AS c
    GROUP BY c.pid
),
blockers AS MATERIALIZED (
    SELECT DISTINCT pg_catalog.unnest(blockers) AS pid FROM waiters
),
shown AS (
    SELECT * FROM s
    UNION ALL
    -- who is idle and holds others up all the same: by an advisory lock of its session
    SELECT a.pid, a.leader_pid, a.datname, a.usename, a.application_name, a.client_addr, a.client_hostname,
           a.client_port, a.backend_type, a.state, a.wait_event_type, a.wait_event, a.backend_start, a.xact_start,
           a.query_start, a.state_change, NULL::pg_catalog.int8 AS query_id,
           -- bytes: a text of another encoding has no characters to count, and none fails
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query,
           pg_catalog.age(a.backend_xmin) AS xmin_age,
           pg_catalog.age(a.backend_xid) AS xid_age,
           a.backend_type IS NULL AS restricted,
           (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = a.usesysid) AS superuser,
           a.usesysid
    FROM pg_catalog.pg_stat_activity AS a
    WHERE (SELECT pg_catalog.count(*) FROM blockers) > 0 -- else not looked for
      AND a.state = 'idle'
      AND a.pid IN (SELECT b.pid FROM blockers AS b)
      AND a.pid NOT IN (SELECT o.pid FROM s AS o)
)
SELECT r.pid, r.leader_pid, r.datname, r.usename, r.application_name, r.client, r.client_port, r.backend_type, r.state,
       r.wait_event_type, r.wait_event, r.query_age_s, r.xact_age_s, r.state_age_s, r.backend_age_s, r.xmin_age,
       r.xid_age, r.blocked_by, r.wait_s, r.query_id, r.query, r.backend_start, r.xact_start, r.query_start,
       r.restricted, r.superuser, r.may_signal, r.blocked_by_xid, r.prepared_xid
FROM (
    SELECT s.pid::pg_catalog.int8 AS pid,
           s.leader_pid::pg_catalog.int8 AS leader_pid,
           s.datname::pg_catalog.text AS datname,
           s.usename::pg_catalog.text AS usename,
           s.application_name,
           CASE WHEN s.client_port < 0 THEN 'local'
                ELSE coalesce(s.client_hostname, pg_catalog.host(s.client_addr)) END AS client,
           s.client_port::pg_catalog.int8 AS client_port,
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
           s.superuser,
           CASE WHEN me.super THEN true
                WHEN s.superuser THEN false
                -- what has no role counts as a superuser's
                WHEN s.usesysid IS NULL THEN me.signals_workers AND s.backend_type = 'autovacuum worker'
                ELSE me.signals OR pg_catalog.pg_has_role(s.usesysid, 'USAGE') END AS may_signal,
           behind.xids AS blocked_by_xid,
           NULL::pg_catalog.text AS prepared_xid,
           CASE WHEN s.wait_event_type = 'Lock' OR blockers.pid IS NOT NULL THEN 0
                WHEN s.state = 'active' OR s.xmin_age IS NOT NULL OR s.xid_age IS NOT NULL THEN 1
                WHEN NOT s.restricted THEN 2
                ELSE 3 END AS place
    FROM shown AS s
    CROSS JOIN me
    LEFT JOIN waiters ON waiters.pid = s.pid
    LEFT JOIN behind ON behind.pid = s.pid
    LEFT JOIN blockers ON blockers.pid = s.pid
    UNION ALL
    SELECT 0, NULL, p.database::pg_catalog.text, p.owner::pg_catalog.text, p.gid, NULL, NULL, 'prepared transaction', 'prepared',
           NULL, NULL, p.age_s, p.age_s, p.age_s, NULL, NULL, pg_catalog.age(p.transaction)::pg_catalog.int8, NULL, NULL, NULL,
           NULL, p.prepared::pg_catalog.text, p.prepared::pg_catalog.text, NULL, false, NULL, false, NULL,
           p.transaction::pg_catalog.text, 0
    FROM (SELECT DISTINCT x.transaction, x.gid, x.prepared, x.owner, x.database,
                 extract(epoch FROM pg_catalog.now() - x.prepared)::pg_catalog.float8 AS age_s
          FROM prepared AS x) AS p
) AS r
ORDER BY r.place,
         greatest(r.xmin_age, r.xid_age) DESC NULLS LAST,
         r.query_age_s DESC NULLS LAST
LIMIT 200
