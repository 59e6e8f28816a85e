-- 14 brought pg_stat_activity.query_id and pg_locks.waitstart.

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
           a.query_start, a.state_change, a.query_id AS query_id,
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
    -- the EXISTS keeps the lock table unread while nobody waits
    SELECT l.pid, l.granted, l.mode, l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
           l.classid, l.objid, l.objsubid, l.virtualtransaction, l.waitstart
    FROM pg_catalog.pg_locks AS l
    WHERE (NOT l.granted OR l.pid IS NULL) AND EXISTS (SELECT FROM waiters)
),
waits AS MATERIALIZED (
    SELECT l.pid, pg_catalog.min(l.waitstart) AS since FROM locks AS l WHERE NOT l.granted GROUP BY l.pid
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
           a.query_start, a.state_change, a.query_id AS query_id,
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
           extract(epoch FROM pg_catalog.clock_timestamp() - waits.since)::pg_catalog.float8 AS wait_s,
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
    LEFT JOIN waits ON waits.pid = s.pid
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
