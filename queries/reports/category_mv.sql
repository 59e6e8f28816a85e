-- Sales of the last 7 days, by category: the case study's second query, on its materialized view.
SELECT category, sum(sales_amount) AS total_sales, sum(quantity) AS total_quantity,
       (SELECT extract(epoch FROM now() - max(started)) * 1000 FROM htap.refresh_run
        WHERE view = 'mart.fact_sales_mv' AND finished IS NOT NULL
          AND started BETWEEN timestamptz '2000-01-01 00:00+00' AND now()) AS age_ms
FROM mart.fact_sales_mv
WHERE sale_time >= now() - interval '7 days'
GROUP BY category
ORDER BY total_sales DESC
LIMIT 10
