-- Roles, one per kind of work, and one that owns all of it. Limits belong to the role, not to the connection string:
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
        -- Read only, more memory, no extra processes: the transactions of the others need the processors. A report that
        -- should have some sets max_parallel_workers_per_gather itself.
        ('htap_olap', 'reports',
         'default_transaction_read_only=on work_mem=64MB statement_timeout=60s'
         ' idle_in_transaction_session_timeout=5min max_parallel_workers_per_gather=0 jit=off'),
        ('htap_refresh', 'merges and refreshes the summaries',
         'work_mem=64MB idle_in_transaction_session_timeout=5min max_parallel_workers_per_gather=0 jit=off'),
        -- Sees every session's statement, may cancel and terminate, may refresh. No superuser.
        ('htap_monitor', 'the dashboard', 'statement_timeout=30s jit=off'),
        -- Whoever owns a function, a table or a schema has it in his hand what others run who use it, superusers
        -- too. So everything belongs to a role that nobody can log in as, and that nobody is a member of, unless
        -- the schema was installed by a role that is no superuser: that one has to be.
        ('htap_owner', 'owner of the shop''s objects; nobody is a member', '')
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted);
        EXECUTE format('CREATE ROLE %I %s', wanted, CASE wanted WHEN 'htap_owner' THEN 'NOLOGIN' ELSE 'LOGIN' END);
        EXECUTE format('COMMENT ON ROLE %I IS %L', wanted, 'htap-top: ' || about);
        FOREACH line IN ARRAY string_to_array(limits, ' ') LOOP
            EXECUTE format('ALTER ROLE %I SET %I = %L', wanted, split_part(line, '=', 1), split_part(line, '=', 2));
        END LOOP;
    END LOOP;

    -- Whoever installs this has to become htap_owner below, which only a superuser may do anyway.
    IF NOT pg_has_role('htap_owner', 'USAGE') THEN
        GRANT htap_owner TO CURRENT_USER;
    END IF;
    FOREACH wanted IN ARRAY ARRAY['pg_monitor', 'pg_signal_backend', 'htap_refresh'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members
                       WHERE roleid = wanted::regrole AND member = 'htap_monitor'::regrole) THEN
            EXECUTE format('GRANT %I TO htap_monitor', wanted);
        END IF;
    END LOOP;

    -- Where applications find the names of the case study, in this database. Nothing of ours relies on it.
    FOREACH wanted IN ARRAY ARRAY['htap_oltp', 'htap_olap', 'htap_refresh'] LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS c
            WHERE s.setrole = wanted::regrole AND c LIKE 'search\_path=%'
              AND s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()));
        BEGIN
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = mart, shop', wanted, current_database());
        EXCEPTION WHEN insufficient_privilege THEN
            -- Somebody else made the role, for another database.
            RAISE NOTICE 'the role % gets no search_path in this database: %', wanted, SQLERRM;
        END;
    END LOOP;
END
$$;
