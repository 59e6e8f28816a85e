-- title = "transaction ids and multixacts that autovacuum does not freeze in time"
-- order = 200
-- about = """
-- From autovacuum_freeze_max_age on autovacuum freezes by force. A database at twice that age shows that it cannot
-- keep up: something holds the horizon, or it is too slow. At 2 billion the server refuses to write.
-- Cost: 1 ms.
-- """

SELECT CASE WHEN a.age >= 1500000000 THEN 'danger' ELSE 'warning' END AS severity,
       d.datname::pg_catalog.text AS subject,
       'its oldest ' || a.what || ' is ' || a.age || ' old, twice ' || a.setting || ' (' || a.forced_at
       || ') is passed, and the server stops near 2147483647' AS evidence,
       pg_catalog.format('in database %I, as a superuser: VACUUM (FREEZE); first end what holds the horizon (htap-top: Snapshots)',
                         d.datname)
       || CASE WHEN d.datallowconn THEN '' ELSE '; it allows no connections: ALTER DATABASE '
               || pg_catalog.quote_ident(d.datname) || ' ALLOW_CONNECTIONS true first' END AS cure
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL (
    VALUES ('transaction id', pg_catalog.age(d.datfrozenxid)::pg_catalog.int8, 'autovacuum_freeze_max_age',
            pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8),
           ('multixact', pg_catalog.mxid_age(d.datminmxid)::pg_catalog.int8, 'autovacuum_multixact_freeze_max_age',
            pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8)
) AS a (what, age, setting, forced_at)
WHERE a.age > 2 * a.forced_at
ORDER BY a.age DESC
LIMIT 200
