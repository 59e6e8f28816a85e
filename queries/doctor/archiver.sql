-- title = "the archiver: WAL that cannot be archived stays and fills the disk"
-- order = 180
-- about = """
-- Finds an archiver whose last attempt failed, and archiving that is on without a command or library.
-- Cost: 1 ms. Blind spot: a command that reports success without having worked.
-- """

SELECT a.severity, a.subject, a.evidence, a.cure
FROM (
    SELECT pg_catalog.current_setting('archive_mode') AS mode,
           pg_catalog.current_setting('archive_command') AS command,
           coalesce(pg_catalog.current_setting('archive_library', true), '') AS library,
           r.last_archived_time, r.last_failed_time, r.last_failed_wal, r.failed_count
    FROM pg_catalog.pg_stat_archiver AS r
) AS s
CROSS JOIN LATERAL (
    SELECT 'danger' AS severity, 'archiver' AS subject,
           'archiving ' || coalesce(s.last_failed_wal, '?') || ' failed '
           || pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - s.last_failed_time)::pg_catalog.text || ' ago ('
           || s.failed_count || ' failures); the last success was '
           || coalesce(pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - s.last_archived_time)::pg_catalog.text || ' ago',
                       'never') AS evidence,
           'fix archive_command or archive_library: the server''s log has the error' AS cure
    WHERE s.last_failed_time > coalesce(s.last_archived_time, '-infinity')
    UNION ALL
    SELECT 'danger', 'archive_command', 'archive_mode is on, but there is nothing to archive with: WAL is kept forever',
           'ALTER SYSTEM SET archive_command = ''...''; SELECT pg_reload_conf()'
    WHERE s.library = '' AND s.command IN ('', '(disabled)')
) AS a
WHERE s.mode <> 'off'
