-- title = "Locks of a backend"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- key = ["pid", "mode", "target"]
-- about = """
-- The heavyweight locks that one backend holds or waits for, read while its detail is open; what it waits for
-- comes first. Cost: one pass over the lock table, 0.2 ms with 100 locks.
-- Blind spot: row locks are stored in the rows and do not show here; relations of other databases show as OID.
-- """
--
-- [columns.pid]
-- help = "The backend."
-- [columns.granted]
-- unit = "flag"
-- help = "It holds the lock; otherwise it waits for it."
-- [columns.mode]
-- help = "Mode of the lock."
-- [columns.locktype]
-- title = "lock"
-- help = "Kind of object locked, as in pg_locks."
-- [columns.target]
-- help = "The object locked: tables with their schema unless it is public."
-- [columns.wait_s]
-- title = "waits"
-- unit = "seconds"
-- help = "Time waiting for it; unknown before PostgreSQL 14."
-- [columns.n]
-- unit = "count"
-- help = "Number of such locks."

SELECT t.pid, t.granted, t.mode, t.locktype, t.target, t.wait_s, t.n
FROM (
    SELECT l.pid::pg_catalog.int8 AS pid,
           l.granted,
           l.mode,
           l.locktype,
           CASE l.locktype
               WHEN 'relation' THEN r.name
               WHEN 'extend' THEN 'extend ' || r.name
               WHEN 'page' THEN 'page of ' || r.name
               WHEN 'tuple' THEN 'row of ' || r.name
               WHEN 'transactionid' THEN 'transaction ' || l.transactionid::pg_catalog.text
               WHEN 'virtualxid' THEN 'virtual transaction ' || l.virtualxid
               WHEN 'object' THEN coalesce(class.relname::pg_catalog.text, 'class ' || l.classid::pg_catalog.text)
                                  || ' ' || l.objid::pg_catalog.text
               WHEN 'advisory' THEN 'advisory ' || CASE WHEN l.objsubid = 1
                   THEN ((l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8)::pg_catalog.text
                   -- two keys of 32 bits, shown without their sign
                   ELSE (l.classid::pg_catalog.int8 - CASE WHEN l.classid >= 2147483648 THEN 4294967296 ELSE 0 END)::pg_catalog.text
                        || ':'
                        || (l.objid::pg_catalog.int8 - CASE WHEN l.objid >= 2147483648 THEN 4294967296 ELSE 0 END)::pg_catalog.text
                   END
               ELSE l.locktype END AS target,
           pg_catalog.max(NULL::pg_catalog.float8) AS wait_s,
           pg_catalog.count(*) AS n
    FROM pg_catalog.pg_locks AS l
    CROSS JOIN (SELECT d.oid AS datid FROM pg_catalog.pg_database AS d
                WHERE d.datname = pg_catalog.current_database()) AS me
    LEFT JOIN pg_catalog.pg_class AS class ON class.oid = l.classid AND l.locktype = 'object'
    LEFT JOIN LATERAL (
        SELECT coalesce(CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname::pg_catalog.text || '.' END
                            || c.relname::pg_catalog.text,
                        'relation ' || l.relation::pg_catalog.text) AS name
        FROM (SELECT) AS x
        LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND l.database IN (me.datid, 0)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE l.relation IS NOT NULL
    ) AS r ON true
    WHERE l.pid = {pid}
    GROUP BY 1, 2, 3, 4, 5
) AS t
ORDER BY t.granted, t.target, t.mode
LIMIT 200
