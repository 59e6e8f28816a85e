-- What planning a statement may call, and whose owner has not got our rights; a row for each, by name. In the
-- statement: $1 and $2, schemas ('' for the search path) and names of what may be a relation or a type; $3 and
-- $4, the same of functions; $5, operators; $6, the OIDs of the search path's schemas. What hangs on the relations
-- counts too: views, policies, indexes, constraints, partitions and children; and on a domain, its checks. Operator
-- classes and base types are a superuser's anyway. Where a definition calls a function of PostgreSQL's own nothing
-- depends on it: that is read from its tree.
WITH RECURSIVE path AS MATERIALIZED (
    SELECT entry::oid AS schema FROM unnest(string_to_array($6, ',')) AS entry WHERE entry <> ''
), trusted AS MATERIALIZED (
    -- Who can have our rights anyway, superusers among them; and who can be nobody but a superuser.
    SELECT r.oid AS role
    FROM pg_catalog.pg_roles AS r
    WHERE pg_has_role(r.oid, (SELECT us.oid FROM pg_catalog.pg_roles AS us WHERE us.rolname = current_user), 'MEMBER')
       OR NOT r.rolcanlogin AND NOT starts_with(r.rolname::text, 'pg_')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m
                          JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
                          WHERE m.roleid = r.oid AND NOT member.rolsuper)
), wanted (schema, name) AS MATERIALIZED (
    SELECT n.oid, w.name::name
    FROM unnest($1::text[], $2::text[]) AS w (schema, name)
    JOIN pg_catalog.pg_namespace AS n
      ON CASE WHEN w.schema = '' THEN n.oid IN (SELECT path.schema FROM path) ELSE n.nspname = w.schema::name END
), reached (relation) AS (
    SELECT c.oid
    FROM wanted JOIN pg_catalog.pg_class AS c ON c.relname = wanted.name AND c.relnamespace = wanted.schema
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION
    SELECT next.relation
    FROM reached
    CROSS JOIN LATERAL (
        SELECT d.refobjid
        FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE r.ev_class = reached.relation
        UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_policy AS p
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid
                                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE p.polrelid = reached.relation
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = reached.relation
    ) AS next (relation)
), obeying (function) AS MATERIALIZED (
    -- PostgreSQL's own, stable or immutable, that are told by a value what to call: input functions that take a type by
    -- its OID (a domain's checks, on their own or within an array or a row), and those that read what they are told.
    SELECT p.oid
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND p.provolatile <> 'v'
      AND (p.proargtypes::oid[] @> ARRAY['cstring'::regtype::oid, 'oid'::regtype::oid]
           OR p.proname IN ('pg_input_is_valid', 'pg_input_error_info', 'table_to_xml', 'table_to_xmlschema',
                            'table_to_xml_and_xmlschema', 'schema_to_xml', 'schema_to_xmlschema',
                            'schema_to_xml_and_xmlschema', 'database_to_xml', 'database_to_xmlschema',
                            'database_to_xml_and_xmlschema'))
), thing (class, object) AS (
    SELECT 'pg_catalog.pg_class'::regclass, relation FROM reached
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid
    FROM reached JOIN pg_catalog.pg_index AS i ON i.indrelid = reached.relation
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid
    FROM reached JOIN pg_catalog.pg_constraint AS k ON k.conrelid = reached.relation
    UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid
    FROM reached JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = reached.relation
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid
    FROM reached JOIN pg_catalog.pg_policy AS p ON p.polrelid = reached.relation
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid
    FROM reached JOIN pg_catalog.pg_attrdef AS a ON a.adrelid = reached.relation
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::regclass, s.oid
    FROM reached JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = reached.relation
), hung (class, object) AS MATERIALIZED (
    SELECT DISTINCT d.refclassid, d.refobjid
    FROM thing JOIN pg_catalog.pg_depend AS d ON d.classid = thing.class AND d.objid = thing.object
), used_type (type) AS (
    SELECT object FROM hung WHERE class = 'pg_catalog.pg_type'::regclass
    UNION
    SELECT t.oid FROM wanted JOIN pg_catalog.pg_type AS t ON t.typname = wanted.name AND t.typnamespace = wanted.schema
    UNION
    SELECT part.type
    FROM used_type
    JOIN pg_catalog.pg_type AS t ON t.oid = used_type.type
    CROSS JOIN LATERAL (
        SELECT t.typelem
        UNION ALL
        SELECT t.typbasetype
        UNION ALL
        SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_constraint AS k
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
                                      AND d.refclassid = 'pg_catalog.pg_type'::regclass
        WHERE k.contypid = t.oid
    ) AS part (type)
    WHERE part.type >= 16384
), checked (class, object) AS MATERIALIZED (
    -- What the checks of domains use.
    SELECT d.refclassid, d.refobjid
    FROM used_type
    JOIN pg_catalog.pg_constraint AS k ON k.contypid = used_type.type
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
), tree (text) AS (
    SELECT r.ev_action::text
    FROM reached JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = reached.relation
    UNION ALL
    SELECT concat(p.polqual::text, p.polwithcheck::text)
    FROM reached JOIN pg_catalog.pg_policy AS p ON p.polrelid = reached.relation
    UNION ALL
    SELECT concat(i.indexprs::text, i.indpred::text)
    FROM reached JOIN pg_catalog.pg_index AS i ON i.indrelid = reached.relation
    UNION ALL
    SELECT k.conbin::text
    FROM reached JOIN pg_catalog.pg_constraint AS k ON k.conrelid = reached.relation
    UNION ALL
    SELECT k.conbin::text
    FROM used_type JOIN pg_catalog.pg_constraint AS k ON k.contypid = used_type.type
    UNION ALL
    SELECT a.adbin::text
    FROM reached JOIN pg_catalog.pg_attrdef AS a ON a.adrelid = reached.relation
    UNION ALL
    SELECT p.partexprs::text
    FROM reached JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = reached.relation
    UNION ALL
    -- Before 14 there are no statistics of expressions.
    SELECT to_jsonb(s) ->> 'stxexprs'
    FROM reached JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = reached.relation
), called (function) AS (
    SELECT DISTINCT found.call[1]::oid
    FROM tree CROSS JOIN LATERAL regexp_matches(tree.text, ':(?:op)?funcid ([0-9]+)', 'g') AS found (call)
), used_operator (operator) AS (
    SELECT object FROM hung WHERE class = 'pg_catalog.pg_operator'::regclass
    UNION
    SELECT object FROM checked WHERE class = 'pg_catalog.pg_operator'::regclass
    UNION
    SELECT o.oid FROM pg_catalog.pg_operator AS o
    WHERE o.oprname = ANY ($5::text[]::name[]) AND o.oprnamespace IN (SELECT path.schema FROM path)
), used_function (function) AS (
    SELECT object FROM hung WHERE class = 'pg_catalog.pg_proc'::regclass
    UNION
    SELECT object FROM checked WHERE class = 'pg_catalog.pg_proc'::regclass
    UNION
    SELECT p.oid
    FROM unnest($3::text[], $4::text[]) AS w (schema, name)
    JOIN pg_catalog.pg_proc AS p ON p.proname = w.name::name
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE CASE WHEN w.schema = '' THEN n.oid IN (SELECT path.schema FROM path) ELSE n.nspname = w.schema::name END
    UNION
    SELECT o.oprcode::oid FROM used_operator JOIN pg_catalog.pg_operator AS o ON o.oid = used_operator.operator
    UNION
    SELECT c.castfunc
    FROM used_type JOIN pg_catalog.pg_cast AS c ON used_type.type IN (c.castsource, c.casttarget)
    WHERE used_type.type >= 16384 AND c.castfunc <> 0
)
SELECT format('the function %I.%I', n.nspname, p.proname) AS what
FROM used_function
JOIN pg_catalog.pg_proc AS p ON p.oid = used_function.function
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.oid >= 16384 AND p.proowner NOT IN (SELECT role FROM trusted)
UNION
SELECT format('what %s is told to', p.proname)
FROM obeying
JOIN pg_catalog.pg_proc AS p ON p.oid = obeying.function
WHERE p.proname = ANY ($4::text[]::name[]) OR p.oid IN (SELECT function FROM called)
UNION
SELECT format('the operator %I.%s', n.nspname, o.oprname)
FROM used_operator
JOIN pg_catalog.pg_operator AS o ON o.oid = used_operator.operator
JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
WHERE o.oid >= 16384 AND o.oprowner NOT IN (SELECT role FROM trusted)
UNION
-- A row or a list of names calls nothing, and what a domain's checks call is named above.
SELECT format('the type %I.%I', n.nspname, t.typname)
FROM used_type
JOIN pg_catalog.pg_type AS t ON t.oid = used_type.type
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.oid >= 16384 AND t.typtype IN ('r', 'm') AND t.typowner NOT IN (SELECT role FROM trusted)
UNION
SELECT format('the foreign table %I.%I', n.nspname, c.relname)
FROM reached
JOIN pg_catalog.pg_class AS c ON c.oid = reached.relation AND c.relkind = 'f'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 1
