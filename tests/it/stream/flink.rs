//! The job of `queries/flink` beside the aggregator: on the same topic, their tables are the same.

use super::{
    TOPIC, aggregate, bytes, completed, number, plan_of, produce, relay, relay_plan_of,
    streaming_shop_on, trade, until_relayed,
};
use crate::it::broker::Broker as Kafka;
use crate::it::server::{Database, Order, Patience, Server, block_on, until};
use htap_top::pg::Client;
use htap_top::stream::Broker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::config::ClientConfig;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const TABLE: &str = include_str!("../../../queries/flink/table.sql");

/// The number of the first event that no order of the shop has.
const FIRST: i64 = 1_000_000_000_000;

/// Seconds that JVMs may take to start on a busy machine, longer than [`crate::it::server::PATIENCE`].
const BUSY: u64 = 100;

/// Free ports of 127.0.0.1; all are held until all are known, so that they differ.
fn ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The job on its cluster.
struct Job {
    script: Child,
    place: TempDir,
}

impl Job {
    fn start(kafka: &Kafka, database: &str) -> Self {
        let place = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/flink/run.sh");
        let [web_port, rpc_port] = ports();
        // It ends with the test, however that ends.
        let script = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(script)
            .args(["--brokers", &format!("127.0.0.1:{}", kafka.port)])
            .args(["--topic", TOPIC, "--database", database])
            .args(["--web-port", &web_port.to_string()])
            .args(["--rpc-port", &rpc_port.to_string()])
            .arg("--data")
            .arg(place.path().join("flink"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { script, place }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("flink").join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("jobmanager.log")).unwrap_or_default()
    }

    fn pid(&self, name: &str) -> Pid {
        let text = std::fs::read_to_string(self.file(&format!("{name}.pid"))).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }

    async fn until_logged(&self, what: &str) {
        let patience = Patience::begin();
        while !self.log().contains(what) {
            assert!(
                patience.seconds() < BUSY,
                "not logged: {what}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The number of the last checkpoint.
    fn checkpoint(&self) -> Option<u32> {
        let children = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let jobs = children(&self.file("checkpoints")).map(|job| job.path());
        let done = jobs
            .flat_map(|job| children(&job).collect::<Vec<_>>())
            .filter(|folder| folder.path().join("_metadata").exists());
        done.filter_map(|folder| {
            folder
                .file_name()
                .to_str()?
                .strip_prefix("chk-")?
                .parse()
                .ok()
        })
        .max()
    }

    /// Waits for a checkpoint that began after this call.
    async fn until_checkpoint(&self) {
        // The next one may have begun.
        let wanted = self.checkpoint().unwrap_or(0) + 2;
        let patience = Patience::begin();
        while self.checkpoint() < Some(wanted) {
            assert!(patience.seconds() < BUSY, "no checkpoint\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it as a person does; nothing of it lives on.
    fn stop(mut self) {
        let names = ["jobmanager", "taskmanager-1", "taskmanager-2"];
        let pids = names.map(|name| self.pid(name));
        kill(
            Pid::from_raw(self.script.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        assert!(self.script.wait().unwrap().success());
        for pid in pids {
            assert!(kill(pid, None).is_err(), "{pid} lives on");
        }
    }
}

/// Waits until all of the topic was counted, and Flink's table equals that of the aggregator.
async fn until_equal(client: &Client, job: &Job) -> i64 {
    let sql = "
        WITH stream AS (
            SELECT window_start, category, segment, amount, quantity, orders FROM mart.realtime_stream
        ), flink AS (
            SELECT window_start, category, segment, amount, quantity, orders FROM mart.realtime_flink
        )
        SELECT (SELECT coalesce(sum(orders), 0) FROM stream)::bigint AS orders,
               (SELECT count(*) FROM (SELECT * FROM stream EXCEPT ALL SELECT * FROM flink) AS d) AS missing,
               (SELECT count(*) FROM (SELECT * FROM flink EXCEPT ALL SELECT * FROM stream) AS d) AS surplus,
               (SELECT coalesce(sum(end_offset - next_offset), 1) FROM htap.stream_offset)::bigint AS unread";
    let patience = Patience::begin();
    loop {
        let table = client.query(sql, &[]).await.unwrap();
        let of = |column| table.first(column).int();
        let rest = [of("missing"), of("surplus"), of("unread")];
        if rest == [Some(0); 3] {
            return of("orders").unwrap();
        }
        assert!(patience.seconds() < BUSY, "{rest:?}\n{}", job.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A time so long ago, as the relay writes it.
async fn ago(client: &Client, interval: &str) -> String {
    let sql = format!(
        "SELECT to_char((now() - interval '{interval}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at"
    );
    let table = client.query(&sql, &[]).await.unwrap();
    table.first("at").text().unwrap().to_owned()
}

/// Late events, one that is too late, one that is taken back, duplicates of them, and what is no event.
async fn trouble(client: &Client) -> Vec<(i32, Option<Vec<u8>>)> {
    let soon = ago(client, "0").await;
    let late = ago(client, "30 min").await;
    let too_late = ago(client, "3 h").await;
    let kept = completed(FIRST, &late, "Late");
    let sold = completed(FIRST + 1, &late, "Taken back");
    let mut cancelled = sold.clone();
    for (field, value) in [
        ("event", json!("cancelled")),
        ("event_id", json!(FIRST + 2)),
        ("at", json!(soon)),
        ("was_at", json!(late)),
    ] {
        cancelled[field] = value;
    }
    let with = |field: &str, value: Value| {
        let mut record = completed(FIRST + 3, &soon, "Poison");
        record[field] = value;
        record
    };
    let poison = [
        with("v", json!(2)),
        with("at", json!("2199-01-01T00:00:00Z")),
        with("at", json!("never")),
        with(
            "lines",
            json!([{"category": "Poison", "quantity": 1, "amount": "NaN"}]),
        ),
        with("lines", json!("x")),
    ];
    let good = [
        kept.clone(),
        sold,
        cancelled.clone(),
        kept,
        cancelled,
        completed(FIRST + 4, &too_late, "Too late"),
    ];
    let mut records: Vec<_> = poison.iter().map(|value| (2, Some(bytes(value)))).collect();
    records.extend([(1, None), (1, Some(b"not JSON".to_vec()))]);
    records.extend(good.iter().map(|value| (3, Some(bytes(value)))));
    records
}

fn broker_of(kafka: &Kafka) -> Broker {
    Broker {
        brokers: format!("127.0.0.1:{}", kafka.port),
        topic: TOPIC.to_owned(),
        settings: Vec::new(),
    }
}

/// A shop that writes its outbox, on a server of its own, with Flink's table.
async fn shop(server: &Server) -> (Database<'_>, Client) {
    let (database, client) = streaming_shop_on(server).await;
    let password = "ALTER ROLE htap_refresh PASSWORD 'flink'";
    client.batch(password).await.unwrap();
    client.batch(TABLE).await.unwrap();
    (database, client)
}

#[test]
#[ignore = "needs Java 17, and the jars of Kafka and Flink: .ci/run runs it"]
fn the_flink_job_has_the_same_table_also_after_a_task_manager_was_killed() {
    block_on(async {
        let [port] = ports();
        let server = Server::start(&Order {
            listen_port: Some(port),
            ..Order::default()
        });
        let (database, client) = shop(&server).await;
        let kafka = Kafka::start(&[]);
        let broker = broker_of(&kafka);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &broker.brokers);
        let _relay = relay(&database, relay_plan_of(broker.clone()));
        let _aggregator = aggregate(&database, plan_of(broker));
        trade(&client, 40).await;
        until_relayed(&client).await;
        let url = format!(
            "jdbc:postgresql://127.0.0.1:{port}/{}?user=htap_refresh&password=flink",
            database.name
        );
        let job = Job::start(&kafka, &url);
        job.until_logged("switched from state CREATED to RUNNING")
            .await;
        assert!(until_equal(&client, &job).await >= 30);

        // Both have a watermark now, from all partitions.
        let trouble = trouble(&client).await;
        let again: Vec<_> = trouble
            .iter()
            .filter(|(partition, _)| *partition == 3)
            .cloned()
            .collect();
        produce(&config, trouble).await;
        trade(&client, 40).await;
        until_relayed(&client).await;
        until_equal(&client, &job).await;
        // Flink's watermark begins anew after a failure: the event that is too late must not be read again just then.
        job.until_checkpoint().await;
        trade(&client, 40).await;
        kill(job.pid("taskmanager-1"), Signal::SIGKILL).unwrap();
        for _ in 0..5 {
            trade(&client, 40).await;
        }
        until_relayed(&client).await;
        job.until_logged("switched from state RUNNING to RESTARTING")
            .await;
        until_equal(&client, &job).await;
        // Copies and the late one once more, and what tells that they were read.
        let last = completed(FIRST + 5, &ago(&client, "0").await, "Last");
        let last = (3, Some(bytes(&last)));
        produce(&config, again.into_iter().chain([last])).await;
        for table in ["mart.realtime_stream", "mart.realtime_flink"] {
            let sql = format!("SELECT count(*) AS n FROM {table} WHERE category = 'Last'");
            until(&client, "the last event", &sql, &[], |table| {
                table.first("n").int() == Some(1)
            })
            .await;
        }
        let orders = until_equal(&client, &job).await;
        assert!(orders > 8 * 30, "{orders}");
        let kept = "SELECT count(*) FROM mart.realtime_flink WHERE (category, amount, orders) IN (('Late', 1, 1), ('Taken back', 0, 0))";
        assert_eq!(number(&client, kept).await, 2);
        for (table, rows) in [("htap.late_event", 2), ("htap.dead_letter", 7)] {
            let sql = format!("SELECT count(*) FROM {table}");
            assert_eq!(number(&client, &sql).await, rows, "{table}");
        }
        job.stop();

        // What the sink deletes in the middle of a change is not missed by readers.
        let rows = "SELECT count(*) FROM mart.realtime_flink";
        let before = number(&client, rows).await;
        let sink = database.connect_as("htap_refresh").await;
        sink.batch("DELETE FROM mart.realtime_flink").await.unwrap();
        assert_eq!(number(&client, rows).await, before);
    });
}
