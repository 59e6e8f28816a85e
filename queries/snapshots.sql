-- title = "Snapshots"
-- pool = "oltp"
-- interval = "1s"
-- order = 60
-- digit = 6
-- sampling = { crowded = "every_other", rests_on = ["database", "bloat"], background = "5s" }
-- key = ["kind", "holder", "backend_start"]
-- trends = [{ column = "age_s", title = "oldest" }, { column = "age_xids", title = "most transactions" }]
-- labels = ["kind", "class", "role", "datname"]
-- compact = ["holder", "role", "age_s", "age_xids", "pins"]
-- empty = "nobody holds a snapshot"
-- about = """
-- Who keeps VACUUM from removing dead rows: sessions with a snapshot or an open write, prepared transactions,
-- replication slots (xmin, and catalog_xmin apart), and replicas with hot_standby_feedback. The 50 oldest. A plain
-- VACUUM is left out: the server ignores its snapshot.
-- Cost: one pass over pg_stat_activity, 0.4 ms with 20 sessions, 2 ms with 1,000.
-- Blind spot: the server does not tell when a snapshot was taken. Its age is derived from what this program has
-- seen: of anything older, only a lower bound is known. Without pg_monitor a holder's statement and transaction
-- are hidden, and parallel workers show beside their leader. Only the replica knows which of its sessions needs
-- the snapshot; it reports its oldest every 10 seconds. A VACUUM still waiting for its lock shows although it
-- holds nothing; vacuum_defer_cleanup_age (before 16) is not counted.
-- """
--
-- [columns.kind]
-- help = "backend, prepared (transaction), slot, slot_catalog (holds rows of system catalogues only), replica (walsender with hot_standby_feedback and no slot)."
-- [columns.holder]
-- help = "Process id, name of the prepared transaction, or name of the slot."
-- [columns.pid]
-- hidden = true
-- help = "Process id of the session, or of the walsender using the slot."
-- [columns.role]
-- help = "Role that logged in, or owner of the prepared transaction."
-- [columns.class]
-- help = "oltp, olap, refresh or maintenance, by the rules in the configuration."
-- [columns.datname]
-- title = "database"
-- help = "Database of the holder."
-- [columns.application_name]
-- title = "app"
-- help = "What the client or replica calls itself; for a logical slot its output plugin."
-- [columns.state]
-- help = "State of the session; prepared; active or inactive for a slot. An inactive slot holds forever: drop it if nobody will come back for it."
-- [columns.age_s]
-- title = "age"
-- unit = "seconds"
-- warn = 10.0
-- danger = 30.0
-- help = "How long it has held this very xmin (prepared: since PREPARE). A READ COMMITTED transaction takes a new snapshot for each statement, and a slot or replica whose xmin moves on is young. Unknown if a holder is older than this program, unless its state tells."
-- [columns.age_least_s]
-- hidden = true
-- unit = "seconds"
-- help = "If the age is not known: it is at least this old."
-- [columns.age_xids]
-- title = "xids"
-- unit = "count"
-- help = "Transaction ids assigned since: rows that died since then stay. Counts writing transactions, not time."
-- [columns.own_database]
-- title = "holds here"
-- unit = "flag"
-- help = "It holds rows of ordinary tables in the database shown here. Sessions and prepared transactions of another database do not, catalog_xmin holds catalogue rows only."
-- [columns.pins]
-- unit = "count"
-- help = "Dead rows of this database that it keeps, at most, shown at the oldest holder. Counts rows that died since it was seen to hold this xmin, and rows that a VACUUM has left since. Unknown in its first seconds, and if it is older than this program and no VACUUM has run since."
-- [columns.xmin]
-- hidden = true
-- help = "The oldest transaction id that its snapshot still sees as running."
-- [columns.xid]
-- hidden = true
-- help = "Its own transaction id."
-- [columns.xact_age_s]
-- hidden = true
-- unit = "seconds"
-- help = "Since its transaction began."
-- [columns.query_age_s]
-- hidden = true
-- unit = "seconds"
-- help = "Since its statement began."
-- [columns.state_age_s]
-- hidden = true
-- unit = "seconds"
-- help = "Since it entered its state."
-- [columns.query]
-- help = "Statement of the session; if it is idle in transaction, the last one, not the one that took the snapshot."
-- [columns.backend_start]
-- hidden = true
-- help = "Identity of the session."
-- [columns.query_start]
-- hidden = true
-- help = "Identity of the statement."
-- [columns.xact_start]
-- hidden = true
-- help = "Identity of the transaction."

WITH me AS MATERIALIZED (
    SELECT d.oid AS datid, pg_catalog.pg_is_in_recovery() AS in_recovery
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()
)
SELECT h.kind, h.holder, h.pid, h.role, h.datname, h.application_name, h.state, h.age_xids, h.age_s,
       h.own_database, h.query, h.backend_start, h.query_start, h.xact_start, h.xmin, h.xid, h.age_s AS xact_age_s,
       h.query_age_s, h.state_age_s
FROM (
    -- A walsender shows an xmin only if feedback has no slot to go to: nothing is counted twice.
    SELECT CASE WHEN a.backend_type = 'walsender' OR a.datid IS NULL THEN 'replica' ELSE 'backend' END AS kind,
           a.pid::pg_catalog.text AS holder,
           a.pid::pg_catalog.int8 AS pid,
           a.usename::pg_catalog.text AS role,
           a.datname::pg_catalog.text AS datname,
           a.application_name,
           a.state,
           greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid))::pg_catalog.int8 AS age_xids,
           extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.float8 AS age_s,
           a.datid IS NULL OR a.datid = me.datid OR me.in_recovery
               OR coalesce(a.backend_type = 'walsender', false) AS own_database,
           pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query,
           a.backend_start::pg_catalog.text AS backend_start,
           a.query_start::pg_catalog.text AS query_start,
           a.xact_start::pg_catalog.text AS xact_start,
           a.backend_xmin::pg_catalog.text::pg_catalog.int8 AS xmin,
           a.backend_xid::pg_catalog.text::pg_catalog.int8 AS xid,
           extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::pg_catalog.float8 AS query_age_s,
           extract(epoch FROM pg_catalog.clock_timestamp() - a.state_change)::pg_catalog.float8 AS state_age_s
    FROM pg_catalog.pg_stat_activity AS a
    CROSS JOIN me
    WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
      AND a.pid <> pg_catalog.pg_backend_pid()
      AND a.backend_type IS DISTINCT FROM 'parallel worker' -- NULL if hidden from our role
      /*?*/ AND a.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.pid IS NOT NULL) /*:*/
    /*?prepared*/
    UNION ALL
    SELECT 'prepared',
           p.gid,
           NULL,
           p.owner::pg_catalog.text,
           p.database::pg_catalog.text,
           NULL,
           'prepared',
           pg_catalog.age(p.transaction)::pg_catalog.int8,
           extract(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::pg_catalog.float8,
           p.database = pg_catalog.current_database() OR me.in_recovery,
           NULL, NULL, NULL, NULL, NULL, p.transaction::pg_catalog.text::pg_catalog.int8, NULL, NULL
    FROM pg_catalog.pg_prepared_xacts AS p
    CROSS JOIN me
    /*:*/
    /*?slot*/
    UNION ALL
    SELECT x.kind,
           s.slot_name::pg_catalog.text,
           s.active_pid::pg_catalog.int8,
           NULL,
           s.database::pg_catalog.text,
           s.plugin::pg_catalog.text,
           CASE WHEN s.active THEN 'active' ELSE 'inactive' END,
           pg_catalog.age(x.xmin)::pg_catalog.int8,
           NULL,
           x.kind = 'slot',
           NULL, NULL, NULL, NULL, x.xmin::pg_catalog.text::pg_catalog.int8, NULL, NULL, NULL
    FROM pg_catalog.pg_replication_slots AS s
    CROSS JOIN LATERAL (VALUES ('slot', s.xmin), ('slot_catalog', s.catalog_xmin)) AS x (kind, xmin)
    WHERE x.xmin IS NOT NULL AND s.wal_status IS DISTINCT FROM 'lost'
    /*:*/
) AS h
ORDER BY h.age_xids DESC, h.age_s DESC NULLS LAST
LIMIT 50
