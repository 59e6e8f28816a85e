-- OLAP: materialized views under the case study's names. Each has a valid unique index, without which
-- REFRESH MATERIALIZED VIEW CONCURRENTLY is refused. Sales count when an order is completed, by the time
-- of its completion: a closed hour or day never changes again.
-- Averages are kept as sum and count, because a mean of means is no mean.
CREATE SCHEMA IF NOT EXISTS mart AUTHORIZATION htap_refresh;
GRANT USAGE ON SCHEMA shop TO htap_oltp, htap_olap, htap_refresh;
-- By name: what others put into these schemas is theirs.
GRANT SELECT ON shop.users, shop.categories, shop.products, shop.inventory, shop.orders, shop.order_items,
    shop.user_events TO htap_oltp, htap_olap, htap_refresh;
GRANT INSERT, UPDATE ON shop.users, shop.categories, shop.products, shop.inventory, shop.orders,
    shop.order_items, shop.user_events TO htap_oltp;

SET LOCAL ROLE htap_refresh;
COMMENT ON SCHEMA mart IS 'htap-top: materialized views of the shop';
GRANT USAGE ON SCHEMA mart TO htap_olap;

CREATE MATERIALIZED VIEW IF NOT EXISTS mart.sales_hourly_mv AS
SELECT date_trunc('hour', completed_at, 'UTC') AS hour,
       count(*)                                AS order_count,
       sum(total_amount)                       AS total_sales,
       count(DISTINCT user_id)                 AS unique_customers
FROM shop.orders
WHERE status = 3
GROUP BY 1
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS sales_hourly_mv_key ON mart.sales_hourly_mv (hour);

CREATE MATERIALIZED VIEW IF NOT EXISTS mart.fact_sales_mv AS
SELECT i.order_id,
       i.line_no,
       o.user_id,
       u.user_segment,
       i.product_id,
       c.category_name      AS category,
       i.quantity,
       i.price * i.quantity AS sales_amount,
       o.completed_at       AS sale_time
FROM shop.orders AS o
JOIN shop.order_items AS i USING (order_id)
JOIN shop.users AS u USING (user_id)
JOIN shop.products AS p USING (product_id)
JOIN shop.categories AS c USING (category_id)
WHERE o.status = 3
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS fact_sales_mv_key ON mart.fact_sales_mv (order_id, line_no);

-- RFM scores, in fifths from 1 (worst) to 5 (best), of those who ordered within 180 days; the others have
-- none. They depend on the order of the customers only, not on the clock, so they may be kept.
CREATE MATERIALIZED VIEW IF NOT EXISTS mart.user_behavior_mv AS
WITH ordered AS (
    SELECT user_id, min(created_at) AS first_order_at, max(created_at) AS last_order_at,
           count(*) AS order_count, sum(total_amount) AS total_amount
    FROM shop.orders WHERE status <> 4 GROUP BY user_id
), scored AS (
    SELECT user_id,
           ntile(5) OVER (ORDER BY last_order_at, user_id) AS recency_score,
           ntile(5) OVER (ORDER BY order_count, user_id)   AS frequency_score,
           ntile(5) OVER (ORDER BY total_amount, user_id)  AS monetary_score
    FROM ordered WHERE last_order_at >= now() - interval '180 days'
)
SELECT u.user_id,
       u.user_segment,
       u.registered_at,
       o.first_order_at,
       o.last_order_at,
       coalesce(o.order_count, 0)  AS order_count,
       coalesce(o.total_amount, 0) AS total_amount,
       e.last_login_at,
       s.recency_score,
       s.frequency_score,
       s.monetary_score
FROM shop.users AS u
LEFT JOIN ordered AS o USING (user_id)
LEFT JOIN scored AS s USING (user_id)
LEFT JOIN (SELECT user_id, max(occurred_at) AS last_login_at
           FROM shop.user_events WHERE event_kind = 0 GROUP BY user_id) AS e USING (user_id)
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS user_behavior_mv_key ON mart.user_behavior_mv (user_id);

-- Reads another materialized view: refresh fact_sales_mv first.
CREATE MATERIALIZED VIEW IF NOT EXISTS mart.daily_sales_summary AS
SELECT (sale_time AT TIME ZONE 'UTC')::date AS sale_date,
       product_id,
       category,
       sum(quantity)                        AS total_quantity,
       sum(sales_amount)                    AS total_amount,
       count(DISTINCT order_id)             AS order_count
FROM mart.fact_sales_mv
GROUP BY 1, 2, 3
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS daily_sales_summary_key ON mart.daily_sales_summary (sale_date, product_id);

GRANT SELECT ON mart.sales_hourly_mv, mart.fact_sales_mv, mart.user_behavior_mv, mart.daily_sales_summary
    TO htap_olap;
RESET ROLE;
