//! A feed is a panel's statement with its last answer, and the cursor of whoever looks at it.

use super::event::Moment;
use super::panels::parts::Forbidden;
use super::panels::rates;
use super::panels::spec::Spec;
use crate::dashboard::cell;
use crate::pg::{PgError, Table, Value};
use crate::text::Clean;
use regex::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::sync::Arc;

/// Stands for a backend's pid in the statements that are about one.
pub const PID: &str = "{pid}";

/// The SQLSTATE of a lock that was not had in time: it passes.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Stands before every statement that this program samples with, so that a server's statistics, its log and
/// whoever reads them can tell it from others' work.
pub const MARK: &str = "/* htap-top */ ";

/// A panel's statement, its last answer and the cursor on it.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The panel file.
    pub spec: Arc<Spec>,
    /// The statement for this server's version, with the marks of what some servers forbid.
    pub source: Arc<str>,
    /// As it is sent; empty while it is not known how it must be.
    pub sql: Arc<str>,
    /// What this server refuses of it.
    pub forbidden: Forbidden,
    /// From a user's own file: result types are unknown.
    pub foreign: bool,
    /// The digit that opens it; `None` for one that only feeds others or stands on the "more" page.
    pub digit: Option<u8>,
    /// The letter that opens it from the list of panels; `None` for the others.
    pub letter: Option<char>,
    /// Shown to the user at all.
    pub visible: bool,
    /// Sampling.
    pub sampling: Sampling,
    /// The last good answer, derived columns included.
    pub table: Table,
    /// The answer as it came, where the derivation also depends on other feeds.
    pub raw: Table,
    /// The counters of the sample before, where it shows rates.
    pub rates: rates::Memory,
    /// Cursor, order and filter.
    pub cursor: Cursor,
}

/// When a feed was last asked and answered.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    /// When the last good answer came.
    pub at: Option<Moment>,
    /// How long it took, milliseconds.
    pub took_ms: f64,
    /// When the statement under way was sent.
    pub in_flight: Option<Moment>,
    /// When it is asked next, [`Moment::mono_ms`].
    pub due_ms: u64,
    /// The last good answer came by a session that was lost since.
    pub outlived: bool,
    /// Why the last answer was none.
    pub error: Option<PgError>,
    /// How often in a row it was none.
    pub failures: u32,
    /// Relations or extensions that it lacks.
    pub missing: Vec<Clean>,
    /// Why what it needs is not read although it is there: a stranger could have made it.
    pub strange: Option<Clean>,
    /// Our role may not read what it needs, which `error` says: it is not asked, for each try would be an error in
    /// the server's log.
    pub denied: bool,
}

/// Cursor, order and filter.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Rows to show, filtered and sorted: positions in the table.
    pub order: Vec<usize>,
    /// Selected, a position in `order`.
    pub selected: usize,
    /// First row on screen, a position in `order`.
    pub offset: usize,
    /// First column on screen.
    pub column_offset: usize,
    /// Column to sort by, and whether descending; the feed's own order where `None`.
    pub sort: Option<(Box<str>, bool)>,
    /// Rows must match.
    pub filter: Option<Filter>,
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
    /// Parses what was typed: a regular expression, inverted by `!` in front; without upper-case
    /// letters case does not count.
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
                    .unwrap_or("not a regular expression")
                    .to_owned()
            })?;
        Ok(Self {
            text: text.to_owned(),
            pattern,
            invert,
        })
    }

    /// Where in `text` the pattern is, to be marked; nowhere where it is inverted.
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
    /// Takes a statement, and writes it as it is sent.
    pub fn ask_with(&mut self, source: &str) {
        self.source = source.into();
        self.write();
    }

    /// Writes the statement anew, without what the server refuses.
    pub fn write(&mut self) {
        let sql = if self.foreign {
            self.source.to_string()
        } else {
            self.forbidden.write(&self.source)
        };
        self.sql = if sql.is_empty() {
            sql.into()
        } else {
            format!("{MARK}{sql}").into()
        };
    }

    /// The rows' identity: the key columns of the front matter, or all text columns.
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

    /// Returns true if what failed last is tried again soon: without what the server forbids, or since the reason passes.
    pub fn is_asked_again(&self) -> bool {
        let sampling = &self.sampling;
        let passing = |error: &PgError| error.code() == LOCK_NOT_AVAILABLE;
        sampling.in_flight.is_some() || sampling.error.as_ref().is_some_and(passing)
    }

    /// Asked about one backend, whose detail is open.
    pub fn is_about_backend(&self) -> bool {
        self.spec.sql.contains(PID)
    }

    /// A business panel that the Overview has no room for: it has neither digit nor letter.
    pub fn is_extra(&self) -> bool {
        self.visible && self.digit.is_none() && self.letter.is_none()
    }

    /// The position in the table of the selected row.
    pub fn selected_row(&self) -> Option<usize> {
        self.cursor.order.get(self.cursor.selected).copied()
    }

    /// The selected row's cell of the column called `name`.
    pub fn selected(&self, name: &str) -> &Value {
        self.selected_row()
            .map_or(&Value::Null, |row| self.table.get(row, name))
    }

    /// Moves the selection to `position`, held within the rows.
    pub fn select(&mut self, position: usize) {
        self.cursor.selected = position.min(self.cursor.order.len().saturating_sub(1));
        self.cursor.held = self.selected_row().map(|row| self.identity(row));
    }

    /// Takes new rows and puts order and selection right again.
    pub fn accept(&mut self, table: Table) {
        self.table = table;
        self.arrange();
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
        // The cursor follows a row that was chosen; one that was not stays at the top, at the worst.
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

    /// Columns a table of this feed shows: all that are not hidden, or the compact ones.
    pub fn columns(&self, compact: bool) -> Vec<String> {
        if compact && !self.spec.front.compact.is_empty() {
            return self.spec.front.compact.clone();
        }
        let compact = self.spec.front.compact.iter();
        let compact = compact
            .filter(|name| self.table.column(name).is_some())
            .cloned();
        let rest = self.table.columns.iter().map(ToString::to_string);
        let rest = rest.filter(|name| !self.spec.front.compact.contains(name));
        let hidden = |name: &String| {
            self.spec
                .front
                .columns
                .get(name)
                .is_some_and(|column| column.hidden)
        };
        compact.chain(rest).filter(|name| !hidden(name)).collect()
    }
}

/// Orders two cells; what is not known comes last in either direction.
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
