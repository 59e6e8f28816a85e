-- An order whose stock is taken in this transaction: $1 the user, $2 products, $3 quantities. One
-- statement, hence one snapshot: a price that changes meanwhile changes total and lines, or neither. A product
-- that is not in the catalogue, or has no stock, has no price, which no line may be without.
WITH lines AS MATERIALIZED (
    SELECT l.line_no, l.product_id, l.quantity, c.price
    FROM unnest($2, $3) WITH ORDINALITY AS l (product_id, quantity, line_no)
    LEFT JOIN (SELECT p.product_id, p.price FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)) AS c
        ON c.product_id = l.product_id
), placed AS (
    INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
    SELECT n.id, shop.order_time(n.id), $1, coalesce((SELECT sum(price * quantity) FROM lines), 0)
    FROM (SELECT shop.new_order_id() AS id) AS n
    RETURNING order_id, created_at
), filled AS (
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT placed.order_id, placed.created_at, line_no, product_id, quantity, price FROM placed, lines
)
SELECT order_id, set_config('synchronous_commit', $4, true) FROM placed
