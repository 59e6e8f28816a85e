//! Times of the questions.

use super::super::figures::{Figures, median};
use super::super::{BenchError, Lab};
use super::COLD;
use super::asked::{Asked, fastest, from, timed};
use super::duckdb::DuckDb;
use super::files::{self, Store, forget};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

const THREADS: [usize; 2] = [1, 2];
/// Processes that are started for one figure.
const STARTS: usize = 7;
/// The longest answer has a row per hour.
const MOST_ROWS: usize = 100_000;

/// The time of a statement as its client sees it, and not its rows.
async fn ask(asked: &Asked, sql: &str) -> Result<(f64, ()), BenchError> {
    timed(async {
        let answer = asked.client.query_text(sql, MOST_ROWS).await;
        answer.map_err(BenchError::doing("answer from the rows"))?;
        Ok(())
    })
    .await
}

async fn workers(asked: &Asked, threads: usize) -> Result<(), BenchError> {
    let sql = format!("SET max_parallel_workers_per_gather = {}", threads - 1);
    let set = asked.client.batch(&sql).await;
    set.map_err(BenchError::doing("set the number of workers"))
}

/// The rows of `mart.fact_sales`. Cold: those of a copy that nobody has read, neither in shared buffers nor in the
/// system's cache.
pub(super) async fn heap(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    let mut figures = Figures::new();
    for threads in THREADS {
        workers(asked, threads).await?;
        for (name, sql) in asked.questions() {
            let sql = from(sql, "mart.fact_sales");
            let (ms, ()) = fastest(lab.window, || ask(asked, &sql)).await?;
            figures.insert(format!("{name}_{threads}_ms"), ms);
        }
    }
    for name in COLD {
        lab.batch("DROP TABLE IF EXISTS bench.cold").await?;
        for sql in [
            "CREATE TABLE bench.cold AS SELECT * FROM mart.fact_sales",
            "VACUUM (ANALYZE) bench.cold",
            "CHECKPOINT",
        ] {
            lab.batch(sql).await?;
        }
        forget(&lab.files_of("bench.cold").await?)?;
        let question = asked.questions().find(|(known, _)| *known == name);
        let sql = question.map(|(_, sql)| from(sql, "bench.cold"));
        let (ms, ()) = ask(asked, &sql.unwrap_or_default()).await?;
        figures.insert(format!("{name}_cold_ms"), ms);
    }
    for (name, sql) in [
        ("rows", "SELECT count(*)::float8 FROM mart.fact_sales"),
        (
            "heap_bytes",
            "SELECT pg_table_size('mart.fact_sales')::float8",
        ),
        (
            "bytes",
            "SELECT pg_total_relation_size('mart.fact_sales')::float8",
        ),
    ] {
        figures.insert(name.to_owned(), lab.number(sql).await?);
    }
    lab.batch("DROP TABLE bench.cold").await?;
    Ok(figures)
}

/// The case study's materialized views, just refreshed.
pub(super) async fn views(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    for view in ["mart.fact_sales_mv", "mart.sales_hourly_mv"] {
        lab.batch(&format!("REFRESH MATERIALIZED VIEW {view}"))
            .await?;
        lab.batch(&format!("VACUUM (ANALYZE) {view}")).await?;
    }
    let of_hours = |columns: &str| hours("mart.sales_hourly_mv", columns, asked);
    let questions = asked.questions().map(|(name, sql)| match name {
        "hourly" => (
            name,
            format!(
                "{} AND hour >= timestamptz '{}' - interval '24 hours'",
                of_hours(HOURLY),
                asked.end
            ),
        ),
        "customers" => (name, of_hours(CUSTOMERS)),
        _ => (name, from(sql, "mart.fact_sales_mv")),
    });
    prepared(lab, asked, questions.collect(), false).await
}

const HOURLY: &str = "hour, total_sales, order_count, unique_customers";
const CUSTOMERS: &str = "hour, unique_customers";

fn hours(table: &str, columns: &str, asked: &Asked) -> String {
    format!("SELECT {columns} FROM {table} WHERE hour < '{}'", asked.end)
}

/// The summaries. They answer what they were made for.
pub(super) async fn summaries(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    let of_hours = |columns: &str| hours("mart.sales_hourly", columns, asked);
    let categories = format!(
        "SELECT category, sum(total_amount) AS total_sales, sum(total_quantity) AS total_quantity FROM mart.category_hourly \
         WHERE hour < '{}' GROUP BY category ORDER BY total_sales DESC, category LIMIT 10",
        asked.end
    );
    let week = format!(
        "hour >= timestamptz '{}' - interval '7 days' AND hour <",
        asked.end
    );
    let rfm = "SELECT user_segment, users AS user_count, amount / users AS avg_ltv, orders::numeric / users AS avg_frequency \
               FROM mart.segment_rfm";
    let questions = vec![
        (
            "hourly",
            format!(
                "{} AND hour >= timestamptz '{}' - interval '24 hours'",
                of_hours(HOURLY),
                asked.end
            ),
        ),
        ("category_week", categories.replace("hour <", &week)),
        ("category_all", categories),
        ("rfm", rfm.to_owned()),
        ("customers", of_hours(CUSTOMERS)),
    ];
    prepared(lab, asked, questions, true).await
}

/// Questions to something that was prepared for them.
async fn prepared(
    lab: &Lab,
    asked: &Asked,
    questions: Vec<(&'static str, String)>,
    are_summaries: bool,
) -> Result<Figures, BenchError> {
    let mut figures = Figures::new();
    for threads in THREADS {
        workers(asked, threads).await?;
        for (name, sql) in &questions {
            let (ms, ()) = fastest(lab.window, || ask(asked, sql)).await?;
            figures.insert(format!("{name}_{threads}_ms"), ms);
        }
    }
    for (name, sql) in &questions {
        // The summary of segments ends now, not with the last hour.
        let until_now = are_summaries && *name == "rfm";
        let answer = asked.answer(sql).await?;
        asked.compare(name, &answer, until_now).await?;
    }
    Ok(figures)
}

/// The column store: in this process, whose session is open, in a process of its own, and cold.
pub(super) async fn columns(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    let store = Store::begin(lab, asked).await?;
    let mut figures = Figures::new();
    for threads in THREADS {
        let columnar = store.open(lab, threads)?;
        for (name, sql) in asked.questions() {
            let (ms, answer) = fastest(lab.window, || files::ask(&columnar, sql)).await?;
            asked.compare(name, &answer, false).await?;
            figures.insert(format!("{name}_{threads}_ms"), ms);
        }
    }
    let (of_sales, columnar) = (store.files()?, store.open(lab, 2)?);
    // The session is open, so that only the files are cold.
    for (_, sql) in asked.questions().take(1) {
        files::ask(&columnar, sql).await?;
    }
    for (name, sql) in asked.questions() {
        if COLD.contains(&name) {
            forget(&of_sales)?;
            let (ms, _) = files::ask(&columnar, sql).await?;
            figures.insert(format!("{name}_cold_ms"), ms);
        }
        if ["hourly", "category_all"].contains(&name) {
            let mut took = Vec::new();
            for _ in 0..STARTS {
                let (ms, answer) = store.ask_anew(lab, sql).await?;
                asked.compare(name, &answer, false).await?;
                took.push(ms);
            }
            figures.insert(
                format!("{name}_process_ms"),
                median(&took).unwrap_or_default(),
            );
        }
    }
    figures.insert("first_sync_ms".to_owned(), store.first_ms);
    for (name, figure) in [
        ("rows", "sum(rows)"),
        ("files", "count(*)"),
        ("bytes", "sum(bytes)"),
    ] {
        let held = format!(
            "SELECT {figure}::float8 FROM htap.column_file WHERE relation = 'mart.fact_sales'"
        );
        figures.insert(name.to_owned(), lab.number(&held).await?);
    }
    Ok(figures)
}

/// DuckDB over the same files.
pub(super) async fn duckdb(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    let engine = Arc::new(Mutex::new(DuckDb::start().await?));
    let store = Store::begin(lab, asked).await?;
    let files = store.files()?;
    let ask = |sql: String, files: Vec<PathBuf>, threads: usize, cold: bool| {
        let engine = Arc::clone(&engine);
        async move { engine.lock().await.ask(&sql, &files, threads, cold).await }
    };
    let mut figures = Figures::new();
    for threads in THREADS {
        for (name, sql) in asked.questions() {
            let again = || ask(sql.to_owned(), files.clone(), threads, false);
            let (ms, answer) = fastest(lab.window, again).await?;
            asked.compare(name, &answer, false).await?;
            figures.insert(format!("{name}_{threads}_ms"), ms);
        }
    }
    for (name, sql) in asked.questions().filter(|(name, _)| COLD.contains(name)) {
        forget(&files)?;
        let (ms, _) = ask(sql.to_owned(), files.clone(), 2, true).await?;
        figures.insert(format!("{name}_cold_ms"), ms);
    }
    Ok(figures)
}
