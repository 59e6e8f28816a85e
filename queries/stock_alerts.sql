-- title = "Stock alerts"
-- pool = "olap"
-- interval = "5s"
-- order = 90
-- needs = ["shop.inventory", "shop.products", "shop.categories", "mart.daily_sales"]
-- remedy = "htap-top init"
-- chart = { kind = "table" }
-- key = ["product_id"]
-- labels = ["product_id", "product"]
-- compact = ["product", "quantity", "reorder_point", "left_s"]
-- about = """
-- Products whose stock is below their reorder point, worst first: the stock as it is at this moment, with
-- how long it lasts at the pace of the last two days.
-- Cost: a scan of shop.inventory and two days of mart.daily_sales, a few milliseconds. It reads the
-- hottest table of the shop but waits for no lock.
-- Blind spot: the pace is that of two days and knows nothing of a rush that has just
-- begun; goods on their way are not known here."""
--
-- [columns.product_id]
-- hidden = true
-- help = "Key of the product."
-- [columns.product]
-- help = "Name of the product."
-- [columns.category]
-- help = "Its category."
-- [columns.quantity]
-- title = "in stock"
-- unit = "count"
-- help = "Pieces that can be sold now. 0 means that orders with this product fail."
-- [columns.reorder_point]
-- title = "reorder at"
-- unit = "count"
-- help = "Below this many pieces the product should be ordered."
-- [columns.sold_per_hour]
-- title = "sold/h"
-- help = "Pieces per hour over today and yesterday (UTC days)."
-- [columns.left_s]
-- title = "lasts"
-- unit = "seconds"
-- help = "Stock divided by that pace; none if nothing was sold."
SELECT i.product_id::bigint                  AS product_id,
       p.product_name::text                  AS product,
       c.category_name::text                 AS category,
       i.quantity::bigint                    AS quantity,
       i.reorder_point::bigint               AS reorder_point,
       round(s.per_hour, 1)::numeric(12,1)   AS sold_per_hour,
       (i.quantity / nullif(s.per_hour, 0) * 3600)::float8 AS left_s
FROM shop.inventory AS i
JOIN shop.products AS p USING (product_id)
JOIN shop.categories AS c USING (category_id)
LEFT JOIN (SELECT product_id,
                  sum(total_quantity) * 3600.0
                  / extract(epoch FROM now() - (((now() AT TIME ZONE 'UTC')::date - 1)::timestamp AT TIME ZONE 'UTC'))::numeric
                  AS per_hour
           FROM mart.daily_sales
           WHERE sale_date >= (now() AT TIME ZONE 'UTC')::date - 1
           GROUP BY product_id) AS s USING (product_id)
WHERE i.quantity < i.reorder_point
ORDER BY i.quantity::float8 / i.reorder_point, s.per_hour DESC NULLS LAST, i.product_id
LIMIT 100
