-- Capture: what changes the summaries is appended to the logs, in the writer's transaction.
-- Row triggers with WHEN: an order that is created, paid or shipped costs nothing, for its trigger does not
-- fire; and each partition has a copy, so that a write to the partition itself is captured too. They write as
-- htap_owner, whoever writes the order, and for a table of the shop only: a trigger on somebody's own table, or on a
-- temporary one, would forge sales. What bypasses them: session_replication_role = replica, and
-- partitions detached, attached or truncated by hand; `htap-top refresh --verify` finds that.
CREATE OR REPLACE FUNCTION htap.refuse_foreign(writer oid) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- A partition may lie in another schema; whoever attached it owns the shop.
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = pg_partition_root(writer) AND relnamespace = 'shop'::regnamespace) THEN
        RAISE EXCEPTION 'what happens to % is no change of the shop', writer::regclass USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION htap.log_order() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    -- Of an INSERT there is no OLD, of a DELETE no NEW: their columns are NULL.
    -- What did not change is told apart here, not in WHEN, which is read and planned anew for every update of an order.
    IF OLD.status = NEW.status THEN
        IF (OLD.user_id, OLD.total_amount, OLD.completed_at, OLD.order_id)
           IS NOT DISTINCT FROM (NEW.user_id, NEW.total_amount, NEW.completed_at, NEW.order_id) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF OLD.status = 3 THEN
        INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign)
        VALUES (OLD.order_id, OLD.user_id, OLD.completed_at, OLD.total_amount, -1);
    END IF;
    IF NEW.status = 3 THEN
        INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign, seen)
        VALUES (NEW.order_id, NEW.user_id, NEW.completed_at, NEW.total_amount, 1,
                CASE WHEN hashint8(NEW.order_id) & 15 = 0 THEN pg_current_snapshot() END);
    END IF;
    RETURN NULL;
END
$$;

-- A line that comes, changes or goes makes its order stale, whatever status the order has for the writer: it may
-- be completed, and merged, before the writer commits. Except where nobody else can do that: where the same
-- transaction wrote the open order that the line came to, the order is its own until it commits.
-- shop.create_order() and shop.create_orders() always insert an order with its lines. They run as htap_owner, a role that
-- nobody can be, and the trigger does not fire for that role (WHEN): this saves most of the cost of capture. Other code that
-- runs as htap_owner must therefore insert lines only with their order. For everybody else the order's version tells
-- (xmin), not a time. (A savepoint between the two is another number: then the line is logged for nothing.)
-- The order lies in the partition beside the line's. That one is looked at, for the newest months, for which
-- htap.make_partition() has this written anew: to look for it among all of them takes more than twice as long.
-- One plan for all of the others: to plan for each line which of the months it is in takes ten times as long as to look.
CREATE OR REPLACE FUNCTION htap.write_log_line() RETURNS void LANGUAGE plpgsql AS $write$
DECLARE
    looked CONSTANT text := 'SELECT o.xmin = NEW.xmin AND o.status <> 3 INTO own
                    FROM shop.%I AS o WHERE o.order_id = NEW.order_id AND o.created_at = NEW.created_at;';
BEGIN
    EXECUTE format($function$
CREATE OR REPLACE FUNCTION htap.log_line() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    own    boolean;
    was    jsonb;
    became jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    IF TG_OP = 'INSERT' THEN
        CASE TG_TABLE_NAME
            %s
            ELSE
                %s
        END CASE;
        IF own THEN
            RETURN NULL;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND OLD IS NOT DISTINCT FROM NEW THEN
        RETURN NULL;
    ELSE
        was := jsonb_build_array(OLD.line_no, OLD.product_id, OLD.quantity, OLD.price);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        became := jsonb_build_array(NEW.line_no, NEW.product_id, NEW.quantity, NEW.price);
    END IF;
    IF OLD.order_id <> NEW.order_id THEN
        INSERT INTO htap.dirty_log (what, id, was) VALUES ('order', OLD.order_id, was);
        was := NULL;
    END IF;
    INSERT INTO htap.dirty_log (what, id, was, became)
    VALUES ('order', CASE TG_OP WHEN 'DELETE' THEN OLD.order_id ELSE NEW.order_id END, was, became);
    RETURN NULL;
END
$body$
$function$, (SELECT string_agg(format('WHEN %L THEN' || chr(10) || '                ' || looked, 'order_items' || m.suffix, 'orders' || m.suffix),
                               -- This month's first, for they are compared in turn.
                               chr(10) || '            ' ORDER BY m.month > now(), m.month DESC)
             FROM (SELECT p.month, substr(p.partition, length('orders') + 1) AS suffix FROM htap.partition AS p
                   WHERE p.partitioned = 'orders' AND p.attached AND NOT p.is_default ORDER BY p.month DESC LIMIT 12) AS m),
     format(looked, 'orders'));
END
$write$;
SELECT htap.write_log_line();

CREATE OR REPLACE FUNCTION htap.log_dimension() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    INSERT INTO htap.dirty_log (what, id, was, became)
    SELECT TG_ARGV[0], (to_jsonb(NEW) ->> (TG_ARGV[0] || '_id'))::bigint, to_jsonb(OLD) -> c.name, to_jsonb(NEW) -> c.name
    FROM (SELECT CASE TG_ARGV[0] WHEN 'user' THEN 'user_segment' WHEN 'product' THEN 'category_id' ELSE 'category_name' END) AS c (name);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION htap.log_truncate() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    INSERT INTO htap.dirty_log (what) VALUES ('all');
    RETURN NULL;
END
$$;

-- The lines of an order as records of the stream have them: by category, amounts as text.
CREATE OR REPLACE FUNCTION htap.order_lines(id bigint, made timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (SELECT jsonb_agg(jsonb_build_object('category', c.category_name, 'quantity', l.quantity, 'amount', l.amount::text))
            FROM (SELECT p.category_id, sum(i.quantity) AS quantity, sum(i.price * i.quantity) AS amount
                  FROM shop.order_items AS i JOIN shop.products AS p USING (product_id)
                  WHERE i.order_id = id AND i.created_at = made GROUP BY p.category_id) AS l
            JOIN shop.categories AS c USING (category_id));
END
$$;

-- One event per order that is created and per status that it gets. What the figures need is only in the events that change
-- them: an order that is completed, and one that no longer is. With an argument, events are messages in the WAL, which
-- logical decoding delivers in the order of commits; else they are rows of the outbox.
CREATE OR REPLACE FUNCTION htap.publish_order() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    happened timestamptz;
    body     jsonb;
    rfc_3339 CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    -- Of an INSERT there is no OLD: its columns are NULL.
    IF OLD.status = NEW.status THEN
        RETURN NULL;
    END IF;
    happened := CASE NEW.status WHEN 0 THEN NEW.created_at WHEN 3 THEN NEW.completed_at ELSE NEW.updated_at END;
    body := jsonb_build_object(
        'v', 1,
        'event', CASE NEW.status WHEN 0 THEN 'created' WHEN 1 THEN 'paid' WHEN 2 THEN 'shipped' WHEN 3 THEN 'completed'
                 ELSE 'cancelled' END,
        'order_id', NEW.order_id, 'user_id', NEW.user_id, 'status', NEW.status,
        'at', to_char(happened AT TIME ZONE 'UTC', rfc_3339), 'amount', NEW.total_amount::text);
    IF NEW.status = 3 THEN
        body := body || jsonb_build_object(
            'segment', (SELECT u.user_segment FROM shop.users AS u WHERE u.user_id = NEW.user_id),
            'lines', htap.order_lines(NEW.order_id, NEW.created_at));
    ELSIF OLD.status = 3 THEN
        body := body || jsonb_build_object(
            'segment', (SELECT u.user_segment FROM shop.users AS u WHERE u.user_id = OLD.user_id),
            'lines', htap.order_lines(NEW.order_id, NEW.created_at),
            'was_at', to_char(OLD.completed_at AT TIME ZONE 'UTC', rfc_3339));
    END IF;
    IF TG_NARGS > 0 THEN
        PERFORM pg_logical_emit_message(true, 'htap.outbox', sha256(s.secret || sha256(s.secret || m.message)) || m.message)
        FROM htap.stream_slot AS s
        CROSS JOIN LATERAL (
            SELECT convert_to(concat_ws(' ', nextval('htap.outbox_event_id_seq'), NEW.order_id, body), getdatabaseencoding())
                       AS message OFFSET 0
        ) AS m;
        -- A snapshot from before the slot does not show it.
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO htap.outbox (topic, key, payload) VALUES ('orders', NEW.order_id::text, body);
    RETURN NULL;
END
$$;

-- CREATE OR REPLACE TRIGGER is PostgreSQL 14's.
DO $$
DECLARE
    entry     record;
    published boolean;
BEGIN
    -- Earlier versions compared times, or fired for every line.
    IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'shop.order_items'::regclass AND tgname = 'capture_insert'
                                                   AND pg_get_triggerdef(oid) NOT LIKE '%WHEN ((CURRENT_USER <> %') THEN
        DROP TRIGGER capture_insert ON shop.order_items;
    END IF;
    -- Earlier versions published created orders only. Who had switched it on keeps it on.
    SELECT t.tgenabled <> 'D' INTO published FROM pg_catalog.pg_trigger AS t
    WHERE t.tgrelid = 'shop.orders'::regclass AND t.tgname = 'publish' AND pg_get_triggerdef(t.oid) NOT LIKE '%UPDATE%';
    IF FOUND THEN
        DROP TRIGGER publish ON shop.orders;
    END IF;
    FOR entry IN SELECT * FROM (VALUES
        ('shop.orders', 'guard_status', 'BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.guard_status()'),
        ('shop.orders', 'capture_insert', 'AFTER INSERT ON shop.orders FOR EACH ROW WHEN (NEW.status = 3)
            EXECUTE FUNCTION htap.log_order()'),
        ('shop.orders', 'capture_update', 'AFTER UPDATE ON shop.orders FOR EACH ROW
            WHEN (OLD.status = 3 OR NEW.status = 3) EXECUTE FUNCTION htap.log_order()'),
        ('shop.orders', 'capture_delete', 'AFTER DELETE ON shop.orders FOR EACH ROW WHEN (OLD.status = 3)
            EXECUTE FUNCTION htap.log_order()'),
        ('shop.orders', 'capture_truncate', 'AFTER TRUNCATE ON shop.orders FOR EACH STATEMENT
            EXECUTE FUNCTION htap.log_truncate()'),
        ('shop.order_items', 'capture_insert', 'AFTER INSERT ON shop.order_items FOR EACH ROW
            WHEN (CURRENT_USER <> ''htap_owner'') EXECUTE FUNCTION htap.log_line()'),
        ('shop.order_items', 'capture_change', 'AFTER UPDATE OR DELETE ON shop.order_items FOR EACH ROW
            EXECUTE FUNCTION htap.log_line()'),
        ('shop.order_items', 'capture_truncate', 'AFTER TRUNCATE ON shop.order_items FOR EACH STATEMENT
            EXECUTE FUNCTION htap.log_truncate()'),
        ('shop.users', 'capture_update', 'AFTER UPDATE ON shop.users FOR EACH ROW
            WHEN (OLD.user_segment IS DISTINCT FROM NEW.user_segment) EXECUTE FUNCTION htap.log_dimension(''user'')'),
        ('shop.products', 'capture_update', 'AFTER UPDATE ON shop.products FOR EACH ROW
            WHEN (OLD.category_id IS DISTINCT FROM NEW.category_id) EXECUTE FUNCTION htap.log_dimension(''product'')'),
        ('shop.categories', 'capture_update', 'AFTER UPDATE ON shop.categories FOR EACH ROW
            WHEN (OLD.category_name IS DISTINCT FROM NEW.category_name) EXECUTE FUNCTION htap.log_dimension(''category'')'),
        ('shop.orders', 'publish', 'AFTER INSERT OR UPDATE OF status ON shop.orders FOR EACH ROW
            EXECUTE FUNCTION htap.publish_order()')
    ) AS t (relation, name, definition) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = entry.relation::regclass AND tgname = entry.name);
        EXECUTE format('CREATE TRIGGER %I %s', entry.name, entry.definition);
        IF entry.name = 'publish' AND published IS NOT TRUE THEN
            ALTER TABLE shop.orders DISABLE TRIGGER publish;
        END IF;
    END LOOP;
END
$$;

-- Each switch waits for the transactions that write orders: all their events come before those that are written afterwards.
CREATE OR REPLACE FUNCTION htap.switch_outbox(wanted boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_slot CONSTANT boolean := (SELECT t.tgnargs > 0 FROM pg_trigger AS t
                                 WHERE t.tgrelid = 'shop.orders'::regclass AND t.tgname = 'publish');
BEGIN
    -- PostgreSQL 13 lacks this statement, and the slot.
    IF of_slot THEN
        EXECUTE 'CREATE OR REPLACE TRIGGER publish AFTER INSERT OR UPDATE OF status ON shop.orders
                     FOR EACH ROW EXECUTE FUNCTION htap.publish_order()';
        UPDATE htap.stream_slot SET ended_at = pg_current_wal_insert_lsn();
    END IF;
    IF wanted THEN
        ALTER TABLE shop.orders ENABLE TRIGGER publish;
    ELSE
        ALTER TABLE shop.orders DISABLE TRIGGER publish;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION htap.switch_to_slot() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted CONSTANT text := (SELECT s.slot FROM htap.stream_slot AS s);
BEGIN
    IF wanted IS NULL OR NOT EXISTS (
        SELECT FROM pg_replication_slots AS r
        WHERE r.slot_name = wanted AND r.database = current_database() AND r.wal_status IS DISTINCT FROM 'lost'
    ) THEN
        RAISE EXCEPTION 'there is no replication slot for events in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run htap-top stream slot create first.';
    END IF;
    IF NOT (SELECT bool_and(has_function_privilege('htap_owner', p.oid, 'EXECUTE')) FROM pg_proc AS p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = 'pg_logical_emit_message') THEN
        RAISE EXCEPTION 'htap_owner may not write messages: orders would fail'
            USING ERRCODE = 'insufficient_privilege', HINT = 'GRANT EXECUTE ON FUNCTION pg_logical_emit_message to it.';
    END IF;
    IF pg_get_serial_sequence('htap.outbox', 'event_id') IS DISTINCT FROM 'htap.outbox_event_id_seq' THEN
        RAISE EXCEPTION 'the sequence of htap.outbox.event_id is not htap.outbox_event_id_seq: orders would fail'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Rename it.';
    END IF;
    EXECUTE 'CREATE OR REPLACE TRIGGER publish AFTER INSERT OR UPDATE OF status ON shop.orders
                 FOR EACH ROW EXECUTE FUNCTION htap.publish_order(''slot'')';
    UPDATE htap.stream_slot SET ended_at = NULL WHERE ended_at IS NOT NULL;
END
$$;
