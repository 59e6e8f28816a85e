//! A panel is one SQL file: front matter in TOML, written as SQL comments, followed by the SQL.

use crate::dashboard::trend::TrendSpec;
use crate::format::{Unit, duration};
use crate::keys::Key;
use crate::sqlfile::{self, split};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The sessions that run a panel's statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The sampling session: cheap statements, all due ones in one round trip.
    Oltp,
    /// A second sampling session for statements that may take long (sizes, bloat).
    Slow,
    /// The OLAP pool: read-only Repeatable Read transactions with their own limits.
    Olap,
    /// The admin console of the pooler, whose commands are no SQL; only with `--pooler`.
    Pooler,
    /// A sampling session with the OLAP pool's server; only if that is another one.
    Replica,
    /// The column store, by `htap-top columnar serve`; only with `--columnar`.
    Columnar,
}

impl Pool {
    /// Its name in a panel file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oltp => "oltp",
            Self::Slow => "slow",
            Self::Olap => "olap",
            Self::Pooler => "pooler",
            Self::Replica => "replica",
            Self::Columnar => "columnar",
        }
    }
}

/// Appearance of a panel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Chart {
    /// Rows and columns.
    Table,
    /// One bar per row along a time or category axis; the last one may be incomplete.
    Bars {
        /// Column of the axis labels.
        x: String,
        /// Column of the heights.
        y: String,
        /// Column of the heights to compare with.
        compare: Option<String>,
        /// Boolean column that marks an incomplete bar.
        partial: Option<String>,
    },
    /// Like `bars`, but drawn as a line.
    Line {
        /// Column of the axis labels.
        x: String,
        /// Column of the heights.
        y: String,
    },
    /// Horizontal bars, longest first, with their share.
    Ranking {
        /// Column of the names.
        x: String,
        /// Column of the amounts.
        y: String,
    },
    /// One row: a figure per column.
    Stat,
}

/// Title, format and description of a column.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnSpec {
    /// Heading; the column's name if empty.
    pub title: String,
    /// Unit.
    pub unit: Unit,
    /// Meaning of the figure, and its blind spot.
    pub help: String,
    /// True if it is only shown in the detail of a row, not in tables.
    pub hidden: bool,
    /// True if it is a difference, so that figures above 0 have a sign, too.
    pub change: bool,
    /// A character per step of time, the newest last: it uses the available width and is cut at its
    /// beginning.
    pub timeline: bool,
    /// Threshold above which values are drawn as a warning.
    pub warn: Option<f64>,
    /// Threshold above which values are drawn as a danger.
    pub danger: Option<f64>,
    /// Minimum values of other columns for a row to be judged: half of ten rows is nothing.
    pub at_least: BTreeMap<String, f64>,
}

impl ColumnSpec {
    /// Returns the heading of the column called `name`.
    pub fn heading<'a>(&'a self, name: &'a str) -> &'a str {
        if self.title.is_empty() {
            name
        } else {
            &self.title
        }
    }
}

/// Resolution of names without a schema in a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchPath {
    /// Only pg_catalog, in which nobody can plant objects.
    #[default]
    Catalog,
    /// The role's search path, as in its other sessions, including objects that others may have created
    /// there.
    Role,
}

/// Condition under which a built-in panel is sampled, besides its interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the front matter"
)]
pub struct SamplingRules {
    /// Everything else depends on it: sampled whatever is on the screen, again soon after an error, and renewed, since it
    /// changes.
    pub first: bool,
    /// Sampled before the facts about the server are known.
    pub at_connect: bool,
    /// Sampled less often on a server with many sessions.
    pub crowded: Crowded,
    /// Also sampled while the detail of a backend is open.
    pub with_detail: bool,
    /// Also sampled if the server hides backends from our role: rules then depend on it. Not about a hidden panel, which is
    /// sampled anyway unless it has `only_shown`.
    pub if_restricted: bool,
    /// The text of its statement changes from sample to sample, so it is not prepared.
    pub text_varies: bool,
    /// Interval while another server is shown, because gauges or important rules depend on it; not sampled then without one.
    #[serde(deserialize_with = "duration::maybe")]
    pub background: Option<Duration>,
    /// Samples that make its figures, besides panels with `rates`, which take two.
    pub samples: Samples,
    /// Other feeds whose answers it is also derived from.
    pub rests_on: Vec<String>,
    /// Name of an internal feed that runs the same statement on the OLAP pool's own server.
    pub on_olap_server: Option<String>,
    /// Not a panel but a statement that is timed on a session of its own.
    pub point_query: bool,
    /// It has no statement: its rows are made of what other feeds answer.
    pub derived: bool,
}

/// Interval on a server with many sessions, for statements that go through all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crowded {
    /// As often as elsewhere.
    #[default]
    AsUsual,
    /// Every other time.
    EveryOther,
    /// Only while it is on the screen.
    OnlyShown,
}

/// Samples that make a panel's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// One.
    #[default]
    One,
    /// Two.
    Two,
    /// Two if the panel is asked for by name; what rules make of it takes minutes anyway.
    TwoIfNamed,
}

/// A panel's front matter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// Title of the panel.
    pub title: String,
    /// Sessions that run it.
    pub pool: Pool,
    /// Resolution of names without a schema; a user's own panel may use the role's path.
    #[serde(default)]
    pub search_path: SearchPath,
    /// Interval between samples, such as `5s`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub interval: Duration,
    /// Place of a built-in panel among the others: for Tab, and in lists.
    #[serde(default)]
    pub order: Option<u32>,
    /// Digit that opens it.
    #[serde(default)]
    pub digit: Option<u8>,
    /// Key that opens it, if it has no digit.
    #[serde(default)]
    pub opens: Option<char>,
    /// Letter that opens it from the list of panels.
    #[serde(default)]
    pub letter: Option<char>,
    /// No user looks at it: it only feeds other panels and rules.
    #[serde(default)]
    pub internal: bool,
    /// Condition under which it is sampled, besides its interval.
    #[serde(default)]
    pub sampling: SamplingRules,
    /// Relations that must exist, schema-qualified.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The command that creates the relations missing from `needs`.
    #[serde(default)]
    pub remedy: String,
    /// Extension that must be installed.
    #[serde(default)]
    pub extension: Option<String>,
    /// The oldest major version that has everything it reads.
    #[serde(default)]
    pub since: Option<i64>,
    /// Queried only if the current role has the privileges of pg_monitor, without which it would fail.
    #[serde(default)]
    pub monitor: bool,
    /// Queried only while it is shown; no rule and no other panel needs it.
    #[serde(default)]
    pub only_shown: bool,
    /// Counters shown as growth per second. The statement must return `now_epoch`.
    #[serde(default)]
    pub rates: Vec<String>,
    /// Columns that are cumulative since the statistics were reset, for scripts; those in `rates` are not.
    #[serde(default)]
    pub counters: Vec<String>,
    /// Columns that identify a row in scripts, if `key` is not readable.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Appearance.
    #[serde(default = "table_chart")]
    pub chart: Chart,
    /// Figures whose course over the last hour is drawn in full screen.
    #[serde(default)]
    pub trends: Vec<TrendSpec>,
    /// Columns that identify a row across samples.
    #[serde(default)]
    pub key: Vec<String>,
    /// Columns shown first on a narrow screen; those of `compact` if empty.
    #[serde(default)]
    pub narrow: Vec<String>,
    /// Columns shown on the Overview; all that are not hidden if empty.
    #[serde(default)]
    pub compact: Vec<String>,
    /// Initial sort column, with a leading `-` for descending.
    #[serde(default)]
    pub sort: String,
    /// Text shown if there are no rows.
    #[serde(default)]
    pub empty: String,
    /// Description: contents, cost and limits.
    pub about: String,
    /// Title, unit and help per column.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnSpec>,
}

impl Front {
    /// The key that opens it from every page.
    pub fn direct_key(&self) -> Option<Key> {
        let digit = self.digit.map(u32::from);
        let digit = digit.and_then(|digit| char::from_digit(digit, 10));
        digit.or(self.opens).map(Key::Char)
    }

    /// Returns true if figures of the panel are made of two samples.
    pub fn takes_two(&self) -> bool {
        !self.rates.is_empty() || self.sampling.samples != Samples::One
    }

    /// Text of the panel without rows.
    pub fn nothing(&self) -> &str {
        match self.empty.as_str() {
            "" => "no rows",
            empty => empty,
        }
    }
}

fn table_chart() -> Chart {
    Chart::Table
}

/// A parsed panel file.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// File name without extension: `activity`.
    pub name: String,
    /// Front matter.
    pub front: Front,
    /// Names of the columns described in the front matter, in its order.
    pub order: Vec<String>,
    /// The statement.
    pub sql: String,
    /// The statement from later major versions on, ascending.
    pub later: Vec<(i64, String)>,
    /// The statement for the column store, if there is one.
    pub columnar: Option<String>,
}

/// The reason why a panel file was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name}.sql: {reason}")]
pub struct SpecError {
    /// File name without extension.
    pub name: String,
    /// Description of the error, with line and fix if known.
    pub reason: String,
}

impl Spec {
    /// Parses a panel file.
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let fail = |reason: String| SpecError {
            name: name.to_owned(),
            reason,
        };
        let (front, sql) = split(text);
        if front.trim().is_empty() {
            return Err(fail(
                "no front matter: the first lines must be SQL comments holding at least \
                             title, pool, interval and about, such as `-- title = \"My panel\"`"
                    .into(),
            ));
        }
        let order = front.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("[columns.")?.strip_suffix(']')?;
            Some(name.trim().trim_matches(['"', '\'']).to_owned())
        });
        let order = order.collect();
        let front: Result<Front, _> = toml::from_str(&front);
        let derived = front.as_ref().is_ok_and(|front| front.sampling.derived);
        if sql.is_empty() && !derived {
            return Err(fail("no statement after the front matter".into()));
        }
        let front = front.map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
        if front.interval.is_zero() {
            return Err(fail("interval must be longer than 0s".into()));
        }
        Ok(Self {
            name: name.to_owned(),
            front,
            order,
            sql,
            later: Vec::new(),
            columnar: None,
        })
    }

    /// Returns the paragraphs that describe the panel, each on one line.
    pub fn paragraphs(&self) -> impl Iterator<Item = String> {
        let paragraphs = self.front.about.split("\n\n");
        paragraphs.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Parses a panel file with its later versions.
    pub fn of_file(file: &sqlfile::File<'_>) -> Result<Self, SpecError> {
        let later = file.later.iter();
        Ok(Self {
            later: later.map(|(major, text)| (*major, split(text).1)).collect(),
            columnar: file.columnar.map(|text| split(text).1),
            ..Self::parse(file.name, file.base)?
        })
    }

    /// The statement for a server of this major version; an unknown newer one gets the newest.
    pub fn statement(&self, major: i64) -> &str {
        let later = self.later.iter().rev().find(|(from, _)| *from <= major);
        later.map_or(&self.sql, |(_, sql)| sql)
    }

    /// Returns the panel asked in the column store; `None` if it has no statement for that.
    pub fn in_column_store(&self) -> Option<Self> {
        let sql = self.columnar.clone()?;
        let mut front = self.front.clone();
        front.pool = Pool::Columnar;
        // Those of the other statement. The column store says what it lacks.
        front.needs.clear();
        Some(Self {
            front,
            sql,
            later: Vec::new(),
            ..self.clone()
        })
    }

    /// Returns true if its times may come as texts, from the column store.
    pub fn has_times_as_text(&self) -> bool {
        self.columnar.is_some()
    }

    /// Names of the columns for scripts: without changes since a moment that somebody marked.
    pub fn told(&self) -> impl Iterator<Item = &String> {
        let is_change = |name: &str| self.front.columns.get(name).is_some_and(|of| of.change);
        self.order.iter().filter(move |name| !is_change(name))
    }

    /// Returns the column's description, or the default one if the front matter has none.
    pub fn column(&self, name: &str) -> ColumnSpec {
        self.front.columns.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_file_is_front_matter_and_sql() {
        let spec = Spec::parse(
            "mine",
            "-- title = \"Mine\"\n-- pool = \"olap\"\n-- interval = \"1500ms\"\n-- about = \"a\"\n--\n\
             -- [columns.x]\n-- unit = \"money\"\nSELECT 1 AS x\n",
        )
        .unwrap();
        assert_eq!(spec.front.interval, Duration::from_millis(1500));
        assert_eq!(spec.column("x").unit, Unit::Money);
        assert_eq!(spec.order, ["x"]);
        assert_eq!(spec.sql, "SELECT 1 AS x");
        assert_eq!(spec.front.chart, Chart::Table);
    }

    #[test]
    fn a_broken_file_says_what_to_do() {
        let reason = |text: &str| Spec::parse("x", text).unwrap_err().reason;
        assert!(reason("SELECT 1").contains("title = "));
        assert!(reason("-- title = \"x\"\n").contains("no statement"));
        let base = "-- title = \"x\"\n-- pool = \"olap\"\n-- about = \"a\"\n";
        assert!(
            reason(&format!("{base}-- interval = \"5 weeks\"\nSELECT 1"))
                .contains("use ms, s, m, h or d")
        );
        assert!(
            reason(&format!("{base}-- interval = \"0s\"\nSELECT 1")).contains("longer than 0s")
        );
        assert!(
            reason(&format!(
                "{base}-- interval = \"5s\"\n-- colour = 1\nSELECT 1"
            ))
            .contains("colour")
        );
    }
}
