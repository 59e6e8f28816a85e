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
CREATE OR REPLACE FUNCTION htap.check_segment_rfm(after jsonb, pieces integer, OUT reached jsonb, OUT wrong bigint, OUT example text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH slice AS MATERIALIZED (
        SELECT u.user_id FROM shop.users AS u WHERE u.user_id > coalesce((after ->> 'user')::bigint, 0) ORDER BY u.user_id LIMIT pieces
    ), busy AS MATERIALIZED (
        SELECT l.user_id FROM htap.order_log AS l, htap.watermark AS w
        WHERE w.view = 'mart.segment_rfm' AND NOT pg_visible_in_snapshot(l.xid, w.snapshot)
    ), quiet AS MATERIALIZED (
        SELECT s.user_id FROM slice AS s WHERE NOT EXISTS (SELECT FROM busy AS b WHERE b.user_id = s.user_id)
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
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
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
        WHERE NOT EXISTS (SELECT FROM busy AS b WHERE b.user_id = s.user_id)
    ), base AS MATERIALIZED (
        SELECT date_trunc('hour', o.completed_at, 'UTC') AS hour, o.user_id, count(*) AS orders, sum(o.total_amount) AS amount
        FROM quiet AS q JOIN shop.orders AS o ON o.user_id = q.user_id WHERE o.status = 3 GROUP BY 1, 2
    ), keys AS (
        SELECT b.hour, b.user_id FROM base AS b UNION SELECT b.hour, b.user_id FROM back AS b JOIN quiet AS q ON q.user_id = b.user_id
    ), differs AS MATERIALIZED (
        SELECT k.hour, k.user_id, b.orders, b.amount, t.order_count AS held, t.total_sales AS held_amount
        FROM keys AS k LEFT JOIN base AS b ON b.hour = k.hour AND b.user_id = k.user_id
        LEFT JOIN mart.sales_hourly_user AS t ON t.hour = k.hour AND t.user_id = k.user_id
        WHERE (b.orders, b.amount) IS DISTINCT FROM (t.order_count, t.total_sales)
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
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
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
        WHERE NOT EXISTS (SELECT FROM unseen AS u WHERE u.what <> 'order' OR u.id = s.order_id)
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

-- Looks at the next piece of a summary and keeps what was found in its watermark, until it is filled anew or all
-- of it was seen again without a difference; returns that. A month that is truncated is found with the first
-- customers who bought in it, a single row when it is its turn.
CREATE OR REPLACE FUNCTION htap.check_capture(wanted text, pieces integer DEFAULT 200) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here  htap.watermark;
    piece record;
    fault text;
BEGIN
    SELECT * INTO here FROM htap.watermark AS w WHERE w.view = wanted AND w.snapshot IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    CASE wanted
        WHEN 'mart.sales_hourly' THEN SELECT * INTO piece FROM htap.check_sales_hourly(here.checked_to, pieces);
        WHEN 'mart.fact_sales' THEN SELECT * INTO piece FROM htap.check_fact_sales(here.checked_to, 2 * pieces);
        WHEN 'mart.segment_rfm' THEN SELECT * INTO piece FROM htap.check_segment_rfm(here.checked_to, pieces);
    END CASE;
    -- Nothing has differed since the beginning of the round.
    here.clean := here.clean AND piece.wrong = 0;
    fault := CASE WHEN piece.wrong > 0 THEN
                 piece.example || CASE WHEN piece.wrong > 1 THEN format(' (and %s more)', piece.wrong - 1) ELSE '' END
                 WHEN piece.reached IS NOT NULL OR NOT here.clean THEN here.uncaptured END;
    UPDATE htap.watermark AS w
    SET checked_at = clock_timestamp(), checked_to = piece.reached, clean = piece.reached IS NULL OR here.clean,
        uncaptured = fault, gap = htap.capture_gap()
    WHERE w.view = wanted AND w.snapshot::text = here.snapshot::text
    RETURNING concat_ws('; ', w.gap, w.uncaptured) INTO fault;
    RETURN nullif(fault, '');
END
$$;
