-- From 16 on the server counts updates that went to another page.
SELECT 'warning' AS severity, t.name AS subject,
       t.updated || ' updates, ' || 100 * t.hot / t.updated || ' % of them HOT, ' || 100 * t.elsewhere / t.updated
       || ' % went to another page, and fillfactor is 100: room is missing in the pages' AS evidence,
       'ALTER TABLE ' || t.name || ' SET (fillfactor = 85); it applies to new pages, and to all after VACUUM FULL' AS cure
FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           pg_catalog.pg_stat_get_tuples_updated(c.oid) AS updated,
           pg_catalog.pg_stat_get_tuples_hot_updated(c.oid) AS hot,
           pg_catalog.pg_stat_get_tuples_newpage_updated(c.oid) AS elsewhere
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) AS o (entry)
                      WHERE o.entry LIKE 'fillfactor=%' AND o.entry <> 'fillfactor=100')
    OFFSET 0
) AS t
WHERE t.updated >= 100000 AND t.hot < t.updated / 2 AND t.elsewhere > t.updated / 2
ORDER BY t.elsewhere DESC
LIMIT 200
