-- title = "foreign keys without an index, and indexes that do the same as another"
-- order = 140
-- about = """
-- If no index begins with the columns of a foreign key, each DELETE or change of key in the referenced table reads
-- the whole referencing table. Finds such keys if the referencing table has 10,000 rows or more (a warning if rows
-- have been deleted from the referenced table, else a note), and indexes with the same columns, classes,
-- collations and condition as another of the table.
-- Cost: 10 ms for 1,000 tables. Blind spot: changes of a referenced key are not counted.
-- """

WITH keys AS MATERIALIZED (
    SELECT k.conrelid, k.confrelid, k.conname, k.conkey,
           c.reltuples, c.relkind, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relkind IN ('r', 'p') AND k.conrelid >= 16384
      AND greatest(c.reltuples, (SELECT pg_catalog.sum(p.reltuples) FROM pg_catalog.pg_inherits AS h
                                 JOIN pg_catalog.pg_class AS p ON p.oid = h.inhrelid WHERE h.inhparent = c.oid)) >= 10000
      AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_index AS i
          WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
            -- its first columns are those of the key, in any order
            AND (i.indkey::pg_catalog.int2[])[0:pg_catalog.cardinality(k.conkey) - 1] @> k.conkey
      )
),
same AS MATERIALIZED (
    SELECT pg_catalog.format('%I.%I', n.nspname, a.relname) AS name, pg_catalog.format('%I', b.relname) AS other,
           pg_catalog.format('%I.%I', tn.nspname, t.relname) AS table_name, a.relpages
    FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_index AS y
      ON y.indrelid = x.indrelid AND y.indexrelid <> x.indexrelid AND y.indkey::pg_catalog.text = x.indkey::pg_catalog.text
     AND y.indnkeyatts = x.indnkeyatts AND y.indclass::pg_catalog.text = x.indclass::pg_catalog.text
     AND y.indcollation::pg_catalog.text = x.indcollation::pg_catalog.text
     AND y.indoption::pg_catalog.text = x.indoption::pg_catalog.text
     AND y.indpred::pg_catalog.text IS NOT DISTINCT FROM x.indpred::pg_catalog.text
     AND y.indexprs::pg_catalog.text IS NOT DISTINCT FROM x.indexprs::pg_catalog.text
    JOIN pg_catalog.pg_class AS a ON a.oid = x.indexrelid AND a.relkind = 'i' AND NOT a.relispartition
    JOIN pg_catalog.pg_class AS b ON b.oid = y.indexrelid AND b.relam = a.relam
    JOIN pg_catalog.pg_namespace AS n ON n.oid = a.relnamespace
    JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE x.indrelid >= 16384 AND x.indisvalid AND y.indisvalid AND NOT x.indisexclusion AND NOT y.indisexclusion
      AND a.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conindid = x.indexrelid)
      -- the one that does less goes; of two alike the younger
      AND (x.indisunique, x.indisreplident, x.indisclustered, -x.indexrelid::pg_catalog.int8)
          < (y.indisunique, y.indisreplident, y.indisclustered, -y.indexrelid::pg_catalog.int8)
)
(SELECT CASE WHEN pg_catalog.pg_stat_get_tuples_deleted(k.confrelid) > 0 THEN 'warning' ELSE 'info' END AS severity,
        k.name AS subject,
        'no index for the foreign key ' || pg_catalog.quote_ident(k.conname) || ' (' || k.columns || ' to '
        || k.referred || '): each DELETE there reads all of it' AS evidence,
        CASE k.relkind WHEN 'p' THEN 'CREATE INDEX ON ' ELSE 'CREATE INDEX CONCURRENTLY ON ' END
        || k.name || ' (' || k.columns || ')' || CASE k.relkind WHEN 'p' THEN ', CONCURRENTLY on each partition first' ELSE '' END AS cure
 FROM (SELECT keys.*, pg_catalog.format('%I.%I', rn.nspname, r.relname) AS referred,
              (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY c.place)
               FROM pg_catalog.unnest(keys.conkey) WITH ORDINALITY AS c (attnum, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = keys.conrelid AND a.attnum = c.attnum) AS columns
       FROM keys
       JOIN pg_catalog.pg_class AS r ON r.oid = keys.confrelid
       JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace) AS k
 ORDER BY k.reltuples DESC
 LIMIT 100)
UNION ALL
(SELECT DISTINCT ON (s.relpages, s.name) 'warning', s.name,
        'does the same for ' || s.table_name || ' as ' || s.other || ', and is written with every row',
        'DROP INDEX CONCURRENTLY ' || s.name
 FROM same AS s
 ORDER BY s.relpages DESC, s.name
 LIMIT 100)
