-- Control: what changed, what was refreshed when, and by which rules.

-- The summaries. An incremental one is a set of tables brought up to date by merging what changed; a
-- materialized one is refreshed by PostgreSQL. The tables of an incremental one are named in `tables`, the
-- first gives it its name; query `<table>_query` recomputes a table from the base tables.
CREATE TABLE IF NOT EXISTS htap.view_def (
    view      text PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('incremental', 'materialized')),
    tables    text[] NOT NULL,
    freshness interval,
    depth     smallint NOT NULL DEFAULT 0
);
-- What a lesser role may write and others compute with has bounds; what earlier versions let in is put right.
UPDATE htap.view_def SET freshness = least(greatest(freshness, interval '1 ms'), interval '366 days')
WHERE freshness <= interval '0' OR freshness > interval '366 days';
ALTER TABLE htap.view_def DROP CONSTRAINT IF EXISTS view_def_freshness_check;
ALTER TABLE htap.view_def ADD CONSTRAINT view_def_freshness_check
    CHECK (freshness > interval '0' AND freshness <= interval '366 days');
COMMENT ON COLUMN htap.view_def.freshness IS 'how old it may be, a year at most; NULL: as old as it is';
COMMENT ON COLUMN htap.view_def.depth IS '0 reads base tables only, 1 reads a view of depth 0, and so on: the order of refreshes';

-- Changes of completed orders, appended by triggers on shop.orders: +1 for one that is completed from now
-- on, -1 for one that no longer is; a correction is a -1 and a +1. Without index, for it is only appended
-- and scanned. Rows go when every summary has merged them.
CREATE TABLE IF NOT EXISTS htap.order_log (
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    logged_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id     bigint NOT NULL,
    user_id      bigint NOT NULL,
    completed_at timestamptz NOT NULL,
    amount       numeric(12,2) NOT NULL,
    sign         smallint NOT NULL CHECK (sign IN (1, -1)),
    seen         pg_snapshot
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
-- Before there was this column, a merge in steps could count twice: what it left behind is filled anew.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                   WHERE attrelid = 'htap.order_log'::regclass AND attname = 'seen' AND NOT attisdropped) THEN
        ALTER TABLE htap.order_log ADD COLUMN seen pg_snapshot;
        IF to_regclass('htap.watermark') IS NOT NULL THEN
            UPDATE htap.watermark SET snapshot = NULL;
        END IF;
    END IF;
END
$$;
COMMENT ON COLUMN htap.order_log.seen IS
    'of one order in sixteen: what the writer saw when it logged, a state that the database had; a merge in steps goes from one to the next';

-- What else makes summaries stale: lines that an order got, changed or lost after it was created, a user who moved to
-- another segment, a product or category that moved or was renamed, with what it was before and became: a line, a
-- segment, a category, a name. 'month' where one came or went; 'all' after a TRUNCATE, or when the log was cut.
CREATE TABLE IF NOT EXISTS htap.dirty_log (
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    logged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    what      text NOT NULL,
    id        bigint,
    was       jsonb,
    became    jsonb
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE htap.dirty_log ADD COLUMN IF NOT EXISTS was jsonb;
ALTER TABLE htap.dirty_log ADD COLUMN IF NOT EXISTS became jsonb;
ALTER TABLE htap.dirty_log DROP CONSTRAINT IF EXISTS dirty_log_what_check;
ALTER TABLE htap.dirty_log ADD CONSTRAINT dirty_log_what_check
    CHECK (what IN ('order', 'user', 'product', 'category', 'month', 'all'));

-- What each summary holds: everything `snapshot` sees, hence everything committed before `as_of`. Without a
-- snapshot it was never filled, or must be filled anew. log_oid: the log it was merged from; after a restore it is another one.
CREATE TABLE IF NOT EXISTS htap.watermark (
    view       text PRIMARY KEY REFERENCES htap.view_def ON DELETE CASCADE,
    snapshot   pg_snapshot,
    as_of      timestamptz,
    heartbeat  bigint,
    log_oid    oid,
    checked_at timestamptz,
    checked_to jsonb,
    clean      boolean NOT NULL DEFAULT true,
    uncaptured text,
    gap        text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE htap.watermark ADD COLUMN IF NOT EXISTS checked_at timestamptz;
ALTER TABLE htap.watermark ADD COLUMN IF NOT EXISTS checked_to jsonb;
ALTER TABLE htap.watermark ADD COLUMN IF NOT EXISTS clean boolean NOT NULL DEFAULT true;
ALTER TABLE htap.watermark ADD COLUMN IF NOT EXISTS uncaptured text;
ALTER TABLE htap.watermark ADD COLUMN IF NOT EXISTS gap text;
UPDATE htap.watermark SET as_of = NULL WHERE NOT as_of BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00';
UPDATE htap.watermark SET checked_at = NULL WHERE NOT checked_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00';
ALTER TABLE htap.watermark DROP CONSTRAINT IF EXISTS watermark_times_check;
ALTER TABLE htap.watermark ADD CONSTRAINT watermark_times_check
    CHECK (as_of BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
           AND checked_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00');
COMMENT ON COLUMN htap.watermark.checked_at IS 'when htap.check_capture() looked last whether something bypassed the triggers';
COMMENT ON COLUMN htap.watermark.checked_to IS 'where it goes on; NULL: at the beginning';
COMMENT ON COLUMN htap.watermark.clean IS 'nothing differed since it began';
COMMENT ON COLUMN htap.watermark.uncaptured IS 'what it found to differ; the summary is wrong until it is filled anew';
COMMENT ON COLUMN htap.watermark.gap IS 'a trigger that logs nothing';

-- A row is written when a refresh starts and completed when it ends; one without an end is running or has died.
CREATE TABLE IF NOT EXISTS htap.refresh_run (
    run_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view      text NOT NULL,
    mode      text NOT NULL,
    started   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished  timestamptz CHECK (finished >= started),
    rows      bigint,
    as_of     timestamptz,
    wal_bytes bigint
);
ALTER TABLE htap.refresh_run DROP CONSTRAINT IF EXISTS refresh_run_mode_check;
ALTER TABLE htap.refresh_run ADD CONSTRAINT refresh_run_mode_check
    CHECK (mode IN ('full', 'concurrent', 'incremental'));
ALTER TABLE htap.refresh_run ADD COLUMN IF NOT EXISTS as_of timestamptz;
ALTER TABLE htap.refresh_run ADD COLUMN IF NOT EXISTS wal_bytes bigint;
DELETE FROM htap.refresh_run
WHERE NOT (started BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00' AND finished BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
           AND as_of BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00' AND least(rows, wal_bytes) >= 0);
ALTER TABLE htap.refresh_run DROP CONSTRAINT IF EXISTS refresh_run_figures_check;
ALTER TABLE htap.refresh_run ADD CONSTRAINT refresh_run_figures_check
    CHECK (started BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00' AND finished BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
           AND as_of BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00' AND least(rows, wal_bytes) >= 0);
COMMENT ON COLUMN htap.refresh_run.rows IS 'changes merged (incremental), else rows of the view';
COMMENT ON COLUMN htap.refresh_run.wal_bytes IS 'WAL of the whole server meanwhile: an upper bound';
CREATE INDEX IF NOT EXISTS refresh_run_view_idx ON htap.refresh_run (view, finished DESC);

-- Written through the OLTP path by whoever measures freshness; a summary's watermark says up to which one
-- it holds everything.
CREATE TABLE IF NOT EXISTS htap.heartbeat (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    nothing      boolean CHECK (nothing IS NULL)
);
ALTER TABLE htap.heartbeat ADD COLUMN IF NOT EXISTS nothing boolean CHECK (nothing IS NULL);
COMMENT ON COLUMN htap.heartbeat.nothing IS
    'INSERT ... DEFAULT VALUES needs the right to write some column: this one, for number and time are not for others to choose';
-- Rows whose number or time an earlier version let others choose: every later freshness would be as good as that.
DELETE FROM htap.heartbeat
WHERE committed_at > clock_timestamp() + interval '1 minute'
   OR seq > coalesce(pg_sequence_last_value(pg_get_serial_sequence('htap.heartbeat', 'seq')::regclass), 0);
UPDATE htap.watermark SET heartbeat = NULL
WHERE heartbeat > coalesce(pg_sequence_last_value(pg_get_serial_sequence('htap.heartbeat', 'seq')::regclass), 0);

-- What routers do: a row per process that routes statements, which it writes once per second and removes at its end.
-- Totals since it began. Rows of processes that died go after ten minutes.
CREATE TABLE IF NOT EXISTS htap.routing (
    instance      text PRIMARY KEY CHECK (octet_length(instance) BETWEEN 1 AND 200),
    program       text NOT NULL CHECK (octet_length(program) <= 200),
    started       timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    routed        jsonb NOT NULL CHECK (jsonb_typeof(routed) = 'object' AND octet_length(routed::text) <= 16384),
    fallbacks     jsonb NOT NULL CHECK (jsonb_typeof(fallbacks) = 'object' AND octet_length(fallbacks::text) <= 4096),
    misroutes     bigint NOT NULL,
    reruns        bigint NOT NULL,
    waits         bigint NOT NULL,
    wait_ms_sum   double precision NOT NULL,
    wait_ms_p50   double precision NOT NULL,
    wait_ms_p99   double precision NOT NULL,
    breaker       text NOT NULL CHECK (breaker IN ('none', 'closed', 'open')),
    barred        text CHECK (octet_length(barred) <= 40),
    breaker_since timestamptz,
    opened        bigint NOT NULL,
    lag_bytes     bigint,
    lag_ms        double precision,
    CONSTRAINT routing_figures_check CHECK (
        least(misroutes, reruns, waits, opened, lag_bytes) >= 0
        AND least(wait_ms_sum, wait_ms_p50, wait_ms_p99, lag_ms) >= 0
        AND greatest(wait_ms_sum, wait_ms_p50, wait_ms_p99, lag_ms) < 1e15
        AND started BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
        AND reported_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'
        AND breaker_since BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.routing.instance IS 'program, process number and a random number';
COMMENT ON COLUMN htap.routing.reported_at IS 'one that is older than some seconds has stopped';
COMMENT ON COLUMN htap.routing.routed IS 'statements by node, pool and rule, such as {"replica olap read": 12}';
COMMENT ON COLUMN htap.routing.fallbacks IS
    'reads that ran on the primary in place of the replica, by reason: unchecked, lost, promoted, foreign, paused, lagging, not_caught_up, unknown_write, conflict, not_on_standby, read_only, columnar';
COMMENT ON COLUMN htap.routing.misroutes IS 'statements that a read-only role refused: the fallbacks of reason read_only';
COMMENT ON COLUMN htap.routing.reruns IS 'fallbacks that had been sent already and were run again';
COMMENT ON COLUMN htap.routing.waits IS 'reads that waited for the replica to replay their session''s last write';
COMMENT ON COLUMN htap.routing.wait_ms_sum IS 'how long they waited, in milliseconds';
COMMENT ON COLUMN htap.routing.breaker IS 'none: there is no replica; closed: it gets reads; open: it gets none';
COMMENT ON COLUMN htap.routing.barred IS 'why it is open: unchecked, lost, promoted, foreign, paused or lagging';
COMMENT ON COLUMN htap.routing.breaker_since IS 'since when it is open or closed';
COMMENT ON COLUMN htap.routing.opened IS 'how often it was opened';
COMMENT ON COLUMN htap.routing.lag_bytes IS 'WAL that the replica lacked at the last look';
COMMENT ON COLUMN htap.routing.lag_ms IS 'age of the first of it, to a second';

-- Events for a stream, written in the transaction of the order; a relay reads them in the order of commits:
-- rows with xid < pg_snapshot_xmin(pg_current_snapshot()), by (xid, event_id). Off until
-- htap.switch_outbox(true), for without a reader it would only grow.
CREATE TABLE IF NOT EXISTS htap.outbox (
    event_id    bigint GENERATED ALWAYS AS IDENTITY,
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic       text NOT NULL,
    key         text NOT NULL,
    payload     jsonb NOT NULL,
    PRIMARY KEY (xid, event_id)
);
