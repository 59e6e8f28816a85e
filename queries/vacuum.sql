-- title = "Vacuum"
-- pool = "slow"
-- interval = "5s"
-- order = 200
-- letter = "v"
-- only_shown = true
-- key = ["relid"]
-- labels = ["relation"]
-- counters = ["vacuums"]
-- narrow = ["relation", "due", "n_dead", "last_autovacuum_s"]
-- compact = ["relation", "due", "n_dead", "last_autovacuum_s", "frozen_pct", "running"]
-- empty = "this database has no tables of its own"
-- about = """
-- The queue for autovacuum: the 200 tables and materialized views of this database that are most due, for dead
-- rows, for inserted ones, or for freezing, whichever is worst. System catalogues only when due.
-- Cost: one pass over pg_class and two counters for each table; no table is read; reading the size takes a
-- reader's lock (ACCESS SHARE) for a moment. 1,000 tables take 20 ms.
-- Blind spot: counters are estimates and lost in a crash. Nobody can tell in which order autovacuum will take
-- them; it takes all that are due in one database before the next. The share of multixacts does not count the
-- space of their members, which makes autovacuum come earlier.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the relation."
-- [columns.relation]
-- title = "table"
-- help = "Name, with its schema unless it is public; a TOAST with 1,000 dead rows or more shows the name of its table and (TOAST)."
-- [columns.due]
-- unit = "count"
-- warn = 1.0
-- danger = 3.0
-- help = "Dead rows divided by the autovacuum threshold, including the table's own settings. Above 1 a worker should come; well above 1 autovacuum is behind, held off, or switched off."
-- [columns.ins_due]
-- title = "ins due"
-- unit = "count"
-- help = "Rows inserted since the last VACUUM divided by the threshold for inserts; from PostgreSQL 18 on that counts only pages not yet frozen. None if it is switched off (-1)."
-- [columns.n_dead]
-- title = "dead"
-- unit = "count"
-- help = "Dead rows as counted (n_dead_tup)."
-- [columns.last_vacuum_s]
-- title = "by hand"
-- unit = "seconds"
-- help = "Since the last VACUUM by hand ended; VACUUM FULL does not count."
-- [columns.last_autovacuum_s]
-- title = "auto"
-- unit = "seconds"
-- help = "Since the last autovacuum of it ended. Recent, and still due: somebody holds the dead rows (see Snapshots), or the table changes faster than that."
-- [columns.last_analyze_s]
-- title = "analyzed"
-- unit = "seconds"
-- help = "Since the last ANALYZE, by hand or autovacuum."
-- [columns.vacuums]
-- unit = "count"
-- help = "VACUUMs, by hand and autovacuum, since the counters began."
-- [columns.running]
-- help = "Phase of the VACUUM that works on it now, or on its TOAST. None if there is none, or if the server hides it from our role."
-- [columns.frozen_age]
-- title = "xid age"
-- unit = "count"
-- help = "Age of the oldest unfrozen transaction id, TOAST included."
-- [columns.frozen_pct]
-- title = "freeze"
-- unit = "percent"
-- warn = 105.0
-- danger = 150.0
-- help = "The same as a share of autovacuum_freeze_max_age, including the table's own setting. At 100 an autovacuum to prevent wraparound comes, even if autovacuum is off; it does not give way to lock requests."
-- [columns.mxid_age]
-- title = "mxid age"
-- unit = "count"
-- help = "Age of the oldest multixact (rows locked by several at once), TOAST included."
-- [columns.mxid_pct]
-- title = "mxid freeze"
-- unit = "percent"
-- warn = 105.0
-- danger = 150.0
-- help = "The same as a share of autovacuum_multixact_freeze_max_age, including the table's own setting."
-- [columns.size_bytes]
-- title = "size"
-- unit = "bytes"
-- help = "Table and its TOAST, without indexes. While somebody holds or awaits ACCESS EXCLUSIVE on it, the size as of the last VACUUM, ANALYZE or CREATE INDEX (relpages), because reading it would wait."
-- [columns.autovacuum_off]
-- title = "off"
-- unit = "flag"
-- help = "Autovacuum does not come for dead or inserted rows: autovacuum or track_counts is off, or the table's own autovacuum_enabled."

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
           1.0::pg_catalog.float8 AS unfrozen,
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
