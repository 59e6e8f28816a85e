//! Before and after: what differs between two periods, the most important first.
//!
//! A [`Baseline`] keeps what is known at a moment: cumulative sums, levels, and the series up to it. With a later model it
//! makes the period since; with earlier samples that it kept, the period before. [`Comparison::of`] compares any two
//! periods: those around a key press, or two recordings.

pub mod levels;
pub mod oltp;
pub mod statements;

use super::event::Moment;
use crate::config::Targets;
use crate::format::{self, Unit};
use crate::pg::Value;
use crate::text::Clean;
use levels::{Relation, Relations, Settings};
use oltp::{Curves, Oltp};
use statements::{Figures, Statements, Works};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Least share by which a figure must differ, of the larger one.
const LEAST_SHARE: f64 = 0.1;
/// Least weight: 5 ms of work per second, half a percent of a target.
const LEAST_WEIGHT: f64 = 0.005;
/// Dead rows of a table that are not worth a word.
const FEW_DEAD: f64 = 1_000.0;
/// Bytes of all tables below which a database counts as that large: in a small one everything is a large share.
const SMALL: f64 = 1_073_741_824.0;
/// Factor of blocks per call from which another plan is likely.
const OTHER_PLAN: f64 = 4.0;

/// What is known of one moment; parts that were not sampled yet are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels {
    /// Sums of statements.
    pub statements: Option<Arc<Statements>>,
    /// Tables.
    pub tables: Option<Arc<Relations>>,
    /// Indexes.
    pub indexes: Option<Arc<Relations>>,
    /// Settings.
    pub settings: Option<Arc<Settings>>,
}

/// The server of a period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// System identifier.
    pub system: String,
    /// Database.
    pub database: String,
    /// Major version; 0 if unknown.
    pub major: i64,
}

/// A moment to compare with.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// The moment.
    pub at: Moment,
    /// The server then.
    pub server: Server,
    /// What was known at the moment, or first after it.
    pub levels: Levels,
    /// Earlier samples of statements, oldest first.
    pub earlier: Vec<Arc<Statements>>,
    /// OLTP series up to the moment.
    pub curves: Curves,
    /// Commits of the database, and the time of its reset.
    pub counters: Option<(f64, f64)>,
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Period {
    /// Its server.
    pub server: Server,
    /// Begin and end in milliseconds since the epoch; the same if only the end is known.
    pub epoch_ms: (i64, i64),
    /// OLTP figures.
    pub oltp: Oltp,
    /// Work of statements.
    pub works: Option<Works>,
    /// Levels at its end.
    pub levels: Levels,
    /// True if the counters of the database were reset within it.
    pub reset: bool,
}

/// A kind of thing that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Transactions per second.
    Tps,
    /// Median of the point query.
    P50,
    /// Its 99th percentile.
    P99,
    /// Mean execution time of a statement.
    Statement,
    /// Dead rows of a table.
    Dead,
    /// Size of a table.
    Table,
    /// Size of an index.
    Index,
    /// A setting.
    Setting,
}

impl What {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tps => "tps",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Statement => "statement",
            Self::Dead => "dead rows",
            Self::Table => "table",
            Self::Index => "index",
            Self::Setting => "setting",
        }
    }

    /// Unit of its figures.
    pub fn unit(self) -> Unit {
        match self {
            Self::Tps => Unit::PerSecond,
            Self::P50 | Self::P99 | Self::Statement => Unit::Ms,
            Self::Dead => Unit::Count,
            Self::Table | Self::Index => Unit::Bytes,
            Self::Setting => Unit::Plain,
        }
    }
}

/// A difference between two periods.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What changed.
    pub what: What,
    /// Its name: a statement's text, a relation, a setting.
    pub name: Clean,
    /// Figure before; null if there was none.
    pub before: Value,
    /// Figure after.
    pub after: Value,
    /// How much it matters; `None` for what somebody made: an index dropped, a setting changed.
    pub weight: Option<f64>,
    /// All figures of a statement, before and after.
    pub work: Option<(Figures, Figures)>,
}

/// All differences between two periods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Lengths of what is compared, and what cannot be.
    pub notes: Vec<String>,
    /// Changes of figures, the most important first.
    pub changes: Vec<Change>,
    /// Tables and indexes that came or went, and settings changed.
    pub made: Vec<Change>,
}

impl Baseline {
    /// Returns the period before it that is as long as the time since, as far as anything is known of it.
    pub fn before(&self, history: &super::history::History, seconds: f64) -> Period {
        let now = self.levels.statements.as_ref();
        let earlier = now.and_then(|now| {
            let apart = |sample: &Arc<Statements>| (now.after(sample) - seconds).abs();
            let known = self.earlier.iter().filter_map(|sample| {
                let works = now.since(sample)?;
                Some((apart(sample), works))
            });
            known.min_by(|(a, _), (b, _)| a.total_cmp(b))
        });
        let works = match earlier {
            Some((_, works)) => Some(works),
            None => now.map(|now| now.since_reset()),
        };
        Period {
            server: self.server.clone(),
            epoch_ms: (self.at.epoch_ms, self.at.epoch_ms),
            oltp: self.curves.before(history, seconds),
            works,
            levels: self.levels.clone(),
            reset: false,
        }
    }
}

impl Comparison {
    /// Compares two periods.
    pub fn of(before: &Period, after: &Period, targets: &Targets) -> Self {
        let mut changes = Vec::new();
        let mut made = Vec::new();
        oltp(before, after, targets, &mut changes);
        works(before, after, &mut changes);
        if let (Some(then), Some(now)) = (&before.levels.tables, &after.levels.tables) {
            // Counters start at 0 after a reset; sizes do not.
            if !before.reset && !after.reset {
                dead(then, now, targets, &mut changes);
            }
            sizes(What::Table, then, now, &mut changes, &mut made);
        }
        if let (Some(then), Some(now)) = (&before.levels.indexes, &after.levels.indexes) {
            sizes(What::Index, then, now, &mut changes, &mut made);
        }
        if let (Some(then), Some(now)) = (&before.levels.settings, &after.levels.settings) {
            settings(then, now, &mut made);
        }
        changes.retain(|change| change.weight >= Some(LEAST_WEIGHT));
        let weight = |change: &Change| change.weight.unwrap_or(0.0);
        changes.sort_by(|a, b| {
            let order = weight(b).total_cmp(&weight(a));
            order.then_with(|| (a.what, &a.name).cmp(&(b.what, &b.name)))
        });
        Self {
            notes: notes(before, after),
            changes,
            made,
        }
    }
}

/// Returns true if a difference is larger than that of two periods in which nothing happened.
fn differs(before: f64, after: f64) -> bool {
    let larger = before.abs().max(after.abs());
    larger > 0.0 && (after - before).abs() >= LEAST_SHARE * larger
}

fn change(what: What, name: &str, (before, after): (f64, f64), weight: f64) -> Option<Change> {
    differs(before, after).then(|| Change {
        what,
        name: Clean::from(name),
        before: Value::Float(before),
        after: Value::Float(after),
        weight: Some(weight),
        work: None,
    })
}

/// A percentile weighs its difference as a share of the target; tps its difference as a share of the larger figure.
fn oltp(before: &Period, after: &Period, targets: &Targets, changes: &mut Vec<Change>) {
    let (then, now) = (&before.oltp, &after.oltp);
    let shares = [
        (What::P50, then.p50_ms, now.p50_ms),
        (What::P99, then.p99_ms, now.p99_ms),
    ];
    for (what, then, now) in shares {
        if let (Some(then), Some(now)) = (then, now) {
            let weight = (now - then).abs() / targets.oltp_p99_ms;
            changes.extend(change(what, "point query", (then, now), weight));
        }
    }
    if let (Some(then), Some(now)) = (then.tps, now.tps) {
        let weight = (now - then).abs() / then.max(now).max(f64::MIN_POSITIVE);
        changes.extend(change(What::Tps, "transactions", (then, now), weight));
    }
}

/// Returns true if query ids of the two mean the same statements.
fn same_ids(before: &Server, after: &Server) -> bool {
    let known = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
    let major = before.major == 0 || after.major == 0 || before.major == after.major;
    major && known(&before.system, &after.system) && known(&before.database, &after.database)
}

fn works(before: &Period, after: &Period, changes: &mut Vec<Change>) {
    let (Some(then), Some(now)) = (&before.works, &after.works) else {
        return;
    };
    let by_text;
    let (then, now) = if same_ids(&before.server, &after.server) {
        (then, now)
    } else {
        by_text = (then.by_text(), now.by_text());
        (&by_text.0, &by_text.1)
    };
    for key in then.keys(now) {
        let Some((b, a)) = then.of(key).zip(now.of(key)) else {
            continue;
        };
        let calls = b.calls_per_s.unwrap_or_default();
        let rarer = a.calls_per_s.map(|a| {
            if b.calls_per_s.is_some() {
                a.min(calls)
            } else {
                a
            }
        });
        let some = |share: Option<f64>, other: Option<f64>| match (share, other) {
            (Some(a), Some(b)) => differs(a, b),
            _ => false,
        };
        let altered = some(b.mean_ms, a.mean_ms) || some(b.calls_per_s, a.calls_per_s);
        let Some(weight) = weight(&b, &a, rarer).filter(|_| altered) else {
            continue;
        };
        let text = now.text(key).or(then.text(key));
        let name = text.cloned().unwrap_or_else(|| Clean::from(key.join(" ")));
        changes.push(Change {
            what: What::Statement,
            name,
            before: b.mean_ms.into(),
            after: a.mean_ms.into(),
            weight: Some(weight),
            work: Some((b, a)),
        });
    }
}

/// A statement weighs the difference of its execution time in seconds per second, or the difference that its mean makes
/// at the lower rate of calls if that is more: clients that wait for answers call less often if these take longer, and the
/// time per second stays the same.
fn weight(before: &Figures, after: &Figures, rarer: Option<f64>) -> Option<f64> {
    let mean = match (before.mean_ms, after.mean_ms) {
        (Some(b), Some(a)) => rarer.map(|calls| calls * (a - b).abs()),
        _ => None,
    };
    let time = |figures: &Figures| match (figures.calls_per_s, figures.mean_ms) {
        (Some(calls), Some(mean)) => Some(calls * mean),
        (Some(_), None) => Some(0.0),
        (None, _) => None,
    };
    let time = time(before).zip(time(after)).map(|(b, a)| (a - b).abs());
    let ms = match (mean, time) {
        (Some(mean), Some(time)) => Some(mean.max(time)),
        (mean, time) => mean.or(time),
    };
    ms.map(|ms| ms / 1_000.0)
}

/// Dead rows weigh the difference of their share of the table's rows, as a share of the target; at most 1.
fn dead(then: &Relations, now: &Relations, targets: &Targets, changes: &mut Vec<Change>) {
    for (name, after) in &now.rows {
        let before = then.rows.get(name);
        let Some((b, a)) = before.and_then(|before| before.dead).zip(after.dead) else {
            continue;
        };
        if b.max(a) < FEW_DEAD {
            continue;
        }
        let rows = after.live.unwrap_or(0.0) + b.max(a);
        let share = (a - b).abs() / rows * 100.0 / targets.dead_pct;
        changes.extend(change(What::Dead, name, (b, a), share.min(1.0)));
    }
}

/// A size weighs its difference as a share of all tables or indexes, which count as 1 GB at least.
fn sizes(
    what: What,
    then: &Relations,
    now: &Relations,
    changes: &mut Vec<Change>,
    made: &mut Vec<Change>,
) {
    let all = then.bytes().max(SMALL);
    let names: BTreeSet<&String> = then.rows.keys().chain(now.rows.keys()).collect();
    for name in names {
        match (then.rows.get(name), now.rows.get(name)) {
            (Some(before), Some(after)) => {
                if let (Some(b), Some(a)) = (before.bytes, after.bytes) {
                    changes.extend(change(what, name, (b, a), (a - b).abs() / all));
                }
            }
            (Some(gone), None) if now.is_complete() && gone.own => {
                made.push(of_size(what, name, Some(gone), None));
            }
            (None, Some(new)) if then.is_complete() && new.own => {
                made.push(of_size(what, name, None, Some(new)));
            }
            _ => {}
        }
    }
}

fn of_size(what: What, name: &str, then: Option<&Relation>, now: Option<&Relation>) -> Change {
    let bytes = |relation: Option<&Relation>| match relation {
        None => Value::Null,
        Some(relation) => relation.bytes.map_or(Value::Unavailable, Value::Float),
    };
    Change {
        what,
        name: Clean::from(name),
        before: bytes(then),
        after: bytes(now),
        weight: None,
        work: None,
    }
}

fn settings(then: &Settings, now: &Settings, made: &mut Vec<Change>) {
    for (name, after) in now {
        let Some(before) = then.get(name).filter(|before| *before != after) else {
            continue;
        };
        made.push(Change {
            what: What::Setting,
            name: Clean::from(name.as_str()),
            before: before.as_str().into(),
            after: after.as_str().into(),
            weight: None,
            work: None,
        });
    }
}

impl Change {
    /// Returns the figure after as a multiple of the one before, if both are known.
    pub fn factor(&self) -> Option<f64> {
        let (before, after) = self.before.number().zip(self.after.number())?;
        (before > 0.0 && after > 0.0).then(|| after / before)
    }

    /// Returns what the blocks per call tell of the statement's plan.
    pub fn plan(&self) -> Option<String> {
        let (before, after) = self.work?;
        let (b, a) = before.blocks_per_call.zip(after.blocks_per_call)?;
        let (fewer, more) = (b.min(a).max(1.0), b.max(a));
        if more < OTHER_PLAN * fewer {
            return None;
        }
        let blocks = format!(
            "{} → {} blocks per call",
            format::count(b),
            format::count(a)
        );
        let rows = before.rows_per_call.zip(after.rows_per_call);
        let same = rows.is_some_and(|(b, a)| b.max(a) < 2.0 * b.min(a).max(0.5));
        Some(if same {
            format!("{blocks} for as many rows: probably another plan")
        } else {
            blocks
        })
    }
}

/// Returns what must be known to read the comparison.
fn notes(before: &Period, after: &Period) -> Vec<String> {
    let mut notes = servers(before, after);
    let (then, now) = (&before.oltp, &after.oltp);
    if now.tps.is_none() && now.p99_ms.is_none() {
        notes.push("OLTP: too few samples after".to_owned());
    } else if then.tps.is_none() && then.p99_ms.is_none() {
        notes.push("OLTP: too few samples before".to_owned());
    } else {
        let lengths = (format::seconds(then.seconds), format::seconds(now.seconds));
        notes.push(format!("OLTP: {} before, {} after", lengths.0, lengths.1));
        let lacks = |oltp: &Oltp| oltp.p50_ms.is_none() && oltp.p99_ms.is_none();
        if lacks(then) || lacks(now) {
            let which = if lacks(now) { "after" } else { "before" };
            notes.push(format!("p50, p99: too few samples {which}; those of the first half minute after do not count"));
        }
    }
    notes.push(match (&before.works, &after.works) {
        (None, _) => "statements: no sample of pg_stat_statements before".to_owned(),
        (_, None) => "statements: no sample of pg_stat_statements after, or too early".to_owned(),
        (Some(then), Some(now)) => {
            let length = |works: &Works| works.seconds.map(format::seconds);
            let before = length(then).map_or_else(
                || "all time since the statistics began, to the mark,".to_owned(),
                |length| format!("{length} before"),
            );
            let after = length(now).unwrap_or_default();
            format!("statements: {before} and {after} after")
        }
    });
    let works = [&before.works, &after.works].into_iter().flatten();
    if works.clone().any(|works| works.reset) {
        let why = "pg_stat_statements was reset in between: statements cannot be compared";
        notes.push(why.to_owned());
    } else {
        let lost: usize = works.map(|works| works.lost).sum();
        if lost > 0 {
            let why =
                format!("statements: {lost} were reset or evicted in between and are left out");
            notes.push(why);
        }
    }
    if before.reset || after.reset {
        notes.push(
            "the counters of the database were reset in between: dead rows are left out".to_owned(),
        );
    }
    notes
}

/// Returns how the servers of both periods differ, and their order if it is the wrong one.
fn servers(before: &Period, after: &Period) -> Vec<String> {
    let mut notes = Vec::new();
    let (then, now) = (&before.server, &after.server);
    let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    if differ(&then.system, &now.system) {
        notes.push("these are two servers".to_owned());
    }
    if differ(&then.database, &now.database) {
        notes.push(format!(
            "these are two databases: {} and {}",
            then.database, now.database
        ));
    }
    if then.major > 0 && now.major > 0 && then.major != now.major {
        notes.push(format!(
            "PostgreSQL {} before, {} after",
            then.major, now.major
        ));
    }
    if !same_ids(then, now) {
        let how = "statements are matched by role and text: their query ids have nothing in common";
        notes.push(how.to_owned());
    }
    if before.epoch_ms.0 > after.epoch_ms.0 {
        let how = "the first period is later than the second: every change is shown backwards";
        notes.push(how.to_owned());
    }
    notes
}
