-- The windows of `htap-top stream run` as a job of Apache Flink 2.2: sales by minute, category and segment, from the topic
-- of orders (docs/stream.md) into mart.realtime_flink (table.sql). docs/flink.md tells what it does and does not.
-- queries/flink/run.sh replaces ${BROKERS}, ${TOPIC} and ${DATABASE} and starts it.

SET 'pipeline.name' = 'orders';
SET 'table.local-time-zone' = 'UTC';

-- A window is written one second after it changed, and takes late events for an hour after its end, by the watermark.
--
-- The window TVFs of current Flink drop every late event. A GROUP BY of the minute would count it, but forgets a group by
-- the clock (table.exec.state.ttl): after an outage that is longer than that, the next late event would begin at zero and
-- replace the sum in the table by its own amount. The older group window with these settings does what is wanted: its
-- state goes when the watermark passes, however long the job was down.
SET 'table.exec.emit.early-fire.enabled' = 'true';
SET 'table.exec.emit.early-fire.delay' = '1 s';
SET 'table.exec.emit.late-fire.enabled' = 'true';
SET 'table.exec.emit.late-fire.delay' = '1 s';
SET 'table.exec.emit.allow-lateness' = '1 h';

-- How long the number of an event is remembered, by the clock. It must be longer than the lateness: a copy that comes after
-- it counts again if its window still takes events.
SET 'table.exec.state.ttl' = '3 h';

CREATE TEMPORARY TABLE orders (
    v BIGINT,
    event STRING,
    event_id BIGINT,
    order_id BIGINT,
    `at` TIMESTAMP_LTZ(6),
    was_at TIMESTAMP_LTZ(6),
    segment STRING,
    lines ARRAY<ROW<category STRING, quantity BIGINT, amount STRING>>,
    sent_at TIMESTAMP_LTZ(3) NOT NULL METADATA FROM 'timestamp' VIRTUAL,
    read_at AS PROCTIME(),
    -- What is no event must not move the watermark either: a time in the year 9999 would end all windows. That of the
    -- record instead of the clock, so that the job comes to the same result when it reads the topic again.
    is_event AS COALESCE(v = 1 AND event IN ('created', 'paid', 'shipped', 'completed', 'cancelled')
                         AND event_id IS NOT NULL AND order_id IS NOT NULL
                         AND `at` BETWEEN TO_TIMESTAMP_LTZ(946684800000, 3) AND sent_at + INTERVAL '10' MINUTE, FALSE),
    -- The window is that of the sale, but the watermark follows the time of the event: for a cancellation they differ.
    sold_at AS CAST(COALESCE(CASE event WHEN 'completed' THEN `at` WHEN 'cancelled' THEN was_at END,
                             TO_TIMESTAMP_LTZ(0, 3)) AS TIMESTAMP_LTZ(3)),
    WATERMARK FOR sold_at AS CASE WHEN is_event THEN CAST(`at` AS TIMESTAMP_LTZ(3)) - INTERVAL '5' SECOND END
) WITH (
    'connector' = 'kafka',
    'properties.bootstrap.servers' = '${BROKERS}',
    'properties.group.id' = 'htap-flink',
    'topic' = '${TOPIC}',
    -- Where there is no checkpoint; else its offsets count.
    'scan.startup.mode' = 'earliest-offset',
    'scan.watermark.idle-timeout' = '10 s',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true'
);

CREATE TEMPORARY TABLE realtime_flink (
    window_start TIMESTAMP(3),
    category STRING,
    segment STRING,
    amount DECIMAL(38, 4),
    quantity BIGINT,
    orders BIGINT,
    PRIMARY KEY (window_start, category, segment) NOT ENFORCED
) WITH (
    'connector' = 'jdbc',
    'url' = '${DATABASE}',
    'table-name' = 'mart.realtime_flink',
    'sink.buffer-flush.interval' = '500 ms',
    'sink.buffer-flush.max-rows' = '5000'
);

-- Sales and what is taken back, each event once. The relay sends an event again if it was killed; the copy has the same
-- event_id, another offset, and may come late.
CREATE TEMPORARY VIEW sales AS
SELECT sold_at, segment, lines, CASE event WHEN 'completed' THEN 1 ELSE -1 END AS sign
FROM (
    SELECT event, sold_at, segment, lines, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY read_at) AS copy
    FROM orders
    WHERE is_event
      AND (event = 'completed'
           OR event = 'cancelled' AND was_at BETWEEN TO_TIMESTAMP_LTZ(946684800000, 3) AND `at`)
      AND CHAR_LENGTH(segment) <= 200 AND POSITION(U&'\0000' IN segment) = 0
)
WHERE copy = 1;

INSERT INTO realtime_flink
SELECT TUMBLE_START(sold_at, INTERVAL '1' MINUTE), category, segment,
       SUM(sign * CAST(amount AS DECIMAL(20, 4))), SUM(sign * quantity), CAST(SUM(sign) AS BIGINT)
FROM sales CROSS JOIN UNNEST(lines) AS line (category, quantity, amount)
WHERE CHAR_LENGTH(category) <= 200 AND POSITION(U&'\0000' IN category) = 0
  AND quantity BETWEEN 1 AND 32767000000
  AND REGEXP(amount, '^([0-9]{1,16}[.]?[0-9]{0,4}|[.][0-9]{1,4})$')
GROUP BY TUMBLE(sold_at, INTERVAL '1' MINUTE), category, segment;
