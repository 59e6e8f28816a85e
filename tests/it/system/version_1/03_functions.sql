-- What the shop does, one round trip each.

-- Creates an order, all or nothing. The client names products and quantities only: prices come from
-- the catalogue, the total is computed here. Lines of one product are merged, and stock rows are
-- locked in product_id order, so that two checkouts can wait for each other but never deadlock.
CREATE OR REPLACE FUNCTION shop.create_order(buyer bigint, product_ids bigint[], quantities bigint[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
    unknown bigint;
    created bigint;
BEGIN
    IF coalesce(cardinality(product_ids), 0) = 0
       OR cardinality(product_ids) IS DISTINCT FROM cardinality(quantities) THEN
        RAISE EXCEPTION 'an order needs as many quantities as products, and at least one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM unnest(quantities) AS q WHERE q IS NULL OR q NOT BETWEEN 1 AND 1000000) THEN
        RAISE EXCEPTION 'quantities must be positive, and at most a million'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    PERFORM FROM shop.inventory WHERE product_id = ANY (product_ids) ORDER BY product_id FOR UPDATE;

    UPDATE shop.inventory AS i SET quantity = i.quantity - b.quantity
    FROM (SELECT p, sum(q) AS quantity FROM unnest(product_ids, quantities) AS l (p, q) GROUP BY p) AS b
    WHERE i.product_id = b.p AND i.quantity >= b.quantity;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched < (SELECT count(*) FROM (SELECT DISTINCT unnest(product_ids)) AS wanted) THEN
        SELECT p INTO unknown FROM unnest(product_ids) AS p
        WHERE NOT EXISTS (SELECT FROM shop.inventory AS i WHERE i.product_id = p) LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'there is no product %', coalesce(unknown::text, 'NULL')
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        RAISE EXCEPTION 'out of stock' USING ERRCODE = 'HT001';
    END IF;

    -- One statement, hence one snapshot: a price that changes meanwhile changes lines and total, or neither.
    WITH lines AS MATERIALIZED (
        SELECT p.product_id, b.quantity, p.price
        FROM (SELECT p, sum(q) AS quantity FROM unnest(product_ids, quantities) AS l (p, q) GROUP BY p) AS b
        JOIN shop.products AS p ON p.product_id = b.p
    ), placed AS (
        INSERT INTO shop.orders (user_id, total_amount)
        SELECT buyer, sum(price * quantity) FROM lines RETURNING order_id
    ), filled AS (
        INSERT INTO shop.order_items (order_id, line_no, product_id, quantity, price)
        SELECT placed.order_id, row_number() OVER (ORDER BY product_id), product_id, quantity, price
        FROM placed, lines
    )
    SELECT order_id INTO created FROM placed;
    RETURN created;
END
$$;

-- Gives an order its next status, once; returns whether there was such an order.
CREATE OR REPLACE FUNCTION shop.advance_order(id bigint, next integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE shop.orders SET status = next WHERE order_id = id AND status <> next;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM shop.orders WHERE order_id = id) THEN
        RAISE EXCEPTION 'order % has status % already', id, next USING ERRCODE = 'check_violation';
    END IF;
    RETURN false;
END
$$;

-- The steps of an order; each returns whether there was such an order. A step out of order, or taken
-- twice, is an error.
CREATE OR REPLACE FUNCTION shop.pay_order(id bigint) RETURNS boolean LANGUAGE sql AS
$$ SELECT shop.advance_order(id, 1) $$;

CREATE OR REPLACE FUNCTION shop.ship_order(id bigint) RETURNS boolean LANGUAGE sql AS
$$ SELECT shop.advance_order(id, 2) $$;

CREATE OR REPLACE FUNCTION shop.complete_order(id bigint) RETURNS boolean LANGUAGE sql AS
$$ SELECT shop.advance_order(id, 3) $$;

-- Cancels a pending or paid order and returns its goods to stock, again in product_id order.
CREATE OR REPLACE FUNCTION shop.cancel_order(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT shop.advance_order(id, 4) THEN
        RETURN false;
    END IF;
    PERFORM FROM shop.inventory AS i
    WHERE product_id IN (SELECT product_id FROM shop.order_items WHERE order_id = id)
    ORDER BY product_id FOR UPDATE;
    UPDATE shop.inventory AS i SET quantity = i.quantity + l.quantity
    FROM (SELECT product_id, sum(quantity) AS quantity FROM shop.order_items WHERE order_id = id
          GROUP BY product_id) AS l
    WHERE i.product_id = l.product_id;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION shop.log_in(who bigint) RETURNS bigint LANGUAGE sql AS
$$ INSERT INTO shop.user_events (user_id) VALUES (who) RETURNING event_id $$;

-- A delivery: fills up the `lines` emptiest products that are below a quarter of their reorder point.
CREATE OR REPLACE FUNCTION shop.restock(lines bigint) RETURNS bigint LANGUAGE sql AS $$
WITH low AS (
    SELECT product_id FROM shop.inventory WHERE quantity < 0.25 * reorder_point
    ORDER BY quantity::float8 / reorder_point LIMIT lines
), locked AS (
    SELECT product_id FROM shop.inventory WHERE product_id IN (SELECT product_id FROM low)
    ORDER BY product_id FOR UPDATE
), filled AS (
    UPDATE shop.inventory AS i SET quantity = i.quantity + 5 * i.reorder_point
    FROM locked WHERE i.product_id = locked.product_id RETURNING 1
)
SELECT count(*) FROM filled
$$;

-- The warehouse reports counts: touches `lines` stock rows without changing their quantity.
CREATE OR REPLACE FUNCTION shop.count_stock(lines bigint) RETURNS bigint LANGUAGE sql AS $$
WITH picked AS (
    SELECT product_id FROM shop.inventory ORDER BY random() LIMIT lines
), locked AS (
    SELECT product_id FROM shop.inventory WHERE product_id IN (SELECT product_id FROM picked)
    ORDER BY product_id FOR UPDATE SKIP LOCKED
), counted AS (
    UPDATE shop.inventory AS i SET quantity = i.quantity FROM locked
    WHERE i.product_id = locked.product_id RETURNING 1
)
SELECT count(*) FROM counted
$$;
