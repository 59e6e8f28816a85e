-- What lies behind the relations that these names can mean ($1, schemas or '' for the search path; $2,
-- names), through views, policies, partitions and children: only what may keep a read from a replica. A
-- view's definition and a policy may call anything.
WITH RECURSIVE reached (relation) AS (
    SELECT c.oid
    FROM unnest($1::text[], $2::text[]) AS wanted (schema, name)
    JOIN pg_catalog.pg_class AS c ON c.relname = wanted.name::name
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND CASE WHEN wanted.schema = '' THEN n.nspname = ANY (current_setting('htap_top.schemas')::name[])
               ELSE n.nspname = wanted.schema::name END
    UNION
    SELECT next.relation
    FROM reached
    JOIN pg_catalog.pg_class AS c ON c.oid = reached.relation
    CROSS JOIN LATERAL (
        SELECT d.refobjid
        FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE r.ev_class = c.oid AND c.relkind = 'v'
        UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_policy AS p
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid
                                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE p.polrelid = c.oid AND c.relrowsecurity
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid
    ) AS next (relation)
)
SELECT n.nspname::text          AS schema,
       c.relname::text          AS name,
       c.relkind::text          AS kind,
       c.relpersistence::text   AS persistence,
       CASE WHEN c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
       CASE WHEN c.relrowsecurity
            THEN (SELECT string_agg(pg_catalog.pg_get_expr(p.polqual, p.polrelid), ' , ')
                  FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid) END AS policies
FROM reached
JOIN pg_catalog.pg_class AS c ON c.oid = reached.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'f', 'S') OR c.relpersistence <> 'p' OR c.relrowsecurity
