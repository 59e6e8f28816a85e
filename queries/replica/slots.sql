-- Physical slots of a primary, and the WAL that they retain.
SELECT s.slot_name::pg_catalog.text AS name, s.active,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::pg_catalog.int8 AS retained,
       s.wal_status, s.safe_wal_size, pg_catalog.age(s.xmin)::pg_catalog.int8 AS xmin_age
FROM pg_catalog.pg_replication_slots AS s
WHERE s.slot_type = 'physical' AND NOT s.temporary
ORDER BY 1
