-- title = "The last heartbeat on the OLAP pool's own server"
-- pool = "replica"
-- interval = "1s"
-- internal = true
-- needs = ["htap.heartbeat"]
-- about = """
-- The number of the last of the shop's heartbeats that a standby has, for the lag in the panel Nodes. Asked only if it is
-- a copy of the watched server."""
--
-- [columns.seq]
-- help = "Number of the last heartbeat."

SELECT coalesce(pg_catalog.max(h.seq), 0) AS seq FROM htap.heartbeat AS h
