//! The column store as a library: [`Columnar`] answers SELECTs with [`Rows`].

use super::answer;
use super::engine::{self, Mode, failed};
use super::error::ColumnarError;
use super::names;
use super::options::Options;
use super::report;
use super::scan::{Scanned, Snapshot};
use super::session::Session;
use super::table::TABLES;
use super::tally::Tally;
use super::zone::Zone;
use crate::pg::Target;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures_util::TryStreamExt;
use futures_util::future::join;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

/// The column store of a database: it answers a SELECT over `mart.fact_sales`, `mart.user_day` and `mart.orders` from column files and, for all hours that
/// are open or have changed, from the rows.
///
/// Each query has a session with the server for itself, by whose privileges it runs, and one snapshot. One session stays open
/// for the next query. Queries run on threads of the engine, which begin with the first one of the process. Clones share the
/// limit of memory and the open session.
///
/// ```no_run
/// use htap_top::columnar::{Columnar, Options};
/// use htap_top::pg::{Flags, Target};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let flags = Flags {
///     conninfo: Some("host=/run/postgresql dbname=shop user=htap_olap".to_owned()),
///     ..Flags::default()
/// };
/// let target = Target::resolve(&flags, &|name| std::env::var(name).ok())?;
/// let columnar = Columnar::open(&target, &Options::default())?;
/// let mut rows = columnar
///     .query("SELECT category, sum(sales_amount) FROM fact_sales GROUP BY category")
///     .await?;
/// while let Some(batch) = rows.next().await? {
///     for row in 0..batch.num_rows() {
///         for column in batch.columns() {
///             print!("{}\t", rows.text(column, row)?.unwrap_or_default());
///         }
///         println!();
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Columnar {
    target: Target,
    options: Options,
    limits: engine::Limits,
    /// A session that no query uses.
    idle: Arc<Mutex<Option<Session>>>,
}

impl Columnar {
    /// The column store of the server of `target`. Opens no connection.
    ///
    /// # Errors
    /// The folder of temporary files cannot be used.
    pub fn open(target: &Target, options: &Options) -> Result<Self, ColumnarError> {
        Ok(Self {
            target: target.clone(),
            options: options.clone(),
            limits: engine::Limits::new(options).map_err(failed)?,
            idle: Arc::default(),
        })
    }

    /// Answers a SELECT, or an EXPLAIN of one. Dropping the future, or the rows before their end, cancels the query, on the
    /// server, too.
    ///
    /// # Errors
    /// [`ColumnarError::Unsupported`] if it asks for what the column store does not do as PostgreSQL does: nothing was
    /// read then, and PostgreSQL can be asked instead. All errors of PostgreSQL and of files.
    pub async fn query(&self, sql: &str) -> Result<Rows, ColumnarError> {
        let (columnar, sql) = (self.clone(), sql.to_owned());
        let (send, mut pieces) = mpsc::channel(1);
        let task = engine::threads()?.spawn(async move {
            // Nobody waits for it if this fails.
            let _ = match columnar.pieces(&sql, &send).await {
                Ok(()) => send.send(Ok(Piece::End)).await,
                Err(error) => send.send(Err(error)).await,
            };
        });
        let task = Ends(task);
        match pieces.recv().await {
            Some(Ok(Piece::Begin(schema, zone, explains))) => Ok(Rows {
                schema,
                zone,
                explains,
                ended: false,
                pieces,
                _task: task,
            }),
            Some(Err(error)) => Err(error),
            _ => Err(died()),
        }
    }

    /// Answers a statement piece by piece.
    async fn pieces(
        &self,
        sql: &str,
        send: &mpsc::Sender<Result<Piece, ColumnarError>>,
    ) -> Result<(), ColumnarError> {
        let (ast, mode) = engine::read(sql).map_err(failed)?;
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.take());
        let mut session = idle.unwrap_or_else(|| Session::new(&self.target, &self.options));
        let limits = (self.options.time_zone.as_deref(), self.options.timeout);
        let mut running = Box::pin(self.answer(&mut session, ast, mode, limits)).await?;
        // Nobody else uses the session.
        running.reports = true;
        let (schema, zone) = (Arc::clone(&running.schema), Arc::clone(&running.zone));
        let begin = Piece::Begin(schema, zone, running.explains());
        let mut open = send.send(Ok(begin)).await.is_ok();
        while open && let Some(batch) = running.next().await? {
            open = send.send(Ok(Piece::Batch(batch))).await.is_ok();
        }
        if let Ok(mut idle) = self.idle.lock() {
            *idle = Some(session);
        }
        Ok(())
    }

    /// Answers a statement in a session, in this time zone and within this time.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        ast: Ast,
        mode: Mode,
        (zone, timeout): (Option<&str>, Option<Duration>),
    ) -> Result<Running, ColumnarError> {
        let mut limit = Limit::new(timeout);
        let answered = limit.within(async {
            let snapshot = session.begin(zone).await?;
            let planned = Planned::new(&self.limits, &snapshot, ast, mode).await;
            // Everything that the server must tell is here.
            let run = async { planned?.run().await };
            let ((), running) = join(session.end(&snapshot), run).await;
            running
        });
        let running = Box::pin(answered).await?;
        Ok(Running { limit, ..running })
    }
}

/// A query whose rows of the server are read.
struct Planned {
    mode: Mode,
    zone: Arc<Zone>,
    snapshot: Snapshot,
    names: Vec<String>,
    plan: Arc<dyn ExecutionPlan>,
    context: SessionContext,
}

impl Planned {
    async fn new(
        limits: &engine::Limits,
        snapshot: &Snapshot,
        ast: Ast,
        mode: Mode,
    ) -> Result<Self, ColumnarError> {
        let context = engine::context(limits);
        // The snapshot may serve several queries, each with its own counts.
        let snapshot = Snapshot {
            tally: Arc::default(),
            dry: mode == Mode::Explain,
            ..snapshot.clone()
        };
        let (server, zone) = (&snapshot.client, Arc::clone(&snapshot.zone));
        let read = Arc::new(snapshot.clone());
        for table in &TABLES {
            let scanned = Scanned {
                table,
                snapshot: Arc::clone(&read),
            };
            let registered = context.register_table(table.bare_name(), Arc::new(scanned));
            registered.map_err(failed)?;
        }
        let planning = engine::plan(&context, server, ast.clone(), &zone, snapshot.bytewise);
        let plan = Box::pin(planning).await?;
        let names = names::of(&ast, &plan, engine::is_before_14(server));
        let state = context.state();
        let plan = Box::pin(state.create_physical_plan(&plan)).await;
        Ok(Self {
            mode,
            zone,
            snapshot,
            names,
            plan: plan.map_err(failed)?,
            context,
        })
    }

    async fn run(self) -> Result<Running, ColumnarError> {
        let plan = Arc::clone(&self.plan);
        let begin = || execute_stream(plan, self.context.task_ctx()).map_err(failed);
        let (schema, source) = match self.mode {
            Mode::Run => {
                let batches = begin()?;
                (
                    named(&batches.schema(), self.names),
                    Source::Engine(batches),
                )
            }
            Mode::Explain => explained(&self.snapshot.tally, None)?,
            Mode::Analyze => {
                let (mut batches, mut rows) = (begin()?, 0);
                while let Some(batch) = batches.try_next().await.map_err(failed)? {
                    rows += batch.num_rows();
                }
                let tally = &self.snapshot.tally;
                tally.note_spilled(&self.plan);
                explained(tally, Some(rows))?
            }
        };
        Ok(Running {
            schema,
            source,
            zone: self.zone,
            limit: Limit(None),
            snapshot: self.snapshot,
            reports: false,
        })
    }
}

/// The columns under these names.
fn named(schema: &Schema, names: Vec<String>) -> SchemaRef {
    let fields = schema.fields().iter().zip(names);
    let fields = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

enum Source {
    Engine(SendableRecordBatchStream),
    /// What EXPLAIN says.
    Explained(Option<RecordBatch>),
}

/// A query that runs.
pub(super) struct Running {
    schema: SchemaRef,
    source: Source,
    zone: Arc<Zone>,
    limit: Limit,
    /// What is read.
    snapshot: Snapshot,
    /// Whether its session reports what was read, at the end. If not, that session's next query does.
    reports: bool,
}

impl Running {
    /// The columns, under PostgreSQL's names.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, ColumnarError> {
        match &mut self.source {
            Source::Explained(lines) => Ok(lines.take()),
            Source::Engine(batches) => {
                let next = async {
                    // Dropping and limits take effect between two batches.
                    tokio::task::yield_now().await;
                    batches.try_next().await.map_err(failed)
                };
                let batch = self.limit.within(next).await;
                match &batch {
                    Ok(Some(_)) => {}
                    Ok(None) => self.ended(report::answered).await,
                    Err(_) => self.ended(report::failed_on).await,
                }
                let batch = batch?;
                let named = |batch: RecordBatch| {
                    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    let (schema, columns) = (Arc::clone(&self.schema), batch.columns().to_vec());
                    RecordBatch::try_new_with_options(schema, columns, &rows)
                };
                let batch = batch.map(named).transpose();
                batch.map_err(|error| ColumnarError::Query(error.to_string()))
            }
        }
    }

    /// Notes how the query ended, once.
    async fn ended(&mut self, note: fn(&Snapshot)) {
        self.source = Source::Explained(None);
        note(&self.snapshot);
        if self.reports {
            report::write(&self.snapshot.client, &self.snapshot.manifest.store).await;
        }
    }

    /// A value as PostgreSQL writes it; `None` is NULL.
    pub(super) fn text(
        &self,
        column: &ArrayRef,
        row: usize,
    ) -> Result<Option<String>, ColumnarError> {
        answer::text(column, row, &self.zone, false).map_err(failed)
    }

    /// Whether the rows are lines of EXPLAIN.
    fn explains(&self) -> bool {
        matches!(self.source, Source::Explained(_))
    }
}

/// What a query's task hands on.
enum Piece {
    /// Columns and time zone, and whether the rows are lines of EXPLAIN.
    Begin(SchemaRef, Arc<Zone>, bool),
    Batch(RecordBatch),
    End,
}

/// A task that ends when nobody waits for it any more.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn died() -> ColumnarError {
    ColumnarError::Query("the query's task ended early".to_owned())
}

/// The rows of an answer, in batches.
pub struct Rows {
    schema: SchemaRef,
    zone: Arc<Zone>,
    explains: bool,
    ended: bool,
    pieces: mpsc::Receiver<Result<Piece, ColumnarError>>,
    _task: Ends,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.schema.fields().iter().map(|field| field.name());
        f.debug_list().entries(columns).finish()
    }
}

impl Rows {
    /// The columns, under PostgreSQL's names. Numerics are decimals, timestamptz is in microseconds and UTC.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// The query failed, as in PostgreSQL, or ran out of memory, disk or time; a file is damaged. What was read before is
    /// no answer then.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ColumnarError> {
        match self.pieces.recv().await {
            Some(Ok(Piece::Batch(batch))) => Ok(Some(batch)),
            Some(Ok(Piece::End)) => {
                self.ended = true;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None if self.ended => Ok(None),
            _ => Err(died()),
        }
    }

    /// A value as PostgreSQL writes it, times in the session's zone; `None` is NULL.
    ///
    /// # Errors
    /// A time so far from those of the table that its zone is not known here.
    pub fn text(&self, column: &ArrayRef, row: usize) -> Result<Option<String>, ColumnarError> {
        answer::text(column, row, &self.zone, false).map_err(failed)
    }

    /// Whether the rows are lines of EXPLAIN.
    pub(super) fn explains(&self) -> bool {
        self.explains
    }

    /// The session's time zone.
    pub(super) fn zone(&self) -> Arc<Zone> {
        Arc::clone(&self.zone)
    }
}

/// The time that a query may take.
struct Limit(Option<Pin<Box<Sleep>>>);

impl Limit {
    fn new(time: Option<Duration>) -> Self {
        Self(time.map(|time| Box::pin(sleep(time))))
    }

    async fn within<T>(
        &mut self,
        work: impl Future<Output = Result<T, ColumnarError>>,
    ) -> Result<T, ColumnarError> {
        match &mut self.0 {
            None => work.await,
            Some(end) => tokio::select! {
                biased;
                () = end => Err(ColumnarError::Timeout),
                done = work => done,
            },
        }
    }
}

/// What EXPLAIN says, and EXPLAIN ANALYZE of an answer of so many rows.
fn explained(tally: &Tally, answer: Option<usize>) -> Result<(SchemaRef, Source), ColumnarError> {
    let field = Field::new("QUERY PLAN", DataType::Utf8, true);
    let column: ArrayRef = Arc::new(StringArray::from(tally.lines(answer)));
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]);
    let batch = batch.map_err(|error| ColumnarError::Query(error.to_string()))?;
    Ok((schema, Source::Explained(Some(batch))))
}
