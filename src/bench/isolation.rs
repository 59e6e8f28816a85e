//! Reports beside transactions on a full machine, with each way to keep reports off the transactions' processors.

use super::figures::Figures;
use super::hogs::Hogs;
use super::{BenchError, Experiment, Lab, mixed};
use crate::dashboard::panels::classify::Classifier;
use crate::isolate::{IsolateError, Note, Plan, Report, Wanted, Wish};
use crate::system::pools::OLAP_ROLE;
use crate::workload::{Options, Source};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// OLAP's share of the processors in the variants that set one.
const SHARE: &str = "25%";
/// Parallel workers of each report, unless the variant forbids them.
const WORKERS: u32 = 4;
/// Time in which `isolate` measures and corrects the share before anything counts, unless the window is shorter than
/// half of it.
const SETTLING: Duration = Duration::from_secs(8);

/// Time between two readings of OLAP's processor time: a load may end before its measurement, on a busy machine.
const READING: Duration = Duration::from_millis(100);

/// The experiment `isolation`.
pub(super) const ISOLATION: Experiment = Experiment {
    name: "isolation",
    about: "500 transactions/s beside reports on base tables, 4 at once with 4 workers each, and a busy process per processor",
    section: "3.3",
    variants: &[
        "none",
        "admission of one",
        "no parallel workers",
        "renice 19",
        "autogroup 25%",
        "cgroup weight 25%",
        "cgroup quota 25%",
        "without OLAP",
    ],
    run: |lab, variant| Box::pin(isolation(lab, variant)),
};

fn load(lab: &Lab, variant: &str) -> Options {
    let several = 4;
    Options {
        oltp_per_s: 500.0,
        // More than can be answered.
        olap_per_s: if variant == "without OLAP" {
            0.0
        } else {
            100.0
        },
        olap_clients: several,
        olap_running: if variant == "admission of one" {
            1
        } else {
            several
        },
        reports: Source::Base,
        warm_up: SETTLING.min(lab.window * 2),
        ..mixed::base(lab)
    }
}

async fn isolation(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let workers = match variant {
        "no parallel workers" => 0,
        _ => WORKERS,
    };
    // Otherwise the planner would start fewer, depending on the size of the history.
    for (name, value) in [
        ("max_parallel_workers_per_gather", workers),
        ("min_parallel_table_scan_size", 0),
        ("parallel_setup_cost", 0),
        ("parallel_tuple_cost", 0),
    ] {
        let alter = format!(
            "ALTER ROLE {OLAP_ROLE} IN DATABASE {} SET",
            lab.target().dbname()
        );
        lab.batch(&format!("{alter} {name} = {value}")).await?;
    }
    let hogs = Hogs::start()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let measured = async {
        let figures = measure(lab, &load(lab, variant), &hogs).await;
        drop(stop);
        figures
    };
    let beside = beside(lab, variant, stopped);
    let (figures, beside) = tokio::join!(Box::pin(measured), Box::pin(beside));
    beside?;
    figures
}

/// Runs the load and adds the processors that OLAP and the hogs got in the measured time.
async fn measure(lab: &Lab, options: &Options, hogs: &Hogs) -> Result<Figures, BenchError> {
    let cores = async {
        // The load connects first.
        let connecting = Duration::from_secs(1).min(options.duration / 3);
        sleep(options.warm_up + connecting).await;
        let mut meter = lab.olap_meter();
        let (olap, others, begun) = (meter.read()?, hogs.ticks(), Instant::now());
        let (mut now, end) = (olap, begun + options.duration.saturating_sub(connecting));
        while Instant::now() < end {
            sleep_until(end.min(Instant::now() + READING)).await;
            now = meter.read()?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        Some((
            super::meter::cores(olap, now, seconds)?,
            super::meter::cores(others, hogs.ticks(), seconds)?,
        ))
    };
    let (before, begun) = (hogs.ticks(), Instant::now());
    let (figures, cores) = tokio::join!(Box::pin(mixed::load(lab, options)), cores);
    let mut figures = figures?;
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(hogs) = super::meter::cores(before, hogs.ticks(), seconds)
        && let Some(others) = figures.get_mut("others_cpu")
    {
        *others = (*others - hogs).max(0.0);
    }
    if let Some((olap, hogs)) = cores {
        figures.insert("olap_cores".into(), olap);
        figures.insert("hog_cores".into(), hogs);
    }
    Ok(figures)
}

/// Runs what the variant adds to the load, until `stopped` resolves.
async fn beside(
    lab: &Lab,
    variant: &str,
    stopped: impl Future<Output = ()> + Send,
) -> Result<(), BenchError> {
    let wish = |mechanism, limit| wish(lab, mechanism, limit);
    match variant {
        "renice 19" => renice(lab, stopped).await,
        "autogroup 25%" => keep(lab, [wish(Wanted::Autogroup, false)?], stopped).await,
        "cgroup weight 25%" | "cgroup quota 25%" => {
            let limit = variant.contains("quota");
            let either = [wish(Wanted::Cgroup2, limit)?, wish(Wanted::Cgroup1, limit)?];
            keep(lab, either, stopped).await
        }
        _ => {
            stopped.await;
            Ok(())
        }
    }
}

fn wish(lab: &Lab, mechanism: Wanted, limit: bool) -> Result<Wish, BenchError> {
    let percent = |text: &str| text.parse().map_err(BenchError::Unavailable);
    Ok(Wish {
        // With a quota the weight is not what holds OLAP back.
        share: percent(if limit { "100%" } else { SHARE })?,
        limit: limit.then(|| percent(SHARE)).transpose()?,
        mechanism,
        cgroup2_root: None,
        classifier: Classifier::new(Vec::new(), Vec::new()),
        folder: lab.state_folder.join("isolate"),
    })
}

/// Reports to nobody: the figures show what it achieves.
struct Silent;

impl Report for Silent {
    fn say(&mut self, _: &str) {}

    fn note(&mut self, _: &Note<'_>) -> std::io::Result<()> {
        Ok(())
    }
}

/// Isolates OLAP by the first of these that this machine has, as `htap-top isolate` does.
async fn keep<const N: usize>(
    lab: &Lab,
    wishes: [Wish; N],
    stopped: impl Future<Output = ()> + Send,
) -> Result<(), BenchError> {
    let unavailable = |error: IsolateError| BenchError::Unavailable(error.to_string());
    let mut refused = Vec::new();
    for wish in wishes {
        match Plan::new(lab.target(), wish).await {
            Ok(plan) => {
                let kept = Box::pin(async { plan.carry_out(&mut Silent, stopped).await });
                return kept.await.map_err(unavailable);
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    Err(BenchError::Unavailable(refused.join("; ")))
}

/// Gives every OLAP process the lowest priority, as is often advised. If the scheduler groups processes by session,
/// this has no effect on anything but the process itself.
async fn renice(lab: &Lab, stopped: impl Future<Output = ()> + Send) -> Result<(), BenchError> {
    let sql = format!(
        "SELECT coalesce(string_agg(a.pid::text, ' '), '') AS pids FROM pg_stat_activity AS a
         LEFT JOIN pg_stat_activity AS l ON l.pid = a.leader_pid
         WHERE coalesce(l.usename, a.usename) = '{OLAP_ROLE}'"
    );
    let mut stopped = std::pin::pin!(stopped);
    while timeout(Duration::from_millis(200), &mut stopped)
        .await
        .is_err()
    {
        let found = lab.query(&sql).await?;
        let pids = found.first("pids").text().unwrap_or_default();
        if pids.is_empty() {
            continue;
        }
        let mut command = Command::new("renice");
        let command = command.args(["-n", "19", "-p"]).args(pids.split(' '));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        // A worker may have ended meanwhile, which is an error of the program.
        let ran = command.stderr(Stdio::null()).status().await;
        ran.map_err(|error| BenchError::Unavailable(format!("failed to run renice: {error}")))?;
    }
    Ok(())
}
