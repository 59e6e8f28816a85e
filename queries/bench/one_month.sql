-- Orders and sales of the last whole month (UTC), by creation.
SELECT count(*), sum(total_amount)
FROM shop.orders
WHERE created_at >= date_trunc('month', now(), 'UTC') - interval '1 month' AND created_at < date_trunc('month', now(), 'UTC')
