-- As place_order, under the number that the request with the key $4 has got: see there.
WITH lines AS MATERIALIZED (
    SELECT l.line_no, l.product_id, l.quantity, c.price
    FROM unnest($2, $3) WITH ORDINALITY AS l (product_id, quantity, line_no)
    LEFT JOIN (SELECT p.product_id, p.price FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)) AS c
        ON c.product_id = l.product_id
), placed AS (
    INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
    SELECT n.id, shop.order_time(n.id), $1, coalesce((SELECT sum(price * quantity) FROM lines), 0)
    FROM (SELECT order_id AS id FROM shop.order_requests WHERE user_id = $1 AND request_key = $4) AS n
    RETURNING order_id, created_at
), filled AS (
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT placed.order_id, placed.created_at, line_no, product_id, quantity, price FROM placed, lines
)
SELECT order_id, set_config('synchronous_commit', $5, true) FROM placed
