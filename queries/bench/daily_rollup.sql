-- The same from the sales by hour.
SELECT date_trunc('day', hour, 'UTC') AS day, sum(total_sales) AS total_sales
FROM mart.sales_hourly
WHERE hour >= date_trunc('day', now(), 'UTC') - interval '30 days'
GROUP BY day ORDER BY day
