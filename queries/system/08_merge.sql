-- Incremental refresh: each merge takes the rows of the logs that its summary has not seen and that are
-- committed now, and applies what they change. What has been seen is a snapshot, not a time or a number: a
-- transaction that commits late is not missed. Removal of nothing is needed for that, so each summary goes at
-- its own pace, and a merge and its watermark commit together: whatever dies when, nothing is applied twice.
--
-- What holds, always:
--   1. Every watermark is a snapshot that this database really had: pg_current_snapshot() at some moment. Cut by
--      numbers of transactions instead, it would be a state that never was, in which a correction stands without
--      its original.
--   2. Snapshots that were had are a chain: the later one sees all that the earlier one saw. A merge goes from
--      one to a later one (htap.holds() is asked), and applies exactly the rows that the later one sees and the
--      earlier one does not. So no row is applied twice, and none is left out.
--   3. After each merge the tables of a summary equal their recomputation as of its watermark. What a merge reads
--      of the shop itself must be as it was then; hence a merge is a REPEATABLE READ transaction, which reads what its
--      own snapshot sees. Where it stops at an earlier one, what changed in between is put back: each row of the logs
--      says what was before and what came, and what is now, less what came, with what was, is what was then. The
--      order of the changes does not matter for that.
--   4. The months that it reads are those of its snapshot, from its first look at the shop to its last.

-- A snapshot without the transaction `own`, which took it and does not find itself in it. So others saw it.
CREATE OR REPLACE FUNCTION htap.without(seen pg_snapshot, own xid8) RETURNS pg_snapshot
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN pg_visible_in_snapshot(own, seen) THEN
        format('%s:%s:%s', least(pg_snapshot_xmin(seen), own), pg_snapshot_xmax(seen),
               (SELECT string_agg(x::text, ',' ORDER BY x) FROM (SELECT pg_snapshot_xip(seen) UNION ALL SELECT own) AS i (x)))::pg_snapshot
        ELSE seen END
$$;

-- Whether `later` sees everything that `earlier` saw.
CREATE OR REPLACE FUNCTION htap.holds(later pg_snapshot, earlier pg_snapshot) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_snapshot_xmax(earlier) <= pg_snapshot_xmax(later)
       AND NOT EXISTS (SELECT FROM pg_snapshot_xip(later) AS x WHERE pg_visible_in_snapshot(x, earlier))
$$;

-- A snapshot between `older` and `reached` that was had, with at most `step` log rows more than `older`; where
-- there is none, the one with the fewest more; `reached` where no writer noted any. One that writers noted
-- (htap.order_log.seen) and that holds `older` lies between them, for they are a chain.
CREATE OR REPLACE FUNCTION htap.next_snapshot(older pg_snapshot, reached pg_snapshot, step bigint) RETURNS pg_snapshot
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH unseen AS MATERIALIZED (
        SELECT u.xid, count(*) AS n
        FROM (SELECT l.xid FROM htap.order_log AS l UNION ALL SELECT d.xid FROM htap.dirty_log AS d) AS u
        WHERE NOT pg_visible_in_snapshot(u.xid, older) AND pg_visible_in_snapshot(u.xid, reached)
        GROUP BY u.xid
    ), noted AS MATERIALIZED (
        SELECT l.seen, l.xid, pg_snapshot_xmax(l.seen) AS xmax FROM htap.order_log AS l
        WHERE l.seen IS NOT NULL AND pg_snapshot_xmax(l.seen) >= pg_snapshot_xmax(older)
          AND NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, reached)
        -- The first ones are enough for a step.
        ORDER BY pg_snapshot_xmax(l.seen) LIMIT 2000
    ), candidate AS MATERIALIZED (
        SELECT row_number() OVER () AS id, c.seen, c.xmax
        FROM (SELECT htap.without(n.seen, n.xid) AS seen, n.xmax FROM noted AS n OFFSET 0) AS c
        WHERE htap.holds(c.seen, older)
    ), below AS (
        -- Rows of transactions with lower numbers than xmax, ...
        SELECT p.id, sum(p.n) OVER (ORDER BY p.xid, p.id NULLS LAST ROWS UNBOUNDED PRECEDING) AS n
        FROM (SELECT u.xid, u.n, NULL::bigint AS id FROM unseen AS u UNION ALL SELECT c.xmax, 0, c.id FROM candidate AS c) AS p
    ), running AS (
        -- ... but those that were running.
        SELECT i.id, sum(u.n) AS n
        FROM (SELECT c.id, pg_snapshot_xip(c.seen) AS xid FROM candidate AS c) AS i JOIN unseen AS u ON u.xid = i.xid
        GROUP BY i.id
    ), counted AS (
        SELECT c.seen, b.n - coalesce(r.n, 0) AS n
        FROM candidate AS c JOIN below AS b ON b.id = c.id LEFT JOIN running AS r ON r.id = c.id
    )
    SELECT coalesce((SELECT c.seen FROM counted AS c WHERE c.n > 0
                     ORDER BY c.n > step, CASE WHEN c.n > step THEN c.n ELSE -c.n END LIMIT 1), reached)
$$;

-- Until the transaction ends nobody else merges or fills this summary; HT003 where somebody does, or did since our
-- snapshot was taken. A row lock, which only who may refresh can take, and no advisory lock, which anybody can.
CREATE OR REPLACE FUNCTION htap.lock_summary(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM htap.watermark AS w WHERE w.view = wanted FOR UPDATE NOWAIT;
EXCEPTION
    WHEN lock_not_available THEN
        RAISE EXCEPTION '% is being refreshed by another session', wanted USING ERRCODE = 'HT003';
    WHEN serialization_failure THEN
        RAISE EXCEPTION '% was refreshed by another session', wanted USING ERRCODE = 'HT003';
END
$$;

-- Begins a merge: nobody else merges this view until the transaction ends. `newer` is what the merge reaches;
-- remaining says whether something stays behind. A backlog of more than `step` log rows is merged up to a
-- snapshot in between; a transaction with more rows than that is taken whole. `read` names what the merge reads from
-- the shop itself, 'order' or 'user'. So is a backlog in which a month comes or goes later on, or somebody or something
-- was removed from the shop: of these the logs do not say all that would have to be put back.
-- HT003: somebody else is merging. HT004: it must be rebuilt first, with the reason.
DROP FUNCTION IF EXISTS htap.begin_merge(text, bigint);
CREATE OR REPLACE FUNCTION htap.begin_merge(wanted text, step bigint, read text[], OUT older pg_snapshot, OUT newer pg_snapshot,
                                            OUT remaining boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here    htap.watermark;
    own     xid8 := pg_current_xact_id_if_assigned();
    reached pg_snapshot;
    -- The start of the transaction, before its snapshot: what committed before it is seen.
    started timestamptz := now();
    heart   bigint;
    entire  boolean;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'a merge needs a REPEATABLE READ transaction' USING ERRCODE = 'active_sql_transaction',
            HINT = 'Use htap-top refresh, or BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT htap.merge(...); COMMIT.';
    END IF;
    PERFORM htap.lock_summary(wanted);
    IF own IS NOT NULL AND (EXISTS (SELECT FROM htap.order_log AS l WHERE l.xid = own)
                            OR EXISTS (SELECT FROM htap.dirty_log AS d WHERE d.xid = own)) THEN
        RAISE EXCEPTION 'this transaction has changed orders itself: merge % in another one', wanted
            USING ERRCODE = 'active_sql_transaction';
    END IF;
    IF 'order' = ANY (read) THEN
        PERFORM htap.hold_months(wanted);
    END IF;
    SELECT * INTO here FROM htap.watermark AS w WHERE w.view = wanted;
    SELECT pg_current_snapshot(), max(h.seq) INTO reached, heart FROM htap.heartbeat AS h;
    IF own IS NOT NULL THEN
        reached := htap.without(reached, own);
    END IF;
    older := here.snapshot;
    IF older IS NULL OR here.log_oid IS DISTINCT FROM 'htap.order_log'::regclass::oid OR NOT htap.holds(reached, older) THEN
        RAISE EXCEPTION '% must be rebuilt: it %', wanted,
            CASE WHEN older IS NULL THEN 'was never filled, or not since it was upgraded'
                 ELSE 'was filled in another database' END
            USING ERRCODE = 'HT004';
    END IF;
    IF EXISTS (SELECT FROM htap.dirty_log AS d WHERE d.what = 'all' AND NOT pg_visible_in_snapshot(d.xid, older)
                                                 AND pg_visible_in_snapshot(d.xid, reached)) THEN
        RAISE EXCEPTION '% must be rebuilt: a base table was truncated, or the log was cut', wanted USING ERRCODE = 'HT004';
    END IF;

    newer := reached;
    IF (SELECT count(*) > step
        FROM (SELECT FROM (SELECT l.xid FROM htap.order_log AS l UNION ALL SELECT d.xid FROM htap.dirty_log AS d) AS u
              WHERE NOT pg_visible_in_snapshot(u.xid, older) AND pg_visible_in_snapshot(u.xid, reached)
              LIMIT least(step, 1000000000) + 1) AS unseen) THEN
        newer := htap.next_snapshot(older, reached, step);
        IF 'user' = ANY (read) AND EXISTS (
               SELECT FROM htap.order_log AS l
               WHERE NOT pg_visible_in_snapshot(l.xid, newer) AND pg_visible_in_snapshot(l.xid, reached)
                 AND NOT EXISTS (SELECT FROM shop.users AS u WHERE u.user_id = l.user_id))
           OR 'order' = ANY (read) AND EXISTS (
               SELECT FROM htap.dirty_log AS d
               WHERE NOT pg_visible_in_snapshot(d.xid, newer) AND pg_visible_in_snapshot(d.xid, reached)
                 AND (d.what = 'month'
                      OR d.what = 'order' AND d.was IS NOT NULL
                         AND NOT EXISTS (SELECT FROM shop.products AS p WHERE p.product_id = (d.was -> 1)::bigint))) THEN
            newer := reached;
        END IF;
    END IF;
    remaining := newer::text <> reached::text;
    IF NOT htap.holds(newer, older) OR NOT htap.holds(reached, newer) THEN
        RAISE EXCEPTION '% cannot be merged from % to %, at %', wanted, older, newer, reached USING ERRCODE = 'internal_error';
    END IF;
    IF remaining THEN
        -- What was committed before the first row that stays behind was logged is in.
        SELECT greatest(here.as_of, least(min(u.logged_at), started)), here.heartbeat INTO started, heart
        FROM (SELECT l.xid, l.logged_at FROM htap.order_log AS l UNION ALL SELECT d.xid, d.logged_at FROM htap.dirty_log AS d) AS u
        WHERE NOT pg_visible_in_snapshot(u.xid, newer) AND pg_visible_in_snapshot(u.xid, reached);
    END IF;
    BEGIN
        UPDATE htap.watermark AS w SET snapshot = newer, as_of = started, heartbeat = heart WHERE w.view = wanted;
    EXCEPTION WHEN serialization_failure THEN
        -- It was merged since our snapshot was taken.
        RAISE EXCEPTION '% was refreshed by another session', wanted USING ERRCODE = 'HT003';
    END;
END
$$;

-- A group that would hold less than nothing, or nothing of some amount: something was never logged.
CREATE OR REPLACE FUNCTION htap.require(fits boolean, wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT fits THEN
        RAISE EXCEPTION '% must be rebuilt: it does not hold what is to be taken from it, so some change was not captured', wanted
            USING ERRCODE = 'HT004';
    END IF;
END
$$;

-- What users ('user'), products or categories were at `at`, of those that changed since: as the logs say.
CREATE OR REPLACE FUNCTION htap.as_it_was(kind text, at pg_snapshot) RETURNS TABLE (id bigint, value text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.id, c.value #>> '{}'
    FROM (SELECT d.id, d.was AS value, 1 AS n FROM htap.dirty_log AS d WHERE d.what = kind AND NOT pg_visible_in_snapshot(d.xid, at)
          UNION ALL
          SELECT d.id, d.became, -1 FROM htap.dirty_log AS d WHERE d.what = kind AND NOT pg_visible_in_snapshot(d.xid, at)) AS c
    GROUP BY c.id, c.value HAVING sum(c.n) > 0
$$;

-- The lines of completed orders, of those in `ids`: as they are now or, where `back`, as they were at `at`.
CREATE OR REPLACE FUNCTION htap.sales_of(ids bigint[], back boolean, at pg_snapshot) RETURNS SETOF mart.fact_sales
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT back THEN
        RETURN QUERY
        SELECT o.order_id, i.line_no, o.user_id, u.user_segment, i.product_id,
               -- Looked up line by line: in a join, of which the planner expects one row, it would be scanned for.
               (SELECT c.category_name FROM shop.products AS p JOIN shop.categories AS c USING (category_id)
                WHERE p.product_id = i.product_id),
               i.quantity, i.price * i.quantity, o.completed_at
        FROM unnest(ids) AS d (id)
        JOIN shop.orders AS o ON o.order_id = d.id AND o.created_at = shop.order_time(d.id)
        JOIN shop.order_items AS i ON i.order_id = d.id AND i.created_at = shop.order_time(d.id)
        JOIN shop.users AS u ON u.user_id = o.user_id
        WHERE o.status = 3;
        RETURN;
    END IF;
    RETURN QUERY
    WITH completed AS MATERIALIZED (
        SELECT h.order_id, h.user_id, h.completed_at
        FROM (SELECT o.order_id, o.user_id, o.completed_at, 1 AS n
              FROM unnest(ids) AS d (id) JOIN shop.orders AS o ON o.order_id = d.id AND o.created_at = shop.order_time(d.id)
              WHERE o.status = 3
              UNION ALL
              SELECT l.order_id, l.user_id, l.completed_at, -l.sign FROM htap.order_log AS l JOIN unnest(ids) AS d (id) ON d.id = l.order_id
              WHERE NOT pg_visible_in_snapshot(l.xid, at)) AS h
        GROUP BY h.order_id, h.user_id, h.completed_at HAVING sum(h.n) > 0
    ), line AS MATERIALIZED (
        SELECT h.order_id, (h.line -> 0)::smallint AS line_no, (h.line -> 1)::bigint AS product_id,
               (h.line -> 2)::integer AS quantity, (h.line -> 3)::numeric AS price
        FROM (SELECT i.order_id, jsonb_build_array(i.line_no, i.product_id, i.quantity, i.price) AS line, 1 AS n
              FROM completed AS o JOIN shop.order_items AS i ON i.order_id = o.order_id AND i.created_at = shop.order_time(o.order_id)
              UNION ALL
              SELECT d.id, d.was, 1 FROM htap.dirty_log AS d
              WHERE d.what = 'order' AND d.was IS NOT NULL AND NOT pg_visible_in_snapshot(d.xid, at)
              UNION ALL
              SELECT d.id, d.became, -1 FROM htap.dirty_log AS d
              WHERE d.what = 'order' AND d.became IS NOT NULL AND NOT pg_visible_in_snapshot(d.xid, at)) AS h
        GROUP BY h.order_id, h.line HAVING sum(h.n) > 0
    )
    SELECT o.order_id, i.line_no, o.user_id, coalesce(su.value, u.user_segment), i.product_id,
           coalesce(sc.value, c.category_name), i.quantity, i.price * i.quantity, o.completed_at
    FROM completed AS o
    JOIN line AS i ON i.order_id = o.order_id
    JOIN shop.users AS u ON u.user_id = o.user_id
    LEFT JOIN htap.as_it_was('user', at) AS su ON su.id = u.user_id
    JOIN shop.products AS p ON p.product_id = i.product_id
    LEFT JOIN htap.as_it_was('product', at) AS sp ON sp.id = p.product_id
    JOIN shop.categories AS c ON c.category_id = coalesce(sp.value::bigint, p.category_id)
    LEFT JOIN htap.as_it_was('category', at) AS sc ON sc.id = c.category_id;
END
$$;

-- Orders that stand anew in the fact table: those in the log, and those of users, products and categories
-- that changed, now or then.
CREATE OR REPLACE FUNCTION htap.dirty_orders(older pg_snapshot, newer pg_snapshot) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH changed AS MATERIALIZED (
        SELECT d.what, d.id FROM htap.dirty_log AS d
        WHERE NOT pg_visible_in_snapshot(d.xid, older) AND pg_visible_in_snapshot(d.xid, newer)
    ), moved AS MATERIALIZED (
        SELECT id FROM changed WHERE what = 'product'
        UNION SELECT p.product_id FROM changed AS c JOIN shop.products AS p ON p.category_id = c.id WHERE c.what = 'category'
        UNION SELECT d.id FROM htap.dirty_log AS d
        WHERE d.what = 'product' AND NOT pg_visible_in_snapshot(d.xid, newer) AND EXISTS (SELECT FROM changed AS c WHERE c.what = 'category')
    )
    SELECT array_agg(order_id) FROM (
        SELECT l.order_id FROM htap.order_log AS l
        WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
        UNION SELECT id FROM changed WHERE what = 'order'
        UNION SELECT o.order_id FROM changed AS c JOIN shop.orders AS o ON o.user_id = c.id WHERE c.what = 'user' AND o.status = 3
        UNION SELECT l.order_id FROM changed AS c JOIN htap.order_log AS l ON l.user_id = c.id
        WHERE c.what = 'user' AND NOT pg_visible_in_snapshot(l.xid, newer)
        UNION SELECT f.order_id FROM mart.fact_sales AS f WHERE EXISTS (SELECT FROM moved) AND f.product_id IN (SELECT id FROM moved)
    ) AS dirty
$$;

-- A month that is attached or detached is so at once for every transaction, whatever its snapshot: who began before
-- reads the shop without a month (or with one) of which its snapshot does not see the rows in the log, and would count
-- them once more. pg_partition_tree() tells what is so now, pg_inherits what was so for our snapshot. Asked at the end.
CREATE OR REPLACE FUNCTION htap.require_same_months(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (VALUES ('shop.orders'::regclass), ('shop.order_items'::regclass)) AS t (parent)
        CROSS JOIN LATERAL (SELECT p.relid::oid AS part FROM pg_partition_tree(t.parent) AS p WHERE p.level = 1) AS n
        FULL JOIN (SELECT i.inhparent, i.inhrelid FROM pg_inherits AS i
                   WHERE i.inhparent IN ('shop.orders'::regclass, 'shop.order_items'::regclass)) AS s
            ON s.inhparent = t.parent AND s.inhrelid = n.part
        WHERE n.part IS NULL OR s.inhrelid IS NULL
    ) THEN
        RAISE EXCEPTION 'a month was attached or detached while % was computed: try again', wanted USING ERRCODE = 'HT003';
    END IF;
END
$$;

-- Keeps the months as they are, until the transaction ends: none can be detached any more, and one that is attached is
-- seen by htap.require_same_months() at the end. Before anything of the shop is read.
CREATE OR REPLACE FUNCTION htap.hold_months(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE ONLY shop.orders, ONLY shop.order_items IN ACCESS SHARE MODE;
    PERFORM htap.require_same_months(wanted);
END
$$;

CREATE OR REPLACE FUNCTION htap.merge_sales_hourly(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    older     pg_snapshot;
    newer     pg_snapshot;
    fits      boolean;
    -- Groups that hold nothing any more.
    hours     timestamptz[];
    users     bigint[];
    all_hours timestamptz[];
    minutes   timestamptz[];
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining FROM htap.begin_merge('mart.sales_hourly', step, '{}') AS m;
    WITH fresh AS MATERIALIZED (
        SELECT l.completed_at, l.user_id, l.sign, l.sign * l.amount AS amount FROM htap.order_log AS l
        WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
    ), delta AS MATERIALIZED (
        SELECT date_trunc('hour', f.completed_at, 'UTC') AS hour, f.user_id, sum(f.sign)::bigint AS n, sum(f.amount) AS amount
        FROM fresh AS f GROUP BY 1, 2 HAVING sum(f.sign) <> 0 OR sum(f.amount) <> 0
    ), by_user AS (
        INSERT INTO mart.sales_hourly_user AS t (hour, user_id, order_count, total_sales)
        SELECT d.hour, d.user_id, d.n, d.amount FROM delta AS d ORDER BY d.hour, d.user_id
        ON CONFLICT (hour, user_id) DO UPDATE
        SET order_count = t.order_count + excluded.order_count, total_sales = t.total_sales + excluded.total_sales
        RETURNING hour, user_id, order_count, total_sales
    ), by_hour AS (
        INSERT INTO mart.sales_hourly AS t (hour, order_count, total_sales, unique_customers)
        SELECT d.hour, sum(d.n), sum(d.amount), sum((u.order_count > 0)::int - (u.order_count - d.n > 0)::int)
        FROM delta AS d JOIN by_user AS u USING (hour, user_id) GROUP BY d.hour ORDER BY d.hour
        ON CONFLICT (hour) DO UPDATE
        SET order_count = t.order_count + excluded.order_count, total_sales = t.total_sales + excluded.total_sales,
            unique_customers = t.unique_customers + excluded.unique_customers
        RETURNING hour, order_count, total_sales
    ), by_minute AS (
        INSERT INTO mart.realtime_merge AS t (window_start, total_amount, order_count)
        SELECT date_trunc('minute', f.completed_at, 'UTC'), sum(f.amount), sum(f.sign)
        FROM fresh AS f GROUP BY 1 HAVING sum(f.sign) <> 0 OR sum(f.amount) <> 0 ORDER BY 1
        ON CONFLICT (window_start) DO UPDATE
        SET order_count = t.order_count + excluded.order_count, total_amount = t.total_amount + excluded.total_amount
        RETURNING window_start, order_count, total_amount
    ), user_hours AS (
        SELECT array_agg(u.hour) FILTER (WHERE u.order_count = 0) AS hours, array_agg(u.user_id) FILTER (WHERE u.order_count = 0) AS users,
               bool_and(u.order_count > 0 OR u.order_count = 0 AND u.total_sales = 0) AS fits
        FROM by_user AS u
    ), all_users AS (
        SELECT array_agg(h.hour) FILTER (WHERE h.order_count = 0) AS hours,
               bool_and(h.order_count > 0 OR h.order_count = 0 AND h.total_sales = 0) AS fits
        FROM by_hour AS h
    ), by_window AS (
        SELECT array_agg(m.window_start) FILTER (WHERE m.order_count = 0) AS minutes,
               bool_and(m.order_count > 0 OR m.order_count = 0 AND m.total_amount = 0) AS fits
        FROM by_minute AS m
    )
    SELECT (SELECT count(*) FROM fresh), u.hours, u.users, h.hours, m.minutes,
           coalesce(u.fits, true) AND coalesce(h.fits, true) AND coalesce(m.fits, true)
    INTO changes, hours, users, all_hours, minutes, fits
    FROM user_hours AS u, all_users AS h, by_window AS m;
    PERFORM htap.require(fits, 'mart.sales_hourly');
    -- Only a correction can leave a group empty.
    IF hours IS NOT NULL THEN
        DELETE FROM mart.sales_hourly_user AS t USING unnest(hours, users) AS d (hour, user_id)
        WHERE t.hour = d.hour AND t.user_id = d.user_id;
    END IF;
    IF all_hours IS NOT NULL THEN
        DELETE FROM mart.sales_hourly AS t WHERE t.hour = ANY (all_hours);
    END IF;
    IF minutes IS NOT NULL THEN
        DELETE FROM mart.realtime_merge AS t WHERE t.window_start = ANY (minutes);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION htap.merge_fact_sales(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    older      pg_snapshot;
    newer      pg_snapshot;
    dirty      bigint[];
    removed    bigint;
    fits       boolean;
    -- Groups that hold nothing until the orders come again.
    hours      timestamptz[];
    categories text[];
    days       date[];
    products   bigint[];
    kinds      text[];
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining
    FROM htap.begin_merge('mart.fact_sales', step, '{order,user}') AS m;
    dirty := htap.dirty_orders(older, newer);
    changes := coalesce(cardinality(dirty), 0);
    IF changes = 0 THEN
        RETURN;
    END IF;
    -- The orders as they stood go, and are subtracted; as they stand now they come, and are added.
    WITH gone AS (
        DELETE FROM mart.fact_sales AS f USING unnest(dirty) AS d (id) WHERE f.order_id = d.id RETURNING f.*
    ), by_category AS (
        INSERT INTO mart.category_hourly AS t (hour, category, total_quantity, total_amount, order_count)
        SELECT date_trunc('hour', g.sale_time, 'UTC'), g.category, -sum(g.quantity), -sum(g.sales_amount), -count(DISTINCT g.order_id)
        FROM gone AS g GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (hour, category) DO UPDATE
        SET total_quantity = t.total_quantity + excluded.total_quantity, total_amount = t.total_amount + excluded.total_amount,
            order_count = t.order_count + excluded.order_count
        RETURNING hour, category, order_count, total_quantity, total_amount
    ), by_day AS (
        INSERT INTO mart.daily_sales AS t (sale_date, product_id, category, total_quantity, total_amount, order_count)
        SELECT (g.sale_time AT TIME ZONE 'UTC')::date, g.product_id, g.category, -sum(g.quantity), -sum(g.sales_amount), -count(DISTINCT g.order_id)
        FROM gone AS g GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (sale_date, product_id, category) DO UPDATE
        SET total_quantity = t.total_quantity + excluded.total_quantity, total_amount = t.total_amount + excluded.total_amount,
            order_count = t.order_count + excluded.order_count
        RETURNING sale_date, product_id, category, order_count, total_quantity, total_amount
    ), of_hours AS (
        SELECT array_agg(c.hour) FILTER (WHERE c.order_count = 0) AS hours, array_agg(c.category) FILTER (WHERE c.order_count = 0) AS categories,
               bool_and(c.order_count > 0 OR c.order_count = 0 AND c.total_quantity = 0 AND c.total_amount = 0) AS fits
        FROM by_category AS c
    ), of_days AS (
        SELECT array_agg(y.sale_date) FILTER (WHERE y.order_count = 0) AS days, array_agg(y.product_id) FILTER (WHERE y.order_count = 0) AS products,
               array_agg(y.category) FILTER (WHERE y.order_count = 0) AS kinds,
               bool_and(y.order_count > 0 OR y.order_count = 0 AND y.total_quantity = 0 AND y.total_amount = 0) AS fits
        FROM by_day AS y
    )
    SELECT h.hours, h.categories, y.days, y.products, y.kinds, coalesce(h.fits, true) AND coalesce(y.fits, true)
    INTO hours, categories, days, products, kinds, fits
    FROM of_hours AS h, of_days AS y;
    PERFORM htap.require(fits, 'mart.fact_sales');
    WITH came AS (
        INSERT INTO mart.fact_sales (order_id, line_no, user_id, user_segment, product_id, category, quantity, sales_amount, sale_time)
        SELECT * FROM htap.sales_of(dirty, remaining, newer)
        RETURNING order_id, product_id, category, quantity, sales_amount, sale_time
    ), by_category AS (
        INSERT INTO mart.category_hourly AS t (hour, category, total_quantity, total_amount, order_count)
        SELECT date_trunc('hour', n.sale_time, 'UTC'), n.category, sum(n.quantity), sum(n.sales_amount), count(DISTINCT n.order_id)
        FROM came AS n GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (hour, category) DO UPDATE
        SET total_quantity = t.total_quantity + excluded.total_quantity, total_amount = t.total_amount + excluded.total_amount,
            order_count = t.order_count + excluded.order_count
    )
    INSERT INTO mart.daily_sales AS t (sale_date, product_id, category, total_quantity, total_amount, order_count)
    SELECT (n.sale_time AT TIME ZONE 'UTC')::date, n.product_id, n.category, sum(n.quantity), sum(n.sales_amount), count(DISTINCT n.order_id)
    FROM came AS n GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (sale_date, product_id, category) DO UPDATE
    SET total_quantity = t.total_quantity + excluded.total_quantity, total_amount = t.total_amount + excluded.total_amount,
        order_count = t.order_count + excluded.order_count;
    IF hours IS NOT NULL THEN
        DELETE FROM mart.category_hourly AS t USING unnest(hours, categories) AS d (hour, category)
        WHERE t.hour = d.hour AND t.category = d.category AND t.order_count = 0;
    END IF;
    IF days IS NOT NULL THEN
        DELETE FROM mart.daily_sales AS t USING unnest(days, products, kinds) AS d (sale_date, product_id, category)
        WHERE t.sale_date = d.sale_date AND t.product_id = d.product_id AND t.category = d.category AND t.order_count = 0;
    END IF;
    PERFORM htap.require_same_months('mart.fact_sales');
END
$$;

CREATE OR REPLACE FUNCTION htap.merge_segment_rfm(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    older  pg_snapshot;
    newer  pg_snapshot;
    until  date;
    today  date := (now() AT TIME ZONE 'UTC')::date;
    dirty  bigint[];
    fits   boolean;
    -- Days on which nothing is left.
    buyers bigint[];
    dates  date[];
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining
    FROM htap.begin_merge('mart.segment_rfm', step, '{user}') AS m;
    SELECT count(*) INTO changes FROM htap.order_log AS l
    WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer);
    IF changes > 0 THEN
        WITH by_day AS (
            INSERT INTO mart.user_day AS t (user_id, day, orders, amount)
            SELECT l.user_id, (l.completed_at AT TIME ZONE 'UTC')::date, sum(l.sign), sum(l.sign * l.amount)
            FROM htap.order_log AS l
            WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
            GROUP BY 1, 2 HAVING sum(l.sign) <> 0 OR sum(l.sign * l.amount) <> 0 ORDER BY 1, 2
            ON CONFLICT (user_id, day) DO UPDATE SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount
            RETURNING user_id, day, orders, amount
        )
        SELECT array_agg(y.user_id) FILTER (WHERE y.orders = 0), array_agg(y.day) FILTER (WHERE y.orders = 0),
               coalesce(bool_and(y.orders > 0 OR y.orders = 0 AND y.amount = 0), true)
        INTO buyers, dates, fits FROM by_day AS y;
        PERFORM htap.require(fits, 'mart.segment_rfm');
        IF buyers IS NOT NULL THEN
            DELETE FROM mart.user_day AS t USING unnest(buyers, dates) AS d (user_id, day)
            WHERE t.user_id = d.user_id AND t.day = d.day;
        END IF;
    END IF;
    SELECT day INTO until FROM mart.rfm_window;
    SELECT array_agg(id) INTO dirty FROM (
        SELECT l.user_id AS id FROM htap.order_log AS l
        WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
        UNION SELECT d.id FROM htap.dirty_log AS d
        WHERE d.what = 'user' AND NOT pg_visible_in_snapshot(d.xid, older) AND pg_visible_in_snapshot(d.xid, newer)
        -- Days that leave the window, or come into it.
        UNION SELECT t.user_id FROM mart.user_day AS t
        WHERE until <> today AND (t.day BETWEEN least(until, today) - 179 AND greatest(until, today) - 180
                                  OR t.day BETWEEN least(until, today) + 1 AND greatest(until, today))
    ) AS touched;
    IF until <> today THEN
        UPDATE mart.rfm_window SET day = today;
    END IF;
    IF dirty IS NULL THEN
        RETURN;
    END IF;
    WITH after AS MATERIALIZED (
        SELECT u.user_id, coalesce(s.value, u.user_segment) AS user_segment, sum(t.orders)::bigint AS orders, sum(t.amount) AS amount,
               max(t.day) AS last_day
        FROM unnest(dirty) AS d (id) JOIN shop.users AS u ON u.user_id = d.id
        LEFT JOIN htap.as_it_was('user', newer) AS s ON s.id = u.user_id
        JOIN mart.user_day AS t ON t.user_id = d.id AND t.day BETWEEN today - 179 AND today
        GROUP BY u.user_id, coalesce(s.value, u.user_segment)
    ), before AS MATERIALIZED (
        SELECT r.* FROM unnest(dirty) AS d (id) JOIN mart.user_rfm AS r ON r.user_id = d.id
    ), change AS (
        SELECT user_segment, 1 AS users, orders, amount, last_day - date '2000-01-01' AS days FROM after
        UNION ALL SELECT user_segment, -1, -orders, -amount, -(last_day - date '2000-01-01') FROM before
    ), by_segment AS (
        INSERT INTO mart.segment_rfm AS t (user_segment, users, orders, amount, last_days)
        SELECT user_segment, sum(users), sum(orders), sum(amount), sum(days) FROM change GROUP BY user_segment
        ON CONFLICT (user_segment) DO UPDATE
        SET users = t.users + excluded.users, orders = t.orders + excluded.orders, amount = t.amount + excluded.amount,
            last_days = t.last_days + excluded.last_days
    ), left_window AS (
        DELETE FROM mart.user_rfm AS t USING before AS b
        WHERE t.user_id = b.user_id AND NOT EXISTS (SELECT FROM after AS a WHERE a.user_id = b.user_id)
    )
    INSERT INTO mart.user_rfm AS t (user_id, user_segment, orders, amount, last_day)
    SELECT user_id, user_segment, orders, amount, last_day FROM after
    ON CONFLICT (user_id) DO UPDATE
    SET user_segment = excluded.user_segment, orders = excluded.orders, amount = excluded.amount, last_day = excluded.last_day;
    DELETE FROM mart.segment_rfm AS t WHERE t.users = 0;
END
$$;

-- Merges a summary and keeps the run. Without changes nothing is kept: only the watermark moves. Whoever calls it,
-- without JIT: where the planner expects many changes, compiling takes longer than all the rest of a merge of few.
CREATE OR REPLACE FUNCTION htap.merge(wanted text, step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean,
                                      OUT as_of timestamptz) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    started timestamptz := clock_timestamp();
    wal     pg_lsn := pg_current_wal_insert_lsn();
BEGIN
    CASE wanted
        WHEN 'mart.sales_hourly' THEN SELECT m.changes, m.remaining INTO changes, remaining FROM htap.merge_sales_hourly(step) AS m;
        WHEN 'mart.fact_sales' THEN SELECT m.changes, m.remaining INTO changes, remaining FROM htap.merge_fact_sales(step) AS m;
        WHEN 'mart.segment_rfm' THEN SELECT m.changes, m.remaining INTO changes, remaining FROM htap.merge_segment_rfm(step) AS m;
    END CASE;
    SELECT w.as_of INTO as_of FROM htap.watermark AS w WHERE w.view = wanted;
    IF changes > 0 THEN
        INSERT INTO htap.refresh_run (view, mode, started, finished, rows, as_of, wal_bytes)
        VALUES (wanted, 'incremental', started, clock_timestamp(), changes, merge.as_of, pg_current_wal_insert_lsn() - wal);
    END IF;
END
$$;

-- Refreshes a materialized view that init made. It belongs to htap_owner, who nobody can be; before 17 nobody else
-- may REFRESH it.
CREATE OR REPLACE FUNCTION htap.refresh_view(wanted text, beside_readers boolean DEFAULT false) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM htap.view_def AS d WHERE d.view = wanted AND d.kind = 'materialized') THEN
        RAISE EXCEPTION 'there is no materialized view %', wanted USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('REFRESH MATERIALIZED VIEW %s %s', CASE WHEN beside_readers THEN 'CONCURRENTLY' ELSE '' END,
                   wanted::regclass);
END
$$;

CREATE OR REPLACE FUNCTION htap.listed(columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT string_agg(quote_ident(c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS l (c, n) $$;
CREATE OR REPLACE FUNCTION htap.prefixed(alias text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT string_agg(format('%s.%I', alias, c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS l (c, n) $$;

-- Fills an incremental summary from the base tables; readers see the old rows until it commits. With
-- `by_difference` rows that are right stay untouched (as CONCURRENTLY does): slower, but little WAL, and a
-- later vacuum has little to do.
CREATE OR REPLACE FUNCTION htap.rebuild(wanted text, by_difference boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry   record;
    own     xid8 := pg_current_xact_id_if_assigned();
    columns text[];
    keys    text[];
    reached pg_snapshot;
    started timestamptz;
    heart   bigint;
    filled  bigint;
    written bigint;
BEGIN
    PERFORM htap.lock_summary(wanted);
    SELECT * INTO entry FROM htap.view_def WHERE view = wanted AND kind = 'incremental';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no incremental summary %', wanted USING ERRCODE = 'undefined_table';
    END IF;
    -- One snapshot for all tables of the summary.
    IF current_setting('transaction_isolation') <> 'repeatable read' THEN
        RAISE EXCEPTION 'a rebuild needs a REPEATABLE READ transaction' USING ERRCODE = 'active_sql_transaction';
    END IF;
    IF own IS NOT NULL AND (EXISTS (SELECT FROM htap.order_log AS l WHERE l.xid = own)
                            OR EXISTS (SELECT FROM htap.dirty_log AS d WHERE d.xid = own)) THEN
        RAISE EXCEPTION 'this transaction has changed orders itself: rebuild % in another one', wanted
            USING ERRCODE = 'active_sql_transaction';
    END IF;
    PERFORM htap.hold_months(wanted);
    -- The snapshot was taken before, by the statement that called this.
    started := now();
    SELECT pg_current_snapshot(), max(seq) INTO reached, heart FROM htap.heartbeat;
    IF own IS NOT NULL THEN
        reached := htap.without(reached, own);
    END IF;
    IF wanted = 'mart.segment_rfm' THEN
        INSERT INTO mart.rfm_window (day) VALUES ((now() AT TIME ZONE 'UTC')::date)
        ON CONFLICT (only_row) DO UPDATE SET day = excluded.day;
    END IF;
    FOR i IN 1 .. cardinality(entry.tables) LOOP
        SELECT array_agg(attname::text ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = entry.tables[i]::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
        SELECT array_agg(attname::text ORDER BY attnum) INTO keys FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = entry.tables[i]::regclass AND indisprimary;
        IF by_difference THEN
            EXECUTE format('CREATE TEMPORARY TABLE fresh ON COMMIT DROP AS SELECT %s FROM %s_query', htap.listed(columns), entry.tables[i]);
            ANALYZE pg_temp.fresh;
            EXECUTE format('DELETE FROM %1$s AS t WHERE NOT EXISTS (SELECT FROM pg_temp.fresh AS f WHERE (%2$s) = (%3$s) AND (%4$s) = (%5$s))',
                           entry.tables[i], htap.prefixed('t', keys), htap.prefixed('f', keys),
                           htap.prefixed('t', columns), htap.prefixed('f', columns));
            EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %3$s FROM pg_temp.fresh AS f WHERE NOT EXISTS (SELECT FROM %1$s AS t WHERE (%4$s) = (%5$s))',
                           entry.tables[i], htap.listed(columns), htap.prefixed('f', columns),
                           htap.prefixed('t', keys), htap.prefixed('f', keys));
            GET DIAGNOSTICS written = ROW_COUNT;
            DROP TABLE pg_temp.fresh;
        ELSE
            EXECUTE format('DELETE FROM %s', entry.tables[i]);
            EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM %1$s_query', entry.tables[i], htap.listed(columns));
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
        filled := coalesce(filled, written);
    END LOOP;
    PERFORM htap.require_same_months(wanted);
    UPDATE htap.watermark AS w
    SET snapshot = reached, as_of = started, heartbeat = heart, log_oid = 'htap.order_log'::regclass::oid,
        checked_to = NULL, clean = true, uncaptured = NULL
    WHERE w.view = wanted;
    RETURN filled;
END
$$;

-- Removes log rows that every summary has merged, and returns how many of orders. More than `keep` of them are all
-- removed, and the summaries must be rebuilt: a log that nobody reads must not fill the disk.
CREATE OR REPLACE FUNCTION htap.trim_log(keep bigint DEFAULT 5000000) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held    pg_snapshot[];
    removed bigint;
BEGIN
    IF pg_relation_size('htap.order_log') + pg_relation_size('htap.dirty_log') > keep * 50
       AND (SELECT count(*) FROM htap.order_log) + (SELECT count(*) FROM htap.dirty_log) > keep THEN
        DELETE FROM htap.dirty_log;
        INSERT INTO htap.dirty_log (what) VALUES ('all');
        DELETE FROM htap.order_log;
        GET DIAGNOSTICS removed = ROW_COUNT;
        RETURN removed;
    END IF;
    -- One that is being filled for the first time may need any row.
    IF EXISTS (SELECT FROM htap.watermark AS w WHERE w.snapshot IS NULL) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(w.snapshot) INTO held FROM htap.watermark AS w;
    DELETE FROM htap.order_log AS l WHERE NOT EXISTS (SELECT FROM unnest(held) AS s WHERE NOT pg_visible_in_snapshot(l.xid, s));
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM htap.dirty_log AS l WHERE NOT EXISTS (SELECT FROM unnest(held) AS s WHERE NOT pg_visible_in_snapshot(l.xid, s));
    RETURN removed;
END
$$;

-- Forgets old runs and heartbeats, and removes log rows that are merged; how many of these.
CREATE OR REPLACE FUNCTION htap.tidy(keep interval DEFAULT '1 day') RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM htap.refresh_run
    WHERE started < now() - keep
       OR mode = 'incremental' AND started < now() - least(keep, interval '1 hour');
    DELETE FROM htap.heartbeat
    WHERE committed_at < now() - interval '10 minutes' OR committed_at > now() + interval '10 minutes';
    DELETE FROM htap.routing
    WHERE reported_at < now() - interval '10 minutes' OR reported_at > now() + interval '10 minutes';
    SELECT htap.trim_log();
$$;

-- Rows of `wanted` that a recomputation would not have ('extra') or would have besides ('missing'), for each
-- of its tables; none means equal. What is not merged yet shows as a difference: call it in a REPEATABLE READ
-- transaction right after a merge in the same transaction.
CREATE OR REPLACE FUNCTION htap.verify(wanted text) RETURNS TABLE (relation text, difference text, rows bigint, example text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry   text;
    columns text;
BEGIN
    PERFORM htap.hold_months(wanted);
    FOR entry IN SELECT unnest(tables) FROM htap.view_def WHERE view = wanted AND kind = 'incremental' LOOP
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = entry::regclass AND attnum > 0 AND NOT attisdropped;
        RETURN QUERY EXECUTE format(
            'SELECT %1$L::text, side, count(*), min(line) FROM (
                 SELECT ''extra'' AS side, e::text AS line FROM (SELECT %2$s FROM %1$s EXCEPT ALL SELECT %2$s FROM %1$s_query) AS e
                 UNION ALL
                 SELECT ''missing'', m::text FROM (SELECT %2$s FROM %1$s_query EXCEPT ALL SELECT %2$s FROM %1$s) AS m
             ) AS d GROUP BY side', entry, columns);
    END LOOP;
    PERFORM htap.require_same_months(wanted);
END
$$;
