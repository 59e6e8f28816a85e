-- Rights, taken and given anew each time. What belongs to htap_owner in these schemas is ours; what others put into
-- them is theirs.
DO $$
DECLARE
    entry   record;
    setting text;
    roles   CONSTANT text := 'htap_oltp, htap_olap, htap_refresh, htap_monitor';
    -- What changes the meaning of SQL and of values written as text.
    meaning CONSTANT text[] := ARRAY['DateStyle = ''ISO, YMD''', 'TimeZone = ''UTC''', 'IntervalStyle = ''postgres''',
        'quote_all_identifiers = off', 'standard_conforming_strings = on', 'transform_null_equals = off',
        'array_nulls = on', 'extra_float_digits = 1'];
    -- Functions whose every name and operator is written with its schema: a fixed search_path would cost them more
    -- than all the rest, and keep the planner from reading them.
    immune CONSTANT regprocedure[] := ARRAY['shop.order_time(bigint)', 'shop.new_order_id()',
        'shop.is_order(bigint,timestamptz,smallint,numeric,timestamptz)']::regprocedure[];
BEGIN
    FOR entry IN
        SELECT c.oid::regclass AS name, n.nspname AS schema, c.relkind, c.relname,
               CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('shop', 'mart', 'htap') AND c.relowner = 'htap_owner'::regrole
          AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT c.relispartition
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC, %s', entry.kind, entry.name, roles);
        IF entry.kind = 'SEQUENCE' THEN
            -- How far it is from its end is for a monitor to see.
            EXECUTE format('GRANT SELECT ON SEQUENCE %s TO htap_refresh', entry.name);
            CONTINUE;
        END IF;
        IF entry.schema = 'mart' THEN
            EXECUTE format('GRANT SELECT ON %s TO htap_olap, htap_refresh', entry.name);
        ELSIF entry.name = 'htap.stream_slot'::regclass THEN
            -- Who knows the secret can write events.
            EXECUTE format('GRANT SELECT (slot, publication, sent_to, sent_at, ended_at) ON htap.stream_slot TO %s', roles);
        ELSIF entry.schema = 'htap' THEN
            EXECUTE format('GRANT SELECT ON %s TO %s', entry.name, roles);
        END IF;
        -- What was installed and what a view is made of are read by code that others run: nobody changes them.
        IF entry.relkind = 'r' AND (entry.schema = 'mart' OR entry.schema = 'htap' AND entry.relname NOT IN
               ('object', 'schema_version', 'partitioned', 'view_def', 'load', 'load_part', 'outbox', 'heartbeat', 'watermark',
                'order_log', 'dirty_log', 'routing', 'stream_pause', 'realtime_source', 'stream_slot')) THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO htap_refresh', entry.name);
        END IF;
        -- Before 17 only the owner may VACUUM a table or REFRESH a materialized view.
        IF entry.relkind IN ('r', 'm') AND entry.schema IN ('mart', 'htap')
           AND current_setting('server_version_num')::integer >= 170000 THEN
            EXECUTE format('GRANT MAINTAIN ON %s TO htap_refresh', entry.name);
        END IF;
    END LOOP;

    FOR entry IN
        SELECT p.oid::regprocedure AS name, n.nspname AS schema, p.prosecdef OR p.prorettype = 'trigger'::regtype AS restricted,
               p.oid = ANY (immune) OR EXISTS (SELECT FROM unnest(p.proconfig) AS s WHERE s LIKE 'search\_path=%') AS fixed,
               n.nspname = 'htap' AND l.lanname = 'plpgsql' AND p.prorettype <> 'trigger'::regtype AS writes_sql
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace JOIN pg_language AS l ON l.oid = p.prolang
        WHERE n.nspname IN ('shop', 'mart', 'htap') AND p.proowner = 'htap_owner'::regrole
    LOOP
        IF NOT entry.fixed THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', entry.name);
        END IF;
        -- They write statements, and compare texts: those mean the same in every session. The shop's own functions and
        -- the triggers do neither, and are called for each order.
        IF entry.writes_sql THEN
            FOREACH setting IN ARRAY meaning LOOP
                EXECUTE format('ALTER FUNCTION %s SET %s', entry.name, setting);
            END LOOP;
        END IF;
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, %s', entry.name, roles);
        -- What runs with the rights of who calls it gives none; the others are named below.
        IF NOT entry.restricted THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry.name,
                           CASE entry.schema WHEN 'shop' THEN 'htap_oltp' ELSE 'htap_refresh' END);
        END IF;
    END LOOP;
END
$$;

-- htap_monitor is a member of htap_refresh, and has what that has.
REVOKE ALL ON SCHEMA shop, mart, htap FROM PUBLIC, htap_oltp, htap_olap, htap_refresh, htap_monitor;
GRANT USAGE ON SCHEMA shop, mart, htap TO htap_oltp, htap_olap, htap_refresh;

GRANT SELECT ON shop.users, shop.categories, shop.products, shop.inventory, shop.orders, shop.order_items,
    shop.payments, shop.shipments, shop.user_events TO htap_oltp, htap_olap, htap_refresh;
GRANT INSERT, UPDATE ON shop.users, shop.categories, shop.products, shop.inventory, shop.order_items, shop.user_events
    TO htap_oltp;
-- The status of an order, its times, payments and shipments are written by the functions only.
GRANT INSERT (order_id, created_at, user_id, total_amount), UPDATE (user_id, total_amount, updated_at)
    ON shop.orders, mart.orders TO htap_oltp;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.order_requests TO htap_oltp;
GRANT USAGE ON SEQUENCE shop.order_counter TO htap_oltp;
GRANT EXECUTE ON FUNCTION shop.order_time(bigint) TO htap_olap, htap_refresh;
GRANT EXECUTE ON FUNCTION shop.create_order(bigint, bigint[], bigint[], text),
    shop.create_orders(bigint[], integer[], bigint[], bigint[], text[]), shop.pay_order(bigint), shop.ship_order(bigint),
    shop.complete_order(bigint), shop.cancel_order(bigint) TO htap_oltp;

-- What a checkout may ask about its customer, and the case study's own questions.
GRANT SELECT ON mart.user_rfm, mart.sales_hourly_mv, mart.fact_sales_mv, mart.user_behavior_mv, mart.daily_sales_summary,
    mart.dim_users, mart.dim_products, mart.orders TO htap_oltp;

GRANT INSERT (nothing) ON htap.heartbeat TO htap_oltp, htap_refresh;
-- Who sends the shop's statements says where to. When a row began is not for it to say.
GRANT DELETE ON htap.routing TO htap_oltp;
GRANT INSERT (instance, program, routed, fallbacks, misroutes, reruns, waits, wait_ms_sum, wait_ms_p50, wait_ms_p99, breaker,
              barred, breaker_since, opened, lag_bytes, lag_ms),
    UPDATE (reported_at, routed, fallbacks, misroutes, reruns, waits, wait_ms_sum, wait_ms_p50, wait_ms_p99, breaker, barred,
            breaker_since, opened, lag_bytes, lag_ms) ON htap.routing TO htap_oltp;
GRANT DELETE ON htap.routing, htap.heartbeat, htap.order_log, htap.dirty_log TO htap_refresh;
GRANT INSERT (what) ON htap.dirty_log TO htap_refresh;
GRANT UPDATE ON htap.watermark TO htap_refresh;
GRANT UPDATE (freshness) ON htap.view_def TO htap_refresh;
GRANT DELETE ON htap.outbox TO htap_refresh;
GRANT SELECT, UPDATE (sent_to, sent_at) ON htap.stream_slot TO htap_refresh;
GRANT EXECUTE ON FUNCTION htap.pause_relay(boolean, text), htap.make_shadow(text), htap.drop_shadow(text) TO htap_refresh;
GRANT EXECUTE ON FUNCTION htap.maintain(), htap.refresh_view(text, boolean) TO htap_refresh;
GRANT EXECUTE ON FUNCTION htap.count_column_queries(bigint, bigint, bigint), htap.report_column_damage(bigint, text)
    TO htap_oltp, htap_olap, htap_refresh;
GRANT EXECUTE ON FUNCTION htap.strays() TO htap_oltp, htap_olap, htap_refresh;
RESET ROLE;
