//! `htap-top init`: installs the schema in an existing database, and changes nothing that is not its own.

pub(super) mod circumstances;

use super::definition::{OWNER, SCHEMAS, SUMMARIES, VERSION, VIEWS};
use super::fill::{self, Entry, Loaded, Progress, Standing};
use super::generate::Shape;
use super::refresh::{self, Mode};
use super::schema;
use super::survey::Survey;
use crate::pg::{Client, PgError, Settings, Target};
use std::time::Duration;
use tokio::time::sleep;

/// Time between two attempts to fill what another session is filling.
const AGAIN: Duration = Duration::from_millis(200);

/// Reason why nothing was installed. Its text can follow `htap-top: `.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InitError {
    /// The server was not reached, or refused the connection.
    #[error("failed to connect to {target}: {source}")]
    Connect {
        /// The server.
        target: String,
        /// Reason of the failure.
        source: PgError,
    },
    /// The role lacks privileges; the text names them.
    #[error("{0}")]
    Privilege(String),
    /// Existing objects or settings prevent it; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The server rejected an operation.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: String,
        /// The server's error.
        source: PgError,
    },
}

impl InitError {
    /// For `map_err`: builds the error of the operation `what`.
    pub(super) fn server(what: impl Into<String>) -> impl FnOnce(PgError) -> Self {
        let what = what.into();
        move |source| match source.code() {
            "42501" => Self::Privilege(format!(
                "failed to {what}: {source}. Connect as the role that installed it first, or as a superuser"
            )),
            _ => Self::Server { what, source },
        }
    }
}

/// A history to fill an empty shop with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Size of the history.
    pub shape: Shape,
    /// Seed of the random numbers, below 2^63.
    pub seed: u64,
    /// Number of sessions that load.
    pub jobs: usize,
}

/// Progress of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The step with this description begins.
    Doing(&'a str),
    /// A part of the history was loaded.
    Loading(Progress),
}

/// Result of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Version of the schema that was installed before.
    pub was: Option<i64>,
    /// Roles, schemas and standalone objects in them that were created.
    pub created: Vec<String>,
    /// Those of the created roles that can log in; they have no password yet.
    pub new_roles: Vec<String>,
    /// Rows present now, if a history was loaded.
    pub loaded: Option<Loaded>,
    /// True if the requested history was present before.
    pub loaded_before: bool,
    /// Summaries and materialized views that were filled.
    pub filled: Vec<String>,
}

/// Installs what is missing or upgrades an older version, loads the history of `load` if there is one, and fills
/// summaries that hold nothing yet. The schema is installed completely or not at all, and refusals come before any
/// change. The history is loaded in parts, and the same call continues an interrupted load.
pub async fn init(
    target: &Target,
    load: Option<Load>,
    mut progress: impl FnMut(Step<'_>),
) -> Result<Done, InitError> {
    let client = connect(target).await?;
    let mut attempts = schema::ATTEMPTS;
    let (mut done, wanted) = loop {
        match install(&client, load, &mut progress).await {
            Ok(done) => break done,
            Err(InitError::Server { source, .. })
                if attempts > 1 && schema::is_role_race(&source) =>
            {
                attempts -= 1;
                let again = client.batch("ROLLBACK").await;
                again.map_err(InitError::server("create the schema"))?;
            }
            Err(error) => {
                // Roll back now; the server would take time to notice a lost client, and another call may follow at
                // once.
                let _ = client.batch("ROLLBACK").await;
                return Err(error);
            }
        }
    };
    if let Some(((load_id, entry), jobs)) = wanted {
        progress(Step::Doing("loading the history"));
        let loading = fill::load(target, &client, load_id, entry, jobs, |at| {
            progress(Step::Loading(at));
        });
        done.loaded = Some(loading.await.map_err(InitError::server(
            "load the history (the same command continues it)",
        ))?);
        let filling = schema::fill_all(&client, |_, name| {
            progress(Step::Doing(&format!("filling {name}")));
        });
        filling
            .await
            .map_err(InitError::server("fill the summaries"))?;
        let closed = fill::close(&client, load_id).await;
        closed.map_err(InitError::server("record that the history is complete"))?;
        done.filled = SUMMARIES
            .iter()
            .chain(&VIEWS)
            .map(ToString::to_string)
            .collect();
    } else {
        fill_empty(&client, &mut done, &mut progress).await?;
    }
    Ok(done)
}

pub(super) async fn connect(target: &Target) -> Result<Client, InitError> {
    let connected = Client::open(target, &Settings::of_work(Duration::ZERO)).await;
    let own = connected.and_then(|client| {
        client.need_own_session("init")?;
        Ok(client)
    });
    let client = own.map_err(|source| InitError::Connect {
        target: target.to_string(),
        source,
    })?;
    // Lets a server that supports it (14 and later) notice a killed client instead of working on for minutes.
    let watch = "SELECT pg_catalog.set_config(s.name, '2s', false) FROM (VALUES ('client_connection_check_interval')) \
                 AS s (name) WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL";
    let _ = client.query(watch, &[]).await;
    Ok(client)
}

/// Installs the schema in one transaction, and records the load that follows. Returns that load and its number of
/// sessions; `None` if nothing is to be loaded.
async fn install(
    client: &Client,
    load: Option<Load>,
    progress: &mut impl FnMut(Step<'_>),
) -> Result<(Done, Option<(Opened, usize)>), InitError> {
    let creating = InitError::server("create the schema");
    let wait = |what: &str| progress(Step::Doing(what));
    schema::begin(client, wait).await.map_err(creating)?;
    let before = Survey::of(client)
        .await
        .map_err(InitError::server("read the catalogue"))?;
    circumstances::check(client, &before).await?;
    let standing = match before.version {
        Some(VERSION) => fill::standing(client).await,
        // Version 1 has no record of its loads.
        Some(_) if load.is_some() => Ok(Standing::Filled),
        _ => Ok(Standing::Empty),
    };
    let standing = standing.map_err(InitError::server("look into the shop"))?;
    let course = load.map_or(Ok(Course::Nothing), |load| agree(load, standing))?;
    progress(Step::Doing(match before.version {
        None => "creating the schema",
        Some(VERSION) => "completing the schema",
        Some(_) => "upgrading the schema",
    }));
    let applied = schema::apply(client, &before).await;
    applied.map_err(InitError::server("create the schema"))?;
    let wanted = match course {
        Course::Nothing => None,
        Course::Anew(load) => Some((open(client, load).await?, load.jobs)),
        Course::GoOn(opened, jobs) => Some((opened, jobs)),
    };
    let after = Survey::of(client)
        .await
        .map_err(InitError::server("read the catalogue"))?;
    let committed = client.batch("COMMIT").await;
    committed.map_err(InitError::server("create the schema"))?;
    let done = Done {
        loaded_before: load.is_some() && wanted.is_none(),
        ..Done::new(&before, &after)
    };
    Ok((done, wanted))
}

/// A recorded load: its number and its parameters.
type Opened = (i64, Entry);

/// The action to take for the history.
enum Course {
    Nothing,
    Anew(Load),
    /// Continue a load over this number of sessions.
    GoOn(Opened, usize),
}

/// Refuses a load that does not fit the data in the shop.
fn agree(load: Load, standing: Standing) -> Result<Course, InitError> {
    const EMPTY_IT: &str = "TRUNCATE shop.users, shop.categories CASCADE empties the shop";
    let fits = |entry: &Entry| entry.shape == load.shape && entry.seed == load.seed;
    let called = |entry: &Entry| {
        format!(
            "--scale {} --days {} --seed {}",
            entry.shape.orders as f64 / super::ORDERS_PER_SCALE,
            entry.shape.days,
            entry.seed
        )
    };
    match standing {
        Standing::Empty => Ok(Course::Anew(load)),
        Standing::Begun(load_id, entry) if fits(&entry) => {
            Ok(Course::GoOn((load_id, entry), load.jobs))
        }
        Standing::Complete(entry) if fits(&entry) => Ok(Course::Nothing),
        Standing::Begun(_, entry) => Err(InitError::Refused(format!(
            "nothing was changed: an interrupted load is in this shop, and {} continues it. To load another one \
             instead, empty the shop first: {EMPTY_IT}",
            called(&entry)
        ))),
        Standing::Complete(entry) => Err(InitError::Refused(format!(
            "nothing was changed: this shop was already filled with {}, and only an empty one can be filled. \
             {EMPTY_IT}",
            called(&entry)
        ))),
        Standing::Filled => Err(InitError::Refused(format!(
            "nothing was changed: the shop already holds rows, and --scale fills only an empty one. {EMPTY_IT}"
        ))),
    }
}

/// Records a load whose history ends now by the server's clock, which also dates the rows that come after it.
async fn open(client: &Client, load: Load) -> Result<Opened, InitError> {
    let now = client
        .query(
            "SELECT (extract(epoch FROM now()) * 1000)::bigint AS now_ms",
            &[],
        )
        .await
        .map_err(InitError::server("ask for the time"))?;
    let end_ms = now.first("now_ms").int().unwrap_or_default();
    let entry = Entry {
        shape: load.shape,
        seed: load.seed,
        end_ms,
        offset_s: fill::offset_s(end_ms),
    };
    let opened = entry.open(client).await;
    let load_id = opened.map_err(InitError::server("record what is to be loaded"))?;
    Ok((load_id, entry))
}

/// Fills the views that were never filled.
async fn fill_empty(
    client: &Client,
    done: &mut Done,
    progress: &mut impl FnMut(Step<'_>),
) -> Result<(), InitError> {
    let mut told = None;
    loop {
        let all = refresh::known(client).await;
        let all = all.map_err(InitError::server("read htap.view_def"))?;
        let mut empty = all.iter().filter(|known| !known.filled);
        let Some((known, name)) = empty.find_map(|known| {
            let name = known.view.to_string();
            (!done.filled.contains(&name)).then_some((known, name))
        }) else {
            return Ok(());
        };
        if told.as_ref() != Some(&name) {
            progress(Step::Doing(&format!("filling {name}")));
            told = Some(name.clone());
        }
        match refresh::refresh(client, &known.view, known.kind, Mode::Full).await {
            Ok(_) => done.filled.push(name),
            // Such as another call of this. What it fills is filled then.
            Err(error) if refresh::is_busy(&error) => sleep(AGAIN).await,
            Err(error) => return Err(InitError::server(format!("fill {name}"))(error)),
        }
    }
}

impl Done {
    fn new(before: &Survey, after: &Survey) -> Self {
        let new = |now: &std::collections::BTreeSet<String>,
                   then: &std::collections::BTreeSet<String>|
         -> Vec<String> { now.difference(then).cloned().collect() };
        let new_roles = new(&after.roles, &before.roles);
        let schemas = new(&after.schemas, &before.schemas);
        let roles = new_roles.iter().map(|name| format!("role {name}"));
        let schemas = schemas.iter().map(|name| format!("schema {name}"));
        let things = after
            .ours()
            .filter(|thing| thing.stands_alone() && before.ours().all(|was| was != *thing))
            .map(ToString::to_string);
        Self {
            was: before.version,
            created: roles.chain(schemas).chain(things).collect(),
            new_roles: new_roles
                .iter()
                .filter(|name| *name != OWNER)
                .cloned()
                .collect(),
            ..Self::default()
        }
    }
}

impl std::fmt::Display for Done {
    /// Writes the result and the next steps, for people to read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let schemas = SCHEMAS.join(", ");
        match (self.was, self.created.is_empty()) {
            (None, _) => writeln!(f, "created the schemas {schemas}")?,
            (Some(VERSION), true) => {
                writeln!(f, "the schemas {schemas} already exist and are complete")?;
            }
            (Some(VERSION), false) => writeln!(
                f,
                "the schemas {schemas} already existed; created what was missing: {}",
                self.created.join(", ")
            )?,
            (Some(was), _) => {
                writeln!(
                    f,
                    "upgraded the schemas {schemas} from version {was} to {VERSION}"
                )?;
            }
        }
        if let Some(loaded) = &self.loaded {
            writeln!(
                f,
                "loaded {} orders with {} lines",
                loaded.orders, loaded.items
            )?;
        }
        if self.loaded_before {
            writeln!(f, "the history is already there: nothing was loaded")?;
        }
        if !self.filled.is_empty() {
            writeln!(f, "filled {}", self.filled.join(", "))?;
        }
        if !self.new_roles.is_empty() {
            writeln!(
                f,
                "created the roles {} without passwords: to connect by TCP, set one in psql, such as\n  \\password {}",
                self.new_roles.join(", "),
                self.new_roles.first().map_or("", String::as_str)
            )?;
        }
        Ok(())
    }
}
