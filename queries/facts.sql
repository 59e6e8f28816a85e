-- title = "Facts"
-- pool = "oltp"
-- interval = "10s"
-- internal = true
-- sampling = { first = true, at_connect = true }
-- chart = { kind = "stat" }
-- about = """
-- What the server is and what our role may see. Read at each connect, retried until it is answered, then every 10
-- seconds, because it changes (a privilege is granted), and at once if the counters say that a standby was promoted or
-- that the server was restarted. Cost: 2 ms.
-- """
--
-- [columns.server_version_num]
-- help = "Version as a number: 160004 is 16.4."
-- [columns.server_version]
-- title = "version"
-- help = "Version as text, with the packager's addition."
-- [columns.current_database]
-- title = "database"
-- help = "Database we are connected to; counters of tables and views are those of this one only."
-- [columns.current_user]
-- title = "role"
-- help = "Role we run as."
-- [columns.is_superuser]
-- title = "superuser"
-- unit = "flag"
-- help = "Never needed; see the granted roles beside it."
-- [columns.pg_monitor]
-- unit = "flag"
-- help = "Has the privileges of pg_monitor: sees all sessions. Cure: GRANT pg_monitor TO the role."
-- [columns.read_all_stats]
-- unit = "flag"
-- help = "Has the privileges of pg_read_all_stats, which is what shows other roles' sessions."
-- [columns.signal_backend]
-- unit = "flag"
-- help = "May cancel and terminate other roles' sessions, superusers' excepted."
-- [columns.in_recovery]
-- title = "standby"
-- unit = "flag"
-- help = "A standby."
-- [columns.track_commit_timestamp]
-- unit = "flag"
-- help = "Commit times are recorded: refresh times are exact."
-- [columns.track_activity_query_size]
-- unit = "bytes"
-- help = "Length at which query texts are cut."
-- [columns.max_parallel_workers]
-- unit = "count"
-- help = "The most parallel workers that serve queries at once."
-- [columns.system_identifier]
-- title = "system"
-- help = "Identity of the cluster; primary and standby share it. None if our role may not read it."
-- [columns.cluster_name]
-- title = "cluster"
-- help = "cluster_name, if set."

SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int8 AS server_version_num,
       pg_catalog.current_setting('server_version') AS server_version,
       pg_catalog.current_database()::pg_catalog.text AS current_database,
       current_user::pg_catalog.text AS current_user,
       r.rolsuper AS is_superuser,
       pg_catalog.pg_has_role('pg_monitor', 'USAGE') AS pg_monitor,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS read_all_stats,
       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS signal_backend,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool AS track_commit_timestamp,
       (SELECT g.setting::pg_catalog.int8 FROM pg_catalog.pg_settings AS g
        WHERE g.name = 'track_activity_query_size') AS track_activity_query_size,
       pg_catalog.current_setting('max_parallel_workers')::pg_catalog.int8 AS max_parallel_workers,
       /*?system_identifier*/
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            -- as text within: a direct call would be checked at the start, and fail if it is revoked
            THEN substring(pg_catalog.query_to_xml(
                     'SELECT system_identifier FROM pg_catalog.pg_control_system()', false, true, '')::pg_catalog.text
                 FROM '>([0-9]+)<')
       END
       /*:NULL::pg_catalog.text*/ AS system_identifier,
       nullif(pg_catalog.current_setting('cluster_name'), '') AS cluster_name
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user
