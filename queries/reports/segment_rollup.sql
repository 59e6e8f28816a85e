-- Customers of the last 180 days by segment: how many, and on average what they spent, how often and how long ago.
SELECT user_segment, users AS user_count, amount / users AS avg_ltv, orders::float8 / users AS avg_frequency,
       (now() AT TIME ZONE 'UTC')::date - date '2000-01-01' - last_days::float8 / users AS avg_recency_days,
       (SELECT heartbeat FROM htap.watermark WHERE view = 'mart.segment_rfm') AS heartbeat
FROM mart.segment_rfm
