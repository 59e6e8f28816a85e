-- title = "I/O"
-- pool = "oltp"
-- interval = "2s"
-- order = 150
-- letter = "i"
-- since = 16
-- key = ["backend_type", "object", "context"]
-- trends = [{ column = "read_bytes", of = "sum", title = "read per second" }, { column = "write_bytes", of = "sum", title = "written per second" }]
-- sort = "-read_bytes"
-- narrow = ["backend_type", "object", "context", "read_bytes", "write_bytes"]
-- compact = ["backend_type", "object", "context", "read_bytes", "write_bytes", "hits", "evictions"]
-- rates = ["reads", "read_bytes", "writes", "write_bytes", "extends", "hits", "evictions", "reuses", "fsyncs", "read_time_ms", "write_time_ms"]
-- empty = "no I/O since the counters began"
-- about = """
-- What the server reads and writes, by kind of process, object and context (pg_stat_io, PostgreSQL 16 and later),
-- per second. The context tells the large from the small: bulkread is sequential scans of tables larger than a
-- quarter of shared_buffers, that is OLAP; normal is everything else, OLTP above all. Evictions in normal mean
-- that somebody pushes blocks out of the cache that others may want.
-- Cost: 0.3 ms; counters in memory. Rows without any I/O since the counters began are left out.
-- Blind spot: all databases together. A session counts its I/O when its statement ends or its transaction does, at
-- most once a second, so a long statement shows at its end and all at once. Reads are requests to the kernel,
-- which may have had the block in its own cache. Temporary files are not included.
-- """
--
-- [columns.now_epoch]
-- hidden = true
-- unit = "time"
-- help = "The server's clock at the sample."
-- [columns.backend_type]
-- title = "type"
-- help = "Kind of process: client backend (parallel workers show as background worker), autovacuum worker, checkpointer, background writer, walsender, …"
-- [columns.object]
-- help = "relation: tables and indexes. temp relation: temporary tables. wal: PostgreSQL 18 and later."
-- [columns.context]
-- help = "normal: through shared_buffers. bulkread: large sequential scans. bulkwrite: COPY, CREATE TABLE AS, REFRESH. vacuum. These three go through a small ring of buffers so as not to empty the cache. init: new WAL files."
-- [columns.reads]
-- unit = "per_second"
-- help = "Reads. On PostgreSQL 16 and 17 each block counts; from 18 on each call, which may read several."
-- [columns.read_bytes]
-- title = "read/s"
-- unit = "bytes"
-- help = "Bytes read."
-- [columns.writes]
-- unit = "per_second"
-- help = "Writes, counted as reads are. Those of client backends in normal are done by sessions that found no clean buffer: the background writer and checkpointer do not keep up."
-- [columns.write_bytes]
-- title = "written/s"
-- unit = "bytes"
-- help = "Bytes written to the kernel, new blocks (extends) not included."
-- [columns.extends]
-- unit = "per_second"
-- help = "Blocks by which relations grew; from 18 on calls, each of which may add several."
-- [columns.hits]
-- unit = "per_second"
-- help = "Blocks found in shared_buffers."
-- [columns.evictions]
-- unit = "per_second"
-- help = "Blocks pushed out of shared_buffers to make room for others; in a ring context, when the ring took a buffer from the cache."
-- [columns.reuses]
-- unit = "per_second"
-- help = "Buffers of the ring used again: no harm to the cache. None in normal."
-- [columns.fsyncs]
-- unit = "per_second"
-- help = "fsync calls. Of client backends: the checkpointer's queue was full."
-- [columns.read_time_ms]
-- title = "read time/s"
-- unit = "ms"
-- help = "Time waiting for reads, per second: above 1,000 ms several processes waited at once. None with track_io_timing off (for wal: track_wal_io_timing)."
-- [columns.write_time_ms]
-- title = "write time/s"
-- unit = "ms"
-- help = "Time waiting for writes, per second. None with track_io_timing off (for wal: track_wal_io_timing)."
-- [columns.stats_reset]
-- title = "stats reset"
-- unit = "time"
-- hidden = true
-- help = "When the counters began."

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       i.backend_type,
       i.object,
       i.context,
       i.reads,
       i.reads * i.op_bytes AS read_bytes,
       i.writes,
       i.writes * i.op_bytes AS write_bytes,
       i.extends,
       i.hits,
       i.evictions,
       i.reuses,
       i.fsyncs,
       CASE WHEN g.timing THEN i.read_time END AS read_time_ms,
       CASE WHEN g.timing THEN i.write_time END AS write_time_ms,
       extract(epoch FROM i.stats_reset)::pg_catalog.float8 AS stats_reset
FROM pg_catalog.pg_stat_io AS i
CROSS JOIN (SELECT pg_catalog.current_setting('track_io_timing')::pg_catalog.bool AS timing OFFSET 0) AS g
WHERE coalesce(i.reads, 0) + coalesce(i.writes, 0) + coalesce(i.extends, 0) + coalesce(i.hits, 0) + coalesce(i.evictions, 0)
      + coalesce(i.reuses, 0) + coalesce(i.fsyncs, 0) > 0
ORDER BY i.backend_type, i.object, i.context
LIMIT 200
