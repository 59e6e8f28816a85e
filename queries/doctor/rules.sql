-- title = "rules of the dashboard's diagnosis that have no data here and stay silent"
-- order = 30
-- about = """
-- A rule without data reports nothing. Each row names a rule of the diagnosis and why it has no data on this
-- server or for our role. Cost: 1 ms.
-- Blind spot: rules that have data but nothing to report.
-- """

SELECT 'info' AS severity, r.rule AS subject, r.evidence, r.cure
FROM (
    SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
           pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS reads_stats,
           pg_catalog.pg_has_role('pg_monitor', 'USAGE') AS monitors,
           pg_catalog.current_setting('track_counts')::pg_catalog.bool AS counts,
           pg_catalog.current_setting('track_activities')::pg_catalog.bool AS activities,
           pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool
               AND NOT pg_catalog.pg_is_in_recovery() AS commit_times,
           EXISTS (SELECT
                   FROM pg_catalog.pg_rewrite AS w
                   JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class
                   WHERE w.rulename = '_RETURN' AND w.ev_class >= 16384 AND c.relkind = 'm') AS has_views
) AS s
CROSS JOIN LATERAL (VALUES
    (s.version < 160000, 'cache', 'what replaces the buffer cache is counted from PostgreSQL 16 on (pg_stat_io)',
     'upgrade the server'),
    (NOT s.monitors, 'temp_files', 'temporary files are listed for pg_monitor only',
     pg_catalog.format('GRANT pg_monitor TO %I', current_user)),
    (NOT s.reads_stats, 'busy_backend', 'other roles'' activity is hidden from our role',
     pg_catalog.format('GRANT pg_monitor TO %I', current_user)),
    (NOT s.reads_stats, 'old_snapshot', 'snapshots of other roles'' sessions are hidden from our role',
     pg_catalog.format('GRANT pg_monitor TO %I', current_user)),
    (NOT s.reads_stats, 'replication', 'the positions of replicas are hidden from our role',
     pg_catalog.format('GRANT pg_monitor TO %I', current_user)),
    (NOT s.activities, 'busy_backend', 'track_activities is off: sessions have no state and no statement',
     'ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf()'),
    (NOT s.counts, 'dead_rows', 'track_counts is off: dead rows are not counted',
     'ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()'),
    (NOT s.commit_times AND s.has_views, 'late_view',
     'ages of materialized views are unknown until a refresh is seen (track_commit_timestamp is off, or this is a standby)',
     'ALTER SYSTEM SET track_commit_timestamp = on, on the primary; restart the server')
) AS r (silent, rule, evidence, cure)
WHERE r.silent
