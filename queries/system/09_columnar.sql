-- The column store: files of closed hours of mart.fact_sales (`htap-top columnar sync`), and what has changed since they were
-- written. What holds, always: the files named in htap.column_file hold what mart.fact_sales held at `as_of`. An hour counts as
-- it is in the file with the greatest file_id that covers it, if htap.column_dirty has no row of it; otherwise it is read from
-- mart.fact_sales. A change and its row in htap.column_dirty commit together, and so do a file's row and the removal of the
-- rows of htap.column_dirty that its snapshot saw. Hence each snapshot sees every sale exactly once.

-- No row: nothing is logged.
CREATE TABLE IF NOT EXISTS htap.column_store (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    store_id uuid NOT NULL,
    log_oid  oid NOT NULL,
    folder   text CHECK (octet_length(folder) <= 4000)
);
COMMENT ON COLUMN htap.column_store.store_id IS 'stands in the name of each file and in the folder, so that no other database''s files are taken for ours';
COMMENT ON COLUMN htap.column_store.log_oid IS 'htap.column_dirty when the files were begun; after a restore it is another one';
COMMENT ON COLUMN htap.column_store.folder IS 'the folder of the last sync, on the machine where it ran';

CREATE TABLE IF NOT EXISTS htap.column_file (
    file_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation   text NOT NULL DEFAULT 'mart.fact_sales' CHECK (relation = 'mart.fact_sales'),
    from_hour  timestamptz NOT NULL,
    to_hour    timestamptz NOT NULL,
    hour_rows  bigint[] NOT NULL,
    rows       bigint NOT NULL CHECK (rows >= 0),
    bytes      bigint NOT NULL CHECK (bytes > 0),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    format     integer NOT NULL,
    as_of      pg_snapshot NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT column_file_hours_check CHECK (
        from_hour >= '1970-01-01 00:00+00' AND to_hour <= '2200-01-01 00:00+00' AND from_hour < to_hour
        AND date_trunc('hour', from_hour, 'UTC') = from_hour AND date_trunc('hour', to_hour, 'UTC') = to_hour
        AND cardinality(hour_rows) = (extract(epoch FROM to_hour) - extract(epoch FROM from_hour)) / 3600)
);
COMMENT ON COLUMN htap.column_file.hour_rows IS 'the rows of each hour, in their order in the file';
COMMENT ON COLUMN htap.column_file.as_of IS 'the snapshot that the file holds';
COMMENT ON COLUMN htap.column_file.format IS 'of the file; sync writes those of another format anew';

-- Hours in which rows came, changed or went. NULL: all.
CREATE TABLE IF NOT EXISTS htap.column_dirty (
    hour timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- What the last sync did. Only for the panel Columnar and its rules: no answer depends on it.
CREATE TABLE IF NOT EXISTS htap.column_sync (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    fresh_s       double precision CHECK (fresh_s >= 0 AND fresh_s <= 1e9),
    writing_since timestamptz CHECK (writing_since BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    synced_at     timestamptz CHECK (synced_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    wrote_at      timestamptz CHECK (wrote_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    took_ms       double precision CHECK (took_ms >= 0 AND took_ms <= 1e12),
    wrote_files   bigint,
    wrote_rows    bigint,
    wrote_bytes   bigint,
    free_bytes    bigint,
    disk_bytes    bigint,
    failed_at     timestamptz CHECK (failed_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    error         text CHECK (octet_length(error) <= 4000)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.column_sync.fresh_s IS 'pause between the rounds of the sync; NULL: it ran once';
COMMENT ON COLUMN htap.column_sync.synced_at IS 'end of the last round that succeeded; wrote_at and took_ms are of the last one that wrote files';
COMMENT ON COLUMN htap.column_sync.free_bytes IS 'left on the disk of the folder';
COMMENT ON COLUMN htap.column_sync.error IS 'why the last round failed; NULL: it did not';

-- Files that a sync or a query found missing, cut or altered; until a sync has written their hours anew.
CREATE TABLE IF NOT EXISTS htap.column_damage (
    file_id bigint PRIMARY KEY,
    why     text NOT NULL CHECK (octet_length(why) <= 4000),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What queries have read since the log of changes was begun.
CREATE TABLE IF NOT EXISTS htap.column_use (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    queries    bigint NOT NULL DEFAULT 0,
    bytes_read bigint NOT NULL DEFAULT 0,
    rows_read  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN htap.column_use.bytes_read IS 'from files';
COMMENT ON COLUMN htap.column_use.rows_read IS 'from mart.fact_sales';

-- Adds to htap.column_use, for roles that read only. False if another session does so at this moment: it waits for none.
CREATE OR REPLACE FUNCTION htap.count_column_queries(queries bigint, bytes bigint, rows bigint) RETURNS boolean
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Whoever calls it cannot make the next one fail.
    IF NOT (queries BETWEEN 0 AND 1e15 AND bytes BETWEEN 0 AND 1e15 AND rows BETWEEN 0 AND 1e15) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM htap.column_use AS u FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE htap.column_use AS u
    SET queries = (u.queries + count_column_queries.queries) % 1000000000000000000,
        bytes_read = (u.bytes_read + bytes) % 1000000000000000000,
        rows_read = (u.rows_read + rows) % 1000000000000000000;
    RETURN true;
END
$$;

-- Notes that a query found a file damaged. The sync looks at the file itself.
CREATE OR REPLACE FUNCTION htap.report_column_damage(file bigint, why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO htap.column_damage (file_id, why)
    SELECT f.file_id, left(report_column_damage.why, 500) FROM htap.column_file AS f
    WHERE f.file_id = file AND report_column_damage.why IS NOT NULL
    ON CONFLICT (file_id) DO NOTHING
$$;

CREATE OR REPLACE FUNCTION htap.log_columns() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO htap.column_dirty (hour) SELECT DISTINCT date_trunc('hour', r.sale_time, 'UTC') FROM new_rows AS r;
        WHEN 'DELETE' THEN
            INSERT INTO htap.column_dirty (hour) SELECT DISTINCT date_trunc('hour', r.sale_time, 'UTC') FROM old_rows AS r;
        WHEN 'UPDATE' THEN
            INSERT INTO htap.column_dirty (hour)
            SELECT date_trunc('hour', r.sale_time, 'UTC') FROM new_rows AS r
            UNION SELECT date_trunc('hour', r.sale_time, 'UTC') FROM old_rows AS r;
        ELSE
            INSERT INTO htap.column_dirty (hour) VALUES (NULL);
    END CASE;
    RETURN NULL;
END
$$;

-- Logs the changes of mart.fact_sales from now on, or no longer; the manifest is emptied either way. For the owner
-- of the shop. It waits for the transactions that write mart.fact_sales.
CREATE OR REPLACE FUNCTION htap.switch_columnar(wanted boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    event text;
BEGIN
    LOCK TABLE mart.fact_sales IN SHARE ROW EXCLUSIVE MODE;
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        IF EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = 'mart.fact_sales'::regclass AND t.tgname = 'log_columns_' || event) THEN
            EXECUTE format('DROP TRIGGER log_columns_%s ON mart.fact_sales', event);
        END IF;
        DELETE FROM htap.object AS o WHERE o.kind = 'trigger' AND o.identity = format('log_columns_%s on mart.fact_sales', event);
        CONTINUE WHEN wanted IS NOT TRUE;
        EXECUTE format('CREATE TRIGGER log_columns_%s AFTER %s ON mart.fact_sales %s FOR EACH STATEMENT EXECUTE FUNCTION htap.log_columns()',
                       event, event,
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  WHEN 'update' THEN 'REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows' ELSE '' END);
        -- Also what a session writes as a replica does.
        EXECUTE format('ALTER TABLE mart.fact_sales ENABLE ALWAYS TRIGGER log_columns_%s', event);
        INSERT INTO htap.object (kind, identity) VALUES ('trigger', format('log_columns_%s on mart.fact_sales', event))
        ON CONFLICT DO NOTHING;
    END LOOP;
    DELETE FROM htap.column_file;
    DELETE FROM htap.column_dirty;
    DELETE FROM htap.column_sync;
    DELETE FROM htap.column_damage;
    DELETE FROM htap.column_use;
    IF wanted THEN
        INSERT INTO htap.column_use DEFAULT VALUES;
        -- The same database goes on in its folder.
        INSERT INTO htap.column_store AS s (store_id, log_oid)
        SELECT md5(pg_current_xact_id()::text || clock_timestamp()::text || random()::text || pg_backend_pid()::text)::uuid,
               'htap.column_dirty'::regclass::oid
        ON CONFLICT (only_row) DO UPDATE
        SET store_id = excluded.store_id, log_oid = excluded.log_oid, folder = NULL WHERE s.log_oid <> excluded.log_oid;
    ELSE
        DELETE FROM htap.column_store;
    END IF;
END
$$;
