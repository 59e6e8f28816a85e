-- title = "Text of a backend's statement"
-- pool = "oltp"
-- interval = "5s"
-- internal = true
-- key = ["pid"]
-- about = """
-- The statement that one backend runs, or ran last, up to 16 kB, read while its detail is open: the panels have
-- only the beginning. Cost: a look at one session.
-- Blind spot: the server keeps only track_activity_query_size bytes of it.
-- """
--
-- [columns.pid]
-- hidden = true
-- help = "The backend."
-- [columns.query]
-- help = "Text of the statement."

SELECT a.pid::pg_catalog.int8 AS pid,
       pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 16385) AS query
FROM pg_catalog.pg_stat_get_activity({pid}) AS a
