-- title = "invalid indexes: written with every row, read by no query"
-- order = 130
-- about = """
-- A CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY that failed leaves an invalid index behind. Indexes being
-- built right now are left out.
-- Cost: 2 ms for 1,000 indexes. Blind spot: without pg_monitor a build by another role is not seen, and its index
-- is listed.
-- """

SELECT CASE c.relkind WHEN 'I' THEN 'info' ELSE 'warning' END AS severity,
       i.name AS subject,
       CASE WHEN c.relkind = 'I' THEN 'an index of the partitioned table ' || t.name || ' that some partitions lack'
            WHEN NOT x.indisready THEN 'an index of ' || t.name || ' that was never finished'
            ELSE 'an invalid index of ' || t.name || ': it is written, but no query uses it' END AS evidence,
       CASE WHEN c.relkind = 'I' THEN 'create it on those partitions, and ALTER INDEX ' || i.name || ' ATTACH PARTITION ...'
            WHEN c.relname ~ '_cc(new|old)[0-9]*$' THEN 'DROP INDEX CONCURRENTLY ' || i.name
            -- a build that failed on equal keys fails again, and leaves a second invalid index
            WHEN x.indisunique THEN 'SELECT ' || k.keys || ', count(*) FROM ' || t.name
                || CASE WHEN x.indpred IS NULL THEN '' ELSE ' WHERE ' || pg_catalog.pg_get_expr(x.indpred, x.indrelid) END
                || ' GROUP BY ' || k.places || ' HAVING count(*) > 1; if it finds none: REINDEX INDEX CONCURRENTLY ' || i.name
                || '; otherwise make those rows distinct first, or DROP INDEX CONCURRENTLY ' || i.name
            ELSE 'REINDEX INDEX CONCURRENTLY ' || i.name || ', or DROP INDEX CONCURRENTLY ' || i.name END AS cure
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS h ON h.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS hn ON hn.oid = h.relnamespace
CROSS JOIN LATERAL (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name) AS i
CROSS JOIN LATERAL (SELECT pg_catalog.format('%I.%I', hn.nspname, h.relname) AS name) AS t
CROSS JOIN LATERAL (
    SELECT pg_catalog.string_agg(pg_catalog.pg_get_indexdef(x.indexrelid, n.n, false), ', ' ORDER BY n.n) AS keys,
           pg_catalog.string_agg(n.n::pg_catalog.text, ', ' ORDER BY n.n) AS places
    FROM pg_catalog.generate_series(1, x.indnkeyatts::pg_catalog.int4) AS n (n)
) AS k
WHERE NOT (x.indisvalid AND x.indisready) AND x.indexrelid >= 16384
  AND c.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p
                  WHERE p.relid = x.indrelid OR p.index_relid = x.indexrelid)
ORDER BY c.relkind, i.name
LIMIT 200
