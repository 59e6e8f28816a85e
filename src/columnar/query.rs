//! `htap-top columnar query`: one SELECT over column files and rows, in one snapshot of the server.

use super::answer::{Answer, Form};
use super::check;
use super::error::ColumnarError;
use super::manifest::{self, Found, Manifest};
use super::names;
use super::reader::{Opened, Tally};
use super::rewrite::{Rewriter, Times};
use super::scan::{Sales, Snapshot};
use super::zone::Zone;
use crate::pg::{Client, Settings, Target, owners};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Options of a query.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the files; that of the last sync if `None`.
    pub folder: Option<PathBuf>,
    /// Time zone of the session; that of the user's own sessions if `None`.
    pub time_zone: Option<String>,
    /// Memory that the engine may use, in bytes. Sorts, joins and aggregations that need more write temporary files.
    pub memory: usize,
    /// Time that a query may take.
    pub timeout: Option<Duration>,
    /// Folder of temporary files.
    pub spill: PathBuf,
    /// Form of the answer.
    pub form: Form,
    /// Threads that compute; as many as there are processors if `None`.
    pub threads: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: None,
            time_zone: None,
            memory: 512 << 20,
            timeout: None,
            spill: std::env::temp_dir(),
            form: Form::Table,
            threads: None,
        }
    }
}

/// Answers a SELECT, or an EXPLAIN of one, and writes the answer.
pub async fn query(
    target: &Target,
    sql: &str,
    options: &Options,
    out: impl Write + Send,
) -> Result<(), ColumnarError> {
    let work = Box::pin(answer(target, sql, options, out));
    match options.timeout {
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .map_err(|_| ColumnarError::Timeout)?,
        None => work.await,
    }
}

/// How a statement is to be treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Run,
    Explain,
    Analyze,
}

async fn answer(
    target: &Target,
    sql: &str,
    options: &Options,
    mut out: impl Write + Send,
) -> Result<(), ColumnarError> {
    let context = context(options).map_err(failed)?;
    let (ast, mode) = read(&context, sql).map_err(failed)?;
    check::statement(&ast).map_err(failed)?;
    let client = connect(target, options).await?;
    let snapshot = Arc::new(snapshot(client, options, mode == Mode::Explain).await?);
    let zone = zone(&snapshot, options).await?;
    let bytewise = bytewise(&snapshot.client).await?;
    let table = Sales {
        snapshot: Arc::clone(&snapshot),
    };
    context
        .register_table("fact_sales", Arc::new(table))
        .map_err(failed)?;
    let plan = Box::pin(plan(
        &context,
        &snapshot.client,
        ast.clone(),
        &zone,
        bytewise,
    ))
    .await?;
    let headings = names::of(&ast, &plan);
    let state = context.state();
    let physical = Box::pin(state.create_physical_plan(&plan))
        .await
        .map_err(failed)?;
    // Everything that the server must tell is here.
    let _ = snapshot.client.rollback().await;
    if mode == Mode::Explain {
        return out
            .write_all(told(&snapshot, mode).as_bytes())
            .map_err(writing);
    }
    let mut batches = execute_stream(physical, context.task_ctx()).map_err(failed)?;
    if mode == Mode::Analyze {
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            rows += batch.num_rows();
        }
        let told = format!("{}answer: {rows} rows\n", told(&snapshot, mode));
        return out.write_all(told.as_bytes()).map_err(writing);
    }
    let mut answer = Answer::new(out, options.form, headings, &zone).map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        answer.add(&batch).map_err(failed)?;
        // Ctrl-C is seen between two batches.
        tokio::task::yield_now().await;
    }
    answer.finish().map_err(failed)?;
    Ok(())
}

fn writing(source: std::io::Error) -> ColumnarError {
    ColumnarError::File {
        what: "write the answer".to_owned(),
        source,
    }
}

/// The engine, with its limits.
fn context(options: &Options) -> Result<SessionContext, DataFusionError> {
    let mut config = SessionConfig::new().with_default_catalog_and_schema("htap", "mart");
    if let Some(threads) = options.threads {
        config = config.with_target_partitions(threads);
    }
    let options_of_engine = config.options_mut();
    // What tells a timestamptz from a timestamp; the session's zone is applied in the rewritten plan.
    options_of_engine.execution.time_zone = Some("+00:00".to_owned());
    // A session answers one COPY after the other.
    options_of_engine.execution.planning_concurrency = 1;
    let sql = &mut options_of_engine.sql_parser;
    sql.parse_float_as_decimal = true;
    sql.map_string_types_to_utf8view = false;
    sql.dialect = datafusion::config::Dialect::PostgreSQL;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(options.memory)))
        .with_temp_file_path(&options.spill)
        .build_arc()?;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    for function in super::functions::unread() {
        context.register_udf(function);
    }
    Ok(context)
}

/// Reads one statement.
fn read(context: &SessionContext, sql: &str) -> Result<(Ast, Mode), DataFusionError> {
    let state = context.state();
    let statement = state.sql_to_statement(sql, &datafusion::config::Dialect::PostgreSQL)?;
    match statement {
        Statement::Statement(ast) => Ok((*ast, Mode::Run)),
        Statement::Explain(explain) => match *explain.statement {
            Statement::Statement(ast) => Ok((
                *ast,
                if explain.options.analyze {
                    Mode::Analyze
                } else {
                    Mode::Explain
                },
            )),
            _ => Err(super::error::unsupported(
                "the column store only answers SELECT",
            )),
        },
        _ => Err(super::error::unsupported(
            "the column store only answers SELECT",
        )),
    }
}

async fn connect(target: &Target, options: &Options) -> Result<Client, ColumnarError> {
    let limit = options.timeout.unwrap_or(Duration::ZERO);
    let settings = Settings::of_analysis(limit, "64MB").with("lock_timeout", "10s");
    let client = Client::open(target, &settings).await;
    let client = client.map_err(ColumnarError::server("connect"))?;
    let trusted = owners::trust_the_shop(&client).await;
    trusted.map_err(ColumnarError::server("trust the shop"))?;
    Ok(client)
}

/// Attempts to open the files of a manifest, while a sync replaces them.
const ATTEMPTS: u32 = 5;

/// Opens a transaction and the files that its manifest names.
async fn snapshot(client: Client, options: &Options, dry: bool) -> Result<Snapshot, ColumnarError> {
    for attempt in 1.. {
        let begun = client
            .begin_as("ISOLATION LEVEL REPEATABLE READ READ ONLY", "")
            .await;
        begun.map_err(ColumnarError::server("begin a transaction"))?;
        let manifest = match manifest::read(&client).await? {
            Found::Store(manifest) => manifest,
            Found::Nothing(why) => {
                return Err(ColumnarError::Refused(format!(
                    "{why}: run htap-top columnar sync first"
                )));
            }
        };
        manifest.need_known_formats()?;
        let folder = options
            .folder
            .clone()
            .or_else(|| manifest.folder.clone().map(PathBuf::from));
        match open(&manifest, folder.as_deref().unwrap_or(Path::new("."))) {
            Ok(files) => {
                return Ok(Snapshot {
                    client,
                    manifest,
                    files,
                    tally: Arc::new(Tally::default()),
                    spill: options.spill.clone(),
                    dry,
                });
            }
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => {
                let ended = client.rollback().await;
                ended.map_err(ColumnarError::server("begin a transaction"))?;
            }
        }
    }
    Err(ColumnarError::Refused(
        "the column files cannot be opened".to_owned(),
    ))
}

fn open(manifest: &Manifest, folder: &Path) -> Result<BTreeMap<i64, Arc<Opened>>, ColumnarError> {
    let mut files = BTreeMap::new();
    for entry in &manifest.files {
        let name = entry.name(&manifest.store);
        let path = folder.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ColumnarError::Refused(format!(
                    "{} is missing: run htap-top columnar sync, which writes it anew, or name the folder with --folder",
                    path.display()
                )));
            }
            Err(source) => return Err(ColumnarError::file("read", &path)(source)),
        };
        let sha256 = entry.sha256.clone();
        let opened = Opened::new(file, name, entry.bytes, sha256, manifest.now_hour);
        files.insert(entry.span.id, Arc::new(opened));
    }
    Ok(files)
}

async fn zone(snapshot: &Snapshot, options: &Options) -> Result<Arc<Zone>, ColumnarError> {
    let manifest = &snapshot.manifest;
    let first = manifest
        .files
        .iter()
        .map(|file| file.span.hours.start)
        .min();
    let hours = first.unwrap_or(manifest.now_hour)..manifest.now_hour + 1;
    let zone = Zone::read(&snapshot.client, options.time_zone.as_deref(), hours).await?;
    Ok(Arc::new(zone))
}

/// Whether texts are ordered by their bytes.
const BYTEWISE: &str = "
    SELECT d.encoding IN (pg_catalog.pg_char_to_encoding('UTF8'), pg_catalog.pg_char_to_encoding('SQL_ASCII'))
           AND CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
               WHEN 'c' THEN d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') ELSE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'b' END
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                           WHERE a.attrelid = to_regclass('mart.fact_sales') AND a.attnum > 0 AND a.attcollation <> t.typcollation) AS bytewise
    FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()";

async fn bytewise(client: &Client) -> Result<bool, ColumnarError> {
    let answer = client.query(BYTEWISE, &[]).await;
    let answer = answer.map_err(ColumnarError::server("read the database's collation"))?;
    Ok(answer.first("bytewise").is_true())
}

/// Passes in which PostgreSQL reads times that a statement writes: one reads a time, the next what is added to it.
const PASSES: usize = 8;

/// Plans a statement with PostgreSQL's meaning, or refuses it.
async fn plan(
    context: &SessionContext,
    client: &Client,
    ast: Ast,
    zone: &Arc<Zone>,
    bytewise: bool,
) -> Result<LogicalPlan, ColumnarError> {
    let state = context.state();
    let plan = state
        .statement_to_plan(Statement::Statement(Box::new(ast)))
        .await
        .map_err(failed)?;
    let utc = Arc::new(Zone::utc());
    let mut times = Times::default();
    for _ in 0..PASSES {
        let mut rewriter = Rewriter {
            zone,
            utc: &utc,
            times: &mut times,
        };
        let rewritten = rewriter.plan(plan.clone()).map_err(failed)?;
        if times.wanted.is_empty() {
            let options = state.config_options();
            let analyzed = state
                .analyzer()
                .execute_and_check(rewritten, options, |_, _| {});
            let analyzed = analyzed.map_err(failed)?;
            check::plan(&analyzed, bytewise).map_err(failed)?;
            return Ok(analyzed);
        }
        let wanted: Vec<String> = std::mem::take(&mut times.wanted).into_iter().collect();
        let select: Vec<String> = wanted
            .iter()
            .zip(0..)
            .map(|(sql, n)| format!("{sql} AS t{n}"))
            .collect();
        let values = client
            .query(&format!("SELECT {}", select.join(", ")), &[])
            .await;
        let values = values.map_err(|error| ColumnarError::Query(error.to_string()))?;
        for (sql, n) in wanted.into_iter().zip(0..) {
            let value = values.first(&format!("t{n}")).int();
            let value = value.ok_or_else(|| {
                ColumnarError::Unsupported("an infinite time is not supported".to_owned())
            })?;
            times.known.insert(sql, value);
        }
    }
    Err(ColumnarError::Unsupported(
        "times that are computed in so many steps are not supported".to_owned(),
    ))
}

/// What EXPLAIN says.
fn told(snapshot: &Snapshot, mode: Mode) -> String {
    let tally = &snapshot.tally;
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (files, all) = (of(&tally.files), of(&tally.all_files));
    let mut text = format!(
        "column files: {files} of {all} are read, {} are pruned; their hours have {} rows\n",
        all - files.min(all),
        of(&tally.file_rows)
    );
    let dirty = &snapshot.manifest.dirty;
    let dirty = if dirty.all {
        "all hours changed".to_owned()
    } else {
        format!("{} hours changed", dirty.hours.len())
    };
    let _ = writeln!(text, "since the last sync: {dirty}");
    if mode == Mode::Analyze {
        let _ = writeln!(text, "bytes read from files: {}", of(&tally.bytes));
        let _ = writeln!(
            text,
            "rows read from mart.fact_sales: {}",
            of(&tally.server_rows)
        );
    }
    text
}

/// The engine's error as ours. What it refuses to plan is not supported.
fn failed(error: DataFusionError) -> ColumnarError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            failed(*inner)
        }
        DataFusionError::Shared(inner) => told_by(&inner),
        DataFusionError::External(inner) => match inner.downcast::<ColumnarError>() {
            Ok(ours) => *ours,
            Err(other) => ColumnarError::Query(other.to_string()),
        },
        error => told_by(&error),
    }
}

fn told_by(error: &DataFusionError) -> ColumnarError {
    match error.find_root() {
        DataFusionError::Plan(why) | DataFusionError::NotImplemented(why) => {
            ColumnarError::Unsupported(why.clone())
        }
        DataFusionError::SQL(why, _) => ColumnarError::Unsupported(why.to_string()),
        DataFusionError::SchemaError(why, _) => ColumnarError::Unsupported(why.to_string()),
        DataFusionError::Execution(why) => ColumnarError::Query(why.clone()),
        DataFusionError::ResourcesExhausted(why) => {
            ColumnarError::Query(format!("out of memory: {why}. Allow more with --memory"))
        }
        DataFusionError::ParquetError(why) => match &**why {
            parquet::errors::ParquetError::General(why) => ColumnarError::Refused(why.clone()),
            other => ColumnarError::Query(other.to_string()),
        },
        other => ColumnarError::Query(other.to_string()),
    }
}
