-- From version 1, once the tables are there and before the triggers are: the rows come back. An order keeps its
-- time, to the millisecond, and gets a number that says it; orders of one millisecond keep their order. Of the
-- number's 22 bits that are not time, node and counter, all are the counter's here: nothing else made numbers then.
SELECT count(htap.make_month(month AT TIME ZONE 'UTC')) AS months
FROM (SELECT DISTINCT date_trunc('month', created_at AT TIME ZONE 'UTC') AS month FROM htap_upgrade.orders) AS m;

CREATE TABLE htap_upgrade.number AS
SELECT order_id AS old_id,
       (round(extract(epoch FROM date_trunc('milliseconds', created_at))::numeric * 1000)::bigint - 1577836800000) << 22
       | (row_number() OVER (PARTITION BY date_trunc('milliseconds', created_at) ORDER BY order_id) - 1) AS order_id
FROM htap_upgrade.orders;
ALTER TABLE htap_upgrade.number ADD PRIMARY KEY (old_id);
ANALYZE htap_upgrade.number;

INSERT INTO shop.orders (order_id, user_id, status, total_amount, created_at, updated_at, completed_at)
SELECT n.order_id, o.user_id, o.status, o.total_amount, shop.order_time(n.order_id), o.updated_at, o.completed_at
FROM htap_upgrade.orders AS o JOIN htap_upgrade.number AS n ON n.old_id = o.order_id
ORDER BY n.order_id;
INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
SELECT n.order_id, shop.order_time(n.order_id), i.line_no, i.product_id, i.quantity, i.price
FROM htap_upgrade.order_items AS i JOIN htap_upgrade.number AS n ON n.old_id = i.order_id
ORDER BY n.order_id, i.line_no;

-- How old each view may be, as it was set.
INSERT INTO htap.view_def (view, kind, tables, freshness, depth)
SELECT view, 'materialized', ARRAY[view], freshness, depth FROM htap_upgrade.refresh_target WHERE freshness > interval '0';

DROP TABLE htap_upgrade.number, htap_upgrade.order_items, htap_upgrade.orders, htap_upgrade.refresh_target;
DROP SCHEMA htap_upgrade;
ANALYZE shop.orders, shop.order_items;
