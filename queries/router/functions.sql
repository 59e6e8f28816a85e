-- What is known of the functions that these names can mean: $1, schemas or '' for the search path; $2, names.
-- A row for PostgreSQL's own, and one for all others, by the position of the name.
SELECT wanted.position AS asked,
       n.nspname = 'pg_catalog' AS built_in,
       -- Of an aggregate the label says nothing: what it calls for each row counts.
       bool_or(p.provolatile = 'v' OR coalesce(parts.volatile, false)) AS volatile,
       -- Written as `row.function`, a function of one row looks like a column.
       bool_or((p.provolatile = 'v' OR coalesce(parts.volatile, false))
               AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
               AND argument.typtype IN ('c', 'd', 'p')) AS column_like
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (schema, name, position)
JOIN pg_catalog.pg_proc AS p ON p.proname = wanted.name::name
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
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
