-- title = "Needs"
-- pool = "slow"
-- interval = "10s"
-- internal = true
-- sampling = { first = true }
-- about = """
-- Whether the relations that panels need exist, whether our role may read them, and whether a stranger could have
-- put something else in their place: reading a view runs its owner's code with the rights of the reader. The
-- program fills in the lists.
-- """
-- [columns.found]
-- unit = "flag"
-- [columns.readable]
-- unit = "flag"
-- help = "Our role may read it. If not, it is not queried: each refusal would be an error in the server's log."
-- [columns.stranger]
-- help = "Owner of it or of its schema, if anybody can act as that role besides superusers and those who have our rights anyway."
WITH RECURSIVE us AS MATERIALIZED (
    SELECT r.oid, r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user
), needed AS MATERIALIZED (
    SELECT n.name, p.parts
    FROM pg_catalog.unnest(ARRAY[]::text[]) AS n (name) CROSS JOIN LATERAL pg_catalog.parse_ident(n.name) AS p (parts)
), schemas AS MATERIALIZED (
    -- Those whose functions are called, too.
    SELECT s.oid, s.nspname, s.nspowner
    FROM pg_catalog.pg_namespace AS s WHERE s.nspname = ANY (ARRAY[]::pg_catalog.name[])
), by_others AS MATERIALIZED (
    -- Functions in them that others have made; usually there are none, and nothing is compared below.
    SELECT p.oid, p.proname, p.pronamespace, p.proowner, s.nspowner
    FROM schemas AS s
    -- pg_proc has no index by schema, and OFFSET keeps it from being read as a whole.
    JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = s.oid
         AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    CROSS JOIN LATERAL (SELECT q.oid, q.proname, q.pronamespace, q.proowner FROM pg_catalog.pg_proc AS q WHERE q.oid = d.objid AND q.pronamespace = s.oid OFFSET 0) AS p
    WHERE p.proowner <> s.nspowner
), thing AS MATERIALIZED (
    SELECT n.name, o.owner
    FROM needed AS n
    JOIN pg_catalog.pg_namespace AS s ON s.nspname = n.parts[1]
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relname = n.parts[2]
    CROSS JOIN LATERAL (VALUES (c.relowner), (s.nspowner)) AS o (owner)
    UNION ALL
    SELECT 'schema ' || s.nspname, s.nspowner FROM schemas AS s
    UNION ALL
    -- Of these, those that could be called in place of one of the owner's.
    SELECT 'function ' || p.oid::pg_catalog.regprocedure::text, p.proowner
    FROM by_others AS p
    WHERE EXISTS (SELECT FROM pg_catalog.pg_proc AS q
                  WHERE q.pronamespace = p.pronamespace AND q.proname = p.proname AND q.proowner = p.nspowner)
), acting (owner, role) AS (
    -- Who can act as an owner, by way of memberships.
    SELECT t.owner, t.owner FROM thing AS t
    UNION
    SELECT a.owner, m.member
    FROM acting AS a
    CROSS JOIN LATERAL (
        SELECT m.member FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = a.role
        UNION ALL
        SELECT d.datdba
        FROM pg_catalog.pg_roles AS r JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
        WHERE r.oid = a.role AND r.rolname = 'pg_database_owner'
    ) AS m
), strange AS MATERIALIZED (
    SELECT a.owner, pg_catalog.pg_get_userbyid(a.owner)::text AS name
    FROM acting AS a
    JOIN pg_catalog.pg_roles AS r ON r.oid = a.role
    CROSS JOIN us
    GROUP BY a.owner
    HAVING NOT pg_catalog.bool_or(r.oid = a.owner AND r.rolsuper)
       AND pg_catalog.bool_or(r.rolcanlogin AND NOT r.rolsuper AND NOT pg_catalog.pg_has_role(r.oid, us.oid, 'MEMBER')
                              -- before 16 it can make itself a member of any role that is no superuser
                              AND NOT (r.rolcreaterole AND NOT us.rolsuper
                                       AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 160000))
)
-- to_regclass is an error if our role has no USAGE on the schema, and one error would hide the answer about all others.
SELECT n.name, r.oid IS NOT NULL AS found, pg_catalog.has_any_column_privilege(r.oid, 'SELECT') AS readable,
       (SELECT pg_catalog.min(s.name) FROM thing AS t JOIN strange AS s ON s.owner = t.owner WHERE t.name = n.name) AS stranger
FROM needed AS n
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_catalog.cardinality(n.parts) = 1
                     OR pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(pg_catalog.quote_ident(n.parts[1])), 'USAGE')
                THEN pg_catalog.to_regclass(n.name)::pg_catalog.oid END AS oid
) AS r
UNION ALL
(SELECT t.name, true, NULL, pg_catalog.min(s.name)
 FROM thing AS t JOIN strange AS s ON s.owner = t.owner
 WHERE t.name NOT IN (SELECT n.name FROM needed AS n)
 GROUP BY t.name ORDER BY t.name LIMIT 5)
