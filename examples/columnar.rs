//! Asks the column store.
//!
//! ```sh
//! cargo run --features columnar --example columnar -- "host=/run/postgresql user=htap_olap dbname=shop"
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use htap_top::columnar::{Columnar, ColumnarError, Options};
use htap_top::pg::{Flags, Target};
use std::error::Error;

/// `stddev` is not supported: PostgreSQL can be asked instead.
const QUESTIONS: [&str; 2] = [
    "SELECT category, count(*) AS lines, sum(sales_amount) AS sales FROM fact_sales GROUP BY category ORDER BY sales DESC",
    "SELECT stddev(quantity) FROM fact_sales",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags {
        conninfo: std::env::args().nth(1),
        ..Flags::default()
    };
    let target = Target::resolve(&flags, &|name| std::env::var(name).ok())?;
    let columnar = Columnar::open(&target, &Options::default())?;
    for sql in QUESTIONS {
        let mut rows = match columnar.query(sql).await {
            Err(ColumnarError::Unsupported(why)) => {
                println!("not for the column store: {why}");
                continue;
            }
            rows => rows?,
        };
        let names = rows
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        println!("{}", names.collect::<Vec<_>>().join("\t"));
        while let Some(batch) = rows.next().await? {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| rows.text(column, row));
                let cells = cells.map(|cell| cell.map(Option::unwrap_or_default));
                println!("{}", cells.collect::<Result<Vec<_>, _>>()?.join("\t"));
            }
        }
    }
    Ok(())
}
