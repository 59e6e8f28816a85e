-- title = "prepared transactions that nobody finishes"
-- order = 190
-- about = """
-- A prepared transaction keeps its locks and dead rows until it is finished, even across restarts of the server.
-- Finds those older than five minutes.
-- Cost: 1 ms.
-- """

SELECT 'danger' AS severity,
       p.gid AS subject,
       'prepared by ' || p.owner || ' in database ' || p.database || ' '
       || (extract(epoch FROM pg_catalog.clock_timestamp() - p.prepared) / 60)::pg_catalog.int8
       || ' minutes ago: it keeps its locks, and dead rows of ' || pg_catalog.age(p.transaction) || ' transactions' AS evidence,
       pg_catalog.format('in database %I, as its owner or a superuser: COMMIT PREPARED %L or ROLLBACK PREPARED %L, whichever the'
                         || ' application''s transaction manager says; the wrong one loses or corrupts its data',
                         p.database, p.gid, p.gid) AS cure
FROM pg_catalog.pg_prepared_xacts AS p
WHERE p.prepared < pg_catalog.clock_timestamp() - interval '5 minutes'
ORDER BY p.prepared
LIMIT 200
