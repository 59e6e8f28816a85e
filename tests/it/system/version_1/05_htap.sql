-- Control: what was refreshed when. A row is written when a refresh starts and completed when it ends;
-- one without an end is running or has died.
CREATE SCHEMA IF NOT EXISTS htap;
COMMENT ON SCHEMA htap IS 'htap-top: when which view was refreshed';

CREATE TABLE IF NOT EXISTS htap.refresh_run (
    run_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view     text NOT NULL,
    mode     text NOT NULL CHECK (mode IN ('full', 'concurrent')),
    started  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished timestamptz CHECK (finished >= started),
    rows     bigint
);
CREATE INDEX IF NOT EXISTS refresh_run_view_idx ON htap.refresh_run (view, finished DESC);

-- How old each view may be; the dashboard compares.
CREATE TABLE IF NOT EXISTS htap.refresh_target (
    view      text PRIMARY KEY,
    freshness interval NOT NULL,
    depth     smallint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN htap.refresh_target.depth IS '0 reads base tables only, 1 reads a view of depth 0, …: the order of refreshes';
INSERT INTO htap.refresh_target (view, freshness, depth) VALUES
    ('mart.sales_hourly_mv', '5 seconds', 0),
    ('mart.user_behavior_mv', '45 seconds', 0),
    ('mart.fact_sales_mv', '90 seconds', 0),
    ('mart.daily_sales_summary', '90 seconds', 1)
ON CONFLICT (view) DO NOTHING;

GRANT USAGE ON SCHEMA htap TO htap_oltp, htap_olap, htap_refresh;
GRANT SELECT ON htap.refresh_run, htap.refresh_target TO htap_oltp, htap_olap, htap_refresh;
GRANT INSERT, UPDATE, DELETE ON htap.refresh_run TO htap_refresh;
