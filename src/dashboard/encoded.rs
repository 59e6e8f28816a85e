//! An event as a line of JSON. It is encoded once; the tape and the recording share the bytes.

use super::event::{Event, Moment};
use crate::pg::sampler::{Report, SessionId};
use crate::pg::texts::ROW_LIMIT;
use crate::pg::{Class, PgError, Table, Value};
use crate::sql::mask::mask;
use crate::text::Clean;
use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

/// Maximum length of a recorded line in bytes: far above the largest answer, far below what would exhaust memory.
pub const LONGEST: usize = 64 << 20;
/// Bytes of a cell, on average.
const CELL: usize = 24;
/// Name of the column whose texts are SQL statements.
pub(crate) const STATEMENTS: &str = "query";

/// A recorded event as a line of JSON. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The line, including the newline.
    json: Arc<[u8]>,
    /// Byte ranges of the cells that hold SQL statements.
    statements: Option<Arc<[Range<usize>]>>,
    about: About,
}

/// Summary of the event in a line, for code that keeps lines without decoding them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum About {
    /// The clock ticked.
    Tick(Moment),
    /// The interval changed to this number of milliseconds.
    Paced(u64),
    /// The server was put in the background, or is shown again.
    Background,
    /// A session opened.
    Opened(SessionId),
    /// A session was lost.
    Lost(SessionId),
    /// A feed's statement was answered.
    Answer {
        /// The feed's number.
        id: u16,
        /// Milliseconds to the answer.
        took_ms: f64,
        /// Number of rows; `None` for an error.
        rows: Option<usize>,
    },
    /// Point queries were timed.
    Timed,
    /// Anything else.
    Other,
}

impl About {
    /// Returns `None` for an event that is not recorded: the user's keys, and what only the dashboard that acts needs.
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Ticked { now, .. } => Some(Self::Tick(*now)),
            Event::Paced(interval_ms) => Some(Self::Paced(*interval_ms)),
            Event::Background(_) => Some(Self::Background),
            Event::CanaryTimed { .. } => Some(Self::Timed),
            Event::Warned(_) | Event::Acted(_) => Some(Self::Other),
            Event::Reported(report) => Some(match report {
                Report::Opened { session, .. } => Self::Opened(*session),
                Report::Lost { session, .. } => Self::Lost(*session),
                Report::Ended { .. } => Self::Other,
                Report::Answered {
                    id,
                    took_ms,
                    outcome,
                } => Self::Answer {
                    id: *id,
                    took_ms: *took_ms,
                    rows: outcome.as_ref().ok().map(|table| table.rows.len()),
                },
            }),
            _ => None,
        }
    }
}

/// Returns true if an event is recorded: it came from outside, or says what was done.
pub fn is_recorded(event: &Event) -> bool {
    About::of(event).is_some()
}

impl Encoded {
    /// Encodes an event; returns `None` if it is not recorded.
    pub fn of(event: &Event) -> Option<Self> {
        let about = About::of(event)?;
        // An answer has some tens of bytes per cell; growing in steps would copy it several times.
        let cells = match event {
            Event::Reported(Report::Answered {
                outcome: Ok(table), ..
            }) => table.rows.len() * table.columns.len(),
            _ => 0,
        };
        let mut line = Vec::with_capacity(256 + cells * CELL);
        let mut statements = Vec::new();
        let written = match event {
            Event::Reported(Report::Answered {
                id,
                took_ms,
                outcome: Ok(table),
            }) => match table.column(STATEMENTS) {
                Some(column) => answer(&mut line, (*id, *took_ms, table), column, &mut statements),
                None => serde_json::to_writer(&mut line, event),
            },
            _ => serde_json::to_writer(&mut line, event),
        };
        written.ok()?;
        line.push(b'\n');
        Some(Self {
            json: line.into(),
            statements: (!statements.is_empty()).then(|| statements.into()),
            about,
        })
    }

    /// Returns the summary of the event.
    pub fn about(&self) -> About {
        self.about
    }

    /// Returns the moment if the event is a tick.
    pub fn moment(&self) -> Option<Moment> {
        match self.about {
            About::Tick(now) => Some(now),
            _ => None,
        }
    }

    /// Returns true if the event is a sample.
    pub fn is_sample(&self) -> bool {
        matches!(self.about, About::Answer { .. } | About::Timed)
    }

    /// Returns the line, including the newline.
    pub fn bytes(&self) -> &[u8] {
        &self.json
    }

    /// Returns the line with the literals in its SQL statements masked.
    pub fn masked(&self) -> Cow<'_, [u8]> {
        let Some(statements) = &self.statements else {
            return Cow::Borrowed(&self.json);
        };
        let mut line = Vec::with_capacity(self.json.len());
        let mut rest = 0;
        for cell in statements.iter() {
            line.extend_from_slice(self.json.get(rest..cell.start).unwrap_or_default());
            let text = self.json.get(cell.clone()).unwrap_or_default();
            let masked = match serde_json::from_slice(text) {
                Ok(Value::Text(text)) => Value::Text(Clean::from(mask(text.as_str()))),
                // The cell was encoded as text; anything else must not get out unmasked.
                _ => Value::Null,
            };
            // Writing text to memory cannot fail.
            let _ = serde_json::to_writer(&mut line, &masked);
            rest = cell.end;
        }
        line.extend_from_slice(self.json.get(rest..).unwrap_or_default());
        Cow::Owned(line)
    }

    /// Returns the line if a recording may hold it. An answer that is too long is replaced by an error that says so.
    pub fn fitting(&self) -> Option<Self> {
        let rows = match self.about {
            About::Answer { rows, .. } => rows.unwrap_or(0),
            _ => 0,
        };
        if self.json.len() <= LONGEST && rows <= ROW_LIMIT {
            return Some(self.clone());
        }
        let About::Answer { id, took_ms, .. } = self.about else {
            return None;
        };
        let why = "this answer was too long to be recorded";
        Self::of(&Event::Reported(Report::Answered {
            id,
            took_ms,
            outcome: Err(PgError::new(Class::Statement, why)),
        }))
    }
}

/// Encodes a successful answer exactly as serde does, and notes the byte ranges of the SQL statements in `column`.
fn answer(
    line: &mut Vec<u8>,
    (id, took_ms, table): (u16, f64, &Table),
    column: usize,
    statements: &mut Vec<Range<usize>>,
) -> serde_json::Result<()> {
    let raw = serde_json::Error::io;
    write!(
        line,
        "{{\"Reported\":{{\"Answered\":{{\"id\":{id},\"took_ms\":"
    )
    .map_err(raw)?;
    serde_json::to_writer(&mut *line, &took_ms)?;
    line.extend_from_slice(b",\"outcome\":{\"Ok\":{\"columns\":");
    serde_json::to_writer(&mut *line, &table.columns)?;
    line.extend_from_slice(b",\"rows\":[");
    for (number, row) in table.rows.iter().enumerate() {
        line.extend_from_slice(if number == 0 { b"[" } else { b",[" });
        for (number, cell) in row.iter().enumerate() {
            if number > 0 {
                line.push(b',');
            }
            let begun = line.len();
            serde_json::to_writer(&mut *line, cell)?;
            if number == column && matches!(cell, Value::Text(_)) {
                statements.push(begun..line.len());
            }
        }
        line.push(b']');
    }
    line.extend_from_slice(b"]}}}}}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(columns: &[&str], rows: Vec<Vec<Value>>) -> Event {
        Event::Reported(Report::Answered {
            id: 7,
            took_ms: 0.1 + 0.2,
            outcome: Ok(Table {
                columns: columns.iter().map(|name| (*name).into()).collect(),
                rows,
            }),
        })
    }

    fn decoded(line: &[u8]) -> Event {
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn a_line_is_what_serde_writes() {
        let cells = vec![
            Value::Null,
            Value::Unavailable,
            Value::Pending,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(f64::NEG_INFINITY),
            Value::Decimal("1.10".into(), 1.1),
            Value::AtLeast(1e300),
            Value::AtMost(-0.0),
            "\"quoted\"\\ 'x' \u{1f512}".into(),
        ];
        let columns: Vec<String> = (0..cells.len())
            .map(|number| format!("c\"{number}"))
            .collect();
        let mut columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        for at in 0..cells.len() {
            columns[at] = "query";
            for rows in [
                vec![],
                vec![vec![]],
                vec![cells.clone(), vec![], cells.clone()],
            ] {
                let event = answered(&columns, rows);
                let mut expected = serde_json::to_vec(&event).unwrap();
                expected.push(b'\n');
                let line = Encoded::of(&event).unwrap();
                assert_eq!(line.bytes(), expected, "{at}");
            }
            columns[at] = "other";
        }
        assert!(Encoded::of(&Event::Resumed).is_none());
    }

    #[test]
    fn statements_and_nothing_else_are_masked() {
        let rows = |last: &str| {
            vec![
                vec![Value::Int(1), "SELECT 's3cret'".into(), "'kept'".into()],
                vec![Value::Int(2), Value::Null, "7".into()],
                vec![Value::Int(3), last.into(), "\"".into()],
            ]
        };
        let columns = ["pid", "query", "note"];
        let line = Encoded::of(&answered(&columns, rows("a = \"b\" AND c = 7"))).unwrap();
        let mut expected = rows("a = \"b\" AND c = ?");
        expected[0][1] = "SELECT ?".into();
        assert_eq!(decoded(&line.masked()), answered(&columns, expected));
        let without = Encoded::of(&answered(&["note"], vec![vec!["'kept'".into()]])).unwrap();
        assert!(matches!(without.masked(), Cow::Borrowed(bytes) if bytes == without.bytes()));
    }
}
