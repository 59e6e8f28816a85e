-- title = "Top categories"
-- pool = "olap"
-- interval = "15s"
-- needs = ["mart.fact_sales_mv"]
-- remedy = "htap-top init"
-- chart = { kind = "ranking", x = "category", y = "amount" }
-- key = ["category"]
-- sort = "-amount"
-- about = """
-- Sales of the last 7 days by product category, from the fact table.
-- Cost: a scan of mart.fact_sales_mv, about 0.1 µs per row on one core: the panel to watch when the fact
-- table grows.
-- Blind spot: as old as the view's last refresh; completed orders only."""
--
-- [columns.category]
-- help = "Category of the product, as it is now: a product that moved takes its past sales along."
-- [columns.amount]
-- unit = "money"
-- help = "Price times quantity, at the price of the order."
-- [columns.quantity]
-- unit = "count"
-- help = "Pieces sold."
-- [columns.share]
-- unit = "percent"
-- help = "Share of the amount of all categories."
SELECT category::text                                            AS category,
       sum(sales_amount)::numeric(20,2)                          AS amount,
       sum(quantity)::bigint                                     AS quantity,
       (100.0 * sum(sales_amount) / nullif(sum(sum(sales_amount)) OVER (), 0))::float8 AS share
FROM mart.fact_sales_mv
WHERE sale_time >= now() - interval '7 days'
GROUP BY category
ORDER BY amount DESC, category
