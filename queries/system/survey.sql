-- Everything in the schemas $1 and everything that depends on it, each named with what it hangs on (via; NULL:
-- on the schema alone). A part of a part stands for itself only where it stands alone: a view instead of its
-- rule, a table instead of its row type. The parts of the tables $2, our partitions, are left out, and so is
-- NOT NULL, which is a constraint from PostgreSQL 18 on only.
WITH RECURSIVE reached (classid, objid, via_class, via_id) AS (
    SELECT d.classid, d.objid, NULL::oid, NULL::oid
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_namespace AS n ON n.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.nspname = ANY ($1)
    UNION
    SELECT step.classid, step.objid, step.via_class, step.via_id
    FROM reached AS r
    CROSS JOIN LATERAL (
        SELECT d.classid, d.objid, d.refclassid AS via_class, d.refobjid AS via_id FROM pg_catalog.pg_depend AS d
        WHERE d.refclassid = r.classid AND d.refobjid = r.objid AND d.deptype IN ('n', 'a')
        UNION ALL
        SELECT d.refclassid, d.refobjid, r.via_class, r.via_id FROM pg_catalog.pg_depend AS d
        WHERE d.classid = r.classid AND d.objid = r.objid AND d.deptype = 'i'
    ) AS step
), alone AS (
    SELECT r.* FROM reached AS r
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = r.classid AND d.objid = r.objid
          -- A partitioned table is part of itself by the columns of its key.
          AND (d.classid, d.objid) <> (d.refclassid, d.refobjid)
          AND (d.deptype IN ('i', 'P', 'S', 'e')
               OR d.deptype = 'a' AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND d.refobjid IN (SELECT pg_catalog.to_regclass(name) FROM pg_catalog.unnest($2) AS name)))
      AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS c
        WHERE r.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = r.objid AND c.contype = 'n')
)
SELECT DISTINCT thing.type AS kind, thing.identity, via.type AS via_kind, via.identity AS via_identity
FROM alone AS a
CROSS JOIN LATERAL pg_catalog.pg_identify_object(a.classid, a.objid, 0) AS thing
LEFT JOIN LATERAL pg_catalog.pg_identify_object(a.via_class, a.via_id, 0) AS via ON a.via_id IS NOT NULL
WHERE thing.identity IS NOT NULL AND (a.classid, a.objid) IS DISTINCT FROM (a.via_class, a.via_id)
ORDER BY 1, 2, 3, 4
