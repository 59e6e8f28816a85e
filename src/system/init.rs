//! `htap-top init`: installs the schema in a database that is there, and touches nothing that is not ours.

use super::fill::{self, Fill, Loaded};
use super::refresh::{self, Mode};
use super::schema::{self, MARK, ROLES, SCHEMAS};
use crate::pg::{Client, Param, PgError, Target, sampler};
use std::collections::BTreeSet;

/// The oldest major version the schema supports, as server_version_num.
const OLDEST: i64 = 130_000;

/// Seed of the data.
const SEED: u64 = 1;

/// Everything of ours that is there: roles and schemas with their comments, relations and functions.
const SURVEY: &str = "
    SELECT 'role' AS kind, rolname::text AS name, pg_catalog.shobj_description(oid, 'pg_authid') AS comment
    FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)
    UNION ALL
    SELECT 'schema', nspname::text, pg_catalog.obj_description(oid, 'pg_namespace')
    FROM pg_catalog.pg_namespace WHERE nspname = ANY ($2)
    UNION ALL
    SELECT 'relation', n.nspname || '.' || c.relname, NULL
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ($2)
    UNION ALL
    SELECT 'function', n.nspname || '.' || p.proname || '()', NULL
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY ($2)";

/// What decides whether the schema can be installed at all.
const CIRCUMSTANCES: &str = "
    SELECT r.rolsuper, r.rolcreaterole, d.datistemplate,
           pg_catalog.has_database_privilege(d.oid, 'CREATE') AS may_create,
           pg_catalog.pg_has_role('pg_monitor', 'MEMBER WITH ADMIN OPTION')
           AND pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER WITH ADMIN OPTION') AS may_grant,
           pg_catalog.pg_is_in_recovery() AS standby,
           pg_catalog.current_setting('server_version_num')::bigint AS version,
           r.rolname::text AS role, d.datname::text AS database
    FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d
    WHERE r.rolname = current_user AND d.datname = current_database()";

/// Tables whose rows a fill would add to.
const FILLED: [&str; 4] = [
    "shop.users",
    "shop.categories",
    "shop.products",
    "shop.orders",
];

/// Why nothing was installed. The texts are fit to stand behind `htap-top: `.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InitError {
    /// The server was not reached, or refused the connection.
    #[error("failed to connect to {target}: {source}")]
    Connect {
        /// Where to.
        target: String,
        /// Why.
        source: PgError,
    },
    /// The role lacks something; what is said.
    #[error("{0}")]
    Privilege(String),
    /// Something is in the way; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The server refused.
    #[error("failed to {what}: {source}")]
    Server {
        /// What was tried, as a verb phrase.
        what: String,
        /// The refusal.
        source: PgError,
    },
}

impl InitError {
    /// For `map_err`: the server refused to `what`.
    fn server(what: impl Into<String>) -> impl FnOnce(PgError) -> Self {
        let what = what.into();
        move |source| match source.code() {
            "42501" => Self::Privilege(format!(
                "failed to {what}: {source}. Connect as the role that installed it first, or as a superuser"
            )),
            _ => Self::Server { what, source },
        }
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether some of the schema was there before.
    pub was_there: bool,
    /// Roles, schemas, relations and functions that were created.
    pub created: Vec<String>,
    /// Roles among them: they have no password yet.
    pub new_roles: Vec<String>,
    /// Rows that were filled in.
    pub loaded: Option<Loaded>,
    /// Materialized views that were refreshed.
    pub refreshed: Vec<String>,
}

/// Installs what is missing, fills in `orders` orders where that is not 0, and refreshes views that hold
/// nothing yet. Either everything of the schema is installed or nothing; refusals come before any change.
pub async fn init(
    target: &Target,
    orders: u64,
    mut progress: impl FnMut(&str),
) -> Result<Done, InitError> {
    let connected = sampler::connect(target, "SET statement_timeout = 0").await;
    let client = connected.map_err(|source| InitError::Connect {
        target: target.to_string(),
        source,
    })?;
    let before = Survey::of(&client).await?;
    check(&client, &before).await?;
    if orders > 0 {
        refuse_second_fill(&client, &before).await?;
    }
    progress("creating the schema");
    schema::create(&client)
        .await
        .map_err(InitError::server("create the schema"))?;
    let after = Survey::of(&client).await?;
    let mut done = Done {
        was_there: before.names.iter().any(|name| name.contains('.')),
        created: after.names.difference(&before.names).cloned().collect(),
        new_roles: after.roles.difference(&before.roles).cloned().collect(),
        ..Done::default()
    };
    if orders > 0 {
        done.loaded = Some(load(&client, target, orders, &mut progress).await?);
    }
    let all = refresh::known(&client).await;
    for known in all.map_err(InitError::server("read htap.view_def"))? {
        if done.loaded.is_some() || !known.filled {
            progress(&format!("filling {}", known.view));
            refresh::refresh(&client, &known.view, known.kind, Mode::Full)
                .await
                .map_err(InitError::server(format!("fill {}", known.view)))?;
            done.refreshed.push(known.view.to_string());
        }
    }
    Ok(done)
}

/// What there is under our names.
#[derive(Debug, Default)]
struct Survey {
    /// Everything.
    names: BTreeSet<String>,
    /// The roles.
    roles: BTreeSet<String>,
    /// Roles and schemas without our mark, such as `schema shop`.
    foreign: Vec<String>,
}

impl Survey {
    async fn of(client: &Client) -> Result<Self, InitError> {
        let (roles, schemas) = (ROLES.map(str::to_owned), SCHEMAS.map(str::to_owned));
        let found = client
            .query(SURVEY, &[Param::Texts(&roles), Param::Texts(&schemas)])
            .await
            .map_err(InitError::server("read the catalogue"))?;
        let mut survey = Self::default();
        for row in 0..found.rows.len() {
            let text = |column| found.get(row, column).text().unwrap_or_default();
            let (kind, name) = (text("kind"), text("name").to_owned());
            let top_level = matches!(kind, "role" | "schema");
            if top_level && !text("comment").starts_with(MARK) {
                survey.foreign.push(format!("{kind} {name}"));
            }
            if kind == "role" {
                survey.roles.insert(name.clone());
            }
            let shown = if top_level {
                format!("{kind} {name}")
            } else {
                name
            };
            survey.names.insert(shown);
        }
        Ok(survey)
    }

    fn lacks_a_schema(&self) -> bool {
        SCHEMAS
            .iter()
            .any(|name| !self.names.contains(&format!("schema {name}")))
    }

    fn lacks_a_role(&self) -> bool {
        self.roles.len() < ROLES.len()
    }
}

/// Refuses where the schema cannot or should not be installed.
async fn check(client: &Client, before: &Survey) -> Result<(), InitError> {
    let answer = client
        .query(CIRCUMSTANCES, &[])
        .await
        .map_err(InitError::server("read the catalogue"))?;
    let is = |column: &str| answer.first(column).is_true();
    let text = |column: &str| answer.first(column).text().unwrap_or_default();
    let version = answer.first("version").int().unwrap_or(0);
    let database = text("database");
    let refused = |why: String| Err(InitError::Refused(why));
    if version < OLDEST {
        return refused(format!(
            "the schema needs PostgreSQL {} or newer; this is server_version_num {version}",
            OLDEST / 10_000
        ));
    }
    if is("standby") {
        return refused("this server is a standby: install the schema on its primary".to_owned());
    }
    if is("datistemplate") {
        return refused(format!(
            "{database} is a template: every new database would hold the shop. Name another one with -d"
        ));
    }
    if !before.foreign.is_empty() {
        return refused(format!(
            "nothing was changed: there is a {} already that htap-top did not make (its comment would begin with \
             \"{MARK}\"). Rename it, or install into another database or cluster",
            before.foreign.join(", a ")
        ));
    }
    if is("rolsuper") {
        return Ok(());
    }
    let mut lacking = Vec::new();
    if before.lacks_a_schema() && !is("may_create") {
        lacking.push(format!("CREATE on database {database}"));
    }
    if before.lacks_a_role() && !is("rolcreaterole") {
        lacking.push("CREATEROLE".to_owned());
    }
    // Until 15, CREATEROLE was enough to grant any role but a superuser.
    if before.lacks_a_role() && version >= 160_000 && !is("may_grant") {
        lacking.push("ADMIN OPTION on pg_monitor and pg_signal_backend".to_owned());
    }
    if lacking.is_empty() {
        return Ok(());
    }
    Err(InitError::Privilege(format!(
        "nothing was changed: role {} lacks {}. Connect as a superuser (-U postgres)",
        text("role"),
        lacking.join(", ")
    )))
}

/// Data goes into an empty shop only.
async fn refuse_second_fill(client: &Client, before: &Survey) -> Result<(), InitError> {
    for table in FILLED {
        if !before.names.contains(table) {
            continue;
        }
        let rows = client
            .query(
                &format!("SELECT EXISTS (SELECT FROM {table}) AS filled"),
                &[],
            )
            .await
            .map_err(InitError::server(format!("look into {table}")))?;
        if rows.first("filled").is_true() {
            return Err(InitError::Refused(format!(
                "nothing was changed: {table} holds rows already, and --orders fills an empty shop only. \
                 To empty it: TRUNCATE shop.users, shop.categories CASCADE"
            )));
        }
    }
    Ok(())
}

async fn load(
    client: &Client,
    target: &Target,
    orders: u64,
    progress: &mut impl FnMut(&str),
) -> Result<Loaded, InitError> {
    // The history ends now by the server's clock, which will date what comes after it.
    let now = client
        .query(
            "SELECT (extract(epoch FROM now()) * 1000)::bigint AS now_ms",
            &[],
        )
        .await
        .map_err(InitError::server("ask for the time"))?;
    let what = Fill {
        orders,
        seed: SEED,
        end_ms: now.first("now_ms").int().unwrap_or_default(),
    };
    fill::fill(target, what, |share, doing| {
        progress(&format!("{doing} ({:.0} %)", share * 100.0));
    })
    .await
    .map_err(InitError::server(
        "fill the shop (what was loaded stays; TRUNCATE shop.users, shop.categories CASCADE empties it)",
    ))
}

impl std::fmt::Display for Done {
    /// What was done and what to do next, for a person.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.was_there, self.created.is_empty()) {
            (false, _) => writeln!(f, "created the schemas {}", SCHEMAS.join(", "))?,
            (true, true) => writeln!(
                f,
                "the schemas {} are here already, and complete",
                SCHEMAS.join(", ")
            )?,
            (true, false) => writeln!(
                f,
                "the schemas were here already; created what was missing: {}",
                self.created.join(", ")
            )?,
        }
        if let Some(loaded) = &self.loaded {
            writeln!(
                f,
                "loaded {} orders with {} lines",
                loaded.orders, loaded.items
            )?;
        }
        if !self.refreshed.is_empty() {
            writeln!(f, "refreshed {}", self.refreshed.join(", "))?;
        }
        if !self.new_roles.is_empty() {
            writeln!(
                f,
                "created the roles {} without passwords: who connects by TCP sets one in psql, such as\n  \\password {}",
                self.new_roles.join(", "),
                self.new_roles.first().map_or("", String::as_str)
            )?;
        }
        Ok(())
    }
}
