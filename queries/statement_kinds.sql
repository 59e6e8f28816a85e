-- title = "Kinds of statements"
-- pool = "slow"
-- interval = "10s"
-- internal = true
-- extension = "pg_stat_statements"
-- key = ["usename", "queryid"]
-- about = """
-- Statements whose text tells more than their role does: this program's own, which begin with a mark, refreshes
-- and upkeep. It classifies the totals, which are read without the texts.
-- Cost: some 10 ms with 5,000 statements. Blind spot: a statement that has just appeared counts by its role until
-- then.
-- """
--
-- [columns.usename]
-- help = "Role the statement ran as."
-- [columns.queryid]
-- help = "Identity of the normalised statement."
-- [columns.own]
-- unit = "flag"
-- help = "Sent by this program to sample."
-- [columns.query]
-- help = "The beginning of the statement."

SELECT t.usename, t.queryid, t.own, t.query
FROM (
    SELECT pg_catalog.pg_get_userbyid(s.userid)::pg_catalog.text AS usename,
           s.queryid::pg_catalog.text AS queryid,
           pg_catalog.strpos(s.query, '/* htap-top */') > 0 AS own,
           pg_catalog."left"(s.query, 100) AS query
    -- as in the panel of statements: the server converts all texts or none
    FROM {pg_stat_statements}((
        SELECT true /* texts */ AND (me.encoding = 0 OR NOT EXISTS (
            SELECT FROM {pg_stat_statements}(false) AS e
            LEFT JOIN pg_catalog.pg_database AS o ON o.oid = e.dbid
            WHERE o.encoding NOT IN (0, me.encoding) AND NOT (me.encoding = 6 AND o.encoding = 8)
               OR o.oid IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_database AS x WHERE x.encoding NOT IN (0, me.encoding))))
        FROM pg_catalog.pg_database AS me
        WHERE me.datname = pg_catalog.current_database())) AS s
    WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
      AND (pg_catalog.strpos(s.query, '/* htap-top */') > 0
           OR s.query ~* '^\s*(refresh|vacuum|analyze|create|reindex|cluster|alter|checkpoint)\M'
           OR s.query ~ '^SELECT (htap\.(refresh_view|rebuild|merge)|changes, remaining FROM htap\.merge)\(')
    ORDER BY s.calls DESC
    LIMIT 500
) AS t
WHERE t.queryid IS NOT NULL
