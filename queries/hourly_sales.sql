-- title = "Hourly sales · 24 h"
-- pool = "olap"
-- interval = "5s"
-- order = 10
-- digit = 1
-- needs = ["mart.sales_hourly"]
-- remedy = "htap-top init"
-- chart = { kind = "bars", x = "hour", y = "sales", compare = "previous", partial = "partial" }
-- key = ["hour"]
-- about = """
-- Sales of completed orders per hour: the last 24 hours with the current one, oldest first, each beside
-- the same hour of the day before. An hour without sales is 0, not left out.
-- Cost: one index range of mart.sales_hourly, well under 1 ms.
-- Blind spot: the view is as old as its last refresh, so the current hour lags; orders count in the hour
-- they were completed in, and unpaid, unshipped and cancelled ones not at all.
--
-- With pool = "columnar" in the configuration it is asked in the column store, from the sales of the last 48 hours: the same
-- figures, as old as mart.fact_sales. Cost: about 0.1 s beside the server."""
--
-- [columns.hour]
-- unit = "hour"
-- help = "Beginning of the hour."
-- [columns.sales]
-- unit = "money"
-- help = "Total of the orders completed in this hour."
-- [columns.previous]
-- title = "day before"
-- unit = "money"
-- help = "The same hour 24 hours earlier, always a whole hour: compare the current one with care."
-- [columns.partial]
-- unit = "flag"
-- hidden = true
-- help = "The hour is not over."
-- [columns.orders]
-- unit = "count"
-- help = "Orders completed in this hour."
-- [columns.avg_order]
-- title = "avg"
-- unit = "money"
-- help = "Sales divided by orders; empty without orders."
-- [columns.customers]
-- title = "users"
-- unit = "count"
-- help = "Different customers in this hour. Do not add them up over hours: the same customer may be in several."
SELECT extract(epoch FROM h.hour)::float8               AS hour,
       coalesce(now_.total_sales, 0)::numeric(20,2)     AS sales,
       coalesce(before.total_sales, 0)::numeric(20,2)   AS previous,
       h.hour = date_trunc('hour', now(), 'UTC')        AS partial,
       coalesce(now_.order_count, 0)::bigint            AS orders,
       (now_.total_sales / now_.order_count)::numeric(20,0) AS avg_order,
       coalesce(now_.unique_customers, 0)::bigint       AS customers
FROM generate_series(date_trunc('hour', now(), 'UTC') - interval '23 hours',
                     date_trunc('hour', now(), 'UTC'), interval '1 hour') AS h (hour)
LEFT JOIN mart.sales_hourly AS now_ ON now_.hour = h.hour
LEFT JOIN mart.sales_hourly AS before ON before.hour = h.hour - interval '24 hours'
ORDER BY h.hour
