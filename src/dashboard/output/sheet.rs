//! Data for scripts: panels as rows with described columns.

mod oltp;

pub(crate) use oltp::OLTP;

use crate::config::WorkClass;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Link, Model};
use crate::dashboard::panels::spec::{Chart, ColumnSpec, Pool, Spec};
use crate::dashboard::rows::Panel;
use crate::dashboard::view;
use crate::format;
use crate::format::Unit;
use crate::pg::{Class, Value};
use oltp::{OltpColumn, uncarried};
use std::collections::BTreeSet;

/// A panel, or standalone figures, in the form from which all formats are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// Name of the panel.
    pub name: String,
    /// Its title.
    pub title: String,
    /// True for one row with a figure per column.
    pub single: bool,
    /// All columns, in the order of the cells.
    pub columns: Vec<Column>,
    /// Columns shown to people, the most important first.
    pub shown: Vec<usize>,
    /// Columns that identify a row.
    pub labels: Vec<String>,
    /// Rows; `None` if they are not known.
    pub rows: Option<Vec<Vec<Value>>>,
    /// Reason why there are no rows.
    pub reason: Option<String>,
    /// Columns that are not known, each with the reason.
    pub lacks: Vec<(String, String)>,
    /// True if there are none because the current role may not read them.
    pub forbidden: bool,
    /// Seconds since they were measured.
    pub age_s: Option<f64>,
}

/// A column of a [`Sheet`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// Name, unique within the sheet.
    pub name: String,
    /// Title, unit, help.
    pub spec: ColumnSpec,
    /// True if its figures are per second.
    pub rate: bool,
    /// True if its figures only grow until statistics are reset.
    pub counter: bool,
}

impl Sheet {
    /// Returns the current rows of a panel, in the panel's order.
    pub fn of(model: &Model, feed: &Feed) -> Self {
        Self::told(model, feed, is_told(model, feed))
    }

    /// Returns the rows that a panel had last, however old they are.
    pub(crate) fn last(model: &Model, feed: &Feed) -> Self {
        Self::told(model, feed, feed.sampling.at.is_some())
    }

    fn told(model: &Model, feed: &Feed, told: bool) -> Self {
        let front = &feed.spec.front;
        let told = told && feed.sampling.missing.is_empty();
        let names = names(feed);
        let rows = told.then(|| {
            let order = feed.cursor.order.iter();
            let row = |row: &usize| {
                let cell = |name: &String| model.cell_for_scripts(feed, *row, name);
                names.iter().map(cell).collect()
            };
            order.map(row).collect()
        });
        let denied = feed.sampling.error.as_ref();
        let denied = denied.is_some_and(|error| error.code() == "42501")
            || (front.monitor && !feed.sampling.missing.is_empty());
        Self {
            name: feed.spec.name.clone(),
            title: front.title.clone(),
            single: front.chart == Chart::Stat,
            shown: shown(&feed.spec, &names),
            columns: columns(&feed.spec, &names),
            labels: labels(&feed.spec),
            reason: (!told).then(|| reason(model, feed)),
            forbidden: !told && denied,
            lacks: lacks(feed),
            rows,
            age_s: model.age_s(feed),
        }
    }

    /// Returns the transactions of the watched database, as the OLTP panel shows them.
    pub fn oltp(model: &Model) -> Self {
        let oltp = &model.history.oltp;
        let row = is_measured(model).then(|| vec![OLTP.iter().map(|c| (c.3)(oltp)).collect()]);
        let column = |(name, unit, help, _): &OltpColumn| Column {
            name: (*name).to_owned(),
            rate: name.ends_with("_per_s"),
            spec: ColumnSpec {
                unit: *unit,
                help: (*help).to_owned(),
                ..ColumnSpec::default()
            },
            counter: false,
        };
        Self {
            name: "oltp".into(),
            title: "OLTP".into(),
            single: true,
            columns: OLTP.iter().map(column).collect(),
            shown: (0..OLTP.len()).collect(),
            labels: Vec::new(),
            reason: row.is_none().then(|| "not measured".to_owned()),
            lacks: uncarried(oltp),
            rows: row,
            forbidden: false,
            age_s: None,
        }
    }

    /// Returns the sessions by class.
    pub fn classes(model: &Model) -> Self {
        let oltp = &model.history.oltp;
        let row = |class: &WorkClass| {
            vec![
                class.name().into(),
                Value::Int(oltp.sessions.get(class).copied().unwrap_or(0)),
                oltp.mean_ms.get(class).copied().into(),
            ]
        };
        let known = is_measured(model) && !oltp.sessions.is_empty();
        let classes = [
            WorkClass::Oltp,
            WorkClass::Olap,
            WorkClass::Refresh,
            WorkClass::Maintenance,
        ];
        let column = |name: &str, unit, help: &str| Column {
            name: name.into(),
            spec: ColumnSpec {
                unit,
                help: help.into(),
                ..ColumnSpec::default()
            },
            ..Column::default()
        };
        Self {
            name: "class".into(),
            title: "Classes".into(),
            single: false,
            columns: vec![
                column("class", Unit::Plain, "By the rules in the configuration."),
                column(
                    "sessions",
                    Unit::Count,
                    "Client sessions of the class, idle ones included.",
                ),
                column(
                    "mean_ms",
                    Unit::Ms,
                    "Mean time of a statement between two samples, from pg_stat_statements.",
                ),
            ],
            shown: vec![0, 1, 2],
            labels: vec!["class".into()],
            reason: (!known).then(|| "not measured".to_owned()),
            lacks: Vec::new(),
            rows: known.then(|| classes.iter().map(row).collect()),
            forbidden: false,
            age_s: None,
        }
    }

    /// The position of the column called `name`.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// Returns true if the watched database has reported its counters and still does.
pub(crate) fn is_measured(model: &Model) -> bool {
    let database = model.feed_of(Panel::Database);
    matches!(model.fast, Link::Live(_)) && database.is_some_and(|feed| is_told(model, feed))
}

/// Returns true if the watched server answers, even if it refuses some queries.
pub(crate) fn answers(model: &Model) -> bool {
    let mut fast = model.feeds.iter();
    matches!(model.fast, Link::Live(_))
        && fast.any(|feed| feed.spec.front.pool == Pool::Oltp && is_told(model, feed))
}

/// Returns true if a feed got an answer in its current session and still gets answers.
pub(super) fn is_told(model: &Model, feed: &Feed) -> bool {
    if feed.panel == Some(Panel::Nodes) && !model.has_nodes() {
        // It is not asked: the replicas and slots show that there is nothing to tell.
        let known = model.feed_of(Panel::Replication);
        return known.is_some_and(|known| is_told(model, known));
    }
    let sampling = &feed.sampling;
    sampling.at.is_some() && !sampling.outlived && model.is_current(feed)
}

/// Columns of a panel that the server refuses, with the reasons.
fn lacks(feed: &Feed) -> Vec<(String, String)> {
    let lacks = feed.forbidden.columns(&feed.source);
    lacks
        .map(|(name, why)| (name.to_owned(), why.to_string()))
        .collect()
}

/// The columns of a feed: those that the panel describes, in its order, then the others in the answer. An
/// answer without rows has no columns.
fn names(feed: &Feed) -> Vec<String> {
    let (spec, table) = (&feed.spec, &feed.table);
    let described = spec.told();
    let described = described
        .filter(|name| table.rows.is_empty() || table.column(name).is_some())
        .cloned();
    let rest = table.columns.iter().map(ToString::to_string);
    let rest = rest.filter(|name| !spec.order.contains(name));
    described.chain(rest).collect()
}

/// Columns as described by their panel; names are made unique.
fn columns(spec: &Spec, names: &[String]) -> Vec<Column> {
    let mut taken = BTreeSet::new();
    let column = |name: &String| Column {
        name: unlike(name, &mut taken),
        ..described(spec, name)
    };
    names.iter().map(column).collect()
}

/// The compact columns first, then all that are not hidden.
fn shown(spec: &Spec, names: &[String]) -> Vec<usize> {
    let compact = &spec.front.compact;
    let first = compact
        .iter()
        .filter_map(|name| names.iter().position(|other| other == name));
    let rest = (0..names.len()).filter(|position| {
        let name = names.get(*position);
        name.is_some_and(|name| !compact.contains(name) && !spec.column(name).hidden)
    });
    first.chain(rest).collect()
}

/// Returns a panel's description of its column called `name`.
pub(crate) fn described(spec: &Spec, name: &str) -> Column {
    let column = spec.column(name);
    let listed = |names: &[String]| names.iter().any(|listed| listed == name);
    Column {
        name: name.to_owned(),
        rate: column.unit == Unit::PerSecond
            || listed(&spec.front.rates)
            || name.ends_with("_per_s"),
        counter: listed(&spec.front.counters),
        spec: column,
    }
}

/// Returns `name`, or `name_2` and so on if it is taken.
pub(crate) fn unlike(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{number}");
        number += 1;
    }
    candidate
}

/// The columns that identify a panel's rows: its `labels`, or else its key.
pub(crate) fn labels(spec: &Spec) -> Vec<String> {
    let front = &spec.front;
    if front.labels.is_empty() {
        front.key.clone()
    } else {
        front.labels.clone()
    }
}

/// Returns the reason why a panel has no rows.
fn reason(model: &Model, feed: &Feed) -> String {
    let sampling = &feed.sampling;
    if let Some(age) = model.age_s(feed) {
        let lost = match model.link(feed) {
            Link::Lost { error, .. } => Some(error),
            Link::Idle | Link::Live(_) => None,
        };
        let why = sampling.error.as_ref().or(lost);
        let why = why.map(|error| format!(": {error}"));
        return format!(
            "no answer for {}{}",
            format::seconds(age),
            why.unwrap_or_default()
        );
    }
    let refused = sampling.error.as_ref();
    let unanswered = refused.is_some_and(|error| error.class == Class::Timeout);
    match view::placeholder(model, feed) {
        Some(why) if sampling.in_flight.is_none() || refused.is_some() || why != "…" => {
            if unanswered {
                format!("no answer in time: {why}")
            } else if why == "…" {
                "not measured yet".into()
            } else {
                why
            }
        }
        _ => "no answer yet".into(),
    }
}
