-- Sales of the last 7 days, by category.
SELECT category, sum(total_amount) AS total_sales, sum(total_quantity) AS total_quantity,
       (SELECT heartbeat FROM htap.watermark WHERE view = 'mart.fact_sales') AS heartbeat
FROM mart.category_hourly
WHERE hour >= date_trunc('hour', now()) - interval '7 days'
GROUP BY category
ORDER BY total_sales DESC
LIMIT 10
