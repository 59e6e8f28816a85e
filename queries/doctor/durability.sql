-- title = "settings that lose data in a crash"
-- order = 220
-- about = """
-- fsync, full_page_writes and synchronous_commit switched off. On the throw-away server of htap-top demo, whose
-- configuration marks it (htap_top.throw_away), this is intended and only a note.
-- Cost: nothing. Blind spot: values of a new session of our role; other roles may have others.
-- """

SELECT CASE WHEN pg_catalog.current_setting('htap_top.throw_away', true) = 'on' THEN 'info' ELSE s.severity END AS severity,
       s.name AS subject,
       CASE WHEN pg_catalog.current_setting('htap_top.throw_away', true) = 'on'
            THEN 'off: this is a throw-away server of htap-top, whose data may be lost' ELSE s.evidence END AS evidence,
       CASE WHEN pg_catalog.current_setting('htap_top.throw_away', true) = 'on' THEN ''
            ELSE 'ALTER SYSTEM SET ' || s.name || ' = on; SELECT pg_reload_conf()' END AS cure
FROM (VALUES
    ('danger', 'fsync', 'off: a crash of the machine may destroy the whole database'),
    ('danger', 'full_page_writes', 'off: a crash may leave half-written pages that WAL cannot repair'),
    ('warning', 'synchronous_commit',
     'off for every session: a crash loses what was committed within the last three wal_writer_delay')
) AS s (severity, name, evidence)
WHERE pg_catalog.current_setting(s.name) = 'off'
