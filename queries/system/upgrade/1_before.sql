-- From version 1 (orders in one table, numbered by a sequence; materialized views only), before the files of
-- the schema: what is made anew steps aside, with its rows, indexes and sequence.
CREATE SCHEMA htap_upgrade;
DROP TRIGGER IF EXISTS guard_status ON shop.orders;
ALTER TABLE shop.order_items SET SCHEMA htap_upgrade;
ALTER TABLE shop.orders SET SCHEMA htap_upgrade;
ALTER TABLE shop.inventory DROP CONSTRAINT inventory_reorder_point_check, DROP CONSTRAINT inventory_quantity_check,
    ADD CONSTRAINT inventory_quantity_check CHECK (least(quantity, reorder_point) >= 0), SET (fillfactor = 90);
ALTER TABLE htap.refresh_target SET SCHEMA htap_upgrade;
DROP MATERIALIZED VIEW IF EXISTS mart.daily_sales_summary, mart.fact_sales_mv, mart.user_behavior_mv, mart.sales_hourly_mv;
