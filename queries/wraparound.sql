-- title = "Wraparound"
-- pool = "oltp"
-- interval = "10s"
-- order = 210
-- letter = "a"
-- sampling = { rests_on = ["database"], background = "60s" }
-- key = ["datname"]
-- sort = "-pct"
-- narrow = ["datname", "pct", "left_s"]
-- compact = ["datname", "pct", "left_s", "xid_left", "frozen_age", "mxid_age"]
-- about = """
-- How far each database is from the point where the server refuses to give out transaction ids or multixacts: the
-- oldest database stops them all. The Vacuum panel shows which tables hold it back.
-- Cost: 0.2 ms; one row of pg_database each.
-- Blind spot: ages only rise while somebody writes. Prepared transactions, old snapshots and slots keep VACUUM
-- from lowering them (see Snapshots). Members of multixacts have a limit of their own, not seen here.
-- """
--
-- [columns.left_s]
-- title = "time left"
-- unit = "seconds"
-- help = "Until transaction ids run out, at the rate of the last hour or of as long as this program has watched; unknown before they were used for a minute."
-- [columns.datname]
-- title = "database"
-- help = "The database; template0 and the like count as any other."
-- [columns.frozen_age]
-- title = "xid age"
-- unit = "count"
-- help = "Age of its oldest unfrozen transaction id (datfrozenxid). Normal up to slightly above freeze_max_age."
-- [columns.mxid_age]
-- title = "mxid age"
-- unit = "count"
-- help = "Age of its oldest multixact (datminmxid)."
-- [columns.freeze_max_age]
-- title = "forced at"
-- unit = "count"
-- help = "autovacuum_freeze_max_age: from there on autovacuum freezes, even if it is off. Tables may have a lower one."
-- [columns.multixact_freeze_max_age]
-- title = "mxid forced at"
-- unit = "count"
-- help = "autovacuum_multixact_freeze_max_age: the same for multixacts."
-- [columns.failsafe_age]
-- title = "failsafe at"
-- unit = "count"
-- help = "vacuum_failsafe_age, at least 105 % of freeze_max_age: from there on VACUUM leaves out indexes and its pauses. PostgreSQL 14 and later."
-- [columns.mxid_failsafe_age]
-- title = "mxid failsafe at"
-- unit = "count"
-- help = "vacuum_multixact_failsafe_age: the same for multixacts."
-- [columns.xid_left]
-- title = "xids left"
-- unit = "count"
-- help = "Transaction ids that can still be given out before the server refuses: 3 million before the wraparound, 1 million on PostgreSQL 13."
-- [columns.mxid_left]
-- title = "mxids left"
-- unit = "count"
-- help = "Multixacts that can still be given out before the server refuses: 3 million before the wraparound, 100 on PostgreSQL 13."
-- [columns.next_xid]
-- title = "next xid"
-- hidden = true
-- help = "Next transaction id as 64-bit number, the same in each row: two samples give the rate of use. Reading it uses up none."
-- [columns.pct]
-- title = "%"
-- unit = "percent"
-- warn = 25.0
-- danger = 75.0
-- help = "How far it is on the way to the nearer of the two stops. With autovacuum_freeze_max_age at its default (200 million) about 10 is normal; 25 means that freezing does not keep up."

SELECT d.datname::pg_catalog.text AS datname,
       a.frozen_age,
       a.mxid_age,
       g.freeze_max_age,
       g.multixact_freeze_max_age,
       -- greatest would pass over what the server does not have
       CASE WHEN g.failsafe_age IS NOT NULL
            THEN greatest(g.failsafe_age, g.freeze_max_age * 105 / 100) END AS failsafe_age,
       CASE WHEN g.mxid_failsafe_age IS NOT NULL
            THEN greatest(g.mxid_failsafe_age, g.multixact_freeze_max_age * 105 / 100) END AS mxid_failsafe_age,
       g.xid_stop - a.frozen_age AS xid_left,
       g.mxid_stop - a.mxid_age AS mxid_left,
       g.next_xid,
       (100.0 * greatest(a.frozen_age::pg_catalog.float8 / g.xid_stop,
                         a.mxid_age::pg_catalog.float8 / g.mxid_stop))::pg_catalog.float8 AS pct
FROM pg_catalog.pg_database AS d
CROSS JOIN (
    SELECT pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 AS freeze_max_age,
           pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8 AS multixact_freeze_max_age,
           pg_catalog.current_setting('vacuum_failsafe_age', true)::pg_catalog.int8 AS failsafe_age,
           pg_catalog.current_setting('vacuum_multixact_failsafe_age', true)::pg_catalog.int8 AS mxid_failsafe_age,
           2147483647::pg_catalog.int8 - CASE WHEN v.num >= 140000 THEN 3000000 ELSE 1000000 END AS xid_stop,
           2147483647::pg_catalog.int8 - CASE WHEN v.num >= 140000 THEN 3000000 ELSE 100 END AS mxid_stop,
           pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 AS next_xid
    FROM (SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int8 AS num) AS v
    OFFSET 0
) AS g
CROSS JOIN LATERAL (
    SELECT pg_catalog.age(d.datfrozenxid)::pg_catalog.int8 AS frozen_age,
           pg_catalog.mxid_age(d.datminmxid)::pg_catalog.int8 AS mxid_age
    OFFSET 0
) AS a
ORDER BY pct DESC, datname
LIMIT 200
