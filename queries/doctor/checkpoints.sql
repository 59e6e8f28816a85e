-- title = "checkpoints forced by WAL before they are due, or due too often"
-- order = 210
-- about = """
-- Each checkpoint makes full page images of all blocks that change after it. If more than half of at least ten
-- checkpoints since the counters' reset were requested, WAL reaches max_wal_size before checkpoint_timeout ends.
-- Cost: 1 ms. Blind spot: CHECKPOINT by hand, backups and new databases also request them.
-- """

SELECT 'warning' AS severity, 'max_wal_size' AS subject,
       c.requested || ' of ' || c.requested + c.timed || ' checkpoints were requested before checkpoint_timeout ('
       || pg_catalog.current_setting('checkpoint_timeout') || ') was over, since '
       || coalesce(pg_catalog.to_char(c.stats_reset, 'YYYY-MM-DD HH24:MI') || ' UTC', 'the beginning') || '; max_wal_size is '
       || pg_catalog.current_setting('max_wal_size') AS evidence,
       'ALTER SYSTEM SET max_wal_size = '''
       || 2 * pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) / 1048576
       || 'MB''; SELECT pg_reload_conf()' AS cure
FROM (SELECT b.checkpoints_timed AS timed, b.checkpoints_req AS requested, b.stats_reset FROM pg_catalog.pg_stat_bgwriter AS b) AS c
WHERE c.requested > c.timed AND c.requested + c.timed >= 10
UNION ALL
SELECT 'warning', 'checkpoint_timeout',
       pg_catalog.current_setting('checkpoint_timeout') || ': each checkpoint makes full page images of all blocks changed after it',
       'ALTER SYSTEM SET checkpoint_timeout = ''5min''; SELECT pg_reload_conf()'
WHERE pg_catalog.current_setting('checkpoint_timeout')::pg_catalog.interval < interval '5 minutes'
