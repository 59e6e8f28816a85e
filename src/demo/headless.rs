//! The demo without a screen: starts, fills and loads the server, and always removes it at the end.

use super::replica::{self, Replica};
use super::report::{Ready, Report, Socket};
use super::stop::Stop;
use super::stream::{self, Stream};
use super::{DBNAME, blocking};
use crate::cluster::binaries::{fetch, locate};
use crate::cluster::{Cluster, ClusterError, ClusterOptions, SUPERUSER, Wanted, sweep};
use crate::pg::{Client, Target, quote_literal};
use crate::system::{fill, schema};
use crate::workload::troubles::SCHEDULE;
use crate::workload::{self, Load};
use rand::RngExt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Options of a demo.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Folder of the server programs.
    pub pg_bindir: Option<PathBuf>,
    /// Major version of the server.
    pub pg_major: Option<u16>,
    /// True for a load without the troubles of [`crate::workload::troubles::SCHEDULE`].
    pub calm: bool,
    /// Port of the loopback address on which to listen in addition to the socket.
    pub listen: Option<u16>,
    /// Number of orders in the history.
    pub orders: u64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// OLTP transactions per second.
    pub rate: f64,
    /// The streaming replica beside the server, if one is wanted.
    pub replica: Option<Replica>,
    /// True for the stream through Kafka.
    pub stream: bool,
    /// True to end at the end of standard input, and to write JSON lines.
    pub lifeline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pg_bindir: None,
            pg_major: None,
            calm: false,
            listen: None,
            orders: 100_000,
            seed: 1,
            rate: 150.0,
            replica: None,
            stream: false,
            lifeline: false,
        }
    }
}

/// Runs a demo until SIGTERM, SIGINT or SIGHUP, or with `lifeline` until the end of standard input; then removes
/// everything. Progress is written to `out`. Needs a tokio runtime with I/O and time.
pub(crate) async fn run(options: Options, out: &mut impl Write) -> Result<(), ClusterError> {
    let mut stop = Stop::new(options.lifeline)?;
    let mut report = Report::new(out, options.lifeline);
    let outcome = serve(&options, &mut stop, &mut report).await;
    if let Err(error) = &outcome {
        report.error(error);
    }
    outcome
}

async fn serve<W: Write>(
    options: &Options,
    stop: &mut Stop,
    report: &mut Report<'_, W>,
) -> Result<(), ClusterError> {
    report.progress(0.0, "looking for PostgreSQL");
    let wanted = Wanted {
        bindir: options.pg_bindir.clone(),
        major: options.pg_major,
    };
    let found = blocking({
        let wanted = wanted.clone();
        move || {
            sweep();
            Ok(locate(&wanted)?.or_else(|| fetch::fetched(wanted.major)))
        }
    })
    .await?;
    let binaries = if let Some(binaries) = found {
        binaries
    } else {
        report.progress(0.01, &fetch::describe(options.pg_major));
        blocking(move || fetch::fetch(wanted.major)).await?
    };
    let planned = if options.stream && !stop.requested() {
        Some(stream::plan(report).await)
    } else {
        None
    };
    if stop.requested() {
        return Ok(());
    }
    report.progress(0.05, &format!("starting PostgreSQL {}", binaries.major));
    let cluster_options = ClusterOptions {
        listen_port: options.listen,
        settings: options
            .replica
            .map_or_else(Vec::new, |_| replica::of_primary()),
        ..ClusterOptions::default()
    };
    // Neither is interrupted: they take about 2 s, and what they start must be stopped.
    let (cluster, mut stream) = tokio::join!(
        blocking(move || Cluster::start(&binaries, &cluster_options)),
        async {
            match planned {
                Some(plan) => Some(Stream::start(plan).await),
                None => None,
            }
        }
    );
    let outcome = match &cluster {
        Ok(cluster) => with_cluster(cluster, &mut stream, options, stop, report).await,
        Err(_) => Ok(()),
    };
    report.progress(1.0, "clearing up");
    let (cleared, streamed) = tokio::join!(
        async {
            let cluster = cluster?;
            blocking(move || cluster.stop()).await
        },
        async {
            match stream {
                Some(stream) => stream.stop().await,
                None => Ok(()),
            }
        }
    );
    outcome.and(cleared).and(streamed)
}

async fn with_cluster<W: Write>(
    cluster: &Cluster,
    stream: &mut Option<Stream>,
    options: &Options,
    stop: &mut Stop,
    report: &mut Report<'_, W>,
) -> Result<(), ClusterError> {
    let target = cluster.target(DBNAME, SUPERUSER);
    let preparing = async {
        let streaming = async {
            if let Some(stream) = stream.as_mut() {
                stream.ready().await;
            }
        };
        let preparing = async {
            let prepared = prepare(cluster, &target, options, report).await;
            if options.stream {
                report.progress(0.98, "waiting for the broker of the stream");
            }
            prepared
        };
        tokio::join!(preparing, streaming).0
    };
    let mut prepared = tokio::select! {
        prepared = preparing => prepared?,
        () = stop.wait() => return Ok(()),
    };
    let Some(wanted) = options.replica else {
        let load = load(options, None);
        return under_load(cluster, stream, load, stop, report, prepared).await;
    };
    report.progress(0.98, "copying the server to a replica");
    // Not interrupted: it takes about 2 s, and what it starts must be stopped.
    let replica = replica::build(cluster, wanted).await?;
    prepared.replica = Some(Socket {
        host: replica.socket_dir().display().to_string(),
        port: replica.port(),
    });
    let outcome = if stop.requested() {
        Ok(())
    } else {
        let load = load(options, Some(replica.target(DBNAME, SUPERUSER)));
        under_load(cluster, stream, load, stop, report, prepared).await
    };
    report.progress(1.0, "stopping the replica");
    outcome.and(blocking(move || replica.stop()).await)
}

/// The load of the shop; the router sends its reads to `replica`, if there is one.
fn load(options: &Options, replica: Option<Target>) -> Load {
    Load {
        rate: options.rate,
        troubles: !options.calm,
        seed: options.seed,
        replica,
        ..Load::default()
    }
}

/// Runs the load, and the stream if there is one, until an end is requested.
async fn under_load<W: Write>(
    cluster: &Cluster,
    stream: &mut Option<Stream>,
    load: Load,
    stop: &mut Stop,
    report: &mut Report<'_, W>,
    mut ready: Ready,
) -> Result<(), ClusterError> {
    if let Some(stream) = stream {
        stream.run(cluster).await;
        ready.stream = Some(stream.told());
    }
    let schedule = if load.troubles { SCHEDULE } else { "" };
    let load = workload::start(&cluster.target(DBNAME, SUPERUSER), load);
    report.ready(&ready, schedule);
    let gone = server_gone(cluster);
    tokio::pin!(gone);
    let outcome = loop {
        tokio::select! {
            () = stop.wait() => break Ok(()),
            gone = &mut gone => break Err(gone),
            why = broken(stream) => report.note(&why),
        }
    };
    load.stop().await;
    outcome
}

/// Waits until a part of the stream ends by itself.
async fn broken(stream: &mut Option<Stream>) -> String {
    match stream {
        Some(stream) => stream.broken().await,
        None => std::future::pending().await,
    }
}

/// Returns after the server was down for several seconds in a row, longer than a manual restart takes.
async fn server_gone(cluster: &Cluster) -> ClusterError {
    let mut misses = 0;
    while misses < 5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        misses = if cluster.is_up() { 0 } else { misses + 1 };
    }
    ClusterError::Program {
        program: "postgres".to_owned(),
        detail: "the demo's server is gone".to_owned(),
    }
}

/// Freshness targets that match the intervals at which the demo refreshes its materialized views.
const FRESHNESS: &str = "
    UPDATE htap.view_def SET freshness = w.freshness
    FROM (VALUES ('mart.sales_hourly_mv', interval '6 seconds'), ('mart.user_behavior_mv', '45 seconds'),
                 ('mart.fact_sales_mv', '90 seconds'), ('mart.daily_sales_summary', '90 seconds')) AS w (view, freshness)
    WHERE view_def.view = w.view";

/// Creates the schema and the data, and runs the first refresh. Returns the connection parameters.
async fn prepare<W: Write>(
    cluster: &Cluster,
    target: &Target,
    options: &Options,
    report: &mut Report<'_, W>,
) -> Result<Ready, ClusterError> {
    report.progress(0.15, "creating the schema");
    let admin = Client::connect(&target.with_dbname("postgres"))
        .await
        .map_err(ClusterError::server("connect to the demo's server"))?;
    admin
        .batch(&format!("CREATE DATABASE {DBNAME}"))
        .await
        .map_err(ClusterError::server("create the demo's database"))?;
    let client = Client::connect(target)
        .await
        .map_err(ClusterError::server("connect to the demo's database"))?;
    let create = ClusterError::server("create the schema");
    schema::create(&client).await.map_err(create)?;
    let create = ClusterError::server("create extensions");
    schema::extensions(&client).await.map_err(create)?;
    let password = passwords(&client, options).await?;
    let what = fill::Fill {
        orders: options.orders,
        seed: options.seed,
        end_ms: now_ms(),
    };
    fill::fill(target, what, |share, doing| {
        report.progress(0.2 + 0.5 * share, doing);
    })
    .await
    .map_err(ClusterError::server("fill the shop"))?;
    client
        .batch(FRESHNESS)
        .await
        .map_err(ClusterError::server("say how fresh views should be"))?;
    schema::fill_all(&client, |share, view| {
        report.progress(0.7 + 0.28 * share, &format!("filling {view}"));
    })
    .await
    .map_err(ClusterError::server("fill the summaries"))?;
    Ok(Ready {
        host: cluster.socket_dir().display().to_string(),
        port: cluster.port(),
        dbname: DBNAME,
        user: "htap_monitor",
        olap_user: "htap_olap",
        major: cluster.major(),
        listen: options.listen,
        password,
        replica: None,
        stream: None,
    })
}

/// Sets a random password if the server listens on TCP, which requires one; the private socket does not.
async fn passwords(client: &Client, options: &Options) -> Result<Option<String>, ClusterError> {
    if options.listen.is_none() {
        return Ok(None);
    }
    let password = format!("{:032x}", rand::rng().random::<u128>());
    for role in ["htap_monitor", "htap_olap", "htap_oltp"] {
        let sql = format!("ALTER ROLE {role} PASSWORD {}", quote_literal(&password));
        client
            .batch(&sql)
            .await
            .map_err(ClusterError::server("set a password"))?;
    }
    Ok(Some(password))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the generated history ends at the present time, which is read here"
)]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
