-- Sales of the last 24 hours, by hour: the case study's first query, on its materialized view.
SELECT hour, total_sales, order_count, avg_order_value, unique_customers,
       (SELECT extract(epoch FROM now() - max(started)) * 1000 FROM htap.refresh_run
        WHERE view = 'mart.sales_hourly_mv' AND finished IS NOT NULL
          AND started BETWEEN timestamptz '2000-01-01 00:00+00' AND now()) AS age_ms
FROM mart.sales_hourly_mv
WHERE hour >= date_trunc('hour', now()) - interval '23 hours'
ORDER BY hour DESC
