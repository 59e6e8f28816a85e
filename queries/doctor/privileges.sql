-- title = "privileges of our role: other sessions, cancel and terminate"
-- order = 10
-- about = """
-- What stays hidden from our role, and what it may not do to other sessions. A superuser has all privileges.
-- Cost: 1 ms. Blind spot: superusers' sessions can be cancelled by superusers only.
-- """

SELECT p.severity,
       current_user::pg_catalog.text AS subject,
       p.evidence,
       pg_catalog.format('GRANT %I TO %I', p.role, current_user) AS cure
FROM (VALUES
    ('warning', 'pg_monitor',
     'lacks the privileges of pg_monitor: it cannot see state, statement and age of other roles'' sessions, settings'
     || ' such as shared_preload_libraries, temporary files and who replicates'),
    ('info', 'pg_signal_backend',
     'lacks the privileges of pg_signal_backend: it can cancel and terminate only its own sessions (keys C, K, X)')
) AS p (severity, role, evidence)
WHERE NOT pg_catalog.pg_has_role(p.role, 'USAGE')
