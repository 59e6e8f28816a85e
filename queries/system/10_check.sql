-- What bypasses the triggers (session_replication_role = replica, a partition that is truncated, attached or
-- detached by hand, a trigger that is off) leaves a summary wrong without a row in the logs. It is looked for
-- piece by piece, as cheaply as merges go: a few customers, and a few rows of the summary, in each check, until
-- all were seen; then from the beginning.

-- A trigger that logs nothing: none, or which one.
CREATE OR REPLACE FUNCTION htap.capture_gap() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH wanted AS (
        SELECT to_regclass(v.relation) AS relation, v.name, v.each_row
        FROM (VALUES ('shop.orders', 'capture_insert', true), ('shop.orders', 'capture_update', true),
                     ('shop.orders', 'capture_delete', true), ('shop.orders', 'capture_truncate', false),
                     ('shop.order_items', 'capture_insert', true), ('shop.order_items', 'capture_change', true),
                     ('shop.order_items', 'capture_truncate', false), ('shop.users', 'capture_update', true),
                     ('shop.products', 'capture_update', true), ('shop.categories', 'capture_update', true))
             AS v (relation, name, each_row)
    ), place AS (
        SELECT w.relation, w.name FROM wanted AS w
        UNION ALL SELECT i.inhrelid, w.name FROM wanted AS w JOIN pg_inherits AS i ON i.inhparent = w.relation WHERE w.each_row
    ), fault AS (
        SELECT p.relation::regclass::text AS relation, p.name, t.oid IS NULL AS missing
        FROM place AS p LEFT JOIN pg_trigger AS t ON t.tgrelid = p.relation AND t.tgname = p.name
        WHERE t.oid IS NULL OR t.tgenabled NOT IN ('O', 'A')
    )
    SELECT format('trigger %s of %s is %s%s', f.name, f.relation, CASE WHEN f.missing THEN 'missing' ELSE 'disabled' END,
                  CASE WHEN n.n > 1 THEN format(' (and %s others)', n.n - 1) ELSE '' END)
    FROM fault AS f, (SELECT count(*) AS n FROM fault) AS n ORDER BY f.missing DESC, f.relation, f.name LIMIT 1
$$;

-- The pieces: each returns the last customer (or order) of the shop and the last row of the summary that it saw (none where there are no
-- more), how many groups differ, and one of them. One statement, hence one snapshot, of shop, summary and watermark;
-- what is not merged yet is left out.
-- The planner does not know how few rows a piece has, and would read whole tables: by indexes each piece takes some
-- milliseconds, however large the shop is.
CREATE OR REPLACE FUNCTION htap.check_segment_rfm(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH slice AS MATERIALIZED (
        SELECT u.user_id FROM shop.users AS u WHERE u.user_id > coalesce((after ->> 'user')::bigint, 0) ORDER BY u.user_id LIMIT pieces
    ), busy AS MATERIALIZED (
        SELECT l.user_id FROM htap.order_log AS l, htap.watermark AS w
        WHERE w.view = 'mart.segment_rfm' AND NOT pg_visible_in_snapshot(l.xid, w.snapshot)
    ), quiet AS MATERIALIZED (
        SELECT s.user_id FROM slice AS s WHERE s.user_id NOT IN (SELECT b.user_id FROM busy AS b)
    ), base AS (
        SELECT o.user_id, (o.completed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders, sum(o.total_amount) AS amount
        FROM quiet AS q JOIN shop.orders AS o ON o.user_id = q.user_id WHERE o.status = 3 GROUP BY 1, 2
    ), held AS (
        SELECT t.user_id, t.day, t.orders, t.amount FROM quiet AS q JOIN mart.user_day AS t ON t.user_id = q.user_id
    ), differs AS MATERIALIZED (
        SELECT user_id, day, b.orders, b.amount, h.orders AS held, h.amount AS held_amount
        FROM base AS b FULL JOIN held AS h USING (user_id, day)
        WHERE (b.orders, b.amount) IS DISTINCT FROM (h.orders, h.amount)
    )
    SELECT (SELECT jsonb_build_object('user', max(s.user_id)) FROM slice AS s HAVING count(*) = pieces),
           (SELECT count(*) FROM differs),
           (SELECT format('customer %s on %s: the shop has %s orders of %s, the summary %s of %s', d.user_id, d.day,
                          coalesce(d.orders, 0), coalesce(d.amount, 0), coalesce(d.held, 0), coalesce(d.held_amount, 0))
            FROM differs AS d ORDER BY d.user_id, d.day LIMIT 1)
$$;

CREATE OR REPLACE FUNCTION htap.check_sales_hourly(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH slice AS MATERIALIZED (
        SELECT u.user_id FROM shop.users AS u WHERE u.user_id > coalesce((after ->> 'user')::bigint, 0) ORDER BY u.user_id LIMIT pieces
    ), back AS MATERIALIZED (
        SELECT t.hour, t.user_id FROM mart.sales_hourly_user AS t
        WHERE (t.hour, t.user_id) > (coalesce((after ->> 'hour')::timestamptz, '-infinity'), coalesce((after ->> 'of')::bigint, 0))
        ORDER BY t.hour, t.user_id LIMIT pieces
    ), busy AS MATERIALIZED (
        SELECT l.user_id FROM htap.order_log AS l, htap.watermark AS w
        WHERE w.view = 'mart.sales_hourly' AND NOT pg_visible_in_snapshot(l.xid, w.snapshot)
    ), quiet AS MATERIALIZED (
        SELECT s.user_id FROM (SELECT user_id FROM slice UNION SELECT user_id FROM back) AS s
        WHERE s.user_id NOT IN (SELECT b.user_id FROM busy AS b)
    ), base AS MATERIALIZED (
        SELECT date_trunc('hour', o.completed_at, 'UTC') AS hour, o.user_id, count(*) AS orders, sum(o.total_amount) AS amount
        FROM quiet AS q JOIN shop.orders AS o ON o.user_id = q.user_id WHERE o.status = 3 GROUP BY 1, 2
    ), keys AS (
        SELECT b.hour, b.user_id FROM base AS b UNION SELECT b.hour, b.user_id FROM back AS b JOIN quiet AS q ON q.user_id = b.user_id
    ), differs AS MATERIALIZED (
        SELECT e.hour, e.user_id, max(e.orders) AS orders, max(e.amount) AS amount, max(e.held) AS held, max(e.held_amount) AS held_amount
        FROM (SELECT b.hour, b.user_id, b.orders, b.amount, NULL::bigint AS held, NULL::numeric AS held_amount FROM base AS b
              UNION ALL
              SELECT t.hour, t.user_id, NULL, NULL, t.order_count, t.total_sales
              FROM keys AS k JOIN mart.sales_hourly_user AS t ON t.hour = k.hour AND t.user_id = k.user_id) AS e
        GROUP BY e.hour, e.user_id HAVING (max(e.orders), max(e.amount)) IS DISTINCT FROM (max(e.held), max(e.held_amount))
    )
    SELECT CASE WHEN c.more OR b.hour IS NOT NULL THEN
               jsonb_build_object('user', CASE WHEN c.more THEN c.last ELSE 9223372036854775807 END,
                                  'hour', coalesce(b.hour, 'infinity'), 'of', coalesce(b.user_id, 0)) END,
           (SELECT count(*) FROM differs),
           (SELECT format('customer %s in the hour %s: the shop has %s orders of %s, the summary %s of %s', d.user_id,
                          to_char(d.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                          coalesce(d.orders, 0), coalesce(d.amount, 0), coalesce(d.held, 0), coalesce(d.held_amount, 0))
            FROM differs AS d ORDER BY d.hour, d.user_id LIMIT 1)
    FROM (SELECT count(*) = pieces AS more, max(s.user_id) AS last FROM slice AS s) AS c
    LEFT JOIN (SELECT b.hour, b.user_id FROM back AS b WHERE (SELECT count(*) FROM back) = pieces
               ORDER BY b.hour DESC, b.user_id DESC LIMIT 1) AS b ON true
$$;

CREATE OR REPLACE FUNCTION htap.check_fact_sales(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH slice AS MATERIALIZED (
        SELECT o.order_id FROM shop.orders AS o WHERE o.status = 3 AND o.order_id > coalesce((after ->> 'of')::bigint, 0)
        ORDER BY o.order_id LIMIT pieces
    ), back AS MATERIALIZED (
        SELECT f.order_id FROM mart.fact_sales AS f WHERE f.order_id > coalesce((after ->> 'order')::bigint, 0)
        ORDER BY f.order_id LIMIT pieces
    ), unseen AS MATERIALIZED (
        SELECT u.what, u.id
        FROM (SELECT l.xid, 'order' AS what, l.order_id AS id FROM htap.order_log AS l
              UNION ALL SELECT d.xid, d.what, d.id FROM htap.dirty_log AS d) AS u, htap.watermark AS w
        WHERE w.view = 'mart.fact_sales' AND NOT pg_visible_in_snapshot(u.xid, w.snapshot)
    ), quiet AS MATERIALIZED (
        SELECT s.order_id
        FROM (SELECT c.order_id FROM slice AS c UNION SELECT b.order_id FROM back AS b) AS s
        WHERE NOT EXISTS (SELECT FROM unseen AS u WHERE u.what <> 'order')
          AND s.order_id NOT IN (SELECT u.id FROM unseen AS u WHERE u.what = 'order')
    ), base AS MATERIALIZED (
        SELECT o.order_id, i.line_no, o.user_id, u.user_segment, i.product_id,
               (SELECT c.category_name FROM shop.products AS p JOIN shop.categories AS c USING (category_id)
                WHERE p.product_id = i.product_id) AS category,
               i.quantity, i.price * i.quantity AS sales_amount, o.completed_at AS sale_time
        FROM quiet AS q
        JOIN shop.orders AS o ON o.order_id = q.order_id AND o.created_at = shop.order_time(q.order_id)
        JOIN shop.order_items AS i ON i.order_id = q.order_id AND i.created_at = shop.order_time(q.order_id)
        JOIN shop.users AS u ON u.user_id = o.user_id
        WHERE o.status = 3
    ), held AS MATERIALIZED (
        SELECT f.order_id, f.line_no, f.user_id, f.user_segment, f.product_id, f.category, f.quantity, f.sales_amount, f.sale_time
        FROM quiet AS q JOIN mart.fact_sales AS f ON f.order_id = q.order_id
    ), differs AS MATERIALIZED (
        SELECT 'not in the summary' AS side, m.* FROM (SELECT * FROM base EXCEPT ALL SELECT * FROM held) AS m
        UNION ALL SELECT 'in the summary only', e.* FROM (SELECT * FROM held EXCEPT ALL SELECT * FROM base) AS e
    )
    SELECT CASE WHEN c.more OR b.more THEN
               jsonb_build_object('of', CASE WHEN c.more THEN c.last ELSE 9223372036854775807 END,
                                  'order', CASE WHEN b.more THEN b.last ELSE 9223372036854775807 END) END,
           (SELECT count(*) FROM differs),
           (SELECT format('order %s, line %s: %s x product %s for %s is %s', d.order_id, d.line_no, d.quantity, d.product_id,
                          d.sales_amount, d.side)
            FROM differs AS d ORDER BY d.order_id, d.line_no, d.side LIMIT 1)
    FROM (SELECT count(*) = pieces AS more, max(s.order_id) AS last FROM slice AS s) AS c,
         (SELECT count(*) = pieces AS more, max(s.order_id) AS last FROM back AS s) AS b
$$;

-- The totals: what the other tables of a summary hold is the sum of what its rows above hold, in the same snapshot,
-- whatever is merged. A few hours at a time, as many as have some thousand orders, or one; a few customers.
-- Minutes are compared by the hour, products by the day and category.
CREATE OR REPLACE FUNCTION htap.total_sales_hourly(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH here AS (
        SELECT coalesce((after ->> 'since')::timestamptz, '-infinity') AS since
    ), hour AS (
        SELECT h.hour, sum(h.order_count) OVER (ORDER BY h.hour) - h.order_count AS before, count(*) OVER () AS n
        FROM (SELECT t.hour, t.order_count FROM mart.sales_hourly AS t, here AS c WHERE t.hour >= c.since ORDER BY t.hour LIMIT pieces) AS h
    ), range AS MATERIALIZED (
        -- Where there are no more, to the end.
        SELECT c.since, coalesce((SELECT max(h.hour) + interval '1 hour' FROM hour AS h WHERE h.before < 20 * pieces
                                  HAVING count(*) < max(h.n) OR max(h.n) = pieces), 'infinity') AS until
        FROM here AS c
    ), held AS (
        SELECT t.hour, t.order_count, t.total_sales, t.unique_customers
        FROM mart.sales_hourly AS t WHERE t.hour >= (SELECT r.since FROM range AS r) AND t.hour < (SELECT r.until FROM range AS r)
    ), customers AS (
        SELECT t.hour, sum(t.order_count) AS orders, sum(t.total_sales) AS amount, count(*) AS customers
        FROM mart.sales_hourly_user AS t WHERE t.hour >= (SELECT r.since FROM range AS r) AND t.hour < (SELECT r.until FROM range AS r) GROUP BY t.hour
    ), minutes AS (
        SELECT date_trunc('hour', t.window_start, 'UTC') AS hour, sum(t.order_count) AS orders, sum(t.total_amount) AS amount
        FROM mart.realtime_merge AS t WHERE t.window_start >= (SELECT r.since FROM range AS r) AND t.window_start < (SELECT r.until FROM range AS r) GROUP BY 1
    ), differs AS MATERIALIZED (
        SELECT hour, 'mart.sales_hourly' AS relation, h.order_count AS held, h.total_sales AS held_amount, c.orders, c.amount, c.customers
        FROM held AS h FULL JOIN customers AS c USING (hour)
        WHERE (h.order_count, h.total_sales, h.unique_customers) IS DISTINCT FROM (c.orders::bigint, c.amount, c.customers)
        UNION ALL
        SELECT hour, 'mart.realtime_merge', m.orders, m.amount, c.orders, c.amount, c.customers
        FROM minutes AS m FULL JOIN customers AS c USING (hour)
        WHERE (m.orders, m.amount) IS DISTINCT FROM (c.orders, c.amount)
    )
    SELECT (SELECT jsonb_build_object('since', r.until) FROM range AS r WHERE r.until < 'infinity'),
           (SELECT count(*) FROM differs),
           (SELECT format('%s in the hour %s holds %s orders of %s, its customers have %s of %s (%s customers)', d.relation,
                          to_char(d.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                          coalesce(d.held, 0), coalesce(d.held_amount, 0), coalesce(d.orders, 0), coalesce(d.amount, 0), coalesce(d.customers, 0))
            FROM differs AS d ORDER BY d.relation DESC, d.hour LIMIT 1)
$$;

CREATE OR REPLACE FUNCTION htap.total_fact_sales(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH here AS (
        SELECT coalesce((after ->> 'since')::timestamptz, '-infinity') AS since
    ), hour AS (
        SELECT h.hour, sum(sum(h.order_count)) OVER (ORDER BY h.hour) - sum(h.order_count) AS before, sum(count(*)) OVER () AS n
        FROM (SELECT t.hour, t.order_count FROM mart.category_hourly AS t, here AS c WHERE t.hour >= c.since ORDER BY t.hour LIMIT pieces) AS h
        GROUP BY h.hour
    ), range AS MATERIALIZED (
        SELECT c.since, coalesce((SELECT max(h.hour) + interval '1 hour' FROM hour AS h WHERE h.before < 10 * pieces
                                  HAVING count(*) < (SELECT count(*) FROM hour) OR max(h.n) = pieces), 'infinity') AS until
        FROM here AS c
    ), held AS (
        SELECT t.hour, t.category, t.total_quantity, t.total_amount, t.order_count
        FROM mart.category_hourly AS t WHERE t.hour >= (SELECT r.since FROM range AS r) AND t.hour < (SELECT r.until FROM range AS r)
    ), lines AS (
        SELECT date_trunc('hour', f.sale_time, 'UTC') AS hour, f.category, sum(f.quantity) AS quantity, sum(f.sales_amount) AS amount,
               count(DISTINCT f.order_id) AS orders
        FROM mart.fact_sales AS f WHERE f.sale_time >= (SELECT r.since FROM range AS r) AND f.sale_time < (SELECT r.until FROM range AS r) GROUP BY 1, 2
    ), day AS MATERIALIZED (
        -- Those of which the last hour was reached.
        SELECT t.day, t.category, sum(t.total_quantity) AS quantity, sum(t.total_amount) AS amount
        FROM (SELECT (g.hour AT TIME ZONE 'UTC')::date AS day, g.category, g.total_quantity, g.total_amount
              FROM mart.category_hourly AS g
              WHERE g.hour >= date_trunc('day', (SELECT r.since FROM range AS r), 'UTC') AND g.hour < date_trunc('day', (SELECT r.until FROM range AS r), 'UTC')) AS t
        GROUP BY 1, 2
    ), products AS (
        SELECT t.sale_date AS day, t.category, sum(t.total_quantity) AS quantity, sum(t.total_amount) AS amount
        FROM mart.daily_sales AS t
        WHERE t.sale_date >= ((SELECT r.since FROM range AS r) AT TIME ZONE 'UTC')::date AND t.sale_date < ((SELECT r.until FROM range AS r) AT TIME ZONE 'UTC')::date GROUP BY 1, 2
    ), differs AS MATERIALIZED (
        SELECT 'mart.category_hourly' AS relation, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS moment, category,
               h.total_quantity AS held, h.total_amount AS held_amount, l.quantity, l.amount
        FROM held AS h FULL JOIN lines AS l USING (hour, category)
        WHERE (h.total_quantity, h.total_amount, h.order_count) IS DISTINCT FROM (l.quantity, l.amount, l.orders)
        UNION ALL
        SELECT 'mart.daily_sales', to_char(day, 'YYYY-MM-DD'), category, p.quantity, p.amount, d.quantity, d.amount
        FROM products AS p FULL JOIN day AS d USING (day, category)
        WHERE (p.quantity, p.amount) IS DISTINCT FROM (d.quantity, d.amount)
    )
    SELECT (SELECT jsonb_build_object('since', r.until) FROM range AS r WHERE r.until < 'infinity'),
           (SELECT count(*) FROM differs),
           (SELECT format('%s of %s at %s holds %s pieces for %s, the lines have %s for %s', d.relation, d.category, d.moment,
                          coalesce(d.held, 0), coalesce(d.held_amount, 0), coalesce(d.quantity, 0), coalesce(d.amount, 0))
            FROM differs AS d ORDER BY d.relation, d.moment, d.category LIMIT 1)
$$;

CREATE OR REPLACE FUNCTION htap.total_segment_rfm(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH slice AS MATERIALIZED (
        SELECT u.user_id FROM shop.users AS u WHERE u.user_id > coalesce((after ->> 'user')::bigint, 0) ORDER BY u.user_id LIMIT pieces
    ), range AS MATERIALIZED (
        SELECT coalesce((after ->> 'user')::bigint, -9223372036854775808) AS above,
               CASE WHEN count(*) = pieces THEN max(s.user_id) ELSE 9223372036854775807 END AS last
        FROM slice AS s
    ), moved AS MATERIALIZED (
        SELECT d.id FROM htap.dirty_log AS d, htap.watermark AS w
        WHERE w.view = 'mart.segment_rfm' AND d.what = 'user' AND NOT pg_visible_in_snapshot(d.xid, w.snapshot)
    ), days AS (
        SELECT t.user_id, sum(t.orders)::bigint AS orders, sum(t.amount) AS amount, max(t.day) AS last_day
        FROM mart.rfm_window AS w, mart.user_day AS t
        WHERE t.user_id > (SELECT r.above FROM range AS r) AND t.user_id <= (SELECT r.last FROM range AS r)
          -- Not by the index on days, of which these are all.
          AND t.day + 0 BETWEEN w.day - 179 AND w.day GROUP BY t.user_id
    ), held AS (
        SELECT t.* FROM mart.user_rfm AS t WHERE t.user_id > (SELECT r.above FROM range AS r) AND t.user_id <= (SELECT r.last FROM range AS r)
    ), segment AS (
        -- Once in a round, at its end.
        SELECT t.user_segment, count(*) AS users, sum(t.orders)::bigint AS orders, sum(t.amount) AS amount,
               sum(t.last_day - date '2000-01-01')::bigint AS last_days
        FROM mart.user_rfm AS t WHERE (SELECT r.last = 9223372036854775807 FROM range AS r) GROUP BY t.user_segment
    ), differs AS MATERIALIZED (
        SELECT format('mart.user_rfm of customer %s', user_id) AS what, h.orders AS held, h.amount AS held_amount, d.orders, d.amount
        FROM held AS h FULL JOIN days AS d USING (user_id) LEFT JOIN shop.users AS u USING (user_id)
        WHERE (h.orders, h.amount, h.last_day) IS DISTINCT FROM (d.orders, d.amount, d.last_day)
           OR h.user_segment <> u.user_segment AND user_id NOT IN (SELECT m.id FROM moved AS m)
        UNION ALL
        SELECT format('mart.segment_rfm of %s', user_segment), t.orders, t.amount, s.orders, s.amount
        FROM (SELECT t.* FROM mart.segment_rfm AS t WHERE (SELECT r.last = 9223372036854775807 FROM range AS r)) AS t
        FULL JOIN segment AS s USING (user_segment)
        WHERE (t.users, t.orders, t.amount, t.last_days) IS DISTINCT FROM (s.users, s.orders, s.amount, s.last_days)
    )
    SELECT (SELECT jsonb_build_object('user', r.last) FROM range AS r WHERE r.last < 9223372036854775807),
           (SELECT count(*) FROM differs),
           (SELECT format('%s holds %s orders of %s, its days have %s of %s', d.what, coalesce(d.held, 0), coalesce(d.held_amount, 0),
                          coalesce(d.orders, 0), coalesce(d.amount, 0))
            FROM differs AS d ORDER BY d.what DESC LIMIT 1)
$$;

-- Looks at the next piece of a summary and keeps what was found in its watermark, until it is filled anew or all
-- of it was seen again without a difference; returns that. A month that is truncated is found with the first
-- customers who bought in it, a single row when it is its turn.
CREATE OR REPLACE FUNCTION htap.check_capture(wanted text, pieces integer DEFAULT 200) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here   htap.watermark;
    rows   record;
    totals record;
    months bigint;
    more   jsonb;
    fault  text;
    wrong  bigint;
BEGIN
    -- A month that comes or goes is seen by who reads the shop at once, whatever the snapshot. None can go now; and
    -- where one came, what was read is not compared.
    LOCK TABLE ONLY shop.orders, ONLY shop.order_items IN ACCESS SHARE MODE;
    SELECT count(*) INTO months FROM pg_partition_tree('shop.orders');
    SELECT * INTO here FROM htap.watermark AS w WHERE w.view = wanted AND w.snapshot IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT NULL::jsonb AS reached, 0::bigint AS wrong, NULL::text AS example INTO rows;
    totals := rows;
    more := coalesce(here.checked_to, '{"rows": {}, "totals": {}}');
    IF more ? 'rows' THEN
        CASE wanted
            WHEN 'mart.sales_hourly' THEN SELECT * INTO rows FROM htap.check_sales_hourly(more -> 'rows', pieces);
            WHEN 'mart.fact_sales' THEN SELECT * INTO rows FROM htap.check_fact_sales(more -> 'rows', 2 * pieces);
            WHEN 'mart.segment_rfm' THEN SELECT * INTO rows FROM htap.check_segment_rfm(more -> 'rows', pieces);
        END CASE;
    END IF;
    IF more ? 'totals' THEN
        CASE wanted
            WHEN 'mart.sales_hourly' THEN SELECT * INTO totals FROM htap.total_sales_hourly(more -> 'totals', pieces);
            WHEN 'mart.fact_sales' THEN SELECT * INTO totals FROM htap.total_fact_sales(more -> 'totals', pieces);
            WHEN 'mart.segment_rfm' THEN SELECT * INTO totals FROM htap.total_segment_rfm(more -> 'totals', pieces);
        END CASE;
    END IF;
    IF months <> (SELECT count(*) FROM pg_partition_tree('shop.orders')) THEN
        RETURN nullif(concat_ws('; ', here.gap, here.uncaptured), '');
    END IF;
    more := nullif(jsonb_strip_nulls(jsonb_build_object('rows', rows.reached, 'totals', totals.reached)), '{}');
    wrong := rows.wrong + totals.wrong;
    -- Nothing has differed since the beginning of the round.
    here.clean := here.clean AND wrong = 0;
    fault := CASE WHEN wrong > 0 THEN
                 coalesce(rows.example, totals.example) || CASE WHEN wrong > 1 THEN format(' (and %s more)', wrong - 1) ELSE '' END
                 WHEN more IS NOT NULL OR NOT here.clean THEN here.uncaptured END;
    UPDATE htap.watermark AS w
    SET checked_at = clock_timestamp(), checked_to = more, clean = more IS NULL OR here.clean,
        uncaptured = fault, gap = htap.capture_gap()
    WHERE w.view = wanted AND w.snapshot::text = here.snapshot::text
    RETURNING concat_ws('; ', w.gap, w.uncaptured) INTO fault;
    RETURN nullif(fault, '');
END
$$;
