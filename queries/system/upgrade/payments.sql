-- Version 1 had neither payments nor shipments: an order that is paid has a payment, one that is shipped a shipment.
-- When they were made is not known; not after the order was last changed.
INSERT INTO shop.payments (order_id, created_at, amount, paid_at)
SELECT o.order_id, o.created_at, o.total_amount, greatest(o.created_at, least(o.updated_at, o.completed_at)) FROM shop.orders AS o
WHERE o.status IN (1, 2, 3)
ON CONFLICT DO NOTHING;
INSERT INTO shop.shipments (order_id, created_at, shipped_at)
SELECT o.order_id, o.created_at, greatest(o.created_at, least(o.updated_at, o.completed_at)) FROM shop.orders AS o
WHERE o.status IN (2, 3)
ON CONFLICT DO NOTHING;
