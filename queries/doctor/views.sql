-- title = "materialized views: refreshed CONCURRENTLY or not, populated, now() among the columns, privilege to refresh"
-- order = 80
-- about = """
-- A plain refresh locks readers out; CONCURRENTLY needs a valid unique index on plain columns without WHERE. Only
-- the author of the view knows which columns are unique: a column is proposed if the last ANALYZE found all its
-- values distinct and none NULL, which is no proof.
-- Cost: 5 ms for 15 views; no lock on any of them.
-- Blind spot: now() is found by pattern in the stored rule, one cast deep. Statistics of views that our role may
-- not read are hidden: no column is proposed then.
-- """

WITH mv AS MATERIALIZED (
    SELECT c.oid, c.relnamespace, c.relowner, c.relispopulated, c.relname, n.nspname,
           pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           r.ev_action::pg_catalog.text
               ~ ':expr \{(FUNCEXPR :funcid \d+ [^{}]*:args \(\{)?(FUNCEXPR :funcid (1299|264[789]|274) |SQLVALUEFUNCTION :op [1-8] )'
               AS def_has_now
    FROM pg_catalog.pg_rewrite AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE r.rulename = '_RETURN' AND r.ev_class >= 16384 AND c.relkind = 'm'
),
indexed AS MATERIALIZED (
    SELECT mv.oid,
           pg_catalog.count(x.indexrelid) AS n,
           coalesce(pg_catalog.bool_or(x.indisvalid AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL), false)
               AS usable,
           pg_catalog.bool_or(x.indpred IS NOT NULL) AS partial,
           pg_catalog.bool_or(x.indexprs IS NOT NULL) AS expression,
           pg_catalog.min(pg_catalog.format('%I.%I', mv.nspname, i.relname))
               FILTER (WHERE NOT x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL) AS invalid
    FROM mv
    LEFT JOIN pg_catalog.pg_index AS x ON x.indrelid = mv.oid AND x.indisunique
    LEFT JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
    GROUP BY mv.oid
),
unpermitted AS (
    SELECT pg_catalog.count(*) AS n,
           pg_catalog.string_agg(m.name, ', ' ORDER BY m.name) FILTER (WHERE m.place <= 5) AS names,
           pg_catalog.string_agg(m.name, ', ' ORDER BY m.name) AS all_names,
           pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(m.owner), ', ') FILTER (WHERE NOT m.superuser) AS owners,
           pg_catalog.string_agg('ALTER MATERIALIZED VIEW ' || m.name || ' OWNER TO ...', '; ' ORDER BY m.name)
               FILTER (WHERE m.superuser) AS new_owners
    -- What init made belongs to nobody who can log in: a function refreshes it, for htap_refresh and its members.
    FROM (SELECT mv.name,
                 CASE WHEN f.oid IS NULL THEN pg_catalog.pg_get_userbyid(mv.relowner) ELSE 'htap_refresh' END AS owner,
                 coalesce((SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = mv.relowner), false) AS superuser,
                 pg_catalog.row_number() OVER (ORDER BY mv.name) AS place
          FROM mv
          LEFT JOIN (pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.pronamespace AND fn.nspname = 'htap')
              ON f.proname = 'refresh_view' AND f.proowner = mv.relowner
          WHERE NOT (pg_catalog.has_schema_privilege(mv.relnamespace, 'USAGE')
                     AND (pg_catalog.pg_has_role(mv.relowner, 'USAGE')
                          OR CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000
                                  THEN pg_catalog.has_table_privilege(mv.oid, 'MAINTAIN') ELSE false END
                          OR f.oid IS NOT NULL AND pg_catalog.has_schema_privilege(fn.oid, 'USAGE')
                             AND pg_catalog.has_function_privilege(f.oid, 'EXECUTE')))) AS m
)
SELECT 'warning' AS severity,
       mv.name AS subject,
       CASE WHEN i.n = 0 THEN 'no unique index'
            WHEN i.invalid IS NOT NULL THEN 'its unique index ' || i.invalid || ' is invalid'
            WHEN i.partial THEN 'its unique index has a WHERE clause'
            WHEN i.expression THEN 'its unique index is on an expression'
            ELSE 'its unique index is deferrable or invalid' END
       || ': it cannot be refreshed CONCURRENTLY, a refresh locks its readers out'
       || CASE WHEN i.invalid IS NOT NULL THEN ''
               WHEN k.key IS NOT NULL THEN '; at the last ANALYZE all values of ' || k.key || ' were distinct'
               ELSE '; it needs columns that identify its rows, such as those of its GROUP BY' END AS evidence,
       CASE WHEN i.invalid IS NOT NULL THEN 'REINDEX INDEX CONCURRENTLY ' || i.invalid || ', once its rows are distinct (check: indexes)'
            ELSE 'CREATE UNIQUE INDEX CONCURRENTLY ON ' || mv.name || ' (' || coalesce(k.key, '...') || ')' END AS cure
FROM mv
JOIN indexed AS i ON i.oid = mv.oid
CROSS JOIN LATERAL (
    SELECT pg_catalog.min(pg_catalog.quote_ident(s.attname)) AS key
    FROM pg_catalog.pg_stats AS s
    WHERE s.schemaname = mv.nspname AND s.tablename = mv.relname AND s.n_distinct = -1 AND s.null_frac = 0
) AS k
WHERE NOT i.usable
UNION ALL
SELECT 'warning', mv.name,
       'not populated: nobody can read it, and its first refresh cannot be CONCURRENTLY',
       'REFRESH MATERIALIZED VIEW ' || mv.name
FROM mv
WHERE NOT mv.relispopulated
UNION ALL
SELECT 'warning', mv.name,
       'now() or its like is among its columns: with CONCURRENTLY each refresh replaces every row, and the view bloats',
       'create it again without that column; the views panel shows its age'
FROM mv
JOIN indexed AS i ON i.oid = mv.oid
WHERE mv.def_has_now AND i.usable
UNION ALL
SELECT 'info', u.names || CASE WHEN u.n > 5 THEN ' and ' || u.n - 5 || ' more' ELSE '' END,
       'our role may not refresh ' || CASE u.n WHEN 1 THEN 'it' ELSE 'them' END || ' (keys r and R)'
           || CASE WHEN u.new_owners IS NOT NULL
                        AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 170000
                   THEN '; a superuser owns ' || CASE u.n WHEN 1 THEN 'it' ELSE 'some' END
                        || ', and a member of a superuser''s role becomes one: ... stands for another role' ELSE '' END,
       CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000
            THEN pg_catalog.format('GRANT MAINTAIN ON %s TO %I', u.all_names, current_user)
            ELSE pg_catalog.concat_ws('; ', u.new_owners,
                     pg_catalog.format('GRANT %s TO %I', pg_catalog.concat_ws(', ', CASE WHEN u.new_owners IS NOT NULL THEN '...' END,
                                                                              u.owners), current_user)) END
FROM unpermitted AS u
WHERE u.n > 0
