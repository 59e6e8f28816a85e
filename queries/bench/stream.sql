-- Orders for the experiment `stream`: shipped ones, which wait to be completed, and those of the probes among them, whose
-- product has a category of its own.
CREATE TABLE IF NOT EXISTS bench.shipped (n bigint PRIMARY KEY, order_id bigint NOT NULL, created_at timestamptz NOT NULL,
                                          probe boolean NOT NULL);
INSERT INTO shop.categories (category_name) VALUES ('bench probe') ON CONFLICT DO NOTHING;
INSERT INTO shop.products (category_id, product_name, price)
SELECT c.category_id, 'bench probe', 1 FROM shop.categories AS c
WHERE c.category_name = 'bench probe' AND NOT EXISTS (SELECT FROM shop.products AS p WHERE p.product_name = 'bench probe');

-- Makes orders with this status, and one line each; with events if the outbox is on.
CREATE OR REPLACE FUNCTION bench.place(orders bigint, probes bigint, wanted smallint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    buyers bigint[] := ARRAY(SELECT u.user_id FROM shop.users AS u ORDER BY 1 LIMIT 1000);
    goods  bigint[] := ARRAY(SELECT p.product_id FROM shop.products AS p WHERE p.product_name <> 'bench probe' ORDER BY 1);
    its_product bigint := (SELECT p.product_id FROM shop.products AS p WHERE p.product_name = 'bench probe');
BEGIN
    TRUNCATE bench.shipped;
    INSERT INTO bench.shipped
    SELECT m.n, m.id, shop.order_time(m.id), m.n > orders
    FROM (SELECT n, shop.new_order_id() AS id FROM generate_series(1, orders + probes) AS n) AS m;
    INSERT INTO shop.orders (order_id, user_id, status, total_amount, created_at)
    SELECT s.order_id, buyers[1 + s.n % cardinality(buyers)], wanted, 10, s.created_at FROM bench.shipped AS s;
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT s.order_id, s.created_at, 1, CASE WHEN s.probe THEN its_product ELSE goods[1 + s.n % cardinality(goods)] END, 1, 10
    FROM bench.shipped AS s;
    ANALYZE bench.shipped;
END
$$;

-- Gives the orders from `first` to `last` their next status.
CREATE OR REPLACE FUNCTION bench.advance(first bigint, last bigint, wanted smallint) RETURNS void LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
BEGIN
    UPDATE shop.orders AS o SET status = wanted FROM bench.shipped AS s
    WHERE s.n BETWEEN first AND last AND o.order_id = s.order_id AND o.created_at = s.created_at;
END
$$;
