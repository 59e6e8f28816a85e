-- A delivery: fills the stock of products $1 up to $2 pieces each, in product order; how many pieces came.
WITH wanted AS (
    SELECT product_id, quantity FROM unnest($1, $2) AS d (product_id, quantity)
), locked AS (
    SELECT product_id, quantity FROM shop.inventory
    WHERE product_id IN (SELECT product_id FROM wanted) ORDER BY product_id FOR UPDATE
), filled AS (
    UPDATE shop.inventory AS i SET quantity = wanted.quantity
    FROM locked JOIN wanted USING (product_id)
    WHERE i.product_id = locked.product_id AND locked.quantity < wanted.quantity
    RETURNING wanted.quantity - locked.quantity AS pieces
)
SELECT coalesce(sum(pieces), 0) AS pieces FROM filled
