//! Queries: measures the benefit of rollups, partitions, parallel workers and indexes.

use super::figures::{Figures, figures};
use super::{BenchError, Experiment, Lab};

/// Number of runs per statement; the fastest counts, because only disturbances by the machine make one slower.
const TRIES: usize = 5;

/// Time in the server in milliseconds, pages read, and workers, of the fastest run.
struct Cost {
    ms: f64,
    pages: f64,
    workers: f64,
}

async fn cost(lab: &Lab, sql: &str) -> Result<Cost, BenchError> {
    let mut best: Option<Cost> = None;
    for _ in 0..TRIES {
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}");
        let told = lab.explain(&explain).await?;
        let Some(plan) = told.get(0) else { continue };
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(0.0);
        let node = &plan["Plan"];
        let run = Cost {
            ms: number(&plan["Execution Time"]),
            pages: number(&node["Shared Hit Blocks"]) + number(&node["Shared Read Blocks"]),
            workers: workers(node),
        };
        if best.as_ref().is_none_or(|best| run.ms < best.ms) {
            best = Some(run);
        }
    }
    Ok(best.unwrap_or(Cost {
        ms: 0.0,
        pages: 0.0,
        workers: 0.0,
    }))
}

/// Returns the highest number of workers launched by a node of a plan.
fn workers(node: &serde_json::Value) -> f64 {
    let own = node["Workers Launched"].as_f64().unwrap_or(0.0);
    let below = node["Plans"].as_array().into_iter().flatten();
    below.map(workers).fold(own, f64::max)
}

/// The experiment `questions`.
pub(super) const QUESTIONS: Experiment = Experiment {
    name: "questions",
    about: "the three questions from base tables, materialized views and rollups",
    section: "4.2",
    variants: &["base", "mv", "rollup"],
    run: |lab, variant| Box::pin(questions(lab, variant)),
};

async fn questions(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let [hourly, category, segment] = match variant {
        "base" => [
            include_str!("../../queries/reports/hourly_base.sql"),
            include_str!("../../queries/reports/category_base.sql"),
            include_str!("../../queries/reports/segment_base.sql"),
        ],
        "mv" => [
            include_str!("../../queries/reports/hourly_mv.sql"),
            include_str!("../../queries/reports/category_mv.sql"),
            include_str!("../../queries/reports/segment_mv.sql"),
        ],
        "rollup" => [
            include_str!("../../queries/reports/hourly_rollup.sql"),
            include_str!("../../queries/reports/category_rollup.sql"),
            include_str!("../../queries/reports/segment_rollup.sql"),
        ],
        _ => return Err(BenchError::Variant(variant.to_owned())),
    };
    Ok(figures([
        ("hourly_ms", cost(lab, hourly).await?.ms),
        ("category_ms", cost(lab, category).await?.ms),
        ("segment_ms", cost(lab, segment).await?.ms),
    ]))
}

/// The experiment `rewriting`.
pub(super) const REWRITING: Experiment = Experiment {
    name: "rewriting",
    about: "daily sales over 30 days, from orders and from hourly sales",
    section: "6.1",
    variants: &["base", "rollup"],
    run: |lab, variant| Box::pin(rewriting(lab, variant)),
};

async fn rewriting(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let sql = match variant {
        "base" => include_str!("../../queries/bench/daily_base.sql"),
        "rollup" => include_str!("../../queries/bench/daily_rollup.sql"),
        _ => return Err(BenchError::Variant(variant.to_owned())),
    };
    Ok(figures([("daily_ms", cost(lab, sql).await?.ms)]))
}

/// The experiment `partitions`.
pub(super) const PARTITIONS: Experiment = Experiment {
    name: "partitions",
    about: "sales of one month from a partitioned and from a plain table",
    section: "6.2",
    variants: &["plain", "partitioned"],
    run: |lab, variant| Box::pin(partitions(lab, variant)),
};

async fn partitions(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let table = match variant {
        "plain" => "bench.orders_plain",
        "partitioned" => "shop.orders",
        _ => return Err(BenchError::Variant(variant.to_owned())),
    };
    let sql = include_str!("../../queries/bench/one_month.sql").replace("shop.orders", table);
    let cost = cost(lab, &sql).await?;
    Ok(figures([("month_ms", cost.ms), ("pages", cost.pages)]))
}

/// The experiment `parallel`.
pub(super) const PARALLEL: Experiment = Experiment {
    name: "parallel",
    about: "an aggregate over the fact table with 0 to 4 parallel workers",
    section: "6.3",
    variants: &["0", "1", "2", "4"],
    run: |lab, variant| Box::pin(parallel(lab, variant)),
};

async fn parallel(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.batch(&format!(
        "SET max_parallel_workers_per_gather = {variant}; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0"
    ))
    .await?;
    let sql = "SELECT category, sum(sales_amount) FROM mart.fact_sales GROUP BY category";
    let cost = cost(lab, sql).await;
    lab.batch(
        "RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost;
         RESET min_parallel_table_scan_size",
    )
    .await?;
    let cost = cost?;
    Ok(figures([
        ("aggregate_ms", cost.ms),
        ("workers", cost.workers),
    ]))
}

/// The experiment `brin`.
pub(super) const BRIN: Experiment = Experiment {
    name: "brin",
    about: "B-tree against BRIN on the time of sale: size, and a range of one day",
    section: "7.1",
    variants: &["btree", "brin", "none"],
    run: |lab, variant| Box::pin(brin(lab, variant)),
};

async fn brin(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let sql = include_str!("../../queries/bench/one_day.sql")
        .replace("bench.sales_none", &format!("bench.sales_{variant}"));
    let cost = cost(lab, &sql).await?;
    let size = match variant {
        "none" => 0.0,
        kind => {
            lab.number(&format!(
                "SELECT pg_relation_size('bench.sales_{kind}_idx')::float8"
            ))
            .await?
        }
    };
    Ok(figures([
        ("day_ms", cost.ms),
        ("pages", cost.pages),
        ("index_bytes", size),
    ]))
}
