-- title = "Top categories · 7 d"
-- pool = "olap"
-- interval = "15s"
-- order = 20
-- digit = 2
-- needs = ["mart.category_hourly"]
-- remedy = "htap-top init"
-- chart = { kind = "ranking", x = "category", y = "amount" }
-- key = ["category"]
-- sort = "-amount"
-- about = """
-- Sales by product category, today and the six days before (UTC days), from the sales by hour and category.
-- Cost: an index range of mart.category_hourly, at most 168 rows per category, well under 1 ms. The same from
-- mart.fact_sales reads every sale: 40 ms at 270,000 sales, and growing with them.
-- Blind spot: as old as the last merge of mart.fact_sales; completed orders only.
--
-- With pool = "columnar" in the configuration it is asked in the column store, from the sales of the seven days: the same
-- figures. Cost: about 0.1 s beside the server."""
--
-- [columns.category]
-- help = "Category of the product, as it is now: a product that was moved takes its past sales along."
-- [columns.amount]
-- unit = "money"
-- help = "Price times quantity, at the price of the order."
-- [columns.quantity]
-- unit = "count"
-- help = "Pieces sold."
-- [columns.share]
-- unit = "percent"
-- help = "Share of the amount of all categories."
SELECT category::text                AS category,
       sum(total_amount)::numeric(20,2) AS amount,
       sum(total_quantity)::bigint   AS quantity,
       (100.0 * sum(total_amount) / nullif(sum(sum(total_amount)) OVER (), 0))::float8 AS share
FROM mart.category_hourly
WHERE hour >= date_trunc('day', now(), 'UTC') - interval '6 days'
GROUP BY category
ORDER BY amount DESC, category
