-- title = "missing partitions for the months to come, and rows in a default partition"
-- order = 160
-- about = """
-- Tables partitioned by ranges of one date or timestamp whose newest partition ends before the end of the next
-- month: then inserts fail, or fall into the default partition, from which they have to be moved before a
-- partition of their own can be made.
-- Cost: 2 ms for 100 partitions. Blind spot: partitions by a number or by several columns; row counts of a default
-- partition come from the counters and the planner. A table whose newest partition ended 90 days ago is taken for
-- a closed one.
-- """

WITH parents AS MATERIALIZED (
    SELECT p.partrelid AS oid, p.partdefid,
           -- as a bound is written, whatever the session's time zone
           CASE a.atttypid WHEN 'pg_catalog.date'::pg_catalog.regtype THEN 'YYYY-MM-DD'
                           WHEN 'pg_catalog.timestamptz'::pg_catalog.regtype THEN 'YYYY-MM-DD HH24:MI:SS"+00"'
                           ELSE 'YYYY-MM-DD HH24:MI:SS' END AS form,
           n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           n.nspname = 'shop' AND pg_catalog.obj_description(n.oid, 'pg_namespace') LIKE 'htap-top:%' AS is_shop
    FROM pg_catalog.pg_partitioned_table AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.partrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partstrat = 'r' AND p.partnatts = 1
      AND a.atttypid IN ('pg_catalog.date'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype,
                         'pg_catalog.timestamptz'::pg_catalog.regtype)
),
bounds AS MATERIALIZED (
    SELECT i.inhparent AS oid,
           CASE WHEN b.bound ~ 'TO \(MAXVALUE\)$' THEN 'infinity'
                ELSE substring(b.bound FROM 'TO \(''([^'']+)''\)$') END::pg_catalog.timestamptz AS until
    FROM parents AS p
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound OFFSET 0) AS b
    WHERE b.bound <> 'DEFAULT'
),
newest AS MATERIALIZED (
    SELECT p.*, (SELECT pg_catalog.max(b.until) FROM bounds AS b WHERE b.oid = p.oid) AS until
    FROM parents AS p
),
short AS (
    SELECT n.*
    FROM newest AS n
    WHERE n.until < pg_catalog.date_trunc('month', pg_catalog.now()) + interval '2 months'
),
strays AS (
    SELECT p.name, p.is_shop, d.relname AS default_name, pg_catalog.format('%I.%I', dn.nspname, d.relname) AS default_full,
           greatest(d.reltuples::pg_catalog.int8, pg_catalog.pg_stat_get_live_tuples(d.oid)) AS rows
    FROM parents AS p
    JOIN pg_catalog.pg_class AS d ON d.oid = p.partdefid
    JOIN pg_catalog.pg_namespace AS dn ON dn.oid = d.relnamespace
)
SELECT CASE WHEN s.until < pg_catalog.now() - interval '90 days' THEN 'info'
            WHEN s.until < pg_catalog.now() + interval '7 days' AND s.partdefid = 0 THEN 'danger'
            ELSE 'warning' END AS severity,
       s.name AS subject,
       'its newest partition ' || CASE WHEN s.until <= pg_catalog.now() THEN 'ended at ' ELSE 'ends at ' END
       || pg_catalog.to_char(s.until, 'YYYY-MM-DD HH24:MI') || ' UTC: rows after it '
       || CASE WHEN s.partdefid = 0 THEN 'are refused' ELSE 'fall into the default partition' END
       || CASE WHEN s.until < pg_catalog.now() - interval '90 days' THEN ' (if any come)' ELSE '' END AS evidence,
       CASE WHEN s.is_shop THEN 'htap-top partitions make -d ' || pg_catalog.quote_ident(pg_catalog.current_database())
            ELSE pg_catalog.format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', s.nspname,
                     -- where months are those of another time zone, midnight is near
                     s.relname || pg_catalog.to_char(s.until + interval '14 hours', '_YYYY_MM'), s.name,
                     pg_catalog.to_char(s.until, s.form), pg_catalog.to_char(s.until + interval '1 month', s.form))
       END AS cure
FROM short AS s
UNION ALL
SELECT 'warning', t.default_full,
       'about ' || t.rows || ' rows are in the default partition of ' || t.name || ': each query reads it, and a partition for their'
       || ' range cannot be created before they are moved',
       CASE WHEN t.is_shop THEN 'htap-top partitions make -d ' || pg_catalog.quote_ident(pg_catalog.current_database())
            ELSE 'ALTER TABLE ' || t.name || ' DETACH PARTITION ' || t.default_full || '; create the missing partitions; INSERT INTO '
                 || t.name || ' SELECT * FROM ' || t.default_full END
FROM strays AS t
WHERE t.rows > 0
