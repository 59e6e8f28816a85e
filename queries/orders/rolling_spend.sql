-- What the customer $1 has spent on orders of the last 30 days.
SELECT coalesce(sum(total_amount), 0) AS spend
FROM shop.orders
WHERE user_id = $1 AND created_at >= now() - interval '30 days' AND status <> 4
