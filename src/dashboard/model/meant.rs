//! The backends that a key acts on.

use super::{Model, Popup};
use crate::dashboard::action::Backend;
use crate::dashboard::event::FeedId;
use crate::dashboard::rows::{Panel, Row, Rows, Text, read};
use crate::format;
use crate::pg::admin::{Identity, Signal};
use crate::text::{self, Clean};

/// Columns of a query shown in a confirmation.
const QUERY_COLUMNS: usize = 200;
/// Transaction age in seconds from which a termination applies to that transaction only: if it has ended
/// meanwhile, the session is left alone.
const LONG_XACT_S: f64 = 10.0;

impl Model {
    /// Returns the row that a key acts on: the one whose detail is open, else the selected one. The detail
    /// stays open while rows below it come and go, and a key applies to the row it shows.
    pub(super) fn row_meant(&self, id: FeedId) -> Option<usize> {
        let feed = self.feed(id)?;
        match &self.popup {
            Some(Popup::Detail(detail)) if id == self.focus => feed.row_of(&detail.identity),
            _ => feed.selected_row(),
        }
    }

    /// The backends to act on: the tagged ones, or else the one that the key acts on. If the panel lists none, or the
    /// evidence for the cause line is open, the one that its cure ends.
    pub(super) fn chosen(&self, signal: Signal) -> Vec<Backend> {
        let listed = if matches!(self.popup, Some(Popup::Why { .. })) {
            Vec::new()
        } else {
            self.listed(signal)
        };
        if !listed.is_empty() || matches!(self.popup, Some(Popup::Detail(_))) {
            return listed;
        }
        let activity = self.rows(Panel::Activity);
        let named = Rows::<read::Signalled>::of(activity);
        let named = named
            .iter()
            .filter(|row| row.pid().is_some() && row.pid() == self.cause.ends);
        named.filter_map(|row| backend(row, signal)).collect()
    }

    fn listed(&self, signal: Signal) -> Vec<Backend> {
        let Some(feed) = self.feed(self.focus) else {
            return Vec::new();
        };
        let detail = matches!(self.popup, Some(Popup::Detail(_)));
        let tagged: Vec<usize> = (0..feed.table.rows.len())
            .filter(|row| feed.cursor.tagged.contains(&feed.identity(*row)))
            .collect();
        let rows = if tagged.is_empty() || detail {
            self.row_meant(self.focus).into_iter().collect()
        } else {
            tagged
        };
        let table = Rows::of(&feed.table);
        rows.into_iter()
            .filter_map(|row| backend(table.at(row), signal))
            .collect()
    }
}

/// `reports, shop, olap, metabase, active, 50s`
fn described<'t>(
    row: Row<'t, read::Signalled>,
    read: fn(Text<'t>) -> &'t str,
    age: &'t str,
) -> String {
    let role = if row.usename().is_known() {
        row.usename()
    } else {
        row.role()
    };
    let parts = [
        role,
        row.datname(),
        row.class(),
        row.application_name(),
        row.state(),
    ];
    let parts = parts.map(read).into_iter().chain([age]);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Returns the backend in a row, if the row is one.
pub(super) fn backend(row: Row<'_, read::Signalled>, signal: Signal) -> Option<Backend> {
    // A blocking prepared transaction has no process.
    let pid = row.pid().filter(|pid| *pid > 0)?;
    let xact_age = row.xact_age_s().or(row.age_s());
    let since = match signal {
        Signal::Cancel => row.query_start().text(),
        // A busy session is in another transaction by the time the user confirms.
        Signal::Terminate => {
            let since = row.xact_start().text();
            since.filter(|_| xact_age >= Some(LONG_XACT_S))
        }
    };
    let age = xact_age.or(row.query_age_s());
    let age = age.map(format::seconds).unwrap_or_default();
    let shown = described(row, Text::shown, &age);
    let raw = described(row, Text::name, &age);
    Some(Backend {
        identity: Identity {
            pid,
            backend_start: row.backend_start().text()?.to_owned(),
            since: since.map(str::to_owned),
        },
        raw: (raw != shown).then_some(raw),
        described: Clean::from(shown),
        idle: row.state().shown().starts_with("idle"),
        query: Clean::from(text::cut(row.query().shown(), QUERY_COLUMNS).as_ref()),
    })
}
