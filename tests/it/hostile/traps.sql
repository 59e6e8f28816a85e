-- Traps, planted by a role without any rights: an object of every name that SQL may find in public instead of
-- PostgreSQL's own, each raising an error when it is touched.
SET search_path = pg_catalog, pg_temp;
-- Operators for all pairs of types: some fit better than PostgreSQL's own.
DO $$
DECLARE
    types CONSTANT text[] := ARRAY['int2','int4','int8','oid','numeric','float4','float8','text','name','varchar','bpchar','"char"','bool',
        'timestamptz','timestamp','date','interval','regclass','regrole','regtype','regproc','xid','xid8','pg_lsn','text[]','int8[]','int4[]',
        'oid[]','name[]','inet'];
    l text;
    r text;
    o text;
BEGIN
    FOREACH l IN ARRAY types LOOP
        FOREACH r IN ARRAY types LOOP
            EXECUTE format('CREATE FUNCTION public.trap(%s, %s) RETURNS boolean LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trap''''; END''', l, r);
            FOREACH o IN ARRAY ARRAY['=','<>','<','>','<=','>=','+','-','*','/','||','~','~~','&','@>','<@','&&'] LOOP
                EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap)', o, l, r);
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
-- Each of PostgreSQL's own operators once more.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT p.oprname, format_type(nullif(p.oprleft, 0), NULL) AS l, format_type(p.oprright, NULL) AS r
        FROM pg_operator AS p
        WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprright <> 0
          AND NOT EXISTS (SELECT FROM pg_operator AS q WHERE q.oprnamespace = 'public'::regnamespace
                          AND (q.oprname, q.oprleft, q.oprright) = (p.oprname, p.oprleft, p.oprright))
          AND NOT EXISTS (SELECT FROM pg_type AS y WHERE y.oid IN (p.oprleft, p.oprright) AND y.typtype = 'p' AND y.typname !~ '^any(element|array|nonarray)$')
    LOOP
        IF to_regprocedure(format('public.trap(%s)', concat_ws(', ', o.l, o.r))) IS NULL THEN
            EXECUTE format('CREATE FUNCTION public.trap(%s) RETURNS boolean LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trap''''; END''',
                           concat_ws(', ', o.l, o.r));
        END IF;
        EXECUTE format('CREATE OPERATOR public.%s (%s RIGHTARG = %s, FUNCTION = public.trap)', o.oprname,
                       CASE WHEN o.l IS NOT NULL THEN format('LEFTARG = %s,', o.l) ELSE '' END, o.r);
    END LOOP;
END
$$;
-- Functions, aggregates and window functions among them; for "any", which only C has, what is as wide.
DO $$
DECLARE
    p    record;
    body CONSTANT text := 'LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trap''''; END''';
BEGIN
    FOR p IN
        SELECT f.proname, f.proretset, format_type(f.prorettype, NULL) AS returns,
               coalesce((SELECT string_agg(CASE WHEN n = array_length(f.proargtypes::oid[], 1) AND f.provariadic <> 0 AND t <> '"any"'::regtype
                                                THEN 'VARIADIC ' ELSE '' END || replace(format_type(t, NULL), '"any"', 'anyelement'), ', ' ORDER BY n)
                         FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY AS a (t, n)), '') AS args,
               coalesce((SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n)
                         FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY AS a (t, n)
                         WHERE n < array_length(f.proargtypes::oid[], 1)), '') AS fewer
        FROM pg_proc AS f
        WHERE f.pronamespace = 'pg_catalog'::regnamespace
          AND NOT EXISTS (SELECT FROM unnest(f.proargtypes::oid[]) AS t
                          WHERE t IN ('internal'::regtype, 'cstring'::regtype))
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s %s', p.proname, p.args, CASE WHEN p.proretset THEN 'SETOF' ELSE '' END,
                           p.returns, body);
        EXCEPTION WHEN duplicate_function THEN
            NULL;
        WHEN OTHERS THEN
            -- Its result cannot be told, or is of no type that a function may have.
            BEGIN
                EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s boolean %s', p.proname, p.args,
                               CASE WHEN p.proretset THEN 'SETOF' ELSE '' END, body);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'no trap for %(%): %', p.proname, p.args, SQLERRM;
            END;
        END;
    END LOOP;
END
$$;
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') LOOP
        EXECUTE format('CREATE VIEW public.%I AS SELECT pg_catalog.int4div(1, 0) AS trap', p.relname);
    END LOOP;
    FOR p IN SELECT typname FROM pg_type AS t WHERE typnamespace = 'pg_catalog'::regnamespace AND typname !~ '^_' AND typtype IN ('b', 'p', 'r')
                                                AND typrelid = 0 LOOP
        EXECUTE format('CREATE DOMAIN public.%I AS bytea CHECK (pg_catalog.int4eq(pg_catalog.int4div(1, 0), 1))', p.typname);
    END LOOP;
END
$$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC;
