-- 18 counts inserted rows against the share of the table that is not yet frozen (pg_class.relallfrozen).

WITH g AS MATERIALIZED (
    SELECT pg_catalog.current_setting('block_size')::pg_catalog.int8 AS block_size,
           pg_catalog.current_setting('autovacuum')::pg_catalog.bool
               AND pg_catalog.current_setting('track_counts')::pg_catalog.bool AS enabled,
           pg_catalog.current_setting('autovacuum_vacuum_threshold')::pg_catalog.float8 AS threshold,
           pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::pg_catalog.float8 AS scale,
           pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true)::pg_catalog.float8 AS max_threshold,
           pg_catalog.current_setting('autovacuum_vacuum_insert_threshold')::pg_catalog.float8 AS ins_threshold,
           pg_catalog.current_setting('autovacuum_vacuum_insert_scale_factor')::pg_catalog.float8 AS ins_scale,
           pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.float8 AS freeze_max_age,
           pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.float8 AS mxid_max_age
),
options AS MATERIALIZED (
    -- few tables have any
    SELECT c.oid,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_enabled')::pg_catalog.bool AS enabled,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_threshold')::pg_catalog.float8
               AS threshold,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_scale_factor')::pg_catalog.float8
               AS scale,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_max_threshold')::pg_catalog.float8
               AS max_threshold,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_insert_threshold')::pg_catalog.float8
               AS ins_threshold,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_insert_scale_factor')::pg_catalog.float8
               AS ins_scale,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_freeze_max_age')::pg_catalog.float8
               AS freeze_max_age,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_multixact_freeze_max_age')::pg_catalog.float8
               AS mxid_max_age
    FROM pg_catalog.pg_class AS c
    CROSS JOIN LATERAL pg_catalog.pg_options_to_table(c.reloptions) AS x
    WHERE c.relkind IN ('r', 'm', 't') AND c.reloptions IS NOT NULL
    GROUP BY c.oid
),
tables AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relnamespace, c.relpages, c.reltoastrelid, c.relkind,
           pg_catalog.pg_stat_get_dead_tuples(c.oid) AS n_dead,
           pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) AS n_ins,
           -- reltuples is -1 if never analysed (14 and later)
           greatest(c.reltuples, 0)::pg_catalog.float8 AS rows,
           CASE WHEN c.relpages > 0 AND c.relallfrozen > 0
                THEN 1 - least(c.relallfrozen, c.relpages)::pg_catalog.float8 / c.relpages ELSE 1 END AS unfrozen,
           pg_catalog.age(nullif(c.relfrozenxid, '0')) AS frozen_age,
           pg_catalog.mxid_age(nullif(c.relminmxid, '0')) AS mxid_age
    FROM pg_catalog.pg_class AS c
    WHERE c.relpersistence <> 't'
      AND (c.relkind IN ('r', 'm') OR c.relkind = 't' AND pg_catalog.pg_stat_get_dead_tuples(c.oid) >= 1000)
),
owners AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relnamespace, c.reltoastrelid
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'm') AND c.reltoastrelid IN (SELECT t.oid FROM tables AS t WHERE t.relkind = 't')
),
judged AS (
    SELECT t.oid, coalesce(owner.relname, t.relname) AS relname, coalesce(owner.relnamespace, t.relnamespace) AS relnamespace,
           owner.oid IS NOT NULL AS is_toast, t.relpages, t.reltoastrelid, t.n_dead, toast.relpages AS toast_pages,
           a.frozen_age, a.mxid_age,
           t.n_dead / greatest(1, least(
               coalesce(o.threshold, g.threshold) + coalesce(o.scale, g.scale) * t.rows,
               CASE WHEN coalesce(o.max_threshold, g.max_threshold) >= 0
                    THEN coalesce(o.max_threshold, g.max_threshold) END)) AS due,
           CASE WHEN coalesce(o.ins_threshold, g.ins_threshold) >= 0 THEN t.n_ins / greatest(1,
               coalesce(o.ins_threshold, g.ins_threshold) + coalesce(o.ins_scale, g.ins_scale) * t.rows * t.unfrozen)
           END AS ins_due,
           100 * a.frozen_age / nullif(least(o.freeze_max_age, g.freeze_max_age), 0) AS frozen_pct,
           100 * a.mxid_age / nullif(least(o.mxid_max_age, g.mxid_max_age), 0) AS mxid_pct,
           NOT (g.enabled AND coalesce(o.enabled, true)) AS autovacuum_off
    FROM tables AS t
    CROSS JOIN g
    LEFT JOIN owners AS owner ON owner.reltoastrelid = t.oid
    LEFT JOIN options AS own ON own.oid = t.oid
    -- a TOAST without options of its own follows those of its table
    LEFT JOIN options AS o ON o.oid = CASE WHEN own.oid IS NULL THEN coalesce(owner.oid, t.oid) ELSE t.oid END
    LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = t.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT greatest(t.frozen_age, pg_catalog.age(nullif(toast.relfrozenxid, '0')))::pg_catalog.int8 AS frozen_age,
               greatest(t.mxid_age, pg_catalog.mxid_age(nullif(toast.relminmxid, '0')))::pg_catalog.int8 AS mxid_age
        OFFSET 0
    ) AS a
),
worst AS MATERIALIZED (
    SELECT j.*, greatest(j.due, j.ins_due, j.frozen_pct / 100, j.mxid_pct / 100) AS worst
    FROM judged AS j
    WHERE j.oid >= 16384 OR greatest(j.due, j.ins_due, j.frozen_pct / 100, j.mxid_pct / 100) >= 1
    ORDER BY worst DESC NULLS LAST, j.n_dead DESC, j.relpages DESC
    LIMIT 200
),
locked AS MATERIALIZED (
    -- what is being rewritten or dropped: to ask for its size would wait
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
)
SELECT w.oid::pg_catalog.int8 AS relid,
       CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname::pg_catalog.text || '.' END
           || w.relname::pg_catalog.text || CASE WHEN w.is_toast THEN ' (TOAST)' ELSE '' END AS relation,
       w.due,
       w.ins_due,
       w.n_dead,
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_stat_get_last_vacuum_time(w.oid))::pg_catalog.float8
           AS last_vacuum_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_stat_get_last_autovacuum_time(w.oid))::pg_catalog.float8
           AS last_autovacuum_s,
       extract(epoch FROM pg_catalog.clock_timestamp() - greatest(pg_catalog.pg_stat_get_last_analyze_time(w.oid),
           pg_catalog.pg_stat_get_last_autoanalyze_time(w.oid)))::pg_catalog.float8 AS last_analyze_s,
       pg_catalog.pg_stat_get_vacuum_count(w.oid) + pg_catalog.pg_stat_get_autovacuum_count(w.oid) AS vacuums,
       /*?running*/
       (SELECT pg_catalog.min(CASE WHEN v.relid = w.oid THEN v.phase ELSE 'TOAST: ' || v.phase END)
        FROM pg_catalog.pg_stat_progress_vacuum AS v
        WHERE v.datname = pg_catalog.current_database() AND v.relid IN (w.oid, w.reltoastrelid))
       /*:NULL::pg_catalog.text*/ AS running,
       w.frozen_age,
       w.frozen_pct,
       w.mxid_age,
       w.mxid_pct,
       CASE WHEN w.oid IN (SELECT k.relation FROM locked AS k) OR w.reltoastrelid IN (SELECT k.relation FROM locked AS k)
            THEN (w.relpages::pg_catalog.int8 + coalesce(w.toast_pages, 0)) * g.block_size
            ELSE /*?size_bytes*/ pg_catalog.pg_relation_size(w.oid) + coalesce(pg_catalog.pg_relation_size(nullif(w.reltoastrelid, 0)), 0) /*:NULL::pg_catalog.int8*/ END AS size_bytes,
       w.autovacuum_off
FROM worst AS w
CROSS JOIN g
JOIN pg_catalog.pg_namespace AS n ON n.oid = w.relnamespace
ORDER BY w.worst DESC NULLS LAST, w.n_dead DESC, w.relpages DESC
