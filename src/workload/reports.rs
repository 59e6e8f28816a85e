//! The case study's three queries (its section 4.2), for three kinds of tables.

use super::mix::Kind;
use crate::pg::{Answer, Statement};
use std::str::FromStr;
use std::time::Duration;

/// Tables that the reports read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Tables at the granularity of the query, updated by merging changes.
    #[default]
    Rollup,
    /// The case study's materialized views, with its own queries.
    Mv,
    /// The orders themselves.
    Base,
}

impl Source {
    /// Returns the name used on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rollup => "rollup",
            Self::Mv => "mv",
            Self::Base => "base",
        }
    }

    /// Returns the statement of a report.
    pub(super) fn statement(self, kind: Kind) -> &'static Statement {
        match (self, kind) {
            (Self::Rollup, Kind::Category) => &CATEGORY_ROLLUP,
            (Self::Rollup, Kind::Segment) => &SEGMENT_ROLLUP,
            (Self::Rollup, _) => &HOURLY_ROLLUP,
            (Self::Mv, Kind::Category) => &CATEGORY_MV,
            (Self::Mv, Kind::Segment) => &SEGMENT_MV,
            (Self::Mv, _) => &HOURLY_MV,
            (Self::Base, Kind::Category) => &CATEGORY_BASE,
            (Self::Base, Kind::Segment) => &SEGMENT_BASE,
            (Self::Base, _) => &HOURLY_BASE,
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Rollup, Self::Mv, Self::Base];
        let found = all.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| "expected rollup, mv or base".to_owned())
    }
}

macro_rules! report {
    ($name:ident, $word:literal) => {
        const $name: Statement = Statement {
            name: $word,
            types: &[],
            sql: include_str!(concat!("../../queries/reports/", $word, ".sql")),
        };
    };
}

report!(HOURLY_ROLLUP, "hourly_rollup");
report!(HOURLY_MV, "hourly_mv");
report!(HOURLY_BASE, "hourly_base");
report!(CATEGORY_ROLLUP, "category_rollup");
report!(CATEGORY_MV, "category_mv");
report!(CATEGORY_BASE, "category_base");
report!(SEGMENT_ROLLUP, "segment_rollup");
report!(SEGMENT_MV, "segment_mv");
report!(SEGMENT_BASE, "segment_base");

/// Freshness information in a report's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Included {
    /// Includes everything up to this heartbeat; `None` if it includes none.
    Heartbeat(Option<i64>),
    /// Includes everything older than this.
    Age(Duration),
}

/// Returns `None` if the answer has no such information: an empty answer, or one from the orders themselves, which is
/// never stale.
pub(super) fn included(answer: &Answer) -> Option<Included> {
    if answer.table.rows.is_empty() {
        return None;
    }
    if answer.table.column("heartbeat").is_some() {
        return Some(Included::Heartbeat(answer.int(0, "heartbeat")));
    }
    let age_ms: f64 = answer.text(0, "age_ms")?.parse().ok()?;
    Duration::try_from_secs_f64(age_ms.max(0.0) / 1e3)
        .ok()
        .map(Included::Age)
}
