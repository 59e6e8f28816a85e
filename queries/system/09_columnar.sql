-- The column store: files of closed hours of mart.fact_sales, mart.user_day and mart.orders (`htap-top columnar sync`), and what has
-- changed since they were written. What holds, always: the files of a relation named in htap.column_file hold what the relation held
-- at `as_of`. An hour counts as it is in the file with the greatest file_id that covers it, if htap.column_dirty has no row of it;
-- otherwise it is read from the relation. A change and its row in htap.column_dirty commit together, and so do a file's row and the
-- removal of the rows of htap.column_dirty that its snapshot saw. Hence each snapshot sees every row exactly once.
--
-- The hour of a row is that of sale_time and created_at, and for mart.user_day the first one of the day, in UTC.
--
-- Of mart.orders a change is only logged if its hour may be in a file: most orders are created, paid and shipped before that. It may
-- be if it lies before logged_until. A sync that wants to write later hours moves logged_until first, and then waits until all
-- transactions have ended that may not have seen that.

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

-- The relations whose changes are logged. An earlier version had one.
DO $$
BEGIN
    IF to_regclass('htap.column_relation') IS NULL THEN
        CREATE TABLE htap.column_relation (
            relation     text PRIMARY KEY CHECK (relation IN ('mart.fact_sales', 'mart.user_day', 'mart.orders')),
            logged_until timestamptz NOT NULL DEFAULT 'infinity',
            partitions   oid[] NOT NULL DEFAULT '{}'
        );
        INSERT INTO htap.column_relation (relation) SELECT 'mart.fact_sales' FROM htap.column_store;
    END IF;
END
$$;
COMMENT ON COLUMN htap.column_relation.logged_until IS 'changes of earlier rows are logged';
COMMENT ON COLUMN htap.column_relation.partitions IS 'those of shop.orders; if there are others, somebody attached or detached them by hand, and their changes are not logged';

CREATE TABLE IF NOT EXISTS htap.column_file (
    file_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation   text NOT NULL DEFAULT 'mart.fact_sales',
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
ALTER TABLE htap.column_file DROP CONSTRAINT IF EXISTS column_file_relation_check;
ALTER TABLE htap.column_file ADD CONSTRAINT column_file_relation_check CHECK (relation IN ('mart.fact_sales', 'mart.user_day', 'mart.orders'));
COMMENT ON COLUMN htap.column_file.hour_rows IS 'the rows of each hour, in their order in the file';
COMMENT ON COLUMN htap.column_file.as_of IS 'the snapshot that the file holds';
COMMENT ON COLUMN htap.column_file.format IS 'of the file; sync writes those of another format anew';

-- Hours in which rows of a relation came, changed or went. NULL: all.
CREATE TABLE IF NOT EXISTS htap.column_dirty (
    hour timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE htap.column_dirty ADD COLUMN IF NOT EXISTS relation text NOT NULL DEFAULT 'mart.fact_sales';

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
COMMENT ON COLUMN htap.column_use.rows_read IS 'from PostgreSQL';

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

CREATE OR REPLACE FUNCTION htap.log_column_days() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO htap.column_dirty (relation, hour)
            SELECT 'mart.user_day', d.day::timestamp AT TIME ZONE 'UTC' FROM (SELECT DISTINCT r.day FROM new_rows AS r) AS d;
        WHEN 'DELETE' THEN
            INSERT INTO htap.column_dirty (relation, hour)
            SELECT 'mart.user_day', d.day::timestamp AT TIME ZONE 'UTC' FROM (SELECT DISTINCT r.day FROM old_rows AS r) AS d;
        WHEN 'UPDATE' THEN
            INSERT INTO htap.column_dirty (relation, hour)
            SELECT 'mart.user_day', d.day::timestamp AT TIME ZONE 'UTC'
            FROM (SELECT r.day FROM new_rows AS r UNION SELECT r.day FROM old_rows AS r) AS d;
        ELSE
            INSERT INTO htap.column_dirty (relation, hour) VALUES ('mart.user_day', NULL);
    END CASE;
    RETURN NULL;
END
$$;

-- For each order, in each partition. In READ COMMITTED each statement of the function sees what is committed when it begins, so
-- logged_until is not older than the order's own row. With one snapshot for all statements it may be: then all is logged.
CREATE OR REPLACE FUNCTION htap.log_column_order() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := 'infinity';
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    IF current_setting('transaction_isolation') = 'read committed' THEN
        until := (SELECT r.logged_until FROM htap.column_relation AS r WHERE r.relation = 'mart.orders');
    END IF;
    -- Of an INSERT there is no OLD, of a DELETE no NEW: their columns are NULL.
    IF NEW.created_at < until THEN
        INSERT INTO htap.column_dirty (relation, hour) VALUES ('mart.orders', date_trunc('hour', NEW.created_at, 'UTC'));
    END IF;
    IF OLD.created_at < until AND OLD.created_at IS DISTINCT FROM NEW.created_at THEN
        INSERT INTO htap.column_dirty (relation, hour) VALUES ('mart.orders', date_trunc('hour', OLD.created_at, 'UTC'));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION htap.log_column_orders_gone() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_SCHEMA <> 'shop' THEN
        PERFORM htap.refuse_foreign(TG_RELID);
    END IF;
    INSERT INTO htap.column_dirty (relation, hour) VALUES ('mart.orders', NULL);
    RETURN NULL;
END
$$;

-- Makes the log of the orders whole after `changed`, a partition of shop.orders, was made, attached or detached by
-- htap.make_partition(), htap.attach_month() or htap.detach_month(), with the hours that came or went. If others have changed,
-- by hand, so may have all hours.
CREATE OR REPLACE FUNCTION htap.log_column_months(changed regclass, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before   oid[];
    now_     CONSTANT oid[] := (SELECT coalesce(array_agg(i.inhrelid ORDER BY i.inhrelid), '{}') FROM pg_inherits AS i
                                WHERE i.inhparent = 'shop.orders'::regclass);
    lacking  CONSTANT oid[] := (SELECT coalesce(array_agg(p.oid ORDER BY p.oid), '{}') FROM unnest(now_) AS p (oid)
                                WHERE (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = p.oid AND t.tgenabled = 'A'
                                       AND t.tgname IN ('log_columns', 'log_columns_truncate')) < 2);
    part     regclass;
BEGIN
    SELECT r.partitions INTO before FROM htap.column_relation AS r WHERE r.relation = 'mart.orders';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO htap.column_dirty (relation, hour)
    SELECT 'mart.orders', h FROM generate_series(since, until - interval '1 hour', interval '1 hour') AS h
    UNION ALL
    SELECT 'mart.orders', NULL
    WHERE array_remove(before, changed::oid) <> array_remove(now_, changed::oid) OR array_remove(lacking, changed::oid) <> '{}';
    FOREACH part IN ARRAY lacking LOOP
        IF NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = part AND t.tgname = 'log_columns_truncate') THEN
            EXECUTE format('CREATE TRIGGER log_columns_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT
                                EXECUTE FUNCTION htap.log_column_orders_gone()', part);
        END IF;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER log_columns_truncate, ENABLE ALWAYS TRIGGER log_columns', part);
    END LOOP;
    UPDATE htap.column_relation AS r SET partitions = now_ WHERE r.relation = 'mart.orders';
END
$$;

-- Logs the changes of a relation from now on, or no longer; what the manifest has of it is forgotten either way. For the owner of
-- the shop. It waits for the transactions that write the relation.
CREATE OR REPLACE FUNCTION htap.switch_columns(relation text, wanted boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    watched CONSTANT regclass := (CASE relation WHEN 'mart.orders' THEN 'shop.orders' WHEN 'mart.user_day' THEN relation
                                                WHEN 'mart.fact_sales' THEN relation END)::regclass;
    event   text;
    entry   record;
BEGIN
    IF watched IS NULL THEN
        RAISE EXCEPTION 'the column store cannot hold %', relation USING ERRCODE = 'invalid_parameter_value',
            HINT = 'It can hold mart.fact_sales, mart.user_day and mart.orders.';
    END IF;
    -- The shop's own statements stand behind whoever waits for this lock.
    IF relation = 'mart.orders' THEN
        PERFORM htap.lock_briefly('shop.orders IN SHARE ROW EXCLUSIVE MODE');
    ELSE
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', watched);
    END IF;
    FOR entry IN
        SELECT t.tgname AS name, t.tgrelid::regclass AS part FROM pg_trigger AS t
        WHERE (t.tgrelid = watched OR t.tgrelid IN (SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = watched))
          AND t.tgname IN ('log_columns', 'log_columns_insert', 'log_columns_update', 'log_columns_delete', 'log_columns_truncate')
          AND t.tgparentid = 0
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', entry.name, entry.part);
        DELETE FROM htap.object AS o WHERE o.kind = 'trigger' AND o.identity = format('%s on %s', entry.name, entry.part);
    END LOOP;
    IF wanted THEN
        IF relation = 'mart.orders' THEN
            CREATE TRIGGER log_columns AFTER INSERT OR UPDATE OR DELETE ON shop.orders
                FOR EACH ROW EXECUTE FUNCTION htap.log_column_order();
            CREATE TRIGGER log_columns_truncate AFTER TRUNCATE ON shop.orders
                FOR EACH STATEMENT EXECUTE FUNCTION htap.log_column_orders_gone();
        ELSE
            FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
                EXECUTE format('CREATE TRIGGER log_columns_%s AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION htap.%s()',
                               event, event, watched,
                               CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                          WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                          WHEN 'update' THEN 'REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows' ELSE '' END,
                               CASE relation WHEN 'mart.user_day' THEN 'log_column_days' ELSE 'log_columns' END);
            END LOOP;
        END IF;
        FOR entry IN SELECT t.tgname AS name FROM pg_trigger AS t WHERE t.tgrelid = watched
                     AND t.tgname IN ('log_columns', 'log_columns_insert', 'log_columns_update', 'log_columns_delete', 'log_columns_truncate') LOOP
            -- Also what a session writes as a replica does.
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', watched, entry.name);
            INSERT INTO htap.object (kind, identity) VALUES ('trigger', format('%s on %s', entry.name, watched)) ON CONFLICT DO NOTHING;
        END LOOP;
    END IF;
    DELETE FROM htap.column_relation AS r WHERE r.relation = switch_columns.relation;
    IF wanted THEN
        INSERT INTO htap.column_relation (relation, logged_until)
        VALUES (relation, CASE relation WHEN 'mart.orders' THEN '-infinity' ELSE 'infinity' END::timestamptz);
    END IF;
    IF relation = 'mart.orders' THEN
        PERFORM htap.log_column_months(NULL);
    END IF;
    DELETE FROM htap.column_damage AS d USING htap.column_file AS f
    WHERE d.file_id = f.file_id AND f.relation = switch_columns.relation;
    DELETE FROM htap.column_file AS f WHERE f.relation = switch_columns.relation;
    DELETE FROM htap.column_dirty AS d WHERE d.relation = switch_columns.relation;
END
$$;

-- Begins the column store anew, or ends it.
CREATE OR REPLACE FUNCTION htap.switch_columnar(wanted boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Those that somebody switched off stay so.
    held CONSTANT text[] := (SELECT array_agg(r.relation) FROM htap.column_relation AS r);
BEGIN
    IF wanted THEN
        -- The same database goes on in its folder.
        INSERT INTO htap.column_store AS s (store_id, log_oid)
        SELECT md5(pg_current_xact_id()::text || clock_timestamp()::text || random()::text || pg_backend_pid()::text)::uuid,
               'htap.column_dirty'::regclass::oid
        ON CONFLICT (only_row) DO UPDATE
        SET store_id = excluded.store_id, log_oid = excluded.log_oid, folder = NULL WHERE s.log_oid <> excluded.log_oid;
    END IF;
    PERFORM htap.switch_columns(r, wanted IS TRUE AND r = ANY (coalesce(held, ARRAY[r])))
    FROM unnest(ARRAY['mart.fact_sales', 'mart.user_day', 'mart.orders']) AS r;
    DELETE FROM htap.column_sync;
    DELETE FROM htap.column_damage;
    DELETE FROM htap.column_use;
    IF wanted THEN
        INSERT INTO htap.column_use DEFAULT VALUES;
    ELSE
        DELETE FROM htap.column_store;
    END IF;
END
$$;
