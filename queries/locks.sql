-- title = "Locks"
-- pool = "oltp"
-- interval = "1s"
-- order = 110
-- letter = "l"
-- sampling = { if_restricted = true, background = "5s" }
-- only_shown = true
-- key = ["pid", "backend_start"]
-- labels = ["pid", "class", "usename", "application_name"]
-- narrow = ["tree", "frees", "application_name", "wait_s", "mode", "target"]
-- compact = ["tree", "frees", "class", "usename", "application_name", "state", "wait_s", "mode", "target", "query"]
-- empty = "nobody waits for a lock"
-- about = """
-- Who waits for a heavyweight lock, and who blocks whom: one row per session that waits or blocks one that waits,
-- and per prepared transaction that blocks. The 50 longest waits, blockers first. This program's own sessions are
-- left out unless they block somebody.
-- Cost: one pass over pg_stat_activity, 0.3 ms with 20 sessions. The lock table is read, and the queues with it,
-- only while somebody waits; without pg_monitor at each sample, even while this panel is not shown, because
-- nothing else then tells who waits. No lock is taken on any table.
-- Blind spot: what is waited for between two samples, and waits for lightweight locks, buffer pins or I/O (see the
-- wait events of Queries). A session is blocked by those ahead of it in the queue as well as by the holder of the
-- lock. Relations of other databases show as OID, with the database.
-- """
--
-- [columns.tree]
-- title = "pid"
-- help = "Each session below the one it waits for; of several, below the one deepest in the queue. Beyond the fourth level the depth is shown as a number."
-- [columns.frees]
-- unit = "count"
-- help = "How many wait for this root and no other: all of them proceed, one after another, once it ends. ≥ if more than 50 wait: whom the others wait for is not read. None if some of its waiters also wait for another root."
-- [columns.class]
-- help = "Class of work: oltp, olap, refresh, maintenance."
-- [columns.pid]
-- hidden = true
-- help = "Process id of the backend; 0 for a prepared transaction: it has none."
-- [columns.blocked_by]
-- title = "blocked by"
-- help = "Backends it waits behind, from pg_blocking_pids: holders of the lock and those before it in the queue; a parallel group shows as its leader. 0 is a prepared transaction. None: it blocks and does not wait."
-- [columns.datname]
-- title = "database"
-- help = "Database of the session."
-- [columns.usename]
-- title = "role"
-- help = "Role that logged in, or owner of the prepared transaction."
-- [columns.application_name]
-- title = "app"
-- help = "What the client calls itself; for a prepared transaction its name (gid)."
-- [columns.state]
-- help = "State of the session; prepared for a prepared transaction, which holds its locks until COMMIT PREPARED or ROLLBACK PREPARED. Idle in transaction at the head of a queue: the client keeps all others waiting and does nothing."
-- [columns.mode]
-- help = "Mode it waits for; none if it only blocks."
-- [columns.locktype]
-- title = "lock"
-- help = "Kind of object locked, as in pg_locks. transactionid and tuple are row locks: they are stored in the rows themselves, and whoever comes second waits for the first one's transaction to end."
-- [columns.target]
-- help = "What it waits for. Tables with their schema unless it is public. The row behind a transaction is known only if the waiter holds the row's tuple lock; one that waits for a unique key or a foreign key's row holds none. An advisory lock shows its one or two keys."
-- [columns.wait_s]
-- title = "waits"
-- unit = "seconds"
-- warn = 1.0
-- danger = 10.0
-- help = "Time waiting for this lock. Not known in its first moments. On PostgreSQL 13 this is the age of the statement: an upper bound."
-- [columns.xact_age_s]
-- title = "xact"
-- unit = "seconds"
-- help = "Since the transaction began; since PREPARE for a prepared one. A lock is held until the transaction ends."
-- [columns.query_age_s]
-- title = "age"
-- unit = "seconds"
-- help = "Active: since the statement began. Otherwise: how long it has been in this state."
-- [columns.query]
-- help = "Text of the running statement, or of the last one if idle: that need not be the one that took the lock."
-- [columns.backend_start]
-- hidden = true
-- help = "Identifies one session together with pid; for a prepared transaction the time of PREPARE."
-- [columns.xact_start]
-- hidden = true
-- help = "Identity of the transaction for terminate."
-- [columns.query_start]
-- hidden = true
-- help = "Identity of the statement for cancel."
-- [columns.blocked_by_xid]
-- hidden = true
-- help = "Transaction ids of the prepared transactions it waits for, which blocked by shows as 0. A | separates candidates of which only one is the blocker."
-- [columns.unasked]
-- hidden = true
-- unit = "count"
-- help = "Other waiting sessions whose blockers are not known."
-- [columns.prepared_xid]
-- hidden = true
-- help = "Transaction id of a prepared transaction."
-- [columns.restricted]
-- unit = "flag"
-- help = "The server hides this session's details from our role; it tells everybody who waits for whom. Cure: GRANT pg_monitor to it."

WITH s AS MATERIALIZED (
    SELECT a.pid, a.datid, a.datname, a.usename, a.application_name, a.state, a.wait_event_type, a.backend_start,
           a.xact_start, a.query_start, a.state_change,
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query,
           a.backend_type IS NULL AS restricted,
           coalesce(a.usename = session_user
               AND pg_catalog.split_part(a.application_name, ' - ', 1)
                   = (SELECT pg_catalog.split_part(pg_catalog.current_setting('application_name'), ' - ', 1)), false) AS own
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.pid <> pg_catalog.pg_backend_pid()
),
locks AS MATERIALIZED (
    -- The EXISTS keeps the lock table unread while nobody waits. Waited for; rows that waiters hold; and what
    -- prepared transactions hold, which have no pid.
    SELECT l.pid, l.granted, l.mode, l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
           l.classid, l.objid, l.objsubid, l.virtualtransaction, NULL::pg_catalog.timestamptz AS waitstart
    FROM pg_catalog.pg_locks AS l
    WHERE (NOT l.granted OR l.locktype = 'tuple' OR l.pid IS NULL)
      AND EXISTS (SELECT FROM s WHERE s.wait_event_type = 'Lock' OR (s.restricted AND s.datid IS NOT NULL))
),
waits AS MATERIALIZED (
    -- once per pid: it stops the whole lock table for a moment
    SELECT w.*, /*?blocked_by*/ pg_catalog.pg_blocking_pids(w.pid) /*:NULL::pg_catalog.int4[]*/ AS blockers
    FROM (SELECT l.*, s.own, coalesce(l.waitstart, s.state_change) AS since
          FROM locks AS l
          JOIN s ON s.pid = l.pid
          WHERE NOT l.granted AND (s.wait_event_type = 'Lock' OR s.restricted)
          ORDER BY coalesce(l.waitstart, s.query_start)
          LIMIT 50) AS w
),
waiters AS MATERIALIZED (
    SELECT w.*
    FROM waits AS w
    WHERE NOT w.own OR w.pid IN (SELECT pg_catalog.unnest(x.blockers) FROM waits AS x WHERE NOT x.own)
),
blockers AS MATERIALIZED (
    SELECT DISTINCT pg_catalog.unnest(w.blockers) AS pid FROM waiters AS w
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
me AS MATERIALIZED (
    SELECT d.oid AS datid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
)
SELECT r.pid, r.blocked_by, r.datname, r.usename, r.application_name, r.state, r.mode, r.locktype, r.target, r.wait_s,
       r.xact_age_s, r.query_age_s, r.query, r.backend_start, r.xact_start, r.query_start, r.restricted,
       r.blocked_by_xid, r.prepared_xid,
       (SELECT pg_catalog.count(DISTINCT l.pid)
        FROM locks AS l
        JOIN s ON s.pid = l.pid
        WHERE NOT l.granted AND NOT s.own AND (s.wait_event_type = 'Lock' OR s.restricted)
          AND l.pid NOT IN (SELECT w.pid FROM waits AS w)) AS unasked
FROM (
    SELECT s.pid::pg_catalog.int8 AS pid,
           nullif(pg_catalog.array_to_string(w.blockers, ','), '') AS blocked_by,
           s.datname::pg_catalog.text AS datname,
           s.usename::pg_catalog.text AS usename,
           s.application_name,
           s.state,
           w.mode,
           w.locktype,
           CASE w.locktype
               WHEN 'relation' THEN t.name
               WHEN 'extend' THEN 'extend ' || t.name
               WHEN 'page' THEN 'page of ' || t.name
               WHEN 'tuple' THEN 'row of ' || t.name
               WHEN 'transactionid' THEN 'transaction ' || w.transactionid::pg_catalog.text
                                         || coalesce(' (row of ' || t.name || ')', '')
               WHEN 'virtualxid' THEN 'virtual transaction ' || w.virtualxid
               WHEN 'object' THEN coalesce(class.relname::pg_catalog.text, 'class ' || w.classid::pg_catalog.text)
                                  || ' ' || w.objid::pg_catalog.text
               WHEN 'advisory' THEN 'advisory ' || CASE WHEN w.objsubid = 1
                   THEN ((w.classid::pg_catalog.int8 << 32) | w.objid::pg_catalog.int8)::pg_catalog.text
                   -- two keys of 32 bits, shown without their sign
                   ELSE (w.classid::pg_catalog.int8 - CASE WHEN w.classid >= 2147483648 THEN 4294967296 ELSE 0 END)::pg_catalog.text
                        || ':'
                        || (w.objid::pg_catalog.int8 - CASE WHEN w.objid >= 2147483648 THEN 4294967296 ELSE 0 END)::pg_catalog.text
                   END
               ELSE w.locktype END AS target,
           extract(epoch FROM pg_catalog.clock_timestamp() - w.since)::pg_catalog.float8 AS wait_s,
           extract(epoch FROM pg_catalog.clock_timestamp() - s.xact_start)::pg_catalog.float8 AS xact_age_s,
           extract(epoch FROM pg_catalog.clock_timestamp() - CASE WHEN s.state = 'active' THEN s.query_start
                                                                  ELSE s.state_change END)::pg_catalog.float8 AS query_age_s,
           s.query,
           s.backend_start::pg_catalog.text AS backend_start,
           s.xact_start::pg_catalog.text AS xact_start,
           s.query_start::pg_catalog.text AS query_start,
           s.restricted,
           behind.xids AS blocked_by_xid,
           NULL::pg_catalog.text AS prepared_xid
    FROM s
    CROSS JOIN me
    LEFT JOIN waiters AS w ON w.pid = s.pid
    LEFT JOIN behind ON behind.pid = s.pid
    LEFT JOIN pg_catalog.pg_class AS class ON class.oid = w.classid AND w.locktype = 'object'
    LEFT JOIN LATERAL (
        SELECT coalesce(CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname::pg_catalog.text || '.' END
                            || c.relname::pg_catalog.text,
                        'relation ' || x.relation::pg_catalog.text || coalesce(' in ' || d.datname::pg_catalog.text, '')) AS name
        FROM (SELECT w.database, w.relation WHERE w.relation IS NOT NULL
              UNION ALL
              -- who waits for a row's transaction holds the row's tuple lock as its place in the queue
              SELECT l.database, l.relation
              FROM locks AS l
              WHERE w.locktype = 'transactionid' AND l.pid = w.pid AND l.granted AND l.locktype = 'tuple'
              LIMIT 1) AS x
        LEFT JOIN pg_catalog.pg_class AS c ON c.oid = x.relation AND x.database IN (me.datid, 0)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_database AS d ON d.oid = x.database AND d.oid <> me.datid
    ) AS t ON true
    WHERE w.pid IS NOT NULL OR s.pid IN (SELECT b.pid FROM blockers AS b)
    UNION ALL
    SELECT DISTINCT 0, NULL, p.database::pg_catalog.text, p.owner::pg_catalog.text, p.gid, 'prepared', NULL, NULL, NULL,
           NULL::pg_catalog.float8,
           extract(epoch FROM pg_catalog.now() - p.prepared)::pg_catalog.float8,
           NULL::pg_catalog.float8, NULL::pg_catalog.bytea, p.prepared::pg_catalog.text, p.prepared::pg_catalog.text, NULL, false, NULL,
           p.transaction::pg_catalog.text
    FROM prepared AS p
) AS r
ORDER BY r.blocked_by IS NOT NULL, r.wait_s DESC NULLS LAST, r.xact_age_s DESC NULLS LAST
LIMIT 200
