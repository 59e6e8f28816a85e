-- title = "sequences near their end, or near that of the column they fill"
-- order = 150
-- about = """
-- At its end a sequence without CYCLE fails, and so does an insert into an integer column that a bigint sequence
-- feeds. Finds those at 80 percent or more.
-- Cost: each sequence is opened and read, 20 ms for 1,000. Blind spot: sequences used without DEFAULT or
-- ownership, and keys that no sequence generates.
-- """

WITH fed AS MATERIALIZED (
    -- by ownership (serial, identity) and by DEFAULT nextval()
    SELECT d.objid AS seqrelid, d.refobjid AS relid, d.refobjsubid AS attnum
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adrelid, f.adnum
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
),
read AS MATERIALIZED (
    SELECT s.seqrelid, s.seqtypid, s.seqmax, s.seqmin, s.seqstart, s.seqincrement, c.relnamespace, p.may,
           CASE WHEN p.may THEN pg_catalog.pg_sequence_last_value(s.seqrelid) END AS last_value
    FROM pg_catalog.pg_sequence AS s
    CROSS JOIN LATERAL (SELECT pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT,USAGE') AS may OFFSET 0) AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
    WHERE NOT s.seqcycle AND s.seqincrement > 0 AND c.relpersistence = 'p'
)
(SELECT CASE WHEN u.used >= 95 THEN 'danger' ELSE 'warning' END AS severity,
       u.name AS subject,
       'at ' || u.last_value || ' of ' || u.most || ', ' || pg_catalog.trunc(u.used, 1) || ' percent'
       || CASE WHEN u.most < u.seqmax THEN ': the most that ' || u.column_name || ' (' || u.type_name || ') holds'
               ELSE coalesce(': it fills ' || u.column_name, '') END AS evidence,
       CASE WHEN u.type_name IN ('smallint', 'integer')
            THEN u.alter_column
                 || CASE WHEN u.seqmax < 9223372036854775807 THEN '; ALTER SEQUENCE ' || u.name || ' AS bigint' ELSE '' END
                 || '; nobody can read or write the table until it is done: for a large one, add a new column, fill it in batches, then'
                 || ' swap. Columns that reference it must be bigint as well'
            ELSE 'ALTER SEQUENCE ' || u.name || ' AS bigint NO MAXVALUE' END AS cure
FROM (
    SELECT DISTINCT ON (r.seqrelid)
           pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, r.last_value, r.seqmax, m.most,
           CASE WHEN a.attname IS NOT NULL
                THEN pg_catalog.format('ALTER TABLE %I.%I ALTER COLUMN %I TYPE bigint', tn.nspname, t.relname, a.attname)
                END AS alter_column,
           100.0 * (r.last_value::pg_catalog.numeric - r.seqmin) / nullif(m.most::pg_catalog.numeric - r.seqmin, 0) AS used,
           -- of one that fills no column, nothing
           CASE WHEN a.attname IS NOT NULL THEN pg_catalog.format('%I.%I.%I', tn.nspname, t.relname, a.attname) END AS column_name,
           CASE a.atttypid WHEN 21 THEN 'smallint' WHEN 23 THEN 'integer' WHEN 20 THEN 'bigint' ELSE 'other' END AS type_name
    FROM read AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.seqrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN fed AS f ON f.seqrelid = r.seqrelid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.relid AND a.attnum = f.attnum
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = f.relid
    LEFT JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    CROSS JOIN LATERAL (
        SELECT least(r.seqmax, CASE a.atttypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 ELSE r.seqmax END) AS most
        OFFSET 0
    ) AS m
    WHERE r.last_value IS NOT NULL
    ORDER BY r.seqrelid, m.most
) AS u
WHERE u.used >= 80
ORDER BY u.used DESC
LIMIT 200)
UNION ALL
SELECT 'unknown', h.nspname,
       h.hidden || CASE h.hidden WHEN 1 THEN ' sequence' ELSE ' sequences' END
       || pg_catalog.format(' of schema %1$I: needs GRANT SELECT ON ALL SEQUENCES IN SCHEMA %1$I TO %2$I', h.nspname, current_user), ''
FROM (SELECT n.nspname, pg_catalog.count(*) AS hidden
      FROM read AS r JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
      WHERE NOT r.may GROUP BY n.nspname ORDER BY n.nspname LIMIT 5) AS h
