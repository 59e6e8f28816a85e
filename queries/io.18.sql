-- 18 counts bytes instead of op_bytes, and WAL as well.

SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS now_epoch,
       i.backend_type,
       i.object,
       i.context,
       i.reads,
       i.read_bytes::pg_catalog.int8 AS read_bytes,
       i.writes,
       i.write_bytes::pg_catalog.int8 AS write_bytes,
       i.extends,
       i.hits,
       i.evictions,
       i.reuses,
       i.fsyncs,
       CASE WHEN CASE i.object WHEN 'wal' THEN g.wal_timing ELSE g.timing END THEN i.read_time END AS read_time_ms,
       CASE WHEN CASE i.object WHEN 'wal' THEN g.wal_timing ELSE g.timing END THEN i.write_time END AS write_time_ms,
       extract(epoch FROM i.stats_reset)::pg_catalog.float8 AS stats_reset
FROM pg_catalog.pg_stat_io AS i
CROSS JOIN (SELECT pg_catalog.current_setting('track_io_timing')::pg_catalog.bool AS timing,
                   pg_catalog.current_setting('track_wal_io_timing')::pg_catalog.bool AS wal_timing
            OFFSET 0) AS g
WHERE coalesce(i.reads, 0) + coalesce(i.writes, 0) + coalesce(i.extends, 0) + coalesce(i.hits, 0) + coalesce(i.evictions, 0)
      + coalesce(i.reuses, 0) + coalesce(i.fsyncs, 0) > 0
ORDER BY i.backend_type, i.object, i.context
LIMIT 200
