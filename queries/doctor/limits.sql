-- title = "roles without time limits or connection limits, and limits that add up to more connections than there are"
-- order = 90
-- about = """
-- One forgotten transaction keeps its locks and dead rows for as long as its session lives, and one client can
-- take all connections. Limits that belong to the role hold for every client and pass through a pooler. Finds
-- roles that can log in, are not superusers, and have neither statement_timeout nor
-- idle_in_transaction_session_timeout (of their own, of the database, of the server) nor CONNECTION LIMIT.
-- Cost: 1 ms. Blind spot: what clients set themselves.
-- """

WITH assigned AS MATERIALIZED (
    SELECT s.setrole, s.setdatabase,
           pg_catalog.split_part(c.assignment, '=', 1) AS name,
           substring(c.assignment FROM '=(.*)$') AS value
    FROM pg_catalog.pg_db_role_setting AS s
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (assignment)
    WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
      AND pg_catalog.split_part(c.assignment, '=', 1) IN ('statement_timeout', 'idle_in_transaction_session_timeout')
),
-- Our own session may have other values than the configuration: then the server's default is not known.
server AS MATERIALIZED (
    SELECT n.name,
           CASE WHEN g.source IN ('user', 'database', 'database user', 'client')
                     OR EXISTS (SELECT
                                FROM assigned AS a
                                WHERE a.name = n.name
                                  AND a.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)))
                THEN NULL ELSE g.reset_val <> '0' END AS is_set
    FROM (VALUES ('statement_timeout'), ('idle_in_transaction_session_timeout')) AS n (name)
    JOIN pg_catalog.pg_settings AS g ON g.name = n.name
),
roles AS MATERIALIZED (
    SELECT r.oid, r.rolname, r.rolconnlimit,
           EXISTS (
               SELECT
               FROM server AS v
               LEFT JOIN LATERAL (
                   -- the narrowest assignment counts
                   SELECT a.value
                   FROM assigned AS a
                   WHERE a.name = v.name AND a.setrole IN (0, r.oid)
                   ORDER BY a.setrole <> 0 DESC, a.setdatabase <> 0 DESC
                   LIMIT 1
               ) AS own ON true
               WHERE CASE WHEN own.value IS NOT NULL THEN own.value !~ '^0+ *[a-z]*$' ELSE coalesce(v.is_set, false) END
           ) AS has_timeout
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname !~ '^pg_'
      AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
),
unlimited AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS n,
           pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ' ORDER BY r.rolname) FILTER (WHERE r.place <= 10) AS names,
           pg_catalog.string_agg(
               pg_catalog.format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''5min''', r.rolname), '; ' ORDER BY r.rolname)
               FILTER (WHERE r.place <= 10) AS cures
    FROM (SELECT roles.rolname, pg_catalog.row_number() OVER (ORDER BY roles.rolname) AS place
          FROM roles WHERE NOT roles.has_timeout AND roles.rolconnlimit < 0) AS r
)
SELECT 'warning' AS severity,
       u.names || CASE WHEN u.n > 10 THEN ' and ' || u.n - 10 || ' more' ELSE '' END AS subject,
       CASE WHEN u.n = 1 THEN 'this role has' ELSE 'these ' || u.n || ' roles have' END
       || ' neither statement_timeout nor idle_in_transaction_session_timeout nor CONNECTION LIMIT, and '
       || CASE WHEN EXISTS (SELECT FROM server WHERE server.is_set IS NULL)
               THEN 'the server''s default cannot be seen (our role has limits of its own)' ELSE 'the server''s default is none' END
           AS evidence,
       u.cures AS cure
FROM unlimited AS u
WHERE u.n > 0
UNION ALL
SELECT 'warning', 'idle_in_transaction_session_timeout',
       '0 in the server''s configuration, and no role or database has one: a forgotten transaction keeps its locks and dead'
       || ' rows until its session ends',
       'ALTER SYSTEM SET idle_in_transaction_session_timeout = ''5min''; SELECT pg_reload_conf()'
FROM server AS v
WHERE v.name = 'idle_in_transaction_session_timeout' AND NOT v.is_set
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting AS s
                  CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (assignment)
                  WHERE c.assignment ~ '^idle_in_transaction_session_timeout=(?!0+ *[a-z]*$)')
UNION ALL
SELECT 'info', 'max_connections',
       'the CONNECTION LIMITs of ' || pg_catalog.count(*) || ' roles add up to ' || pg_catalog.sum(r.rolconnlimit)
       || ', which leaves all others ' || greatest(m.free - pg_catalog.sum(r.rolconnlimit), 0)
       || ' of ' || m.free || ' connections',
       'ALTER ROLE ... CONNECTION LIMIT ... for some of them, or ALTER SYSTEM SET max_connections = '
       || pg_catalog.current_setting('max_connections')::pg_catalog.int8 + pg_catalog.sum(r.rolconnlimit) - m.free + 10
       || '; restart the server'
FROM roles AS r
CROSS JOIN (SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int8
                   - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8 AS free) AS m
WHERE r.rolconnlimit > 0
GROUP BY m.free
HAVING pg_catalog.sum(r.rolconnlimit) >= m.free
