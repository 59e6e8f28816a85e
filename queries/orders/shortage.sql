-- Why an order was refused: the first of the products $1 that is unknown, or has less in stock than wanted ($2).
SELECT l.product_id, l.quantity AS wanted, i.quantity AS available
FROM unnest($1, $2) AS l (product_id, quantity)
LEFT JOIN (shop.inventory AS i JOIN shop.products AS p USING (product_id)) ON i.product_id = l.product_id
WHERE i.quantity IS NULL OR i.quantity < l.quantity
ORDER BY i.quantity IS NULL DESC, l.product_id
LIMIT 1
