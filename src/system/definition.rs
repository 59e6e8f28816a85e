//! Names of the schemas and roles, and the SQL files that create them.

/// Version of the schema that these files create. It grows when an installed schema needs more than another run of the
/// files; `schema::UPGRADES` then has an entry for it.
pub const VERSION: i64 = 3;

/// The file that creates the roles.
pub(super) const ROLES_FILE: &str = "00_roles.sql";

/// Name and text of each file, in the order in which they must run. Each can be run repeatedly.
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

/// The schemas of the system.
pub const SCHEMAS: [&str; 3] = ["shop", "mart", "htap"];

/// The roles of the system; like all roles they belong to the whole cluster.
pub const ROLES: [&str; 5] = [
    "htap_oltp",
    "htap_olap",
    "htap_refresh",
    "htap_monitor",
    OWNER,
];

/// The owner of the schemas and of everything the system creates in them. It cannot log in and has no members.
pub const OWNER: &str = "htap_owner";

/// Prefix of the comments on the system's schemas and roles. An object without it belongs to somebody else.
pub const MARK: &str = "htap-top:";

/// The materialized views, each after those it reads.
pub const VIEWS: [&str; 4] = [
    "mart.sales_hourly_mv",
    "mart.user_behavior_mv",
    "mart.fact_sales_mv",
    "mart.daily_sales_summary",
];

/// The incremental summaries. Each consists of several tables and is named after the first.
pub const SUMMARIES: [&str; 3] = ["mart.sales_hourly", "mart.fact_sales", "mart.segment_rfm"];
