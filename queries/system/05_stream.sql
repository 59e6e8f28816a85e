-- The stream: what the relay sent, how far the aggregator is, and what it could not count. Everything is written by
-- htap_refresh. A batch of the aggregator is one transaction: windows, offsets and the events it has counted.

-- The relay reads the outbox in the order of this key. Earlier versions had event_id alone.
DO $$
BEGIN
    IF (SELECT i.indnatts FROM pg_catalog.pg_index AS i WHERE i.indrelid = 'htap.outbox'::regclass AND i.indisprimary) = 1 THEN
        ALTER TABLE htap.outbox DROP CONSTRAINT outbox_pkey, ADD PRIMARY KEY (xid, event_id);
    END IF;
END
$$;
-- A queue: all rows are deleted soon.
ALTER TABLE htap.outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
                             autovacuum_vacuum_cost_delay = 0);

-- One row per topic that is aggregated. A batch locks it first, so `change` grows in the order of the commits.
CREATE TABLE IF NOT EXISTS htap.stream_progress (
    topic     text PRIMARY KEY CHECK (octet_length(topic) BETWEEN 1 AND 249),
    cluster   text NOT NULL,
    window_s  integer NOT NULL CHECK (window_s BETWEEN 1 AND 86400),
    change    bigint NOT NULL DEFAULT 0 CHECK (change >= 0),
    watermark timestamptz CHECK (watermark BETWEEN '1999-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    final_to  timestamptz CHECK (final_to BETWEEN '1999-01-01 00:00+00' AND '2200-01-01 00:00+00')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.stream_progress.cluster IS 'the id of the Kafka cluster';
COMMENT ON COLUMN htap.stream_progress.change IS 'the number of the last change of mart.realtime_stream';
COMMENT ON COLUMN htap.stream_progress.watermark IS
    'no event of an earlier time is expected, by the times of events alone: the least of the partitions that are not idle';
COMMENT ON COLUMN htap.stream_progress.final_to IS 'windows that end by then are final; by the clock if all partitions are idle';

CREATE TABLE IF NOT EXISTS htap.stream_offset (
    topic          text NOT NULL REFERENCES htap.stream_progress ON DELETE CASCADE,
    partition      integer NOT NULL CHECK (partition >= 0),
    topic_id       text NOT NULL,
    next_offset    bigint NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
    last_record    text,
    epoch          bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    end_offset     bigint CHECK (end_offset >= 0),
    max_event_at   timestamptz CHECK (max_event_at BETWEEN '1999-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    watermark      timestamptz CHECK (watermark BETWEEN '1999-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    last_record_at timestamptz CHECK (last_record_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    idle           boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.stream_offset.topic_id IS 'the id of the Kafka cluster that holds the topic';
COMMENT ON COLUMN htap.stream_offset.next_offset IS 'the offset to read next: what is before is counted in mart.realtime_stream';
COMMENT ON COLUMN htap.stream_offset.last_record IS
    'a hash of the record before next_offset: another one there means that the topic was made anew';
COMMENT ON COLUMN htap.stream_offset.epoch IS 'the number of the aggregator that may move the offset; a later one has a greater number';
COMMENT ON COLUMN htap.stream_offset.end_offset IS 'the end of the partition at the last look';
COMMENT ON COLUMN htap.stream_offset.last_record_at IS 'when the last record was counted';

-- The events that changed a window, as long as a duplicate could change it again.
CREATE TABLE IF NOT EXISTS htap.stream_event (
    event_id bigint PRIMARY KEY,
    order_id bigint NOT NULL,
    at       timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX IF NOT EXISTS stream_event_at_idx ON htap.stream_event USING brin (at) WITH (pages_per_range = 16);

CREATE TABLE IF NOT EXISTS htap.dead_letter (
    topic         text NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    reason        text NOT NULL CHECK (octet_length(reason) <= 1000),
    key           bytea,
    value         bytea,
    value_bytes   bigint CHECK (value_bytes >= 0),
    written_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- The panel asks for the latest ones each second.
CREATE INDEX IF NOT EXISTS dead_letter_recent_idx ON htap.dead_letter (written_at);
DROP INDEX IF EXISTS htap.dead_letter_written_at_idx;
COMMENT ON TABLE htap.dead_letter IS 'records that could not be read, and rows of the outbox that could not be sent (partition -1, event_id)';
COMMENT ON COLUMN htap.dead_letter.value IS 'the first 16 kB of it; NULL: a tombstone';
COMMENT ON COLUMN htap.dead_letter.value_bytes IS 'the length of the whole';

CREATE TABLE IF NOT EXISTS htap.late_event (
    topic         text NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    event_id      bigint NOT NULL,
    event         text NOT NULL,
    order_id      bigint NOT NULL,
    at            timestamptz NOT NULL,
    watermark     timestamptz NOT NULL,
    value         bytea NOT NULL,
    written_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS late_event_written_at_idx ON htap.late_event USING brin (written_at) WITH (pages_per_range = 16);
COMMENT ON TABLE htap.late_event IS 'events beyond the limit of lateness: mart.realtime_stream does not hold them';

-- What relays and aggregators do: a row per process, written once per second and removed at its end. Rows of processes
-- that died go after ten minutes.
CREATE TABLE IF NOT EXISTS htap.stream_state (
    instance     text PRIMARY KEY CHECK (octet_length(instance) BETWEEN 1 AND 200),
    component    text NOT NULL CHECK (component IN ('relay', 'aggregator')),
    topic        text NOT NULL CHECK (octet_length(topic) <= 249),
    state        text NOT NULL CHECK (state IN ('waiting', 'running', 'paused', 'fenced', 'broker', 'reset')),
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    records      bigint NOT NULL CHECK (records >= 0),
    rate         double precision NOT NULL CHECK (rate >= 0 AND rate < 1e15),
    lag_rows     bigint CHECK (lag_rows >= 0),
    lag_ms       double precision CHECK (lag_ms >= 0 AND lag_ms < 1e15),
    lag_bytes    bigint CHECK (lag_bytes >= 0),
    dead_letters bigint NOT NULL CHECK (dead_letters >= 0),
    late_events  bigint NOT NULL CHECK (late_events >= 0),
    duplicates   bigint NOT NULL CHECK (duplicates >= 0),
    fresh_p50_ms double precision CHECK (fresh_p50_ms >= 0 AND fresh_p50_ms < 1e15),
    fresh_p99_ms double precision CHECK (fresh_p99_ms >= 0 AND fresh_p99_ms < 1e15),
    error        text CHECK (octet_length(error) <= 2000),
    CONSTRAINT stream_state_times_check CHECK (
        since BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
        AND reported_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE htap.stream_state ADD COLUMN IF NOT EXISTS fresh_p50_ms double precision CHECK (fresh_p50_ms >= 0 AND fresh_p50_ms < 1e15),
                              ADD COLUMN IF NOT EXISTS fresh_p99_ms double precision CHECK (fresh_p99_ms >= 0 AND fresh_p99_ms < 1e15);
-- Earlier versions had no relay that can be paused.
DO $$
BEGIN
    IF (SELECT pg_get_constraintdef(c.oid) NOT LIKE '%paused%' FROM pg_catalog.pg_constraint AS c
        WHERE c.conrelid = 'htap.stream_state'::regclass AND c.conname = 'stream_state_state_check') THEN
        ALTER TABLE htap.stream_state DROP CONSTRAINT stream_state_state_check, ADD CONSTRAINT stream_state_state_check
            CHECK (state IN ('waiting', 'running', 'paused', 'fenced', 'broker', 'reset'));
    END IF;
END
$$;
COMMENT ON COLUMN htap.stream_state.instance IS 'program, process number and a random number';
COMMENT ON COLUMN htap.stream_state.state IS
    'waiting: another one leads; running; paused (htap.stream_pause); fenced: a later one took over; broker: it cannot be reached; reset: the topic is not the one that was read before';
COMMENT ON COLUMN htap.stream_state.since IS 'since when it is in this state';
COMMENT ON COLUMN htap.stream_state.reported_at IS 'one that is older than some seconds has stopped';
COMMENT ON COLUMN htap.stream_state.records IS 'records sent or read since it began';
COMMENT ON COLUMN htap.stream_state.rate IS 'records per second since the last report';
COMMENT ON COLUMN htap.stream_state.lag_rows IS 'relay: rows of the outbox, counted to 100,000; aggregator: records not yet read';
COMMENT ON COLUMN htap.stream_state.lag_ms IS 'relay: the age of the first row; aggregator: the age of the last event that was counted, if it lags';
COMMENT ON COLUMN htap.stream_state.lag_bytes IS 'lag_rows times the mean size of a record';
COMMENT ON COLUMN htap.stream_state.fresh_p50_ms IS
    'aggregator: time from the event (at) to the commit that counts it, of the events counted in the last minute: median';
COMMENT ON COLUMN htap.stream_state.fresh_p99_ms IS 'the same: 99th percentile';

-- Whether relays are paused: a row while they are. Changed by htap.pause_relay only.
CREATE TABLE IF NOT EXISTS htap.stream_pause (
    component text PRIMARY KEY CHECK (component = 'relay'),
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp()
              CHECK (paused_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    paused_by text NOT NULL CHECK (octet_length(paused_by) <= 1000)
);
COMMENT ON COLUMN htap.stream_pause.paused_by IS 'the role that logged in, and who used it, as the program says';

-- Pauses or resumes relays; returns false if nothing has changed. The server's log keeps who did it.
CREATE OR REPLACE FUNCTION htap.pause_relay(wanted boolean, actor text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who     CONSTANT text := session_user || coalesce(' (' || nullif(left(actor, 100), '') || ')', '');
    changed boolean;
BEGIN
    IF wanted THEN
        INSERT INTO htap.stream_pause (component, paused_by) VALUES ('relay', who) ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM htap.stream_pause WHERE component = 'relay';
    END IF;
    changed := FOUND;
    IF changed THEN
        RAISE LOG 'htap-top: relays of the stream were % by %', CASE WHEN wanted THEN 'paused' ELSE 'resumed' END, who;
    END IF;
    RETURN changed;
END
$$;

-- The replication slot through which events reach the relay without the outbox, if `htap-top stream slot create` made one.
-- The triggers sign with `secret` what they write for it, as every role may write messages into the WAL.
CREATE TABLE IF NOT EXISTS htap.stream_slot (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    slot        text NOT NULL CHECK (slot ~ '^[a-z0-9_]{1,63}$'),
    publication text NOT NULL CHECK (octet_length(publication) BETWEEN 1 AND 63),
    secret      bytea NOT NULL CHECK (octet_length(secret) = 32),
    sent_to     pg_lsn NOT NULL,
    sent_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    pg_lsn
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.stream_slot.publication IS 'an empty one: the output plugin pgoutput wants a name';
COMMENT ON COLUMN htap.stream_slot.sent_to IS 'the broker has acknowledged all events whose commit record begins before it';
COMMENT ON COLUMN htap.stream_slot.sent_at IS 'when that was the end of the WAL, or the time of the last commit before it';
COMMENT ON COLUMN htap.stream_slot.ended_at IS 'no event was written for the slot from here on; NULL: there may be some';

-- Returns the next rows of a cursor that the relay holds: as many as fit, or the next one.
CREATE OR REPLACE FUNCTION htap.fetch_events(held text, max_rows integer, max_bytes bigint)
RETURNS TABLE (kind integer, data bytea) LANGUAGE plpgsql AS $$
DECLARE
    source refcursor := held;
    rows   integer := 0;
    bytes  bigint := 0;
BEGIN
    WHILE rows < max_rows AND bytes < max_bytes LOOP
        FETCH source INTO kind, data;
        EXIT WHEN NOT FOUND;
        RETURN NEXT;
        rows := rows + 1;
        bytes := bytes + coalesce(octet_length(data), 0);
    END LOOP;
END
$$;

-- Sales by window, category and segment, from the stream. A row whose orders were all cancelled stays, with zeros.
CREATE TABLE IF NOT EXISTS mart.realtime_stream (
    window_start timestamptz NOT NULL,
    category     text NOT NULL,
    segment      text NOT NULL,
    amount       numeric NOT NULL,
    quantity     bigint NOT NULL,
    orders       bigint NOT NULL,
    revised      boolean NOT NULL DEFAULT false,
    final        boolean NOT NULL DEFAULT false,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    change       bigint NOT NULL,
    distinct_orders bigint,
    PRIMARY KEY (window_start, category, segment)
) WITH (fillfactor = 70);
ALTER TABLE mart.realtime_stream ADD COLUMN IF NOT EXISTS distinct_orders bigint;
CREATE INDEX IF NOT EXISTS realtime_stream_change_idx ON mart.realtime_stream (change);
CREATE INDEX IF NOT EXISTS realtime_stream_open_idx ON mart.realtime_stream (window_start) WHERE NOT final;
COMMENT ON COLUMN mart.realtime_stream.final IS 'the watermark has passed the end of the window';
COMMENT ON COLUMN mart.realtime_stream.revised IS 'a late event changed it after that';
COMMENT ON COLUMN mart.realtime_stream.change IS 'grows with each commit: a feed goes on with WHERE change > the last one';
COMMENT ON COLUMN mart.realtime_stream.orders IS 'orders with a line in the category: the sum over categories counts an order for each';
COMMENT ON COLUMN mart.realtime_stream.distinct_orders IS
    'each order in one row only, that of its first category: the sum over a window is its number of orders';

-- What mart.realtime_summary is answered from. For the owner alone, by htap.switch_realtime.
CREATE TABLE IF NOT EXISTS htap.realtime_source (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    source      text NOT NULL DEFAULT 'merge' CHECK (source IN ('merge', 'stream')),
    switched_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO htap.realtime_source DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Makes mart.<shadow>, an empty copy of mart.realtime_stream that a replay fills. One that an earlier replay made is
-- replaced; nothing else is. Not logged: a replay costs no WAL, and what a crash of the server empties is replayed again.
CREATE OR REPLACE FUNCTION htap.make_shadow(shadow text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM htap.drop_shadow(shadow);
    EXECUTE format('CREATE UNLOGGED TABLE mart.%I (LIKE mart.realtime_stream INCLUDING ALL)', shadow);
    EXECUTE format('COMMENT ON TABLE mart.%I IS ''htap-top: replay of the stream''', shadow);
    EXECUTE format('GRANT SELECT ON mart.%I TO htap_olap, htap_refresh', shadow);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON mart.%I TO htap_refresh', shadow);
    INSERT INTO htap.object (kind, identity) VALUES ('table', format('mart.%I', shadow)) ON CONFLICT DO NOTHING;
END
$$;

CREATE OR REPLACE FUNCTION htap.drop_shadow(shadow text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found CONSTANT regclass := to_regclass(format('mart.%I', shadow));
BEGIN
    IF (shadow ~ '^replay(_[a-z0-9_]{1,50})?$') IS NOT TRUE THEN
        RAISE 'a shadow is called mart.replay, or mart.replay_ and small letters, digits and underscores'
            USING ERRCODE = 'invalid_name';
    END IF;
    IF found IS NULL THEN
        RETURN;
    END IF;
    IF obj_description(found, 'pg_class') IS DISTINCT FROM 'htap-top: replay of the stream'
       OR (SELECT c.relowner <> 'htap_owner'::regrole OR c.relkind <> 'r' FROM pg_catalog.pg_class AS c WHERE c.oid = found) THEN
        RAISE 'mart.% was not made by a replay: choose another name', shadow USING ERRCODE = 'duplicate_table';
    END IF;
    EXECUTE format('DROP TABLE mart.%I', shadow);
    DELETE FROM htap.object WHERE kind = 'table' AND identity = format('mart.%I', shadow);
END
$$;
