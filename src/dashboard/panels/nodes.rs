//! The nodes: this server, the standbys beside it, and the OLAP pool's own server.

mod cells;
mod found;
pub(crate) mod routing;

use crate::dashboard::rows::added::ToNodes;
use crate::dashboard::rows::{Row, Rows, host, nodes, read};
use crate::pg::{Table, Value};
use crate::text::Clean;
use cells::{cells_of, cells_of_here, cells_of_olap, cells_of_routers, cells_of_use, dead_rows};
use found::{Node, claim, standbys};
use std::collections::HashMap;

pub(crate) use found::is_of_node;

/// Age in milliseconds from which a heartbeat measures nothing: nobody writes heartbeats any more.
const STALE_BEAT_MS: f64 = 10_000.0;

/// State kept between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) routers: routing::Memory,
    /// The OLAP pool's server in relation to this one; `None` until it has answered.
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
    /// True if the OLAP pool's server had answered by then.
    told_before: bool,
}

/// The OLAP pool's server in relation to the watched one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The watched server itself, under another address.
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
    /// Its last answer; without rows before the first one.
    pub(crate) told: Rows<'t, nodes::OlapServer>,
    /// Why it cannot be reached.
    pub(crate) lost: Option<&'t Clean>,
    /// True if both servers have answered at about the same time.
    pub(crate) paired: bool,
    /// Use of its machine.
    pub(crate) uses: Uses<'t>,
}

/// The use of a server's machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Uses<'t> {
    /// By class of work; no row before it was read.
    Told(Rows<'t, host::HostUse>),
    /// It cannot be read, for this reason.
    Hidden(&'t Clean),
    /// It is not to be read.
    Off,
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
    /// Use of this server's machine.
    pub(crate) uses: Uses<'t>,
    /// Who holds the xmin horizon here.
    pub(crate) holders: Rows<'t, read::Holder>,
    /// Time of the last tick in seconds.
    pub(crate) now_s: f64,
}

/// Derives the rows of all nodes from this server's answer.
pub(crate) fn derive(answer: &Table, sources: &Sources<'_>, memory: &mut Memory) -> Table {
    let here = Rows::<nodes::Here>::of(answer);
    note_olap(here.first(), sources, memory);
    let mut found = standbys(sources.replication, memory);
    claim(&mut found, sources, memory);
    let names = found.iter().map(|node| node.name.clone()).collect();
    let mut table = Table::default();
    if !here.is_told() {
        return table;
    }
    let added = ToNodes::to(&mut table);
    let routers = memory.routers.now.clone();
    let mut cells = cells_of_here(answer, sources.place, &routers, &added);
    cells.extend(cells_of_use(sources.uses, &added));
    table.push(cells);
    // Routers name no replica: it is the OLAP pool's, or the only one.
    let routed = found.iter().position(|node| node.known_by.is_some());
    let routed = routed.filter(|_| memory.is_copy());
    let routed = routed.or((found.len() == 1 && memory.is_copy()).then_some(0));
    for (at, node) in found.iter().enumerate() {
        let mut cells = cells_of(node, &added);
        cells.push((added.dead_kept, dead_rows(node, sources.holders)));
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
fn note_olap(here: Row<'_, nodes::Here>, sources: &Sources<'_>, memory: &mut Memory) {
    let Some(olap) = sources.olap else { return };
    let told = olap.told.first();
    if olap.lost.is_none() && olap.told.is_told() && here.started_us().is_some() {
        memory.kind = Some(kind(here, sources.system, told));
    }
    if olap.paired && olap.lost.is_none() {
        memory.lag.note(here, told);
    }
    memory.barred = match memory.kind {
        Some(Kind::Same) => None,
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
        // Without its identifier this cannot be decided.
        Kind::Foreign
    }
}

impl Memory {
    /// Returns false if the OLAP pool's server is known not to be, and never to have been, a standby of this one.
    pub(crate) fn is_copy(&self) -> bool {
        !matches!(self.kind, Some(Kind::Foreign | Kind::Primary))
    }

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

#[cfg(test)]
mod tests;
