-- title = "Locks in front of the point query"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- only_shown = true
-- key = ["pid", "quoted"]
-- about = """
-- Who holds a table of this database in ACCESS EXCLUSIVE mode, or waits for that mode: every reader of the table
-- waits behind them. Read only while point queries fail: our own sessions appear in no other panel, so nothing
-- else tells why.
-- Cost: one pass over the lock table.
-- Blind spot: locks of other modes and on rows: a point query that locks rows waits for those, too.
-- """
--
-- [columns.pid]
-- help = "Backend; 0 for a prepared transaction."
-- [columns.application_name]
-- help = "What the client calls itself; for a prepared transaction its name."
-- [columns.usename]
-- help = "Role that logged in, or that prepared the transaction."
-- [columns.datname]
-- help = "Database of the prepared transaction."
-- [columns.state]
-- help = "prepared, if it is a prepared transaction."
-- [columns.granted]
-- unit = "flag"
-- help = "It holds the lock. If not, it waits for it, and every reader that comes later waits behind it."
-- [columns.schemaname]
-- help = "Schema of the table."
-- [columns.relname]
-- help = "The table; for an index, its table."
-- [columns.quoted]
-- help = "The table, quoted for a statement."

SELECT coalesce(l.pid, 0)::pg_catalog.int8 AS pid,
       coalesce(p.gid, a.application_name) AS application_name,
       coalesce(p.owner, pg_catalog.pg_get_userbyid(a.usesysid))::pg_catalog.text AS usename,
       p.database::pg_catalog.text AS datname,
       CASE WHEN l.pid IS NULL THEN 'prepared' END AS state,
       l.granted,
       n.nspname::pg_catalog.text AS schemaname,
       t.relname::pg_catalog.text AS relname,
       pg_catalog.format('%I.%I', n.nspname, t.relname) AS quoted
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
JOIN pg_catalog.pg_class AS t ON t.oid = coalesce(i.indrelid, c.oid)
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS a ON l.pid IS NOT NULL
LEFT JOIN LATERAL (
    -- two of the same virtual transaction cannot be told apart
    SELECT (pg_catalog.array_agg(x.gid))[1] AS gid, (pg_catalog.array_agg(x.owner))[1] AS owner,
           (pg_catalog.array_agg(x.database))[1] AS database
    FROM pg_catalog.pg_locks AS its
    JOIN /*?usename*/ pg_catalog.pg_prepared_xacts
         /*:(SELECT NULL::pg_catalog.xid AS transaction, NULL::pg_catalog.text AS gid, NULL::pg_catalog.name AS owner,
                    NULL::pg_catalog.name AS database WHERE false)*/ AS x ON x.transaction = its.transactionid
    WHERE l.pid IS NULL AND its.pid IS NULL AND its.locktype = 'transactionid'
      AND its.virtualtransaction = l.virtualtransaction
    HAVING pg_catalog.count(*) = 1
) AS p ON true
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
  AND l.database IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
ORDER BY l.granted DESC, 1
LIMIT 50
