-- title = "Canary"
-- pool = "oltp"
-- interval = "200ms"
-- internal = true
-- sampling = { point_query = true }
-- about = """
-- Reads a row by its key from the catalogue: its time at the client, round trip included, is the latency probe on
-- any database. Cost: 0.02 ms. Blind spot: it always hits the cache, takes no row lock and writes nothing, so it
-- reflects CPU and network, not I/O, lock queues or commit.
-- """

SELECT c.relname::pg_catalog.text AS relname
FROM pg_catalog.pg_class AS c
WHERE c.oid = 1259
