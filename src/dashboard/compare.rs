//! Before and after: what differs between two periods, the most important first.
//!
//! A [`Baseline`] keeps what is known at a moment: cumulative sums, levels, and the series up to it. With a later model it
//! makes the period since; with earlier samples that it kept, the period before. [`Comparison::of`] compares any two
//! periods: those around a key press, or two recordings.

pub mod levels;
mod notes;
pub mod oltp;
pub mod statements;
mod weights;

use super::event::Moment;
use crate::config::Targets;
use crate::format::{self, Unit};
use crate::pg::Value;
use crate::text::Clean;
use levels::{Relations, Settings};
use oltp::{Curves, Oltp};
use statements::{Figures, Key, LEAST_S, Statements, Works};
use std::collections::HashMap;
use std::sync::Arc;

/// Least weight: 5 ms of work per second, half a percent of a target.
const LEAST_WEIGHT: f64 = 0.005;
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

/// Lines of plans, by statement.
pub type Plans = HashMap<Key, Vec<Clean>>;

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
    /// Plans that somebody had asked for until then.
    pub plans: Plans,
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
    /// Plans of statements that somebody asked for within it.
    pub plans: Plans,
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
    /// How the statement's plans before and after differ, if both are known.
    pub replanned: Option<String>,
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

impl Server {
    /// Returns true if query ids of the other mean the same statements.
    pub fn has_ids_of(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
        let major = self.major == 0 || other.major == 0 || self.major == other.major;
        major && same(&self.system, &other.system) && same(&self.database, &other.database)
    }
}

impl Baseline {
    /// Returns the period before it that is as long as the `seconds` since, in which samples came to be `taken`, as far as
    /// anything is known of it.
    pub fn before(&self, taken: u64, seconds: f64) -> Period {
        Period {
            server: self.server.clone(),
            epoch_ms: (self.at.epoch_ms, self.at.epoch_ms),
            oltp: self.curves.before(taken, seconds),
            works: self.works_before(seconds),
            levels: self.levels.clone(),
            plans: self.plans.clone(),
            reset: false,
        }
    }

    /// Returns the work of statements since the earlier sample that is most nearly as long ago as `seconds`; without one,
    /// since the statistics began.
    pub fn works_before(&self, seconds: f64) -> Option<Works> {
        let now = self.levels.statements.as_ref()?;
        let apart = |sample: &Arc<Statements>| (now.after(sample) - seconds).abs();
        let earlier = self.earlier.iter();
        let earlier = earlier.filter(|sample| now.after(sample) >= LEAST_S);
        let nearest = earlier.min_by(|a, b| apart(a).total_cmp(&apart(b)));
        let works = nearest.and_then(|sample| now.since(sample));
        works
            .filter(|works| !works.reset)
            .or_else(|| Some(now.since_reset()))
    }
}

impl Comparison {
    /// Compares two periods.
    pub fn of(before: &Period, after: &Period, targets: &Targets) -> Self {
        let mut changes = Vec::new();
        let mut made = Vec::new();
        weights::oltp(before, after, targets, &mut changes);
        weights::works(before, after, &mut changes);
        if let (Some(then), Some(now)) = (&before.levels.tables, &after.levels.tables) {
            // Counters start at 0 after a reset; sizes do not.
            if !before.reset && !after.reset {
                weights::dead(then, now, targets, &mut changes);
            }
            weights::sizes(What::Table, then, now, &mut changes, &mut made);
        }
        if let (Some(then), Some(now)) = (&before.levels.indexes, &after.levels.indexes) {
            weights::sizes(What::Index, then, now, &mut changes, &mut made);
        }
        if let (Some(then), Some(now)) = (&before.levels.settings, &after.levels.settings) {
            weights::settings(then, now, &mut made);
        }
        changes.retain(|change| change.weight >= Some(LEAST_WEIGHT));
        let weight = |change: &Change| change.weight.unwrap_or(0.0);
        changes.sort_by(|a, b| {
            let order = weight(b).total_cmp(&weight(a));
            order.then_with(|| (a.what, &a.name).cmp(&(b.what, &b.name)))
        });
        Self {
            notes: notes::notes(before, after),
            changes,
            made,
        }
    }
}

impl Change {
    /// Returns the figure after as a multiple of the one before, if both are known.
    pub fn factor(&self) -> Option<f64> {
        let (before, after) = self.before.number().zip(self.after.number())?;
        (before > 0.0 && after > 0.0).then(|| after / before)
    }

    /// Returns what is known of the statement's plan: how it differs, or what the blocks per call tell of it.
    pub fn plan(&self) -> Option<String> {
        if self.replanned.is_some() {
            return self.replanned.clone();
        }
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
