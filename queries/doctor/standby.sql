-- title = "a standby: what works only on the primary, and whether the standby keeps up"
-- order = 230
-- about = """
-- On a standby nothing can be refreshed, and ages of views are unknown. Also finds paused replay and a missing
-- walreceiver. Always clean on a primary.
-- Cost: 1 ms. Blind spot: a standby that restores from an archive needs no walreceiver.
-- """

SELECT s.severity, s.subject, s.evidence, s.cure
FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) AS here
CROSS JOIN LATERAL (
    SELECT 'info' AS severity, 'standby' AS subject,
           'this server is in recovery: refreshes, partitions and init need the primary; ages of views are unknown here' AS evidence,
           'watch the primary, and give this server as --olap' AS cure
    UNION ALL
    SELECT 'warning', 'replay', 'is paused: the data here becomes stale', 'SELECT pg_wal_replay_resume()'
    WHERE CASE WHEN here.standby THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END
    UNION ALL
    SELECT 'warning', 'walreceiver', 'none is running: nothing arrives from the primary by streaming',
           'check primary_conninfo and the server''s log'
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver AS w WHERE w.pid IS NOT NULL)
    UNION ALL
    SELECT 'info', 'hot_standby_feedback',
           'off: queries here that last longer than max_standby_streaming_delay ('
           || pg_catalog.current_setting('max_standby_streaming_delay')
           || ') may be cancelled when the primary vacuums',
           'ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf() (the primary then keeps dead rows for long queries)'
    WHERE NOT pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool
) AS s
WHERE here.standby
