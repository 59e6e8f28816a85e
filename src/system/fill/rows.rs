//! Rows in COPY's text format, written directly into one buffer.

use chrono::DateTime;
use std::fmt::Write as _;

const DAY_MS: i64 = 86_400_000;

/// Rows of one table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: String,
    /// Number of complete rows.
    pub count: u64,
    started: bool,
    /// The last day, in days since the epoch, and its text. Rows come in order of time, so it is formatted once per
    /// day.
    day: Option<(i64, String)>,
}

impl Rows {
    fn separate(&mut self) {
        if self.started {
            self.text.push('\t');
        }
        self.started = true;
    }

    /// Appends a number, or a text without tabs, newlines and backslashes.
    pub(super) fn plain(&mut self, value: impl std::fmt::Display) -> &mut Self {
        self.separate();
        let _ = write!(self.text, "{value}");
        self
    }

    /// Appends an amount of money.
    pub(super) fn cents(&mut self, cents: i64) -> &mut Self {
        self.separate();
        let _ = write!(self.text, "{}.{:02}", cents / 100, cents % 100);
        self
    }

    /// Appends a time, in milliseconds since the epoch; NULL for none.
    pub(super) fn time(&mut self, ms: impl Into<Option<i64>>) -> &mut Self {
        self.separate();
        let Some(ms) = ms.into() else {
            self.text.push_str("\\N");
            return self;
        };
        let (day, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        if self.day.as_ref().is_none_or(|(known, _)| *known != day) {
            let date = DateTime::from_timestamp_millis(day * DAY_MS).unwrap_or_default();
            self.day = Some((day, date.format("%Y-%m-%d").to_string()));
        }
        let date = self.day.as_ref().map_or("", |(_, date)| date);
        let (seconds, ms) = (rest / 1000, rest % 1000);
        let _ = write!(
            self.text,
            "{date} {:02}:{:02}:{:02}.{ms:03}+00",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        self
    }

    /// Ends the row.
    pub(super) fn end(&mut self) {
        self.text.push('\n');
        self.started = false;
        self.count += 1;
    }

    /// Returns the text written so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_postgresql_reads_them() {
        let mut rows = Rows::default();
        rows.plain(7)
            .cents(1205)
            .plain("x y")
            .time(1_780_000_000_123)
            .end();
        rows.time(None).time(-1).cents(5).end();
        let text = String::from_utf8(rows.bytes().to_vec()).unwrap();
        assert_eq!(
            text,
            "7\t12.05\tx y\t2026-05-28 20:26:40.123+00\n\\N\t1969-12-31 23:59:59.999+00\t0.05\n"
        );
        assert_eq!(rows.count, 2);
    }
}
