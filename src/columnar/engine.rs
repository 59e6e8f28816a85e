//! The engine: its settings and limits, statements as PostgreSQL would read them, and its errors.

use super::check;
use super::error::{ColumnarError, unsupported};
use super::memory::Lending;
use super::options::Options;
use super::rewrite::{Rewriter, Times};
use super::zone::Zone;
use crate::pg::Client;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as Ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Handle, Runtime};

/// How a statement is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Answer it.
    Run,
    /// Tell what would be read.
    Explain,
    /// Answer it, and tell what was read.
    Analyze,
}

/// Stack of a thread. The engine walks plans recursively, and takes up to 20 kB for each level if it is not optimized. Only what is used takes memory.
const STACK: usize = 64 << 20;

static THREADS: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("columnar")
        .thread_stack_size(STACK)
        .enable_all()
        .build()
});

/// The threads on which queries run, apart from those of the caller, which must not wait for a computation.
pub(super) fn threads() -> Result<&'static Handle, ColumnarError> {
    match &*THREADS {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => Err(ColumnarError::File {
            what: "start threads".to_owned(),
            source: std::io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

/// The limits of the engine, which all queries share.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    runtime: Arc<RuntimeEnv>,
    threads: Option<usize>,
}

impl Limits {
    pub(super) fn new(options: &Options) -> Result<Self, DataFusionError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(Lending::new(options.memory)))
            .with_temp_file_path(&options.spill)
            .build_arc()?;
        Ok(Self {
            runtime,
            threads: options.threads,
        })
    }
}

/// The engine for one query.
pub(super) fn context(limits: &Limits) -> SessionContext {
    let mut config = SessionConfig::new().with_default_catalog_and_schema("htap", "mart");
    if let Some(threads) = limits.threads {
        config = config.with_target_partitions(threads);
    }
    let options_of_engine = config.options_mut();
    // What tells a timestamptz from a timestamp; the session's zone is applied in the rewritten plan.
    options_of_engine.execution.time_zone = Some("+00:00".to_owned());
    // A session answers one COPY after the other.
    options_of_engine.execution.planning_concurrency = 1;
    // To group each thread's rows first costs more than it saves if it leaves a third of them: 160 instead of 150 ms for RFM
    // over 1 million sales.
    options_of_engine
        .execution
        .skip_partial_aggregation_probe_ratio_threshold = 0.3;
    // Tables divide their files themselves.
    options_of_engine.optimizer.repartition_file_scans = false;
    let sql = &mut options_of_engine.sql_parser;
    sql.parse_float_as_decimal = true;
    sql.map_string_types_to_utf8view = false;
    sql.dialect = datafusion::config::Dialect::PostgreSQL;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(&limits.runtime))
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    for function in super::functions::unread() {
        context.register_udf(function);
    }
    context.register_udaf(super::percentiles::unread());
    context
}

/// Keywords and operators of a statement. Its plan may be as deep as they are many, and the engine walks it recursively, in a
/// time that grows with the square of its depth, and cannot be interrupted.
const KEYWORDS: usize = 500;
const OPERATORS: usize = 150;
/// Levels of parentheses.
const LEVELS: usize = 50;

/// Reads one statement, and refuses what is not a SELECT.
pub(super) fn read(sql: &str) -> Result<(Ast, Mode), DataFusionError> {
    let dialect = PostgreSqlDialect {};
    // What the parser cannot read it says itself.
    let tokens = Tokenizer::new(&dialect, sql).tokenize().unwrap_or_default();
    let keywords = tokens.iter().filter(|token| is_keyword(token)).count();
    let operators = tokens.iter().filter(|token| is_operator(token)).count();
    if keywords > KEYWORDS || operators > OPERATORS {
        return Err(unsupported(format!(
            "a statement of more than {KEYWORDS} keywords or {OPERATORS} operators is not supported"
        )));
    }
    let parser = DFParserBuilder::new(sql)
        .with_dialect(&dialect)
        .with_recursion_limit(LEVELS)
        .build()?;
    let mut statements = { parser }.parse_statements()?;
    let statement = statements.pop_front();
    let (Some(statement), true) = (statement, statements.is_empty()) else {
        return Err(unsupported("only a single SQL statement is supported"));
    };
    let (statement, mode) = match statement {
        Statement::Explain(explain) if explain.options.analyze => {
            (*explain.statement, Mode::Analyze)
        }
        Statement::Explain(explain) => (*explain.statement, Mode::Explain),
        statement => (statement, Mode::Run),
    };
    let Statement::Statement(ast) = statement else {
        return Err(unsupported("the column store only answers SELECT"));
    };
    check::statement(&ast)?;
    Ok((*ast, mode))
}

fn is_keyword(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.keyword != Keyword::NoKeyword)
}

fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::Word(_)
            | Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::Number(_, _)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::SemiColon
            | Token::Whitespace(_)
            | Token::EOF
    )
}

/// Whether texts are ordered by their bytes.
const BYTEWISE: &str = "
    SELECT d.encoding IN (pg_catalog.pg_char_to_encoding('UTF8'), pg_catalog.pg_char_to_encoding('SQL_ASCII'))
           AND CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
               WHEN 'c' THEN d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') ELSE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'b' END
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                           WHERE a.attrelid = to_regclass('mart.fact_sales') AND a.attnum > 0 AND a.attcollation <> t.typcollation) AS bytewise
    FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()";

pub(super) async fn bytewise(client: &Client) -> Result<bool, ColumnarError> {
    let answer = client.query_again(BYTEWISE).await;
    let answer = answer.map_err(ColumnarError::server("read the database's collation"))?;
    Ok(answer.first("bytewise").is_true())
}

/// Whether the server is older than PostgreSQL 14, or a pooler hides its version.
pub(super) fn is_before_14(client: &Client) -> bool {
    let version = client.server_version();
    let major = version.split(|c: char| !c.is_ascii_digit()).next();
    let major = major.and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| major < 14)
}

/// Passes in which PostgreSQL reads times that a statement writes: one reads a time, the next what is added to it.
const PASSES: usize = 8;

/// Plans a statement with PostgreSQL's meaning, or refuses it.
pub(super) async fn plan(
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
    let before_14 = is_before_14(client);
    let mut times = Times::default();
    for _ in 0..PASSES {
        let mut rewriter = Rewriter {
            zone,
            utc: &utc,
            before_14,
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

/// The engine's error as ours. What it refuses to plan is not supported.
pub(super) fn failed(error: DataFusionError) -> ColumnarError {
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
