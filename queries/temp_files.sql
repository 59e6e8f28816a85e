-- title = "Temporary files"
-- pool = "oltp"
-- interval = "2s"
-- internal = true
-- monitor = true
-- key = ["pid"]
-- sort = "-bytes"
-- about = """
-- Temporary files that exist now, summed by the backend that made them: sorts and hashes that do not fit work_mem.
-- Cost: a look into one folder, 0.1 ms.
-- Blind spot: only those of the default tablespace; files that parallel workers share are in folders of their own,
-- which the server does not list.
-- """
--
-- [columns.pid]
-- help = "Backend that made them, by the file's name."
-- [columns.files]
-- unit = "count"
-- help = "How many."
-- [columns.bytes]
-- title = "size"
-- unit = "bytes"
-- help = "Size of all of them."

SELECT f.pid, pg_catalog.count(*) AS files, pg_catalog.sum(f.size)::pg_catalog.int8 AS bytes
FROM (
    SELECT substring(t.name FROM '^pgsql_tmp([0-9]+)[.]')::pg_catalog.int8 AS pid, t.size
    FROM pg_catalog.pg_ls_tmpdir() AS t
) AS f
WHERE f.pid IS NOT NULL
GROUP BY f.pid
ORDER BY bytes DESC
LIMIT 50
