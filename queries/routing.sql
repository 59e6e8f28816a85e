-- title = "Routers"
-- pool = "oltp"
-- interval = "1s"
-- internal = true
-- needs = ["htap.routing"]
-- key = ["instance"]
-- about = """
-- What routers have done so far, from the rows of htap.routing that are still renewed. It only feeds the panel Nodes."""
--
-- [columns.instance]
-- help = "The router."
-- [columns.reported_epoch]
-- unit = "time"
-- help = "When it reported."
-- [columns.routed]
-- help = "Statements by node, pool and rule, a JSON object."
-- [columns.fallbacks]
-- help = "Reads that ran on the primary in place of the replica, by reason, a JSON object."
-- [columns.misroutes]
-- unit = "count"
-- help = "Statements that a read-only role refused."
-- [columns.breaker]
-- help = "none, closed or open."
-- [columns.barred]
-- help = "Why it is open."
-- [columns.breaker_s]
-- unit = "seconds"
-- help = "How long it has been open or closed."

SELECT r.instance,
       extract(epoch FROM r.reported_at)::pg_catalog.float8 AS reported_epoch,
       r.routed::pg_catalog.text AS routed,
       r.fallbacks::pg_catalog.text AS fallbacks,
       r.misroutes,
       r.breaker,
       r.barred,
       extract(epoch FROM pg_catalog.clock_timestamp() - r.breaker_since)::pg_catalog.float8 AS breaker_s
FROM htap.routing AS r
-- who has not reported for that long has stopped
WHERE r.reported_at > pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => 10)
ORDER BY r.instance
LIMIT 100
