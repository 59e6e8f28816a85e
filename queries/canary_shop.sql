-- title = "Canary"
-- pool = "oltp"
-- interval = "200ms"
-- internal = true
-- sampling = { point_query = true }
-- needs = ["shop.products"]
-- about = """
-- Reads a product's price by its key: its time at the client, round trip included, is the latency probe of the
-- shop. Cost: 0.02 ms. Blind spot: one hot row; takes no row lock and writes nothing, so it reflects CPU and
-- network, not lock queues or commit.
-- """

SELECT p.price::pg_catalog.text AS price
FROM shop.products AS p
WHERE p.product_id = 1
