-- What is known of the functions that these names can mean: $1, schemas or '' for the search path; $2, names.
-- A row for PostgreSQL's own, and one for all others, by the position of the name.
SELECT wanted.position AS asked,
       n.nspname = 'pg_catalog' AS built_in,
       -- Of an aggregate the label says nothing: what it calls for each row counts.
       bool_or(p.provolatile = 'v' OR coalesce(parts.volatile, false)) AS volatile,
       -- Written as `row.function`, a function of one row looks like a column.
       bool_or((p.provolatile = 'v' OR coalesce(parts.volatile, false))
               AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
               AND argument.typtype IN ('c', 'd', 'p')) AS column_like,
       -- Of a function in C the label says what its author thinks. Those of PostgreSQL itself are known one by
       -- one; of extensions those that are only types, operators and pure functions. crosstab() and connectby() of
       -- tablefunc, xpath_table() of xml2, dblink, pgrowlocks and their like run text or open tables by name.
       bool_or(n.nspname <> 'pg_catalog' AND l.lanname IN ('c', 'internal')
               AND NOT EXISTS (
                   SELECT
                   FROM pg_catalog.pg_depend AS d
                   JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
                   WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                     AND d.refclassid = 'pg_catalog.pg_extension'::regclass
                     AND e.extname IN ('btree_gin', 'btree_gist', 'citext', 'cube', 'dict_int', 'dict_xsyn',
                                       'earthdistance', 'fuzzystrmatch', 'hstore', 'intagg', 'intarray', 'isn',
                                       'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'tsm_system_rows', 'tsm_system_time',
                                       'unaccent', 'uuid-ossp', 'vector'))) AS opaque
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (schema, name, position)
JOIN pg_catalog.pg_proc AS p ON p.proname = wanted.name::name
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
LEFT JOIN pg_catalog.pg_type AS argument ON argument.oid = p.proargtypes[0]
LEFT JOIN LATERAL (
    SELECT bool_or(part.provolatile = 'v') AS volatile
    FROM pg_catalog.pg_aggregate AS a
    JOIN pg_catalog.pg_proc AS part
      ON part.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                      a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
    WHERE a.aggfnoid = p.oid
) AS parts ON p.prokind = 'a'
WHERE CASE WHEN wanted.schema = '' THEN n.nspname = ANY (current_setting('htap_top.schemas')::name[])
           ELSE n.nspname = wanted.schema::name END
GROUP BY 1, 2
