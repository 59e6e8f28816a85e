-- Sales of the last 7 days, by category, from the orders themselves.
SELECT c.category_name AS category, sum(i.price * i.quantity) AS total_sales, sum(i.quantity) AS total_quantity
FROM shop.orders AS o
JOIN shop.order_items AS i ON i.order_id = o.order_id
JOIN shop.products AS p ON p.product_id = i.product_id
JOIN shop.categories AS c ON c.category_id = p.category_id
WHERE o.status = 3 AND o.completed_at >= now() - interval '7 days'
GROUP BY c.category_name
ORDER BY total_sales DESC
LIMIT 10
