//! A feed: a panel's statement with its last answer and the user's cursor.

mod columns;
mod needed;

pub use columns::{Chosen, Room};
pub use needed::Needed;

use super::choices::Choice;
use super::event::Moment;
use super::panels::parts::Forbidden;
use super::panels::rates;
use super::panels::spec::{Pool, Spec};
use super::rows::Panel;
use super::trend::{self, Trend};
use crate::dashboard::cell;
use crate::keys::{Key, Keymap};
use crate::pg::{PgError, Table, Value, shared};
use crate::text::Clean;
use regex::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::sync::Arc;

/// Placeholder for a backend's pid in statements about one backend.
pub const PID: &str = "{pid}";

/// The SQLSTATE of a lock timeout, a temporary error.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Comment in front of every sampling statement, by which the server's statistics and log distinguish this
/// program's work from others'.
pub const MARK: &str = "/* htap-top */ ";

/// A panel's statement, its last answer and the cursor on it.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The panel file.
    pub spec: Arc<Spec>,
    /// The panel, if code refers to it.
    pub panel: Option<Panel>,
    /// The statement for this server's version, with markers around parts that some servers forbid.
    pub source: Arc<str>,
    /// The statement as sent; empty until it is known what to send.
    pub sql: Arc<str>,
    /// What the statement is about, looked up once per text: statements are long, and this is asked with every tick.
    pub scope: Scope,
    /// Parts of it that this server refuses.
    pub forbidden: Forbidden,
    /// True for a user's own panel, whose result types are unknown.
    pub foreign: bool,
    /// Keys that open it from every page.
    pub direct: Vec<Key>,
    /// Keys that open it from the list of panels.
    pub listed: Vec<Key>,
    /// State of sampling.
    pub sampling: Sampling,
    /// The last successful answer with derived columns.
    pub table: Table,
    /// The last answer as received, if the derivation also depends on other feeds.
    pub raw: Table,
    /// The counters of the previous sample, if it shows rates.
    pub rates: rates::Memory,
    /// The course of the figures that the panel file lists.
    pub trends: Vec<Trend>,
    /// Rows that it has needed lately.
    pub needed: Needed,
    /// What the configuration says about its columns.
    pub chosen: Chosen,
    /// Selection, order and filter.
    pub cursor: Cursor,
}

/// What a statement is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The one backend whose detail is open.
    one_backend: bool,
    /// All sessions, in a pass that it can share with other statements.
    pub all_sessions: bool,
}

/// Times of a feed's queries and answers, and errors.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or false by itself"
)]
pub struct Sampling {
    /// Time of the last successful answer.
    pub at: Option<Moment>,
    /// Its duration, in milliseconds.
    pub took_ms: f64,
    /// Time at which the statement in progress was sent.
    pub in_flight: Option<Moment>,
    /// True if that was sent to the watched server although the OLAP pool has a server of its own.
    pub asked_here: bool,
    /// True if the last successful answer came from there.
    pub from_here: bool,
    /// Time of the next query, as [`Moment::mono_ms`].
    pub due_ms: u64,
    /// True if the session of the last successful answer has been lost since.
    pub outlived: bool,
    /// The error, if the last query failed.
    pub error: Option<PgError>,
    /// Number of failures in a row.
    pub failures: u32,
    /// Relations or extensions that the server lacks.
    pub missing: Vec<Clean>,
    /// The reason why an existing relation is not read: another role may have planted it.
    pub strange: Option<Clean>,
    /// True if the current role may not read the relations, as `error` says. It is not queried, because each
    /// attempt would be logged as an error by the server.
    pub denied: bool,
}

/// Selection, order and filter.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Rows to show, filtered and sorted: positions in the table.
    pub order: Vec<usize>,
    /// The selected row, a position in `order`.
    pub selected: usize,
    /// First row shown, a position in `order`.
    pub offset: usize,
    /// First column shown.
    pub column_offset: usize,
    /// The sort column, and true if descending; `None` for the feed's own order.
    pub sort: Option<(Box<str>, bool)>,
    /// Filter that rows must match.
    pub filter: Option<Filter>,
    /// Columns chosen on the screen.
    pub choice: Option<Arc<Choice>>,
    /// Identities of tagged rows.
    pub tagged: HashSet<Vec<Box<str>>>,
    /// Identity of the selected row, so that it stays selected when rows move.
    held: Option<Vec<Box<str>>>,
}

/// A filter on the text of all cells of a row.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As typed.
    pub text: String,
    pattern: Regex,
    invert: bool,
}

impl Filter {
    /// Parses a filter: a regular expression, inverted by a leading `!`; case-insensitive unless it contains
    /// upper-case letters.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (invert, pattern) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let pattern = RegexBuilder::new(pattern)
            .case_insensitive(!pattern.chars().any(char::is_uppercase))
            .size_limit(1 << 20)
            .build()
            .map_err(|error| {
                error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or("invalid regular expression")
                    .to_owned()
            })?;
        Ok(Self {
            text: text.to_owned(),
            pattern,
            invert,
        })
    }

    /// Returns the matches in `text`, to be highlighted; none if the filter is inverted.
    pub fn found(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        if self.invert {
            return Vec::new();
        }
        let found = self.pattern.find_iter(text).map(|found| found.range());
        found.filter(|range| !range.is_empty()).collect()
    }

    fn passes(&self, row: &[Value]) -> bool {
        let hit = row.iter().any(|cell| match cell {
            Value::Text(text) => self.pattern.is_match(text.as_str()),
            Value::Int(number) => self.pattern.is_match(&number.to_string()),
            _ => false,
        });
        hit != self.invert
    }
}

impl Feed {
    /// Returns the feed of a panel file before its first sample; `foreign` for a user's own one.
    pub fn new(spec: Arc<Spec>, foreign: bool) -> Self {
        let cursor = Cursor {
            sort: sort_order(&spec.front.sort),
            ..Cursor::default()
        };
        let mut feed = Self {
            source: "".into(),
            sql: "".into(),
            scope: Scope::default(),
            forbidden: Forbidden::default(),
            panel: (!foreign).then(|| Panel::of(&spec.name)).flatten(),
            spec,
            foreign,
            direct: Vec::new(),
            listed: Vec::new(),
            sampling: Sampling::default(),
            table: Table::default(),
            raw: Table::default(),
            rates: rates::Memory::default(),
            trends: Vec::new(),
            needed: Needed::default(),
            chosen: Chosen::default(),
            cursor,
        };
        let source = feed.spec.sql.clone();
        feed.ask_with(&source);
        feed
    }

    /// Sets the statement and updates the text to send.
    pub fn ask_with(&mut self, source: &str) {
        self.source = source.into();
        self.write();
    }

    /// Updates the text to send, leaving out what the server refuses.
    pub fn write(&mut self) {
        let sql = if self.foreign {
            self.source.to_string()
        } else {
            self.forbidden.write(&self.source)
        };
        // The pooler's console refuses a comment.
        self.sql = if sql.is_empty() || self.spec.front.pool == Pool::Pooler {
            sql.into()
        } else {
            format!("{MARK}{sql}").into()
        };
        self.scope = Scope {
            one_backend: self.spec.sql.contains(PID),
            all_sessions: shared::reads_sessions(&self.sql),
        };
    }

    /// Identity of a row: the key columns of the front matter, or all text columns.
    pub fn identity(&self, row: usize) -> Vec<Box<str>> {
        self.table.identity(row, &self.spec.front.key)
    }

    /// Heading and text of one cell.
    pub fn field(&self, row: usize, name: &str, utc_offset_s: i32) -> (String, String) {
        let column = self.spec.column(name);
        let cell = cell::cell(self.table.get(row, name), &column, utc_offset_s);
        (column.heading(name).to_owned(), cell.text.into_owned())
    }

    /// The row with this identity.
    pub fn row_of(&self, identity: &[Box<str>]) -> Option<usize> {
        (0..self.table.rows.len()).find(|row| self.identity(*row) == identity)
    }

    /// Returns true if a failed query will soon be repeated: without the forbidden parts, or because the
    /// error is temporary.
    pub fn is_asked_again(&self) -> bool {
        let sampling = &self.sampling;
        let passing = |error: &PgError| error.code() == LOCK_NOT_AVAILABLE;
        sampling.in_flight.is_some() || sampling.error.as_ref().is_some_and(passing)
    }

    /// Returns true if it queries the one backend whose detail is open.
    pub fn is_about_backend(&self) -> bool {
        self.scope.one_backend
    }

    /// Sets the keys that open it.
    pub fn bind(&mut self, keys: &Keymap) {
        let front = &self.spec.front;
        self.direct = keys.direct(&self.spec.name, front.direct_key());
        self.listed = keys.listed(&self.spec.name, front.letter.map(Key::Char));
    }

    /// Returns true for a business panel without digit and letter, which the Overview has no room for.
    pub fn is_extra(&self) -> bool {
        let front = &self.spec.front;
        !front.internal && front.digit.is_none() && front.letter.is_none()
    }

    /// Position of the selected row in the table.
    pub fn selected_row(&self) -> Option<usize> {
        self.cursor.order.get(self.cursor.selected).copied()
    }

    /// The selected row's cell in the column called `name`.
    pub fn selected(&self, name: &str) -> &Value {
        self.selected_row()
            .map_or(&Value::Null, |row| self.table.get(row, name))
    }

    /// Moves the selection to `position`, limited to the existing rows.
    pub fn select(&mut self, position: usize) {
        self.cursor.selected = position.min(self.cursor.order.len().saturating_sub(1));
        self.cursor.held = self.selected_row().map(|row| self.identity(row));
    }

    /// Sets new rows and restores order and selection.
    pub fn accept(&mut self, table: Table) {
        self.table = table;
        self.arrange();
    }

    /// Notes what has become of the figures whose course is kept, and the rows needed.
    pub fn follow(&mut self, now: Moment) {
        self.needed.note(self.table.rows.len(), now.mono_ms);
        let Self {
            spec,
            table,
            trends,
            ..
        } = self;
        trends.resize_with(spec.front.trends.len(), Trend::default);
        for (wanted, trend) in spec.front.trends.iter().zip(trends) {
            if let Some(value) = trend::total(table, wanted, &spec.front.key) {
                trend.push(now.mono_ms, value);
            }
        }
    }

    /// Filters and sorts; the selected row stays selected while it exists.
    pub fn arrange(&mut self) {
        let Self { table, cursor, .. } = self;
        cursor.order.clear();
        let filter = cursor.filter.as_ref();
        let passing = table
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| filter.is_none_or(|f| f.passes(row)));
        cursor.order.extend(passing.map(|(position, _)| position));
        if let Some((name, descending)) = &cursor.sort
            && let Some(column) = table.column(name)
        {
            let cell = |row: &usize| table.rows.get(*row).and_then(|cells| cells.get(column));
            cursor.order.sort_by(|a, b| {
                let (a, b) = (
                    cell(a).unwrap_or(&Value::Null),
                    cell(b).unwrap_or(&Value::Null),
                );
                compare(a, b, *descending)
            });
        }
        // The cursor follows a row selected by the user; otherwise it stays on the first, the worst.
        if self.cursor.selected > 0
            && let Some(held) = self.cursor.held.take()
        {
            let found = self
                .cursor
                .order
                .iter()
                .position(|row| self.identity(*row) == held);
            self.cursor.selected = found.unwrap_or(self.cursor.selected);
        }
        self.select(self.cursor.selected);
        if !self.cursor.tagged.is_empty() {
            let alive: HashSet<_> = (0..self.table.rows.len())
                .map(|row| self.identity(row))
                .collect();
            self.cursor.tagged.retain(|tagged| alive.contains(tagged));
        }
    }

    /// Tags or untags the selected row.
    pub fn toggle_tag(&mut self) {
        if let Some(identity) = self.selected_row().map(|row| self.identity(row))
            && !self.cursor.tagged.remove(&identity)
        {
            self.cursor.tagged.insert(identity);
        }
    }
}

/// Reads a sort column, with a leading `-` for descending; `None` if it is empty.
pub fn sort_order(text: &str) -> Option<(Box<str>, bool)> {
    match text.strip_prefix('-') {
        Some(column) => Some((column.into(), true)),
        None => (!text.is_empty()).then(|| (text.into(), false)),
    }
}

/// Compares two cells; unknown values come last in either direction.
pub fn compare(a: &Value, b: &Value, descending: bool) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let known = b.is_known().cmp(&a.is_known());
    let order = match (a.number(), b.number()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.text().cmp(&b.text()),
    };
    known.then(if descending { order.reverse() } else { order })
}
