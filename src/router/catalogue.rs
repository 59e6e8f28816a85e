//! What the server knows: volatility of functions, what lies behind relations, the plan of a statement.

use super::lex::{Token, lex};
use super::names::Call;
use crate::pg::{Class, Client, Param, PgError, Settings, Table, Target, session};
use futures_util::future::{join, join3};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const FUNCTIONS: &str = include_str!("../../queries/router/functions.sql");
const RELATIONS: &str = include_str!("../../queries/router/relations.sql");
const HAZARDS: &str = include_str!("../../queries/router/hazards.sql");

/// Never in the way: a statement that waits for DDL goes to the primary and waits there.
const STATEMENT: Duration = Duration::from_secs(2);
/// Keeps the schemas of the role's search path, and goes back to ours.
const SCHEMAS: &str = "SET LOCAL search_path TO DEFAULT; SELECT pg_catalog.set_config('htap_top.schemas', \
                       pg_catalog.current_schemas(true)::pg_catalog.text, true); \
                       SET LOCAL search_path = pg_catalog, pg_temp";
/// The client's own deadline for a question.
const DEADLINE: Duration = Duration::from_secs(3);

/// A session that is asked about names and plans; it never runs a statement that it is asked about.
///
/// It should be of the role that reads on the replica: names mean what that role's search path says,
/// and plans hold what its policies add.
#[derive(Debug)]
pub struct Catalogue {
    target: Target,
    session: Mutex<Option<Client>>,
    hazards: Mutex<Option<Arc<Hazards>>>,
}

/// What is known of the functions a call can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own, and none excludes another"
)]
pub struct Function {
    /// Position of the call in the question.
    pub asked: usize,
    /// In pg_catalog.
    pub built_in: bool,
    /// One of them is volatile.
    pub volatile: bool,
    /// One of them is volatile and can be written like a column.
    pub column_like: bool,
    /// One of them is written in C, and not of PostgreSQL itself nor of an extension that is known.
    pub opaque: bool,
}

/// A relation behind one that was asked about.
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
    /// A view's definition and the expressions of row security.
    pub texts: Vec<String>,
}

/// Names in whose presence a volatile function may run without being called by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hazards {
    /// Types, relations, functions.
    pub words: BTreeSet<String>,
    /// Operators.
    pub operators: BTreeSet<String>,
    /// No statement is safe from this one.
    pub anywhere: Option<String>,
}

fn settings() -> Settings {
    Settings::of_monitor(STATEMENT)
}

impl Catalogue {
    /// Opens the session.
    pub async fn connect(target: Target) -> Result<Self, PgError> {
        let client = Client::open(&target, &settings()).await?;
        let catalogue = Self::new(target);
        *catalogue.session.lock().await = Some(client);
        Ok(catalogue)
    }

    /// Opens the session when it is needed.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            session: Mutex::default(),
            hazards: Mutex::default(),
        }
    }

    /// Forgets what may have changed.
    pub async fn forget(&self) {
        *self.hazards.lock().await = None;
    }

    /// What the functions are that these calls can mean; one that nothing is known of has no row.
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

    /// What lies behind these relations, each a schema (empty: the search path) and a name, and may matter.
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

    /// The names behind which a volatile function hides.
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

    /// The lines of the plan of one statement, from EXPLAIN in a read-only transaction that is rolled back.
    /// `types` are those of its parameters as far as they are known; the plan is then the generic one.
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

    /// Asks about names as the role's own sessions look them up, which is not how this question is read.
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

    /// Asks on the session, opened anew where it was lost.
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

/// The plan of one statement, from EXPLAIN with these options in a read-only transaction that is rolled back.
/// It is sent by the extended protocol, which takes a single statement whatever its text says. With parameters
/// the plan is the generic one.
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

/// PREPAREs a statement under this name, does `work` with it, and leaves nothing of it: the name is forgotten in
/// the same transaction, on the same backend.
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
        // Why it failed says more than that the session is lost, too.
        let _ = client.rollback().await;
        return Err(error);
    }
    let forget = format!("ROLLBACK TO SAVEPOINT named; DEALLOCATE {name}");
    let (done, forgotten, ended) = join3(work, client.batch(&forget), client.rollback()).await;
    done.and_then(|done| forgotten.and(ended).map(|()| done))
}

/// WITH ORDINALITY counts from 1.
fn position(ordinality: Option<i64>) -> usize {
    let position = ordinality.and_then(|position| usize::try_from(position - 1).ok());
    position.unwrap_or(usize::MAX)
}

fn hazards(table: &Table) -> Hazards {
    let mut hazards = Hazards::default();
    for row in 0..table.rows.len() {
        let name = table.get(row, "name").text().unwrap_or_default().to_owned();
        // Such a name may have been altered on its way here.
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

/// The tokens of a text that the server wrote; `None` where it is cut off or was altered on its way.
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
