//! Contents of popups: help from the key table and the panels' files, the detail of a row, the log, the
//! confirmation of an action.

mod changes;
mod detail;

use super::{Model, Popup, Screen};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::{Gauge, Health};
use crate::dashboard::feed::{Feed, Room};
use crate::dashboard::tabs::Tab;
use crate::dashboard::widgets::Entry;
use crate::format;
use crate::keys::{self, Command, Key};
use std::cmp::Reverse;

/// Title and entries of the open popup.
pub(crate) fn content(model: &Model) -> Option<(String, Vec<Entry<'_>>)> {
    let keys = &model.config.keys;
    Some(match model.popup.as_ref()? {
        Popup::Help { .. } => help(model),
        Popup::Detail(shown) => (shown.title.clone(), detail::entries(model, shown)),
        Popup::Log { .. } => ("Log · newest last".into(), log(model)),
        Popup::Why { .. } => ("Why".into(), why(model)),
        Popup::Changes { list, .. } => changes::content(model, list),
        Popup::Panels { .. } => ("Panels".into(), list(model)),
        Popup::Servers { .. } => ("Servers".into(), servers(model)),
        // It has a widget of its own.
        Popup::Columns(_) => return None,
        Popup::Confirm(confirm) => {
            let mut entries = Vec::new();
            if let Some(place) = &model.start.server {
                // Several servers are watched: an action on the wrong one could not be undone.
                let on = format!("On {} ({})", place.name, model.start.target);
                entries.extend([Entry::Head(on.into()), Entry::Blank]);
            }
            let lines = confirm.lines.iter();
            entries.extend(lines.map(|line| Entry::from(line.as_str())));
            entries.push(Entry::Blank);
            entries.push(match confirm.number {
                None => Entry::Head(keys.fill("{confirm} yes    any other key: no").into()),
                Some(number) => Entry::Head(
                    format!(
                        "type {number} and {} to confirm: {}▏   {}: no",
                        keys.shown(Command::Accept),
                        confirm.typed,
                        keys.shown(Command::Discard)
                    )
                    .into(),
                ),
            });
            ("Sure?".into(), entries)
        }
    })
}

/// The popup's entries as text, used for the clipboard and for the limits of scrolling.
pub(crate) fn lines(model: &Model) -> Vec<String> {
    let entries = content(model)
        .map(|(_, entries)| entries)
        .unwrap_or_default();
    let text = |entry: &Entry<'_>| match entry {
        Entry::Text(text) | Entry::Head(text) | Entry::Warning(text) => text.to_string(),
        Entry::Pair(left, right) => format!("{left}\t{right}"),
        Entry::Blank => String::new(),
    };
    entries.iter().map(text).collect()
}

fn pair(left: String, right: String) -> Entry<'static> {
    Entry::Pair(left.into(), right.into())
}

fn help(model: &Model) -> (String, Vec<Entry<'_>>) {
    let mut entries = Vec::new();
    let mut title = "Help".to_owned();
    if let (Screen::Full(_), Some(feed)) = (model.screen, model.feed(model.focus)) {
        title = format!("Help · {}", feed.spec.front.title);
        let paragraphs = feed.spec.paragraphs();
        entries.extend(paragraphs.map(|paragraph| Entry::Text(paragraph.into())));
        entries.push(Entry::Blank);
        for (name, _) in feed.every_column(Room::ALL) {
            let column = feed.spec.column(&name);
            if !column.help.is_empty() {
                entries.push(pair(column.heading(&name).to_owned(), column.help));
            }
        }
        entries.push(Entry::Blank);
    }
    entries.push(Entry::Head("Keys".into()));
    entries.extend(
        model
            .config
            .keys
            .help()
            .map(|(keys, help)| pair(keys, help)),
    );
    let direct = model.visible().filter_map(|(_, feed)| feed.direct.first());
    let direct: Vec<Key> = direct.copied().collect();
    entries.push(pair(
        keys::shown(&direct),
        "open the panel with that key full screen; press again to return".into(),
    ));
    entries.push(Entry::Blank);
    entries.push(Entry::Head("Signs".into()));
    for (sign, meaning) in [
        (
            "✔ ▲ ✖ ·",
            "within its target, near it, past it, not measured",
        ),
        (
            "—  n/a  ?",
            "no value; not available here; not measured yet. None of them means 0",
        ),
        (
            "grey",
            "old data: the session is lost or the server does not answer; the title shows the age",
        ),
        (
            "p99",
            "99th percentile of the point query's time at this client, over the last 30 s or since slow ones ended; five queries per second, on a session of their own",
        ),
        (
            "cost",
            "of htap-top per second: its processor time, and the time its queries take on the server; their sum if there is little room",
        ),
    ] {
        entries.push(Entry::Pair(sign.into(), meaning.into()));
    }
    (title, entries)
}

/// The full cause line, its evidence, and the other findings.
fn why(model: &Model) -> Vec<Entry<'_>> {
    let cause = &model.cause;
    let mut entries = vec![Entry::Text(cause.sentence.as_str().into())];
    if !cause.cure.is_empty() {
        entries.push(pair("cure".into(), cause.cure.clone()));
    }
    if !cause.evidence.is_empty() {
        entries.push(Entry::Blank);
        entries.push(Entry::Head("Evidence".into()));
        entries.extend(
            cause
                .evidence
                .iter()
                .map(|(name, value)| Entry::Pair(name.as_str().into(), value.as_str().into())),
        );
    }
    let missed = |gauge: &&Gauge| gauge.health >= Health::Warning && gauge.label != cause.label;
    let missed: Vec<&Gauge> = model.gauges.iter().filter(missed).collect();
    if !missed.is_empty() {
        entries.push(Entry::Blank);
        entries.push(Entry::Head("Also missed".into()));
        entries.extend(missed.into_iter().map(|gauge| {
            let target = match gauge.target.as_str() {
                "" => String::new(),
                target => format!(", target {target}"),
            };
            pair(gauge.label.into(), format!("{}{target}", gauge.value))
        }));
    }
    let mut others: Vec<_> = model
        .findings
        .iter()
        .filter(|finding| finding.rule != cause.rule)
        .collect();
    others.sort_by_key(|finding| Reverse((finding.health, finding.damage)));
    if !others.is_empty() {
        entries.push(Entry::Blank);
        entries.push(Entry::Head("Also found".into()));
        for finding in others {
            let cure = match finding.cure.as_str() {
                "" => String::new(),
                cure => format!(" — {cure}"),
            };
            entries.push(pair(
                finding.rule.into(),
                format!("{}{cure}", finding.sentence),
            ));
        }
    }
    if cause.evidence.is_empty() && model.findings.is_empty() {
        entries.push(Entry::Text(
            "No rule found anything: no lock queue, no old snapshot, no backend that stands out."
                .into(),
        ));
    }
    entries
}

/// The panels, with the key that opens each.
fn list(model: &Model) -> Vec<Entry<'_>> {
    let mut entries = vec![Entry::Head("from every page".into())];
    let title = |feed: &Feed| feed.spec.front.title.clone();
    for (_, feed) in model.visible().filter(|(_, feed)| !feed.direct.is_empty()) {
        entries.push(pair(keys::shown(&feed.direct), title(feed)));
    }
    entries.push(pair(
        keys::shown(model.config.keys.keys(Command::MorePanels)),
        "business panels, including your own".into(),
    ));
    entries.push(Entry::Blank);
    entries.push(Entry::Head("from here".into()));
    for (_, feed) in model.visible().filter(|(_, feed)| !feed.listed.is_empty()) {
        entries.push(pair(keys::shown(&feed.listed), title(feed)));
    }
    entries
}

/// The servers by number, with the digit that shows each.
fn servers(model: &Model) -> Vec<Entry<'_>> {
    let mut tabs: Vec<&Tab> = model.tabs.iter().collect();
    tabs.sort_by_key(|tab| tab.place.number);
    let mut entries = Vec::new();
    for tab in tabs {
        let sign = match tab.health {
            Health::Unknown => "·",
            Health::Good => "✔",
            Health::Warning => "▲",
            Health::Danger => "✖",
        };
        let here = if tab.shown { "  shown" } else { "" };
        entries.push(pair(
            format!("{} {sign} {}", tab.place.number, tab.place.name),
            format!("{}{here}", tab.target),
        ));
        entries.push(pair(String::new(), tab.sentence.clone()));
    }
    entries.push(Entry::Blank);
    entries.push(Entry::Text(
        model
            .config
            .keys
            .fill("A digit shows that server; {next_server} and {previous_server} show the next and the previous tab. In the background a server is sampled less often: its figures are up to a minute old.")
            .into(),
    ));
    entries
}

fn log(model: &Model) -> Vec<Entry<'_>> {
    if model.log.is_empty() {
        return vec![Entry::Text(
            "Nothing logged yet: actions and lost connections appear here.".into(),
        )];
    }
    let entry = |line: &super::LogLine| {
        let sign = match line.grade {
            Grade::Running => "…",
            Grade::Good => "✔",
            Grade::Doubtful => "▲",
            Grade::Bad => "✖",
        };
        let time = format::time_of_day(line.epoch_ms as f64 / 1000.0, model.start.utc_offset_s);
        pair(format!("{time} {sign}"), line.text.to_string())
    };
    model.log.iter().map(entry).collect()
}
