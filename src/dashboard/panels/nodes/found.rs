//! The standbys and slots of this server, and the one that the OLAP pool reads.

use super::{Kind, Memory, Sources};
use crate::dashboard::rows::{Row, Rows, read};
use crate::pg::Value;
use std::collections::HashMap;

/// Returns true if the row is, or was, a standby's walsender or a physical slot.
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
pub(super) struct Node<'t> {
    pub(super) name: String,
    pub(super) state: &'t str,
    pub(super) slot: Option<Row<'t, read::Replication>>,
    pub(super) sender: Option<Row<'t, read::Replication>>,
    /// Seconds since it disconnected, if that was seen.
    pub(super) gone_s: Option<f64>,
    /// The application_name of its walsender.
    pub(super) application: Value,
    pub(super) address: Value,
    /// How it is known that the OLAP pool reads it; `None` if it does not.
    pub(super) known_by: Option<&'static str>,
}

/// The standbys and physical slots of this server.
pub(super) fn standbys<'t>(
    replication: Rows<'t, read::Replication>,
    memory: &mut Memory,
) -> Vec<Node<'t>> {
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
pub(super) fn claim<'t>(found: &mut Vec<Node<'t>>, sources: &Sources<'t>, memory: &mut Memory) {
    let Some(olap) = sources.olap.filter(|_| memory.kind != Some(Kind::Same)) else {
        return;
    };
    let told = olap.told.first();
    let copy = memory.is_copy();
    // If the role may not see the receiver, primary_slot_name names the slot.
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
