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
GRANT SELECT, INSERT, UPDATE ON mart.realtime_flink TO htap_refresh;
GRANT SELECT ON mart.realtime_flink TO htap_olap;
COMMENT ON TABLE mart.realtime_flink IS 'sales by minute, category and segment, as the Flink job has them';
