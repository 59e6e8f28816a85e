-- Over mart.fact_sales, for the column store: completed orders at the time of their completion.
WITH bought AS (
    SELECT user_id, min(sale_time) AS first_order_at, max(sale_time) AS last_order_at,
           count(DISTINCT order_id) AS order_count, sum(sales_amount) AS total_amount
    FROM fact_sales
    GROUP BY user_id
), scored AS (
    SELECT first_order_at, last_order_at, order_count, total_amount,
           ntile(5) OVER (ORDER BY last_order_at, user_id) AS recency_score,
           ntile(5) OVER (ORDER BY order_count, user_id)   AS frequency_score,
           ntile(5) OVER (ORDER BY total_amount, user_id)  AS monetary_score
    FROM bought
    WHERE last_order_at >= now() - interval '180 days'
), named AS (
    SELECT total_amount, order_count,
           extract(epoch FROM now())::bigint - extract(epoch FROM last_order_at)::bigint AS recency_s,
           CASE WHEN first_order_at >= now() - interval '2 days' AND order_count <= 2 THEN 'New'
                WHEN recency_score >= 4 AND frequency_score >= 4 AND monetary_score >= 4 THEN 'VIP'
                WHEN recency_score >= 3 AND frequency_score >= 3 THEN 'Loyal'
                WHEN recency_score <= 2 AND frequency_score >= 3 THEN 'At risk'
                WHEN recency_score <= 2 THEN 'Lost'
                ELSE 'Other' END AS segment
    FROM scored
)
SELECT segment                                           AS segment,
       count(*)                                          AS users,
       sum(total_amount)                                 AS value,
       round(sum(total_amount) / count(*), 0)            AS ltv,
       round(sum(order_count) / count(*), 1)             AS freq,
       avg(recency_s)                                    AS recency_s
FROM named
GROUP BY segment
ORDER BY value DESC
