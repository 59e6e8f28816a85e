-- title = "relations that our role may not read: the shop's, and those whose statistics are hidden"
-- order = 20
-- about = """
-- The business panels read shop and mart; estimates of bloat rest on pg_stats, which shows a role only the
-- statistics of tables that it may read.
-- Cost: 2 ms for 1,000 tables. Blind spot: your own panels report what they lack themselves.
-- """

WITH hidden AS MATERIALIZED (
    SELECT n.nspname, n.nspname IN ('shop', 'mart', 'htap') AND pg_catalog.obj_description(n.oid, 'pg_namespace') LIKE 'htap-top:%' AS is_shop,
           NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS closed
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND c.oid >= 16384 AND c.relpersistence <> 't'
      AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))
),
summed AS (
    SELECT h.nspname, coalesce(h.is_shop, false) AS is_shop, pg_catalog.bool_or(h.closed) AS closed, pg_catalog.count(*) AS n
    FROM hidden AS h
    GROUP BY h.nspname, h.is_shop
)
SELECT CASE WHEN s.is_shop AND s.nspname = 'mart' AND m.missed THEN 'warning' ELSE 'info' END AS severity,
       s.nspname::pg_catalog.text AS subject,
       'our role may not read ' || s.n || CASE s.n WHEN 1 THEN ' relation' ELSE ' relations' END || ' of this schema: '
       || CASE WHEN s.is_shop AND s.nspname = 'mart' AND m.missed THEN 'the business panels stay empty, ' ELSE '' END
       || 'estimates of bloat and key columns are n/a'
       || CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 140000
               THEN ' (pg_read_all_data would show all schemas)' ELSE '' END AS evidence,
       CASE WHEN s.closed THEN pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I; ', s.nspname, current_user) ELSE '' END
       || pg_catalog.format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', s.nspname, current_user) AS cure
FROM summed AS s
CROSS JOIN LATERAL (
    -- what the business panels read
    SELECT EXISTS (
        SELECT
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'mart' AND c.relname IN ('sales_hourly', 'category_hourly', 'user_behavior_mv', 'daily_sales')
          AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))) AS missed
) AS m
ORDER BY s.is_shop DESC, s.n DESC, s.nspname
LIMIT 200
