//! Order creation: round trips, strategies, skew.

use super::closed::{Shopper, closed};
use super::{BenchError, Experiment, Figures, Lab};
use crate::pg::Settings;
use crate::pg::pool::{Pool, PoolSize};
use crate::system::orders::{Commit, Orders, Strategy};
use crate::system::pools::OLTP_ROLE;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// Opens a pool of sessions for this number of clients.
pub(super) async fn pool(lab: &Lab, clients: usize) -> Result<Pool, BenchError> {
    let size = PoolSize {
        min: clients,
        max: clients,
        wait: Duration::from_secs(60),
    };
    // Waits for locks are measured, not cut off.
    let settings = Settings::of_application()
        .with("lock_timeout", "0")
        .with("statement_timeout", "0");
    let pool = Pool::new(lab.target().with_user(OLTP_ROLE), settings, size);
    pool.warm().await.map_err(|error| BenchError::Program {
        program: "the clients' sessions".to_owned(),
        detail: error.to_string(),
    })?;
    Ok(pool)
}

const CLIENTS: usize = 16;

/// Skew of the capacity runs: popular products, but no queue for any of them.
const MILD: f64 = 0.5;

/// The experiment `orders`.
pub(super) const ORDERS: Experiment = Experiment {
    name: "orders",
    about: "creating orders, 16 clients in a closed loop",
    section: "4.1",
    variants: &[
        "round trips, synchronous",
        "function, synchronous",
        "pipelined, synchronous",
        "group, synchronous",
        "pgbench function, synchronous",
        "round trips, asynchronous",
        "function, asynchronous",
        "pipelined, asynchronous",
        "group, asynchronous",
        "pgbench function, asynchronous",
    ],
    run: |lab, variant| Box::pin(create(lab, variant)),
};

async fn create(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let commit = if variant.ends_with("asynchronous") {
        Commit::Asynchronous
    } else {
        Commit::Synchronous
    };
    let strategy = match variant.split(',').next() {
        Some("round trips") => Strategy::RoundTrips,
        Some("function") => Strategy::Function,
        Some("pipelined") => Strategy::Pipelined,
        Some("group") => Strategy::GroupCommit,
        Some("pgbench function") => return pgbench(lab, commit).await,
        _ => return Err(BenchError::Variant(variant.to_owned())),
    };
    // A group collects the orders of several clients.
    let clients = match strategy {
        Strategy::GroupCommit => CLIENTS * 4,
        _ => CLIENTS,
    };
    run(lab, strategy, commit, clients, MILD).await
}

/// The experiment `skew`.
pub(super) const SKEW: Experiment = Experiment {
    name: "skew",
    about: "deadlocks while 32 clients create orders, products by Zipf 1.1",
    section: "4.1",
    variants: &["round trips", "function"],
    run: |lab, variant| Box::pin(skew(lab, variant)),
};

async fn skew(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let strategy = match variant {
        "round trips" => Strategy::RoundTrips,
        "function" => Strategy::Function,
        _ => return Err(BenchError::Variant(variant.to_owned())),
    };
    run(lab, strategy, Commit::Asynchronous, 32, 1.1).await
}

async fn run(
    lab: &Lab,
    strategy: Strategy,
    commit: Commit,
    clients: usize,
    skew: f64,
) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let shopper = Shopper::of(lab, skew).await?;
    let pool = pool(lab, CLIENTS.max(clients.min(32))).await?;
    let orders = Arc::new(Orders::new(pool, strategy));
    let (wal, deadlocks, created) = before(lab).await?;
    let meter = lab.meter();
    let did = closed(clients, lab.window, move |_| {
        let (orders, order) = (Arc::clone(&orders), shopper.order());
        async move { orders.create(&order, commit).await.is_ok() }
    })
    .await;
    let mut figures = did.figures("orders_per_s");
    Lab::used(&mut figures, meter.stop());
    after(lab, &mut figures, wal, deadlocks, created).await?;
    Ok(figures)
}

const DEADLOCKS: &str =
    "SELECT deadlocks::float8 FROM pg_stat_database WHERE datname = current_database()";
const CREATED: &str = "SELECT last_value::float8 FROM shop.order_counter";

async fn before(lab: &Lab) -> Result<(f64, f64, f64), BenchError> {
    Ok((
        lab.wal_bytes().await?,
        lab.number(DEADLOCKS).await?,
        lab.number(CREATED).await?,
    ))
}

async fn after(
    lab: &Lab,
    figures: &mut Figures,
    wal: f64,
    deadlocks: f64,
    created: f64,
) -> Result<(), BenchError> {
    let orders = (lab.number(CREATED).await? - created).max(1.0);
    let wal = (lab.wal_bytes().await? - wal) / orders;
    // Sessions report their counts within a second of their last work.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let deadlocks = lab.number(DEADLOCKS).await? - deadlocks;
    figures.insert("wal_bytes_per_order".into(), wal.round());
    figures.insert("deadlocks".into(), deadlocks);
    Ok(())
}

/// Calls the same function by pgbench with as many clients: the throughput for a client written in C.
async fn pgbench(lab: &Lab, commit: Commit) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let shopper = Shopper::of(lab, MILD).await?;
    let script = tempfile::Builder::new()
        .suffix(".sql")
        .tempfile()
        .map_err(|error| program("pgbench", &error))?;
    std::fs::write(script.path(), shopper.pgbench_script())
        .map_err(|error| program("pgbench", &error))?;
    let (wal, deadlocks, created) = before(lab).await?;
    let meter = lab.meter();
    let seconds = (lab.window.as_secs_f64() * 1.1).ceil().max(1.0);
    let output = tokio::process::Command::new(lab.program("pgbench"))
        .args([
            "-n",
            "-M",
            "prepared",
            "-j",
            "2",
            "-c",
            &CLIENTS.to_string(),
        ])
        .args(["-T", &seconds.to_string(), "-f"])
        .arg(script.path())
        .arg(lab.target().with_user(OLTP_ROLE).to_conninfo())
        .env(
            "PGOPTIONS",
            match commit {
                Commit::Asynchronous => {
                    "-c synchronous_commit=off -c lock_timeout=0 -c statement_timeout=0"
                }
                Commit::Synchronous => "-c lock_timeout=0 -c statement_timeout=0",
            },
        )
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| program("pgbench", &error))?;
    let used = meter.stop();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(label))?;
        line.trim().split(' ').next()?.parse::<f64>().ok()
    };
    let (Some(rate), Some(latency)) = (number("tps = "), number("latency average = ")) else {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(program(
            "pgbench",
            &why.lines().last().unwrap_or("no result"),
        ));
    };
    let mut figures = super::figures::figures([
        ("orders_per_s", rate),
        ("latency_ms_mean", latency),
        ("failed", 0.0),
    ]);
    Lab::used(&mut figures, used);
    after(lab, &mut figures, wal, deadlocks, created).await?;
    Ok(figures)
}

fn program(name: &str, detail: &dyn std::fmt::Display) -> BenchError {
    BenchError::Program {
        program: name.to_owned(),
        detail: detail.to_string(),
    }
}
