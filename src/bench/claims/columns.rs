//! Claims about the column store.

use super::{Line, line, ms, of, ratio, times};
use crate::bench::columnar::{
    ALONE, BESIDE, COLUMNAR, COLUMNS, DUCKDB, HEAP, QUESTIONS, SUMMARIES, UPKEEP, VIEWS,
};
use crate::bench::store::Store;
use crate::format;

/// Returns the rows of the experiment `columnar`.
pub(super) fn lines(store: &Store) -> Vec<Line> {
    let mut lines: Vec<Line> = QUESTIONS
        .iter()
        .map(|(name, title)| {
            let claim = match *name {
                "rfm" => "a column store is 5 to 10x faster",
                _ => "",
            };
            line(COLUMNAR.section, *title, claim, asked(store, name))
        })
        .collect();
    for (name, title) in QUESTIONS {
        if let Some(measured) = cold(store, name) {
            let what = format!("{title}: files and heap not in the system's cache");
            lines.push(line(COLUMNAR.section, what, "", Some(measured)));
        }
    }
    for (what, measured) in [
        (
            "first answer of a new process: 24 hours; all sales",
            process(store),
        ),
        ("size of the files", space(store)),
        ("sync after 1,000 corrected orders", upkeep(store)),
        (
            "1,000 completed orders/s beside 500 transactions/s, a correction every 2 s in an hour of as many orders as a minute has: sync",
            beside(store),
        ),
    ] {
        lines.push(line(COLUMNAR.section, what, "", measured));
    }
    lines
}

fn get(store: &Store, variant: &str, name: &str) -> Option<f64> {
    of(store, COLUMNAR.name, variant, name)
}

/// The times of a question, and those of the column store in relation to the rows and to DuckDB.
fn asked(store: &Store, name: &str) -> Option<String> {
    let took = |variant: &str, threads: u32| get(store, variant, &format!("{name}_{threads}_ms"));
    let one = took(COLUMNS, 1)?;
    let two = took(COLUMNS, 2)?;
    let mut text = format!("rows {}", ms(took(HEAP, 2))?);
    for (who, variant) in [("view", VIEWS), ("summary", SUMMARIES)] {
        if let Some(took) = ms(took(variant, 2)) {
            text = format!("{text}, {who} {took}");
        }
    }
    text = format!(
        "{text}, column store {} ({} the speed of rows",
        format::ms(two),
        times(ratio(took(HEAP, 2), Some(two)))?
    );
    let against = |threads: u32| {
        let name = format!("{name}_{threads}_ms");
        times(store.ratio(COLUMNAR.name, COLUMNS, DUCKDB, &name))
    };
    if let (Some(both), Some(two)) = (against(2), ms(took(DUCKDB, 2))) {
        text = format!("{text}, {both} the time of DuckDB, {two}");
    }
    text = format!("{text}); with one thread {}", format::ms(one));
    if let (Some(both), Some(one)) = (against(1), ms(took(DUCKDB, 1))) {
        text = format!("{text} ({both} DuckDB's, {one})");
    }
    Some(text)
}

fn cold(store: &Store, name: &str) -> Option<String> {
    let took = |variant: &str| ms(get(store, variant, &format!("{name}_cold_ms")));
    let mut text = format!("rows {}, column store {}", took(HEAP)?, took(COLUMNS)?);
    if let Some(duckdb) = took(DUCKDB) {
        text = format!("{text}, DuckDB {duckdb}");
    }
    Some(text)
}

fn process(store: &Store) -> Option<String> {
    let took = |name: &str| ms(get(store, COLUMNS, &format!("{name}_process_ms")));
    Some(format!("{}; {}", took("hourly")?, took("category_all")?))
}

fn space(store: &Store) -> Option<String> {
    let files = get(store, COLUMNS, "bytes")?;
    let (heap, all) = (get(store, HEAP, "heap_bytes")?, get(store, HEAP, "bytes")?);
    Some(format!(
        "{} rows: files {}, a table of {} ({:.0} %), {} with its indexes ({:.1} %)",
        format::count(get(store, HEAP, "rows")?),
        format::bytes(files),
        format::bytes(heap),
        100.0 * files / heap,
        format::bytes(all),
        100.0 * files / all
    ))
}

fn upkeep(store: &Store) -> Option<String> {
    let get = |name: &str| get(store, UPKEEP, name);
    Some(format!(
        "{} if all are of one day, {} if they are of the whole history ({} rows written); {} after {} orders that were completed in \
         one hour; the first sync {}",
        ms(get("day_ms"))?,
        ms(get("history_ms"))?,
        format::count(get("history_rows")?),
        ms(get("minute_ms"))?,
        format::count(get("minute_orders")?),
        ms(of(store, COLUMNAR.name, COLUMNS, "first_sync_ms"))?,
    ))
}

fn beside(store: &Store) -> Option<String> {
    let p99 = |variant: &str| ms(get(store, variant, "oltp_ms_p99"));
    Some(format!(
        "OLTP P99 {} with it, {} without ({}); {:.0} files written",
        p99(BESIDE)?,
        p99(ALONE)?,
        times(store.ratio(COLUMNAR.name, BESIDE, ALONE, "oltp_ms_p99"))?,
        get(store, BESIDE, "files_written")?
    ))
}
