-- title = "Access to the host"
-- pool = "oltp"
-- interval = "30s"
-- internal = true
-- sampling = { on_olap_server = "node_host_server" }
-- about = """
-- The data directory, and whether htap_host.files() is installed and may be called. A function of a role that is no
-- superuser is refused: somebody may have planted it. Cost: 0.2 ms.
-- """
--
-- [columns.data_directory]
-- help = "The data directory; none without the privileges of pg_read_all_settings."
-- [columns.installed]
-- unit = "flag"
-- help = "True if the function is there."
-- [columns.executable]
-- unit = "flag"
-- help = "True if our role may call it."
-- [columns.owner]
-- help = "Owner of the function or of its schema, if that is no superuser."

-- pg_settings leaves it out without the right to see it; current_setting would fail
SELECT (SELECT s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = 'data_directory') AS data_directory,
       f.installed,
       f.executable,
       f.owner
FROM (SELECT) AS one
LEFT JOIN (
    SELECT true AS installed,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
               AS executable,
           CASE WHEN NOT o.rolsuper THEN o.rolname::pg_catalog.text
                WHEN NOT s.rolsuper THEN s.rolname::pg_catalog.text END AS owner
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid
    JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
    JOIN pg_catalog.pg_roles AS s ON s.oid = n.nspowner
    WHERE n.nspname = 'htap_host'
      AND p.proname = 'files'
      AND p.proargtypes = ARRAY['pg_catalog.int4[]'::pg_catalog.regtype::pg_catalog.oid]::pg_catalog.oidvector
      AND p.prokind = 'f'
) AS f ON true
