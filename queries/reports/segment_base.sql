-- Customers of the last 180 days by segment, from the orders themselves.
WITH user_rfm AS (
    SELECT user_id, max(completed_at) AS last_purchase_date, count(*) AS purchase_frequency,
           sum(total_amount) AS total_spent
    FROM shop.orders
    WHERE status = 3 AND completed_at >= now() - interval '180 days'
    GROUP BY user_id
)
SELECT u.user_segment, count(*) AS user_count, avg(r.total_spent) AS avg_ltv,
       avg(r.purchase_frequency) AS avg_frequency
FROM user_rfm AS r
JOIN shop.users AS u USING (user_id)
GROUP BY u.user_segment
