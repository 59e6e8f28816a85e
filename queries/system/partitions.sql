-- The months, oldest first, and the default partition last (month NULL). Rows are the planner's estimates.
SELECT to_char(month, 'YYYY-MM') AS month,
       count(*) FILTER (WHERE attached) AS attached,
       count(*) AS tables,
       coalesce(sum(rows) FILTER (WHERE partitioned = 'orders'), 0)::bigint AS orders,
       sum(rows)::bigint AS rows,
       sum(size_bytes)::bigint AS size_bytes
FROM htap.partition
GROUP BY month
ORDER BY month NULLS LAST
