-- Partitions: one per month (in UTC) of orders and of what belongs to them, made ahead.
CREATE SCHEMA IF NOT EXISTS htap;
COMMENT ON SCHEMA htap IS 'htap-top: control of refreshes and partitions';

-- The partitioned tables; children come after orders, which they refer to.
CREATE TABLE IF NOT EXISTS htap.partitioned (
    position  smallint PRIMARY KEY,
    name      text NOT NULL UNIQUE,
    options   text NOT NULL DEFAULT ''
);
INSERT INTO htap.partitioned (position, name, options) VALUES
    (1, 'orders', 'fillfactor = 85'), (2, 'order_items', ''), (3, 'payments', ''), (4, 'shipments', '')
ON CONFLICT DO NOTHING;

-- Makes one partition of each table, with `suffix` behind its name. A line refers to the order in the
-- partition beside it, not to the partitioned table: both lie by the same time, so it is as strict, costs a
-- third (a check over all partitions takes more locks than fit the fast path), and lets both be detached.
CREATE OR REPLACE FUNCTION htap.make_partition(suffix text, bounds text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    entry record;
    made  boolean := false;
BEGIN
    FOR entry IN SELECT name, options FROM htap.partitioned ORDER BY position LOOP
        CONTINUE WHEN to_regclass(format('shop.%I', entry.name || suffix)) IS NOT NULL;
        EXECUTE format('CREATE TABLE shop.%I PARTITION OF shop.%I %s %s', entry.name || suffix, entry.name, bounds,
                       CASE WHEN entry.options <> '' THEN 'WITH (' || entry.options || ')' ELSE '' END);
        IF entry.name <> 'orders' THEN
            EXECUTE format('ALTER TABLE shop.%I ADD FOREIGN KEY (order_id, created_at) REFERENCES shop.%I',
                           entry.name || suffix, 'orders' || suffix);
        END IF;
        made := true;
    END LOOP;
    RETURN made;
END
$$;

-- Makes the partition of the month that holds `at`, unless it is there; whether it made one.
CREATE OR REPLACE FUNCTION htap.make_month(at timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    starts timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
BEGIN
    RETURN htap.make_partition(to_char(starts, '_YYYY_MM'),
        format('FOR VALUES FROM (%L) TO (%L)', starts AT TIME ZONE 'UTC', (starts + interval '1 month') AT TIME ZONE 'UTC'));
END
$$;

-- Makes the partitions from the month of `since` to `ahead` months from now; how many months it made.
CREATE OR REPLACE FUNCTION htap.make_months(since timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS integer
LANGUAGE sql AS $$
    SELECT count(*)::integer
    FROM generate_series(date_trunc('month', since AT TIME ZONE 'UTC'),
                         (now() + make_interval(months => ahead)) AT TIME ZONE 'UTC', interval '1 month') AS month
    WHERE htap.make_month(month AT TIME ZONE 'UTC')
$$;

SELECT htap.make_partition('_default', 'DEFAULT');
SELECT htap.make_months();

-- What the partitions hold, months first; rows are the planner's estimate.
CREATE OR REPLACE VIEW htap.partition AS
SELECT p.relname::text AS partitioned, c.relname::text AS partition,
       pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' AS is_default,
       to_timestamp(nullif(substring(c.relname FROM '_(\d{4}_\d{2})$'), ''), 'YYYY_MM')::date AS month,
       greatest(c.reltuples, 0)::bigint AS rows,
       pg_total_relation_size(c.oid) AS size_bytes
FROM htap.partitioned AS t
JOIN pg_class AS p ON p.oid = to_regclass(format('shop.%I', t.name))
JOIN pg_inherits AS h ON h.inhparent = p.oid
JOIN pg_class AS c ON c.oid = h.inhrelid
ORDER BY month NULLS LAST, t.position;
