-- Names in whose presence a volatile function may run without being called by name: types with volatile
-- casts, volatile input or output, volatile comparison, or a check that calls one, with all that holds such
-- a type; functions and operators that take or give one; operators that are volatile themselves. Hardly any
-- database has one.
WITH RECURSIVE volatile AS (
    SELECT oid FROM pg_catalog.pg_proc WHERE provolatile = 'v'
), casts AS (
    SELECT castsource AS source, casttarget AS target
    FROM pg_catalog.pg_cast WHERE castfunc IN (SELECT oid FROM volatile)
), hazard (type) AS (
    SELECT ends.type
    FROM casts CROSS JOIN LATERAL (VALUES (casts.source), (casts.target)) AS ends (type)
    WHERE ends.type >= 16384
    UNION
    SELECT t.oid FROM pg_catalog.pg_type AS t
    WHERE t.oid >= 16384 AND t.typtype IN ('b', 'r', 'm')
      AND (t.typinput IN (SELECT oid FROM volatile) OR t.typoutput IN (SELECT oid FROM volatile)
           OR t.typreceive IN (SELECT oid FROM volatile) OR t.typsend IN (SELECT oid FROM volatile))
    UNION
    SELECT amproclefttype FROM pg_catalog.pg_amproc
    WHERE amproclefttype >= 16384 AND amproc IN (SELECT oid FROM volatile)
    UNION
    SELECT k.contypid
    FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
    LEFT JOIN pg_catalog.pg_class AS c ON d.refclassid = 'pg_catalog.pg_class'::regclass AND c.oid = d.refobjid
    WHERE k.contypid <> 0
      -- nextval() itself is not listed, but its sequence is.
      AND (c.relkind = 'S'
           OR d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid IN (SELECT oid FROM volatile))
    UNION
    SELECT holder.type
    FROM hazard
    CROSS JOIN LATERAL (
        SELECT t.oid FROM pg_catalog.pg_type AS t
        WHERE t.typelem = hazard.type OR t.typbasetype = hazard.type
        UNION ALL
        SELECT r.rngtypid FROM pg_catalog.pg_range AS r WHERE r.rngsubtype = hazard.type
        UNION ALL
        -- Rows of tables and views among them.
        SELECT c.reltype FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE a.atttypid = hazard.type AND NOT a.attisdropped AND c.reltype <> 0
    ) AS holder (type)
)
SELECT 'word' AS kind, t.typname::text AS name
FROM hazard JOIN pg_catalog.pg_type AS t ON t.oid = hazard.type
UNION
SELECT 'word', p.proname::text
FROM hazard
JOIN pg_catalog.pg_proc AS p ON p.prorettype = hazard.type OR hazard.type = ANY (p.proargtypes)
UNION
SELECT 'operator', o.oprname::text
FROM hazard
JOIN pg_catalog.pg_operator AS o ON hazard.type IN (o.oprleft, o.oprright, o.oprresult)
UNION
SELECT 'operator', oprname::text FROM pg_catalog.pg_operator WHERE oprcode IN (SELECT oid FROM volatile)
UNION
-- Of a family of operators whose support function is volatile: it is called to sort, to hash or to search, whatever
-- the operators themselves are, and for PostgreSQL's own types as well.
SELECT 'operator', o.oprname::text
FROM pg_catalog.pg_amproc AS support
JOIN pg_catalog.pg_amop AS member ON member.amopfamily = support.amprocfamily
JOIN pg_catalog.pg_operator AS o ON o.oid = member.amopopr
WHERE support.amproc IN (SELECT oid FROM volatile)
UNION
-- Between two types of PostgreSQL's own: it may be meant anywhere.
SELECT 'anywhere', casts.source::regtype || ' as ' || casts.target::regtype
FROM casts WHERE casts.source < 16384 AND casts.target < 16384
