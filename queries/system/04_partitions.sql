-- Partitions: one per month (in UTC) of orders and of what belongs to them, made ahead.

-- The partitioned tables; children come after orders, which they refer to.
CREATE TABLE IF NOT EXISTS htap.partitioned (
    position  smallint PRIMARY KEY,
    name      text NOT NULL UNIQUE,
    options   text NOT NULL DEFAULT ''
);
INSERT INTO htap.partitioned (position, name, options) VALUES
    (1, 'orders', 'fillfactor = 85'), (2, 'order_items', ''), (3, 'payments', ''), (4, 'shipments', '')
ON CONFLICT DO NOTHING;

-- The partitions and what was one: months first, the default partition last; rows are the planner's estimate.
CREATE OR REPLACE VIEW htap.partition AS
SELECT t.name AS partitioned, c.relname::text AS partition,
       coalesce(pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', false) AS is_default,
       to_date(nullif(found.suffix, 'default'), 'YYYY_MM') AS month,
       greatest(c.reltuples, 0)::bigint AS rows,
       pg_total_relation_size(c.oid) AS size_bytes,
       c.relispartition AS attached
FROM htap.partitioned AS t
JOIN pg_class AS c ON c.relnamespace = 'shop'::regnamespace AND c.relkind = 'r'
CROSS JOIN LATERAL substring(c.relname FROM '^' || t.name || '_(\d{4}_\d{2}|default)$') AS found (suffix)
WHERE found.suffix IS NOT NULL
  AND EXISTS (SELECT FROM htap.object AS o WHERE o.kind = 'partition' AND o.identity = 'shop.' || c.relname)
ORDER BY 4 NULLS LAST, t.position;

-- Takes locks that stand in everybody's way, such as 'shop.orders_default IN ACCESS EXCLUSIVE MODE', all of them or
-- none: whoever waits for a lock holds up all who come behind, so it waits for 80 ms at most for all of them, lets
-- the others pass, and comes again; after some seconds it fails (55P03). The locks stay until the transaction ends.
-- Call it before any other lock is held that the shop's own statements want: a generic plan locks every partition.
CREATE OR REPLACE FUNCTION htap.lock_briefly(VARIADIC locks text[]) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '80ms' SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text;
    until  timestamptz;
BEGIN
    FOR attempt IN 1 .. 8 LOOP
        until := clock_timestamp() + interval '80 ms';
        BEGIN
            FOREACH wanted IN ARRAY locks LOOP
                PERFORM set_config('lock_timeout',
                                   greatest(1, extract(epoch FROM until - clock_timestamp()) * 1000)::integer::text, true);
                EXECUTE 'LOCK TABLE ' || wanted;
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF attempt = 8 THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.3 + 0.2 * random());
    END LOOP;
END
$$;

-- What ALTER TABLE ... ATTACH PARTITION locks, besides the table that is attached: what that refers to is locked
-- against all who use it where the table was attached before, and brings constraints and their triggers with it.
CREATE OR REPLACE FUNCTION htap.lock_to_attach(again boolean) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    SELECT htap.lock_briefly(VARIADIC
        array_agg(format('ONLY shop.%I IN SHARE UPDATE EXCLUSIVE MODE', name) ORDER BY position)
        || array_agg(format('shop.%I IN ACCESS EXCLUSIVE MODE', name || '_default') ORDER BY position)
           FILTER (WHERE to_regclass(format('shop.%I', name || '_default')) IS NOT NULL)
        || CASE WHEN again THEN 'shop.users, shop.products IN ACCESS EXCLUSIVE MODE'
                ELSE 'shop.users, shop.products IN SHARE ROW EXCLUSIVE MODE' END)
    FROM htap.partitioned
$$;

-- Moves what lies in the default partitions from `since` to `until` into the tables with `suffix`, which are not
-- attached yet; how many orders. For the summaries nothing changes: the trigger logs that an order leaves the
-- default partition, this that it is there again.
CREATE OR REPLACE FUNCTION htap.move_strays(suffix text, since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    entry text;
    moved bigint;
BEGIN
    IF to_regclass('shop.orders_default') IS NULL
       OR NOT EXISTS (SELECT FROM shop.orders_default WHERE created_at >= since AND created_at < until) THEN
        RETURN 0;
    END IF;
    LOCK TABLE shop.orders_default, shop.order_items_default, shop.payments_default, shop.shipments_default
        IN ACCESS EXCLUSIVE MODE;
    INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign)
    SELECT order_id, user_id, completed_at, total_amount, 1 FROM shop.orders_default
    WHERE created_at >= since AND created_at < until AND status = 3;
    INSERT INTO htap.dirty_log (what, id, became)
    SELECT 'order', order_id, jsonb_build_array(line_no, product_id, quantity, price) FROM shop.order_items_default
    WHERE created_at >= since AND created_at < until;
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position LOOP
        EXECUTE format('INSERT INTO shop.%I SELECT * FROM shop.%I WHERE created_at >= $1 AND created_at < $2',
                       entry || suffix, entry || '_default') USING since, until;
    END LOOP;
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position DESC LOOP
        EXECUTE format('DELETE FROM shop.%I WHERE created_at >= $1 AND created_at < $2', entry || '_default')
        USING since, until;
        GET DIAGNOSTICS moved = ROW_COUNT;
    END LOOP;
    RETURN moved;
END
$$;

-- Makes a table beside each partitioned one, with `suffix` behind its name, and attaches it; with `since` and
-- `until` it takes over what lies in the default partition. False where it is there, or was and is detached.
-- A line refers to the order in the partition beside it, not to the partitioned table: both lie by the same
-- time, so it is as strict, costs a third (a check over all partitions takes more locks than fit the fast
-- path), and lets both be detached. CREATE TABLE ... PARTITION OF would lock out every reader of orders;
-- to attach a table locks out those who change users or products, for a moment. Whoever calls it, the tables belong
-- to the owner of the shop.
CREATE OR REPLACE FUNCTION htap.make_partition(suffix text, bounds text, since timestamptz DEFAULT NULL,
                                               until timestamptz DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry   record;
    missing text[] := '{}';
BEGIN
    -- One at a time. No advisory lock, which anybody can take.
    LOCK TABLE htap.partitioned IN SHARE ROW EXCLUSIVE MODE;
    FOR entry IN SELECT name, options, format('shop.%I', name || suffix) AS made FROM htap.partitioned ORDER BY position LOOP
        IF to_regclass(entry.made) IS NULL THEN
            EXECUTE format('CREATE TABLE %s (LIKE shop.%I INCLUDING ALL) %s', entry.made, entry.name,
                           CASE WHEN entry.options <> '' THEN 'WITH (' || entry.options || ')' ELSE '' END);
            INSERT INTO htap.object (kind, identity) VALUES ('partition', entry.made) ON CONFLICT DO NOTHING;
            missing := missing || entry.name;
        ELSIF NOT EXISTS (SELECT FROM htap.object AS o WHERE o.kind = 'partition' AND o.identity = entry.made) THEN
            RAISE EXCEPTION '% exists and is not a partition that htap-top made', entry.made
                USING ERRCODE = 'duplicate_table', HINT = 'Rename it.';
        END IF;
    END LOOP;
    IF cardinality(missing) = 0 THEN
        RETURN false;
    END IF;
    FOR entry IN SELECT name FROM htap.partitioned WHERE name = ANY (missing) AND name <> 'orders' ORDER BY position LOOP
        EXECUTE format('ALTER TABLE shop.%I ADD FOREIGN KEY (order_id, created_at) REFERENCES shop.%I',
                       entry.name || suffix, 'orders' || suffix);
    END LOOP;
    PERFORM htap.lock_to_attach(false);
    IF since IS NOT NULL THEN
        PERFORM htap.move_strays(suffix, since, until);
    END IF;
    FOR entry IN SELECT name FROM htap.partitioned WHERE name = ANY (missing) ORDER BY position LOOP
        EXECUTE format('ALTER TABLE shop.%I ATTACH PARTITION shop.%I %s', entry.name, entry.name || suffix, bounds);
    END LOOP;
    -- Not while the first ones are made (06_capture.sql).
    IF to_regprocedure('htap.write_log_line()') IS NOT NULL THEN
        PERFORM htap.write_log_line();
    END IF;
    -- Nor that of the column store (09_columnar.sql).
    IF to_regprocedure('htap.log_column_months(regclass, timestamptz, timestamptz)') IS NOT NULL THEN
        PERFORM htap.log_column_months(to_regclass('shop.orders' || suffix));
    END IF;
    RETURN true;
END
$$;

SELECT htap.make_partition('_default', 'DEFAULT');

-- The bounds of the month that holds `at`: months are those of UTC, wherever the session lives.
CREATE OR REPLACE FUNCTION htap.month_of(at timestamptz, OUT suffix text, OUT since timestamptz, OUT until timestamptz,
                                         OUT bounds text) LANGUAGE sql STABLE AS $$
    SELECT to_char(m, '_YYYY_MM'), m AT TIME ZONE 'UTC', (m + interval '1 month') AT TIME ZONE 'UTC',
           format('FOR VALUES FROM (%L) TO (%L)', to_char(m, 'YYYY-MM-DD HH24:MI:SS"+00"'),
                  to_char(m + interval '1 month', 'YYYY-MM-DD HH24:MI:SS"+00"'))
    FROM date_trunc('month', at AT TIME ZONE 'UTC') AS m
$$;

-- Makes the partition of the month that holds `at`, unless it is there; whether it made one.
CREATE OR REPLACE FUNCTION htap.make_month(at timestamptz) RETURNS boolean LANGUAGE sql AS $$
    SELECT htap.make_partition(suffix, bounds, since, until) FROM htap.month_of(at)
$$;

-- Makes the partitions from the month of `since` to `ahead` months from now; how many months it made.
CREATE OR REPLACE FUNCTION htap.make_months(since timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS integer
LANGUAGE sql AS $$
    SELECT count(*)::integer
    FROM generate_series(date_trunc('month', since AT TIME ZONE 'UTC'),
                         (now() + make_interval(months => ahead)) AT TIME ZONE 'UTC', interval '1 month') AS month
    WHERE htap.make_month(month AT TIME ZONE 'UTC')
$$;

-- Makes the months of the orders that lie in the default partition, which moves them there; how many it made. A table
-- for each month of whatever time somebody wrote into an order would make the shop slow and use up the server's locks:
-- months to come stay where they are, and of those gone by the newest 24 are made.
CREATE OR REPLACE FUNCTION htap.house_strays() RETURNS integer LANGUAGE sql AS $$
    SELECT count(*)::integer
    FROM (SELECT DISTINCT date_trunc('month', created_at AT TIME ZONE 'UTC') AS month FROM shop.orders_default
          WHERE created_at < now() + interval '1 month' ORDER BY month DESC LIMIT 24) AS m
    WHERE htap.make_month(month AT TIME ZONE 'UTC')
$$;

SELECT htap.make_months();

-- Forgets request keys that are older than `keep`; how many. The same key is another order then.
CREATE OR REPLACE FUNCTION htap.forget_requests(keep interval DEFAULT '7 days') RETURNS bigint LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM shop.order_requests WHERE requested_at < now() - keep RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- What a scheduler calls, often: makes the coming months where they are missing; how many. As its owner, because a
-- partition can be made by the owner of the shop only. Old keys first, while no lock is held that others want.
CREATE OR REPLACE FUNCTION htap.maintain() RETURNS integer LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT htap.forget_requests();
    SELECT htap.make_months()
$$;

-- Orders that fit no month. They are found, but every look-up by time reads them too.
CREATE OR REPLACE FUNCTION htap.strays() RETURNS bigint LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT count(*) FROM shop.orders_default $$;

-- The month that holds `at`, as a whole and over, with its tables in the state wanted; else an error (55000).
CREATE OR REPLACE FUNCTION htap.closed_month(at timestamptz, attached boolean, OUT suffix text, OUT since timestamptz,
                                             OUT until timestamptz, OUT bounds text) LANGUAGE plpgsql AS $$
DECLARE
    fit integer;
BEGIN
    LOCK TABLE htap.partitioned IN SHARE ROW EXCLUSIVE MODE;
    SELECT m.* INTO suffix, since, until, bounds FROM htap.month_of(at) AS m;
    IF until > now() THEN
        RAISE EXCEPTION 'the month % is not over', replace(substr(suffix, 2), '_', '-')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT count(*) INTO fit FROM htap.partition AS p
    WHERE p.partition = p.partitioned || closed_month.suffix AND p.attached = closed_month.attached;
    IF fit <> (SELECT count(*) FROM htap.partitioned) THEN
        RAISE EXCEPTION 'the month % is not %', replace(substr(suffix, 2), '_', '-'),
            CASE WHEN attached THEN 'attached' ELSE 'detached' END USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

-- Takes the month that holds `at` out of the shop; how many orders it has. Its tables stay under their names and
-- refer to each other. Its completed orders leave the summaries with the next merge.
-- The shop stands still from the first lock to the commit: while the log is written, and a few milliseconds for
-- DETACH. READ COMMITTED, so that the log holds what is there once the locks are held.
CREATE OR REPLACE FUNCTION htap.detach_month(at timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    month  record;
    entry  text;
    orders bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a month is detached in a READ COMMITTED transaction' USING ERRCODE = 'active_sql_transaction';
    END IF;
    SELECT * INTO month FROM htap.closed_month(at, true);
    -- Parents first: who waits for a partition through its parent has the parent already. DETACH wants the
    -- default partitions too, and makes triggers on what a month refers to.
    PERFORM htap.lock_briefly(VARIADIC
        array_agg(format('ONLY shop.%I IN ACCESS EXCLUSIVE MODE', name) ORDER BY position)
        || array_agg(format('shop.%I IN ACCESS EXCLUSIVE MODE', name || month.suffix) ORDER BY position)
        || array_agg(format('shop.%I IN ACCESS EXCLUSIVE MODE', name || '_default') ORDER BY position)
        || ARRAY['shop.users, shop.products IN SHARE ROW EXCLUSIVE MODE'])
    FROM htap.partitioned;
    EXECUTE format('INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign)
                    SELECT order_id, user_id, completed_at, total_amount, -1 FROM shop.%I WHERE status = 3',
                   'orders' || month.suffix);
    INSERT INTO htap.dirty_log (what) VALUES ('month');
    EXECUTE format('SELECT count(*) FROM shop.%I', 'orders' || month.suffix) INTO orders;
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position DESC LOOP
        EXECUTE format('ALTER TABLE shop.%I DETACH PARTITION shop.%I', entry, entry || month.suffix);
    END LOOP;
    PERFORM htap.log_column_months(to_regclass('shop.orders' || month.suffix), month.since, month.until);
    RETURN orders;
END
$$;

-- Puts a month back that was detached; how many orders it has. Its completed orders come back into the
-- summaries with the next merge. All that takes long is done before the shop is locked: ATTACH believes the
-- constraint and reads no row.
CREATE OR REPLACE FUNCTION htap.attach_month(at timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    month  record;
    entry  text;
    orders bigint;
BEGIN
    SELECT * INTO month FROM htap.closed_month(at, false);
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position LOOP
        EXECUTE format('LOCK TABLE shop.%I IN ACCESS EXCLUSIVE MODE', entry || month.suffix);
    END LOOP;
    EXECUTE format('INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign)
                    SELECT order_id, user_id, completed_at, total_amount, 1 FROM shop.%I WHERE status = 3',
                   'orders' || month.suffix);
    INSERT INTO htap.dirty_log (what) VALUES ('month');
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position LOOP
        EXECUTE format('ALTER TABLE shop.%I ADD CONSTRAINT htap_bounds CHECK (created_at >= %L AND created_at < %L)',
                       entry || month.suffix, month.since, month.until);
    END LOOP;
    EXECUTE format('SELECT count(*) FROM shop.%I', 'orders' || month.suffix) INTO orders;
    PERFORM htap.lock_to_attach(true);
    orders := orders + htap.move_strays(month.suffix, month.since, month.until);
    FOR entry IN SELECT name FROM htap.partitioned ORDER BY position LOOP
        EXECUTE format('ALTER TABLE shop.%I ATTACH PARTITION shop.%I %s', entry, entry || month.suffix, month.bounds);
        EXECUTE format('ALTER TABLE shop.%I DROP CONSTRAINT htap_bounds', entry || month.suffix);
    END LOOP;
    PERFORM htap.log_column_months(to_regclass('shop.orders' || month.suffix), month.since, month.until);
    RETURN orders;
END
$$;

-- Drops the tables of a detached month; whoever reads them is not held up for long.
CREATE OR REPLACE FUNCTION htap.drop_month(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month record;
BEGIN
    SELECT * INTO month FROM htap.closed_month(at, false);
    PERFORM htap.lock_briefly(VARIADIC array_agg(format('shop.%I IN ACCESS EXCLUSIVE MODE', name || month.suffix)
                                                 ORDER BY position)) FROM htap.partitioned;
    EXECUTE (SELECT 'DROP TABLE ' || string_agg(format('shop.%I', name || month.suffix), ', ') FROM htap.partitioned);
    DELETE FROM htap.object USING htap.partitioned AS p WHERE kind = 'partition' AND identity = 'shop.' || p.name || month.suffix;
END
$$;
