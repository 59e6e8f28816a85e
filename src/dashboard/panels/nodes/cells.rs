//! The cells of a node's row.

use super::found::Node;
use super::routing::{self, Routers};
use super::{Kind, Memory, OlapServer, Uses};
use crate::dashboard::rows::added::ToNodes;
use crate::dashboard::rows::{Rows, nodes, read};
use crate::format;
use crate::pg::{Column, Table, Value};
use crate::text::Clean;

/// Rows of the host that are not this server's.
const BEYOND: [&str; 2] = ["machine", "others"];
/// Percent of a core below which a class is not listed.
const LEAST_CPU: f64 = 0.5;

/// Returns the figure, or `without` if there is none.
fn int(figure: Option<i64>, without: Value) -> Value {
    figure.map_or(without, Value::Int)
}

/// Cells of a row.
pub(super) type Cells = Vec<(Column, Value)>;

/// The cells of this server, from its answer.
pub(super) fn cells_of_here(
    table: &Table,
    place: &str,
    routers: &Routers,
    added: &ToNodes,
) -> Cells {
    let here = Rows::<nodes::Here>::of(table).first();
    let standby = here.in_recovery() == Some(true);
    let (mut rate, mut why) = (Value::Null, Value::Null);
    if routers.count > 0 {
        (rate, why) = routing::told(routers.rates.as_ref().map(|[primary, _]| primary));
    }
    let role = if standby { "standby" } else { "primary" };
    vec![
        (added.name, place.into()),
        (added.role, role.into()),
        (added.state, "running".into()),
        (added.routed_per_s, rate),
        (added.why, why),
        (added.version, here.version().clone()),
        (added.sessions, here.sessions().clone()),
        (added.in_recovery, Value::Bool(standby)),
        (added.started_us, int(here.started_us(), Value::Null)),
        (added.head_bytes, int(here.head_bytes(), Value::Null)),
    ]
}

/// The cells for what this server knows about a node.
pub(super) fn cells_of(node: &Node<'_>, added: &ToNodes) -> Cells {
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

/// The cells for what the OLAP pool's server reports about itself.
pub(super) fn cells_of_olap(olap: OlapServer<'_>, memory: &Memory, added: &ToNodes) -> Cells {
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
    cells.extend(cells_of_use(olap.uses, added));
    if !olap.told.is_told() {
        cells.extend(
            [added.lag_bytes, added.lag_ms, added.sessions].map(|column| (column, Value::Pending)),
        );
        return cells;
    }
    let kinds = [
        (added.conflicts_snapshot, told.by_snapshot()),
        (added.conflicts_lock, told.by_lock()),
        (added.conflicts_bufferpin, told.by_bufferpin()),
        (added.conflicts_deadlock, told.by_deadlock()),
        (added.conflicts_tablespace, told.by_tablespace()),
    ];
    let sum = kinds.iter().map(|(_, count)| *count).sum::<Option<i64>>();
    cells.extend(kinds.map(|(column, count)| (column, int(count, Value::Unavailable))));
    let by = if memory.lag.by_heartbeat {
        "heartbeat"
    } else {
        "replay"
    };
    cells.extend([
        (added.conflicts, int(sum, Value::Unavailable)),
        (added.version, told.version().clone()),
        (added.sessions, told.sessions().clone()),
        (added.feedback, told.feedback().clone()),
        (added.started_us, int(told.started_us(), Value::Null)),
        (added.head_bytes, int(told.replayed_bytes(), Value::Null)),
    ]);
    cells.extend(
        told.in_recovery()
            .map(|standby| (added.in_recovery, Value::Bool(standby))),
    );
    if memory.follows() {
        cells.extend([
            (added.lag_bytes, int(memory.lag.bytes, Value::Unavailable)),
            (added.lag_ms, memory.lag.ms.into()),
            (
                added.lag_by,
                memory.lag.ms.map_or(Value::Null, |_| by.into()),
            ),
        ]);
    }
    cells
}

/// The cells for a server's use of its machine: the sum and the share of each class of work, or the reason why it cannot be read.
pub(super) fn cells_of_use(uses: Uses<'_>, added: &ToNodes) -> Cells {
    let uses = match uses {
        Uses::Told(uses) => uses,
        Uses::Hidden(why) => {
            return vec![
                (added.cpu_pct, Value::Unavailable),
                (added.cpu_by, Value::Text(why.clone())),
            ];
        }
        Uses::Off => return Vec::new(),
    };
    if !uses.is_told() {
        return vec![
            (added.cpu_pct, Value::Pending),
            (added.cpu_by, Value::Pending),
        ];
    }
    let (mut sum, mut parts) = (None, Vec::new());
    for row in uses
        .iter()
        .filter(|row| !BEYOND.contains(&row.who().shown()))
    {
        let Some(cpu) = row.cpu_pct() else { continue };
        sum = Some(sum.unwrap_or(0.0) + cpu);
        if cpu >= LEAST_CPU {
            parts.push((cpu, row.who().shown()));
        }
    }
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let parts = parts.iter();
    let parts: Vec<String> = parts
        .map(|(cpu, who)| format!("{who} {}", format::percent(*cpu)))
        .collect();
    let by = match sum {
        None => Value::Pending,
        Some(sum) if parts.is_empty() => format::percent(sum).as_str().into(),
        Some(_) => parts.join(", ").as_str().into(),
    };
    vec![
        (added.cpu_pct, sum.map_or(Value::Pending, Value::Float)),
        (added.cpu_by, by),
    ]
}

/// Returns the dead rows that the node's feedback keeps here; none if somebody else holds older ones.
pub(super) fn dead_rows(node: &Node<'_>, holders: Rows<'_, read::Holder>) -> Value {
    let slot = node.slot.map(|slot| slot.name().shown());
    let pid = node.sender.and_then(|sender| sender.pid());
    let its = holders.iter().find(|holder| match holder.kind().shown() {
        "slot" => Some(holder.holder().shown()) == slot,
        "replica" => holder.pid().is_some() && holder.pid() == pid,
        _ => false,
    });
    int(its.and_then(|holder| holder.pins()), Value::Null)
}

/// The cells for what routers send to their replica.
pub(super) fn cells_of_routers(routers: &Routers, added: &ToNodes) -> Cells {
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
