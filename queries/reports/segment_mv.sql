-- Customers of the last 180 days by segment: the case study's third query, on its materialized view.
WITH user_rfm AS (
    SELECT user_id, max(sale_time) AS last_purchase_date, count(DISTINCT order_id) AS purchase_frequency,
           sum(sales_amount) AS total_spent
    FROM mart.fact_sales_mv
    WHERE sale_time >= now() - interval '180 days'
    GROUP BY user_id
)
SELECT u.user_segment, count(*) AS user_count, avg(r.total_spent) AS avg_ltv,
       avg(r.purchase_frequency) AS avg_frequency,
       (SELECT extract(epoch FROM now() - max(started)) * 1000 FROM htap.refresh_run
        WHERE view = 'mart.fact_sales_mv' AND finished IS NOT NULL
          AND started BETWEEN timestamptz '2000-01-01 00:00+00' AND now()) AS age_ms
FROM user_rfm AS r
JOIN shop.users AS u USING (user_id)
GROUP BY u.user_segment
