//! Names of the schemas and roles, and the SQL files that create them.

use crate::embedded;

/// Version of the schema that these files create. It grows when an installed schema needs more than another run of the
/// files; `schema::UPGRADES` then has an entry for it.
pub const VERSION: i64 = 3;

/// The file that creates the roles.
pub(super) const ROLES_FILE: &str = "00_roles.sql";

/// Name and text of each file, in the order in which they must run, by the numbers in their names. Each can be run
/// repeatedly.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    let numbered = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    let files = embedded::SCHEMA.iter().copied();
    files.filter(move |(name, _)| numbered(name))
}

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
