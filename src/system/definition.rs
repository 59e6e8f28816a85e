//! What the schema is called, who owns it, and the SQL files that make it.

/// The version of the schema that these files make. It grows when an installed schema has to be changed by
/// more than running them again; then there is an entry in `schema::UPGRADES`.
pub const VERSION: i64 = 3;

/// The file that creates the roles.
pub(super) const ROLES_FILE: &str = "00_roles.sql";

/// Name and text of each file, in the order they must run. They are repeatable.
pub const FILES: [(&str, &str); 12] = [
    (
        ROLES_FILE,
        include_str!("../../queries/system/00_roles.sql"),
    ),
    (
        "01_installed.sql",
        include_str!("../../queries/system/01_installed.sql"),
    ),
    (
        "02_shop.sql",
        include_str!("../../queries/system/02_shop.sql"),
    ),
    (
        "03_functions.sql",
        include_str!("../../queries/system/03_functions.sql"),
    ),
    (
        "04_partitions.sql",
        include_str!("../../queries/system/04_partitions.sql"),
    ),
    (
        "05_control.sql",
        include_str!("../../queries/system/05_control.sql"),
    ),
    (
        "06_capture.sql",
        include_str!("../../queries/system/06_capture.sql"),
    ),
    (
        "07_mart.sql",
        include_str!("../../queries/system/07_mart.sql"),
    ),
    (
        "08_merge.sql",
        include_str!("../../queries/system/08_merge.sql"),
    ),
    (
        "09_load.sql",
        include_str!("../../queries/system/09_load.sql"),
    ),
    (
        "10_check.sql",
        include_str!("../../queries/system/10_check.sql"),
    ),
    (
        "11_rights.sql",
        include_str!("../../queries/system/11_rights.sql"),
    ),
];

/// The schemas.
pub const SCHEMAS: [&str; 3] = ["shop", "mart", "htap"];

/// The roles, which belong to the whole cluster.
pub const ROLES: [&str; 5] = [
    "htap_oltp",
    "htap_olap",
    "htap_refresh",
    "htap_monitor",
    OWNER,
];

/// The one that owns the schemas and all that is ours in them. Nobody can log in as it, or is a member of it.
pub const OWNER: &str = "htap_owner";

/// How the comments of our schemas and roles begin; without it they are somebody else's.
pub const MARK: &str = "htap-top:";

/// The materialized views in an order in which each comes after those it reads.
pub const VIEWS: [&str; 4] = [
    "mart.sales_hourly_mv",
    "mart.user_behavior_mv",
    "mart.fact_sales_mv",
    "mart.daily_sales_summary",
];

/// The incremental summaries, each a few tables of which the first gives it its name.
pub const SUMMARIES: [&str; 3] = ["mart.sales_hourly", "mart.fact_sales", "mart.segment_rfm"];
