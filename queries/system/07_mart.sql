-- OLAP: the summaries of the case study, once as tables merged incrementally and once, where the case study
-- has them, as materialized views. Each is defined by a view `<table>_query` that computes it from the base tables:
-- what a materialized view stores, what a rebuild fills in, and what `htap-top refresh --verify` compares with.
-- Sales count when an order is completed, by the time of its completion. Averages are derived from sum and
-- count, because a mean of means is no mean; different customers are counted exactly, because they do not
-- add up over hours.
COMMENT ON SCHEMA mart IS 'htap-top: summaries of the shop';

-- Sales by hour, with who bought how often in it, which makes different customers exact.
CREATE OR REPLACE VIEW mart.sales_hourly_user_query AS
SELECT date_trunc('hour', completed_at, 'UTC') AS hour, user_id, count(*) AS order_count, sum(total_amount) AS total_sales
FROM shop.orders WHERE status = 3 GROUP BY 1, 2;
CREATE TABLE IF NOT EXISTS mart.sales_hourly_user (
    hour        timestamptz NOT NULL,
    user_id     bigint NOT NULL,
    order_count bigint NOT NULL,
    total_sales numeric NOT NULL,
    PRIMARY KEY (hour, user_id)
) WITH (fillfactor = 80);

CREATE OR REPLACE VIEW mart.sales_hourly_query AS
SELECT date_trunc('hour', completed_at, 'UTC')           AS hour,
       count(*)                                          AS order_count,
       sum(total_amount)                                 AS total_sales,
       count(DISTINCT user_id)                           AS unique_customers,
       round(sum(total_amount) / count(*), 2)            AS avg_order_value
FROM shop.orders WHERE status = 3 GROUP BY 1;
CREATE TABLE IF NOT EXISTS mart.sales_hourly (
    hour             timestamptz PRIMARY KEY,
    order_count      bigint NOT NULL,
    total_sales      numeric NOT NULL,
    unique_customers bigint NOT NULL,
    avg_order_value  numeric GENERATED ALWAYS AS (round(total_sales / nullif(order_count, 0), 2)) STORED
) WITH (fillfactor = 50);

-- Sales by minute: the window the case study's stream closes. The merged ones were realtime_summary in earlier versions: who
-- may read that may read the view of this name, and what depends on the table goes on with the merged ones.
DO $$
DECLARE
    readers text;
BEGIN
    IF (SELECT c.relkind FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass('mart.realtime_summary')) = 'r' THEN
        ALTER TABLE mart.realtime_summary RENAME TO realtime_merge;
        ALTER TABLE mart.realtime_merge RENAME CONSTRAINT realtime_summary_pkey TO realtime_merge_pkey;
        ALTER VIEW mart.realtime_summary_query RENAME TO realtime_merge_query;
        UPDATE htap.view_def SET tables = array_replace(tables, 'mart.realtime_summary', 'mart.realtime_merge');
        CREATE VIEW mart.realtime_summary AS SELECT m.window_start, m.total_amount, m.order_count FROM mart.realtime_merge AS m;
        FOR readers IN
            SELECT format('GRANT SELECT%s ON mart.realtime_summary TO %s', p.columns,
                          CASE WHEN p.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END)
                   || CASE WHEN p.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM (SELECT '' AS columns, a.* FROM pg_catalog.pg_class AS c, aclexplode(c.relacl) AS a
                  WHERE c.oid = 'mart.realtime_merge'::regclass
                  UNION ALL SELECT format(' (%I)', t.attname), a.* FROM pg_catalog.pg_attribute AS t, aclexplode(t.attacl) AS a
                  WHERE t.attrelid = 'mart.realtime_merge'::regclass) AS p
            WHERE p.privilege_type = 'SELECT' AND p.grantee <> 'htap_owner'::regrole
        LOOP
            EXECUTE readers;
        END LOOP;
    END IF;
END
$$;
CREATE OR REPLACE VIEW mart.realtime_merge_query AS
SELECT date_trunc('minute', completed_at, 'UTC') AS window_start, sum(total_amount) AS total_amount, count(*) AS order_count
FROM shop.orders WHERE status = 3 GROUP BY 1;
CREATE TABLE IF NOT EXISTS mart.realtime_merge (
    window_start timestamptz PRIMARY KEY,
    total_amount numeric NOT NULL,
    order_count  bigint NOT NULL
) WITH (fillfactor = 80);

-- The same from the merge or from the stream, never from both: a statement sees one row of htap.realtime_source.
CREATE OR REPLACE VIEW mart.realtime_summary AS
SELECT m.window_start, m.total_amount, m.order_count
FROM mart.realtime_merge AS m WHERE (SELECT s.source FROM htap.realtime_source AS s) = 'merge'
UNION ALL
SELECT r.window_start, sum(r.amount), sum(r.distinct_orders)::bigint
FROM mart.realtime_stream AS r WHERE (SELECT s.source FROM htap.realtime_source AS s) = 'stream'
GROUP BY r.window_start HAVING sum(r.distinct_orders) <> 0;

-- For the owner of the shop. From the stream there are windows since it began only, as wide as its own.
CREATE OR REPLACE FUNCTION htap.switch_realtime(wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF wanted IS NULL OR wanted NOT IN ('merge', 'stream') THEN
        RAISE EXCEPTION 'mart.realtime_summary is answered from merge or stream, not from %', coalesce(wanted, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF wanted = 'stream' THEN
        IF NOT EXISTS (SELECT FROM htap.stream_state AS s WHERE s.component = 'aggregator' AND s.state = 'running'
                       AND s.reported_at > clock_timestamp() - interval '5 seconds') THEN
            RAISE EXCEPTION 'no aggregator runs: mart.realtime_stream would not change'
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Start htap-top stream relay and htap-top stream run.';
        END IF;
        IF NOT EXISTS (SELECT FROM mart.realtime_stream) THEN
            RAISE EXCEPTION 'mart.realtime_stream is empty: no completed order has come through the stream'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'SELECT htap.switch_outbox(true) lets the shop write events; then wait for a completed order.';
        END IF;
        IF EXISTS (SELECT FROM mart.realtime_stream AS r WHERE r.distinct_orders IS NULL) THEN
            RAISE EXCEPTION 'mart.realtime_stream has windows whose numbers of orders were not counted'
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Remove the rows whose distinct_orders is NULL.';
        END IF;
    END IF;
    UPDATE htap.realtime_source AS s SET source = wanted, switched_at = clock_timestamp() WHERE s.source <> wanted;
END
$$;

-- One row per line of a completed order, with the dimensions as they are now.
-- A line has its order's time, by its foreign key. To join by that too would only mislead the planner, which
-- takes the two conditions for independent and expects a single row.
CREATE OR REPLACE VIEW mart.fact_sales_query AS
SELECT i.order_id,
       i.line_no,
       o.user_id,
       u.user_segment,
       i.product_id,
       c.category_name      AS category,
       i.quantity,
       i.price * i.quantity AS sales_amount,
       o.completed_at       AS sale_time
FROM shop.orders AS o
JOIN shop.order_items AS i ON i.order_id = o.order_id
JOIN shop.users AS u ON u.user_id = o.user_id
JOIN shop.products AS p ON p.product_id = i.product_id
JOIN shop.categories AS c ON c.category_id = p.category_id
WHERE o.status = 3;
CREATE TABLE IF NOT EXISTS mart.fact_sales (
    order_id     bigint NOT NULL,
    line_no      smallint NOT NULL,
    user_id      bigint NOT NULL,
    user_segment text NOT NULL,
    product_id   bigint NOT NULL,
    category     text NOT NULL,
    quantity     integer NOT NULL,
    sales_amount numeric NOT NULL,
    sale_time    timestamptz NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
CREATE INDEX IF NOT EXISTS fact_sales_sale_time_idx ON mart.fact_sales USING brin (sale_time) WITH (pages_per_range = 16);

CREATE OR REPLACE VIEW mart.category_hourly_query AS
SELECT date_trunc('hour', sale_time, 'UTC') AS hour, category, sum(quantity) AS total_quantity,
       sum(sales_amount) AS total_amount, count(DISTINCT order_id) AS order_count
FROM mart.fact_sales_query GROUP BY 1, 2;
CREATE TABLE IF NOT EXISTS mart.category_hourly (
    hour           timestamptz NOT NULL,
    category       text NOT NULL,
    total_quantity bigint NOT NULL,
    total_amount   numeric NOT NULL,
    order_count    bigint NOT NULL,
    PRIMARY KEY (hour, category)
) WITH (fillfactor = 70);

CREATE OR REPLACE VIEW mart.daily_sales_query AS
SELECT (sale_time AT TIME ZONE 'UTC')::date AS sale_date, product_id, category, sum(quantity) AS total_quantity,
       sum(sales_amount) AS total_amount, count(DISTINCT order_id) AS order_count
FROM mart.fact_sales_query GROUP BY 1, 2, 3;
CREATE TABLE IF NOT EXISTS mart.daily_sales (
    sale_date      date NOT NULL,
    product_id     bigint NOT NULL,
    category       text NOT NULL,
    total_quantity bigint NOT NULL,
    total_amount   numeric NOT NULL,
    order_count    bigint NOT NULL,
    PRIMARY KEY (sale_date, product_id, category)
) WITH (fillfactor = 80);

-- RFM over the 180 UTC days that end with the day the summary has reached: per customer, and per segment,
-- which is the grain of the case study's question. Recency of a segment in days: day * users - last_days.
CREATE TABLE IF NOT EXISTS mart.rfm_window (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    day      date NOT NULL
);
CREATE OR REPLACE VIEW mart.user_day_query AS
SELECT user_id, (completed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders, sum(total_amount) AS amount
FROM shop.orders WHERE status = 3 GROUP BY 1, 2;
CREATE TABLE IF NOT EXISTS mart.user_day (
    user_id bigint NOT NULL,
    day     date NOT NULL,
    orders  bigint NOT NULL,
    amount  numeric NOT NULL,
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS user_day_day_idx ON mart.user_day (day);

CREATE OR REPLACE VIEW mart.user_rfm_query AS
SELECT u.user_id, u.user_segment, sum(d.orders)::bigint AS orders, sum(d.amount) AS amount, max(d.day) AS last_day
FROM mart.user_day_query AS d
JOIN shop.users AS u USING (user_id)
JOIN mart.rfm_window AS w ON d.day BETWEEN w.day - 179 AND w.day
GROUP BY u.user_id, u.user_segment;
CREATE TABLE IF NOT EXISTS mart.user_rfm (
    user_id      bigint PRIMARY KEY,
    user_segment text NOT NULL,
    orders       bigint NOT NULL,
    amount       numeric NOT NULL,
    last_day     date NOT NULL
) WITH (fillfactor = 70);

CREATE OR REPLACE VIEW mart.segment_rfm_query AS
SELECT user_segment, count(*) AS users, sum(orders)::bigint AS orders, sum(amount) AS amount,
       sum(last_day - date '2000-01-01')::bigint AS last_days
FROM mart.user_rfm_query GROUP BY user_segment;
CREATE TABLE IF NOT EXISTS mart.segment_rfm (
    user_segment text PRIMARY KEY,
    users        bigint NOT NULL,
    orders       bigint NOT NULL,
    amount       numeric NOT NULL,
    last_days    bigint NOT NULL
) WITH (fillfactor = 20);
COMMENT ON COLUMN mart.segment_rfm.last_days IS 'sum over users of the days from 2000-01-01 to the last order';

-- The case study's own names: materialized views, now with the unique index that CONCURRENTLY needs.
CREATE MATERIALIZED VIEW IF NOT EXISTS mart.sales_hourly_mv AS SELECT * FROM mart.sales_hourly_query WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS sales_hourly_mv_key ON mart.sales_hourly_mv (hour);

CREATE MATERIALIZED VIEW IF NOT EXISTS mart.fact_sales_mv AS SELECT * FROM mart.fact_sales_query WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS fact_sales_mv_key ON mart.fact_sales_mv (order_id, line_no);
CREATE INDEX IF NOT EXISTS fact_sales_mv_sale_time_idx ON mart.fact_sales_mv USING brin (sale_time) WITH (pages_per_range = 16);

-- RFM scores, in fifths from 1 (worst) to 5 (best), of those who bought within 180 days; the others have
-- none. They depend on the order of the customers only, not on the clock, so they may be kept.
CREATE MATERIALIZED VIEW IF NOT EXISTS mart.user_behavior_mv AS
WITH ordered AS (
    SELECT user_id, min(created_at) AS first_order_at, max(created_at) AS last_order_at,
           count(*) AS order_count, sum(total_amount) AS total_amount
    FROM shop.orders WHERE status <> 4 GROUP BY user_id
), scored AS (
    SELECT user_id,
           ntile(5) OVER (ORDER BY last_order_at, user_id) AS recency_score,
           ntile(5) OVER (ORDER BY order_count, user_id)   AS frequency_score,
           ntile(5) OVER (ORDER BY total_amount, user_id)  AS monetary_score
    FROM ordered WHERE last_order_at >= now() - interval '180 days'
)
SELECT u.user_id,
       u.user_segment,
       u.registered_at,
       o.first_order_at,
       o.last_order_at,
       coalesce(o.order_count, 0)  AS order_count,
       coalesce(o.total_amount, 0) AS total_amount,
       e.last_login_at,
       s.recency_score,
       s.frequency_score,
       s.monetary_score
FROM shop.users AS u
LEFT JOIN ordered AS o USING (user_id)
LEFT JOIN scored AS s USING (user_id)
LEFT JOIN (SELECT user_id, max(occurred_at) AS last_login_at
           FROM shop.user_events WHERE event_kind = 0 GROUP BY user_id) AS e USING (user_id)
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS user_behavior_mv_key ON mart.user_behavior_mv (user_id);

-- Reads another materialized view: refresh fact_sales_mv first.
CREATE MATERIALIZED VIEW IF NOT EXISTS mart.daily_sales_summary AS
SELECT (sale_time AT TIME ZONE 'UTC')::date AS sale_date,
       product_id,
       category,
       sum(quantity)                        AS total_quantity,
       sum(sales_amount)                    AS total_amount,
       count(DISTINCT order_id)             AS order_count
FROM mart.fact_sales_mv
GROUP BY 1, 2, 3
WITH NO DATA;
CREATE UNIQUE INDEX IF NOT EXISTS daily_sales_summary_key ON mart.daily_sales_summary (sale_date, product_id, category);

-- Products to be ordered again, from the stock as it is.
CREATE OR REPLACE VIEW mart.inventory_alert AS
SELECT i.product_id, p.product_name, c.category_name AS category, i.quantity, i.reorder_point
FROM shop.inventory AS i JOIN shop.products AS p USING (product_id) JOIN shop.categories AS c USING (category_id)
WHERE i.quantity < i.reorder_point;

-- The case study's other names, with its types: its questions are answered as they are written, because the roles of
-- applications look into mart first, then into shop (00_roles.sql).
CREATE OR REPLACE VIEW mart.dim_users AS
SELECT user_id, user_name, user_segment, (registered_at AT TIME ZONE 'UTC')::date AS registration_date, registered_at AS created_at
FROM shop.users;
CREATE OR REPLACE VIEW mart.dim_products AS
SELECT p.product_id, p.product_name, c.category_name AS category, p.price
FROM shop.products AS p JOIN shop.categories AS c USING (category_id);
CREATE OR REPLACE VIEW mart.orders AS
SELECT order_id, user_id, total_amount,
       CASE status WHEN 0 THEN 'pending' WHEN 1 THEN 'paid' WHEN 2 THEN 'shipped' WHEN 3 THEN 'completed' WHEN 4 THEN 'cancelled' END
           AS status,
       created_at, updated_at, completed_at
FROM shop.orders;

-- Who refreshes a materialized view says how fresh it should be; by itself nobody does.
INSERT INTO htap.view_def (view, kind, tables, freshness, depth) VALUES
    ('mart.sales_hourly', 'incremental', '{mart.sales_hourly,mart.sales_hourly_user,mart.realtime_merge}', '2 seconds', 0),
    ('mart.fact_sales', 'incremental', '{mart.fact_sales,mart.category_hourly,mart.daily_sales}', '5 seconds', 0),
    ('mart.segment_rfm', 'incremental', '{mart.segment_rfm,mart.user_rfm,mart.user_day}', '5 seconds', 0),
    ('mart.sales_hourly_mv', 'materialized', '{mart.sales_hourly_mv}', NULL, 0),
    ('mart.user_behavior_mv', 'materialized', '{mart.user_behavior_mv}', NULL, 0),
    ('mart.fact_sales_mv', 'materialized', '{mart.fact_sales_mv}', NULL, 0),
    ('mart.daily_sales_summary', 'materialized', '{mart.daily_sales_summary}', NULL, 1)
ON CONFLICT (view) DO NOTHING;
INSERT INTO htap.watermark (view) SELECT view FROM htap.view_def WHERE kind = 'incremental' ON CONFLICT DO NOTHING;
