-- title = "Stream"
-- pool = "oltp"
-- interval = "1s"
-- order = 167
-- letter = "m"
-- needs = ["htap.stream_state", "htap.stream_offset", "htap.stream_progress", "htap.stream_pause", "htap.dead_letter", "htap.outbox", "htap.stream_slot"]
-- remedy = "htap-top init"
-- key = ["stage", "name"]
-- narrow = ["stage", "name", "state", "since_s", "rate", "lag_rows", "lag_ms", "error"]
-- compact = ["stage", "name", "state", "since_s", "rate", "lag_rows", "lag_ms", "fresh_p50_ms", "fresh_p99_ms", "watermark_s", "dead_letters", "late_events", "duplicates", "error"]
-- empty = "nothing is streamed: no row in the outbox, no relay, no aggregator (htap-top help stream)"
-- about = """
-- The stream of orders, stage by stage: outbox or replication slot, relay, partitions of the topic, aggregator, table. What is behind shows
-- where it is held up. Written once per second by `htap-top stream relay` and `htap-top stream run` into
-- htap.stream_state and htap.stream_offset.
--
-- Cost: 0.3 ms, with a long outbox 2 ms; asked every 10 s while nothing is streamed.
-- Blind spot: readers of the topic other than htap-top's are not seen, and neither is the broker's own disk.
-- """
--
-- [columns.stage]
-- help = "outbox: events that are not sent yet. slot: the replication slot, if events come from one. relay, aggregator: a row per process. partition: of the topic, as the aggregator reads it. table: mart.realtime_stream. dead letters: those of the last 10 minutes, if there are any."
-- [columns.name]
-- help = "Process: its number and a random one (the end of instance in htap.stream_state). Or topic and partition."
-- [columns.state]
-- help = "Of a process: running; waiting (another one leads); paused; broker (it cannot be reached); fenced (a later one took over); reset (the topic is not the one that was read before); silent (it has not reported for 5 s, so it has stopped). Of a partition: read to its end, behind, or idle (no record for a while: it does not hold the watermark up). Of the outbox: on or off (htap.switch_outbox), or paused: relays do not send it. Of a slot: on or off (htap.switch_to_slot), paused, or events of it are lost: gone (there is no such slot), lost (the server has removed its WAL), moved (it is further than what was sent)."
-- [columns.since_s]
-- title = "for"
-- unit = "seconds"
-- help = "How long a process has been in this state; silent: since its last report; paused: since somebody paused relays. Dead letters: since the first one of the last 10 minutes."
-- [columns.rate]
-- title = "rate"
-- unit = "per_second"
-- help = "Records per second that it sent or read."
-- [columns.lag_rows]
-- title = "lag"
-- unit = "count"
-- help = "Outbox and relay: rows that are not sent (of a slot nobody knows), counted to 10,000 in the outbox and to 100,000 by the relay. Partition and aggregator: records that are not read."
-- [columns.lag_ms]
-- title = "lag time"
-- unit = "ms"
-- warn = 5000.0
-- danger = 60000.0
-- help = "Relay: the age of the first row that is not sent. With a slot: at most so old is an event that is not sent. Aggregator: the age of the last event that was counted, if it lags."
-- [columns.lag_bytes]
-- title = "lag size"
-- hidden = true
-- unit = "bytes"
-- help = "Rows that are not sent, or records that are not read, times the mean size of one. With a slot: WAL since the last event that was sent, of whatever is in it."
-- [columns.fresh_p50_ms]
-- title = "fresh p50"
-- unit = "ms"
-- help = "Aggregator: time from an order's completion to the commit that shows it in mart.realtime_stream; the median of the last minute. By the database's clock, from the event's at, which is before the commit of the order: so it is at most that much. Events that are not counted yet are not in it: see lag."
-- [columns.fresh_p99_ms]
-- title = "fresh p99"
-- unit = "ms"
-- warn = 5000.0
-- danger = 60000.0
-- help = "The same: 99 in 100 were visible within this time."
-- [columns.watermark_s]
-- title = "watermark"
-- unit = "seconds"
-- help = "Age of the watermark: no event of an earlier time is expected. Of the table: that of the windows that are final."
-- [columns.next_offset]
-- title = "offset"
-- hidden = true
-- help = "Offset that is read next."
-- [columns.end_offset]
-- title = "end"
-- hidden = true
-- help = "End of the partition at the last look."
-- [columns.dead_letters]
-- title = "dead"
-- unit = "count"
-- help = "Records that are no event (htap.dead_letter), since the process began. Of the stage of this name: in the last 10 minutes, counted to 10,000."
-- [columns.late_events]
-- title = "late"
-- unit = "count"
-- help = "Events beyond the limit of lateness, which do not count (htap.late_event), since the process began."
-- [columns.duplicates]
-- unit = "count"
-- help = "Events that were sent twice and counted once, since the process began."
-- [columns.error]
-- help = "Its last error; paused: by whom; dead letters: the last one, by topic and offset, with the reason."
-- [columns.last_s]
-- title = "last"
-- hidden = true
-- unit = "seconds"
-- help = "Age of the last dead letter."
-- [columns.records]
-- hidden = true
-- unit = "count"
-- help = "Records that the process has sent or read since it began."
-- [columns.topic]
-- hidden = true
-- help = "Topic."
-- [columns.partition]
-- hidden = true
-- help = "Number of the partition."

WITH process AS MATERIALIZED (
    SELECT s.component, s.instance, s.topic, s.state, s.since, s.rate, s.records, s.lag_rows, s.lag_ms, s.lag_bytes, s.dead_letters,
           s.late_events, s.duplicates, s.fresh_p50_ms, s.fresh_p99_ms, s.error,
           extract(epoch FROM pg_catalog.clock_timestamp() - s.reported_at) AS silent_s,
           extract(epoch FROM pg_catalog.clock_timestamp() - s.since) AS since_s
    FROM htap.stream_state AS s
    ORDER BY s.reported_at DESC
    LIMIT 50
), pause AS MATERIALIZED (
    SELECT extract(epoch FROM pg_catalog.clock_timestamp() - p.paused_at) AS since_s, 'by '::pg_catalog.text || p.paused_by AS who
    FROM htap.stream_pause AS p
), dead AS MATERIALIZED (
    SELECT d.written_at, d.topic, d.partition, d.record_offset, d.reason
    FROM htap.dead_letter AS d
    WHERE d.written_at > pg_catalog.now() - '10 min'::pg_catalog.interval
    ORDER BY d.written_at DESC
    LIMIT 10000
)
SELECT t.stage,
       t.name,
       t.state,
       t.since_s::pg_catalog.float8 AS since_s,
       t.rate::pg_catalog.float8 AS rate,
       t.lag_rows::pg_catalog.int8 AS lag_rows,
       t.lag_ms::pg_catalog.float8 AS lag_ms,
       t.lag_bytes::pg_catalog.int8 AS lag_bytes,
       t.fresh_p50_ms::pg_catalog.float8 AS fresh_p50_ms,
       t.fresh_p99_ms::pg_catalog.float8 AS fresh_p99_ms,
       t.watermark_s::pg_catalog.float8 AS watermark_s,
       t.next_offset::pg_catalog.int8 AS next_offset,
       t.end_offset::pg_catalog.int8 AS end_offset,
       t.dead_letters::pg_catalog.int8 AS dead_letters,
       t.late_events::pg_catalog.int8 AS late_events,
       t.duplicates::pg_catalog.int8 AS duplicates,
       t.error::pg_catalog.text AS error,
       t.last_s::pg_catalog.float8 AS last_s,
       t.records::pg_catalog.int8 AS records,
       t.topic::pg_catalog.text AS topic,
       t.partition::pg_catalog.int8 AS partition
FROM (
    SELECT CASE p.component WHEN 'relay' THEN 2 ELSE 4 END AS place,
           p.component AS stage,
           CASE WHEN pg_catalog.strpos(p.instance, p.component || ' '::pg_catalog.text) = 1
                THEN pg_catalog.substr(p.instance, pg_catalog.length(p.component) + 2) ELSE p.instance END AS name,
           CASE WHEN p.silent_s > 5 THEN 'silent' ELSE p.state END AS state,
           CASE WHEN p.silent_s > 5 THEN p.silent_s WHEN p.state = 'paused' THEN coalesce(z.since_s, p.since_s) ELSE p.since_s END
               AS since_s,
           p.rate, p.lag_rows, p.lag_ms, p.lag_bytes, p.fresh_p50_ms, p.fresh_p99_ms,
           NULL::pg_catalog.float8 AS watermark_s,
           NULL::pg_catalog.int8 AS next_offset,
           NULL::pg_catalog.int8 AS end_offset,
           p.dead_letters, p.late_events, p.duplicates,
           CASE WHEN p.state = 'paused' THEN z.who ELSE p.error END AS error,
           NULL::pg_catalog.float8 AS last_s, p.records, p.topic, NULL::pg_catalog.int4 AS partition
    FROM process AS p LEFT JOIN pause AS z ON true
    UNION ALL
    SELECT 1, 'outbox', '', CASE WHEN z.who IS NOT NULL THEN 'paused' WHEN o.enabled THEN 'on' ELSE 'off' END, z.since_s, NULL,
           o.waiting, extract(epoch FROM pg_catalog.clock_timestamp() - o.first_at) * 1000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           z.who, NULL, NULL, NULL, NULL
    FROM (
        SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM htap.outbox LIMIT 10000) AS w) AS waiting,
               (SELECT b.occurred_at FROM htap.outbox AS b ORDER BY b.xid, b.event_id LIMIT 1) AS first_at,
               EXISTS (SELECT FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = 'shop.orders'::pg_catalog.regclass
                       AND g.tgname = 'publish' AND g.tgenabled <> 'D' AND g.tgnargs = 0) AS enabled,
               EXISTS (SELECT FROM htap.stream_slot AS s WHERE s.ended_at IS NULL) AS by_slot
    ) AS o LEFT JOIN pause AS z ON true
    WHERE o.enabled OR o.waiting > 0 OR z.who IS NOT NULL AND NOT o.by_slot
    UNION ALL
    SELECT 1, 'slot', w.slot,
           CASE WHEN w.standby OR r.sound THEN CASE WHEN z.who IS NOT NULL THEN 'paused' WHEN w.written THEN 'on' ELSE 'off' END
                WHEN r.sound IS NULL THEN 'gone' WHEN r.lost THEN 'lost'
                -- A relay that runs moves it while this statement runs, and would have ended.
                WHEN EXISTS (SELECT FROM process AS p WHERE p.component = 'relay' AND p.state <> 'reset' AND p.silent_s <= 5) THEN 'on'
                ELSE 'moved' END,
           z.since_s, NULL, NULL,
           CASE WHEN w.leads THEN extract(epoch FROM pg_catalog.clock_timestamp() - w.sent_at) * 1000 END,
           CASE WHEN w.leads AND NOT w.standby
                THEN /*?lag_bytes*/ pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), w.sent_to)
                     /*:NULL::pg_catalog.numeric*/ END,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, z.who, NULL, NULL, NULL, NULL
    FROM (
        SELECT s.slot, s.sent_to, s.sent_at, s.ended_at IS NULL AS written, s.ended_at IS NULL OR s.sent_to < s.ended_at AS leads,
               pg_catalog.pg_is_in_recovery() AS standby
        FROM htap.stream_slot AS s
    ) AS w LEFT JOIN pause AS z ON true
    LEFT JOIN LATERAL (
        SELECT coalesce(l.wal_status = 'lost', false) OR l.confirmed_flush_lsn IS NULL AS lost,
               l.wal_status IS DISTINCT FROM 'lost' AND l.confirmed_flush_lsn <= w.sent_to IS TRUE AS sound
        FROM pg_catalog.pg_replication_slots AS l
        WHERE l.slot_name = w.slot AND l.database = pg_catalog.current_database()
        OFFSET 0
    ) AS r ON true
    UNION ALL
    SELECT 3, 'partition', (f.topic || ' '::pg_catalog.text) || f.partition::pg_catalog.text,
           CASE WHEN f.end_offset > f.next_offset THEN 'behind' WHEN f.idle THEN 'idle' ELSE 'read' END,
           NULL, NULL, greatest(f.end_offset - f.next_offset, 0), NULL, NULL, NULL, NULL,
           extract(epoch FROM pg_catalog.clock_timestamp() - f.watermark), f.next_offset, f.end_offset, NULL, NULL, NULL, NULL,
           NULL, NULL, f.topic, f.partition
    FROM (SELECT * FROM htap.stream_offset ORDER BY topic, partition LIMIT 100) AS f
    UNION ALL
    SELECT 5, 'table', g.topic, 'final', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           extract(epoch FROM pg_catalog.clock_timestamp() - g.final_to), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, g.topic, NULL
    FROM (SELECT * FROM htap.stream_progress ORDER BY topic LIMIT 20) AS g
    UNION ALL
    SELECT 6, 'dead letters', '', 'new', extract(epoch FROM pg_catalog.clock_timestamp() - n.first_at), NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL, NULL, n.letters, NULL, NULL, l.told, extract(epoch FROM pg_catalog.clock_timestamp() - l.written_at), NULL, l.topic, NULL
    FROM (SELECT pg_catalog.count(*) AS letters, pg_catalog.min(d.written_at) AS first_at FROM dead AS d) AS n
    CROSS JOIN (
        SELECT d.written_at, d.topic,
               CASE WHEN d.partition < 0 THEN pg_catalog.format('outbox, event %s: %s', d.record_offset, d.reason)
               ELSE pg_catalog.format('%s %s, offset %s: %s', d.topic, d.partition, d.record_offset, d.reason) END AS told
        FROM dead AS d ORDER BY d.written_at DESC LIMIT 1
    ) AS l
) AS t
ORDER BY t.place, t.name
