-- Traps: an object of every name that SQL may find in public, each raising an error when it is touched.
SET search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    types text[] := ARRAY['int2','int4','int8','oid','numeric','float4','float8','text','name','varchar','bpchar','"char"','bool',
        'timestamptz','timestamp','date','interval','regclass','regrole','regtype','regproc','xid','xid8','pg_lsn','text[]','int8[]','int4[]','oid[]','name[]','inet','unknown'];
    l text; r text; o text; f text;
BEGIN
    FOREACH l IN ARRAY types LOOP
        CONTINUE WHEN l = 'unknown';
        FOREACH r IN ARRAY types LOOP
            CONTINUE WHEN r = 'unknown';
            EXECUTE format('CREATE FUNCTION public.trap(%s, %s) RETURNS boolean LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trap''''; END''', l, r);
            FOREACH o IN ARRAY ARRAY['=','<>','<','>','<=','>=','+','-','*','/','||','~','~~','&','@>','<@','&&'] LOOP
                EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap)', o, l, r);
            END LOOP;
        END LOOP;
    END LOOP;
END$$;
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN
        SELECT f.proname, pg_get_function_identity_arguments(f.oid) AS args, f.proargtypes, format_type(f.prorettype, NULL) AS returns,
               (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY AS a (t, n)) AS types
        FROM pg_proc AS f
        WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.prokind = 'f' AND NOT f.proretset AND f.provariadic = 0
          AND (SELECT typtype FROM pg_type WHERE oid = f.prorettype) NOT IN ('p')
          AND NOT EXISTS (SELECT FROM unnest(f.proargtypes::oid[]) AS t JOIN pg_type AS y ON y.oid = t WHERE y.typtype = 'p')
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trap''''; END''',
            p.proname, p.types, p.returns);
    END LOOP;
    FOR p IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') LOOP
        EXECUTE format('CREATE VIEW public.%I AS SELECT pg_catalog.int4div(1, 0) AS trap', p.relname);
    END LOOP;
    FOR p IN SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0 LOOP
        EXECUTE format('CREATE DOMAIN public.%I AS bytea CHECK (pg_catalog.int4eq(pg_catalog.int4div(1, 0), 1))', p.typname);
    END LOOP;
END$$;
