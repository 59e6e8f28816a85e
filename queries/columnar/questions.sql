-- Questions for the column store, of which each engine gives PostgreSQL's answer: `htap-top bench columnar` asks the first seven,
-- queries/columnar/compare all of them. A question begins with its name. {end} is the end of the last whole hour, and {day}, {week},
-- {month} and {past} lie 24 hours, 7, 30 and 150 days before it; {first} is the first of the 180 UTC days of RFM. Averages, avg_...,
-- have as many digits as an engine gives them; all else is equal.

-- hourly: sales of the last 24 hours, by hour (the case study's Q1)
SELECT date_trunc('hour', sale_time) AS hour, sum(sales_amount) AS total_sales, count(DISTINCT order_id) AS order_count,
       count(DISTINCT user_id) AS unique_customers
FROM fact_sales WHERE sale_time >= '{day}' AND sale_time < '{end}' GROUP BY date_trunc('hour', sale_time)

-- category_week: sales of the last 7 days, by category (Q2)
SELECT category, sum(sales_amount) AS total_sales, sum(quantity) AS total_quantity
FROM fact_sales WHERE sale_time >= '{week}' AND sale_time < '{end}' GROUP BY category ORDER BY total_sales DESC, category LIMIT 10

-- category_all: all sales, by category
SELECT category, sum(sales_amount) AS total_sales, sum(quantity) AS total_quantity
FROM fact_sales WHERE sale_time < '{end}' GROUP BY category ORDER BY total_sales DESC, category LIMIT 10

-- rfm: customers of the last 180 days, by segment (Q3)
WITH user_rfm AS (
    SELECT user_id, user_segment, max(sale_time) AS last_purchase_date, count(DISTINCT order_id) AS purchase_frequency,
           sum(sales_amount) AS total_spent
    FROM fact_sales WHERE sale_time >= '{first}' AND sale_time < '{end}' GROUP BY user_id, user_segment
)
SELECT user_segment, count(*) AS user_count, avg(total_spent) AS avg_ltv, avg(purchase_frequency) AS avg_frequency
FROM user_rfm GROUP BY user_segment

-- customers: different customers of each hour
SELECT date_trunc('hour', sale_time) AS hour, count(DISTINCT user_id) AS unique_customers
FROM fact_sales WHERE sale_time < '{end}' GROUP BY date_trunc('hour', sale_time)

-- pairs: categories in the same orders of the last 30 days (a join)
SELECT a.category AS category, b.category AS other, count(*) AS orders
FROM (SELECT DISTINCT order_id, category FROM fact_sales WHERE sale_time >= '{month}' AND sale_time < '{end}') AS a
JOIN (SELECT DISTINCT order_id, category FROM fact_sales WHERE sale_time >= '{month}' AND sale_time < '{end}') AS b
  ON b.order_id = a.order_id AND b.category <> a.category
GROUP BY a.category, b.category

-- returning: customers of the first days who bought again in the last 30 (a join)
SELECT n.user_segment, count(*) AS customers, sum(n.amount) AS amount
FROM (SELECT user_id, user_segment, sum(sales_amount) AS amount FROM fact_sales
      WHERE sale_time >= '{month}' AND sale_time < '{end}' GROUP BY user_id, user_segment) AS n
JOIN (SELECT DISTINCT user_id FROM fact_sales WHERE sale_time < '{past}') AS o ON o.user_id = n.user_id
GROUP BY n.user_segment

-- baskets: orders by their number of lines
SELECT number_of_lines, count(*) AS orders, sum(amount) AS amount
FROM (SELECT order_id, count(*) AS number_of_lines, sum(sales_amount) AS amount FROM fact_sales WHERE sale_time < '{end}'
      GROUP BY order_id) AS o
GROUP BY number_of_lines

-- spenders: the 20 customers who spent most in 30 days
SELECT user_id, sum(sales_amount) AS amount, count(DISTINCT order_id) AS orders
FROM fact_sales WHERE sale_time >= '{month}' AND sale_time < '{end}' GROUP BY user_id ORDER BY amount DESC, user_id LIMIT 20

-- daily: sales by day and segment over 30 days
SELECT date_trunc('day', sale_time) AS day, user_segment, sum(sales_amount) AS amount, min(sales_amount) AS least, max(sales_amount) AS most
FROM fact_sales WHERE sale_time >= '{month}' AND sale_time < '{end}' GROUP BY date_trunc('day', sale_time), user_segment

-- products: the 10 products that sold best in a week
SELECT product_id, category, sum(quantity) AS sold, avg(sales_amount) AS avg_amount
FROM fact_sales WHERE sale_time >= '{week}' AND sale_time < '{end}' GROUP BY product_id, category ORDER BY sold DESC, product_id LIMIT 10

-- segments: what each segment buys of a category
SELECT category, sum(sales_amount) FILTER (WHERE user_segment = 'VIP') AS vip, sum(sales_amount) FILTER (WHERE user_segment <> 'VIP') AS others,
       count(*) FILTER (WHERE quantity > 1) AS several
FROM fact_sales WHERE sale_time < '{end}' GROUP BY category

-- places: the three categories that each segment spends most on
SELECT user_segment, category, amount, place
FROM (SELECT user_segment, category, amount, rank() OVER (PARTITION BY user_segment ORDER BY amount DESC) AS place
      FROM (SELECT user_segment, category, sum(sales_amount) AS amount FROM fact_sales WHERE sale_time < '{end}'
            GROUP BY user_segment, category) AS s) AS r
WHERE place <= 3

-- cohorts: customers by the month of their first purchase
SELECT date_trunc('month', since) AS month, count(*) AS customers, sum(amount) AS amount
FROM (SELECT user_id, min(sale_time) AS since, sum(sales_amount) AS amount FROM fact_sales WHERE sale_time < '{end}' GROUP BY user_id) AS u
GROUP BY date_trunc('month', since)

-- large: large lines of some categories
SELECT category, count(*) AS number_of_lines, max(sale_time) AS last_sale
FROM fact_sales WHERE category LIKE '%o%' AND quantity BETWEEN 2 AND 9 AND sales_amount >= 100 AND sale_time < '{end}' GROUP BY category
