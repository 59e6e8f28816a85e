-- title = "Columnar"
-- pool = "oltp"
-- interval = "5s"
-- order = 185
-- letter = "u"
-- needs = ["htap.column_store", "htap.column_relation", "htap.column_file", "htap.column_dirty", "htap.column_sync", "htap.column_damage", "htap.column_use"]
-- remedy = "htap-top init"
-- key = ["part"]
-- rates = ["queries", "bytes_read", "rows_read"]
-- narrow = ["part", "state", "since_s", "files", "bytes", "ratio", "dirty_hours", "error"]
-- compact = ["part", "state", "since_s", "files", "rows", "bytes", "ratio", "open_s", "dirty_hours", "last_s", "took_ms", "pid", "queries", "bytes_read", "damaged", "error"]
-- empty = "no column store: htap-top columnar sync makes one (htap-top help columnar)"
-- about = """
-- The column store: the store as a whole, then each table that it holds. Hours that have changed since their file was written
-- are read from the rows until the next sync. Written by `htap-top columnar sync`
-- into htap.column_file and htap.column_sync, by queries into htap.column_use.
--
-- Cost: 3.5 ms on a busy machine; asked every 10 s if there is no column store.
-- Blind spot: queries of a role that may not call htap.count_column_queries, or on a standby, are not counted. Whether a file is
-- sound is known when it is read: sync verifies all when it starts, then only their length, and a query those it reads.
-- """
--
-- [columns.part]
-- help = "store: all of it. The others: a table that it holds."
-- [columns.state]
-- help = "idle: a sync runs, and nothing is due. writing: it writes files. failed: the last round of a sync ended with an error. no sync: none runs. not logged: a trigger that logs changes is missing or disabled, partitions of shop.orders were attached or detached by hand, or the database was restored from a dump; queries of the table are refused until the next sync, which writes its files anew. On a standby only failed and not logged are told."
-- [columns.since_s]
-- title = "for"
-- unit = "seconds"
-- help = "How long a sync has been writing, since it failed, or since the last round if none runs."
-- [columns.files]
-- unit = "count"
-- help = "Column files."
-- [columns.rows]
-- unit = "count"
-- help = "Rows in them. An hour that was written anew is counted in the older file, too, until that is replaced."
-- [columns.bytes]
-- unit = "bytes"
-- help = "Their size."
-- [columns.heap_bytes]
-- title = "table"
-- hidden = true
-- unit = "bytes"
-- help = "The tables with their indexes; unknown while somebody holds or awaits ACCESS EXCLUSIVE on one of them, because reading it would wait."
-- [columns.ratio]
-- title = "smaller"
-- help = "How many times smaller a row is in files than in its table with indexes, by the number of its rows as of the last ANALYZE or VACUUM."
-- [columns.from_epoch]
-- title = "from"
-- hidden = true
-- unit = "time"
-- help = "The first hour in files."
-- [columns.open_s]
-- title = "open"
-- unit = "seconds"
-- help = "Time since the end of the last file: rows of this time are read from the table. Orders get files a day later, when most are completed."
-- [columns.closed_epoch]
-- title = "up to"
-- hidden = true
-- unit = "time"
-- help = "Where the last file ends."
-- [columns.dirty_hours]
-- title = "changed"
-- unit = "count"
-- help = "Hours in files that have changed since, of the first 10,000 rows of the log; they are read from the rows until the next sync."
-- [columns.all_dirty]
-- hidden = true
-- unit = "flag"
-- help = "A table was truncated: no file of it counts until the next sync."
-- [columns.unlogged]
-- hidden = true
-- help = "Tables whose changes are not logged: triggers are missing or disabled, or partitions were attached or detached by hand."
-- [columns.log_bytes]
-- title = "log"
-- hidden = true
-- unit = "bytes"
-- help = "htap.column_dirty, the log of changed hours, which each query reads."
-- [columns.last_s]
-- title = "last"
-- unit = "seconds"
-- help = "Since the last round of a sync that succeeded."
-- [columns.took_ms]
-- title = "took"
-- unit = "ms"
-- help = "How long the last round that wrote files took."
-- [columns.wrote_s]
-- title = "wrote"
-- hidden = true
-- unit = "seconds"
-- help = "Since that round."
-- [columns.wrote_files]
-- title = "wrote files"
-- hidden = true
-- unit = "count"
-- help = "Files that it wrote."
-- [columns.wrote_rows]
-- title = "wrote rows"
-- hidden = true
-- unit = "count"
-- help = "Their rows."
-- [columns.wrote_bytes]
-- title = "wrote bytes"
-- hidden = true
-- unit = "bytes"
-- help = "Their size."
-- [columns.pid]
-- title = "by"
-- help = "Backend of the sync: it holds the advisory lock htap.columnar and may write htap.column_file."
-- [columns.queries]
-- title = "queries"
-- unit = "per_second"
-- help = "Queries per second that the column store answered."
-- [columns.bytes_read]
-- title = "read"
-- unit = "bytes"
-- help = "Bytes per second that they read from files."
-- [columns.rows_read]
-- title = "rows read"
-- hidden = true
-- unit = "per_second"
-- help = "Rows per second that they read from PostgreSQL."
-- [columns.damaged]
-- unit = "count"
-- danger = 0.0
-- help = "Files that a sync or a query found missing, cut or altered, and that no sync has written anew yet."
-- [columns.damage]
-- hidden = true
-- help = "The first of them, and what is wrong with it."
-- [columns.error]
-- help = "Why the last round of a sync failed."
-- [columns.folder]
-- hidden = true
-- help = "Folder of the files, on the machine where sync runs."
-- [columns.free_bytes]
-- title = "disk left"
-- hidden = true
-- unit = "bytes"
-- help = "Left on the disk of the folder at the last round."
-- [columns.disk_bytes]
-- title = "disk"
-- hidden = true
-- unit = "bytes"
-- help = "Size of that disk."
-- [columns.fresh_s]
-- title = "--fresh"
-- hidden = true
-- unit = "seconds"
-- help = "Pause between the rounds of the sync; none if it ran once."
-- [columns.on_standby]
-- hidden = true
-- unit = "flag"
-- help = "A standby: the sync runs on the primary."
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock."

WITH locks AS MATERIALIZED (
    SELECT l.locktype, l.relation, l.pid
    FROM pg_catalog.pg_locks AS l
    WHERE l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
      AND (l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
           OR l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.objid = 0::pg_catalog.oid
              AND l.classid = (pg_catalog.hashtext('htap.columnar')::pg_catalog.int8 & 4294967295)::pg_catalog.oid)
), syncing AS MATERIALIZED (
    -- Anybody can take the lock.
    SELECT pg_catalog.min(l.pid) AS pid
    FROM locks AS l, LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS a
    WHERE l.locktype = 'advisory' AND pg_catalog.has_table_privilege(a.usesysid, 'htap.column_file', 'INSERT')
), relations AS MATERIALIZED (
    SELECT n.place, n.name, h.parts, h.tuples, h.bytes,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = ANY (h.parts || n.watched) AND t.tgenabled = 'A'
              AND t.tgfoid IN (pg_catalog.to_regprocedure('htap.log_columns()'), pg_catalog.to_regprocedure('htap.log_column_days()'),
                               pg_catalog.to_regprocedure('htap.log_column_order()'), pg_catalog.to_regprocedure('htap.log_column_orders_gone()'))
              AND t.tgname IN ('log_columns', 'log_columns_insert', 'log_columns_update', 'log_columns_delete', 'log_columns_truncate'))
           = CASE n.name WHEN 'mart.orders' THEN 2 * (1 + pg_catalog.cardinality(h.parts)) ELSE 4 END
           AND h.parts = r.partitions AS logged
    FROM (VALUES (1, 'mart.fact_sales', pg_catalog.to_regclass('mart.fact_sales')::pg_catalog.oid),
                 (2, 'mart.user_day', pg_catalog.to_regclass('mart.user_day')::pg_catalog.oid),
                 (3, 'mart.orders', pg_catalog.to_regclass('shop.orders')::pg_catalog.oid)) AS n (place, name, watched)
    JOIN htap.column_relation AS r ON r.relation = n.name
    CROSS JOIN LATERAL (
        SELECT coalesce(pg_catalog.array_agg(c.oid ORDER BY c.oid) FILTER (WHERE c.oid <> n.watched), '{}') AS parts,
               pg_catalog.sum(nullif(c.reltuples, -1)) AS tuples,
               CASE WHEN NOT pg_catalog.bool_or(EXISTS (
                        SELECT FROM locks AS l WHERE l.relation IN (c.oid, c.reltoastrelid)
                            OR l.relation IN (SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid)))
                    THEN pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid)) END AS bytes
        FROM pg_catalog.pg_class AS c
        WHERE c.oid = n.watched OR c.oid IN (SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = n.watched)
    ) AS h
), files AS MATERIALIZED (
    SELECT f.relation, pg_catalog.count(*) AS files, pg_catalog.sum(f.rows) AS rows, pg_catalog.sum(f.bytes) AS bytes,
           pg_catalog.min(f.from_hour) AS from_hour, pg_catalog.max(f.to_hour) AS to_hour
    FROM htap.column_file AS f GROUP BY f.relation
), changed AS MATERIALIZED (
    SELECT d.relation, pg_catalog.count(DISTINCT d.hour) FILTER (WHERE d.hour < f.to_hour) AS hours,
           coalesce(pg_catalog.bool_or(d.hour IS NULL), false) AS everything
    FROM (SELECT x.relation, x.hour FROM htap.column_dirty AS x LIMIT 10000) AS d LEFT JOIN files AS f ON f.relation = d.relation
    GROUP BY d.relation
), tables AS MATERIALIZED (
    SELECT r.place, r.name, r.logged, coalesce(f.files, 0) AS files, coalesce(f.rows, 0) AS rows, coalesce(f.bytes, 0) AS bytes,
           r.bytes AS heap_bytes, r.bytes / nullif(r.tuples, 0) * f.rows AS same_rows_bytes, f.from_hour, f.to_hour,
           coalesce(c.hours, 0) AS dirty_hours, coalesce(c.everything, false) AS everything
    FROM relations AS r LEFT JOIN files AS f ON f.relation = r.name LEFT JOIN changed AS c ON c.relation = r.name
), held AS MATERIALIZED (
    SELECT coalesce(pg_catalog.bool_and(t.logged), false) AS logged,
           pg_catalog.string_agg(t.name, ', ' ORDER BY t.place) FILTER (WHERE NOT t.logged) AS unlogged,
           coalesce(pg_catalog.sum(t.files), 0) AS files,
           coalesce(pg_catalog.sum(t.rows), 0) AS rows, coalesce(pg_catalog.sum(t.bytes), 0) AS bytes,
           CASE WHEN pg_catalog.count(*) = pg_catalog.count(t.heap_bytes) THEN pg_catalog.sum(t.heap_bytes) END AS heap_bytes,
           pg_catalog.sum(t.same_rows_bytes) / nullif(pg_catalog.sum(t.bytes) FILTER (WHERE t.same_rows_bytes IS NOT NULL), 0) AS ratio,
           pg_catalog.min(t.from_hour) AS from_hour, pg_catalog.max(t.to_hour) AS to_hour,
           coalesce(pg_catalog.sum(t.dirty_hours), 0) AS dirty_hours, coalesce(pg_catalog.bool_or(t.everything), false) AS everything
    FROM tables AS t
), damage AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS files,
           (SELECT ('file '::pg_catalog.text || x.file_id::pg_catalog.text || ' '::pg_catalog.text) || x.why FROM htap.column_damage AS x
            ORDER BY x.seen_at LIMIT 1) AS first
    FROM (SELECT FROM htap.column_damage LIMIT 10000) AS d
), sync AS MATERIALIZED (
    -- LIMIT 1 tells the planner that there is one row: it has no statistics of so small a table.
    SELECT y.fresh_s, y.took_ms, y.wrote_files, y.wrote_rows, y.wrote_bytes, y.free_bytes, y.disk_bytes, y.error,
           CASE WHEN y.synced_at IS NOT NULL THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - y.synced_at), 0) END AS last_s,
           CASE WHEN y.wrote_at IS NOT NULL THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - y.wrote_at), 0) END AS wrote_s,
           CASE WHEN y.writing_since IS NOT NULL THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - y.writing_since), 0) END AS writing_s,
           CASE WHEN y.failed_at IS NOT NULL THEN greatest(extract(epoch FROM pg_catalog.clock_timestamp() - y.failed_at), 0) END AS failed_s
    FROM htap.column_sync AS y
    LIMIT 1
), store AS MATERIALIZED (
    SELECT CASE WHEN NOT l.logged OR w.log_oid <> 'htap.column_dirty'::pg_catalog.regclass::pg_catalog.oid THEN 'not logged'
                WHEN y.error IS NOT NULL THEN 'failed'
                WHEN b.standby THEN NULL
                WHEN s.pid IS NULL THEN 'no sync'
                WHEN y.writing_s IS NOT NULL THEN 'writing'
                ELSE 'idle' END AS state,
           w.folder, s.pid, b.standby
    FROM (SELECT x.folder, x.log_oid FROM htap.column_store AS x LIMIT 1) AS w
    CROSS JOIN syncing AS s
    CROSS JOIN (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) AS b
    CROSS JOIN held AS l
    LEFT JOIN sync AS y ON true
)
SELECT t.part,
       t.state,
       t.since_s::pg_catalog.float8 AS since_s,
       t.files::pg_catalog.int8 AS files,
       t.rows::pg_catalog.int8 AS rows,
       t.bytes::pg_catalog.int8 AS bytes,
       t.heap_bytes::pg_catalog.int8 AS heap_bytes,
       pg_catalog.round(t.ratio::pg_catalog.numeric, 1)::pg_catalog.float8 AS ratio,
       extract(epoch FROM t.from_hour)::pg_catalog.float8 AS from_epoch,
       greatest(extract(epoch FROM pg_catalog.clock_timestamp() - t.to_hour), 0)::pg_catalog.float8 AS open_s,
       extract(epoch FROM t.to_hour)::pg_catalog.float8 AS closed_epoch,
       t.dirty_hours::pg_catalog.int8 AS dirty_hours,
       t.all_dirty,
       t.unlogged::pg_catalog.text AS unlogged,
       t.log_bytes::pg_catalog.int8 AS log_bytes,
       t.last_s::pg_catalog.float8 AS last_s,
       t.took_ms::pg_catalog.float8 AS took_ms,
       t.wrote_s::pg_catalog.float8 AS wrote_s,
       t.wrote_files::pg_catalog.int8 AS wrote_files,
       t.wrote_rows::pg_catalog.int8 AS wrote_rows,
       t.wrote_bytes::pg_catalog.int8 AS wrote_bytes,
       t.pid::pg_catalog.int8 AS pid,
       t.queries::pg_catalog.int8 AS queries,
       t.bytes_read::pg_catalog.int8 AS bytes_read,
       t.rows_read::pg_catalog.int8 AS rows_read,
       t.damaged::pg_catalog.int8 AS damaged,
       t.damage::pg_catalog.text AS damage,
       t.error::pg_catalog.text AS error,
       t.folder::pg_catalog.text AS folder,
       t.free_bytes::pg_catalog.int8 AS free_bytes,
       t.disk_bytes::pg_catalog.int8 AS disk_bytes,
       t.fresh_s::pg_catalog.float8 AS fresh_s,
       t.standby AS on_standby,
       extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch
FROM (
    SELECT 0 AS place, 'store' AS part, w.state,
           CASE w.state WHEN 'failed' THEN y.failed_s WHEN 'writing' THEN y.writing_s WHEN 'no sync' THEN y.last_s END AS since_s,
           h.files, h.rows, h.bytes, h.heap_bytes, h.ratio, h.from_hour, h.to_hour, h.dirty_hours, h.everything AS all_dirty,
           coalesce(h.unlogged, 'all tables') AS unlogged,
           CASE WHEN NOT EXISTS (SELECT FROM locks AS k WHERE k.relation = 'htap.column_dirty'::pg_catalog.regclass)
                THEN pg_catalog.pg_relation_size('htap.column_dirty'::pg_catalog.regclass) END AS log_bytes,
           y.last_s, y.took_ms, y.wrote_s, y.wrote_files, y.wrote_rows, y.wrote_bytes, w.pid,
           u.queries, u.bytes_read, u.rows_read, d.files AS damaged, d.first AS damage, y.error, w.folder, y.free_bytes, y.disk_bytes,
           y.fresh_s, w.standby
    FROM store AS w CROSS JOIN held AS h CROSS JOIN damage AS d
    LEFT JOIN sync AS y ON true
    LEFT JOIN (SELECT x.queries, x.bytes_read, x.rows_read FROM htap.column_use AS x LIMIT 1) AS u ON true
    UNION ALL
    SELECT k.place, pg_catalog.substr(k.name, 6), CASE WHEN NOT k.logged THEN 'not logged' END, NULL, k.files, k.rows, k.bytes, k.heap_bytes,
           k.same_rows_bytes / nullif(k.bytes, 0), k.from_hour, k.to_hour, k.dirty_hours, k.everything, NULL,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM tables AS k
    WHERE EXISTS (SELECT FROM store)
) AS t
ORDER BY t.place
