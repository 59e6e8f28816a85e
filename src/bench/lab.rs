//! The server on which everything is measured.

use super::meter::{Meter, RoleMeter, Use};
use super::{BenchError, Figures, Options};
use crate::cluster::binaries::{self, Binaries};
use crate::cluster::{Cluster, ClusterOptions, Origin, SUPERUSER};
use crate::pg::{Client, Settings, Table, Target};
use crate::system::generate::Shape;
use crate::system::init::{Load, Step, init};
use crate::system::pools::OLAP_ROLE;
use crate::system::refresh::{self, Kind, Mode, View};
use std::path::PathBuf;
use std::time::Duration;

/// A running server with a filled shop.
pub(super) struct Lab {
    cluster: Cluster,
    binaries: Binaries,
    admin: Client,
    target: Target,
    version: String,
    /// Duration of each measurement.
    pub window: Duration,
    /// Folder of this program's state.
    pub state_folder: PathBuf,
}

const DBNAME: &str = "bench";

/// Length of the history in days.
const DAYS: i64 = 180;

/// Settings of the measured server: the relevant ones of the case study's section 5.1, in proportion.
const SETTINGS: [(&str, &str); 16] = [
    // These statistics serve only a dashboard and cost time in every call.
    ("track_functions", "none"),
    ("track_io_timing", "off"),
    // Durability must be real in the measurements.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "2GB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "30min"),
    ("max_connections", "200"),
    ("maintenance_work_mem", "512MB"),
    ("max_worker_processes", "16"),
    ("max_parallel_workers", "8"),
    ("deadlock_timeout", "1s"),
    ("log_lock_waits", "off"),
    ("autovacuum_naptime", "10s"),
    // For a replica without a slot.
    ("wal_keep_size", "8GB"),
];

impl Lab {
    /// Creates the server and fills it.
    pub(super) async fn open(
        options: &Options,
        tell: &mut impl FnMut(&str),
    ) -> Result<Self, BenchError> {
        let wanted = options.binaries.clone();
        let started = tokio::task::spawn_blocking(move || {
            let binaries = binaries::find(&wanted)?;
            let options = ClusterOptions {
                settings: SETTINGS
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                ..ClusterOptions::default()
            };
            Cluster::start(&binaries, &options).map(|cluster| (cluster, binaries))
        });
        let (cluster, binaries) = started.await.map_err(BenchError::task("initdb"))??;
        Self::prepare(cluster, binaries, options, tell).await
    }

    /// Creates the schema, the data, and everything else that the experiments need.
    async fn prepare(
        cluster: Cluster,
        binaries: Binaries,
        options: &Options,
        tell: &mut impl FnMut(&str),
    ) -> Result<Self, BenchError> {
        let target = cluster
            .target(DBNAME, SUPERUSER)
            .with_application_name("htap-top bench");
        let doing = BenchError::doing;
        let first = Client::connect(&target.with_dbname("postgres"))
            .await
            .map_err(doing("connect"))?;
        first
            .batch(&format!("CREATE DATABASE {DBNAME}"))
            .await
            .map_err(doing("create the database"))?;
        let admin = Client::open(&target, &Settings::of_work(Duration::ZERO))
            .await
            .map_err(doing("connect"))?;
        let version = admin
            .query("SELECT current_setting('server_version') AS version", &[])
            .await
            .map_err(doing("ask for the version"))?;
        let load = Load {
            shape: Shape::of(options.orders, DAYS),
            seed: 1,
            jobs: 2,
        };
        let mut told = 0;
        let installed = init(&target, Some(load), |step| match step {
            Step::Doing(what) => tell(what),
            Step::Loading(at) => {
                let percent = 100 * at.loaded.orders / at.orders.max(1);
                if percent >= told + 10 {
                    told = percent;
                    tell(&format!("loading orders ({percent} %)"));
                }
            }
        });
        Box::pin(installed).await?;
        admin
            .batch(include_str!("../../queries/bench/setup.sql"))
            .await
            .map_err(doing("prepare the experiments"))?;
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            admin
                .batch(statement)
                .await
                .map_err(doing("vacuum the database"))?;
        }
        Ok(Self {
            version: version.first("version").text().unwrap_or("?").to_owned(),
            cluster,
            binaries,
            admin,
            target,
            window: options.window,
            state_folder: options.state_folder.clone(),
        })
    }

    /// Returns the connection target.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Returns server_version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Returns the path of a program that came with the server, or its name, to be found by PATH.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        let beside = self.binaries.bindir.join(name);
        if beside.exists() {
            beside
        } else {
            PathBuf::from(name)
        }
    }

    /// Returns the server as the origin of a replica, which needs no slot: the server keeps enough WAL.
    pub(super) fn as_origin(&self, feedback: bool) -> Origin {
        Origin {
            socket_dir: self.cluster.socket_dir().to_owned(),
            port: self.cluster.port(),
            slot: None,
            feedback,
        }
    }

    /// Returns the server programs.
    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Runs statements as a superuser.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), BenchError> {
        self.admin
            .batch(sql)
            .await
            .map_err(BenchError::doing(format!("run {}", short(sql))))
    }

    /// Runs a query as a superuser.
    pub(super) async fn query(&self, sql: &str) -> Result<Table, BenchError> {
        self.admin
            .query(sql, &[])
            .await
            .map_err(BenchError::doing(format!("ask {}", short(sql))))
    }

    /// Returns the plan from `EXPLAIN (FORMAT JSON …)`.
    pub(super) async fn explain(&self, sql: &str) -> Result<serde_json::Value, BenchError> {
        let table = self
            .admin
            .query_text(sql, 10)
            .await
            .map_err(BenchError::doing(format!("run {}", short(sql))))?;
        let cell = table.rows.first().and_then(|row| row.first());
        let text = cell.and_then(crate::pg::Value::text).unwrap_or("[]");
        serde_json::from_str(text).map_err(|error| BenchError::Program {
            program: "EXPLAIN".to_owned(),
            detail: error.to_string(),
        })
    }

    /// Runs a query that returns one number.
    pub(super) async fn number(&self, sql: &str) -> Result<f64, BenchError> {
        let table = self.query(sql).await?;
        let cell = table.rows.first().and_then(|row| row.first());
        Ok(cell.and_then(crate::pg::Value::number).unwrap_or(0.0))
    }

    /// Returns the current time by the server's clock.
    pub(super) async fn now(&self) -> Result<String, BenchError> {
        let sql =
            "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at";
        let table = self.query(sql).await?;
        Ok(table.first("at").text().unwrap_or_default().to_owned())
    }

    /// Returns the amount of WAL written so far, in bytes.
    pub(super) async fn wal_bytes(&self) -> Result<f64, BenchError> {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8")
            .await
    }

    /// Restores the same initial state before every run: no session from the run before, full stock, nothing to merge,
    /// dead rows removed and dirty buffers written.
    pub(super) async fn settle(&self) -> Result<(), BenchError> {
        // An abandoned session would finish its long statement unless terminated.
        let others = "SELECT count(pg_terminate_backend(pid))::float8 FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        while self.number(others).await? > 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.batch("UPDATE shop.inventory SET quantity = 500000000")
            .await?;
        self.merge().await?;
        self.batch("SELECT htap.tidy()").await?;
        self.batch(
            "VACUUM shop.inventory, htap.order_log, htap.dirty_log, htap.watermark, htap.heartbeat",
        )
        .await?;
        self.batch("CHECKPOINT").await
    }

    /// Brings the summaries up to date.
    pub(super) async fn merge(&self) -> Result<(), BenchError> {
        let client = refresh::connect(&self.target)
            .await
            .map_err(BenchError::doing("connect"))?;
        for name in ["sales_hourly", "fact_sales", "segment_rfm"] {
            let view = View::new("mart", name);
            refresh::refresh(&client, &view, Kind::Incremental, Mode::Incremental)
                .await
                .map_err(BenchError::doing(format!("refresh {view}")))?;
        }
        Ok(())
    }

    /// Returns the files of a relation.
    #[cfg(feature = "columnar")]
    pub(super) async fn files_of(&self, relation: &str) -> Result<Vec<PathBuf>, BenchError> {
        let place = format!("SELECT pg_relation_filepath('{relation}') AS place");
        let place = self.query(&place).await?;
        let place = place.first("place").text().unwrap_or_default().to_owned();
        let first = self.cluster.data_dir().join(&place);
        // One of more than a gigabyte has several.
        let more = (1..).map(|n| self.cluster.data_dir().join(format!("{place}.{n}")));
        let more = more.take_while(|path| path.exists());
        Ok(std::iter::once(first).chain(more).collect())
    }

    /// Starts to measure CPU usage.
    pub(super) fn meter(&self) -> Meter {
        Meter::start(self.cluster.data_dir())
    }

    /// Prepares to read the processor time of OLAP.
    pub(super) fn olap_meter(&self) -> RoleMeter {
        RoleMeter::new(self.cluster.data_dir(), OLAP_ROLE)
    }

    /// Adds CPU usage to the figures of a run.
    pub(super) fn used(figures: &mut Figures, used: Option<Use>) {
        if let Some(used) = used {
            for (name, value) in [
                ("own_cpu", used.own),
                ("server_cpu", used.server),
                ("others_cpu", used.others),
            ] {
                figures.insert(name.to_owned(), (value * 1000.0).round() / 1000.0);
            }
        }
    }

    /// Stops and removes the server.
    pub(super) async fn close(self) -> Result<(), BenchError> {
        let Self { cluster, admin, .. } = self;
        drop(admin);
        let stopped = tokio::task::spawn_blocking(move || cluster.stop());
        stopped.await.map_err(BenchError::task("pg_ctl"))??;
        Ok(())
    }
}

/// Returns the beginning of a statement, for messages.
fn short(sql: &str) -> String {
    let line: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(60).collect()
}
