-- Roles, one per kind of work. Limits belong to the role, not to the connection string:
-- they hold for every client, and pass through a connection pooler.
-- Roles belong to the whole cluster: one that exists, from another database, keeps its limits and password.
-- The comments mark what is ours; src/system/survey.rs asks for them.
DO $$
DECLARE
    wanted text;
    about  text;
    limits text;
    line   text;
BEGIN
    FOR wanted, about, limits IN VALUES
        -- Short statements of a few rows, planned once, that rather fail than queue.
        ('htap_oltp', 'the shop''s own transactions',
         'work_mem=4MB statement_timeout=5s lock_timeout=1s idle_in_transaction_session_timeout=10s jit=off'
         ' plan_cache_mode=force_generic_plan'),
        -- Read only, more memory, never more than one extra process each.
        ('htap_olap', 'reports',
         'default_transaction_read_only=on work_mem=64MB statement_timeout=60s'
         ' idle_in_transaction_session_timeout=5min max_parallel_workers_per_gather=1 jit=off'),
        ('htap_refresh', 'owner of the materialized views, hence the role that may refresh them',
         'work_mem=64MB idle_in_transaction_session_timeout=5min max_parallel_workers_per_gather=0 jit=off'),
        -- Sees every session's statement, may cancel and terminate, may refresh. No superuser.
        ('htap_monitor', 'the dashboard', 'statement_timeout=30s jit=off')
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted);
        EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        EXECUTE format('COMMENT ON ROLE %I IS %L', wanted, 'htap-top: ' || about);
        FOREACH line IN ARRAY string_to_array(limits, ' ') LOOP
            EXECUTE format('ALTER ROLE %I SET %I = %L', wanted, split_part(line, '=', 1), split_part(line, '=', 2));
        END LOOP;
    END LOOP;

    -- Whoever installs this has to become htap_refresh below, which only a superuser may do anyway.
    IF NOT pg_has_role('htap_refresh', 'USAGE') THEN
        GRANT htap_refresh TO CURRENT_USER;
    END IF;
    FOREACH wanted IN ARRAY ARRAY['pg_monitor', 'pg_signal_backend', 'htap_refresh'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members
                       WHERE roleid = wanted::regrole AND member = 'htap_monitor'::regrole) THEN
            EXECUTE format('GRANT %I TO htap_monitor', wanted);
        END IF;
    END LOOP;
END
$$;
