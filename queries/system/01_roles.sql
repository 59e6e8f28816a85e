-- Roles, one per kind of work. Limits belong to the role, not to the connection string:
-- they hold for every client, and pass through a connection pooler.
-- Repeatable: an existing role is kept and gets these settings again.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['htap_oltp', 'htap_olap', 'htap_refresh', 'htap_monitor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

-- The shop itself: short statements that rather fail than queue.
ALTER ROLE htap_oltp SET work_mem = '4MB';
ALTER ROLE htap_oltp SET statement_timeout = '5s';
ALTER ROLE htap_oltp SET lock_timeout = '1s';
ALTER ROLE htap_oltp SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE htap_oltp SET jit = off;

-- Reports: read only, more memory, never more than one extra process each.
ALTER ROLE htap_olap SET default_transaction_read_only = on;
ALTER ROLE htap_olap SET work_mem = '64MB';
ALTER ROLE htap_olap SET statement_timeout = '60s';
ALTER ROLE htap_olap SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE htap_olap SET max_parallel_workers_per_gather = 1;
ALTER ROLE htap_olap SET jit = off;

-- Owner of the materialized views, hence the only role that may refresh them.
ALTER ROLE htap_refresh SET work_mem = '64MB';
ALTER ROLE htap_refresh SET max_parallel_workers_per_gather = 0;
ALTER ROLE htap_refresh SET jit = off;

-- The dashboard: sees every session's statement, may cancel and terminate, may refresh. No superuser.
ALTER ROLE htap_monitor SET statement_timeout = '30s';
ALTER ROLE htap_monitor SET jit = off;
GRANT pg_monitor, pg_signal_backend, htap_refresh TO htap_monitor;
