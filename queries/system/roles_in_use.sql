-- Why a role of ours, of the names $1, cannot be dropped once this database holds nothing of ours any more:
-- other databases, what others gave it here, and others who are members of it.
SELECT r.rolname::text AS role,
       CASE WHEN d.dbid = 0 THEN 'objects of the whole cluster'
            WHEN d.dbid <> (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            THEN 'database ' || (SELECT datname FROM pg_catalog.pg_database WHERE oid = d.dbid)
            ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END AS used_by
FROM pg_catalog.pg_shdepend AS d
JOIN pg_catalog.pg_roles AS r ON d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.oid = d.refobjid
WHERE r.rolname = ANY ($1) AND d.classid <> 'pg_catalog.pg_auth_members'::pg_catalog.regclass
UNION
SELECT r.rolname::text, 'its member ' || m.rolname
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
WHERE r.rolname = ANY ($1) AND m.rolname <> ALL ($1) AND m.rolname <> current_user AND NOT m.rolsuper
ORDER BY 1, 2
