//! `htap-top init --uninstall`: removes everything that `init` created, and nothing else.

use super::init::circumstances::some;
use super::init::{InitError, Step, connect};
use super::schema;
use super::survey::{Survey, Thing};
use crate::pg::{Client, Param, PgError, Target};
use std::fmt;

const ROLES_IN_USE: &str = include_str!("../../queries/system/roles_in_use.sql");

/// Resets the role settings that `00_roles.sql` made for this database, if they are unchanged.
const NO_PATHS: &str = "
    DO $$
    DECLARE
        name text;
    BEGIN
        FOR name IN
            SELECT r.rolname FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
            JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
            WHERE d.datname = pg_catalog.current_database() AND 'search_path=mart, shop' = ANY (s.setconfig)
              AND r.rolname IN ('htap_oltp', 'htap_olap', 'htap_refresh')
        LOOP
            EXECUTE pg_catalog.format('ALTER ROLE %I IN DATABASE %I RESET search_path', name, pg_catalog.current_database());
        END LOOP;
    END
    $$";

/// Tables whose row counts the confirmation mentions.
const COUNTED: [&str; 5] = [
    "shop.orders",
    "shop.order_items",
    "shop.users",
    "shop.products",
    "mart.fact_sales",
];

/// Time to wait for sessions that use the tables, in milliseconds.
const LOCK_TIMEOUT_MS: u32 = 3_000;

/// The objects that would be removed. Its text lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Name of the database.
    pub database: String,
    /// Number of standalone objects in the schemas.
    pub objects: usize,
    /// Tables that hold rows, with their row counts.
    pub rows: Vec<(String, i64)>,
    /// Names of the schemas.
    pub schemas: Vec<String>,
    /// Names of the roles.
    pub roles: Vec<String>,
}

/// The objects that were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of the schemas; empty if there were none.
    pub schemas: Vec<String>,
    /// Names of the roles.
    pub roles: Vec<String>,
    /// Roles that were kept because others use them, each with its users.
    pub kept: Vec<(String, Vec<String>)>,
}

/// An installed schema that can be removed; the session holds no lock on it.
#[derive(Debug)]
pub struct Uninstall {
    client: Client,
    /// The objects that would be removed; `None` if there are none.
    pub plan: Option<Plan>,
}

impl Uninstall {
    /// Surveys the database. Returns an error if foreign objects are in the schemas or depend on something in them.
    /// Changes nothing.
    pub async fn prepare(target: &Target) -> Result<Self, InitError> {
        let client = connect(target).await?;
        let survey = Survey::of(&client).await.map_err(reading())?;
        refuse_foreign(&survey)?;
        refuse_slot(&client, &survey).await?;
        let plan = if survey.schemas.is_empty() && survey.roles.is_empty() {
            None
        } else {
            Some(plan(&client, &survey).await.map_err(reading())?)
        };
        Ok(Self { client, plan })
    }

    /// Removes the schema, all or nothing, after a second survey.
    pub async fn run(self, mut progress: impl FnMut(Step<'_>)) -> Result<Removed, InitError> {
        let removing = || InitError::server("remove the schema");
        let client = &self.client;
        let wait = |what: &str| progress(Step::Doing(what));
        schema::begin(client, wait).await.map_err(removing())?;
        let timeout = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}");
        client.batch(&timeout).await.map_err(removing())?;
        let tables = Survey::of(client).await.map_err(reading())?;
        lock(client, &tables).await?;
        // From here on nobody can add a dependency on a table.
        let survey = Survey::of(client).await.map_err(reading())?;
        refuse_foreign(&survey)?;
        refuse_slot(client, &survey).await?;
        progress(Step::Doing("removing the schema"));
        client.batch(&drops(&survey)).await.map_err(removing())?;
        let (roles, kept) = drop_roles(client, &survey).await.map_err(removing())?;
        client.batch("COMMIT").await.map_err(removing())?;
        Ok(Removed {
            schemas: survey.schemas.into_iter().collect(),
            roles,
            kept,
        })
    }
}

fn reading() -> impl FnOnce(PgError) -> InitError {
    InitError::server("read the catalogue")
}

fn refuse_foreign(survey: &Survey) -> Result<(), InitError> {
    if !survey.unmarked.is_empty() {
        return Err(InitError::Refused(format!(
            "nothing was changed: {} is not marked as created by htap-top, or not by it alone",
            survey.unmarked.join(", ")
        )));
    }
    let foreign: Vec<String> = survey.strangers().map(Thing::to_string).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(InitError::Refused(format!(
        "nothing was changed: htap-top did not create {}. Move or drop what is in the schemas or depends on their \
         objects, and try again",
        some(&foreign)
    )))
}

/// Refuses while there is a replication slot for events: nobody would know it any more, and it would keep WAL for ever.
async fn refuse_slot(client: &Client, survey: &Survey) -> Result<(), InitError> {
    if !survey
        .ours()
        .any(|thing| thing.identity == "htap.stream_slot")
    {
        return Ok(());
    }
    let sql = "SELECT s.slot FROM htap.stream_slot AS s";
    let found = client.query(sql, &[]).await.map_err(reading())?;
    match found.first("slot").text() {
        Some(slot) => Err(InitError::Refused(format!(
            "nothing was changed: replication slot {slot} keeps WAL for events of the shop. htap-top stream slot drop \
             removes it"
        ))),
        None => Ok(()),
    }
}

async fn plan(client: &Client, survey: &Survey) -> Result<Plan, PgError> {
    let database = client.query("SELECT current_database()::text AS name", &[]);
    let database = database
        .await?
        .first("name")
        .text()
        .unwrap_or("")
        .to_owned();
    let mut rows = Vec::new();
    for name in COUNTED {
        if survey.ours().any(|thing| thing.identity == name) {
            let count = format!("SELECT count(*) AS n FROM {name}");
            let count = client.query(&count, &[]).await?.first("n").int();
            rows.extend(count.filter(|n| *n > 0).map(|n| (name.to_owned(), n)));
        }
    }
    Ok(Plan {
        database,
        objects: survey.ours().filter(|thing| thing.stands_alone()).count(),
        rows,
        schemas: survey.schemas.iter().cloned().collect(),
        roles: survey.roles.iter().cloned().collect(),
    })
}

async fn lock(client: &Client, survey: &Survey) -> Result<(), InitError> {
    let tables: Vec<&str> = survey
        .ours()
        .filter(|thing| thing.kind == "table")
        .map(|thing| thing.identity.as_str())
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    let locked = client.batch(&lock).await;
    locked.map_err(|error| match error.code() {
        "55P03" => InitError::Refused(format!(
            "nothing was changed: other sessions kept using the tables for {} s. Stop the load first",
            LOCK_TIMEOUT_MS / 1000
        )),
        _ => InitError::server("lock the tables")(error),
    })
}

/// Generates the statements that drop each of our objects by name, with its dependents, which are ours too, and then
/// the schemas, which must be empty by then.
fn drops(survey: &Survey) -> String {
    let things = survey.ours().filter(|thing| thing.stands_alone());
    let things = things
        .map(|Thing { kind, identity }| format!("DROP {kind} IF EXISTS {identity} CASCADE;\n"));
    let schemas = survey.schemas.iter();
    let schemas = schemas.map(|name| format!("DROP SCHEMA {name} RESTRICT;\n"));
    things.chain(schemas).collect()
}

type Kept = Vec<(String, Vec<String>)>;

async fn drop_roles(client: &Client, survey: &Survey) -> Result<(Vec<String>, Kept), PgError> {
    let roles: Vec<String> = survey.roles.iter().cloned().collect();
    let used = client.query(ROLES_IN_USE, &[Param::Texts(&roles)]).await?;
    let mut kept: Kept = Vec::new();
    for row in 0..used.rows.len() {
        let text = |column| used.get(row, column).text().unwrap_or_default().to_owned();
        let (role, by) = (text("role"), text("used_by"));
        match kept.last_mut().filter(|(last, _)| *last == role) {
            Some((_, users)) => users.push(by),
            None => kept.push((role, vec![by])),
        }
    }
    client.batch(NO_PATHS).await?;
    let free = |role: &String| kept.iter().all(|(used, _)| used != role);
    let gone: Vec<String> = roles.into_iter().filter(free).collect();
    if !gone.is_empty() {
        client
            .batch(&format!("DROP ROLE {}", gone.join(", ")))
            .await?;
    }
    Ok((gone, kept))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.schemas.is_empty() {
            writeln!(
                f,
                "from database {}: the schemas {} with {} objects",
                self.database,
                self.schemas.join(", "),
                self.objects
            )?;
        }
        if !self.rows.is_empty() {
            let rows = self.rows.iter();
            let rows: Vec<String> = rows
                .map(|(name, n)| format!("{n} rows of {name}"))
                .collect();
            writeln!(f, "lost for good: {}", rows.join(", "))?;
        }
        writeln!(
            f,
            "from the cluster, unless somebody else uses them: the roles {}",
            self.roles.join(", ")
        )
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.schemas.is_empty() {
            writeln!(f, "removed the schemas {}", self.schemas.join(", "))?;
        }
        if !self.roles.is_empty() {
            writeln!(f, "removed the roles {}", self.roles.join(", "))?;
        }
        let mut told = &[][..];
        for (_, users) in &self.kept {
            if users == told {
                continue;
            }
            told = users;
            let alike = self.kept.iter().filter(|(_, others)| others == users);
            let roles: Vec<&str> = alike.map(|(role, _)| role.as_str()).collect();
            writeln!(
                f,
                "kept the roles {}: used by {}",
                roles.join(", "),
                some(users)
            )?;
        }
        Ok(())
    }
}
