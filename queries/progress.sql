-- title = "Progress"
-- pool = "oltp"
-- interval = "1s"
-- order = 140
-- letter = "n"
-- sampling = { with_detail = true }
-- only_shown = true
-- key = ["pid", "backend_start"]
-- labels = ["pid", "command", "relation"]
-- sort = "-running_s"
-- narrow = ["command", "relation", "running_s", "pct"]
-- compact = ["command", "relation", "running_s", "pct", "phase"]
-- empty = "no running command reports progress"
-- about = """
-- How far VACUUM, ANALYZE, CREATE INDEX and REINDEX, CLUSTER and VACUUM FULL, COPY (PostgreSQL 14 and later) and
-- base backups are, in all databases, autovacuum's included.
-- Cost: 0.3 ms; from memory.
-- Blind spot: the figures are those of the present phase, not of the whole command: an index build reaches 100 %
-- several times, and VACUUM goes back and forth between table and indexes. Other commands report nothing, and
-- neither does REFRESH MATERIALIZED VIEW (see Views and summaries). Without pg_monitor the server shows only that
-- others' commands run. Relations of other databases show as OID.
-- """
--
-- [columns.pid]
-- help = "Process id of the backend that runs it."
-- [columns.command]
-- help = "The command, with autovacuum: before it if a worker runs it by itself."
-- [columns.relation]
-- help = "Table it works on, with its schema unless it is public; TOAST of it if it is the table's TOAST. OID and database if it is in another database or not committed yet."
-- [columns.phase]
-- help = "What it does at present, in PostgreSQL's words. For COPY: FROM or TO, and what."
-- [columns.done]
-- unit = "count"
-- help = "How much of total is done, in the unit beside it."
-- [columns.total]
-- unit = "count"
-- help = "How much there is in this phase; none if the server does not know it."
-- [columns.pct]
-- title = "%"
-- unit = "percent"
-- help = "done out of total. A table that grows meanwhile does not take it above 100."
-- [columns.unit]
-- help = "What done and total count: blocks, tuples or bytes."
-- [columns.extra]
-- title = "also"
-- help = "Which of several indexes, partitions or tablespaces; whom it waits for; how often a VACUUM had to go through all indexes: more than once means that maintenance_work_mem was too small."
-- [columns.running_s]
-- title = "running"
-- unit = "seconds"
-- help = "Since the statement began. A VACUUM of many tables is one statement."
-- [columns.usename]
-- title = "role"
-- help = "Role that logged in; none for autovacuum."
-- [columns.application_name]
-- title = "app"
-- help = "What the client calls itself."
-- [columns.query]
-- help = "Text of the statement; for autovacuum it names the table and says if it is to prevent wraparound: such a vacuum does not give way to a lock request."
-- [columns.backend_start]
-- hidden = true
-- help = "Identifies one session together with pid."
-- [columns.query_start]
-- hidden = true
-- help = "Identity of the statement for cancel."

WITH p AS MATERIALIZED (
    SELECT v.pid, v.datname, v.relid, 'VACUUM' AS command, v.phase,
           CASE WHEN v.phase = 'vacuuming heap' THEN v.heap_blks_vacuumed ELSE v.heap_blks_scanned END AS done,
           v.heap_blks_total AS total,
           'blocks' AS unit,
           CASE WHEN v.index_vacuum_count > 0 THEN 'indexes vacuumed ' || v.index_vacuum_count::pg_catalog.text END AS extra
    FROM pg_catalog.pg_stat_progress_vacuum AS v
    /*?analyze*/
    UNION ALL
    SELECT a.pid, a.datname, a.relid, 'ANALYZE', a.phase, a.sample_blks_scanned, a.sample_blks_total, 'blocks',
           CASE WHEN a.child_tables_total > 0
                THEN 'child table ' || least(a.child_tables_done + 1, a.child_tables_total)::pg_catalog.text
                     || ' of ' || a.child_tables_total::pg_catalog.text
                WHEN a.ext_stats_total > 0
                THEN 'extended statistics ' || least(a.ext_stats_computed + 1, a.ext_stats_total)::pg_catalog.text
                     || ' of ' || a.ext_stats_total::pg_catalog.text END
    FROM pg_catalog.pg_stat_progress_analyze AS a
    /*:*/
    /*?create_index*/
    UNION ALL
    -- reading the table counts blocks, loading the index tuples; the other total is 0 meanwhile
    SELECT i.pid, i.datname, i.relid, coalesce(i.command, 'CREATE INDEX'), i.phase,
           CASE WHEN i.blocks_total > 0 THEN i.blocks_done WHEN i.tuples_total > 0 THEN i.tuples_done END,
           CASE WHEN i.blocks_total > 0 THEN i.blocks_total ELSE i.tuples_total END,
           CASE WHEN i.blocks_total > 0 THEN 'blocks' ELSE 'tuples' END,
           nullif(pg_catalog.concat_ws(', ',
               'index ' || (SELECT c.relname FROM pg_catalog.pg_class AS c
                            WHERE c.oid = i.index_relid AND i.datname = pg_catalog.current_database())::pg_catalog.text,
               CASE WHEN i.current_locker_pid > 0 THEN 'waits for pid ' || i.current_locker_pid::pg_catalog.text END,
               CASE WHEN i.partitions_total > 0
                    THEN 'partition ' || least(i.partitions_done + 1, i.partitions_total)::pg_catalog.text
                         || ' of ' || i.partitions_total::pg_catalog.text END), '')
    FROM pg_catalog.pg_stat_progress_create_index AS i
    /*:*/
    /*?cluster*/
    UNION ALL
    SELECT c.pid, c.datname, c.relid, coalesce(c.command, 'CLUSTER'), c.phase,
           CASE WHEN c.phase = 'writing new heap' THEN c.heap_tuples_written
                WHEN c.heap_blks_total > 0 THEN c.heap_blks_scanned ELSE c.heap_tuples_scanned END,
           CASE WHEN c.phase = 'writing new heap' THEN c.heap_tuples_scanned ELSE c.heap_blks_total END,
           CASE WHEN c.phase <> 'writing new heap' AND c.heap_blks_total > 0 THEN 'blocks' ELSE 'tuples' END,
           CASE WHEN c.index_rebuild_count > 0 THEN 'indexes rebuilt ' || c.index_rebuild_count::pg_catalog.text END
    FROM pg_catalog.pg_stat_progress_cluster AS c
    /*:*/
    /*?basebackup*/
    UNION ALL
    SELECT b.pid, NULL, NULL, 'BASE BACKUP', b.phase, b.backup_streamed, b.backup_total, 'bytes',
           CASE WHEN b.tablespaces_total > 1
                THEN 'tablespace ' || least(b.tablespaces_streamed + 1, b.tablespaces_total)::pg_catalog.text
                     || ' of ' || b.tablespaces_total::pg_catalog.text END
    FROM pg_catalog.pg_stat_progress_basebackup AS b
    /*:*/
)
SELECT p.pid::pg_catalog.int8 AS pid,
       CASE WHEN a.backend_type = 'autovacuum worker' THEN 'autovacuum: ' ELSE '' END || p.command AS command,
       coalesce(r.name, p.relid::pg_catalog.text || coalesce(' in ' || p.datname::pg_catalog.text, '')) AS relation,
       p.phase,
       p.done,
       nullif(p.total, 0) AS total,
       (100.0 * least(p.done, p.total) / nullif(p.total, 0))::pg_catalog.float8 AS pct,
       CASE WHEN p.done IS NOT NULL THEN p.unit END AS unit,
       p.extra,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::pg_catalog.float8 AS running_s,
       u.rolname::pg_catalog.text AS usename,
       a.application_name,
       pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 2001) AS query,
       a.backend_start::pg_catalog.text AS backend_start,
       a.query_start::pg_catalog.text AS query_start
FROM p
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(p.pid) AS a ON true
LEFT JOIN pg_catalog.pg_roles AS u ON u.oid = a.usesysid
LEFT JOIN LATERAL (
    SELECT CASE WHEN n.nspname = 'pg_toast' THEN 'TOAST of ' ELSE '' END
           || CASE WHEN m.nspname = 'public' THEN '' ELSE m.nspname::pg_catalog.text || '.' END
           || o.relname::pg_catalog.text AS name
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    -- the name of a TOAST table holds its owner's OID; there is no index on reltoastrelid
    JOIN pg_catalog.pg_class AS o
      ON o.oid = coalesce(CASE WHEN n.nspname = 'pg_toast' THEN substring(c.relname FROM '[0-9]+$')::pg_catalog.oid END, c.oid)
    JOIN pg_catalog.pg_namespace AS m ON m.oid = o.relnamespace
    WHERE c.oid = p.relid AND p.datname = pg_catalog.current_database()
) AS r ON true
WHERE (NOT (u.rolname = session_user
            AND pg_catalog.split_part(a.application_name, ' - ', 1)
                   = (SELECT pg_catalog.split_part(pg_catalog.current_setting('application_name'), ' - ', 1)))) IS NOT FALSE
ORDER BY running_s DESC NULLS LAST, p.pid
LIMIT 200
