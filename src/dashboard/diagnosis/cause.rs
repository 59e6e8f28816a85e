//! The cause line: one sentence and a cure.

use super::finding::{Damage, Fact, Finding, fact};
use super::{Cause, Evidence, Gauge, Health, Since, Unknown};
use crate::dashboard::event::Moment;
use crate::format;
use std::collections::BTreeSet;

/// Gauges whose finding says everything: session, duration and amount.
const TOLD_BY_FINDING: [&str; 5] = ["locks", "snapshot", "fresh", "dead", "maxwait"];

/// Returns one sentence: the worst missed target and its most plausible cause, with a cure.
pub fn cause(
    evidence: &Evidence<'_>,
    gauges: &[Gauge],
    findings: &[Finding],
    unknown: &[Unknown],
    since: &Since,
    now: Moment,
    utc_offset_s: i32,
) -> Cause {
    let missed = gauges
        .iter()
        .filter(|gauge| gauge.health >= Health::Warning);
    let worst = missed.max_by_key(|gauge| importance(gauge));
    // Of equals, the first rule wins.
    let by_itself = findings
        .iter()
        .rev()
        .filter(|finding| finding.health >= Health::Warning)
        .max_by_key(|finding| (finding.health, finding.damage));
    let line = Line {
        evidence,
        gauges,
        findings,
        since,
        now,
        utc_offset_s,
    };
    match (worst, by_itself) {
        (Some(gauge), Some(finding))
            if (finding.health, finding.damage) > (gauge.health, damage(gauge)) =>
        {
            line.of_finding(finding)
        }
        (Some(gauge), _) => line.of_gauge(gauge),
        (None, Some(finding)) => line.of_finding(finding),
        (None, None) => calm(gauges, unknown, since, now),
    }
}

/// The inputs of a sentence.
struct Line<'a> {
    evidence: &'a Evidence<'a>,
    gauges: &'a [Gauge],
    findings: &'a [Finding],
    since: &'a Since,
    now: Moment,
    utc_offset_s: i32,
}

impl Line<'_> {
    /// Formats the time at which something began: `14:02:10`, or `before 14:02:10` if it was so when this
    /// program first looked.
    fn time(&self, began: Moment) -> String {
        let age_ms = self.now.mono_ms.saturating_sub(began.mono_ms) as i64;
        let epoch_ms = self.now.epoch_ms - age_ms;
        let time = format::time_of_day(epoch_ms as f64 / 1000.0, self.utc_offset_s);
        if self.since.is_first_look(began) {
            format!("before {time}")
        } else {
            time
        }
    }

    /// The time since which a gauge has been bad.
    fn since(&self, label: &str) -> String {
        let began = self.since.bad.get(label).map_or(self.now, |bad| bad.0);
        self.time(began)
    }

    fn explaining(&self, label: &str) -> Option<&Finding> {
        let mut findings = self.findings.iter();
        findings.find(|finding| finding.explains.contains(&label))
    }

    /// Number of troubles besides the gauge and the finding in the sentence. A gauge and the finding that
    /// explains it count as one.
    fn more(&self, gauge: Option<&Gauge>, finding: Option<&Finding>) -> usize {
        let told = |rule: &str| finding.is_some_and(|finding| finding.rule == rule);
        let bad = self.findings.iter();
        let bad = bad.filter(|finding| finding.health >= Health::Warning);
        let rules = bad.map(|finding| finding.rule);
        let missed = self.gauges.iter().filter(|other| {
            other.health >= Health::Warning
                && gauge.is_none_or(|gauge| gauge.label != other.label)
                && finding.is_none_or(|finding| !finding.explains.contains(&other.label))
        });
        let labels = missed.map(|gauge| {
            self.explaining(gauge.label)
                .map_or(gauge.label, |finding| finding.rule)
        });
        let others: BTreeSet<&str> = rules.chain(labels).filter(|rule| !told(rule)).collect();
        others.len()
    }

    fn of_finding(&self, finding: &Finding) -> Cause {
        let key = (finding.rule, finding.subject.clone());
        let began = self.since.found.get(&key).copied().unwrap_or(self.now);
        let mut facts = finding.evidence.clone();
        facts.push(fact("since", self.time(began)));
        Cause {
            label: finding.rule,
            rule: finding.rule,
            health: finding.health,
            sentence: finding.sentence.clone(),
            cure: finding.cure.clone(),
            ends: finding.ends,
            evidence: facts,
            more: self.more(None, Some(finding)),
        }
    }

    fn of_gauge(&self, gauge: &Gauge) -> Cause {
        let finding = self.explaining(gauge.label);
        let sentence = match finding {
            Some(finding) if TOLD_BY_FINDING.contains(&gauge.label) => {
                self.with_latency(gauge, finding)
            }
            Some(finding) => format!(
                "{}: {}, since {}",
                self.figure(gauge),
                finding.sentence,
                self.since(gauge.label)
            ),
            None => format!(
                "{}: no backend stands out, since {}",
                self.figure(gauge),
                self.since(gauge.label)
            ),
        };
        let mut cure = finding
            .map(|finding| finding.cure.clone())
            .unwrap_or_default();
        if cure.is_empty() && self.failed(gauge) {
            // The log shows lost connections and restarts.
            cure = self.evidence.config.keys.fill("{log} the log");
        }
        Cause {
            label: gauge.label,
            rule: finding.map(|finding| finding.rule).unwrap_or_default(),
            health: gauge.health,
            sentence,
            cure,
            ends: finding.and_then(|finding| finding.ends),
            evidence: self.facts(gauge, finding),
            more: self.more(Some(gauge), finding),
        }
    }

    fn failed(&self, gauge: &Gauge) -> bool {
        gauge.label == "p99" && self.evidence.oltp.failed > 0
    }

    /// Formats a gauge with its figure: `p99 4ms→31ms`, `server 95 of 97`.
    fn figure(&self, gauge: &Gauge) -> String {
        if self.failed(gauge) {
            let failed = self.evidence.oltp.failed;
            let queries = if failed == 1 { "query" } else { "queries" };
            return format!("{failed} point {queries} failed in 30s");
        }
        if gauge.label == "p99" {
            return format!("p99 {}{}", self.before(gauge), gauge.value);
        }
        format!("{} {} of {}", gauge.label, gauge.value, gauge.target)
    }

    /// Returns `4ms→` if the figure is known from the time when it was good.
    fn before(&self, gauge: &Gauge) -> String {
        let bad = self.since.bad.get(gauge.label);
        bad.and_then(|(_, before)| *before)
            .map(|before| format!("{}→", format::ms(before)))
            .unwrap_or_default()
    }

    /// The finding's sentence, after the missed latency if the finding explains that, too.
    fn with_latency(&self, gauge: &Gauge, finding: &Finding) -> String {
        let latency = self.gauges.iter().find(|other| {
            other.label == "p99"
                && other.health == Health::Danger
                && gauge.health == Health::Danger
                && finding.explains.contains(&"p99")
        });
        match latency {
            Some(latency) if !self.failed(latency) => format!(
                "p99 {}{}: {}, since {}",
                self.before(latency),
                latency.value,
                finding.sentence,
                self.since("p99")
            ),
            _ => finding.sentence.clone(),
        }
    }

    fn facts(&self, gauge: &Gauge, finding: Option<&Finding>) -> Vec<Fact> {
        let target = if gauge.target.is_empty() {
            String::new()
        } else {
            format!(", target {}", gauge.target)
        };
        let mut facts = vec![
            fact(gauge.label, format!("{}{target}", gauge.value)),
            fact("since", self.since(gauge.label)),
        ];
        if gauge.label == "p99" {
            let before = self.before(gauge);
            let before = before.trim_end_matches('→');
            if !before.is_empty() {
                facts.push(fact("before", before));
            }
        }
        facts.extend(
            finding
                .map(|finding| finding.evidence.clone())
                .unwrap_or_default(),
        );
        facts
    }
}

/// The cause if no known target is missed. An unknown figure does not count as within its target.
fn calm(gauges: &[Gauge], unknown: &[Unknown], since: &Since, now: Moment) -> Cause {
    let held = since.calm.map_or(0.0, |calm| now.since(calm));
    let held = format::seconds(held);
    let measured = gauges.iter().any(|gauge| gauge.health == Health::Good);
    let (pending, lacking): (Vec<&Unknown>, Vec<&Unknown>) =
        unknown.iter().partition(|unknown| unknown.why.is_empty());
    let sentence = if !lacking.is_empty() {
        let rest = if measured {
            format!("; the rest held for {held}")
        } else {
            String::new()
        };
        format!("not known: {}{rest}", told(&lacking))
    } else if !measured {
        "measuring".to_owned()
    } else if !pending.is_empty() {
        let names: Vec<&str> = pending
            .iter()
            .map(|unknown| unknown.what.as_str())
            .collect();
        format!("measuring {}; the rest held for {held}", names.join(", "))
    } else {
        return Cause {
            health: Health::Good,
            sentence: format!("all targets held for {held}"),
            ..Cause::default()
        };
    };
    Cause {
        sentence,
        evidence: unknown
            .iter()
            .map(|unknown| {
                let why = match unknown.why.as_str() {
                    "" => "not measured yet",
                    why => why,
                };
                fact(&unknown.what, why)
            })
            .collect(),
        ..Cause::default()
    }
}

/// Lists what is unknown, grouped by reason: `locks, views (permission denied …), p99 (…)`.
fn told(unknown: &[&Unknown]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for Unknown { what, why } in unknown {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, whats)) => whats.push(what),
            None => reasons.push((why, vec![what])),
        }
    }
    let told = reasons
        .iter()
        .map(|(why, whats)| format!("{} ({why})", whats.join(", ")));
    told.collect::<Vec<_>>().join(", ")
}

/// Returns how bad the trouble of the cause line is: the damage it does, and how far past its target the worst figure is
/// that it is about or explains, as figure / target.
pub(crate) fn severity(gauges: &[Gauge], findings: &[Finding], cause: &Cause) -> (Damage, f64) {
    let finding = findings.iter().find(|finding| finding.rule == cause.rule);
    let about = |gauge: &&Gauge| {
        let explained = finding.is_some_and(|finding| finding.explains.contains(&gauge.label));
        gauge.health == Health::Danger && (gauge.label == cause.label || explained)
    };
    let missed = gauges.iter().filter(about);
    let worst = missed.max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let damage = finding.map_or_else(|| worst.map(damage), |finding| Some(finding.damage));
    (
        damage.unwrap_or_default(),
        worst.map_or(1.0, |gauge| gauge.ratio),
    )
}

/// Damage done by a missed target.
fn damage(gauge: &Gauge) -> Damage {
    match gauge.label {
        "server" => Damage::Halt,
        "fresh" => Damage::Staleness,
        _ => Damage::Latency,
    }
}

/// Danger before warning; then causes before their effects.
fn importance(gauge: &Gauge) -> (Health, u8) {
    let rank = match gauge.label {
        "locks" => 9,
        "snapshot" => 8,
        "p99" => 7,
        "server" => 6,
        "oltp pool" => 5,
        "olap pool" => 4,
        "dead" => 3,
        "fresh" => 2,
        _ => 1,
    };
    (gauge.health, rank)
}
