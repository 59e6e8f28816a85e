-- title = "Incremental summaries"
-- pool = "slow"
-- interval = "1s"
-- internal = true
-- sampling = { background = "10s" }
-- needs = ["htap.watermark", "htap.view_def", "htap.order_log", "htap.refresh_run"]
-- key = ["relid"]
-- about = """
-- What htap-top init made: the incremental summaries with their watermark and backlog, and how old each view
-- may be. It only feeds the panel of views.
-- Cost: a scan of htap.order_log for each summary, up to 100,000 rows; it holds what is not merged yet.
-- Blind spot: the watermark is by the server's clock when the merge began, so the age is never less than true."""
--
-- [columns.relid]
-- help = "OID of the summary's first table."
-- [columns.view]
-- help = "Name with schema."
-- [columns.schemaname]
-- help = "Schema."
-- [columns.matviewname]
-- help = "Name without schema."
-- [columns.kind]
-- help = "incremental or materialized."
-- [columns.owner]
-- help = "Owner: only it, its members and superusers may merge."
-- [columns.populated]
-- unit = "flag"
-- help = "Filled at least once."
-- [columns.rows]
-- unit = "count"
-- help = "Rows of the first table as of the last ANALYZE or VACUUM."
-- [columns.size_bytes]
-- unit = "bytes"
-- help = "All its tables with their indexes; unknown while somebody holds or awaits ACCESS EXCLUSIVE on one, because reading it would wait."
-- [columns.fresh_s]
-- unit = "seconds"
-- help = "Since the watermark: everything committed before it is included. For a materialized view, since the last refresh by htap-top began."
-- [columns.refreshed_epoch]
-- unit = "time"
-- help = "The watermark as a time."
-- [columns.target_s]
-- unit = "seconds"
-- help = "Greatest age wanted, from htap.view_def."
-- [columns.backlog]
-- unit = "count"
-- help = "Committed changes not merged yet; counted up to 100,000."
-- [columns.last_s]
-- unit = "seconds"
-- help = "How long the last merge with changes took."
-- [columns.uncaptured]
-- help = "What bypassed the triggers, by the refresher's check: a trigger that logs nothing, or a group that differs from the shop."
-- [columns.checked_s]
-- unit = "seconds"
-- help = "Since the refresher last checked a piece of it for that."
-- [columns.may_refresh]
-- unit = "flag"
-- help = "Our role may merge."
-- [columns.on_standby]
-- unit = "flag"
-- help = "A standby: merge on the primary."
WITH exclusive AS MATERIALIZED (
    -- what is being rewritten or dropped: to ask for its size would wait
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
SELECT c.oid::bigint AS relid,
       d.view,
       n.nspname::text AS schemaname,
       c.relname::text AS matviewname,
       d.kind,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
       w.snapshot IS NOT NULL AS populated,
       CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN c.reltuples::bigint END AS rows,
       CASE WHEN d.kind = 'incremental' AND NOT EXISTS (
                SELECT FROM exclusive AS k JOIN pg_catalog.unnest(d.tables) AS t
                ON k.relation IN (t::pg_catalog.regclass, (SELECT o.reltoastrelid FROM pg_catalog.pg_class AS o
                                                           WHERE o.oid = t::pg_catalog.regclass))) THEN
           (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(t::pg_catalog.regclass))::bigint
            FROM pg_catalog.unnest(d.tables) AS t) END AS size_bytes,
       -- of a time to come nothing is known
       CASE WHEN coalesce(w.as_of, r.as_of) BETWEEN timestamptz '2000-01-01 00:00+00' AND pg_catalog.clock_timestamp() + interval '1 second'
            THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(w.as_of, r.as_of)), 0)::float8 END AS fresh_s,
       CASE WHEN coalesce(w.as_of, r.as_of) BETWEEN timestamptz '2000-01-01 00:00+00' AND pg_catalog.clock_timestamp() + interval '1 second'
            THEN extract(epoch FROM coalesce(w.as_of, r.as_of))::float8 END AS refreshed_epoch,
       -- a schema that is not upgraded yet has no bounds
       CASE WHEN d.freshness > interval '0' AND d.freshness <= interval '366 days' THEN extract(epoch FROM d.freshness)::float8 END AS target_s,
       CASE WHEN w.snapshot IS NOT NULL THEN
           (SELECT pg_catalog.count(*) FROM (
                SELECT FROM htap.order_log AS l WHERE NOT pg_catalog.pg_visible_in_snapshot(l.xid, w.snapshot) LIMIT 100000) AS unseen)
       END AS backlog,
       r.last_s,
       -- a schema that is not upgraded yet has no such columns
       nullif(pg_catalog.concat_ws('; ', pg_catalog.to_jsonb(w) ->> 'gap', pg_catalog.to_jsonb(w) ->> 'uncaptured'), '') AS uncaptured,
       CASE WHEN (pg_catalog.to_jsonb(w) ->> 'checked_at')::timestamptz
                 BETWEEN timestamptz '2000-01-01 00:00+00' AND timestamptz '2200-01-01 00:00+00'
            THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - (pg_catalog.to_jsonb(w) ->> 'checked_at')::timestamptz), 0)::float8 END
           AS checked_s,
       pg_catalog.has_table_privilege(c.oid, 'INSERT') AS may_refresh,
       pg_catalog.pg_is_in_recovery() AS on_standby
FROM htap.view_def AS d
JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(d.view)
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN htap.watermark AS w ON w.view = d.view
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM x.finished - x.started)::float8 AS last_s, x.as_of
    FROM htap.refresh_run AS x
    WHERE x.view = d.view AND x.started > timestamptz '2000-01-01 00:00+00' AND x.finished < timestamptz '2200-01-01 00:00+00'
    ORDER BY x.finished DESC LIMIT 1
) AS r ON true
ORDER BY d.view
