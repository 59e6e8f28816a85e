//! The schema, as the SQL files of `queries/system/`.

use super::refresh::{self, Mode};
use crate::pg::{Client, PgError, quote_ident};

/// Name and text of each file, in the order they must run. They are repeatable.
pub const FILES: [(&str, &str); 8] = [
    (
        "01_roles.sql",
        include_str!("../../queries/system/01_roles.sql"),
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
];

/// The schemas.
pub const SCHEMAS: [&str; 3] = ["shop", "mart", "htap"];

/// The roles, which belong to the whole cluster.
pub const ROLES: [&str; 4] = ["htap_oltp", "htap_olap", "htap_refresh", "htap_monitor"];

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

/// Extensions that show more where the server has them; nothing depends on them.
const EXTENSIONS: [&str; 3] = ["pg_stat_statements", "pgstattuple", "pg_buffercache"];

/// Creates what is missing of the schema, all or nothing. Needs a superuser, or CREATEROLE and the right
/// to grant `pg_monitor` and `pg_signal_backend`.
pub async fn create(client: &Client) -> Result<(), PgError> {
    let files = FILES.map(|(_, sql)| sql).join("\n");
    let mut attempts = 3;
    loop {
        let created = client.batch(&format!("BEGIN;\n{files}\nCOMMIT;")).await;
        let Err(error) = &created else { return created };
        let _ = client.batch("ROLLBACK").await;
        attempts -= 1;
        // Roles are the whole cluster's: another database may be creating them at this moment.
        if attempts == 0 || !matches!(error.code(), "23505" | "42710") {
            return created;
        }
    }
}

/// Creates the extensions this server has; one that is refused is left out.
pub async fn extensions(client: &Client) -> Result<(), PgError> {
    let preloaded = client
        .query("SELECT current_setting('shared_preload_libraries')", &[])
        .await?;
    let preloaded = preloaded.first("current_setting").text().unwrap_or("");
    for name in EXTENSIONS {
        if name == "pg_stat_statements" && !preloaded.contains(name) {
            continue;
        }
        let create = format!("CREATE EXTENSION IF NOT EXISTS {}", quote_ident(name));
        if let Err(error) = client.batch(&create).await
            && !error.session_survives()
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Fills all of [`SUMMARIES`] and [`VIEWS`] from the base tables, and tells the planner what they hold.
/// `progress` is told the share that is done, from 0 to 1, and which one comes next.
pub async fn fill_all(client: &Client, mut progress: impl FnMut(f64, &str)) -> Result<(), PgError> {
    let all = refresh::known(client).await?;
    for (known, done) in all.iter().zip(0_u8..) {
        let name = known.view.to_string();
        progress(f64::from(done) / all.len() as f64, &name);
        refresh::refresh(client, &known.view, known.kind, Mode::Full).await?;
    }
    client.batch("ANALYZE").await
}
