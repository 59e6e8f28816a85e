-- From version 2, where htap_refresh owned the schemas htap and mart: whatever it hung on its tables would from now
-- on run with the rights of their new owner, and of superusers. What can be computed is dropped; the three tables
-- whose rows cannot be are stripped of everything but their rows, and step aside.
CREATE SCHEMA htap_upgrade;
DO $$
DECLARE
    entry regclass;
    part  text;
BEGIN
    FOREACH entry IN ARRAY ARRAY['htap.view_def', 'htap.refresh_run', 'htap.outbox']::regclass[] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = entry AND relkind <> 'r')
           OR EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = entry OR inhrelid = entry)
           OR EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = entry AND attnum > 0 AND NOT attisdropped
                                                            AND atttypid >= 16384) THEN
            RAISE EXCEPTION '% is not as htap-top made it', entry USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        FOR part IN
            SELECT format('DROP TRIGGER %I ON %s', tgname, entry) FROM pg_catalog.pg_trigger WHERE tgrelid = entry AND NOT tgisinternal
            UNION ALL SELECT format('DROP RULE %I ON %s', rulename, entry) FROM pg_catalog.pg_rewrite WHERE ev_class = entry
            UNION ALL SELECT format('DROP POLICY %I ON %s', polname, entry) FROM pg_catalog.pg_policy WHERE polrelid = entry
            UNION ALL SELECT format('DROP STATISTICS %I.%I', n.nspname, s.stxname) FROM pg_catalog.pg_statistic_ext AS s
                      JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.stxrelid = entry
            UNION ALL SELECT format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', entry)
            UNION ALL SELECT format('ALTER TABLE %s ALTER %I DROP EXPRESSION IF EXISTS', entry, attname)
                      FROM pg_catalog.pg_attribute WHERE attrelid = entry AND attnum > 0 AND attgenerated <> ''
            UNION ALL SELECT format('ALTER TABLE %s ALTER %I DROP IDENTITY IF EXISTS', entry, attname)
                      FROM pg_catalog.pg_attribute WHERE attrelid = entry AND attnum > 0 AND attidentity <> ''
            UNION ALL SELECT format('ALTER TABLE %s ALTER %I DROP DEFAULT', entry, attname) FROM pg_catalog.pg_attribute
                      WHERE attrelid = entry AND attnum > 0 AND atthasdef AND attgenerated = ''
            UNION ALL SELECT format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', entry, conname) FROM pg_catalog.pg_constraint
                      WHERE conrelid = entry AND contype <> 'n'
            UNION ALL SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_catalog.pg_index AS i WHERE indrelid = entry
                      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = i.indexrelid)
        LOOP
            EXECUTE part;
        END LOOP;
        EXECUTE format('ALTER TABLE %s SET SCHEMA htap_upgrade', entry);
    END LOOP;
END
$$;
DROP TABLE IF EXISTS htap.order_log, htap.dirty_log, htap.watermark, htap.heartbeat CASCADE;
DROP MATERIALIZED VIEW IF EXISTS mart.daily_sales_summary, mart.fact_sales_mv, mart.user_behavior_mv, mart.sales_hourly_mv CASCADE;
DROP VIEW IF EXISTS mart.sales_hourly_query, mart.sales_hourly_user_query, mart.realtime_summary_query, mart.segment_rfm_query,
    mart.user_rfm_query, mart.user_day_query, mart.category_hourly_query, mart.daily_sales_query, mart.fact_sales_query,
    mart.inventory_alert CASCADE;
DROP TABLE IF EXISTS mart.sales_hourly, mart.sales_hourly_user, mart.realtime_summary, mart.fact_sales, mart.category_hourly,
    mart.daily_sales, mart.user_day, mart.user_rfm, mart.segment_rfm, mart.rfm_window CASCADE;
