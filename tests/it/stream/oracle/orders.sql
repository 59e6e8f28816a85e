-- Orders for the oracle: real ones of the shop, whose triggers write the outbox, but with times of its choice, as an
-- importer writes them. Hence without the trigger that sets the times.
ALTER TABLE shop.orders DISABLE TRIGGER guard_status;
SELECT htap.switch_outbox(true);

CREATE SCHEMA oracle;
CREATE TABLE oracle.written (n bigint);
CREATE TABLE oracle.batch (first bigint PRIMARY KEY, events bigint NOT NULL, too_late bigint NOT NULL);

-- The same number of 0 to 1 for the same order, whatever happened before.
CREATE FUNCTION oracle.draw(n bigint, what text, seed bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT (hashint8extended(n, hashtextextended(what, seed)) & 1048575)::float8 / 1048576
$$;

-- Orders `first` to `last` of `total`, in one transaction. Their times run from `base` on for 50 minutes; most are out of
-- order by up to 2 minutes, some by much more; some of the second half are three days old, too late for any window. A slow
-- transaction has written before others begin, and writes events after they have committed theirs.
CREATE FUNCTION oracle.trade(first bigint, last bigint, total bigint, seed bigint, base timestamptz, slow boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    buyers bigint[] := ARRAY(SELECT u.user_id FROM shop.users AS u ORDER BY 1);
    goods  bigint[] := ARRAY(SELECT p.product_id FROM shop.products AS p ORDER BY 1);
BEGIN
    CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT d.n, d.old, d.finished, d.fate, t.id, shop.order_time(t.id) AS created_at
    FROM (SELECT n, old, oracle.draw(n, 'fate', seed) AS fate,
                 base + interval '49 minutes' * least(greatest(place, 0), 1) - CASE WHEN old THEN interval '3 days' ELSE interval '0' END
                     AS finished
          FROM (SELECT n, n > total / 2 AND oracle.draw(n, 'old', seed) < 0.01 AS old,
                       CASE WHEN oracle.draw(n, 'straggler', seed) < 0.03 THEN oracle.draw(n, 'place', seed)
                            ELSE n::float8 / total + (oracle.draw(n, 'jitter', seed) - 0.5) * 0.08 END AS place
                FROM generate_series(first, last) AS n) AS p) AS d
    CROSS JOIN LATERAL (
        SELECT ((floor(date_part('epoch', d.finished - interval '5 minutes') * 1000)::bigint - 1577836800000) << 22)
               | ((1 + (d.n >> 12)) << 12) | (d.n & 4095) AS id) AS t;

    IF slow THEN
        PERFORM pg_sleep(0.3);
    END IF;
    CREATE TEMP TABLE line ON COMMIT DROP AS
    SELECT m.id, m.created_at, l.line_no::smallint, p.product_id, 1 + (oracle.draw(m.n + l.line_no, 'pieces', seed) * 3)::integer AS quantity,
           p.price
    FROM made AS m CROSS JOIN generate_series(1, 2) AS l (line_no)
    JOIN shop.products AS p
        ON p.product_id = goods[1 + floor(oracle.draw(2 * m.n + l.line_no, 'product', seed) * cardinality(goods))::integer];
    INSERT INTO shop.orders (order_id, user_id, total_amount, created_at, updated_at)
    SELECT m.id, buyers[1 + floor(oracle.draw(m.n, 'buyer', seed) * cardinality(buyers))::integer],
           (SELECT sum(l.price * l.quantity) FROM line AS l WHERE l.id = m.id), m.created_at, m.created_at
    FROM made AS m;
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT l.id, l.created_at, l.line_no, l.product_id, l.quantity, l.price FROM line AS l;

    -- Cancelled at once: 8 %; when paid: 6 %; when completed, which takes the sales back: 10 %.
    UPDATE shop.orders AS o SET status = 1, updated_at = m.created_at + interval '1 minute'
    FROM made AS m WHERE o.order_id = m.id AND o.created_at = m.created_at AND m.fate >= 0.08;
    UPDATE shop.orders AS o SET status = 2, updated_at = m.created_at + interval '2 minutes'
    FROM made AS m WHERE o.order_id = m.id AND o.created_at = m.created_at AND m.fate >= 0.14;
    UPDATE shop.orders AS o SET status = 3, updated_at = m.finished, completed_at = m.finished
    FROM made AS m WHERE o.order_id = m.id AND o.created_at = m.created_at AND m.fate >= 0.14;
    UPDATE shop.orders AS o SET status = 4, updated_at = m.finished + interval '1 second', completed_at = NULL
    FROM made AS m WHERE o.order_id = m.id AND o.created_at = m.created_at AND m.fate < 0.24;

    INSERT INTO oracle.batch
    SELECT first, sum(CASE WHEN m.fate < 0.08 THEN 2 WHEN m.fate < 0.14 THEN 3 WHEN m.fate < 0.24 THEN 5 ELSE 4 END),
           coalesce(sum(CASE WHEN m.fate < 0.14 THEN 0 WHEN m.fate < 0.24 THEN 2 ELSE 1 END) FILTER (WHERE m.old), 0)
    FROM made AS m;
END
$$;
GRANT ALL ON SCHEMA oracle TO htap_owner;
GRANT ALL ON oracle.batch TO htap_owner;
-- The owner's lines come with their orders: capture does not look at each of them (06_capture.sql).
ALTER FUNCTION oracle.trade OWNER TO htap_owner;

-- Each process has a role of its own, by which its session is found.
DO $$
BEGIN
    FOR n IN 1 .. 200 LOOP
        EXECUTE format('CREATE ROLE oracle_relay_%s LOGIN IN ROLE htap_refresh', n);
        EXECUTE format('CREATE ROLE oracle_aggregator_%s LOGIN IN ROLE htap_refresh', n);
    END LOOP;
END
$$;
