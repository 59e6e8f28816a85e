-- Sales of one day, a week ago.
SELECT count(*), sum(sales_amount)
FROM bench.sales_none
WHERE sale_time >= now() - interval '8 days' AND sale_time < now() - interval '7 days'
