//! Creates, upgrades and fills the schema with the SQL files of `queries/system/`.

use super::definition::{OWNER, ROLES_FILE, VERSION, files};
use super::refresh::{self, Mode};
use super::survey::Survey;
use crate::pg::{Client, Param, PgError, quote_ident};

/// The upgrade from an earlier version to the current one.
struct Upgrade {
    from: i64,
    /// SQL to run before the files, after the one of the roles.
    before: &'static str,
    /// The file after which `after` runs.
    file: &'static str,
    after: &'static str,
    /// Objects that the upgrade recreates; foreign objects must not depend on them.
    replaces: &'static [&'static str],
}

const UPGRADES: [Upgrade; 2] = [
    Upgrade {
        from: 1,
        before: include_str!("../../queries/system/upgrade/1_before.sql"),
        file: "05_control.sql",
        after: concat!(
            include_str!("../../queries/system/upgrade/1_after.sql"),
            include_str!("../../queries/system/upgrade/payments.sql")
        ),
        replaces: &[
            "shop.orders",
            "shop.order_items",
            "htap.refresh_target",
            "mart.sales_hourly_mv",
            "mart.user_behavior_mv",
            "mart.fact_sales_mv",
            "mart.daily_sales_summary",
        ],
    },
    Upgrade {
        from: 2,
        before: include_str!("../../queries/system/upgrade/2_before.sql"),
        file: "08_merge.sql",
        after: concat!(
            include_str!("../../queries/system/upgrade/2_after.sql"),
            include_str!("../../queries/system/upgrade/payments.sql")
        ),
        replaces: &[
            "htap.view_def",
            "htap.order_log",
            "htap.dirty_log",
            "htap.watermark",
            "htap.refresh_run",
            "htap.heartbeat",
            "htap.outbox",
            "mart.sales_hourly_user_query",
            "mart.sales_hourly_user",
            "mart.sales_hourly_query",
            "mart.sales_hourly",
            "mart.realtime_summary_query",
            "mart.realtime_summary",
            "mart.fact_sales_query",
            "mart.fact_sales",
            "mart.category_hourly_query",
            "mart.category_hourly",
            "mart.daily_sales_query",
            "mart.daily_sales",
            "mart.rfm_window",
            "mart.user_day_query",
            "mart.user_day",
            "mart.user_rfm_query",
            "mart.user_rfm",
            "mart.segment_rfm_query",
            "mart.segment_rfm",
            "mart.sales_hourly_mv",
            "mart.fact_sales_mv",
            "mart.user_behavior_mv",
            "mart.daily_sales_summary",
            "mart.inventory_alert",
        ],
    },
];

/// Extensions that add detail if the server has them; nothing depends on them.
const EXTENSIONS: [&str; 3] = ["pg_stat_statements", "pgstattuple", "pg_buffercache"];

/// Creates the missing parts of the schema, all or nothing, and upgrades an earlier version. It makes no other checks;
/// [`super::init`] does. Needs a superuser, or CREATEROLE and the right to grant `pg_monitor` and `pg_signal_backend`.
pub async fn create(client: &Client) -> Result<(), PgError> {
    let mut attempts = ATTEMPTS;
    loop {
        let created = create_once(client).await;
        let Err(error) = &created else { return created };
        let _ = client.batch("ROLLBACK").await;
        attempts -= 1;
        if attempts == 0 || !is_role_race(error) {
            return created;
        }
    }
}

async fn create_once(client: &Client) -> Result<(), PgError> {
    begin(client, |_| ()).await?;
    let before = Survey::of(client).await?;
    apply(client, &before).await?;
    client.batch("COMMIT").await
}

/// Number of attempts of an installation that collides with another one.
pub(super) const ATTEMPTS: u32 = 3;

/// Returns true if another installation created the same roles: roles belong to the whole cluster, and another database
/// may be creating them at the same time.
pub(super) fn is_role_race(error: &PgError) -> bool {
    matches!(error.code(), "23505" | "42710")
}

/// Selects the sessions that [`begin`] waits for. Anybody can take an advisory lock, so the message names the holders.
const HOLDERS: &str = "
    SELECT pg_catalog.string_agg(pg_catalog.format('pid %s (%s, %s)', l.pid, a.usename, a.application_name), ', ') AS who
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
    WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 2
      AND l.classid OPERATOR(pg_catalog.=)
          (pg_catalog.hashtext('htap.init')::pg_catalog.int8 OPERATOR(pg_catalog.&) 4294967295)::pg_catalog.oid
      AND l.objid OPERATOR(pg_catalog.=) 0::pg_catalog.oid";

/// Begins a transaction that installs or removes the schema; only one runs at a time. If it has to wait for another
/// one, it calls `waiting` with a message.
pub(super) async fn begin(client: &Client, waiting: impl FnOnce(&str)) -> Result<(), PgError> {
    client.batch(&format!("BEGIN; {PATH}")).await?;
    let free =
        "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('htap.init'), 0) AS free";
    if !client.query(free, &[]).await?.first("free").is_true() {
        let holders = client.query(HOLDERS, &[]).await?;
        let who = holders.first("who").text().unwrap_or("another session");
        waiting(&format!(
            "waiting for {who}: one session at a time installs or removes the schema"
        ));
        let wait = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('htap.init'), 0)";
        client.batch(wait).await?;
    }
    Ok(())
}

/// Runs the files in the transaction of [`begin`], and records the objects that are ours.
pub(super) async fn apply(client: &Client, before: &Survey) -> Result<(), PgError> {
    let moved: String = match before.version {
        Some(VERSION) => String::new(),
        _ => owned(before).collect(),
    };
    client.batch(&script(before.version, &moved)).await?;
    let after = Survey::of(client).await?;
    let (kinds, identities): (Vec<String>, Vec<String>) = after
        .to_record(before)
        .map(|thing| (thing.kind.clone(), thing.identity.clone()))
        .unzip();
    let record = "
        WITH gone AS (
            DELETE FROM htap.object AS o
            WHERE CASE WHEN o.kind = 'partition' THEN to_regclass(o.identity) IS NULL
                  ELSE NOT EXISTS (SELECT FROM unnest($1, $2) AS n (kind, identity)
                                   WHERE n.kind = o.kind AND n.identity = o.identity) END)
        INSERT INTO htap.object (kind, identity) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING";
    let params = [Param::Texts(&kinds), Param::Texts(&identities)];
    client.execute(record, &params).await?;
    let version = "INSERT INTO htap.schema_version (version, program) VALUES ($1::bigint, $2) ON CONFLICT DO NOTHING";
    let program = concat!("htap-top ", env!("CARGO_PKG_VERSION"));
    let params = [Param::Int(VERSION), Param::Text(program)];
    client.execute(version, &params).await?;
    Ok(())
}

/// Generates the statements that give the objects of an earlier version to [`OWNER`].
fn owned(before: &Survey) -> impl Iterator<Item = String> {
    let made_anew = replaced(before.version);
    let schemas = before.schemas.iter();
    let schemas = schemas.map(|name| format!("ALTER SCHEMA {name} OWNER TO {OWNER};\n"));
    let things = before.ours().filter(move |thing| {
        let owned = ["table", "view", "materialized view", "sequence", "function"];
        owned.contains(&thing.kind.as_str()) && !made_anew.contains(&thing.identity.as_str())
    });
    let things = things.map(|thing| {
        format!(
            "ALTER {} {} OWNER TO {OWNER};\n",
            thing.kind, thing.identity
        )
    });
    schemas.chain(things)
}

/// Names in the files resolve to the server's own schema first, independent of the settings of session and database.
const PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp;\n";

/// Returns the statements that install the schema over version `from`, or over nothing. `moved` holds the statements
/// that give existing objects to the owner.
pub fn script(from: Option<i64>, moved: &str) -> String {
    let upgrade = UPGRADES.iter().find(|upgrade| from == Some(upgrade.from));
    let mut script = PATH.to_owned();
    for (name, sql) in files() {
        script.push_str(sql);
        if name == ROLES_FILE {
            script.push_str(moved);
            script.push_str(upgrade.map_or("", |upgrade| upgrade.before));
        }
        if let Some(upgrade) = upgrade.filter(|upgrade| upgrade.file == name) {
            script.push_str("RESET ROLE;\n");
            script.push_str(upgrade.after);
            script.push_str("SET LOCAL ROLE htap_owner;\n");
        }
    }
    script
}

/// Returns the objects that an upgrade from version `from` recreates.
pub(super) fn replaced(from: Option<i64>) -> &'static [&'static str] {
    let upgrade = UPGRADES.iter().find(|upgrade| from == Some(upgrade.from));
    upgrade.map_or(&[], |upgrade| upgrade.replaces)
}

/// Creates the extensions that this server has; skips those that fail.
pub async fn extensions(client: &Client) -> Result<(), PgError> {
    let preloaded = client
        .query("SELECT current_setting('shared_preload_libraries')", &[])
        .await?;
    let preloaded = preloaded.first("current_setting").text().unwrap_or("");
    for name in EXTENSIONS {
        if name == "pg_stat_statements" && !preloaded.contains(name) {
            continue;
        }
        let create = format!(
            "CREATE EXTENSION IF NOT EXISTS {} SCHEMA public",
            quote_ident(name)
        );
        if let Err(error) = client.batch(&create).await
            && !error.session_survives()
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Fills all of [`SUMMARIES`](super::definition::SUMMARIES) and [`VIEWS`](super::definition::VIEWS) from the base
/// tables, and runs ANALYZE. Calls `progress` with the share that is done, from 0 to 1, and the name of the next one.
pub async fn fill_all(client: &Client, mut progress: impl FnMut(f64, &str)) -> Result<(), PgError> {
    let all = refresh::known(client).await?;
    for (known, done) in all.iter().zip(0_u8..) {
        let name = known.view.to_string();
        progress(f64::from(done) / all.len() as f64, &name);
        refresh::refresh(client, &known.view, known.kind, Mode::Full).await?;
    }
    client.batch("ANALYZE").await
}
