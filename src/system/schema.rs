//! Creates, upgrades and fills the schema by the SQL files of `queries/system/`.

use super::definition::{FILES, OWNER, ROLES_FILE, VERSION};
use super::refresh::{self, Mode};
use super::survey::Survey;
use crate::pg::{Client, Param, PgError, quote_ident};

/// How an earlier version becomes this one.
struct Upgrade {
    from: i64,
    /// Runs before the files.
    before: &'static str,
    /// Runs after this file.
    file: &'static str,
    after: &'static str,
    /// What is made anew: nothing of others may hang on it.
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

/// Extensions that show more where the server has them; nothing depends on them.
const EXTENSIONS: [&str; 3] = ["pg_stat_statements", "pgstattuple", "pg_buffercache"];

/// Creates what is missing of the schema, all or nothing, upgrades an earlier version of it, and looks at
/// nothing else: [`super::init`] does. Needs a superuser, or CREATEROLE and the right to grant `pg_monitor` and
/// `pg_signal_backend`.
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

/// How often an installation is tried that met another one.
pub(super) const ATTEMPTS: u32 = 3;

/// Roles are the whole cluster's: another database may be creating them at this moment.
pub(super) fn is_role_race(error: &PgError) -> bool {
    matches!(error.code(), "23505" | "42710")
}

/// Whom [`begin`] waits for. Anybody can take an advisory lock: it is said who.
const HOLDERS: &str = "
    SELECT pg_catalog.string_agg(pg_catalog.format('pid %s (%s, %s)', l.pid, a.usename, a.application_name), ', ') AS who
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
    WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 2
      AND l.classid OPERATOR(pg_catalog.=)
          (pg_catalog.hashtext('htap.init')::pg_catalog.int8 OPERATOR(pg_catalog.&) 4294967295)::pg_catalog.oid
      AND l.objid OPERATOR(pg_catalog.=) 0::pg_catalog.oid";

/// Begins a transaction that installs or removes the schema; one at a time. `waiting` is called where it has
/// to wait for another one, with what is to be said.
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

/// Runs the files in the transaction of [`begin`], and records what is ours.
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

/// Statements by which what an earlier version made belongs to [`OWNER`].
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

/// Names in the files are found in the server's own schema first, whatever the session's or the database's
/// settings say.
const PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp;\n";

/// The statements that install the schema where version `from` of it is, or nothing. `moved`: those that give
/// what is there to its owner.
pub fn script(from: Option<i64>, moved: &str) -> String {
    let upgrade = UPGRADES.iter().find(|upgrade| from == Some(upgrade.from));
    let mut script = PATH.to_owned();
    for (name, sql) in FILES {
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

/// What an upgrade from version `from` makes anew.
pub(super) fn replaced(from: Option<i64>) -> &'static [&'static str] {
    let upgrade = UPGRADES.iter().find(|upgrade| from == Some(upgrade.from));
    upgrade.map_or(&[], |upgrade| upgrade.replaces)
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

/// Fills all of [`SUMMARIES`](super::definition::SUMMARIES) and [`VIEWS`](super::definition::VIEWS) from the base tables, and tells the planner what they hold.
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
