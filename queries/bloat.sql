-- title = "Bloat"
-- pool = "slow"
-- interval = "5s"
-- order = 50
-- digit = 5
-- sampling = { rests_on = ["bloat_estimate", "snapshots"], background = "30s" }
-- key = ["relid"]
-- trends = [{ column = "n_dead", of = "sum", title = "dead rows" }]
-- labels = ["relation"]
-- counters = ["vacuums", "seq_scan"]
-- sort = "-n_dead"
-- compact = ["relation", "n_dead", "dead_pct", "held_by", "last_vacuum_s"]
-- empty = "this database has no tables of its own"
-- about = """
-- The 200 tables and materialized views of this database with the most dead rows. System catalogues only from
-- 1,000 dead rows on. From the server's counters: no table is read; reading its size takes a reader's lock (ACCESS
-- SHARE) for a moment.
-- Cost: one pass over pg_class and one counter for each table; 10,000 tables take some 25 ms.
-- Blind spot: counters are estimates, lost in a crash, and lag a moment behind. Dead rows are not yet bloat, and
-- bloat left by a vacuum that was late has no dead rows: see the estimate beside it. A table's TOAST has a row of
-- its own from 1,000 dead rows on; indexes have no dead rows of their own here.
-- """
--
-- [columns.relid]
-- hidden = true
-- help = "OID of the relation."
-- [columns.relation]
-- title = "table"
-- help = "Name, with its schema unless it is public; a TOAST shows the name of its table and (TOAST)."
-- [columns.quoted]
-- hidden = true
-- help = "Name and schema, quoted for a statement; for a TOAST those of its table."
-- [columns.relkind]
-- title = "kind"
-- help = "r table or partition, m materialized view, t the TOAST of one."
-- [columns.n_live]
-- title = "live"
-- unit = "count"
-- help = "Live rows as counted (n_live_tup). May read double after a load and ANALYZE in one session."
-- [columns.n_dead]
-- title = "dead"
-- unit = "count"
-- help = "Dead rows as counted (n_dead_tup): kept until a VACUUM removes them. A VACUUM that finds them still needed leaves the count unchanged."
-- [columns.dead_pct]
-- title = "%"
-- unit = "percent"
-- at_least = { n_dead = 1000 }
-- warn = 10.0
-- danger = 20.0
-- help = "Share of dead rows. If the counters contradict pg_class.reltuples, the latter is the base."
-- [columns.size_bytes]
-- title = "size"
-- unit = "bytes"
-- help = "Table and its TOAST, without indexes. While somebody holds or awaits ACCESS EXCLUSIVE on it, the size as of the last VACUUM, ANALYZE or CREATE INDEX (relpages), because reading it would wait."
-- [columns.last_vacuum_s]
-- title = "vacuum"
-- unit = "seconds"
-- help = "Since the last VACUUM ended, by hand or autovacuum; VACUUM FULL does not count. Recent and still many dead rows: somebody holds them."
-- [columns.vacuums]
-- unit = "count"
-- help = "VACUUMs since the counters began."
-- [columns.bloat_bytes]
-- title = "bloat"
-- unit = "bytes"
-- help = "Estimate of the space a rewrite would give back, from row widths (bloat_estimate.sql, every 5 min, the 100 largest). ≥ if values in TOAST or wide rows may hide more; n/a if a column has no statistics or our role may not see them."
-- [columns.bloat_pct]
-- title = "bloat"
-- unit = "percent"
-- help = "The same estimate in percent of the table."
-- [columns.in_vain]
-- title = "in vain"
-- unit = "count"
-- help = "VACUUMs seen to end while the dead rows stayed: somebody still needs them."
-- [columns.held_by]
-- title = "held"
-- help = "Who keeps the dead rows from being removed: derived by this program, only if a VACUUM ran and the dead rows stayed."
-- [columns.deaths]
-- hidden = true
-- help = "Rows updated or deleted since the counters began."
-- [columns.waiting]
-- hidden = true
-- help = "Dead rows kept by the oldest holder of a snapshot (see Snapshots), at most."
-- [columns.autovacuum_due]
-- title = "due"
-- unit = "count"
-- warn = 1.0
-- danger = 3.0
-- help = "Dead rows divided by the autovacuum threshold, including the table's own settings. Above 1 a worker should come; well above 1 autovacuum is behind or held off. None if autovacuum is off."
-- [columns.switch_on]
-- hidden = true
-- help = "The statement that switches autovacuum on if it is off: for the table, for its TOAST, or for the whole server. None if it is on."
-- [columns.hot_pct]
-- title = "HOT"
-- unit = "percent"
-- help = "Updates that touched no index, since the counters began. Low: indexed columns are updated, or pages are full (fillfactor)."
-- [columns.mod_since_analyze]
-- title = "modified"
-- unit = "count"
-- help = "Rows changed since the last ANALYZE: how stale the planner's statistics are."
-- [columns.seq_scan]
-- title = "seq scans"
-- unit = "count"
-- help = "Sequential scans begun; each reads the dead rows as well."
-- [columns.seq_rows]
-- hidden = true
-- help = "Rows read by sequential scans since the counters began."
-- [columns.seq_scans_per_s]
-- hidden = true
-- help = "Sequential scans that ended, per second, since the sample before."
-- [columns.seq_rows_per_s]
-- hidden = true
-- help = "Rows that they read, per second."
-- [columns.frozen_age]
-- title = "xid age"
-- unit = "count"
-- warn = 500000000
-- danger = 1500000000
-- help = "Age of the oldest unfrozen transaction id, TOAST included."

WITH worst AS MATERIALIZED (
    -- one counter for every table, the rest below for the chosen only
    SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.reltuples, c.relpages, c.relfrozenxid, c.reltoastrelid,
           c.reloptions, pg_catalog.pg_stat_get_dead_tuples(c.oid) AS n_dead
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'm', 't')
      AND c.relpersistence <> 't'
      AND (c.oid >= 16384 AND c.relkind <> 't' OR pg_catalog.pg_stat_get_dead_tuples(c.oid) >= 1000)
    ORDER BY n_dead DESC, c.relpages DESC
    LIMIT 200
),
owners AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.reltoastrelid, c.reloptions
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'm') AND c.reltoastrelid <> 0
      AND EXISTS (SELECT FROM worst AS t WHERE t.relkind = 't')
      AND c.reltoastrelid IN (SELECT t.oid FROM worst AS t WHERE t.relkind = 't')
),
locked AS MATERIALIZED (
    -- what is being rewritten or dropped: to ask for its size would wait
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
),
settings AS MATERIALIZED (
    SELECT pg_catalog.current_setting('block_size')::pg_catalog.int8 AS block_size,
           pg_catalog.current_setting('autovacuum')::pg_catalog.bool AS enabled,
           pg_catalog.current_setting('autovacuum_vacuum_threshold')::pg_catalog.float8 AS threshold,
           pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::pg_catalog.float8 AS scale,
           pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true)::pg_catalog.float8 AS max_threshold
)
SELECT w.oid::pg_catalog.int8 AS relid,
       CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname::pg_catalog.text || '.' END
           || coalesce(owner.relname, w.relname)::pg_catalog.text
           || CASE WHEN owner.oid IS NOT NULL THEN ' (TOAST)' ELSE '' END AS relation,
       pg_catalog.format('%I.%I', n.nspname, coalesce(owner.relname, w.relname)) AS quoted,
       w.relkind::pg_catalog.text AS relkind,
       t.n_live,
       w.n_dead,
       (100.0 * w.n_dead / nullif(w.n_dead + t.live_rows, 0))::pg_catalog.float8 AS dead_pct,
       CASE WHEN w.oid IN (SELECT k.relation FROM locked AS k) OR w.reltoastrelid IN (SELECT k.relation FROM locked AS k)
            THEN (w.relpages::pg_catalog.int8 + coalesce(toast.relpages, 0)) * g.block_size
            ELSE /*?size_bytes*/ pg_catalog.pg_relation_size(w.oid) + coalesce(pg_catalog.pg_relation_size(nullif(w.reltoastrelid, 0)), 0) /*:NULL::pg_catalog.int8*/ END
           AS size_bytes,
       extract(epoch FROM pg_catalog.clock_timestamp() - t.last_vacuum)::pg_catalog.float8 AS last_vacuum_s,
       pg_catalog.pg_stat_get_vacuum_count(w.oid) + pg_catalog.pg_stat_get_autovacuum_count(w.oid) AS vacuums,
       CASE WHEN g.enabled AND coalesce(o.enabled, true) THEN w.n_dead / greatest(1, least(
                coalesce(o.threshold, g.threshold) + coalesce(o.scale, g.scale) * greatest(w.reltuples, 0),
                CASE WHEN coalesce(o.max_threshold, g.max_threshold) >= 0
                     THEN coalesce(o.max_threshold, g.max_threshold) END)) END AS autovacuum_due,
       CASE WHEN NOT g.enabled THEN 'ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()'
            WHEN NOT o.enabled
            THEN pg_catalog.format('ALTER %s %I.%I RESET (%s)',
                                   CASE coalesce(owner.relkind, w.relkind) WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
                                   n.nspname, coalesce(owner.relname, w.relname),
                                   CASE WHEN owner.oid IS NOT NULL AND w.reloptions IS NOT NULL THEN 'toast.autovacuum_enabled'
                                        ELSE 'autovacuum_enabled' END) END AS switch_on,
       (100.0 * pg_catalog.pg_stat_get_tuples_hot_updated(w.oid)
           / nullif(pg_catalog.pg_stat_get_tuples_updated(w.oid), 0))::pg_catalog.float8 AS hot_pct,
       t.mod_since_analyze,
       pg_catalog.pg_stat_get_tuples_updated(w.oid) + pg_catalog.pg_stat_get_tuples_deleted(w.oid) AS deaths,
       pg_catalog.pg_stat_get_numscans(w.oid) AS seq_scan,
       pg_catalog.pg_stat_get_tuples_returned(w.oid) AS seq_rows,
       greatest(pg_catalog.age(nullif(w.relfrozenxid, '0')),
                pg_catalog.age(nullif(toast.relfrozenxid, '0')))::pg_catalog.int8 AS frozen_age
FROM worst AS w
CROSS JOIN settings AS g
LEFT JOIN owners AS owner ON owner.reltoastrelid = w.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = coalesce(owner.relnamespace, w.relnamespace)
LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = w.reltoastrelid
CROSS JOIN LATERAL (
    -- A session reports its own changes after its ANALYZE or VACUUM did: n_live_tup then reads double, or
    -- zero; and zero after statistics were lost.
    SELECT s.n_live, s.mod_since_analyze, s.last_vacuum,
           greatest(CASE WHEN w.reltuples > 0 AND s.n_live > 1.2 * w.reltuples AND s.net_inserts <= 1.2 * w.reltuples
                         THEN w.reltuples::pg_catalog.float8 ELSE s.n_live END,
                    w.reltuples::pg_catalog.float8 - s.mod_since_analyze,
                    least(w.reltuples::pg_catalog.float8, s.net_inserts)) AS live_rows
    FROM (SELECT pg_catalog.pg_stat_get_live_tuples(w.oid) AS n_live,
                 pg_catalog.pg_stat_get_mod_since_analyze(w.oid) AS mod_since_analyze,
                 pg_catalog.pg_stat_get_tuples_inserted(w.oid)
                     - pg_catalog.pg_stat_get_tuples_deleted(w.oid) AS net_inserts,
                 greatest(pg_catalog.pg_stat_get_last_vacuum_time(w.oid),
                          pg_catalog.pg_stat_get_last_autovacuum_time(w.oid)) AS last_vacuum
          OFFSET 0) AS s
) AS t
CROSS JOIN LATERAL (
    SELECT pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_enabled')::pg_catalog.bool AS enabled,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_threshold')::pg_catalog.float8
               AS threshold,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_scale_factor')::pg_catalog.float8
               AS scale,
           pg_catalog.max(x.option_value) FILTER (WHERE x.option_name = 'autovacuum_vacuum_max_threshold')::pg_catalog.float8
               AS max_threshold
    -- a TOAST without options of its own follows those of its table
    FROM pg_catalog.pg_options_to_table(coalesce(w.reloptions, owner.reloptions)) AS x
) AS o
ORDER BY w.n_dead DESC, w.relpages DESC
