//! Panels in a report: tables as `htap-top once` writes them, and statements in full.

use super::meaning::Meanings;
use crate::dashboard::encoded::STATEMENTS as STATEMENTS_COLUMN;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::Model;
use crate::dashboard::output::sheet::Sheet;
use crate::dashboard::output::table;
use crate::dashboard::panels::locks;
use crate::dashboard::rows::{Panel, Rows, read};
use crate::format;
use crate::pg::Value;
use crate::text;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Columns of the backends in a report.
const BACKENDS: [&str; 10] = [
    "pid",
    "class",
    "usename",
    "application_name",
    "client",
    "state",
    "wait",
    "xact_age_s",
    "query_age_s",
    "query",
];
/// Columns of what went on.
const WENT_ON: [&str; 7] = [
    "began", "lasted_s", "goes_on", "lane", "name", "class", "pid",
];
/// Columns of settings.
const SETTINGS: [&str; 3] = ["name", "value", "source"];
/// Column of the advice about a setting.
const ADVICE: &str = "advice";
/// Columns of a text that tables show.
const CUT: usize = 80;
/// Maximum age of an earlier reading of the locks, in seconds.
const EARLIER_S: f64 = 600.0;
/// Number of backends, of statements, and of rows of other panels.
const SESSIONS: usize = 30;
const STATEMENTS: usize = 10;
const ROWS: usize = 10;
/// Number of refreshes, statements, vacuums and others of the timeline.
const BARS: usize = 60;
/// Other panels that a report shows if they have rows at the moment.
const OTHERS: [Panel; 9] = [
    Panel::Waits,
    Panel::Snapshots,
    Panel::Views,
    Panel::Bloat,
    Panel::Wal,
    Panel::Progress,
    Panel::Replication,
    Panel::Pooler,
    Panel::Host,
];

/// The panels of a model, written for a report.
pub(super) struct Panels<'a> {
    model: &'a Model,
    /// Columns that the report shows, to be explained at its end.
    pub(super) meanings: Meanings,
}

impl<'a> Panels<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        Self {
            model,
            meanings: Meanings::default(),
        }
    }

    /// The queues for locks as a tree.
    pub(super) fn locks(&mut self) -> String {
        let panel = self.model.feed_of(Panel::Locks);
        let sheet = panel.map(|feed| Sheet::of(self.model, feed));
        if let (Some(feed), Some(sheet)) = (panel, sheet)
            && sheet.rows.as_ref().is_some_and(|rows| !rows.is_empty())
        {
            let compact = &feed.spec.front.compact;
            let names: Vec<&str> = compact.iter().map(String::as_str).collect();
            return self.table(sheet, &names, usize::MAX);
        }
        // Its panel may not have been read; the backends show who waits for whom as well.
        let Some((mut sheet, tree)) = self.backends() else {
            return "not known: the panel of backends is off".into();
        };
        if sheet.rows.is_some() && tree.is_empty() {
            return "nobody waited for a lock".into();
        }
        if let (Some(rows), Some(pid)) = (&mut sheet.rows, sheet.columns.iter().position(is_pid)) {
            let all = std::mem::take(rows);
            *rows = tree
                .into_iter()
                .filter_map(|(row, name)| {
                    let mut row = all.get(row)?.clone();
                    *row.get_mut(pid)? = name.as_str().into();
                    Some(row)
                })
                .collect();
        }
        let earlier = panel.map(|feed| (feed, Sheet::last(self.model, feed)));
        let mut text = self.table(sheet, &BACKENDS, usize::MAX);
        if let Some((feed, sheet)) = earlier
            && sheet.age_s.is_some_and(|age| age <= EARLIER_S)
            && sheet.rows.as_ref().is_some_and(|rows| !rows.is_empty())
        {
            let compact = &feed.spec.front.compact;
            let names: Vec<&str> = compact.iter().map(String::as_str).collect();
            text.push_str(&self.table(sheet, &names, usize::MAX));
        }
        text
    }

    /// The backends in the order of their table, and those that wait or block.
    fn backends(&self) -> Option<(Sheet, Vec<(usize, String)>)> {
        let feed = self.model.feed_of(Panel::Activity)?;
        let mut sheet = Sheet::of(self.model, feed);
        let tree = locks::tree(&feed.table);
        if let Some(rows) = &mut sheet.rows {
            let order = feed.cursor.order.iter().copied();
            let mut placed: Vec<(usize, Vec<Value>)> = order.zip(std::mem::take(rows)).collect();
            placed.sort_by_key(|(row, _)| *row);
            *rows = placed.into_iter().map(|(_, row)| row).collect();
        }
        Some((sheet, tree))
    }

    /// The backends, the most harmful first.
    pub(super) fn sessions(&mut self) -> String {
        let Some((sheet, _)) = self.backends() else {
            return "not known: the panel of backends is off".into();
        };
        self.table(sheet, &BACKENDS, SESSIONS)
    }

    /// The statements of the backends that the table cuts.
    pub(super) fn statements_of_sessions(&self) -> String {
        let Some(feed) = self.model.feed_of(Panel::Activity) else {
            return String::new();
        };
        let backends = Rows::<read::Backend>::of(&feed.table);
        let waiting = locks::tree(&feed.table).into_iter().map(|(row, _)| row);
        let first = 0..backends.len().min(SESSIONS);
        let mut seen = BTreeSet::new();
        let rows = waiting.chain(first).filter(|row| seen.insert(*row));
        let told = rows.filter_map(|row| {
            let backend = backends.at(row);
            let query = backend.query().text().filter(|query| is_cut(query))?;
            Some(format!("pid {}: {query}\n", backend.pid()?))
        });
        told.collect()
    }

    /// The statements that took most time, then the texts that the table cuts.
    pub(super) fn top_statements(&mut self) -> (String, String) {
        let Some(feed) = self.model.feed_of(Panel::Statements) else {
            return ("not known: its panel is off".into(), String::new());
        };
        let sheet = read(Sheet::last(self.model, feed), feed);
        let query = sheet
            .columns
            .iter()
            .position(|column| column.name == STATEMENTS_COLUMN);
        let rows = sheet.rows.iter().flatten().take(STATEMENTS);
        let texts = rows.filter_map(|row| row.get(query?)?.text());
        let texts = (1..).zip(texts).filter(|(_, text)| is_cut(text));
        let texts = texts.map(|(number, text): (usize, &str)| format!("row {number}: {text}\n"));
        let texts = texts.collect();
        let compact = &feed.spec.front.compact;
        let names: Vec<&str> = compact.iter().map(String::as_str).collect();
        (self.table(sheet, &names, STATEMENTS), texts)
    }

    /// The settings, then the advice about them.
    pub(super) fn settings(&mut self) -> (String, String) {
        let Some(feed) = self.model.feed_of(Panel::Settings) else {
            return ("not known: its panel is off".into(), String::new());
        };
        let sheet = read(Sheet::last(self.model, feed), feed);
        let position = |name: &str| sheet.columns.iter().position(|is| is.name == name);
        let (name, advice) = (position(SETTINGS[0]), position(ADVICE));
        let told = sheet.rows.iter().flatten().filter_map(|row| {
            let text = |column: Option<usize>| row.get(column?)?.text();
            Some(format!("{}: {}\n", text(name)?, text(advice)?))
        });
        let told = told.collect();
        (self.table(sheet, &SETTINGS, usize::MAX), told)
    }

    /// The figures of OLTP and the sessions by class.
    pub(super) fn oltp(&mut self) -> String {
        let (oltp, classes) = (Sheet::oltp(self.model), Sheet::classes(self.model));
        let text = self.table(oltp, &[], usize::MAX);
        text + &self.table(classes, &[], usize::MAX)
    }

    /// What went on in the time before, the newest first.
    pub(super) fn timeline(&mut self) -> String {
        let Some(feed) = self.model.feed_of(Panel::Timeline) else {
            return "not known: the panel of the timeline is off".into();
        };
        let sheet = Sheet::last(self.model, feed);
        self.table(sheet, &WENT_ON, BARS)
    }

    /// Other panels that have rows.
    pub(super) fn others(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for panel in OTHERS {
            let Some(feed) = self.model.feed_of(panel) else {
                continue;
            };
            let sheet = Sheet::of(self.model, feed);
            if sheet.rows.as_ref().is_none_or(Vec::is_empty) {
                continue;
            }
            let compact = &feed.spec.front.compact;
            let names: Vec<&str> = compact.iter().map(String::as_str).collect();
            told.push(self.table(sheet, &names, ROWS));
        }
        told
    }

    /// Writes at most `limit` rows with these columns; with all that are shown if none are named.
    fn table(&mut self, mut sheet: Sheet, names: &[&str], limit: usize) -> String {
        if !names.is_empty() {
            let position = |name: &&str| sheet.columns.iter().position(|is| is.name == **name);
            sheet.shown = names.iter().filter_map(position).collect();
        }
        let all = sheet.rows.as_ref().map_or(0, Vec::len);
        if let Some(rows) = &mut sheet.rows {
            rows.truncate(limit);
        }
        let mut text = table::panel(&sheet, self.model.start.utc_offset_s, usize::MAX);
        if all > limit {
            let _ = writeln!(text, "  … {} more", all - limit);
        }
        if let (Some(age), true) = (sheet.age_s, sheet.rows.is_some()) {
            let _ = writeln!(text, "  (read {} before the moment)", format::seconds(age));
        }
        self.meanings.add(&sheet);
        text
    }
}

/// Says why a panel that is seldom read has no rows.
fn read(mut sheet: Sheet, feed: &Feed) -> Sheet {
    let sampling = &feed.sampling;
    if sampling.at.is_none() && sampling.error.is_none() && sampling.missing.is_empty() {
        let why = "not read before this moment: it is read while its panel is shown, and when a report of now is written";
        sheet.reason = Some(why.to_owned());
    }
    sheet
}

/// Returns true if a table does not show the whole text.
fn is_cut(text: &str) -> bool {
    text::width(text) > CUT
}

fn is_pid(column: &crate::dashboard::output::sheet::Column) -> bool {
    column.name == BACKENDS[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::panels::built_in;

    #[test]
    fn the_columns_of_a_report_are_those_of_their_panels() {
        for (panel, names) in [
            (Panel::Activity, BACKENDS.as_slice()),
            (Panel::Settings, SETTINGS.as_slice()),
            (Panel::Timeline, WENT_ON.as_slice()),
            (Panel::Settings, &[ADVICE]),
        ] {
            let mut specs = built_in().unwrap().iter();
            let spec = specs.find(|spec| spec.name == panel.name()).unwrap();
            for name in names {
                assert!(spec.front.columns.contains_key(*name), "{name}");
            }
        }
    }
}
