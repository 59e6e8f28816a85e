-- title = "Windows of the stream"
-- pool = "olap"
-- interval = "500ms"
-- internal = true
-- only_shown = true
-- needs = ["mart.realtime_stream"]
-- key = ["window_start", "category"]
-- about = """
-- The windows of the last 30 minutes in the table of the stream, each with its 20 largest categories; only for the page
-- of htap-top serve, and only while somebody reads it. Cost: one range of the table's primary key, a few ms."""
--
-- [columns.window_start]
-- unit = "time"
-- help = "Beginning of the window."
-- [columns.category]
-- help = "Category of products."
-- [columns.amount]
-- unit = "money"
-- help = "Sales of the category in the window."
-- [columns.quantity]
-- unit = "count"
-- help = "Items sold."
-- [columns.orders]
-- unit = "count"
-- help = "Orders with that category."
-- [columns.window_amount]
-- unit = "money"
-- help = "Sales of the window, all categories."
-- [columns.window_quantity]
-- unit = "count"
-- help = "Items sold in the window, all categories."
-- [columns.window_categories]
-- unit = "count"
-- help = "Number of categories in the window."
-- [columns.revised]
-- unit = "flag"
-- help = "Changed after it was final."
-- [columns.is_final]
-- unit = "flag"
-- help = "The watermark has passed its end."
-- [columns.changed_epoch]
-- unit = "time"
-- help = "When it changed last."
-- [columns.change]
-- unit = "count"
-- help = "Number of the batch that changed it last."
WITH newest AS (
    SELECT s.window_start, s.category, sum(s.amount) AS amount, sum(s.quantity) AS quantity, sum(s.orders) AS orders,
           bool_or(s.revised) AS revised, bool_and(s.final) AS final,
           max(s.changed_at) AS changed_at, max(s.change) AS change
    FROM mart.realtime_stream AS s
    -- a window in the future does not hide those of now
    WHERE s.window_start > least((SELECT max(n.window_start) FROM mart.realtime_stream AS n), now()) - interval '30 minutes'
    GROUP BY s.window_start, s.category
), placed AS (
    SELECT n.window_start, n.category, n.amount, n.quantity, n.orders,
           row_number() OVER (PARTITION BY n.window_start ORDER BY n.amount DESC, n.category) AS place,
           sum(n.amount) OVER whole     AS window_amount,
           sum(n.quantity) OVER whole   AS window_quantity,
           count(*) OVER whole          AS window_categories,
           bool_or(n.revised) OVER whole AS revised,
           bool_and(n.final) OVER whole AS final,
           max(n.changed_at) OVER whole AS changed_at,
           max(n.change) OVER whole     AS change
    FROM newest AS n
    WINDOW whole AS (PARTITION BY n.window_start)
)
SELECT extract(epoch FROM p.window_start)::float8    AS window_start,
       left(p.category, 100)::text                   AS category,
       p.amount::numeric(20,2)                       AS amount,
       p.quantity::bigint                            AS quantity,
       p.orders::bigint                              AS orders,
       p.window_amount::numeric(20,2)                AS window_amount,
       p.window_quantity::bigint                     AS window_quantity,
       p.window_categories::bigint                   AS window_categories,
       p.revised                                     AS revised,
       p.final                                       AS is_final,
       extract(epoch FROM p.changed_at)::float8      AS changed_epoch,
       p.change::bigint                              AS change
FROM placed AS p
WHERE p.place <= 20
ORDER BY p.window_start DESC, p.place
LIMIT 600
