//! Compares reports on the primary with reports on a streaming replica, and measures reads of own writes there.

use super::figures::{Figures, figures};
use super::{BenchError, Experiment, Lab, mixed, snapshot};
use crate::cluster::{Cluster, ClusterOptions, SUPERUSER};
use crate::pg::{Client, PgError, Settings, Target};
use crate::router::catalogue::Catalogue;
use crate::router::executor::{Executor, Fallback};
use crate::router::{Node, Router};
use crate::system::nodes::Nodes;
use crate::system::orders::Commit;
use crate::system::pools::{Limits, OLAP_ROLE};
use crate::workload::Options;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The experiment `replica`.
pub(super) const REPLICA: Experiment = Experiment {
    name: "replica",
    about: "1,000 transactions/s with reports and a reader of long snapshots on either server, and reads of own writes",
    section: "8.1",
    variants: &[
        "on the primary",
        "on the replica, feedback off",
        "on the replica, feedback on",
        OWN_WRITES_SYNCHRONOUS,
        OWN_WRITES_ASYNCHRONOUS,
    ],
    run: |lab, variant| Box::pin(replica(lab, variant)),
};

pub(super) const OWN_WRITES_SYNCHRONOUS: &str = "own writes, synchronous";
pub(super) const OWN_WRITES_ASYNCHRONOUS: &str = "own writes, asynchronous";

/// Length of a run in windows: the number of dead rows that a snapshot keeps grows with time.
const WINDOWS: u32 = 3;
/// Duration of a long snapshot.
const HELD: Duration = Duration::from_secs(6);
/// Time that replay waits for a query that still needs removed rows before it cancels the query. Shorter than a snapshot,
/// as PostgreSQL's default of 30 s is shorter than a long report.
const STANDBY_DELAY: &str = "1s";
/// Counts the dead rows that the last VACUUM had to leave, and those since.
const DEAD: &str =
    "SELECT n_dead_tup::float8 FROM pg_stat_user_tables WHERE relid = 'shop.inventory'::regclass";
/// Number of clients that write and read.
const CLIENTS: usize = 8;

async fn replica(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    if variant == "on the primary" {
        return loaded(lab, None).await;
    }
    let replica = build(lab, variant.ends_with("feedback on")).await?;
    let target = replica.target(lab.target().dbname(), SUPERUSER);
    let figures = match variant {
        OWN_WRITES_SYNCHRONOUS => own_writes(lab, &target, Commit::Synchronous).await,
        OWN_WRITES_ASYNCHRONOUS => own_writes(lab, &target, Commit::Asynchronous).await,
        _ => loaded(lab, Some(&target)).await,
    };
    let stopped = tokio::task::spawn_blocking(move || replica.stop());
    stopped.await.map_err(BenchError::task("pg_ctl"))??;
    figures
}

/// Starts a replica, which has replayed everything that was written before.
async fn build(lab: &Lab, feedback: bool) -> Result<Cluster, BenchError> {
    let origin = lab.as_origin(feedback);
    let options = ClusterOptions {
        socket_port: Some(origin.port + 1),
        settings: [
            ("max_standby_streaming_delay", STANDBY_DELAY),
            // With the default of 10 s a new snapshot is not reported for so long, and cancelled meanwhile.
            ("wal_receiver_status_interval", "1s"),
            ("shared_buffers", "1GB"),
            // As on the primary, whose value is the least that a replica accepts.
            ("max_connections", "200"),
            ("max_worker_processes", "16"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..ClusterOptions::default()
    };
    let binaries = lab.binaries().clone();
    let built = tokio::task::spawn_blocking(move || Cluster::standby(&binaries, &origin, &options));
    Ok(built.await.map_err(BenchError::task("initdb"))??)
}

/// Measures the load with reports, and a reader of long snapshots, on the replica if there is one.
async fn loaded(lab: &Lab, replica: Option<&Target>) -> Result<Figures, BenchError> {
    snapshot::lay_down_stock(lab).await?;
    let bytes = "SELECT pg_relation_size('shop.inventory')::float8";
    let before = lab.number(bytes).await?;
    let _keeper = mixed::keeper(lab.target(), Duration::from_secs(1));
    let _vacuum = mixed::repeat(
        lab.target(),
        &["VACUUM shop.inventory", "SELECT pg_sleep(1)"],
    );
    let reads = Arc::new(Reads::default());
    let mut reader = JoinSet::new();
    let server = replica.unwrap_or(lab.target()).clone();
    reader.spawn(read_long(server, Arc::clone(&reads)));
    let options = Options {
        replica: replica.cloned(),
        oltp_per_s: 1_000.0,
        olap_per_s: 20.0,
        duration: lab.window * WINDOWS,
        ..mixed::base(lab)
    };
    let mut load = Box::pin(mixed::load(lab, &options));
    let mut dead = 0.0_f64;
    let mut figures = loop {
        let later = async {
            sleep(Duration::from_millis(500)).await;
            lab.number(DEAD).await
        };
        tokio::select! {
            figures = &mut load => break figures?,
            now = later => dead = dead.max(now?),
        }
    };
    figures.insert("inventory_dead_max".into(), dead);
    let done = reads.done.load(Ordering::Relaxed) as f64;
    figures.insert("long_reads".into(), done);
    let cancelled = reads.cancelled.load(Ordering::Relaxed) as f64;
    figures.insert("long_reads_cancelled".into(), cancelled);
    figures.insert("inventory_growth".into(), lab.number(bytes).await? / before);
    Ok(figures)
}

/// Outcomes of long reads.
#[derive(Debug, Default)]
struct Reads {
    done: AtomicU64,
    cancelled: AtomicU64,
}

/// Reads the stock at the beginning and at the end of a long snapshot, again and again.
async fn read_long(target: Target, reads: Arc<Reads>) {
    let target = target
        .with_user(OLAP_ROLE)
        .with_application_name("htap-top bench long reads");
    loop {
        let outcome = read_once(&target).await;
        let counter = if outcome.is_ok() {
            &reads.done
        } else {
            &reads.cancelled
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

async fn read_once(target: &Target) -> Result<(), PgError> {
    let count = "SELECT count(*) FROM shop.inventory WHERE quantity > 0";
    let client = Client::open(target, &Settings::of_work(Duration::ZERO)).await?;
    client
        .batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {count}"))
        .await?;
    let held = HELD.as_secs_f64();
    client
        .batch(&format!("SELECT pg_sleep({held}); {count}; COMMIT"))
        .await
}

/// Counts of clients who write and read.
#[derive(Clone, Copy, Debug, Default)]
struct Trials {
    all: u64,
    stale: u64,
    failed: u64,
    on_replica: u64,
}

/// Writes and reads back through the router, with [`CLIENTS`] clients in a closed loop.
async fn own_writes(lab: &Lab, replica: &Target, commit: Commit) -> Result<Figures, BenchError> {
    let reader = lab
        .target()
        .with_user(OLAP_ROLE)
        .with_application_name("htap-router");
    let nodes = Nodes::new(lab.target(), Some(replica), Limits::default());
    let executor = Arc::new(Executor::new(Router::new(Catalogue::new(reader)), nodes));
    executor.ready().await;
    let meter = lab.meter();
    let end = Instant::now() + lab.window * WINDOWS;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let executor = Arc::clone(&executor);
        clients.spawn(async move {
            let mut sum = Trials::default();
            while Instant::now() < end {
                write_and_read(&executor, commit, &mut sum).await;
            }
            sum
        });
    }
    let mut sum = Trials::default();
    for one in clients.join_all().await {
        sum.all += one.all;
        sum.stale += one.stale;
        sum.failed += one.failed;
        sum.on_replica += one.on_replica;
    }
    let counts = executor.counts();
    let late = counts.fallbacks.get(&Fallback::NotCaughtUp);
    let share = |count: u64| 100.0 * count as f64 / sum.all.max(1) as f64;
    let mut figures = figures([
        ("trials", sum.all as f64),
        ("stale", sum.stale as f64),
        ("failed", sum.failed as f64),
        ("on_replica_pct", share(sum.on_replica)),
        ("not_caught_up_pct", share(late.copied().unwrap_or(0))),
        ("waited_pct", share(counts.waits.waits)),
        ("wait_ms_p50", counts.waits.wait_ms_p50),
        ("wait_ms_p99", counts.waits.wait_ms_p99),
    ]);
    Lab::used(&mut figures, meter.stop());
    Ok(figures)
}

async fn write_and_read(executor: &Executor<Nodes>, commit: Commit, sum: &mut Trials) {
    const WRITE: &str = "INSERT INTO htap.heartbeat DEFAULT VALUES \
                         RETURNING seq, pg_catalog.set_config('synchronous_commit', $1, true)";
    const READ: &str = "SELECT max(seq) AS seq FROM htap.heartbeat";
    sum.all += 1;
    let mut client = executor.conversation();
    let written = client.run(WRITE, &[commit.param()]).await;
    let read = client.run(READ, &[]).await;
    let (Ok(written), Ok(read)) = (written, read) else {
        sum.failed += 1;
        // A server that refuses everything is not asked all the time.
        sleep(Duration::from_millis(10)).await;
        return;
    };
    let seq = |table: &crate::pg::Table| table.first("seq").number().unwrap_or(0.0);
    sum.stale += u64::from(seq(&read.table) < seq(&written.table));
    sum.on_replica += u64::from(read.decision.node == Node::Replica);
}
