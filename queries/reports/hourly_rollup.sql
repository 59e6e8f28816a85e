-- Sales of the last 24 hours, by hour.
SELECT hour, total_sales, order_count, avg_order_value, unique_customers,
       (SELECT heartbeat FROM htap.watermark WHERE view = 'mart.sales_hourly') AS heartbeat
FROM mart.sales_hourly
WHERE hour >= date_trunc('hour', now()) - interval '23 hours'
ORDER BY hour DESC
