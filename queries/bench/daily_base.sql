-- Daily sales of the last 30 whole UTC days, from the orders.
SELECT date_trunc('day', completed_at, 'UTC') AS day, sum(total_amount) AS total_sales
FROM shop.orders
WHERE status = 3 AND completed_at >= date_trunc('day', now(), 'UTC') - interval '30 days'
GROUP BY day ORDER BY day
