-- title = "Views and summaries"
-- pool = "slow"
-- interval = "2s"
-- order = 70
-- digit = 7
-- sampling = { rests_on = ["summaries"], background = "10s" }
-- key = ["relid"]
-- trends = [{ column = "fresh_s", title = "stalest" }]
-- labels = ["view"]
-- counters = ["tup_changes"]
-- narrow = ["view", "fresh_s", "target_s", "last_s", "state"]
-- compact = ["view", "mode", "fresh_s", "target_s", "last_s", "rows", "size_bytes", "state"]
-- empty = "this database has no materialized view"
-- about = """
-- Every materialized view of this database, and the incremental summaries of htap-top init: how fresh it is,
-- whether it is being refreshed and by whom, and how it can be refreshed. PostgreSQL does not record when a view
-- was refreshed: this program watches for it, by locks and by the version of the view's catalogue row. For the
-- time before, htap.refresh_run has the last refresh by htap-top, and if track_commit_timestamp is on, the commit
-- of that row gives a lower bound of the age (≥): the refresh began earlier, and DDL and GRANT move it, too. Cost:
-- 2 ms for 15 views; a plain refresh does not block it.
-- Blind spot: a refresh that begins and ends between two samples shows only as a changed row version, as VACUUM
-- FULL and CLUSTER do. One in a Repeatable Read transaction reads as of that transaction's first statement. A
-- refresh reports no progress: the time left is guessed from its own history.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the view."
-- [columns.view]
-- help = "Name with schema."
-- [columns.schemaname]
-- hidden = true
-- help = "Schema."
-- [columns.matviewname]
-- hidden = true
-- help = "Name without schema."
-- [columns.mode]
-- help = "How it is refreshed: plain, concurrent, or incremental by this program's own refresher."
-- [columns.fresh_s]
-- title = "fresh"
-- unit = "seconds"
-- help = "Age of the data: since the last refresh began, for its snapshot was taken then. ≤ if only the beginning of its transaction or the sample before it is known, ≥ if only its end is. The source column says how it is known."
-- [columns.target_s]
-- title = "target"
-- unit = "seconds"
-- help = "Greatest age wanted, from the configuration (freshness), else from htap.view_def, else from targets.freshness; if none is set, twice the longest pause between its own last refreshes, once four were seen."
-- [columns.target_own]
-- hidden = true
-- unit = "flag"
-- help = "Nobody set the target: it is derived from the view's own refreshes, and no gauge judges by it."
-- [columns.late]
-- title = "of target"
-- warn = 0.9
-- danger = 1.0
-- help = "Age of the data divided by its target; the most overdue view comes first."
-- [columns.source]
-- help = "How the age is known: seen refreshing, commit timestamp, pg_class.xmin changed (to the sample), htap.refresh_run, or the watermark of an incremental summary. Until one of them is seen the age is ?, not 0."
-- [columns.last_s]
-- title = "last"
-- unit = "seconds"
-- help = "How long the last refresh seen took."
-- [columns.kind]
-- help = "materialized (PostgreSQL recomputes it) or incremental (tables into which changes are merged)."
-- [columns.backlog]
-- unit = "count"
-- help = "Committed changes that an incremental summary has not merged yet; counted up to 100,000."
-- [columns.state]
-- help = "idle, refreshing, or waiting for a lock; for an incremental summary its backlog, or that changes bypassed its triggers."
-- [columns.uncaptured]
-- title = "not captured"
-- help = "What bypassed the triggers of an incremental summary, by the refresher's check, which sees a piece of it every few seconds: a trigger that is off, or one of the groups that differ from the shop. Cure: htap-top refresh --mode full."
-- [columns.checked_s]
-- title = "checked"
-- unit = "seconds"
-- help = "Since the refresher checked a piece of the summary for that; it takes the pieces in turn, and knows nothing yet of those to come."
-- [columns.owner]
-- help = "Owner: the role whose privileges the refresh runs with."
-- [columns.populated]
-- unit = "flag"
-- help = "Holds data; a view created WITH NO DATA cannot be read before its first plain refresh."
-- [columns.rows]
-- unit = "count"
-- help = "Rows as of the last ANALYZE, VACUUM or refresh that built an index (reltuples); for a view without index the counter n_live_tup."
-- [columns.size_bytes]
-- title = "size"
-- unit = "bytes"
-- help = "View and its TOAST, without indexes. While somebody holds or awaits ACCESS EXCLUSIVE on it, as a plain refresh does, the size as of the last ANALYZE, VACUUM or index build (relpages), because reading it would wait."
-- [columns.xmin]
-- hidden = true
-- help = "Version of the catalogue row: it changes with each refresh of either kind, with DDL and GRANT, not with VACUUM or ANALYZE."
-- [columns.definition]
-- hidden = true
-- help = "A number for its definition, owner and privileges: if it changed with xmin, that was DDL or GRANT, not a refresh."
-- [columns.refreshed_s]
-- title = "refreshed"
-- unit = "seconds"
-- help = "Since the commit of the last refresh, or of DDL or GRANT on the view. Needs track_commit_timestamp on the primary; not read on a standby."
-- [columns.refreshed_epoch]
-- title = "refreshed at"
-- unit = "time"
-- help = "The same as a time."
-- [columns.commit_ts]
-- title = "exact"
-- unit = "flag"
-- help = "Commit times can be read here. Cure: track_commit_timestamp = on, and a restart."
-- [columns.refreshing]
-- help = "plain or concurrent, by the locks on the view: plain takes AccessExclusiveLock and ExclusiveLock, concurrent only the latter. Seen within functions and jobs, too. While only waiting, plain can also be DDL."
-- [columns.refresh_pid]
-- title = "by"
-- help = "Backend that refreshes, or the first that waits to."
-- [columns.refresh_waiting]
-- title = "waiting"
-- unit = "flag"
-- help = "Somebody waits for an exclusive lock on the view: a second refresh, or DDL. After it readers queue as well."
-- [columns.refresh_holds]
-- hidden = true
-- unit = "flag"
-- help = "That backend holds the lock; it does not only wait for it."
-- [columns.refresh_xact_s]
-- hidden = true
-- unit = "seconds"
-- help = "Since its transaction began: its data are no older. None if its session is hidden from our role."
-- [columns.refresh_running_s]
-- title = "running"
-- unit = "seconds"
-- help = "Age of the statement that refreshes; within a function or job it is the age of the whole call. None if its session is hidden from our role."
-- [columns.concurrent_ok]
-- title = "concurrent"
-- unit = "flag"
-- help = "REFRESH … CONCURRENTLY is possible: populated, and a valid unique index on plain columns, without WHERE."
-- [columns.concurrent_reason]
-- title = "why not"
-- help = "Why CONCURRENTLY is not possible."
-- [columns.may_refresh]
-- title = "may refresh"
-- unit = "flag"
-- help = "Our role may refresh it: as owner, member of the owner, superuser, or by MAINTAIN (17 and later). Judged for the sampling role, not the refreshing session's."
-- [columns.on_standby]
-- hidden = true
-- unit = "flag"
-- help = "A standby: refresh on the primary."
-- [columns.depends_on]
-- hidden = true
-- help = "OIDs of the materialized views it reads, also through plain views; refresh those first. What a function reads is not known."
-- [columns.tup_changes]
-- title = "changes"
-- unit = "count"
-- help = "Rows inserted, updated and deleted by refreshes since the counters began: plain counts all rows, concurrent the changed ones."
-- [columns.def_has_now]
-- title = "has now()"
-- unit = "flag"
-- help = "An output column seems to be now() or its like: with CONCURRENTLY every row then changes in each refresh, which bloats the view. Found by pattern in the stored rule, one cast deep."

WITH RECURSIVE mv AS MATERIALIZED (
    -- by the rules: pg_class has no index on relkind, and views are few beside tables
    SELECT c.oid, c.relname, c.relnamespace, c.relowner, c.relispopulated, c.reltuples, c.relpages, c.reltoastrelid,
           c.xmin, r.ev_action,
           -- What DDL changes, GRANT included, and a refresh does not. An index is none of it: it leaves xmin alone.
           pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', c.relname, c.relnamespace, c.relowner, c.relam, c.reltablespace,
               c.relpersistence, c.relreplident, c.relrowsecurity, c.relhasrules, c.relhastriggers, c.relacl, c.reloptions), 0)
               AS definition
    FROM pg_catalog.pg_rewrite AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
    WHERE r.rulename = '_RETURN' AND r.ev_class >= 16384 AND c.relkind = 'm'
),
reads (view, relid, relkind) AS (
    SELECT mv.oid, mv.oid, 'v'::pg_catalog."char" FROM mv
    UNION
    SELECT reads.view, d.refobjid, c.relkind
    FROM reads
    JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = reads.relid AND r.rulename = '_RETURN'
    JOIN pg_catalog.pg_depend AS d
      ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> reads.relid
    JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
    WHERE reads.relkind = 'v'
),
locks AS MATERIALIZED (
    -- CLUSTER, VACUUM FULL and DDL take AccessExclusiveLock alone, a plain refresh both
    SELECT l.relation, l.pid, l.granted,
           CASE WHEN pg_catalog.bool_or(l.mode = 'AccessExclusiveLock') THEN 'plain' ELSE 'concurrent' END AS kind
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation'
      AND l.mode IN ('ExclusiveLock', 'AccessExclusiveLock')
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
      AND l.relation IN (SELECT mv.oid FROM mv)
    GROUP BY l.relation, l.pid, l.granted
    HAVING NOT l.granted OR pg_catalog.bool_or(l.mode = 'ExclusiveLock')
),
exclusive AS MATERIALIZED (
    -- what is being refreshed, rewritten or dropped: to ask for its size would wait
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
),
here AS MATERIALIZED (
    SELECT pg_catalog.pg_is_in_recovery() AS standby,
           -- on a standby the setting does not tell whether the primary records them
           pg_catalog.current_setting('track_commit_timestamp') = 'on' AND NOT pg_catalog.pg_is_in_recovery() AS commit_ts,
           pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
           pg_catalog.current_setting('block_size')::pg_catalog.int8 AS block_size
)
SELECT mv.oid::pg_catalog.int8 AS relid,
       n.nspname::pg_catalog.text || '.' || mv.relname::pg_catalog.text AS view,
       n.nspname::pg_catalog.text AS schemaname,
       mv.relname::pg_catalog.text AS matviewname,
       pg_catalog.pg_get_userbyid(mv.relowner)::pg_catalog.text AS owner,
       mv.relispopulated AS populated,
       CASE WHEN NOT mv.relispopulated THEN 0
            WHEN e.known THEN mv.reltuples::pg_catalog.int8
            -- a plain refresh without any index leaves reltuples unset, but the counter begins anew
            ELSE nullif(pg_catalog.pg_stat_get_live_tuples(mv.oid), 0) END AS rows,
       CASE WHEN NOT mv.relispopulated THEN 0
            WHEN EXISTS (SELECT FROM exclusive AS k WHERE k.relation IN (mv.oid, mv.reltoastrelid))
            THEN CASE WHEN e.known THEN (mv.relpages::pg_catalog.int8 + coalesce(toast.relpages, 0)) * here.block_size END
            ELSE /*?size_bytes*/ pg_catalog.pg_relation_size(mv.oid) + coalesce(pg_catalog.pg_relation_size(nullif(mv.reltoastrelid, 0)), 0) /*:NULL::pg_catalog.int8*/ END
           AS size_bytes,
       mv.xmin::pg_catalog.text::pg_catalog.int8 AS xmin,
       mv.definition,
       extract(epoch FROM pg_catalog.clock_timestamp() - e.refreshed)::pg_catalog.float8 AS refreshed_s,
       extract(epoch FROM e.refreshed)::pg_catalog.float8 AS refreshed_epoch,
       here.commit_ts,
       f.kind AS refreshing,
       f.pid::pg_catalog.int8 AS refresh_pid,
       EXISTS (SELECT FROM locks WHERE locks.relation = mv.oid AND NOT locks.granted) AS refresh_waiting,
       f.granted AS refresh_holds,
       extract(epoch FROM pg_catalog.clock_timestamp() - f.since)::pg_catalog.float8 AS refresh_running_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - f.xact_start)::pg_catalog.float8 AS refresh_xact_s,
       mv.relispopulated AND i.usable AS concurrent_ok,
       CASE WHEN NOT mv.relispopulated THEN 'not populated'
            WHEN i.usable THEN NULL
            WHEN i.n = 0 THEN 'no unique index'
            WHEN i.partial THEN 'unique index has a WHERE clause'
            WHEN i.expression THEN 'unique index is on an expression'
            ELSE 'unique index is invalid' END AS concurrent_reason,
       pg_catalog.has_schema_privilege(mv.relnamespace, 'USAGE')
           AND (pg_catalog.pg_has_role(mv.relowner, 'USAGE')
                OR CASE WHEN here.version >= 170000 THEN pg_catalog.has_table_privilege(mv.oid, 'MAINTAIN')
                        ELSE false END
                -- Before 17, the function of the shop's owner.
                OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS f ON f.oid = p.pronamespace
                           WHERE f.nspname = 'htap' AND p.proname = 'refresh_view' AND p.proowner = mv.relowner
                             AND pg_catalog.has_schema_privilege(f.oid, 'USAGE')
                             AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))) AS may_refresh,
       here.standby AS on_standby,
       (SELECT pg_catalog.string_agg(x.relid::pg_catalog.text, ',' ORDER BY x.relid)
        FROM reads AS x WHERE x.view = mv.oid AND x.relkind = 'm') AS depends_on,
       pg_catalog.pg_stat_get_tuples_inserted(mv.oid) + pg_catalog.pg_stat_get_tuples_updated(mv.oid)
           + pg_catalog.pg_stat_get_tuples_deleted(mv.oid) AS tup_changes,
       -- now, transaction_, statement_, clock_timestamp, timeofday; CURRENT_TIME to LOCALTIMESTAMP(n)
       mv.ev_action::pg_catalog.text
           ~ ':expr \{(FUNCEXPR :funcid \d+ [^{}]*:args \(\{)?(FUNCEXPR :funcid (1299|264[789]|274) |SQLVALUEFUNCTION :op [1-8] )'
           AS def_has_now
FROM mv
CROSS JOIN here
JOIN pg_catalog.pg_namespace AS n ON n.oid = mv.relnamespace
LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = mv.reltoastrelid
CROSS JOIN LATERAL (
    SELECT CASE WHEN here.commit_ts
                THEN /*?refreshed_s refreshed_epoch*/ pg_catalog.pg_xact_commit_timestamp(mv.xmin)
                     /*:NULL::pg_catalog.timestamptz*/ END AS refreshed,
           -- 13 has 0 for "never analysed", later majors -1
           mv.reltuples >= 0 AND (mv.relpages > 0 OR here.version >= 140000) AS known
    OFFSET 0
) AS e
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS n,
           coalesce(pg_catalog.bool_or(x.indisvalid AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL), false)
               AS usable,
           pg_catalog.bool_or(x.indpred IS NOT NULL) AS partial,
           pg_catalog.bool_or(x.indexprs IS NOT NULL) AS expression
    FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = mv.oid AND x.indisunique
) AS i
LEFT JOIN LATERAL (
    SELECT locks.kind, locks.pid, locks.granted, a.xact_start,
           CASE WHEN a.state = 'active' THEN a.query_start ELSE a.xact_start END AS since
    FROM locks
    LEFT JOIN LATERAL /*?refresh_running_s refresh_xact_s*/ pg_catalog.pg_stat_get_activity(locks.pid)
        /*:(SELECT NULL::pg_catalog.text AS state, NULL::pg_catalog.timestamptz AS query_start,
                   NULL::pg_catalog.timestamptz AS xact_start)*/ AS a ON true
    WHERE locks.relation = mv.oid
    ORDER BY locks.granted DESC, since
    LIMIT 1
) AS f ON true
ORDER BY view
