//! Asks the server for the volatility of functions, the relations behind names, and the plan of a statement.

use super::names::Call;
use crate::pg::{Class, Client, Param, PgError, Settings, Table, Target, session};
use crate::sql::lex::{Token, lex};
use futures_util::future::{join, join3};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const FUNCTIONS: &str = include_str!("../../queries/router/functions.sql");
const RELATIONS: &str = include_str!("../../queries/router/relations.sql");
const PLAIN: &str = include_str!("../../queries/router/plain.sql");
const HAZARDS: &str = include_str!("../../queries/router/hazards.sql");

/// Statement timeout. A statement that waits for DDL then goes to the primary and waits there.
const STATEMENT: Duration = Duration::from_secs(2);
/// Records the schemas of the role's search path, and restores ours.
const SCHEMAS: &str = "SET LOCAL search_path TO DEFAULT; SELECT pg_catalog.set_config('htap_top.schemas', \
                       pg_catalog.current_schemas(true)::pg_catalog.text, true); \
                       SET LOCAL search_path = pg_catalog, pg_temp";
/// Client-side deadline for a query.
const DEADLINE: Duration = Duration::from_secs(3);

/// A session that answers queries about names and plans; it never runs the statements in question.
///
/// It should use the role that reads on the replica: names resolve by that role's search path, and plans include its
/// row security policies.
#[derive(Debug)]
pub struct Catalogue {
    target: Target,
    session: Mutex<Option<Client>>,
    hazards: Mutex<Option<Arc<Hazards>>>,
}

/// Properties of the functions that a call can resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own, and none excludes another"
)]
pub struct Function {
    /// Index of the call in the query.
    pub asked: usize,
    /// True if one is in pg_catalog.
    pub built_in: bool,
    /// True if one is volatile.
    pub volatile: bool,
    /// True if one is volatile and can be written like a column.
    pub column_like: bool,
    /// True if one is written in C and belongs neither to PostgreSQL itself nor to a known extension.
    pub opaque: bool,
}

/// A relation that a query reads, directly or through others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: String,
    /// `pg_class.relpersistence`.
    pub persistence: String,
    /// The view's definition, and the expressions of row security.
    pub texts: Vec<String>,
}

/// Names whose presence means that a volatile function may run without being called by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hazards {
    /// Names of types, relations and functions.
    pub words: BTreeSet<String>,
    /// Operators.
    pub operators: BTreeSet<String>,
    /// Name of an object that makes every statement unsafe.
    pub anywhere: Option<String>,
}

fn settings() -> Settings {
    Settings::of_monitor(STATEMENT)
}

impl Catalogue {
    /// Opens the session and returns the catalogue.
    pub async fn connect(target: Target) -> Result<Self, PgError> {
        let client = Client::open(&target, &settings()).await?;
        let catalogue = Self::new(target);
        *catalogue.session.lock().await = Some(client);
        Ok(catalogue)
    }

    /// Returns a catalogue that opens its session on first use.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            session: Mutex::default(),
            hazards: Mutex::default(),
        }
    }

    /// Clears everything that may have changed.
    pub async fn forget(&self) {
        *self.hazards.lock().await = None;
    }

    /// Looks up the functions that these calls can resolve to. An unknown function has no row.
    pub async fn functions(&self, calls: &[Call]) -> Result<Vec<Function>, PgError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let schemas: Vec<String> = calls.iter().map(|call| call.schema.clone()).collect();
        let names: Vec<String> = calls.iter().map(|call| call.name.clone()).collect();
        let params = [Param::Texts(&schemas), Param::Texts(&names)];
        let table = self.ask_about_names(FUNCTIONS, &params).await?;
        let row = |row: usize| Function {
            asked: position(table.get(row, "asked").int()),
            built_in: table.get(row, "built_in").is_true(),
            volatile: table.get(row, "volatile").is_true(),
            column_like: table.get(row, "column_like").is_true(),
            opaque: table.get(row, "opaque").is_true(),
        };
        Ok((0..table.rows.len()).map(row).collect())
    }

    /// Tells whether names and these operators mean PostgreSQL's own on the role's search path.
    pub async fn is_plain(&self, operators: &[String]) -> Result<bool, PgError> {
        let found = self
            .ask_about_names(PLAIN, &[Param::Texts(operators)])
            .await?;
        Ok(found.first("plain").is_true())
    }

    /// Looks up the relations behind these names that may matter. Each name has a schema; an empty one means the search
    /// path.
    pub async fn relations(
        &self,
        names: &BTreeSet<(String, String)>,
    ) -> Result<Vec<Relation>, PgError> {
        let (schemas, names): (Vec<String>, Vec<String>) = names.iter().cloned().unzip();
        let params = [Param::Texts(&schemas), Param::Texts(&names)];
        let table = self.ask_about_names(RELATIONS, &params).await?;
        let row = |row: usize| {
            let text = |name: &str| table.get(row, name).text().map(str::to_owned);
            Relation {
                schema: text("schema").unwrap_or_default(),
                name: text("name").unwrap_or_default(),
                kind: text("kind").unwrap_or_default(),
                persistence: text("persistence").unwrap_or_default(),
                texts: ["definition", "policies"]
                    .into_iter()
                    .filter_map(text)
                    .collect(),
            }
        };
        Ok((0..table.rows.len()).map(row).collect())
    }

    /// Returns the names that may run a volatile function implicitly.
    pub async fn hazards(&self) -> Result<Arc<Hazards>, PgError> {
        let mut known = self.hazards.lock().await;
        if let Some(hazards) = &*known {
            return Ok(Arc::clone(hazards));
        }
        let table = self.ask(HAZARDS, &[]).await?;
        let hazards = Arc::new(hazards(&table));
        *known = Some(Arc::clone(&hazards));
        Ok(hazards)
    }

    /// Returns the lines of a statement's plan, from EXPLAIN in a read-only transaction that is rolled back. `types`
    /// are the types of its parameters, as far as they are known; the plan is then the generic one.
    pub async fn plan(
        &self,
        sql: &str,
        params: usize,
        types: &[&str],
    ) -> Result<Vec<String>, PgError> {
        let table = self
            .with_session(async |client| explain(client, "VERBOSE", sql, params, types).await)
            .await?;
        let line = |row: &Vec<crate::pg::Value>| row.first()?.text().map(str::to_owned);
        Ok(table.rows.iter().filter_map(line).collect())
    }

    async fn ask(&self, sql: &str, params: &[Param<'_>]) -> Result<Table, PgError> {
        self.with_session(async |client| client.query(sql, params).await)
            .await
    }

    /// Queries the catalogue for names as the role's own sessions resolve them; the query itself does not depend on it.
    async fn ask_about_names(&self, sql: &str, params: &[Param<'_>]) -> Result<Table, PgError> {
        self.with_session(async |client| {
            let (begun, table, ended) = join3(
                client.begin_as("READ ONLY", SCHEMAS),
                client.query(sql, params),
                client.rollback(),
            )
            .await;
            begun.and(table).and_then(|table| ended.map(|()| table))
        })
        .await
    }

    /// Runs a query on the session; opens it again if it was lost.
    async fn with_session<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, PgError>,
    ) -> Result<T, PgError> {
        let mut session = self.session.lock().await;
        let client = self.open(&mut session).await?;
        let answer = timeout(DEADLINE, question(client))
            .await
            .unwrap_or_else(|_| Err(PgError::deadline(DEADLINE.as_secs_f64())));
        if answer
            .as_ref()
            .is_err_and(|error| !error.session_survives())
        {
            *session = None;
        }
        answer
    }

    async fn open<'a>(
        &self,
        session: &'a mut MutexGuard<'_, Option<Client>>,
    ) -> Result<&'a Client, PgError> {
        if session.as_ref().is_none_or(Client::is_closed) {
            **session = Some(Client::open(&self.target, &settings()).await?);
        }
        session
            .as_ref()
            .ok_or_else(|| PgError::new(Class::Reconnect, "no session"))
    }
}

/// Returns the plan of a statement, from EXPLAIN with these options in a read-only transaction that is rolled back. The
/// extended protocol sends it, which accepts only a single statement. With parameters the plan is the generic one.
pub async fn explain(
    client: &Client,
    options: &str,
    sql: &str,
    params: usize,
    types: &[&str],
) -> Result<Table, PgError> {
    let settings = format!(
        "{}; SET LOCAL plan_cache_mode = force_generic_plan",
        session::as_the_user()
    );
    if params == 0 {
        let explain = format!("EXPLAIN ({options}) {sql}");
        let answers = join3(
            client.begin_as("READ ONLY", &settings),
            client.query(&explain, &[]),
            client.rollback(),
        );
        let (begun, plan, ended) = answers.await;
        return begun.and(plan).and_then(|plan| ended.map(|()| plan));
    }
    let name = format!("htap_top_{:016x}", rand::random::<u64>());
    let types = if types.len() == params {
        format!(" ({})", types.join(", "))
    } else {
        String::new()
    };
    let prepare = format!("PREPARE {name}{types} AS {sql}");
    let nulls = vec!["NULL"; params].join(", ");
    let explain = format!("EXPLAIN ({options}) EXECUTE {name} ({nulls})");
    named(
        client,
        &settings,
        &prepare,
        &name,
        client.query(&explain, &[]),
    )
    .await
}

/// PREPAREs a statement under this name, runs `work` with it, and removes it in the same transaction, on the same
/// backend.
pub async fn named<T>(
    client: &Client,
    settings: &str,
    prepare: &str,
    name: &str,
    work: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    let settings = format!("{settings}; SAVEPOINT named");
    let (begun, prepared) = join(
        client.begin_as("READ ONLY", &settings),
        client.execute(prepare, &[]),
    )
    .await;
    if let Err(error) = begun.and(prepared) {
        // The reason of this failure says more than the lost session would.
        let _ = client.rollback().await;
        return Err(error);
    }
    let forget = format!("ROLLBACK TO SAVEPOINT named; DEALLOCATE {name}");
    let (done, forgotten, ended) = join3(work, client.batch(&forget), client.rollback()).await;
    done.and_then(|done| forgotten.and(ended).map(|()| done))
}

/// Converts an ordinality, which counts from 1, to an index.
fn position(ordinality: Option<i64>) -> usize {
    let position = ordinality.and_then(|position| usize::try_from(position - 1).ok());
    position.unwrap_or(usize::MAX)
}

fn hazards(table: &Table) -> Hazards {
    let mut hazards = Hazards::default();
    for row in 0..table.rows.len() {
        let name = table.get(row, "name").text().unwrap_or_default().to_owned();
        // Names other than ASCII may have been altered on their way here.
        match table.get(row, "kind").text() {
            Some("operator") => {
                hazards.operators.insert(name);
            }
            Some("word") if name.is_ascii() => {
                hazards.words.insert(name);
            }
            _ => hazards.anywhere = Some(name),
        }
    }
    hazards
}

/// Returns the tokens of a text that the server wrote; `None` if it is truncated or was altered on its way.
pub fn written_by_server(text: &str) -> Option<Vec<Token>> {
    let tokens = lex(text).ok()?;
    let altered = |token: &Token| token.is_name() && token.text.contains(['·', '…', '\u{fffd}']);
    let picture = |token: &Token| {
        let pictures = '\u{2400}'..='\u{2421}';
        token.is_name() && token.text.contains(|c| pictures.contains(&c))
    };
    let whole =
        !text.ends_with('…') && !tokens.iter().any(|token| altered(token) || picture(token));
    whole.then_some(tokens)
}
