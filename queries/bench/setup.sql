-- What the experiments need besides the shop: the same orders without partitions, and an index of each kind
-- on the time of a sale, each on a table of its own.
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.orders_plain AS SELECT * FROM shop.orders;
CREATE INDEX ON bench.orders_plain USING brin (created_at) WITH (pages_per_range = 16);
CREATE TABLE bench.sales_btree AS SELECT * FROM mart.fact_sales ORDER BY sale_time;
CREATE INDEX sales_btree_idx ON bench.sales_btree (sale_time);
CREATE TABLE bench.sales_brin AS SELECT * FROM mart.fact_sales ORDER BY sale_time;
CREATE INDEX sales_brin_idx ON bench.sales_brin USING brin (sale_time);
CREATE TABLE bench.sales_none AS SELECT * FROM mart.fact_sales ORDER BY sale_time;
