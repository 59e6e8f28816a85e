-- Over mart.fact_sales, for the column store: it has no generate_series, so the hours are written out.
WITH sold AS (
    SELECT date_trunc('hour', sale_time) AS hour, sum(sales_amount) AS total_sales,
           count(DISTINCT order_id) AS order_count, count(DISTINCT user_id) AS unique_customers
    FROM fact_sales
    WHERE sale_time >= date_trunc('hour', now()) - interval '47 hours'
    GROUP BY date_trunc('hour', sale_time)
)
SELECT h.hour                                            AS hour,
       coalesce(now_.total_sales, 0)                     AS sales,
       coalesce(before.total_sales, 0)                   AS previous,
       h.hour = date_trunc('hour', now())                AS partial,
       coalesce(now_.order_count, 0)                     AS orders,
       round(now_.total_sales / now_.order_count, 0)     AS avg_order,
       coalesce(now_.unique_customers, 0)                AS customers
FROM (VALUES (date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()) - interval '47 hours'),
                 (date_trunc('hour', now()) - interval '22 hours', date_trunc('hour', now()) - interval '46 hours'),
                 (date_trunc('hour', now()) - interval '21 hours', date_trunc('hour', now()) - interval '45 hours'),
                 (date_trunc('hour', now()) - interval '20 hours', date_trunc('hour', now()) - interval '44 hours'),
                 (date_trunc('hour', now()) - interval '19 hours', date_trunc('hour', now()) - interval '43 hours'),
                 (date_trunc('hour', now()) - interval '18 hours', date_trunc('hour', now()) - interval '42 hours'),
                 (date_trunc('hour', now()) - interval '17 hours', date_trunc('hour', now()) - interval '41 hours'),
                 (date_trunc('hour', now()) - interval '16 hours', date_trunc('hour', now()) - interval '40 hours'),
                 (date_trunc('hour', now()) - interval '15 hours', date_trunc('hour', now()) - interval '39 hours'),
                 (date_trunc('hour', now()) - interval '14 hours', date_trunc('hour', now()) - interval '38 hours'),
                 (date_trunc('hour', now()) - interval '13 hours', date_trunc('hour', now()) - interval '37 hours'),
                 (date_trunc('hour', now()) - interval '12 hours', date_trunc('hour', now()) - interval '36 hours'),
                 (date_trunc('hour', now()) - interval '11 hours', date_trunc('hour', now()) - interval '35 hours'),
                 (date_trunc('hour', now()) - interval '10 hours', date_trunc('hour', now()) - interval '34 hours'),
                 (date_trunc('hour', now()) - interval '9 hours',  date_trunc('hour', now()) - interval '33 hours'),
                 (date_trunc('hour', now()) - interval '8 hours',  date_trunc('hour', now()) - interval '32 hours'),
                 (date_trunc('hour', now()) - interval '7 hours',  date_trunc('hour', now()) - interval '31 hours'),
                 (date_trunc('hour', now()) - interval '6 hours',  date_trunc('hour', now()) - interval '30 hours'),
                 (date_trunc('hour', now()) - interval '5 hours',  date_trunc('hour', now()) - interval '29 hours'),
                 (date_trunc('hour', now()) - interval '4 hours',  date_trunc('hour', now()) - interval '28 hours'),
                 (date_trunc('hour', now()) - interval '3 hours',  date_trunc('hour', now()) - interval '27 hours'),
                 (date_trunc('hour', now()) - interval '2 hours',  date_trunc('hour', now()) - interval '26 hours'),
                 (date_trunc('hour', now()) - interval '1 hours',  date_trunc('hour', now()) - interval '25 hours'),
                 (date_trunc('hour', now()),                       date_trunc('hour', now()) - interval '24 hours')) AS h (hour, day_before)
LEFT JOIN sold AS now_ ON now_.hour = h.hour
LEFT JOIN sold AS before ON before.hour = h.day_before
ORDER BY h.hour
