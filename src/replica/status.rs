//! A replica's lag, the WAL that its slot retains, and the queries that it cancels.

use super::error::ReplicaError;
use super::facts::Server;
use crate::format;
use crate::pg::{Client, Param, Table, Target, owners};
use serde::Serialize;
use std::fmt::Write as _;

const SLOTS: &str = include_str!("../../queries/replica/slots.sql");
const SENDERS: &str = include_str!("../../queries/replica/senders.sql");
const REPLICA: &str = include_str!("../../queries/replica/replica.sql");
const HEARTBEAT: &str = include_str!("../../queries/replica/heartbeat.sql");
const LAST_BEAT: &str = "SELECT coalesce(pg_catalog.max(h.seq), 0) AS seq FROM htap.heartbeat AS h";
/// A heartbeat older than this measures nothing: nobody writes heartbeats any more.
const STALE_MS: f64 = 10_000.0;

/// The state of a primary and its replica.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    /// The primary.
    pub(crate) primary: Node,
    /// Its physical slots.
    pub(crate) slots: Vec<Slot>,
    /// The standbys that are connected.
    pub(crate) senders: Vec<Sender>,
    /// The replica, if it was named.
    pub(crate) replica: Option<Replica>,
}

/// A server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Node {
    server: String,
    version: String,
    /// System identifier; none if the role may not read it.
    system: Option<String>,
}

/// A physical slot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Slot {
    name: String,
    active: bool,
    /// WAL that it retains.
    retained_bytes: Option<i64>,
    wal_status: Option<String>,
    /// WAL that may still be written before it is lost; none without max_slot_wal_keep_size.
    safe_wal_bytes: Option<i64>,
    /// Age in transactions of the snapshot that feedback holds.
    xmin_age: Option<i64>,
}

/// A connected standby. Without pg_read_all_stats its details are unknown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sender {
    name: Option<String>,
    client: String,
    state: Option<String>,
    unsent_bytes: Option<i64>,
    lag_bytes: Option<i64>,
}

/// A standby.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Replica {
    #[serde(flatten)]
    node: Node,
    /// WAL of the primary that is not replayed yet.
    lag_bytes: Option<i64>,
    lag_ms: Option<f64>,
    /// How `lag_ms` was measured: `heartbeat` or `replay`.
    lag_by: &'static str,
    paused: bool,
    /// State of the WAL receiver; none if none is running.
    receiver: Option<String>,
    feedback: bool,
    conflicts: Conflicts,
}

/// Statements that replay has cancelled since the last reset of statistics, by kind.
#[derive(Clone, Debug, Default, Serialize)]
struct Conflicts {
    tablespace: i64,
    lock: i64,
    snapshot: i64,
    bufferpin: i64,
    deadlock: i64,
}

/// Asks the primary and, if it is named, the replica.
///
/// # Errors
/// One of them does not answer; the first is a standby; the second is no standby, or one of another system.
pub(crate) async fn look(
    primary: &Target,
    replica: Option<&Target>,
) -> Result<Status, ReplicaError> {
    let server = Server::ask(primary, "").await?;
    if server.is("standby") {
        return Err(ReplicaError::Refused(format!(
            "{primary} is a standby: name its primary, and this one by --replica"
        )));
    }
    let asked = |what| ReplicaError::server(what);
    let seen = match replica {
        Some(target) => Some(look_at(&server, primary, target).await?),
        None => None,
    };
    let slots = server.client.query(SLOTS, &[]).await;
    let senders = server.client.query(SENDERS, &[]).await;
    Ok(Status {
        slots: slots_of(&slots.map_err(asked("read the slots"))?),
        senders: senders_of(&senders.map_err(asked("read the standbys"))?),
        primary: node(&server, primary),
        replica: seen,
    })
}

fn node(server: &Server, target: &Target) -> Node {
    Node {
        server: target.to_string(),
        version: server.text("version").unwrap_or_default().to_owned(),
        system: server.text("system").map(str::to_owned),
    }
}

fn slots_of(table: &Table) -> Vec<Slot> {
    let text = |row, name| table.get(row, name).raw().map(str::to_owned);
    (0..table.rows.len())
        .map(|row| Slot {
            name: text(row, "name").unwrap_or_default(),
            active: table.get(row, "active").is_true(),
            retained_bytes: table.get(row, "retained").int(),
            wal_status: text(row, "wal_status"),
            safe_wal_bytes: table.get(row, "safe_wal_size").int(),
            xmin_age: table.get(row, "xmin_age").int(),
        })
        .collect()
}

fn senders_of(table: &Table) -> Vec<Sender> {
    let text = |row, name| table.get(row, name).raw().map(str::to_owned);
    (0..table.rows.len())
        .map(|row| Sender {
            name: text(row, "application_name"),
            client: text(row, "client").unwrap_or_default(),
            state: text(row, "state"),
            unsent_bytes: table.get(row, "unsent").int(),
            lag_bytes: table.get(row, "lag").int(),
        })
        .collect()
}

/// Asks the replica first and then the primary: a lag is never too small.
async fn look_at(primary: &Server, of: &Target, target: &Target) -> Result<Replica, ReplicaError> {
    let server = Server::ask(target, "").await?;
    let node = node(&server, target);
    if let (Some(here), Some(there)) = (&node.system, primary.text("system"))
        && here != there
    {
        return Err(ReplicaError::Refused(format!(
            "{target} is a replica of another system: its identifier is {here}, that of {of} is {there}"
        )));
    }
    if !server.is("standby") {
        return Err(ReplicaError::Refused(format!(
            "{target} is not a replica: it became a primary and no longer follows {of}. Build a new one (htap-top replica \
             create), and send no writes to both"
        )));
    }
    let state = server.client.query(REPLICA, &[]).await;
    let state = state.map_err(ReplicaError::server("read the replica's state"))?;
    let last = last_beat(&server.client, &primary.client).await;
    let beat = match last {
        Some(last) => missing_ms(&primary.client, last).await,
        None => None,
    };
    let now = primary.client.query(POSITION, &[]).await;
    let now = now.map_err(ReplicaError::server("read the primary's position"))?;
    let replayed = state.first("lsn").int();
    let lag_bytes = now.first("lsn").int().zip(replayed);
    let number = |name| state.first(name).int().unwrap_or(0);
    Ok(Replica {
        node,
        lag_bytes: lag_bytes.map(|(now, replayed)| (now - replayed).max(0)),
        lag_ms: beat.or_else(|| state.first("lag_ms").number()),
        lag_by: if beat.is_some() {
            "heartbeat"
        } else {
            "replay"
        },
        paused: state.first("paused").is_true(),
        receiver: receiver(&state),
        feedback: state.first("feedback").is_true(),
        conflicts: Conflicts {
            tablespace: number("by_tablespace"),
            lock: number("by_lock"),
            snapshot: number("by_snapshot"),
            bufferpin: number("by_bufferpin"),
            deadlock: number("by_deadlock"),
        },
    })
}

const POSITION: &str = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::pg_catalog.int8 AS lsn";

fn receiver(state: &Table) -> Option<String> {
    if !state.first("receives").is_true() {
        return None;
    }
    let status = state.first("status").raw().unwrap_or("running");
    let host = state.first("sender_host").raw();
    let port = state.first("sender_port").int();
    Some(match (host, port) {
        (Some(host), Some(port)) => format!("{status} from {host}:{port}"),
        _ => status.to_owned(),
    })
}

/// Returns the number of the last heartbeat on the replica; `None` without the shop's own table on both servers.
async fn last_beat(replica: &Client, primary: &Client) -> Option<i64> {
    for client in [replica, primary] {
        let needs = client
            .query(&owners::statement(["htap.heartbeat"]), &[])
            .await
            .ok()?;
        let is_ours = needs.first("found").is_true() && !needs.first("stranger").is_known();
        if !is_ours || !needs.first("readable").is_true() {
            return None;
        }
    }
    let last = replica.query(LAST_BEAT, &[]).await.ok()?;
    last.first("seq").int()
}

/// Returns the age of the oldest heartbeat after `last`, or 0 if there is none; `None` if nobody writes heartbeats.
async fn missing_ms(primary: &Client, last: i64) -> Option<f64> {
    let beats = primary.query(HEARTBEAT, &[Param::Int(last)]).await.ok()?;
    let newest = beats.first("newest_ms").number()?;
    let missing = beats.first("missing_ms").number()?;
    (newest <= STALE_MS || missing > 0.0).then_some(missing.max(0.0))
}

fn bytes(number: Option<i64>) -> String {
    number.map_or_else(|| "n/a".to_owned(), |number| format::bytes(number as f64))
}

impl Status {
    /// Formats it for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: String| {
            let _ = writeln!(text, "{name:<10} {what}");
        };
        line("primary", self.primary.text());
        for slot in &self.slots {
            line("slot", slot.text());
        }
        if self.slots.is_empty() {
            line("slot", "no physical slot".to_owned());
        }
        for sender in &self.senders {
            line("standby", sender.text());
        }
        if self.senders.is_empty() {
            line("standby", "none connected".to_owned());
        }
        let Some(replica) = &self.replica else {
            return text;
        };
        line("replica", replica.node.text());
        let by = if replica.lag_by == "heartbeat" {
            "by heartbeats of the shop"
        } else {
            "by the last replayed commit, between two servers' clocks; without writes it grows although nothing is missing"
        };
        let lag = replica
            .lag_ms
            .map_or_else(|| "n/a".to_owned(), |ms| format!("{ms:.0} ms"));
        line("lag", format!("{}, {lag} ({by})", bytes(replica.lag_bytes)));
        line(
            "replay",
            if replica.paused {
                "PAUSED: to go on, run SELECT pg_wal_replay_resume() on the replica".to_owned()
            } else {
                "running".to_owned()
            },
        );
        line(
            "receiver",
            replica.receiver.clone().unwrap_or_else(|| {
                "NOT RUNNING: check primary_conninfo and the replica's log".to_owned()
            }),
        );
        let feedback = if replica.feedback {
            "on: the primary keeps rows that queries here need"
        } else {
            "off: replay may cancel queries here"
        };
        line("feedback", feedback.to_owned());
        line("conflicts", replica.conflicts.text());
        text
    }
}

impl Node {
    fn text(&self) -> String {
        let system = self.system.as_deref().unwrap_or("n/a");
        format!(
            "{}, PostgreSQL {}, system {system}",
            self.server, self.version
        )
    }
}

impl Slot {
    fn text(&self) -> String {
        let state = if self.active { "active" } else { "NOT IN USE" };
        let xmin = self.xmin_age.map_or_else(
            || "feedback holds no snapshot".to_owned(),
            |age| format!("feedback holds a snapshot {age} transactions old"),
        );
        let safe = self.safe_wal_bytes.map_or_else(
            || "without limit".to_owned(),
            |safe| format!("lost after {} more", format::bytes(safe as f64)),
        );
        format!(
            "{}, {state}, retains {} of WAL ({}, {safe}), {xmin}",
            self.name,
            bytes(self.retained_bytes),
            self.wal_status.as_deref().unwrap_or("nothing reserved"),
        )
    }
}

impl Sender {
    fn text(&self) -> String {
        let hidden = "details need pg_read_all_stats";
        format!(
            "{} from {}, {}, not sent {}, not replayed {}",
            self.name.as_deref().unwrap_or("one"),
            self.client,
            self.state.as_deref().unwrap_or(hidden),
            bytes(self.unsent_bytes),
            bytes(self.lag_bytes)
        )
    }
}

impl Conflicts {
    fn text(&self) -> String {
        format!(
            "snapshot {}, lock {}, buffer pin {}, deadlock {}, tablespace {}",
            self.snapshot, self.lock, self.bufferpin, self.deadlock, self.tablespace
        )
    }
}
