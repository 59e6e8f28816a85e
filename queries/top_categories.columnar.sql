-- Over mart.fact_sales, for the column store: it has no sum over a window.
WITH sold AS (
    SELECT category, sum(sales_amount) AS amount, sum(quantity) AS quantity
    FROM fact_sales
    WHERE sale_time >= date_trunc('day', now()) - interval '6 days'
    GROUP BY category
), whole AS (
    SELECT sum(amount) AS amount FROM sold
)
SELECT sold.category                                     AS category,
       sold.amount                                       AS amount,
       sold.quantity                                     AS quantity,
       100.0 * sold.amount / nullif(whole.amount, 0)     AS share
FROM sold CROSS JOIN whole
ORDER BY amount DESC
