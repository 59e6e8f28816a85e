-- Orders for the experiment `columnar`.

-- What was sold for a variant; the next one is asked about as many sales as the first.
CREATE UNLOGGED TABLE IF NOT EXISTS bench.sold (order_id bigint PRIMARY KEY);

CREATE OR REPLACE FUNCTION bench.take_back() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shop.order_items AS i USING bench.sold AS s
    WHERE i.order_id = s.order_id AND i.created_at = shop.order_time(s.order_id);
    DELETE FROM shop.orders AS o USING bench.sold AS s
    WHERE o.order_id = s.order_id AND o.created_at = shop.order_time(s.order_id);
    TRUNCATE bench.sold;
END
$$;

-- Sells within some seconds from the beginning of an hour that is over: completed orders of two lines.
CREATE OR REPLACE FUNCTION bench.sell(wanted bigint, hour timestamptz, seconds float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    buyers bigint[] := ARRAY(SELECT u.user_id FROM shop.users AS u ORDER BY 1 LIMIT 10000);
    goods  bigint[] := ARRAY(SELECT p.product_id FROM shop.products AS p ORDER BY 1 LIMIT 1000);
    -- Numbers that no server and no earlier call makes.
    node   bigint := 1 + floor(random() * 1000);
    start  bigint := floor(extract(epoch FROM hour) * 1000) - 1577836800000;
BEGIN
    CREATE TEMPORARY TABLE sold ON COMMIT DROP AS
    SELECT n, ((start + floor(n * seconds * 1000 / wanted)::bigint) << 22) | (node << 12) | (n & 4095) AS order_id
    FROM generate_series(0, wanted - 1) AS n;
    INSERT INTO bench.sold SELECT s.order_id FROM sold AS s;
    INSERT INTO shop.orders (order_id, user_id, status, total_amount, created_at, completed_at)
    SELECT s.order_id, buyers[1 + s.n * 7 % cardinality(buyers)], 3, 30, shop.order_time(s.order_id), shop.order_time(s.order_id)
    FROM sold AS s;
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT s.order_id, shop.order_time(s.order_id), line, goods[1 + (s.n * 13 + line) % cardinality(goods)], line, 10
    FROM sold AS s CROSS JOIN generate_series(1, 2) AS line;
END
$$;

-- Corrects completed orders of a time, one more of their first line each.
CREATE OR REPLACE FUNCTION bench.correct(wanted bigint, since timestamptz, until timestamptz) RETURNS void LANGUAGE sql AS $$
    WITH chosen AS (
        SELECT o.order_id, o.created_at FROM shop.orders AS o
        WHERE o.status = 3 AND o.completed_at >= since AND o.completed_at < until ORDER BY random() LIMIT wanted
    ), line AS (
        UPDATE shop.order_items AS i SET quantity = i.quantity + 1 FROM chosen AS c
        WHERE i.order_id = c.order_id AND i.created_at = c.created_at AND i.line_no = 1
        RETURNING i.order_id, i.created_at, i.price
    )
    UPDATE shop.orders AS o SET total_amount = o.total_amount + l.price FROM line AS l
    WHERE o.order_id = l.order_id AND o.created_at = l.created_at
$$;
