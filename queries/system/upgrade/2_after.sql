-- From version 2, once the tables are there anew: how old each view may be, as it was set; the runs; the events that
-- wait for their reader.
UPDATE htap.view_def AS d SET freshness = o.freshness FROM htap_upgrade.view_def AS o WHERE o.view = d.view;
INSERT INTO htap.view_def (view, kind, tables, freshness, depth)
SELECT view, 'materialized', ARRAY[view], freshness, depth FROM htap_upgrade.view_def WHERE kind = 'materialized'
ON CONFLICT DO NOTHING;
INSERT INTO htap.refresh_run OVERRIDING SYSTEM VALUE
SELECT run_id, view, mode, started, finished, rows, as_of, wal_bytes FROM htap_upgrade.refresh_run;
SELECT setval(pg_get_serial_sequence('htap.refresh_run', 'run_id'), max(run_id)) FROM htap.refresh_run;
INSERT INTO htap.outbox OVERRIDING SYSTEM VALUE
SELECT event_id, xid, occurred_at, topic, key, payload FROM htap_upgrade.outbox;
SELECT setval(pg_get_serial_sequence('htap.outbox', 'event_id'), max(event_id)) FROM htap.outbox;
DROP TABLE htap_upgrade.view_def, htap_upgrade.refresh_run, htap_upgrade.outbox;
DROP SCHEMA htap_upgrade;
