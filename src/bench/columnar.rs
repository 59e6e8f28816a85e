//! The column store beside the other ways to answer the same questions, and what it costs to keep its files.

#[cfg(feature = "columnar")]
mod asked;
#[cfg(feature = "columnar")]
mod duckdb;
#[cfg(feature = "columnar")]
mod files;
#[cfg(feature = "columnar")]
mod reading;
#[cfg(feature = "columnar")]
mod upkeep;

use super::{BenchError, Experiment};
#[cfg(feature = "columnar")]
use super::{Figures, Lab};

/// The experiment `columnar`.
pub(super) const COLUMNAR: Experiment = Experiment {
    name: "columnar",
    about: "seven questions about all sales from rows, views, summaries, the column store and DuckDB over its files: the same \
            answers, warm and cold, with 1 and 2 threads; what the files take, and what it costs to keep them",
    section: "8.2",
    variants: &[
        HEAP, VIEWS, SUMMARIES, COLUMNS, DUCKDB, UPKEEP, ALONE, BESIDE,
    ],
    #[cfg(feature = "columnar")]
    run: |lab, variant| Box::pin(columnar(lab, variant)),
    #[cfg(not(feature = "columnar"))]
    run: |_, _| Box::pin(std::future::ready(Err(absent()))),
};

pub(super) const HEAP: &str = "heap";
pub(super) const VIEWS: &str = "views";
pub(super) const SUMMARIES: &str = "summaries";
pub(super) const COLUMNS: &str = "column store";
pub(super) const DUCKDB: &str = "DuckDB over its files";
pub(super) const UPKEEP: &str = "sync";
pub(super) const ALONE: &str = "1,000/s, no sync";
pub(super) const BESIDE: &str = "1,000/s, sync --fresh 1s";

/// The questions, by their names in `queries/columnar/questions.sql`, and what they ask for.
pub(super) const QUESTIONS: [(&str, &str); 7] = [
    ("hourly", "sales of 24 hours, by hour"),
    ("category_week", "sales of 7 days, by category"),
    ("category_all", "all sales, by category"),
    ("rfm", "RFM by segment"),
    ("customers", "customers of each hour"),
    ("pairs", "categories bought together, a join"),
    ("returning", "customers who come back, a join"),
];

/// Those that are also asked cold.
#[cfg(feature = "columnar")]
const COLD: [&str; 2] = ["category_all", "rfm"];

#[cfg(not(feature = "columnar"))]
fn absent() -> BenchError {
    BenchError::Unavailable(
        "this program was built without the column store: build it with cargo build --release --features columnar".to_owned(),
    )
}

#[cfg(feature = "columnar")]
async fn columnar(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let asked = asked::Asked::prepare(lab).await?;
    let measured = match variant {
        HEAP => Box::pin(reading::heap(lab, &asked)).await,
        VIEWS => Box::pin(reading::views(lab, &asked)).await,
        SUMMARIES => Box::pin(reading::summaries(lab, &asked)).await,
        COLUMNS => Box::pin(reading::columns(lab, &asked)).await,
        DUCKDB => Box::pin(reading::duckdb(lab, &asked)).await,
        UPKEEP => Box::pin(upkeep::upkeep(lab, &asked)).await,
        ALONE | BESIDE => Box::pin(upkeep::beside(lab, &asked, variant == BESIDE)).await,
        _ => Err(BenchError::Variant(variant.to_owned())),
    };
    // Other experiments have neither these sales nor a log of changes.
    let back = lab.batch("SELECT bench.take_back()").await;
    let off = lab.batch("SELECT htap.switch_columnar(false)").await;
    let figures = measured?;
    back?;
    off?;
    Ok(figures)
}

/// For `map_err`: the error of a program or a part of this one.
#[cfg(feature = "columnar")]
fn failed<E: std::fmt::Display>(program: &str) -> impl FnOnce(E) -> BenchError {
    let program = program.to_owned();
    move |error| BenchError::Program {
        program,
        detail: error.to_string(),
    }
}
