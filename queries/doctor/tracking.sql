-- title = "what the server records: counters, activity, I/O times, commit times, length of query texts"
-- order = 50
-- about = """
-- Settings without which panels and rules have nothing to show. Commit times matter if there are materialized
-- views: PostgreSQL keeps no other time of refresh.
-- Cost: 1 ms. Blind spot: values of a new session of our role; other roles may have others.
-- """

SELECT t.severity, t.name AS subject, t.evidence, t.cure
FROM (
    SELECT pg_catalog.current_setting('track_counts')::pg_catalog.bool AS counts,
           pg_catalog.current_setting('track_activities')::pg_catalog.bool AS activities,
           pg_catalog.current_setting('track_io_timing')::pg_catalog.bool AS io_timing,
           pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool AS commit_timestamp,
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('track_activity_query_size')) AS query_size,
           (SELECT pg_catalog.count(*)
            FROM pg_catalog.pg_rewrite AS r
            JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
            WHERE r.rulename = '_RETURN' AND r.ev_class >= 16384 AND c.relkind = 'm') AS views
) AS s
CROSS JOIN LATERAL (VALUES
    (NOT s.counts, 'danger', 'track_counts',
     'off: without counters autovacuum does not run, and most panels are empty',
     'ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()'),
    (NOT s.activities, 'warning', 'track_activities',
     'off: nobody can see what sessions do, and Queries, Snapshots and Locks are empty',
     'ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf()'),
    (NOT s.io_timing, 'info', 'track_io_timing',
     'off: times of reads and writes are missing in I/O and Databases (pg_test_timing tells what they cost)',
     'ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf()'),
    (NOT s.commit_timestamp AND s.views > 0, 'warning', 'track_commit_timestamp',
     'off: the age of ' || s.views || CASE s.views WHEN 1 THEN ' materialized view' ELSE ' materialized views' END
     || ' is unknown until a refresh is seen',
     'ALTER SYSTEM SET track_commit_timestamp = on; restart the server'),
    (s.query_size < 4096, 'info', 'track_activity_query_size',
     pg_catalog.current_setting('track_activity_query_size') || ': longer statements are shown cut off',
     'ALTER SYSTEM SET track_activity_query_size = ''4kB''; restart the server')
) AS t (found, severity, name, evidence, cure)
WHERE t.found
