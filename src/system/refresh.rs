//! Refreshes materialized views with PostgreSQL's own statement, and incremental summaries by merging changes
//! (`queries/system/08_merge.sql`). Each refresh has a session of its own and can be cancelled.

pub(crate) mod cron;
pub(crate) mod journal;
pub mod keeper;
mod kept;
pub mod plan;
pub mod verify;
mod view;

pub use view::View;

use crate::pg::client::Canceller;
use crate::pg::relation::oid_of;
use crate::pg::{Client, Param, PgError, Settings, Table, Target, owners, quote_literal, session};
use futures_util::future::join3;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// Method of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Recomputes everything. Blocks the readers of a materialized view, but not those of a summary.
    Full,
    /// Recomputes everything but writes only rows that differ; readers are not blocked.
    Concurrent,
    /// Merges changes only; for incremental summaries.
    Incremental,
}

impl Mode {
    /// Returns its name in options, panels and `htap.refresh_run`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Concurrent => "concurrent",
            Self::Incremental => "incremental",
        }
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Full, Self::Concurrent, Self::Incremental]
            .into_iter()
            .find(|mode| mode.word() == text)
            .ok_or_else(|| "expected full, concurrent or incremental".to_owned())
    }
}

/// Kind of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Tables kept up to date by merging what changed.
    Incremental,
    /// A materialized view.
    Materialized,
}

impl Kind {
    /// Kind of a word, as in htap.view_def and in the Views panel.
    pub fn from_word(word: &str) -> Self {
        match word {
            "incremental" => Self::Incremental,
            _ => Self::Materialized,
        }
    }

    /// Returns the least disruptive of the possible modes. `concurrently` is true if PostgreSQL can refresh the
    /// materialized view CONCURRENTLY.
    pub fn best_mode(self, concurrently: bool) -> Mode {
        match self {
            Self::Incremental => Mode::Incremental,
            Self::Materialized if concurrently => Mode::Concurrent,
            Self::Materialized => Mode::Full,
        }
    }
}

/// A view that `htap-top init` created.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The view.
    pub view: View,
    /// Kind of the view.
    pub kind: Kind,
    /// Freshness target: the maximum age of its data.
    pub freshness: Duration,
    /// True if it was filled before.
    pub filled: bool,
}

impl Known {
    /// Returns true if `name` denotes it: with or without schema, and folded as PostgreSQL folds unquoted names.
    pub fn is_called(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        folded == self.view.to_string() || folded == self.view.name || name == self.view.quoted()
    }

    /// Returns the mode that suits it best. Every materialized view of the shop has a unique index: one that was filled
    /// can be refreshed CONCURRENTLY.
    pub fn best_mode(&self) -> Mode {
        self.kind.best_mode(self.filled)
    }
}

const KNOWN: &str = "
    SELECT n.nspname::text AS schema, c.relname::text AS name, d.kind, least(extract(epoch FROM d.freshness)::float8, 31622400) AS freshness_s,
           CASE d.kind WHEN 'incremental' THEN w.snapshot IS NOT NULL ELSE c.relispopulated END AS filled
    FROM htap.view_def AS d
    JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(d.view)
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN htap.watermark AS w ON w.view = d.view
    ORDER BY d.kind, d.depth, extract(epoch FROM d.freshness), d.view";

/// Returns the views that `htap-top init` created, each after those it depends on.
pub async fn known(client: &Client) -> Result<Vec<Known>, PgError> {
    let table = client.query(KNOWN, &[]).await?;
    let text = |row, column| table.get(row, column).text().unwrap_or_default().to_owned();
    Ok((0..table.rows.len())
        .map(|row| Known {
            view: View::new(&text(row, "schema"), &text(row, "name")),
            kind: Kind::from_word(&text(row, "kind")),
            freshness: Duration::try_from_secs_f64(
                table.get(row, "freshness_s").number().unwrap_or(60.0),
            )
            .unwrap_or(Duration::from_secs(60)),
            filled: table.get(row, "filled").is_true(),
        })
        .collect())
}

/// Result of a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Done {
    /// Duration in milliseconds.
    pub took_ms: f64,
    /// Number of merged changes, if it was a merge.
    pub changes: Option<u64>,
    /// True if a merge was requested but a rebuild was necessary.
    pub rebuilt: bool,
}

/// SQLSTATE of a merge or rebuild that found another one running.
pub const BUSY: &str = "HT003";
/// SQLSTATE of a merge of a summary that must be rebuilt first.
pub const MUST_REBUILD: &str = "HT004";

/// Log rows merged in one transaction: about a second's work, so that a long backlog does not hold a snapshot for long.
pub const STEP: i64 = 20_000;

/// A merge or rebuild uses one snapshot throughout.
const ONE_SNAPSHOT: &str = "ISOLATION LEVEL REPEATABLE READ";

/// Returns true if a merge or rebuild failed because another one was running, or ended after our snapshot was taken.
pub fn is_busy(error: &PgError) -> bool {
    matches!(error.code(), BUSY | "40001")
}

/// A refresh may take long, but does not wait longer than this for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a session for refreshing. It keeps its own role: everything it calls belongs to the owner of the shop, and
/// nobody else can change it.
pub async fn connect(target: &Target) -> Result<Client, PgError> {
    let settings = Settings::of_work(LOCK_TIMEOUT);
    let client = Client::open(target, &settings).await?;
    owners::need_of_shop(&client, "htap.watermark").await?;
    Ok(client)
}

/// A refresh on a session of its own.
pub struct Refresh {
    client: Client,
    view: View,
    mode: Mode,
    kind: Kind,
}

impl Refresh {
    /// Opens the session and looks up the kind of the view; refreshes nothing yet.
    pub async fn prepare(target: &Target, view: &View, mode: Mode) -> Result<Self, PgError> {
        let client = Client::open(target, &Settings::of_work(LOCK_TIMEOUT)).await?;
        let view = named(&client, view).await?;
        let kind = kind(&client, &view).await?;
        if kind == Kind::Materialized && mode == Mode::Incremental {
            return Err(PgError::new(
                crate::pg::Class::Statement,
                format!("{view} is a materialized view, which PostgreSQL can only recompute"),
            ));
        }
        Ok(Self {
            client,
            view,
            mode,
            kind,
        })
    }

    /// Returns a handle that cancels the refresh.
    pub fn canceller(&self, target: &Target) -> Canceller {
        self.client.canceller(target)
    }

    /// Runs the refresh to its end.
    pub async fn run(self) -> Result<Done, PgError> {
        refresh(&self.client, &self.view, self.kind, self.mode).await
    }
}

/// Returns the view under its current name. If the name cannot be shown as it is, the view keeps only its OID.
async fn named(client: &Client, view: &View) -> Result<View, PgError> {
    let Some(relid) = view.relid else {
        return Ok(view.clone());
    };
    let sql = "SELECT n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name,
                      (n.nspname || c.relname) COLLATE \"C\" ~ '^[ -~]+$' AS plain
               FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.oid = $1::pg_catalog.oid";
    let found = client.query(sql, &[Param::Int(relid)]).await?;
    let text = |name| found.first(name).text();
    match (found.first("plain").is_true(), text("schema"), text("name")) {
        (true, Some(schema), Some(name)) => Ok(View::new(schema, name)),
        _ => Ok(view.clone()),
    }
}

/// Returns the kind of a view. Anything but an incremental summary counts as a materialized view: PostgreSQL gives the
/// best error if it is none. Summaries have plain names.
async fn kind(client: &Client, view: &View) -> Result<Kind, PgError> {
    let ours = oid_of("htap.watermark");
    let ours = format!("SELECT {ours} IS NOT NULL AS ours");
    if view.relid.is_some() || !client.query(&ours, &[]).await?.first("ours").is_true() {
        return Ok(Kind::Materialized);
    }
    owners::trust_the_shop(client).await?;
    let sql = "SELECT view FROM htap.watermark WHERE view = $1";
    let found = client.query(sql, &[Param::Text(&view.to_string())]).await?;
    Ok(if found.rows.is_empty() {
        Kind::Materialized
    } else {
        Kind::Incremental
    })
}

/// Refreshes a view on an open session. A merge runs in steps until nothing remains, and becomes a rebuild if the
/// server requires it.
pub async fn refresh(
    client: &Client,
    view: &View,
    kind: Kind,
    mode: Mode,
) -> Result<Done, PgError> {
    let begun = Instant::now();
    let mut done = Done::default();
    match (kind, mode) {
        (Kind::Materialized, mode) => {
            let statement = statement(client, view, mode != Mode::Full).await?;
            let work = recompute(client, &statement);
            record(client, view, kind, mode, work).await?;
        }
        (Kind::Incremental, Mode::Incremental) => {
            let mut changes = 0;
            loop {
                match merge(client, view, STEP).await {
                    Ok(step) => {
                        changes += step.changes;
                        if !step.remaining {
                            break;
                        }
                    }
                    Err(error) if error.code() == MUST_REBUILD => {
                        rebuild(client, view, false).await?;
                        done.rebuilt = true;
                    }
                    Err(error) => return Err(error),
                }
            }
            done.changes = Some(changes);
        }
        (Kind::Incremental, mode) => rebuild(client, view, mode == Mode::Concurrent).await?,
    }
    done.took_ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(done)
}

/// Recomputes a materialized view. Its query must resolve names as its owner meant: as in the role's own sessions, and
/// from PostgreSQL 17 on as the server prescribes.
async fn recompute(client: &Client, statement: &str) -> Result<(), PgError> {
    let (begun, done, ended) = join3(
        client.begin(&session::as_the_user()),
        client.batch(statement),
        client.commit(),
    )
    .await;
    begun.and(done).and(ended)
}

/// Returns the statement that refreshes a view. Before 17 only its owner may run PostgreSQL's own statement; if the
/// view is one of ours and the role may refresh it, a function of the owner does so.
async fn statement(client: &Client, view: &View, concurrently: bool) -> Result<String, PgError> {
    let sql = "
        SELECT 1 AS ours FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
        JOIN pg_catalog.pg_proc AS p ON p.proowner = c.relowner AND p.proname = 'refresh_view'
        JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = 'htap'
        WHERE s.nspname = $1 AND c.relname = $2 AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
          AND CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000
                   THEN NOT pg_catalog.has_table_privilege(c.oid, 'MAINTAIN') ELSE true END
          AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')";
    let params = [Param::Text(&view.schema), Param::Text(&view.name)];
    // A view known only by its OID is not one of ours.
    let of_others = view.relid.is_some() || client.query(sql, &params).await?.rows.is_empty();
    if of_others {
        return Ok(view.statement(concurrently));
    }
    owners::trust_the_shop(client).await?;
    Ok(view.call(concurrently))
}

/// Result of one transaction of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Number of log rows or orders merged.
    pub changes: u64,
    /// True if the backlog was longer than the step.
    pub remaining: bool,
}

/// Runs `work` in a transaction of its own with one snapshot; sends all of it at once.
async fn in_one_snapshot<T>(
    client: &Client,
    work: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    let (begun, done, ended) =
        join3(client.begin_as(ONE_SNAPSHOT, ""), work, client.commit()).await;
    begun.and(done).and_then(|done| ended.map(|()| done))
}

/// Merges about `step` log rows at most into an incremental summary, in one REPEATABLE READ transaction: it reads the
/// shop with the same snapshot that its watermark records.
pub async fn merge(client: &Client, view: &View, step: i64) -> Result<Merged, PgError> {
    let sql = "SELECT changes, remaining FROM htap.merge($1, $2)";
    let name = view.to_string();
    let params = [Param::Text(&name), Param::Int(step)];
    let table = in_one_snapshot(client, client.query(sql, &params)).await?;
    Ok(Merged {
        changes: table.first("changes").int().unwrap_or(0).unsigned_abs(),
        remaining: table.first("remaining").is_true(),
    })
}

/// Fills an incremental summary from the base tables, in one REPEATABLE READ transaction.
pub async fn rebuild(client: &Client, view: &View, by_difference: bool) -> Result<(), PgError> {
    let mode = if by_difference {
        Mode::Concurrent
    } else {
        Mode::Full
    };
    let name = quote_literal(&view.to_string());
    let work = async {
        let fill = format!("SELECT htap.rebuild({name}, {by_difference})");
        in_one_snapshot(client, client.batch(&fill)).await
    };
    record(client, view, Kind::Incremental, mode, work).await
}

/// Runs `work` and records the run in `htap.refresh_run`, if that table exists, its owner is trusted, and the role may write it.
async fn record(
    client: &Client,
    view: &View,
    kind: Kind,
    mode: Mode,
    work: impl Future<Output = Result<(), PgError>>,
) -> Result<(), PgError> {
    let name = view.to_string();
    let relid = Param::Int(view.relid.unwrap_or(0));
    let params = [Param::Text(&name), Param::Text(mode.word()), relid];
    let runs = oid_of("htap.refresh_run");
    let may = format!("SELECT pg_catalog.has_table_privilege({runs}, 'INSERT, UPDATE') AS may");
    let may = client.query(&may, &[]).await?.first("may").is_true();
    // A table of somebody else may have triggers, which would run with our rights.
    let keep = may && owners::trust_the_shop(client).await.is_ok();
    let begun: Option<Table> = if keep {
        let sql = "INSERT INTO htap.refresh_run (view, mode)
                   SELECT coalesce((SELECT n.nspname || '.' || c.relname
                                    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                                    WHERE c.oid = $3::pg_catalog.oid), $1), $2
                   RETURNING run_id, (pg_catalog.pg_current_wal_insert_lsn() - '0/0')::bigint AS wal";
        Some(client.query(sql, &params).await?)
    } else {
        None
    };
    work.await?;
    if let Some(begun) = begun {
        let sql = format!(
            "UPDATE htap.refresh_run SET finished = pg_catalog.clock_timestamp(), as_of = started,
                    rows = {},
                    wal_bytes = (pg_catalog.pg_current_wal_insert_lsn() - '0/0')::bigint - $2
             WHERE run_id = $1",
            view.rows(kind)
        );
        let number = |column| Param::Int(begun.first(column).int().unwrap_or(0));
        client
            .query(&sql, &[number("run_id"), number("wal")])
            .await?;
    }
    Ok(())
}
