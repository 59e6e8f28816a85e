-- The process of this session, whether our role may see the sessions of others, and another session that isolates OLAP.
SELECT a.pid::pg_catalog.int8 AS pid,
       extract(epoch FROM a.backend_start)::pg_catalog.float8 AS started_s,
       pg_catalog.current_setting('server_version') AS version,
       r.rolname::pg_catalog.text AS role,
       r.rolsuper OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       (SELECT pg_catalog.min(o.pid)::pg_catalog.int8 FROM pg_catalog.pg_stat_activity AS o
        WHERE o.pid <> a.pid AND pg_catalog.starts_with(o.application_name, 'htap-top isolate: ')) AS other
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a
JOIN pg_catalog.pg_roles AS r ON r.rolname = current_user
