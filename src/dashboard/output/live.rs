//! What `GET /live` sends: the state of the model in parts, each of which is sent again when it differs.

use super::json::{self, Row};
use super::sheet::Sheet;
use super::unmeasured;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Link, Model};
use crate::dashboard::rows::{Panel, Row as Read, Rows, stream};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The panels on the page.
const PANELS: [Panel; 3] = [Panel::HourlySales, Panel::TopCategories, Panel::RfmSegments];
/// Maximum number of rows of a panel; fewer if they are longer than [`LONGEST`].
const ROWS: usize = 100;
/// Maximum size of a panel's data in bytes: names and texts in it are others'.
const LONGEST: usize = 64 * 1024;

/// A part of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Name of the event: `state`, `gauges`, `cause`, `panel`, `window`.
    pub event: &'static str,
    /// What it is about: two parts with the same key replace each other.
    pub key: String,
    /// The part has changed if this has.
    pub same: String,
    /// The event's data as JSON, one line.
    pub data: String,
}

impl Part {
    fn new(event: &'static str, told: &impl Serialize) -> Option<Self> {
        let data = serde_json::to_string(told).ok()?;
        Some(Self {
            event,
            key: event.to_owned(),
            same: data.clone(),
            data,
        })
    }
}

/// A gauge with its target as it is shown.
#[derive(Serialize)]
struct Gauge<'a> {
    #[serde(flatten)]
    gauge: json::Gauge<'a>,
    target_text: &'a str,
}

/// All parts of the state.
pub(crate) fn parts(model: &Model) -> Vec<Part> {
    let gauges = model.gauges.iter().map(|gauge| Gauge {
        gauge: json::gauge(gauge),
        target_text: &gauge.target,
    });
    let gauges: Vec<_> = gauges.collect();
    let single = [
        state(model),
        Part::new("gauges", &json!({ "gauges": gauges })),
        Part::new("cause", &json::cause(model)),
    ];
    let feeds = PANELS.iter().filter_map(|panel| model.feed_of(*panel));
    let panels = feeds.filter_map(|feed| panel(model, feed));
    let mut parts: Vec<Part> = single.into_iter().flatten().chain(panels).collect();
    parts.extend(windows(model));
    parts
}

/// Time and ages of the rows: what tells a reader that all else is still true.
pub(crate) fn time(model: &Model) -> String {
    let feeds = PANELS.iter().chain([&Panel::StreamWindows]);
    let ages = feeds.filter_map(|panel| {
        let feed = model.feed_of(*panel)?;
        let current = is_current(model, feed);
        let age_s = model.age_s(feed);
        Some((panel.name(), json!({ "age_s": age_s, "current": current })))
    });
    let ages: BTreeMap<&str, serde_json::Value> = ages.collect();
    json!({ "now": model.now.epoch_ms, "panels": ages }).to_string()
}

fn is_current(model: &Model, feed: &Feed) -> bool {
    let sampling = &feed.sampling;
    sampling.missing.is_empty()
        && sampling.at.is_some()
        && !sampling.outlived
        && model.is_current(feed)
}

/// Which server it is, and whether it answers.
fn state(model: &Model) -> Option<Part> {
    let why = unmeasured(model);
    let told = json!({ "server": json::server(model), "why": why });
    let mut part = Part::new("state", &told)?;
    // The reason counts the seconds.
    let link = match &model.fast {
        Link::Lost { error, .. } => error.to_string(),
        Link::Idle => "idle".to_owned(),
        Link::Live(_) => "live".to_owned(),
    };
    part.same = json!([json::server(model), why.is_some(), link]).to_string();
    Some(part)
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    title: &'a str,
    /// Time of the sample in milliseconds since the epoch.
    at: Option<i64>,
    rows: Option<Vec<Row<'a>>>,
    left_out: usize,
    reason: Option<&'a str>,
}

fn panel(model: &Model, feed: &Feed) -> Option<Part> {
    let sheet = Sheet::of(model, feed);
    let all = sheet.rows.as_deref().unwrap_or_default();
    let mut count = all.len().min(ROWS);
    let mut part = loop {
        let rows = all.iter().take(count);
        let rows = rows.map(|cells| Row {
            sheet: &sheet,
            cells,
        });
        let told = Told {
            name: &sheet.name,
            title: &sheet.title,
            at: sheet
                .age_s
                .map(|age| model.now.epoch_ms - (age * 1000.0) as i64),
            rows: sheet.rows.is_some().then(|| rows.collect()),
            left_out: all.len() - count,
            reason: sheet.reason.as_deref(),
        };
        let part = Part::new("panel", &told)?;
        if part.data.len() <= LONGEST || count == 0 {
            let same = serde_json::to_string(&told.rows).ok()?;
            break Part { same, ..part };
        }
        count /= 2;
    };
    part.key = format!("panel {}", sheet.name);
    if sheet.rows.is_none() {
        // The reason may count the seconds.
        let error = feed.sampling.error.as_ref().map(ToString::to_string);
        part.same = format!(
            "{:?} {error:?} {:?}",
            sheet.age_s.is_some(),
            feed.sampling.missing
        );
    }
    Some(part)
}

/// The windows of the stream; none while its table is not read.
fn windows(model: &Model) -> Vec<Part> {
    let feed = model.feed_of(Panel::StreamWindows);
    let Some(feed) = feed.filter(|feed| is_current(model, feed)) else {
        return Vec::new();
    };
    let mut windows: BTreeMap<i64, Vec<Read<'_, stream::StreamWindow>>> = BTreeMap::new();
    for row in Rows::<stream::StreamWindow>::of(&feed.table).iter() {
        if let Some(start) = row.window_start().filter(|start| start.is_finite()) {
            windows.entry(start as i64).or_default().push(row);
        }
    }
    let windows = windows.iter();
    windows
        .filter_map(|(start, rows)| window(*start, rows))
        .collect()
}

fn window(start: i64, rows: &[Read<'_, stream::StreamWindow>]) -> Option<Part> {
    let whole = rows.first()?;
    let categories: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "category": row.category().shown(), "amount": row.amount(), "quantity": row.quantity(),
                "orders": row.orders(),
            })
        })
        .collect();
    let told = json!({
        "window_start": start, "amount": whole.window_amount(), "quantity": whole.window_quantity(),
        "revised": whole.revised(), "final": whole.is_final(), "changed_at": whole.changed_epoch(),
        "change": whole.change(), "categories": categories,
        "left_out": whole.window_categories().map(|all| all - rows.len() as i64),
    });
    let mut part = Part::new("window", &told)?;
    part.key = format!("window {start}");
    Some(part)
}
