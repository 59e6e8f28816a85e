-- title = "The first heartbeat that a standby lacks"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- needs = ["htap.heartbeat"]
-- sampling = { text_varies = true }
-- about = """
-- The age of the oldest of the shop's heartbeats that the OLAP pool's standby does not have yet, for the panel of nodes.
-- Asked when the standby has told its last one: a lag is never too small."""
--
-- [columns.newest_ms]
-- unit = "ms"
-- help = "Age of the newest heartbeat."
-- [columns.missing_ms]
-- unit = "ms"
-- help = "Age of the first one that the standby lacks; 0 if it lacks none."

SELECT extract(epoch FROM pg_catalog.clock_timestamp() - (
           SELECT h.committed_at FROM htap.heartbeat AS h ORDER BY h.seq DESC LIMIT 1))::pg_catalog.float8 * 1000 AS newest_ms,
       coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - (
           SELECT h.committed_at FROM htap.heartbeat AS h WHERE h.seq > 0 /* last */ ORDER BY h.seq LIMIT 1)), 0)
           ::pg_catalog.float8 * 1000 AS missing_ms
