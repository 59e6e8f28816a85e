-- What the shop does, one round trip each.

-- What a request asks for, as a number: the same key with other lines is another request.
CREATE OR REPLACE FUNCTION shop.request_hash(product_ids bigint[], quantities bigint[]) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(array_to_string(product_ids, ',') || ' x ' || array_to_string(quantities, ','), 0)
$$;

-- Refuses lines nobody can order; whether they are merged and in the order of the products.
DROP FUNCTION IF EXISTS shop.check_lines(bigint[], bigint[]);
CREATE OR REPLACE FUNCTION shop.lines_in_order(product_ids bigint[], quantities bigint[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF coalesce(cardinality(product_ids), 0) = 0
       OR cardinality(product_ids) IS DISTINCT FROM cardinality(quantities) THEN
        RAISE EXCEPTION 'an order needs as many quantities as products, and at least one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF array_position(product_ids, NULL) IS NOT NULL OR array_position(quantities, NULL) IS NOT NULL
       OR 1 > ANY (quantities) OR 1000000 < ANY (quantities) THEN
        RAISE EXCEPTION 'quantities must be positive, and at most a million'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(product_ids) > 32767 THEN
        RAISE EXCEPTION 'an order has at most 32767 lines' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF array_ndims(product_ids) + array_ndims(quantities) <> 2
       OR array_lower(product_ids, 1) <> 1 OR array_lower(quantities, 1) <> 1 THEN
        RETURN false;
    END IF;
    FOR line IN 2 .. cardinality(product_ids) LOOP
        IF product_ids[line] <= product_ids[line - 1] THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END
$$;

-- Creates an order, all or nothing, and returns its number. The client names products and quantities only:
-- prices come from the catalogue, the total is computed here. Lines of one product are merged, and stock is
-- taken in product order, so that two checkouts can wait for each other but never deadlock.
-- With a key, the same request gets the same order however often it is sent.
-- It runs as htap_owner, so that capture need not look at its lines: they come with their order (06_capture.sql).
-- Errors: HT001 insufficient inventory, HT002 the key was used for another request, 23503 no such product
-- or user, 22023 lines nobody can order.
DROP FUNCTION IF EXISTS shop.create_order(bigint, bigint[], bigint[]);
CREATE OR REPLACE FUNCTION shop.create_order(buyer bigint, product_ids bigint[], quantities bigint[],
                                             request_key text DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id       bigint := shop.new_order_id();
    at       timestamptz := shop.order_time(id);
    wanted   bigint[] := product_ids;
    amounts  bigint[] := quantities;
    earlier  record;
    in_stock integer;
BEGIN
    IF NOT shop.lines_in_order(product_ids, quantities) THEN
        SELECT array_agg(p ORDER BY p), array_agg(q ORDER BY p) INTO wanted, amounts
        FROM (SELECT p, sum(q)::bigint AS q FROM unnest(product_ids, quantities) AS l (p, q) GROUP BY p) AS merged;
    END IF;

    IF request_key IS NOT NULL THEN
        IF length(request_key) NOT BETWEEN 1 AND 200 THEN
            RAISE EXCEPTION 'a request key has 1 to 200 characters' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        INSERT INTO shop.order_requests (user_id, request_key, request_hash, order_id)
        VALUES (buyer, create_order.request_key, shop.request_hash(wanted, amounts), id)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT r.order_id, r.request_hash INTO earlier FROM shop.order_requests AS r
            WHERE r.user_id = buyer AND r.request_key = create_order.request_key;
            IF earlier.request_hash = shop.request_hash(wanted, amounts) THEN
                RETURN earlier.order_id;
            END IF;
            RAISE EXCEPTION 'request key % of user % was used for another order', quote_literal(request_key), buyer
                USING ERRCODE = 'HT002', DETAIL = format('order_id=%s', earlier.order_id);
        END IF;
    END IF;

    -- One statement, hence one snapshot: a price that changes meanwhile changes total and lines, or neither.
    WITH lines AS MATERIALIZED (
        SELECT l.line_no, l.product_id, l.quantity, p.price
        FROM unnest(wanted, amounts) WITH ORDINALITY AS l (product_id, quantity, line_no)
        JOIN shop.products AS p ON p.product_id = l.product_id
    ), placed AS (
        INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
        SELECT id, at, buyer, coalesce(sum(l.price * l.quantity), 0) FROM lines AS l
    )
    INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
    SELECT id, at, l.line_no, l.product_id, l.quantity, l.price FROM lines AS l;

    -- Stock last: others who want the same product wait for a moment, not for the whole order.
    FOR line IN 1 .. cardinality(wanted) LOOP
        UPDATE shop.inventory AS i SET quantity = i.quantity - amounts[line]
        WHERE i.product_id = wanted[line] AND i.quantity >= amounts[line];
        IF NOT FOUND THEN
            SELECT i.quantity INTO in_stock FROM shop.inventory AS i WHERE i.product_id = wanted[line];
            IF NOT FOUND THEN
                RAISE EXCEPTION 'there is no product %', wanted[line] USING ERRCODE = 'foreign_key_violation';
            END IF;
            RAISE EXCEPTION 'insufficient inventory of product %: % wanted, % in stock',
                wanted[line], amounts[line], in_stock
                USING ERRCODE = 'HT001',
                      DETAIL = format('product_id=%s wanted=%s available=%s', wanted[line], amounts[line], in_stock);
        END IF;
    END LOOP;
    RETURN id;
END
$$;

-- Creates many orders in one transaction: one lock of each product for all of them, one commit. Line i belongs
-- to the order at position line_of[i] of buyers, counted from 1 whatever the arrays' bounds are. An order that cannot
-- be had fails alone, whatever is in it: its row has the SQLSTATE, message and detail create_order would raise. What
-- belongs to no order is ignored. The caller sees to it that a batch is small.
-- Stock is looked at first, and taken last, so that others wait for it for a moment only. If somebody was quicker
-- and it does not suffice any more, or deleted a customer or a product meanwhile, all is done again with customers,
-- products and stock locked before they are looked at.
CREATE OR REPLACE FUNCTION shop.create_orders(buyers bigint[], line_of integer[], product_ids bigint[],
                                              quantities bigint[], request_keys text[] DEFAULT NULL)
RETURNS TABLE (ordinal integer, order_id bigint, sqlstate text, message text, detail text) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    ids     bigint[];
    states  text[];
    notes   text[];
    details text[];
    twins   bigint[];
    known   bigint[];
    products bigint[];
    stock   integer[];
    left_over integer[];
    prices  numeric[];
    ranks   integer[];
    entry   record;
    place   integer;
    short   integer;
    total   numeric;
    -- What is written: of the orders that can be had, and of their lines.
    placed    bigint[];
    payers    bigint[];
    totals    numeric[];
    holders   bigint[];
    numbers   integer[];
    articles  bigint[];
    pieces    bigint[];
    costs     numeric[];
    orders    integer;
    lines     integer;
    careful   boolean := false;
BEGIN
    IF coalesce(cardinality(buyers), 0) = 0 THEN
        RETURN;
    END IF;
    -- Flat, and counted from 1.
    buyers := ARRAY(SELECT unnest(buyers));
    IF request_keys IS NOT NULL THEN
        request_keys := ARRAY(SELECT k.key FROM unnest(buyers, ARRAY(SELECT unnest(request_keys))) WITH ORDINALITY AS k (buyer, key, n)
                              WHERE k.n <= cardinality(buyers) ORDER BY k.n);
    END IF;
    SELECT array_agg(shop.new_order_id()) INTO ids FROM generate_subscripts(buyers, 1);
    SELECT array_agg(u.user_id) INTO known FROM shop.users AS u WHERE u.user_id = ANY (buyers);

    -- Keys first, in one order for everybody. Who comes second has another order's number.
    IF request_keys IS NOT NULL THEN
        INSERT INTO shop.order_requests (user_id, request_key, request_hash, order_id)
        SELECT b.buyer, b.key, hash.h, b.id
        FROM unnest(buyers, request_keys, ids) WITH ORDINALITY AS b (buyer, key, id, n)
        CROSS JOIN LATERAL (
            SELECT CASE WHEN bool_and(good) THEN shop.request_hash(array_agg(p ORDER BY p), array_agg(q ORDER BY p)) END AS h
            FROM (SELECT p, sum(least(q, 1000001))::bigint AS q, bool_and(p IS NOT NULL AND q IS NOT NULL AND q BETWEEN 1 AND 1000000) AS good
                  FROM unnest(line_of, product_ids, quantities) AS l (o, p, q) WHERE o = n GROUP BY p) AS merged) AS hash
        WHERE length(b.key) BETWEEN 1 AND 200 AND b.buyer = ANY (known) AND hash.h IS NOT NULL
        ORDER BY b.buyer, b.key, b.n
        ON CONFLICT DO NOTHING;
        SELECT array_agg(r.order_id ORDER BY b.n) INTO twins
        FROM unnest(buyers, request_keys) WITH ORDINALITY AS b (buyer, key, n)
        LEFT JOIN shop.order_requests AS r ON r.user_id = b.buyer AND r.request_key = b.key;
    END IF;

    LOOP
        IF careful THEN
            PERFORM FROM shop.users AS u WHERE u.user_id = ANY (buyers) ORDER BY u.user_id FOR KEY SHARE;
            SELECT array_agg(u.user_id) INTO known FROM shop.users AS u WHERE u.user_id = ANY (buyers);
            PERFORM FROM shop.products AS p WHERE p.product_id = ANY (product_ids) ORDER BY p.product_id FOR KEY SHARE;
            PERFORM FROM shop.inventory AS i WHERE i.product_id = ANY (product_ids) ORDER BY i.product_id FOR NO KEY UPDATE;
        END IF;
        SELECT array_agg(i.product_id), array_agg(i.quantity), array_agg(p.price) INTO products, stock, prices
        FROM shop.inventory AS i JOIN shop.products AS p USING (product_id) WHERE i.product_id = ANY (product_ids);
        left_over := stock;
        states := array_fill(NULL::text, ARRAY[cardinality(buyers)]);
        notes := states;
        details := states;
        orders := 0;
        lines := 0;
        placed := '{}';
        payers := '{}';
        totals := '{}';
        holders := '{}';
        numbers := '{}';
        articles := '{}';
        pieces := '{}';
        costs := '{}';

        FOR entry IN
            SELECT b.n::integer AS n, b.buyer, array_agg(l.p ORDER BY l.p) AS wanted, array_agg(l.q ORDER BY l.p) AS amounts,
                   bool_and(l.good) AS good
            FROM unnest(buyers) WITH ORDINALITY AS b (buyer, n)
            LEFT JOIN (SELECT o, p, sum(least(q, 1000001))::bigint AS q, bool_and(p IS NOT NULL AND q IS NOT NULL AND q BETWEEN 1 AND 1000000) AS good
                       FROM unnest(line_of, product_ids, quantities) AS l (o, p, q) GROUP BY o, p) AS l ON l.o = b.n
            GROUP BY b.n, b.buyer ORDER BY b.n
        LOOP
            CONTINUE WHEN twins[entry.n] IS NOT NULL AND twins[entry.n] <> ids[entry.n];
            IF entry.good IS NOT TRUE THEN
                states[entry.n] := '22023';
                notes[entry.n] := 'an order needs products, and quantities that are positive and at most a million';
            ELSIF request_keys[entry.n] IS NOT NULL AND length(request_keys[entry.n]) NOT BETWEEN 1 AND 200 THEN
                states[entry.n] := '22023';
                notes[entry.n] := 'a request key has 1 to 200 characters';
            ELSIF cardinality(entry.wanted) > 32767 THEN
                states[entry.n] := '22023';
                notes[entry.n] := 'an order has at most 32767 lines';
            ELSIF NOT coalesce(entry.buyer = ANY (known), false) THEN
                states[entry.n] := '23503';
                notes[entry.n] := format('there is no user %s', entry.buyer);
            ELSE
                short := NULL;
                ranks := '{}';
                FOR line IN 1 .. cardinality(entry.wanted) LOOP
                    place := array_position(products, entry.wanted[line]);
                    ranks[line] := place;
                    IF place IS NULL OR left_over[place] < entry.amounts[line] THEN
                        short := line;
                        EXIT;
                    END IF;
                END LOOP;
                total := 0;
                IF short IS NULL THEN
                    FOR line IN 1 .. cardinality(ranks) LOOP
                        total := total + prices[ranks[line]] * entry.amounts[line];
                    END LOOP;
                END IF;
                IF total >= 1e10 THEN
                    states[entry.n] := '22003';
                    notes[entry.n] := format('the total of the order is %s, and can be 9999999999.99 at most', total);
                ELSIF short IS NULL THEN
                    orders := orders + 1;
                    FOR line IN 1 .. cardinality(ranks) LOOP
                        place := ranks[line];
                        left_over[place] := left_over[place] - entry.amounts[line];
                        lines := lines + 1;
                        holders[lines] := ids[entry.n];
                        numbers[lines] := line;
                        articles[lines] := entry.wanted[line];
                        pieces[lines] := entry.amounts[line];
                        costs[lines] := prices[place];
                    END LOOP;
                    placed[orders] := ids[entry.n];
                    payers[orders] := entry.buyer;
                    totals[orders] := total;
                ELSIF place IS NULL THEN
                    states[entry.n] := '23503';
                    notes[entry.n] := format('there is no product %s', entry.wanted[short]);
                ELSE
                    states[entry.n] := 'HT001';
                    notes[entry.n] := format('insufficient inventory of product %s: %s wanted, %s in stock',
                                             entry.wanted[short], entry.amounts[short], left_over[place]);
                    details[entry.n] := format('product_id=%s wanted=%s available=%s',
                                               entry.wanted[short], entry.amounts[short], left_over[place]);
                END IF;
            END IF;
        END LOOP;

        BEGIN
            INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
            SELECT o.id, shop.order_time(o.id), o.payer, o.total FROM unnest(placed, payers, totals) AS o (id, payer, total);
            INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
            SELECT l.id, shop.order_time(l.id), l.number, l.article, l.pieces, l.cost
            FROM unnest(holders, numbers, articles, pieces, costs) AS l (id, number, article, pieces, cost);
            PERFORM FROM shop.inventory AS i WHERE i.product_id = ANY (articles) ORDER BY i.product_id FOR NO KEY UPDATE;
            UPDATE shop.inventory AS i SET quantity = i.quantity - (n.before - n.after)
            FROM unnest(products, stock, left_over) AS n (product_id, before, after)
            WHERE i.product_id = n.product_id AND n.before <> n.after;
            EXIT;
        EXCEPTION WHEN check_violation OR foreign_key_violation THEN
            IF careful THEN
                RAISE;
            END IF;
            careful := true;
        END;
    END LOOP;
    -- A key whose order failed is free again.
    IF request_keys IS NOT NULL THEN
        DELETE FROM shop.order_requests AS r
        USING unnest(buyers, request_keys, ids, states) AS f (buyer, key, id, state)
        WHERE f.state IS NOT NULL AND r.user_id = f.buyer AND r.request_key = f.key AND r.order_id = f.id;
    END IF;

    RETURN QUERY
    SELECT o.n::integer,
           CASE WHEN outcome.state IS NULL THEN coalesce(o.twin, o.id) END,
           outcome.state, outcome.note, outcome.detail
    FROM unnest(ids, twins) WITH ORDINALITY AS o (id, twin, n)
    CROSS JOIN LATERAL (
        -- A second request of the same batch shares the fate of the first; an earlier one must be the same.
        SELECT coalesce(array_position(ids, o.twin), o.n::integer) AS at
    ) AS first
    CROSS JOIN LATERAL (
        SELECT CASE WHEN same.differs THEN 'HT002' ELSE states[first.at] END AS state,
               CASE WHEN same.differs THEN format('request key %L of user %s was used for another order',
                                                  request_keys[o.n], buyers[o.n])
                    ELSE notes[first.at] END AS note,
               CASE WHEN same.differs THEN format('order_id=%s', o.twin) ELSE details[first.at] END AS detail
        FROM (SELECT o.twin <> o.id AND EXISTS (
                  SELECT FROM shop.order_requests AS r
                  WHERE r.user_id = buyers[o.n] AND r.request_key = request_keys[o.n]
                    AND r.request_hash IS DISTINCT FROM (
                        SELECT shop.request_hash(array_agg(p ORDER BY p), array_agg(q ORDER BY p))
                        FROM (SELECT p, sum(least(q, 1000001))::bigint AS q FROM unnest(line_of, product_ids, quantities) AS l (ln, p, q)
                              WHERE ln = o.n GROUP BY p) AS merged)) AS differs) AS same
    ) AS outcome
    ORDER BY o.n;
END
$$;

-- Which status may follow which; PostgreSQL keeps the times, not the client.
CREATE OR REPLACE FUNCTION shop.guard_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- From 0 to 1 or 4, from 1 to 2 or 4, from 2 to 3.
    IF NEW.status <> OLD.status AND 10 * OLD.status + NEW.status NOT IN (01, 04, 12, 14, 23) THEN
        RAISE EXCEPTION 'order % cannot go from status % to %', OLD.order_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NEW.status <> 4 AND NEW.created_at > clock_timestamp() + interval '1 hour' THEN
        RAISE EXCEPTION 'order % is of %, which is still to come', OLD.order_id, NEW.created_at
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.updated_at := now();
    IF NEW.status = 3 AND OLD.status <> 3 THEN
        -- now() is the start of the transaction, which a busy shop may have begun before the order was there.
        NEW.completed_at := greatest(now(), NEW.created_at);
    END IF;
    RETURN NEW;
END
$$;

-- Gives an order its next status, once; returns its total, or NULL where there is no such order.
DROP FUNCTION IF EXISTS shop.advance_order(bigint, integer);
CREATE OR REPLACE FUNCTION shop.advance_order(id bigint, next smallint) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    total numeric;
BEGIN
    UPDATE shop.orders SET status = next
    WHERE order_id = id AND created_at = shop.order_time(id) AND status <> next
    RETURNING total_amount INTO total;
    IF FOUND THEN
        RETURN total;
    END IF;
    IF EXISTS (SELECT FROM shop.orders WHERE order_id = id AND created_at = shop.order_time(id)) THEN
        RAISE EXCEPTION 'order % has status % already', id, next USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

-- The steps of an order; each returns whether there was such an order. A step out of order, or taken
-- twice, is an error (23514). They run as the owner of the shop: nobody else writes a status, a payment or a
-- shipment, so that no order is paid without a payment.
CREATE OR REPLACE FUNCTION shop.pay_order(id bigint) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total numeric := shop.advance_order(id, 1::smallint);
BEGIN
    IF total IS NOT NULL THEN
        INSERT INTO shop.payments (order_id, created_at, amount) VALUES (id, shop.order_time(id), total);
    END IF;
    RETURN total IS NOT NULL;
END
$$;

CREATE OR REPLACE FUNCTION shop.ship_order(id bigint) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF shop.advance_order(id, 2::smallint) IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO shop.shipments (order_id, created_at) VALUES (id, shop.order_time(id));
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION shop.complete_order(id bigint) RETURNS boolean LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT shop.advance_order(id, 3::smallint) IS NOT NULL $$;

-- Cancels a pending or paid order and returns its goods to stock, again in product order.
CREATE OR REPLACE FUNCTION shop.cancel_order(id bigint) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    line record;
BEGIN
    IF shop.advance_order(id, 4::smallint) IS NULL THEN
        RETURN false;
    END IF;
    FOR line IN
        SELECT product_id, sum(quantity) AS quantity FROM shop.order_items
        WHERE order_id = id AND created_at = shop.order_time(id) GROUP BY product_id ORDER BY product_id
    LOOP
        UPDATE shop.inventory AS i SET quantity = i.quantity + line.quantity WHERE i.product_id = line.product_id;
    END LOOP;
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
