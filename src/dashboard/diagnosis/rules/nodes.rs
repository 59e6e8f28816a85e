//! Nodes beside this server: a standby that is paused, lost, promoted or too far behind for routers.

use super::RESUME;
use crate::dashboard::diagnosis::finding::{Damage, Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::rows::{Row, nodes, read};
use crate::format;

type Node<'t> = Row<'t, nodes::Node>;

/// Lag in milliseconds from which a paused standby is a danger.
const LATE_MS: f64 = 60_000.0;
/// Seconds without a receiver; a walreceiver reconnects every five seconds.
const DOWN_S: f64 = 10.0;

/// Returns the worst finding about nodes.
pub(super) fn nodes(evidence: &Evidence<'_>) -> Option<Finding> {
    let found = evidence
        .nodes
        .iter()
        .filter_map(|node| of_node(evidence, node));
    found.reduce(|worst, finding| {
        let worse = (finding.health, finding.damage) > (worst.health, worst.damage);
        if worse { finding } else { worst }
    })
}

/// Returns true if a finding about nodes already reports this row, so that no other rule repeats it.
pub(super) fn is_told(evidence: &Evidence<'_>, row: Row<'_, read::Replication>) -> bool {
    let mut told = evidence
        .nodes
        .iter()
        .filter(|node| of_node(evidence, *node).is_some());
    match row.kind().shown() {
        "slot" => told.any(|node| node.slot().text() == row.name().text()),
        "replica" if row.gone_s().is_some() => {
            told.any(|node| node.application_name().text() == row.name().text())
        }
        "replica" => row.pid().is_some() && told.any(|node| node.pid() == row.pid()),
        _ => false,
    }
}

fn of_node(evidence: &Evidence<'_>, node: Node<'_>) -> Option<Finding> {
    match node.state().shown() {
        "paused" => Some(paused(evidence, node)),
        "lost" => Some(lost(evidence, node)),
        "promoted" => Some(promoted(node)),
        "no WAL" if node.since_s().number() >= Some(DOWN_S) => Some(without_wal(node)),
        _ => lagging(node),
    }
}

/// Duration of the node's state: `for 12s`.
fn lasting(node: Node<'_>) -> String {
    let since = node.since_s();
    let seconds = since.number().map_or_else(String::new, format::seconds);
    format!("for {}{seconds}", since.sign())
}

/// How far it is behind: `3.2 MB, 12s`.
fn behind(node: Node<'_>) -> Option<String> {
    let bytes = node.lag_bytes().map(format::bytes);
    let age = node.lag_ms().map(format::ms);
    let known: Vec<String> = bytes.into_iter().chain(age).collect();
    (!known.is_empty()).then(|| known.join(", "))
}

/// The same in a sentence.
fn is_behind(node: Node<'_>) -> String {
    let behind = behind(node).unwrap_or_else(|| "an unknown amount".to_owned());
    format!("{behind} behind")
}

/// Where the business panels are read meanwhile, if the OLAP pool reads the node.
fn panels(evidence: &Evidence<'_>, node: Node<'_>) -> Option<Fact> {
    let where_to = if evidence.olap_stands_in {
        "read from the primary"
    } else {
        "not read elsewhere"
    };
    (node.olap() == Some(true)).then(|| fact("business panels", where_to))
}

fn finding(node: Node<'_>, health: Health, sentence: String, cure: String) -> Finding {
    let retained = node.retained_bytes().map(format::bytes);
    let mut facts = vec![fact("slot", node.slot().text().unwrap_or("none"))];
    facts.extend(behind(node).map(|behind| fact("behind", behind)));
    facts.extend(retained.map(|retained| fact("retained", retained)));
    facts.extend(node.error().text().map(|error| fact("error", error)));
    if let Some(barred) = node.barred().text() {
        let open = node.open_breakers().unwrap_or(0);
        let all = node.routers().unwrap_or(0);
        let open_s = node.breaker_s().map_or_else(String::new, |open_s| {
            format!(" for {}", format::seconds(open_s))
        });
        facts.push(fact(
            "routers",
            format!("{open} of {all} send no reads there{open_s}: {barred}"),
        ));
    }
    if let Some(rate) = node.fallbacks_per_s().filter(|rate| *rate > 0.0) {
        facts.push(fact("fell back", format!("{}/s", format::count(rate))));
    }
    Finding {
        health,
        damage: Damage::Staleness,
        explains: &["lag"],
        subject: node.name().shown().to_owned(),
        sentence,
        cure,
        evidence: facts,
        ..Finding::default()
    }
}

fn paused(evidence: &Evidence<'_>, node: Node<'_>) -> Finding {
    let late = node.lag_ms() >= Some(LATE_MS);
    let health = if late {
        Health::Danger
    } else {
        Health::Warning
    };
    let sentence = format!(
        "replay is paused on {} {}: {}",
        node.name().shown(),
        lasting(node),
        is_behind(node)
    );
    let mut found = finding(node, health, sentence, format!("{RESUME} there"));
    found.evidence.extend(panels(evidence, node));
    found
}

fn lost(evidence: &Evidence<'_>, node: Node<'_>) -> Finding {
    let name = node.name().shown();
    let what = if node.streams() == Some(true) {
        "receives WAL, but cannot be reached"
    } else {
        "lost"
    };
    let reads = if evidence.olap_stands_in {
        "reads go to the primary"
    } else {
        "business panels are not read"
    };
    let slot = node.retained_bytes().map(format::bytes);
    let slot = slot.map_or_else(String::new, |bytes| format!(", its slot retains {bytes}"));
    let sentence = format!("{name} {what} {}: {reads}{slot}", lasting(node));
    let cure = if node.streams() == Some(true) {
        "check its log and pg_hba.conf"
    } else {
        "start it, or check its log"
    };
    let mut found = finding(node, Health::Warning, sentence, cure.to_owned());
    found.evidence.extend(panels(evidence, node));
    found
}

fn promoted(node: Node<'_>) -> Finding {
    let name = node.name().shown();
    let sentence = format!("{name} was promoted: two primaries take writes");
    let cure = "write to one, rebuild the other (pg_rewind)";
    let mut found = finding(node, Health::Danger, sentence, cure.to_owned());
    let writes = "each lacks what the other writes, and they cannot be merged";
    found.evidence.push(fact("writes", writes));
    Finding {
        damage: Damage::Loss,
        ..found
    }
}

fn without_wal(node: Node<'_>) -> Finding {
    let name = node.name().shown();
    let sentence = format!(
        "{name} has received no WAL {}: {}",
        lasting(node),
        is_behind(node)
    );
    let cure = "check primary_conninfo and the log there";
    finding(node, Health::Warning, sentence, cure.to_owned())
}

/// Finding for a standby that routers no longer read because it is too far behind.
fn lagging(node: Node<'_>) -> Option<Finding> {
    node.barred().text().filter(|barred| *barred == "lagging")?;
    let name = node.name().shown();
    let open = node.open_breakers().unwrap_or(0);
    let routers = if open == 1 {
        "a router sends".to_owned()
    } else {
        format!("{open} routers send")
    };
    let sentence = format!(
        "{name} is {}: {routers} its reads to the primary",
        is_behind(node)
    );
    let cure = "check it for long queries, I/O and a busy processor";
    Some(finding(node, Health::Warning, sentence, cure.to_owned()))
}
