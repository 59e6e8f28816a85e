-- Incremental refresh: each merge takes the rows of the logs that its summary has not seen and that are
-- committed now, and applies what they change. Correct at READ COMMITTED, because what has been seen is a
-- snapshot, not a time or a number: a transaction that commits late is not missed. Removal of nothing is
-- needed for that, so each summary goes at its own pace, and a merge and its watermark commit together:
-- whatever dies when, nothing is applied twice.
SET LOCAL ROLE htap_refresh;

-- Begins a merge: nobody else merges this view until the transaction ends. `newer` is what the merge reaches,
-- at most about `step` log rows further than `older`; remaining says whether something stays behind.
-- HT003: somebody else is merging. HT004: it must be rebuilt first, with the reason.
CREATE OR REPLACE FUNCTION htap.begin_merge(wanted text, step bigint, OUT older pg_snapshot, OUT newer pg_snapshot,
                                            OUT as_of timestamptz, OUT remaining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    here     htap.watermark;
    boundary xid8;
    heart    bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('htap.merge'), hashtext(wanted)) THEN
        RAISE EXCEPTION '% is being refreshed by another session', wanted USING ERRCODE = 'HT003';
    END IF;
    SELECT * INTO here FROM htap.watermark AS w WHERE w.view = wanted;
    IF here.snapshot IS NULL OR here.log_oid IS DISTINCT FROM 'htap.order_log'::regclass::oid
       OR pg_snapshot_xmax(here.snapshot) > pg_snapshot_xmax(pg_current_snapshot()) THEN
        RAISE EXCEPTION '% must be rebuilt: it %', wanted,
            CASE WHEN here.snapshot IS NULL THEN 'was never filled' ELSE 'was filled in another database' END
            USING ERRCODE = 'HT004';
    END IF;
    older := here.snapshot;
    -- The clock before the snapshot: what committed before it is seen.
    as_of := clock_timestamp();
    SELECT pg_current_snapshot(), max(seq) INTO newer, heart FROM htap.heartbeat;
    IF EXISTS (SELECT FROM htap.dirty_log AS d WHERE d.what = 'all' AND NOT pg_visible_in_snapshot(d.xid, older)
                                                 AND pg_visible_in_snapshot(d.xid, newer)) THEN
        RAISE EXCEPTION '% must be rebuilt: a base table was truncated, or the log was cut', wanted USING ERRCODE = 'HT004';
    END IF;
    remaining := false;
    SELECT l.xid INTO boundary FROM htap.order_log AS l
    WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
    ORDER BY l.xid OFFSET step LIMIT 1;
    IF FOUND THEN
        -- Up to before that transaction, but for those that were under way then.
        newer := format('%s:%s:%s', least(pg_snapshot_xmin(newer), boundary), boundary,
                        (SELECT string_agg(x::text, ',' ORDER BY x) FROM pg_snapshot_xip(newer) AS x WHERE x < boundary))::pg_snapshot;
        -- A transaction at the boundary alone that is larger than the step is taken whole.
        IF NOT EXISTS (SELECT FROM htap.order_log AS l WHERE NOT pg_visible_in_snapshot(l.xid, older)
                                                         AND pg_visible_in_snapshot(l.xid, newer)) THEN
            newer := format('%s:%s:%s', least(pg_snapshot_xmin(pg_current_snapshot()), (boundary::text::bigint + 1)::text::xid8),
                            boundary::text::bigint + 1,
                            (SELECT string_agg(x::text, ',' ORDER BY x) FROM pg_snapshot_xip(pg_current_snapshot()) AS x WHERE x < boundary))::pg_snapshot;
        END IF;
        SELECT min(l.logged_at) INTO as_of FROM htap.order_log AS l WHERE NOT pg_visible_in_snapshot(l.xid, newer);
        remaining := true;
        heart := NULL;
    END IF;
    UPDATE htap.watermark AS w
    SET snapshot = newer, as_of = begin_merge.as_of, heartbeat = coalesce(heart, w.heartbeat)
    WHERE w.view = wanted;
END
$$;

-- Orders that stand anew in the fact table: those in the log, and those of users, products and categories
-- that changed.
CREATE OR REPLACE FUNCTION htap.dirty_orders(older pg_snapshot, newer pg_snapshot) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    WITH changed AS MATERIALIZED (
        SELECT d.what, d.id FROM htap.dirty_log AS d
        WHERE NOT pg_visible_in_snapshot(d.xid, older) AND pg_visible_in_snapshot(d.xid, newer)
    ), moved AS MATERIALIZED (
        SELECT id FROM changed WHERE what = 'product'
        UNION SELECT p.product_id FROM changed AS c JOIN shop.products AS p ON p.category_id = c.id WHERE c.what = 'category'
    )
    SELECT array_agg(order_id) FROM (
        SELECT l.order_id FROM htap.order_log AS l
        WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
        UNION SELECT id FROM changed WHERE what = 'order'
        UNION SELECT o.order_id FROM changed AS c JOIN shop.orders AS o ON o.user_id = c.id WHERE c.what = 'user' AND o.status = 3
        UNION SELECT f.order_id FROM mart.fact_sales AS f WHERE EXISTS (SELECT FROM moved) AND f.product_id IN (SELECT id FROM moved)
    ) AS dirty
$$;

CREATE OR REPLACE FUNCTION htap.merge_sales_hourly(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    older pg_snapshot;
    newer pg_snapshot;
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining FROM htap.begin_merge('mart.sales_hourly', step) AS m;
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
        RETURNING hour, user_id, order_count
    ), by_hour AS (
        INSERT INTO mart.sales_hourly AS t (hour, order_count, total_sales, unique_customers)
        SELECT d.hour, sum(d.n), sum(d.amount), sum((u.order_count > 0)::int - (u.order_count - d.n > 0)::int)
        FROM delta AS d JOIN by_user AS u USING (hour, user_id) GROUP BY d.hour ORDER BY d.hour
        ON CONFLICT (hour) DO UPDATE
        SET order_count = t.order_count + excluded.order_count, total_sales = t.total_sales + excluded.total_sales,
            unique_customers = t.unique_customers + excluded.unique_customers
    ), by_minute AS (
        INSERT INTO mart.realtime_summary AS t (window_start, total_amount, order_count)
        SELECT date_trunc('minute', f.completed_at, 'UTC'), sum(f.amount), sum(f.sign)
        FROM fresh AS f GROUP BY 1 HAVING sum(f.sign) <> 0 OR sum(f.amount) <> 0 ORDER BY 1
        ON CONFLICT (window_start) DO UPDATE
        SET order_count = t.order_count + excluded.order_count, total_amount = t.total_amount + excluded.total_amount
    )
    SELECT count(*) INTO changes FROM fresh;
    IF changes > 0 THEN
        -- Only a correction can leave a group empty.
        IF EXISTS (SELECT FROM htap.order_log AS l WHERE l.sign < 0 AND NOT pg_visible_in_snapshot(l.xid, older)
                                                     AND pg_visible_in_snapshot(l.xid, newer)) THEN
            DELETE FROM mart.sales_hourly_user AS t USING (
                SELECT DISTINCT date_trunc('hour', l.completed_at, 'UTC') AS hour, l.user_id FROM htap.order_log AS l
                WHERE l.sign < 0 AND NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)) AS d
            WHERE t.hour = d.hour AND t.user_id = d.user_id AND t.order_count = 0;
            DELETE FROM mart.sales_hourly AS t WHERE t.order_count = 0;
            DELETE FROM mart.realtime_summary AS t WHERE t.order_count = 0;
        END IF;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION htap.merge_fact_sales(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    older   pg_snapshot;
    newer   pg_snapshot;
    dirty   bigint[];
    removed bigint;
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining FROM htap.begin_merge('mart.fact_sales', step) AS m;
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
    ), by_day AS (
        INSERT INTO mart.daily_sales AS t (sale_date, product_id, category, total_quantity, total_amount, order_count)
        SELECT (g.sale_time AT TIME ZONE 'UTC')::date, g.product_id, g.category, -sum(g.quantity), -sum(g.sales_amount), -count(DISTINCT g.order_id)
        FROM gone AS g GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (sale_date, product_id, category) DO UPDATE
        SET total_quantity = t.total_quantity + excluded.total_quantity, total_amount = t.total_amount + excluded.total_amount,
            order_count = t.order_count + excluded.order_count
    )
    SELECT count(*) INTO removed FROM gone;
    WITH came AS (
        INSERT INTO mart.fact_sales (order_id, line_no, user_id, user_segment, product_id, category, quantity, sales_amount, sale_time)
        SELECT o.order_id, i.line_no, o.user_id, u.user_segment, i.product_id,
               -- Looked up line by line: in a join, of which the planner expects one row, it would be scanned for.
               (SELECT c.category_name FROM shop.products AS p JOIN shop.categories AS c USING (category_id)
                WHERE p.product_id = i.product_id),
               i.quantity, i.price * i.quantity, o.completed_at
        FROM unnest(dirty) AS d (id)
        JOIN shop.orders AS o ON o.order_id = d.id AND o.created_at = shop.order_time(d.id)
        JOIN shop.order_items AS i ON i.order_id = d.id AND i.created_at = shop.order_time(d.id)
        JOIN shop.users AS u ON u.user_id = o.user_id
        WHERE o.status = 3
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
    IF removed > 0 THEN
        DELETE FROM mart.category_hourly AS t WHERE t.order_count = 0;
        DELETE FROM mart.daily_sales AS t WHERE t.order_count = 0;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION htap.merge_segment_rfm(step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    older pg_snapshot;
    newer pg_snapshot;
    until date;
    today date := (now() AT TIME ZONE 'UTC')::date;
    dirty bigint[];
BEGIN
    SELECT m.older, m.newer, m.remaining INTO older, newer, remaining FROM htap.begin_merge('mart.segment_rfm', step) AS m;
    SELECT count(*) INTO changes FROM htap.order_log AS l
    WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer);
    IF changes > 0 THEN
        INSERT INTO mart.user_day AS t (user_id, day, orders, amount)
        SELECT l.user_id, (l.completed_at AT TIME ZONE 'UTC')::date, sum(l.sign), sum(l.sign * l.amount)
        FROM htap.order_log AS l
        WHERE NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
        GROUP BY 1, 2 HAVING sum(l.sign) <> 0 OR sum(l.sign * l.amount) <> 0 ORDER BY 1, 2
        ON CONFLICT (user_id, day) DO UPDATE SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount;
        DELETE FROM mart.user_day AS t USING htap.order_log AS l
        WHERE l.sign < 0 AND NOT pg_visible_in_snapshot(l.xid, older) AND pg_visible_in_snapshot(l.xid, newer)
          AND t.user_id = l.user_id AND t.day = (l.completed_at AT TIME ZONE 'UTC')::date AND t.orders = 0;
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
        SELECT u.user_id, u.user_segment, sum(t.orders)::bigint AS orders, sum(t.amount) AS amount, max(t.day) AS last_day
        FROM unnest(dirty) AS d (id) JOIN shop.users AS u ON u.user_id = d.id
        JOIN mart.user_day AS t ON t.user_id = d.id AND t.day BETWEEN today - 179 AND today
        GROUP BY u.user_id, u.user_segment
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
    DELETE FROM mart.segment_rfm WHERE users = 0;
END
$$;

-- Merges a summary and keeps the run. Without changes nothing is kept: only the watermark moves. Whoever calls it,
-- without JIT: where the planner expects many changes, compiling takes longer than all the rest of a merge of few.
CREATE OR REPLACE FUNCTION htap.merge(wanted text, step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean,
                                      OUT as_of timestamptz) LANGUAGE plpgsql SET jit = off AS $$
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

CREATE OR REPLACE FUNCTION htap.listed(columns text[]) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT string_agg(quote_ident(c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS l (c, n) $$;
CREATE OR REPLACE FUNCTION htap.prefixed(alias text, columns text[]) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT string_agg(format('%s.%I', alias, c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS l (c, n) $$;

-- Fills an incremental summary from the base tables; readers see the old rows until it commits. With
-- `by_difference` rows that are right stay untouched (as CONCURRENTLY does): slower, but little WAL, and a
-- later vacuum has little to do.
CREATE OR REPLACE FUNCTION htap.rebuild(wanted text, by_difference boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    entry   record;
    columns text[];
    keys    text[];
    reached pg_snapshot;
    started timestamptz;
    heart   bigint;
    filled  bigint;
    written bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('htap.merge'), hashtext(wanted)) THEN
        RAISE EXCEPTION '% is being refreshed by another session', wanted USING ERRCODE = 'HT003';
    END IF;
    SELECT * INTO entry FROM htap.view_def WHERE view = wanted AND kind = 'incremental';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no incremental summary %', wanted USING ERRCODE = 'undefined_table';
    END IF;
    -- One snapshot for all tables of the summary.
    IF current_setting('transaction_isolation') <> 'repeatable read' THEN
        RAISE EXCEPTION 'a rebuild needs a REPEATABLE READ transaction' USING ERRCODE = 'active_sql_transaction';
    END IF;
    -- The snapshot was taken before, by the statement that called this.
    started := now();
    SELECT pg_current_snapshot(), max(seq) INTO reached, heart FROM htap.heartbeat;
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
            ANALYZE fresh;
            EXECUTE format('DELETE FROM %1$s AS t WHERE NOT EXISTS (SELECT FROM fresh AS f WHERE (%2$s) = (%3$s) AND (%4$s) = (%5$s))',
                           entry.tables[i], htap.prefixed('t', keys), htap.prefixed('f', keys),
                           htap.prefixed('t', columns), htap.prefixed('f', columns));
            EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %3$s FROM fresh AS f WHERE NOT EXISTS (SELECT FROM %1$s AS t WHERE (%4$s) = (%5$s))',
                           entry.tables[i], htap.listed(columns), htap.prefixed('f', columns),
                           htap.prefixed('t', keys), htap.prefixed('f', keys));
            GET DIAGNOSTICS written = ROW_COUNT;
            DROP TABLE fresh;
        ELSE
            EXECUTE format('DELETE FROM %s', entry.tables[i]);
            EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM %1$s_query', entry.tables[i], htap.listed(columns));
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
        filled := coalesce(filled, written);
    END LOOP;
    UPDATE htap.watermark AS w
    SET snapshot = reached, as_of = started, heartbeat = heart, log_oid = 'htap.order_log'::regclass::oid
    WHERE w.view = wanted;
    RETURN filled;
END
$$;

-- Removes log rows that every summary has merged, and returns how many. More than `keep` of them are all
-- removed, and the summaries must be rebuilt: a log that nobody reads must not fill the disk.
CREATE OR REPLACE FUNCTION htap.trim_log(keep bigint DEFAULT 5000000) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    seen    pg_snapshot[];
    removed bigint;
BEGIN
    IF pg_relation_size('htap.order_log') > keep * 50 AND (SELECT count(*) FROM htap.order_log) > keep THEN
        INSERT INTO htap.dirty_log (what) VALUES ('all');
        DELETE FROM htap.order_log;
        GET DIAGNOSTICS removed = ROW_COUNT;
        RETURN removed;
    END IF;
    -- One that is being filled for the first time may need any row.
    IF EXISTS (SELECT FROM htap.watermark AS w WHERE w.snapshot IS NULL) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(w.snapshot) INTO seen FROM htap.watermark AS w;
    DELETE FROM htap.order_log AS l WHERE NOT EXISTS (SELECT FROM unnest(seen) AS s WHERE NOT pg_visible_in_snapshot(l.xid, s));
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM htap.dirty_log AS l WHERE NOT EXISTS (SELECT FROM unnest(seen) AS s WHERE NOT pg_visible_in_snapshot(l.xid, s));
    RETURN removed;
END
$$;

-- Forgets old runs and heartbeats, and removes log rows that are merged; how many of these.
CREATE OR REPLACE FUNCTION htap.tidy(keep interval DEFAULT '1 day') RETURNS bigint LANGUAGE sql AS $$
    DELETE FROM htap.refresh_run
    WHERE started < now() - keep
       OR mode = 'incremental' AND started < now() - least(keep, interval '1 hour');
    DELETE FROM htap.heartbeat WHERE committed_at < now() - interval '10 minutes';
    SELECT htap.trim_log();
$$;

-- Rows of `wanted` that a recomputation would not have ('extra') or would have besides ('missing'), for each
-- of its tables; none means equal. What is not merged yet shows as a difference: call it in a REPEATABLE READ
-- transaction right after a merge in the same transaction.
CREATE OR REPLACE FUNCTION htap.verify(wanted text) RETURNS TABLE (relation text, difference text, rows bigint, example text)
LANGUAGE plpgsql AS $$
DECLARE
    entry   text;
    columns text;
BEGIN
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
END
$$;
RESET ROLE;
