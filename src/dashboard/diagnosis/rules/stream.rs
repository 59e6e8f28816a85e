//! The stream of orders: nobody sends or counts events, the broker is away, the topic is another one, a partition holds
//! the watermark, records are no events.

use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::rows::{Row, stream as rows};
use crate::format;

type Stage<'t> = Row<'t, rows::Stage>;

/// Milliseconds for which an event has waited in the outbox from which on it counts as left there.
const LEFT_MS: f64 = 10_000.0;
/// Seconds by which the watermark of one partition is behind that of the others from which on it holds them up.
const HELD_S: f64 = 60.0;

/// Returns the first stage in trouble: what comes after it lacks events only because of it.
pub(super) fn stream(evidence: &Evidence<'_>) -> Option<Finding> {
    let rows = || evidence.stream.iter();
    // One that died is no trouble if another has taken over.
    let replaced = |row: Stage<'_>| {
        row.state().is("silent")
            && rows().any(|other| {
                other.stage().shown() == row.stage().shown() && !other.state().is("silent")
            })
    };
    broken(evidence)
        .or_else(|| paused(evidence))
        .or_else(|| unsent(evidence))
        .or_else(|| rows().filter(|row| !replaced(*row)).find_map(of_process))
        .or_else(|| held(evidence))
}

/// Returns records that are no events, if there were any in the last minutes. They stay where they are, so those before
/// that time are not told again.
pub(super) fn dead_letters(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut rows = evidence.stream.iter();
    let row = rows.find(|row| row.stage().is("dead letters"))?;
    let count = row.dead_letters().filter(|count| *count > 0)?;
    let since = format::seconds(row.since_s()?);
    let last = row.error().shown();
    let sentence = if count == 1 {
        format!("a dead letter {since} ago: {last}")
    } else {
        let count = format::count(count as f64);
        let ago = format::seconds(row.last_s().unwrap_or(0.0));
        format!("{count} dead letters in {since}, the last one {ago} ago: {last}")
    };
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Error,
        subject: "dead letters".to_owned(),
        sentence,
        cure: "correct its writer (htap.dead_letter)".to_owned(),
        evidence: vec![fact("counted", "no: the figures lack what they stand for")],
        ..Finding::default()
    })
}

/// A replication slot that has lost events.
fn broken(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut rows = evidence.stream.iter();
    let (row, why) = rows.find_map(|row| {
        let why = match row.state().shown() {
            "gone" => "does not exist on this server",
            "lost" => "has lost its WAL",
            "moved" => "is further than what was sent",
            _ => return None,
        };
        row.stage().is("slot").then_some((row, why))
    })?;
    let name = row.name().shown();
    Some(Finding {
        health: Health::Danger,
        damage: Damage::Staleness,
        subject: format!("slot {name}"),
        sentence: format!("replication slot {name} {why}: events of orders are lost"),
        cure: "SELECT htap.switch_outbox(true), then htap-top stream slot drop --discard"
            .to_owned(),
        ..Finding::default()
    })
}

/// Relays that somebody has paused.
fn paused(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut rows = evidence.stream.iter();
    let outbox = rows.find(|row| row.is_source() && row.state().is("paused"))?;
    let (count, age) = waiting(outbox);
    let lasting = format::seconds(outbox.since_s().unwrap_or(0.0));
    let behind = if let Some(unread) = unread(outbox) {
        format!("{unread} of WAL are not read, the first for {age}")
    } else if outbox.lag_rows() > Some(0) {
        format!("{count} events wait, the first for {age}")
    } else {
        "no event waits".to_owned()
    };
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Staleness,
        subject: "outbox".to_owned(),
        sentence: format!(
            "the relay has been paused for {lasting} {}: {behind}",
            outbox.error().shown()
        ),
        cure: evidence.config.keys.fill("{pause_relay} resumes it"),
        ..Finding::default()
    })
}

/// Events that nobody sends.
fn unsent(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut relays = evidence.stream.iter();
    if relays.any(|row| row.stage().is("relay")) {
        return None;
    }
    let outbox = evidence
        .stream
        .iter()
        .find(|row| row.is_source() && row.lag_ms() >= Some(LEFT_MS))?;
    let (count, age) = waiting(outbox);
    if outbox.stage().is("slot") {
        let name = outbox.name().shown();
        let unread = unread(outbox).unwrap_or_else(|| "some".to_owned());
        return Some(Finding {
            health: Health::Warning,
            damage: Damage::Staleness,
            subject: format!("slot {name}"),
            sentence: format!(
                "no relay reads replication slot {name}: {unread} of WAL came since, for {age}"
            ),
            cure: "start htap-top stream relay, or SELECT htap.switch_outbox(false)".to_owned(),
            ..Finding::default()
        });
    }
    let events = if outbox.lag_rows() == Some(1) {
        "event waits"
    } else {
        "events wait"
    };
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Staleness,
        subject: "outbox".to_owned(),
        sentence: format!("no relay sends the outbox: {count} {events}, the first for {age}"),
        cure: "start htap-top stream relay, or SELECT htap.switch_outbox(false)".to_owned(),
        ..Finding::default()
    })
}

/// WAL that nobody has read for the slot.
fn unread(row: Stage<'_>) -> Option<String> {
    let bytes = row.lag_bytes().filter(|_| row.stage().is("slot"))?;
    Some(format::bytes(bytes as f64))
}

/// Number and greatest age of the events that wait.
fn waiting(row: Stage<'_>) -> (String, String) {
    let count = row.lag_rows().unwrap_or(0) as f64;
    let age = row.lag_ms().map_or_else(|| "?".to_owned(), format::ms);
    (format::count(count), age)
}

fn of_process(row: Stage<'_>) -> Option<Finding> {
    let stage = row.stage().shown();
    let lasting = row.since_s().map_or_else(String::new, |since_s| {
        format!(" for {}", format::seconds(since_s))
    });
    let (sentence, cure) = match (stage, row.state().shown()) {
        ("relay" | "aggregator", "broker") => (
            format!("the {stage} has not reached Kafka{lasting}"),
            "check the broker and --brokers",
        ),
        ("relay", "silent") => (
            format!("the relay has said nothing{lasting}: events wait where they were written"),
            "start htap-top stream relay",
        ),
        ("aggregator", "silent") => (
            format!("the aggregator has said nothing{lasting}: events wait in the topic"),
            "start htap-top stream run",
        ),
        ("aggregator", "reset") => (
            "the topic is not the one that was read before: nothing is counted".to_owned(),
            "htap-top stream run --new-topic, if that is right",
        ),
        ("aggregator", "fenced") => (
            format!("an aggregator was fenced{lasting}: another one took over"),
            "run one, or let the others wait",
        ),
        _ => return None,
    };
    let health = if row.state().is("reset") {
        Health::Danger
    } else {
        Health::Warning
    };
    let error = row.error().text().filter(|error| !error.is_empty());
    let mut evidence = vec![fact("process", row.name().shown())];
    evidence.extend(error.map(|error| fact("error", error)));
    if row.lag_rows().is_some_and(|rows| rows > 0) {
        let (count, age) = waiting(row);
        evidence.push(fact("behind", format!("{count} records, {age}")));
    }
    Some(Finding {
        health,
        damage: Damage::Staleness,
        subject: format!("{stage} {}", row.name().shown()),
        sentence,
        cure: cure.to_owned(),
        evidence,
        ..Finding::default()
    })
}

/// A partition whose watermark is far behind that of the others, so that no window becomes final.
fn held(evidence: &Evidence<'_>) -> Option<Finding> {
    let partitions = || {
        let rows = evidence.stream.iter();
        rows.filter(|row| row.stage().is("partition") && !row.state().is("idle"))
            .filter_map(|row| Some((row.watermark_s()?, row)))
    };
    let (last_s, last) = partitions().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (first_s, _) = partitions().min_by(|a, b| a.0.total_cmp(&b.0))?;
    if last_s - first_s < HELD_S {
        return None;
    }
    let name = last.name().shown();
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Staleness,
        subject: format!("partition {name}"),
        sentence: format!(
            "partition {name} holds the watermark {} back: no window becomes final",
            format::seconds(last_s)
        ),
        cure: "see who writes to it".to_owned(),
        evidence: vec![fact("the others", format::seconds(first_s))],
        ..Finding::default()
    })
}
