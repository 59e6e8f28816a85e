//! What it costs to keep the files: rounds of the sync after changes, and the shop's latency beside it.

use super::super::figures::Figures;
use super::super::process::Process;
use super::super::stream::load::{Completer, LEAD};
use super::super::{BenchError, Lab, mixed};
use super::asked::Asked;
use super::failed;
use super::files::{Store, round};
use crate::workload::Options;
use std::time::Duration;
use tokio::time::sleep;

/// Orders that are changed before a round.
const CHANGES: u32 = 1_000;
/// Orders that are completed per second.
const RATE: f64 = 1_000.0;
/// The load of the shop beside them.
const SHOP_PER_S: f64 = 500.0;
/// Time between two corrections in an hour that is over.
const CORRECTION: Duration = Duration::from_secs(2);

/// Seconds of completed orders that an hour gets: a minute, or less if measurements are short.
fn seconds(lab: &Lab) -> f64 {
    (6.0 * lab.window.as_secs_f64()).min(60.0)
}

/// Sells in the last hour that is over.
async fn sell(lab: &Lab, asked: &Asked) -> Result<f64, BenchError> {
    let seconds = seconds(lab);
    let orders = (RATE * seconds).round();
    lab.batch(&format!(
        "SELECT bench.sell({orders}::bigint, timestamptz '{}' - interval '1 hour', {seconds})",
        asked.end
    ))
    .await?;
    Ok(orders)
}

/// Rounds after 1,000 corrected orders, all of the last day or of the whole history, and after a minute's orders.
pub(super) async fn upkeep(lab: &Lab, asked: &Asked) -> Result<Figures, BenchError> {
    let mut figures = Figures::new();
    let correct = |days: u32| {
        let end = &asked.end;
        format!(
            "SELECT bench.correct({CHANGES}, timestamptz '{end}' - interval '{days} days', '{end}')"
        )
    };
    for (name, change) in [
        ("day", Some(correct(1))),
        ("history", Some(correct(10_000))),
        ("minute", None),
    ] {
        // The changes are merged without the session of the sync: to merge ends all others.
        match change {
            Some(sql) => lab.batch(&sql).await?,
            None => _ = figures.insert("minute_orders".to_owned(), sell(lab, asked).await?),
        }
        let mut store = Store::begin(lab, asked).await?;
        lab.merge().await?;
        let (ms, done) = round(&mut store.sync).await?;
        if done.written == 0 {
            return Err(failed("columnar sync")("it found no change"));
        }
        figures.insert(format!("{name}_ms"), ms);
        figures.insert(format!("{name}_files"), done.written as f64);
        figures.insert(format!("{name}_rows"), done.rows as f64);
    }
    Ok(figures)
}

/// The latency of 500 transactions/s beside 1,000 completed orders/s, which a refresh keeps within a second. An hour that is over has a
/// minute's orders and gets a correction every other second: with the sync, its file is written again.
pub(super) async fn beside(lab: &Lab, asked: &Asked, synced: bool) -> Result<Figures, BenchError> {
    lab.batch(include_str!("../../../queries/bench/stream.sql"))
        .await?;
    let options = Options {
        oltp_per_s: SHOP_PER_S,
        olap_per_s: 0.0,
        ..mixed::base(lab)
    };
    let seconds = (options.warm_up + options.duration + LEAD).as_secs_f64();
    sell(lab, asked).await?;
    lab.merge().await?;
    Completer::prepare(lab, RATE * seconds, seconds).await?;
    let mut sync = None;
    if synced {
        // Of the first files nothing is measured; the process goes on with them.
        let Store {
            folder, sync: own, ..
        } = Store::begin(lab, asked).await?;
        drop(own);
        let (target, path) = (
            lab.target().to_conninfo(),
            folder.path().to_string_lossy().into_owned(),
        );
        let arguments = [
            "columnar", "sync", "-d", &target, "--folder", &path, "--fresh", "1s", "--settle", "0s",
        ];
        sync = Some((Process::start(&arguments).await?, folder));
    }
    let files = "SELECT coalesce(max(file_id), 0)::float8 FROM htap.column_file";
    let _keeper = mixed::keeper(lab.target(), Duration::from_secs(1));
    let completer = Completer::start(lab, RATE).await?;
    let written = lab.number(files).await?;
    let corrections = async {
        let end = &asked.end;
        let sql =
            format!("SELECT bench.correct(1, timestamptz '{end}' - interval '1 hour', '{end}')");
        loop {
            sleep(CORRECTION).await;
            if let Err(error) = lab.batch(&sql).await {
                return error;
            }
        }
    };
    let measured = tokio::select! {
        measured = mixed::load(lab, &options) => measured,
        error = corrections => Err(error),
    };
    let written = lab.number(files).await? - written;
    let rate = completer.stop().await;
    let mut figures = measured?;
    figures.insert("completed_per_s".into(), rate.round());
    if let Some((process, _folder)) = sync {
        process.kill();
        figures.insert("files_written".into(), written);
    }
    Ok(figures)
}
