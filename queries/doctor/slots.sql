-- title = "replication slots that nobody reads, and WAL kept without a limit"
-- order = 170
-- about = """
-- A slot keeps WAL, and dead rows, for a reader that may never come back; with max_slot_wal_keep_size = -1 until
-- the disk is full. The slot of the stream is read at times, and left out while its relay runs.
-- Cost: 1 ms. Blind spot: how long a slot has been unused is not recorded before 17; a physical slot that was
-- never used keeps nothing.
-- """
-- may_read = ["htap.stream_slot"]

WITH known AS MATERIALIZED (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'htap' AND c.relname = 'stream_slot' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_column_privilege(c.oid, 'slot', 'SELECT') AND pg_catalog.has_column_privilege(c.oid, 'sent_at', 'SELECT')
),
polled AS MATERIALIZED (
    -- as text within: a direct name would have to exist
    SELECT substring(pg_catalog.query_to_xml('SELECT slot FROM htap.stream_slot WHERE sent_at > now() - interval ''1 min''',
                                             false, true, '')::pg_catalog.text FROM '>([a-z0-9_]+)<') AS slot_name
    FROM known
)
SELECT CASE WHEN s.wal_status = 'lost' THEN 'warning'
            WHEN k.kept >= 1073741824 AND NOT u.used AND k.unlimited THEN 'danger'
            WHEN k.kept IS NULL THEN 'info'
            ELSE 'warning' END AS severity,
       s.slot_name::pg_catalog.text AS subject,
       CASE WHEN s.wal_status = 'lost' THEN 'a ' || s.slot_type || ' slot whose WAL is gone: its reader cannot continue'
            WHEN u.used THEN 'a ' || s.slot_type || ' slot in use that keeps ' || pg_catalog.pg_size_pretty(k.kept)
                               || ' of WAL, and max_slot_wal_keep_size is -1: without limit'
            ELSE 'a ' || s.slot_type || ' slot that nobody reads'
                 || coalesce(': it keeps ' || pg_catalog.pg_size_pretty(k.kept) || ' of WAL', '')
                 || CASE WHEN k.kept IS NOT NULL AND k.unlimited THEN ', and max_slot_wal_keep_size is -1: until the disk is full'
                         ELSE '' END END AS evidence,
       CASE WHEN u.used AND s.wal_status IS DISTINCT FROM 'lost'
            THEN 'ALTER SYSTEM SET max_slot_wal_keep_size = ''50GB''; SELECT pg_reload_conf() (choose a part of the disk)'
            WHEN s.wal_status = 'lost' THEN pg_catalog.format('SELECT pg_drop_replication_slot(%L)', s.slot_name)
            ELSE pg_catalog.format('SELECT pg_drop_replication_slot(%L), if its reader will not come back', s.slot_name) END AS cure
FROM pg_catalog.pg_replication_slots AS s
CROSS JOIN (SELECT pg_catalog.pg_is_in_recovery() AS standby,
                   pg_catalog.current_setting('max_slot_wal_keep_size') = '-1' AS unlimited OFFSET 0) AS here
CROSS JOIN LATERAL (
    SELECT here.unlimited,
           pg_catalog.pg_wal_lsn_diff(
               CASE WHEN here.standby THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END,
               s.restart_lsn)::pg_catalog.int8 AS kept
    OFFSET 0
) AS k
CROSS JOIN LATERAL (
    SELECT s.active OR EXISTS (SELECT FROM polled AS p WHERE p.slot_name = s.slot_name) AS used
    OFFSET 0
) AS u
WHERE s.wal_status = 'lost'
   OR NOT u.used
   OR k.unlimited AND k.kept >= 1073741824
ORDER BY k.kept DESC NULLS LAST, s.slot_name
LIMIT 200
