//! The nodes: this server, the standbys beside it, and the OLAP pool's own server.

pub(crate) mod routing;

use crate::dashboard::rows::added::ToNodes;
use crate::dashboard::rows::{Row, Rows, nodes, read};
use crate::pg::{Table, Value};
use crate::text::Clean;
use routing::Routers;
use std::collections::HashMap;

/// Milliseconds after which a heartbeat measures nothing: nobody writes any.
const STALE_BEAT_MS: f64 = 10_000.0;

/// State kept between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) routers: routing::Memory,
    /// What the OLAP pool's server is, once it has said so.
    pub(crate) kind: Option<Kind>,
    /// Why the OLAP pool's server must not be read; `None` if it may.
    pub(crate) barred: Option<Barred>,
    /// How far it is behind.
    pub(crate) lag: Lag,
    /// The standby that used a slot, by the slot's name: its name and address.
    users: HashMap<Box<str>, (Value, Value)>,
    /// The slot by which the OLAP pool's server was last recognised.
    slot: Option<Box<str>>,
    /// By node, the trouble that it is in, since when, and whether it was seen to begin.
    troubles: HashMap<String, (&'static str, f64, bool)>,
    /// Names of the nodes of the previous sample.
    before: Vec<String>,
    /// True if the OLAP pool's server had said something then.
    told_before: bool,
}

/// What the OLAP pool's server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The watched server, by another way.
    Same,
    /// A copy of it in recovery.
    Standby,
    /// A copy that is no longer in recovery, while this server is not either.
    Promoted,
    /// A primary of which this server may be a standby.
    Primary,
    /// No copy of this server.
    Foreign,
}

/// The reason why the OLAP pool's server must not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// It cannot be reached.
    Lost,
    /// Its replay is paused.
    Paused,
    /// It became a primary of its own.
    Promoted,
}

impl Barred {
    /// Returns the word for it in the header.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Paused => "replay paused",
            Self::Promoted => "promoted",
        }
    }
}

/// How far the OLAP pool's server is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lag {
    pub(crate) bytes: Option<i64>,
    pub(crate) ms: Option<f64>,
    /// True if `ms` is the age of a heartbeat.
    by_heartbeat: bool,
    /// Age of the first heartbeat that it lacks, if heartbeats are written.
    missing_ms: Option<f64>,
}

impl Lag {
    /// Takes in the age of the first heartbeat that the standby lacks.
    pub(crate) fn note_beat(&mut self, lack: Row<'_, nodes::Lack>) {
        let (newest, missing) = (lack.newest_ms(), lack.missing_ms());
        let told = newest
            .zip(missing)
            .filter(|(newest, missing)| *newest <= STALE_BEAT_MS || *missing > 0.0);
        self.missing_ms = told.map(|(_, missing)| missing.max(0.0));
        if let Some(missing_ms) = self.missing_ms {
            (self.ms, self.by_heartbeat) = (Some(missing_ms), true);
        }
    }

    /// Takes in the positions of both servers.
    fn note(&mut self, here: Row<'_, nodes::Here>, told: Row<'_, nodes::OlapServer>) {
        let bytes = here.head_bytes().zip(told.replayed_bytes());
        self.bytes = bytes.map(|(head, replayed)| head.saturating_sub(replayed).max(0));
        if self.missing_ms.is_some() {
            return;
        }
        let whole = told.receives() == Some(true) && told.caught_up() == Some(true);
        let age_ms = told.replay_age_s().map(|age_s| age_s.max(0.0) * 1000.0);
        self.ms = if whole { Some(0.0) } else { age_ms };
        self.by_heartbeat = false;
    }
}

/// The OLAP pool's server, if it is not the watched one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OlapServer<'t> {
    /// Host and port.
    pub(crate) place: &'t str,
    /// What it said last; no row before it has said anything.
    pub(crate) told: Rows<'t, nodes::OlapServer>,
    /// Why it cannot be reached.
    pub(crate) lost: Option<&'t Clean>,
    /// True if both servers have answered at about the same time.
    pub(crate) paired: bool,
}

/// What the rows are derived from, besides the answer of this server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'t> {
    /// Host and port of this server.
    pub(crate) place: &'t str,
    /// Its system identifier, which all copies share; `None` if our role may not read it.
    pub(crate) system: Option<&'t str>,
    pub(crate) replication: Rows<'t, read::Replication>,
    pub(crate) olap: Option<OlapServer<'t>>,
    /// Time of the last tick in seconds.
    pub(crate) now_s: f64,
}

/// Returns true if the row is a standby's walsender or a physical slot, or was.
pub(crate) fn is_of_node(row: Row<'_, read::Replication>) -> bool {
    match row.kind().shown() {
        // Only logical slots belong to a database.
        "slot" => row.lasting() == Some(true) && !row.client().is_known(),
        "replica" => !row.state().shown().starts_with("missing") && !row.state().is("backup"),
        _ => false,
    }
}

/// A node beside this server.
#[derive(Debug, Default)]
struct Node<'t> {
    name: String,
    state: &'t str,
    slot: Option<Row<'t, read::Replication>>,
    sender: Option<Row<'t, read::Replication>>,
    /// Seconds since it disconnected, if that was seen.
    gone_s: Option<f64>,
    /// The application_name of its walsender.
    application: Value,
    address: Value,
    /// How it is known that the OLAP pool reads it; `None` if it does not.
    known_by: Option<&'static str>,
}

/// Derives the rows of all nodes from this server's answer.
pub(crate) fn derive(mut table: Table, sources: Sources<'_>, memory: &mut Memory) -> Table {
    let here = Rows::<nodes::Here>::of(&table);
    let told = here.is_told();
    let server = here.first();
    note_olap(server, sources, memory);
    let mut found = standbys(sources.replication, memory);
    claim(&mut found, sources, memory);
    let names = found.iter().map(|node| node.name.clone()).collect();
    let writes = server.in_recovery() != Some(true);
    if !told {
        return table;
    }
    let added = ToNodes::to(&mut table);
    let routers = memory.routers.now.clone();
    write_here(&mut table, &added, sources.place, writes, &routers);
    // Routers name no replica: it is the OLAP pool's, or the only one.
    let routed = found.iter().position(|node| node.known_by.is_some());
    let routed = routed.or((found.len() == 1).then_some(0));
    for (at, node) in found.iter().enumerate() {
        let mut cells = cells_of(node, &added);
        let since = memory.since(node, sources.now_s);
        cells.push((added.since_s, since));
        if node.known_by.is_some()
            && let Some(olap) = sources.olap
        {
            cells.extend(cells_of_olap(olap, memory, &added));
        }
        if routed == Some(at) {
            cells.extend(cells_of_routers(&routers, &added));
        }
        table.push(cells);
    }
    if routed.is_none() && routers.breakers.0 > 0 {
        let mut cells = vec![
            (added.name, "replica of the routers".into()),
            (added.role, "standby".into()),
        ];
        cells.extend(cells_of_routers(&routers, &added));
        table.push(cells);
    }
    memory.before = names;
    memory.told_before = sources.olap.is_some_and(|olap| olap.told.is_told());
    table
}

/// Takes in what the OLAP pool's server is, and whether it may be read.
fn note_olap(here: Row<'_, nodes::Here>, sources: Sources<'_>, memory: &mut Memory) {
    let Some(olap) = sources.olap else { return };
    let told = olap.told.first();
    if olap.lost.is_none() && olap.told.is_told() && here.started_us().is_some() {
        memory.kind = Some(kind(here, sources.system, told));
    }
    if olap.paired && olap.lost.is_none() {
        memory.lag.note(here, told);
    }
    memory.barred = match memory.kind {
        _ if olap.lost.is_some() => Some(Barred::Lost),
        Some(Kind::Standby) if told.paused() == Some(true) => Some(Barred::Paused),
        Some(Kind::Promoted) => Some(Barred::Promoted),
        _ => None,
    };
}

fn kind(
    here: Row<'_, nodes::Here>,
    system: Option<&str>,
    told: Row<'_, nodes::OlapServer>,
) -> Kind {
    let systems = system.zip(told.system().raw());
    if systems.is_some_and(|(ours, theirs)| ours != theirs) {
        Kind::Foreign
    } else if here.started_us() == told.started_us() {
        Kind::Same
    } else if told.in_recovery() == Some(true) {
        Kind::Standby
    } else if here.in_recovery() == Some(true) {
        Kind::Primary
    } else if systems.is_some() {
        Kind::Promoted
    } else {
        // Without its identifier nobody can tell.
        Kind::Foreign
    }
}

/// The standbys and physical slots of this server.
fn standbys<'t>(replication: Rows<'t, read::Replication>, memory: &mut Memory) -> Vec<Node<'t>> {
    let rows = || replication.iter();
    let logical = |pid: Option<i64>| {
        let mut slots = rows().filter(|row| row.kind().is("slot") && row.client().is_known());
        pid.is_some() && slots.any(|slot| slot.pid() == pid)
    };
    let of_nodes = rows().filter(|row| is_of_node(*row) && !logical(row.pid()));
    let (gone, there): (Vec<_>, Vec<_>) = of_nodes.partition(|row| row.gone_s().is_some());
    let (slots, senders): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|row| row.kind().is("slot"));
    let mut found = Vec::new();
    for slot in &slots {
        let sender = senders
            .iter()
            .find(|sender| sender.pid().is_some() && sender.pid() == slot.pid());
        let key: Box<str> = slot.name().name().into();
        if let Some(sender) = sender {
            let user = (of_name(*sender), sender.client().clone());
            memory.users.insert(key.clone(), user);
        }
        let user = memory.users.get(&key);
        found.push(Node {
            name: slot.name().shown().to_owned(),
            state: match sender {
                Some(sender) if sender.restricted() != Some(true) => sender.state().shown(),
                _ if slot.active() == Some(true) => "",
                _ => "not connected",
            },
            slot: Some(*slot),
            sender: sender.copied(),
            application: user.map_or(Value::Null, |(name, _)| name.clone()),
            address: user.map_or(Value::Null, |(_, address)| address.clone()),
            ..Node::default()
        });
    }
    memory
        .users
        .retain(|key, _| slots.iter().any(|slot| slot.name().name() == &**key));
    let alone = senders.iter().filter(|sender| {
        let pid = sender.pid();
        pid.is_none() || !slots.iter().any(|slot| slot.pid() == pid)
    });
    found.extend(alone.map(|sender| Node {
        name: sender.name().shown().to_owned(),
        state: sender.state().shown(),
        sender: Some(*sender),
        application: of_name(*sender),
        address: sender.client().clone(),
        ..Node::default()
    }));
    // The standby of a slot that is there is a row already.
    let has_slot = |row: &Row<'_, read::Replication>| {
        let name = row.name().text();
        memory.users.values().any(|(user, _)| user.text() == name)
    };
    let gone = gone
        .iter()
        .filter(|row| row.kind().is("replica") && !has_slot(row));
    found.extend(gone.map(|row| Node {
        name: row.name().shown().to_owned(),
        state: "gone",
        gone_s: row.gone_s(),
        application: of_name(*row),
        address: row.client().clone(),
        ..Node::default()
    }));
    tell_apart(&mut found);
    found
}

fn of_name(row: Row<'_, read::Replication>) -> Value {
    row.name().clean().cloned().map_or(Value::Null, Value::Text)
}

/// Gives each node a name of its own: many standbys are called `walreceiver`.
fn tell_apart(found: &mut [Node<'_>]) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for node in found {
        let name = if node.name.is_empty() {
            "standby".to_owned()
        } else {
            node.name.clone()
        };
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        node.name = if *count == 1 {
            name
        } else {
            format!("{name} {count}")
        };
    }
}

/// Finds the node that the OLAP pool reads, or adds one.
fn claim<'t>(found: &mut Vec<Node<'t>>, sources: Sources<'t>, memory: &mut Memory) {
    let Some(olap) = sources.olap.filter(|_| memory.kind != Some(Kind::Same)) else {
        return;
    };
    let told = olap.told.first();
    let copy = !matches!(memory.kind, Some(Kind::Foreign | Kind::Primary));
    // Where the role may not see the receiver, its setting tells the slot.
    let slot = told.slot_name().raw().or(told.set_slot_name().raw());
    if let Some(slot) = slot.filter(|_| copy && olap.lost.is_none()) {
        memory.slot = Some(slot.into());
    }
    let slot = memory.slot.as_deref().filter(|_| copy);
    let by_slot = |node: &Node<'_>| node.slot.is_some_and(|row| Some(row.name().name()) == slot);
    let mut at = found.iter().position(by_slot).map(|at| (at, "slot"));
    if at.is_none() && copy && olap.told.is_told() {
        let address = told.address().text().unwrap_or("local");
        let mut same = found
            .iter()
            .enumerate()
            .filter(|(_, node)| node.address.text() == Some(address));
        let first = same.next().map(|(at, _)| (at, "address"));
        at = first.filter(|_| same.next().is_none());
    }
    let (at, known_by) = at.unwrap_or_else(|| {
        found.push(Node {
            name: olap.place.to_owned(),
            address: olap.place.into(),
            ..Node::default()
        });
        (found.len() - 1, "not known")
    });
    let Some(node) = found.get_mut(at) else {
        return;
    };
    node.known_by = Some(known_by);
    node.state = match memory.kind {
        _ if olap.lost.is_some() => "lost",
        Some(Kind::Promoted) => "promoted",
        Some(Kind::Foreign) => "other system",
        Some(Kind::Primary) => "running",
        _ if told.paused() == Some(true) => "paused",
        Some(Kind::Standby) if told.receives() == Some(false) && told.restores() != Some(true) => {
            "no WAL"
        }
        Some(Kind::Standby) if node.state.is_empty() => "running",
        _ => node.state,
    };
}

impl Memory {
    /// Returns true if the OLAP pool's server is a copy of this one that replays.
    pub(crate) fn follows(&self) -> bool {
        self.kind == Some(Kind::Standby)
    }

    /// Seconds for which a node has been in trouble.
    fn since(&mut self, node: &Node<'_>, now_s: f64) -> Value {
        let trouble = match node.state {
            "gone" => return node.gone_s.into(),
            "lost" => "lost",
            "promoted" => "promoted",
            "paused" => "paused",
            "no WAL" => "no WAL",
            "not connected" => "not connected",
            _ => {
                self.troubles.remove(&node.name);
                return Value::Null;
            }
        };
        let known = self
            .troubles
            .get(&node.name)
            .filter(|(before, ..)| *before == trouble);
        let seen =
            self.before.contains(&node.name) && (node.known_by.is_none() || self.told_before);
        let (_, since_s, began) = known.copied().unwrap_or((trouble, now_s, seen));
        self.troubles
            .insert(node.name.clone(), (trouble, since_s, began));
        let seconds = (now_s - since_s).max(0.0);
        if began {
            Value::Float(seconds)
        } else {
            Value::AtLeast(seconds)
        }
    }
}

type Cells = Vec<(crate::pg::Column, Value)>;

fn write_here(table: &mut Table, added: &ToNodes, place: &str, writes: bool, routers: &Routers) {
    let (mut rate, mut why) = (Value::Null, Value::Null);
    if routers.count > 0 {
        (rate, why) = routing::told(routers.rates.as_ref().map(|[primary, _]| primary));
    }
    for (column, value) in [
        (added.name, place.into()),
        (
            added.role,
            if writes { "primary" } else { "standby" }.into(),
        ),
        (added.state, "running".into()),
        (added.routed_per_s, rate),
        (added.why, why),
    ] {
        table.put(0, column, value);
    }
}

/// The cells of what this server knows of a node.
fn cells_of(node: &Node<'_>, added: &ToNodes) -> Cells {
    let restricted = node
        .sender
        .is_some_and(|sender| sender.restricted() == Some(true));
    let unknown = if restricted {
        Value::Unavailable
    } else {
        Value::Null
    };
    let state = if node.state.is_empty() {
        unknown.clone()
    } else {
        node.state.into()
    };
    let bytes = node.sender.and_then(|sender| sender.lag_bytes());
    let lag_s = node.sender.and_then(|sender| sender.lag_s());
    let lag_s = lag_s.or(bytes.filter(|bytes| *bytes <= 0).map(|_| 0.0));
    let xmin = node.slot.or(node.sender).map(|row| row.xmin_age().clone());
    let text = |text: Option<&Clean>| text.map_or(Value::Null, |text| Value::Text(text.clone()));
    let slot = node.slot;
    vec![
        (added.name, node.name.as_str().into()),
        (added.role, "standby".into()),
        (added.state, state),
        (
            added.lag_bytes,
            bytes.map_or(unknown.clone(), |bytes| Value::Int(bytes.max(0))),
        ),
        (
            added.lag_ms,
            lag_s.map_or(unknown, |lag_s| Value::Float(lag_s * 1000.0)),
        ),
        (
            added.lag_by,
            lag_s.map_or(Value::Null, |_| "position".into()),
        ),
        (added.slot, text(slot.and_then(|slot| slot.name().clean()))),
        (
            added.retained_bytes,
            slot.and_then(|slot| slot.retained_bytes()).into(),
        ),
        (
            added.wal_status,
            text(slot.and_then(|slot| slot.wal_status().clean())),
        ),
        (
            added.safe_wal_bytes,
            slot.and_then(|slot| slot.safe_wal_bytes()).into(),
        ),
        (added.xmin_age, xmin.unwrap_or(Value::Null)),
        (added.address, node.address.clone()),
        (added.streams, Value::Bool(node.sender.is_some())),
        (added.olap, Value::Bool(node.known_by.is_some())),
        (
            added.known_by,
            node.known_by.map_or(Value::Null, Value::from),
        ),
        (added.application_name, node.application.clone()),
        (
            added.pid,
            node.sender
                .and_then(|sender| sender.pid())
                .map_or(Value::Null, Value::Int),
        ),
    ]
}

/// The cells of what the OLAP pool's server says of itself.
fn cells_of_olap(olap: OlapServer<'_>, memory: &Memory, added: &ToNodes) -> Cells {
    let told = olap.told.first();
    let role = match (memory.kind, told.in_recovery()) {
        (Some(Kind::Promoted | Kind::Primary), _) | (Some(Kind::Foreign), Some(false)) => "primary",
        _ => "standby",
    };
    let mut cells = vec![(added.role, role.into())];
    if let Some(error) = olap.lost {
        cells.push((added.error, Value::Text(error.clone())));
        return cells;
    }
    if !olap.told.is_told() {
        cells.extend(
            [added.lag_bytes, added.lag_ms, added.sessions].map(|column| (column, Value::Pending)),
        );
        return cells;
    }
    let int = |figure: Option<i64>| figure.map_or(Value::Unavailable, Value::Int);
    let kinds = [
        (added.conflicts_snapshot, told.by_snapshot()),
        (added.conflicts_lock, told.by_lock()),
        (added.conflicts_bufferpin, told.by_bufferpin()),
        (added.conflicts_deadlock, told.by_deadlock()),
        (added.conflicts_tablespace, told.by_tablespace()),
    ];
    let sum = kinds.iter().map(|(_, count)| *count).sum::<Option<i64>>();
    cells.extend(kinds.map(|(column, count)| (column, int(count))));
    let by = if memory.lag.by_heartbeat {
        "heartbeat"
    } else {
        "replay"
    };
    cells.extend([
        (added.conflicts, int(sum)),
        (added.version, told.version().clone()),
        (added.sessions, told.sessions().clone()),
        (added.feedback, told.feedback().clone()),
    ]);
    if memory.follows() {
        cells.extend([
            (added.lag_bytes, int(memory.lag.bytes)),
            (added.lag_ms, memory.lag.ms.into()),
            (
                added.lag_by,
                memory.lag.ms.map_or(Value::Null, |_| by.into()),
            ),
        ]);
    }
    cells
}

/// The cells of what routers send to their replica.
fn cells_of_routers(routers: &Routers, added: &ToNodes) -> Cells {
    if routers.count == 0 {
        return Vec::new();
    }
    let (rate, why) = routing::told(routers.rates.as_ref().map(|[_, replica]| replica));
    let (fell_back, reasons) = routing::told(routers.fallbacks.as_ref());
    vec![
        (added.routed_per_s, rate),
        (added.why, why),
        (added.fallbacks_per_s, fell_back),
        (added.fallback_reasons, reasons),
        (added.breaker, routers.breaker()),
        (added.misroutes, Value::Int(routers.misroutes)),
        (added.routers, Value::Int(routers.count)),
        (added.open_breakers, Value::Int(routers.breakers.1)),
        (
            added.barred,
            routers.barred.as_deref().map_or(Value::Null, Value::from),
        ),
        (added.breaker_s, routers.open_s.into()),
    ]
}

#[cfg(test)]
mod tests;
