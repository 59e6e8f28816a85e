-- The oldest heartbeat that is not on the replica yet. $1 is the number of the last one that is.
SELECT extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.max(h.committed_at))::pg_catalog.float8 * 1000 AS newest_ms,
       coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(h.committed_at) FILTER (WHERE h.seq > $1)), 0)
           ::pg_catalog.float8 * 1000 AS missing_ms
FROM htap.heartbeat AS h
