-- title = "Sequences"
-- pool = "slow"
-- interval = "60s"
-- internal = true
-- key = ["sequence"]
-- sort = "-used_pct"
-- about = """
-- Sequences that are half used up, or whose column is: an integer column ends at 2,147,483,647 whatever its sequence
-- may give. Cost: each sequence is opened and read, 20 ms for 1,000.
-- Blind spot: sequences that our role may not read, and those used without DEFAULT or ownership.
-- """
--
-- [columns.sequence]
-- help = "Name."
-- [columns.last_value]
-- unit = "count"
-- help = "The last value given."
-- [columns.most]
-- unit = "count"
-- help = "The largest value that it may give and its column can hold."
-- [columns.used_pct]
-- unit = "percent"
-- help = "How much of that is used up."
-- [columns.column_name]
-- help = "The column that it fills."
-- [columns.type_name]
-- help = "The column's type."
-- [columns.by_column]
-- unit = "flag"
-- help = "The column ends before the sequence does."
-- [columns.statement]
-- hidden = true
-- help = "The statement that makes the sequence, and the column that it fills, bigint."

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
    SELECT s.seqrelid, s.seqtypid, s.seqmax, s.seqmin, s.seqstart, s.seqincrement,
           CASE WHEN pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT,USAGE')
                THEN pg_catalog.pg_sequence_last_value(s.seqrelid) END AS last_value
    FROM pg_catalog.pg_sequence AS s
    JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
    WHERE NOT s.seqcycle AND s.seqincrement > 0 AND c.relpersistence = 'p'
)
SELECT u.name AS sequence, u.last_value, u.most, u.used::pg_catalog.float8 AS used_pct,
       CASE WHEN u.type_name <> 'other' THEN u.column_name END AS column_name, u.type_name,
       u.most < u.seqmax AS by_column,
       CASE WHEN u.type_name IN ('smallint', 'integer')
            THEN u.alter_column || CASE WHEN u.seqtypid <> 20 THEN '; ALTER SEQUENCE ' || u.name || ' AS bigint' ELSE '' END
            ELSE 'ALTER SEQUENCE ' || u.name || ' AS bigint NO MAXVALUE' END AS statement
FROM (
    SELECT DISTINCT ON (r.seqrelid)
           pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, r.last_value, r.seqmax, r.seqtypid, m.most,
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
WHERE u.used >= 50
ORDER BY u.used DESC
LIMIT 50
