-- Traps, planted by a role without any rights: whatever SQL of the shop finds in public instead of PostgreSQL's own
-- raises an error. Operators for all pairs of types, those that fit better than PostgreSQL's among them; a function
-- for each of PostgreSQL's; relations and types of the same names.
SET search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    types CONSTANT text[] := '{int2,int4,int8,oid,numeric,float8,text,name,bool,timestamptz,timestamp,date,interval,regclass,regrole,xid8,text[],int8[],anyelement,anyarray}';
    one   text;
    other text;
    sign  text;
BEGIN
    FOREACH one IN ARRAY types LOOP
        FOREACH other IN ARRAY types LOOP
            CONTINUE WHEN (one ~ '^any') <> (other ~ '^any');
            EXECUTE format('CREATE FUNCTION public.trap(%s, %s) RETURNS boolean LANGUAGE plpgsql AS $x$ BEGIN RAISE EXCEPTION ''trap''; END $x$',
                           one, other);
            FOREACH sign IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '||', '~', '~~', '&', '|', '@>', '<@', '&&'] LOOP
                EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap)', sign, one, other);
            END LOOP;
        END LOOP;
    END LOOP;
    FOR one, other, sign IN
        SELECT f.proname, (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(f.proargtypes::oid[]) WITH ORDINALITY AS a (t, n)),
               format_type(f.prorettype, NULL)
        FROM pg_proc AS f
        WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.prokind IN ('f', 'a') AND NOT f.proretset AND f.provariadic = 0
          AND NOT EXISTS (SELECT FROM pg_type AS y WHERE y.typtype = 'p' AND y.typname !~ '^any(element|array|nonarray)$'
                                                     AND (y.oid = f.prorettype OR y.oid = ANY (f.proargtypes::oid[])))
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS $x$ BEGIN RAISE EXCEPTION ''trap''; END $x$',
                           one, other, sign);
        EXCEPTION WHEN invalid_function_definition THEN
            NULL; -- nothing tells the polymorphic result
        END;
    END LOOP;
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
               UNION SELECT relname FROM pg_class WHERE relnamespace IN ('shop'::regnamespace, 'mart'::regnamespace, 'htap'::regnamespace)
                                                    AND relkind IN ('r', 'p', 'v', 'm') LOOP
        EXECUTE format('CREATE VIEW public.%I AS SELECT int4div(1, 0) AS trap', one);
    END LOOP;
    FOR one IN SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0 LOOP
        EXECUTE format('CREATE DOMAIN public.%I AS bytea CHECK (int4eq(int4div(1, 0), 1))', one);
    END LOOP;
END
$$;
