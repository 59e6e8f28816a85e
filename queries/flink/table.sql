-- The table of the job of queries/flink/orders.sql. Run it as the role that ran `htap-top init`.
CREATE TABLE IF NOT EXISTS mart.realtime_flink (
    window_start timestamptz NOT NULL,
    category     text NOT NULL,
    segment      text NOT NULL,
    amount       numeric NOT NULL,
    quantity     bigint NOT NULL,
    orders       bigint NOT NULL,
    PRIMARY KEY (window_start, category, segment)
) WITH (fillfactor = 70);
ALTER TABLE mart.realtime_flink OWNER TO htap_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON mart.realtime_flink TO htap_refresh;
GRANT SELECT ON mart.realtime_flink TO htap_olap;
-- To change a row, Flink's window deletes it and inserts it again, maybe in two transactions: whoever reads in between would
-- miss it. As no row is to go, the deletion is left out, and the insertion replaces the row.
CREATE OR REPLACE RULE keep AS ON DELETE TO mart.realtime_flink WHERE current_user = 'htap_refresh' DO INSTEAD NOTHING;
COMMENT ON TABLE mart.realtime_flink IS 'sales by minute, category and segment, as the Flink job has them';
