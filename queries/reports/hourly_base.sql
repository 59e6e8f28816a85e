-- Sales of the last 24 hours, by hour, from the orders themselves.
SELECT date_trunc('hour', completed_at) AS hour, sum(total_amount) AS total_sales, count(*) AS order_count,
       sum(total_amount) / count(*) AS avg_order_value, count(DISTINCT user_id) AS unique_customers
FROM shop.orders
WHERE status = 3 AND completed_at >= date_trunc('hour', now()) - interval '23 hours'
GROUP BY 1
ORDER BY hour DESC
