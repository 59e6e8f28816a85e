-- title = "Settings"
-- pool = "oltp"
-- interval = "1m"
-- order = 230
-- letter = "o"
-- only_shown = true
-- key = ["name"]
-- compact = ["name", "value", "advice"]
-- about = """
-- The settings that matter when short transactions and long queries share a server: memory, workers, timeouts, WAL
-- and checkpoints, autovacuum, what holds dead rows. Those with advice come first.
-- Cost: 2 ms; pg_settings goes through all settings of the server.
-- Blind spot: values are those of a new session of our role in this database. Other roles, functions and sessions
-- may have others; tables have autovacuum settings of their own. Advice is given only if the setting alone proves
-- it; it cannot know what suits the load. No advice does not mean well tuned.
-- """
--
-- [columns.name]
-- title = "setting"
-- help = "Name. work_mem counts per sort or hash and per process, times hash_mem_multiplier for hashes: a few OLAP statements with many workers use it many times over. jit pays off for long statements only: if the planner overestimates, OLTP statements wait for compilation; turning it off for the OLTP role is a good start. hot_standby_feedback and max_standby_streaming_delay count on a standby."
-- [columns.value]
-- help = "Value. None if our role may not see it (pg_read_all_settings). Timeouts that this program sets for its own sessions are shown as they were before, in ms."
-- [columns.unit]
-- hidden = true
-- help = "Unit the server counts it in; the value has its own."
-- [columns.source]
-- hidden = true
-- help = "Where the value comes from: default, configuration file, database, user, … None if it is no longer known."
-- [columns.pending_restart]
-- hidden = true
-- title = "restart"
-- unit = "flag"
-- help = "Changed in the configuration file; takes effect at the next restart."
-- [columns.advice]
-- help = "What to set instead, and why; none if the setting alone proves nothing."
-- [columns.severity]
-- hidden = true
-- help = "danger: data may be lost, or the server will stop working. warning: it works, but will hurt."

WITH s AS MATERIALIZED (
    SELECT g.name, g.setting, g.unit, g.source, g.boot_val, g.reset_val, g.pending_restart
    FROM pg_catalog.pg_settings AS g
),
named (place, name) AS (
    VALUES (1, 'shared_buffers'), (2, 'effective_cache_size'), (3, 'work_mem'), (4, 'hash_mem_multiplier'),
           (5, 'maintenance_work_mem'), (6, 'autovacuum_work_mem'), (7, 'temp_file_limit'),
           (10, 'max_connections'), (11, 'max_worker_processes'), (12, 'max_parallel_workers'),
           (13, 'max_parallel_workers_per_gather'), (14, 'max_parallel_maintenance_workers'),
           (15, 'max_prepared_transactions'),
           (20, 'random_page_cost'), (21, 'effective_io_concurrency'), (22, 'default_statistics_target'), (23, 'jit'),
           (24, 'jit_above_cost'), (25, 'io_method'),
           (30, 'statement_timeout'), (31, 'transaction_timeout'), (32, 'lock_timeout'),
           (33, 'idle_in_transaction_session_timeout'), (34, 'idle_session_timeout'), (35, 'deadlock_timeout'),
           (36, 'log_lock_waits'),
           (40, 'synchronous_commit'), (41, 'fsync'), (42, 'full_page_writes'), (43, 'wal_level'), (44, 'wal_compression'),
           (45, 'max_wal_size'), (46, 'checkpoint_timeout'), (47, 'checkpoint_completion_target'),
           (50, 'max_slot_wal_keep_size'), (51, 'idle_replication_slot_timeout'), (52, 'wal_keep_size'),
           (53, 'hot_standby_feedback'), (54, 'max_standby_streaming_delay'), (55, 'vacuum_defer_cleanup_age'),
           (56, 'old_snapshot_threshold'),
           (60, 'autovacuum'), (61, 'autovacuum_max_workers'), (62, 'autovacuum_naptime'),
           (63, 'autovacuum_vacuum_threshold'), (64, 'autovacuum_vacuum_scale_factor'),
           (65, 'autovacuum_vacuum_max_threshold'), (66, 'autovacuum_vacuum_insert_scale_factor'),
           (67, 'autovacuum_analyze_scale_factor'), (68, 'autovacuum_vacuum_cost_limit'),
           (69, 'autovacuum_vacuum_cost_delay'), (70, 'autovacuum_freeze_max_age'), (71, 'vacuum_failsafe_age'),
           (80, 'track_counts'), (81, 'track_activities'), (82, 'track_io_timing'), (83, 'track_commit_timestamp'),
           (84, 'shared_preload_libraries')
)
SELECT n.name,
       v.value,
       s.unit,
       CASE WHEN s.source <> 'session' THEN s.source WHEN s.reset_val = s.boot_val THEN 'default' END AS source,
       s.pending_restart,
       a.advice,
       CASE WHEN a.advice IS NULL THEN NULL
            WHEN n.name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts') THEN 'danger'
            ELSE 'warning' END AS severity
FROM named AS n
LEFT JOIN s ON s.name = n.name
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.source = 'session' THEN s.reset_val || CASE s.reset_val WHEN '0' THEN '' ELSE coalesce(' ' || s.unit, '') END
                WHEN s.name IS NOT NULL THEN pg_catalog.current_setting(s.name, true) END AS value,
           CASE WHEN s.source = 'session' THEN s.reset_val ELSE s.setting END AS setting
) AS v
CROSS JOIN LATERAL (
    -- CASE, for it looks at the right one only: most settings are no numbers
    SELECT CASE n.name
        WHEN 'fsync' THEN CASE WHEN v.setting = 'off' THEN
            'set it on: a crash of the machine may destroy the whole database' END
        WHEN 'full_page_writes' THEN CASE WHEN v.setting = 'off' THEN
            'set it on: a crash may leave half-written pages that WAL cannot mend' END
        WHEN 'autovacuum' THEN CASE WHEN v.setting = 'off' THEN
            'set it on: dead rows pile up, and the planner''s statistics grow old' END
        WHEN 'track_counts' THEN CASE WHEN v.setting = 'off' THEN
            'set it on: without counters autovacuum does not come, and most panels are empty' END
        WHEN 'track_activities' THEN CASE WHEN v.setting = 'off' THEN
            'set it on: nobody can see what sessions do' END
        WHEN 'max_slot_wal_keep_size' THEN CASE
            WHEN v.setting = '-1' AND EXISTS (SELECT FROM pg_catalog.pg_replication_slots) THEN
            'set a part of the disk, such as 50GB: with -1 a slot that nobody reads keeps WAL until the disk is full' END
        WHEN 'idle_in_transaction_session_timeout' THEN CASE
            WHEN v.setting = '0' AND NOT EXISTS (
                SELECT
                FROM pg_catalog.pg_db_role_setting AS x
                CROSS JOIN LATERAL pg_catalog.unnest(x.setconfig) AS c (assignment)
                WHERE c.assignment LIKE 'idle\_in\_transaction\_session\_timeout=%'
                  AND c.assignment <> 'idle_in_transaction_session_timeout=0') THEN
            'set 1min or so: a forgotten transaction keeps its locks and may keep dead rows, and no role has a limit' END
        WHEN 'checkpoint_timeout' THEN CASE WHEN v.setting::pg_catalog.float8 < 300 THEN
            'set 5min or more: each checkpoint makes full page images of all blocks changed after it' END
        WHEN 'vacuum_defer_cleanup_age' THEN CASE WHEN v.setting <> '0' THEN
            'set 0: dead rows stay for so many transactions; hot_standby_feedback serves standbys better' END
        END AS advice
) AS a
-- What this server does not have is left out; what our role may not see is not.
WHERE s.name IS NOT NULL OR n.name = 'shared_preload_libraries'
ORDER BY severity, n.place
LIMIT 200
