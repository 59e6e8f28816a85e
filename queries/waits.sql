-- title = "Waits"
-- pool = "oltp"
-- interval = "1s"
-- order = 120
-- letter = "e"
-- sampling = { crowded = "only_shown" }
-- key = ["class", "wait"]
-- narrow = ["class", "wait", "share_pct", "sessions", "minute"]
-- compact = ["class", "wait", "share_pct", "sessions", "minute", "query"]
-- empty = "no session has worked in the last minute"
-- about = """
-- What working sessions wait for, OLTP and OLAP apart: sampled every interval, over the last minute. "on CPU" is a
-- session that waits for nothing: it computes, or wants to. The bars are the seconds of the minute, the newest at
-- the right, one session a step; they scroll five seconds at a time. A point is a second without a sample, because
-- the server was silent or the sample was missed: no wait was seen then, which does not mean there was none.
-- Cost: one pass over pg_stat_activity, 0.2 ms with 20 sessions, 3 ms with 1,000.
-- Blind spot: a sample a second sees long waits and often repeated ones; a wait of a millisecond only by chance.
-- Sessions of other roles are hidden if our role is not a member of pg_monitor.
-- """
--
-- [columns.class]
-- help = "Class of work: oltp, olap, refresh, maintenance."
-- [columns.wait]
-- title = "waits for"
-- help = "Type and name of the wait event (PostgreSQL's manual lists them); on CPU if there is none."
-- [columns.share_pct]
-- title = "share"
-- unit = "percent"
-- help = "Share of this class's samples in the last minute: how much of its working time it spent like this."
-- [columns.sessions]
-- help = "Sessions in this state at once, on average over the samples of the minute."
-- [columns.minute]
-- title = "the last minute"
-- timeline = true
-- help = "One step a second, the newest at the right, as many as there is room for; · if no sample was taken."
-- [columns.usename]
-- hidden = true
-- help = "Role that logged in."
-- [columns.application_name]
-- hidden = true
-- help = "What the client calls itself."
-- [columns.datname]
-- hidden = true
-- help = "Database."
-- [columns.backend_type]
-- hidden = true
-- help = "Kind of process."
-- [columns.wait_event_type]
-- hidden = true
-- help = "Type of the wait event."
-- [columns.wait_event]
-- hidden = true
-- help = "The wait event."
-- [columns.n]
-- hidden = true
-- help = "Sessions in this state, in one sample."
-- [columns.query]
-- title = "most of it in"
-- help = "The statement that was most often seen like this in the minute."

SELECT a.usename::pg_catalog.text AS usename,
       a.application_name,
       a.datname::pg_catalog.text AS datname,
       a.backend_type,
       a.wait_event_type,
       a.wait_event,
       pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 300) AS query,
       pg_catalog.count(*) AS n
FROM pg_catalog.pg_stat_activity AS a
WHERE a.state = 'active'
  AND a.backend_type IN ('client backend', 'parallel worker', 'autovacuum worker', 'background worker')
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND (NOT (a.usename = session_user
           AND pg_catalog.split_part(a.application_name, ' - ', 1)
                   = (SELECT pg_catalog.split_part(pg_catalog.current_setting('application_name'), ' - ', 1)))) IS NOT FALSE
GROUP BY a.usename, a.application_name, a.datname, a.backend_type, a.wait_event_type, a.wait_event,
         pg_catalog."substring"(pg_catalog.textsend(a.query), 1, 300)
ORDER BY n DESC
LIMIT 200
