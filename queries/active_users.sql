-- title = "Active users"
-- pool = "olap"
-- interval = "10s"
-- order = 100
-- needs = ["shop.user_events"]
-- remedy = "htap-top init"
-- chart = { kind = "bars", x = "at", y = "users", partial = "partial" }
-- key = ["at"]
-- about = """
-- Users who logged in, per 5 minutes over the last hour, the current 5 minutes last.
-- Cost: an index range of shop.user_events, about 1 µs per log-in of the last hour.
-- Blind spot: only log-ins count as activity; who stays logged in is not seen again. Users must not be added
-- up over the bars: the same user may be in several."""
--
-- [columns.at]
-- title = "from"
-- unit = "time"
-- help = "Beginning of the 5 minutes."
-- [columns.users]
-- unit = "count"
-- help = "Different users who logged in."
-- [columns.logins]
-- title = "log-ins"
-- unit = "count"
-- help = "Log-ins; the same user may log in again."
-- [columns.partial]
-- unit = "flag"
-- hidden = true
-- help = "The 5 minutes are not over."
WITH slots AS (
    SELECT slot::bigint AS slot
    FROM generate_series(floor(extract(epoch FROM now()) / 300)::bigint - 11,
                         floor(extract(epoch FROM now()) / 300)::bigint) AS s (slot)
), events AS (
    SELECT floor(extract(epoch FROM occurred_at) / 300)::bigint AS slot,
           count(DISTINCT user_id) AS users,
           count(*)                AS logins
    FROM shop.user_events
    WHERE event_kind = 0
      AND occurred_at >= to_timestamp(floor(extract(epoch FROM now()) / 300) * 300 - 3300)
      AND occurred_at < to_timestamp(floor(extract(epoch FROM now()) / 300) * 300 + 300)
    GROUP BY 1
)
SELECT (slots.slot * 300)::float8            AS at,
       coalesce(events.users, 0)::bigint     AS users,
       coalesce(events.logins, 0)::bigint    AS logins,
       slots.slot = max(slots.slot) OVER ()  AS partial
FROM slots LEFT JOIN events USING (slot)
ORDER BY slots.slot
