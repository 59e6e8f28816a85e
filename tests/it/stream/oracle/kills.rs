//! Who takes part, and how each is killed.

use super::super::number;
use crate::it::broker::Broker;
use crate::it::server::{Database, Patience, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param, Table};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is killed, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// An aggregator that has moved the offsets, and has not committed.
    AggregatorBeforeCommit,
    /// An aggregator whose commit is durable, and who does not know.
    AggregatorAfterCommit,
    /// A relay whose records are acknowledged, and whose rows are still there.
    RelayBeforeDelete,
    /// A relay, whenever.
    Relay,
    /// The broker, whenever.
    Broker,
    /// All of the server, whenever.
    Postmaster,
    /// All of the server, while the commit of an aggregator is durable, and the aggregator does not know.
    PostmasterAfterCommit,
}

/// All of them: those that hit one side of a commit come first, and more often in twenty.
pub(super) const KINDS: [Kill; 7] = [
    Kill::AggregatorBeforeCommit,
    Kill::AggregatorAfterCommit,
    Kill::Broker,
    Kill::RelayBeforeDelete,
    Kill::PostmasterAfterCommit,
    Kill::Relay,
    Kill::Postmaster,
];

const AGGREGATOR: &str = "oracle_aggregator";
const RELAY: &str = "oracle_relay";

/// A relay or an aggregator, which is killed at the latest with the test.
struct Process {
    /// Its role, by which its session is found.
    name: String,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A transaction that holds up the relay until it ends: what is committed meanwhile waits in the outbox.
pub(super) struct Gate {
    client: Client,
    xid: String,
}

/// A session of one of them.
struct Found {
    name: String,
    xid: Option<String>,
}

pub(super) struct Stage<'a> {
    database: &'a Database<'a>,
    client: Client,
    broker: Broker,
    program: PathBuf,
    processes: Vec<Process>,
    started: u32,
    takeovers: u32,
}

impl<'a> Stage<'a> {
    /// Starts a relay and two aggregators.
    pub(super) async fn begin(database: &'a Database<'a>, client: Client, broker: Broker) -> Self {
        let program = std::env::var_os("HTAP_TOP_PROGRAM");
        let mut stage = Self {
            database,
            client,
            broker,
            program: program.map_or_else(|| env!("CARGO_BIN_EXE_htap-top").into(), PathBuf::from),
            processes: Vec::new(),
            started: 0,
            takeovers: 0,
        };
        for kind in [RELAY, AGGREGATOR, AGGREGATOR] {
            stage.start(kind);
        }
        let leads = "SELECT count(*) AS n FROM htap.stream_state WHERE state = 'running'";
        until(
            &stage.client,
            "relay and aggregator lead",
            leads,
            &[],
            |table| table.first("n").int() == Some(2),
        )
        .await;
        stage
    }

    pub(super) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.broker.port)
    }

    pub(super) fn takeovers(&self) -> u32 {
        self.takeovers
    }

    fn start(&mut self, kind: &str) {
        self.started += 1;
        let name = format!("{kind}_{}", self.started);
        let conninfo = self.database.conninfo(&name);
        let command = if kind == RELAY { "relay" } else { "run" };
        let child = Command::new(&self.program)
            .args(["stream", command, "--brokers", &self.brokers()])
            .arg(conninfo)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.processes.push(Process { name, child });
    }

    /// Nobody ended by itself.
    pub(super) fn check(&mut self) {
        for process in &mut self.processes {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", process.name);
        }
    }

    pub(super) async fn until_there_is_a_watermark(&self) {
        let sql = "SELECT count(watermark) AS n FROM htap.stream_progress";
        until(&self.client, "a watermark", sql, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
    }

    pub(super) async fn gate(&self) -> Gate {
        let client = self.database.connect().await;
        client.batch("BEGIN").await.unwrap();
        let sql = "SELECT pg_current_xact_id()::text AS xid";
        let table = client.query(sql, &[]).await.unwrap();
        let xid = table.first("xid").raw().unwrap().to_owned();
        Gate { client, xid }
    }

    pub(super) async fn kill(&mut self, what: Kill, pause: Duration, gate: Gate) {
        match what {
            Kill::AggregatorBeforeCommit => {
                self.before_commit(gate, AGGREGATOR, "mart.realtime_stream")
                    .await;
            }
            Kill::RelayBeforeDelete => self.before_commit(gate, RELAY, "htap.outbox").await,
            Kill::AggregatorAfterCommit => {
                let found = self.in_commit(gate).await;
                self.replace(&found.name);
                self.commit_again().await;
                assert_eq!(self.fate(found).await, "committed");
            }
            Kill::PostmasterAfterCommit => {
                let found = self.in_commit(gate).await;
                let alone = "ALTER SYSTEM RESET synchronous_standby_names";
                self.client.batch(alone).await.unwrap();
                self.restart_server().await;
                assert_eq!(self.fate(found).await, "committed");
            }
            Kill::Relay => {
                drop(gate);
                tokio::time::sleep(pause).await;
                let relay = self
                    .processes
                    .iter()
                    .find(|process| process.name.starts_with(RELAY));
                let name = relay.unwrap().name.clone();
                self.replace(&name);
            }
            Kill::Broker => {
                drop(gate);
                tokio::time::sleep(pause).await;
                self.broker.crash();
            }
            Kill::Postmaster => {
                drop(gate);
                tokio::time::sleep(pause).await;
                self.restart_server().await;
            }
        }
    }

    /// Waits until a process waits for a lock of this table, in a transaction that has written already. The lock is held
    /// until the returned session ends.
    async fn hold(&self, gate: Gate, kind: &str, table: &str) -> (Client, Found) {
        // Rows that the relay can read as soon as the gate is gone: a running transaction that is older holds them up as
        // well, and may soon wait for the lock that is taken here.
        let rows = "SELECT count(*) AS n FROM htap.outbox WHERE xid >= $1::text::xid8
            AND xid < ALL (SELECT x FROM pg_snapshot_xip(pg_current_snapshot()) AS x WHERE x <> $1::text::xid8)";
        let some = |table: &Table| table.first("n").int() > Some(0);
        let opened = [Param::Text(&gate.xid)];
        until(&self.client, "orders", rows, &opened, some).await;
        let holder = self.database.connect().await;
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        holder.batch(&lock).await.unwrap();
        gate.client.batch("ROLLBACK").await.unwrap();
        let patience = Patience::begin();
        // A DELETE has no number yet while it waits.
        let written = kind == RELAY;
        let waits = format!("wait_event = 'relation' AND (backend_xid IS NOT NULL OR {written})");
        loop {
            if let Some(found) = self.look(kind, &waits).await {
                return (holder, found);
            }
            assert!(patience.lasts(), "no {kind} waits for {table}");
        }
    }

    /// Kills a process in its transaction.
    async fn before_commit(&mut self, gate: Gate, kind: &str, table: &str) {
        let (holder, found) = self.hold(gate, kind, table).await;
        self.replace(&found.name);
        holder.batch("ROLLBACK").await.unwrap();
        assert_eq!(self.fate(found).await, "aborted");
    }

    /// Waits until an aggregator waits for its commit, which is durable: for a replica that does not exist.
    async fn in_commit(&self, gate: Gate) -> Found {
        let (holder, found) = self.hold(gate, AGGREGATOR, "mart.realtime_stream").await;
        let wait = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
        self.client.batch(wait).await.unwrap();
        self.client.batch("SELECT pg_reload_conf()").await.unwrap();
        // Its commit is to be the next thing that the aggregator does, when commits wait.
        let target = self.database.target_of(SUPERUSER);
        let writer = tokio::spawn(async move {
            let client = Client::connect(&target).await.unwrap();
            while client
                .batch("INSERT INTO oracle.written VALUES (1)")
                .await
                .is_ok()
            {}
        });
        let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let some = |table: &Table| table.first("n").int() > Some(0);
        until(&self.client, "commits wait", waiting, &[], some).await;
        writer.abort();
        holder.batch("ROLLBACK").await.unwrap();
        let patience = Patience::begin();
        loop {
            let commits = format!(
                "wait_event = 'SyncRep' AND query = 'COMMIT' AND usename = '{}'",
                found.name
            );
            if self.look(AGGREGATOR, &commits).await.is_some() {
                return found;
            }
            assert!(patience.lasts(), "the aggregator does not commit");
        }
    }

    /// Ends the wait for a replica.
    async fn commit_again(&self) {
        let alone = "ALTER SYSTEM RESET synchronous_standby_names";
        self.client.batch(alone).await.unwrap();
        self.client.batch("SELECT pg_reload_conf()").await.unwrap();
        let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until(&self.client, "commits end", waiting, &[], |table| {
            table.first("n").int() == Some(0)
        })
        .await;
    }

    async fn look(&self, kind: &str, condition: &str) -> Option<Found> {
        let sql = format!(
            "SELECT usename AS name, backend_xid::text AS xid FROM pg_stat_activity
             WHERE usename LIKE '{kind}%' AND {condition} LIMIT 1"
        );
        let table = self.client.query(&sql, &[]).await.unwrap();
        Some(Found {
            name: table.first("name").raw()?.to_owned(),
            xid: table.first("xid").raw().map(ToOwned::to_owned),
        })
    }

    /// What became of a transaction.
    async fn fate(&self, found: Found) -> String {
        let Some(xid) = found.xid else {
            return "aborted".to_owned();
        };
        let sql = "SELECT pg_xact_status($1::text::xid8) AS status";
        let ended = |status: Option<&str>| status.is_some_and(|status| status != "in progress");
        let params = [Param::Text(&xid)];
        let table = until(
            &self.client,
            "its transaction ends",
            sql,
            &params,
            |table| ended(table.first("status").raw()),
        )
        .await;
        table.first("status").raw().unwrap().to_owned()
    }

    /// Kills a process, and starts another one of its kind.
    fn replace(&mut self, name: &str) {
        let before = self.processes.len();
        // Killed when dropped.
        self.processes.retain(|process| process.name != name);
        assert_eq!(self.processes.len() + 1, before, "{name}");
        self.start(if name.starts_with(RELAY) {
            RELAY
        } else {
            AGGREGATOR
        });
    }

    async fn restart_server(&mut self) {
        self.database.server.kill_all();
        self.database.server.start_again();
        let target = self.database.server.target(&self.database.name, SUPERUSER);
        self.client = Client::connect(&target).await.unwrap();
    }

    /// Makes the other aggregator take over from one that does not know: its session is ended while it is stopped, or
    /// the epoch grows while it works.
    pub(super) async fn fight(&mut self, stopped: bool) {
        let epoch = "SELECT max(epoch) AS epoch FROM htap.stream_offset";
        let before = number(&self.client, epoch).await;
        if stopped {
            let leads = "pid IN (SELECT l.pid FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted)";
            let Some(leader) = self.look(AGGREGATOR, leads).await else {
                return;
            };
            let process = self
                .processes
                .iter()
                .find(|process| process.name == leader.name);
            let pid = Pid::from_raw(process.unwrap().child.id().cast_signed());
            kill(pid, Signal::SIGSTOP).unwrap();
            let end =
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
            self.client
                .query(end, &[Param::Text(&leader.name)])
                .await
                .unwrap();
            until(&self.client, "the other takes over", epoch, &[], |table| {
                table.first("epoch").int() > Some(before)
            })
            .await;
            kill(pid, Signal::SIGCONT).unwrap();
        } else {
            let fence = "UPDATE htap.stream_offset SET epoch = epoch + 1";
            self.client.batch(fence).await.unwrap();
            until(&self.client, "one takes over", epoch, &[], |table| {
                table.first("epoch").int() > Some(before + 1)
            })
            .await;
        }
        self.takeovers += 1;
    }
}
