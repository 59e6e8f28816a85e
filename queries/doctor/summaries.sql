-- title = "incremental summaries: filled, not behind, and with a refresher that merges what is logged"
-- order = 70
-- needs = ["htap.view_def", "htap.watermark", "htap.order_log", "htap.refresh_run"]
-- remedy = "htap-top init makes it"
-- about = """
-- A summary without a snapshot was never filled. One that is behind has lacked committed changes for a minute and
-- for ten times its own freshness; if nothing was logged meanwhile it is right, however old. If nobody has
-- refreshed anything for ten minutes the log has no reader and grows by 100 bytes per order. Changes that bypassed
-- the triggers are those that the refresher's own check has found so far.
-- Cost: a scan of htap.order_log for each summary, up to 100,000 rows.
-- """

WITH behind AS MATERIALIZED (
    SELECT d.view, w.snapshot IS NOT NULL AS filled,
           pg_catalog.to_jsonb(w) ->> 'gap' AS gap, pg_catalog.to_jsonb(w) ->> 'uncaptured' AS uncaptured,
           CASE WHEN w.as_of BETWEEN timestamptz '2000-01-01 00:00+00' AND timestamptz '2200-01-01 00:00+00' THEN extract(epoch FROM pg_catalog.clock_timestamp() - w.as_of)::pg_catalog.int8 END AS age_s,
           CASE WHEN d.freshness <= interval '366 days' THEN 10 * extract(epoch FROM d.freshness)::pg_catalog.int8 END AS patience_s,
           b.n AS backlog
    FROM htap.view_def AS d
    LEFT JOIN htap.watermark AS w ON w.view = d.view
    CROSS JOIN LATERAL (
        SELECT pg_catalog.count(*) AS n
        FROM (SELECT FROM htap.order_log AS l
              WHERE w.snapshot IS NOT NULL AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, w.snapshot) LIMIT 100000) AS unseen
    ) AS b
    WHERE d.kind = 'incremental'
),
late AS (
    SELECT * FROM behind WHERE behind.backlog > 0 AND behind.age_s > greatest(60, behind.patience_s)
),
merged AS (
    SELECT extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.max(r.started))::pg_catalog.int8 AS ago_s
    FROM htap.refresh_run AS r
    WHERE r.started BETWEEN timestamptz '2000-01-01 00:00+00' AND timestamptz '2200-01-01 00:00+00'
)
SELECT 'warning' AS severity,
       b.view AS subject,
       'was never filled: readers see no rows' AS evidence,
       'htap-top refresh -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) || ' ' || b.view AS cure
FROM behind AS b
WHERE NOT b.filled
UNION ALL
SELECT 'warning', b.view,
       'changes are not logged: ' || b.gap,
       CASE WHEN b.gap ~ ' is disabled' THEN
           pg_catalog.regexp_replace(b.gap, '^trigger (\S+) of (.+) is disabled.*$', 'ALTER TABLE \2 ENABLE TRIGGER \1')
       ELSE 'htap-top init -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) END
FROM behind AS b
WHERE b.gap IS NOT NULL
UNION ALL
SELECT 'warning', b.view,
       'it is wrong, because a change was not logged: ' || b.uncaptured,
       'htap-top refresh -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) || ' --mode full ' || b.view
FROM behind AS b
WHERE b.uncaptured IS NOT NULL
UNION ALL
SELECT 'warning', l.view,
       l.backlog || CASE WHEN l.backlog >= 100000 THEN ' or more' ELSE '' END || ' committed changes are not merged, and its data is '
       || l.age_s || ' s old',
       'htap-top refresh -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) || ' --fresh 5s'
FROM late AS l
UNION ALL
SELECT 'warning', 'htap.order_log',
       'nobody reads the log of changes: the last refresh began ' || coalesce(m.ago_s || ' s ago', 'never') || ', and the log grows',
       'htap-top refresh -d ' || pg_catalog.quote_ident(pg_catalog.current_database()) || ' --fresh 5s, as a service'
FROM merged AS m
WHERE EXISTS (SELECT FROM late) AND coalesce(m.ago_s > 600, true)
