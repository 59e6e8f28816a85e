//! The report of an incident: what is read for it, when it is written, and what must not be in it.

use super::{LogLine, Model};
use crate::dashboard::action::{Grade, masked};
use crate::dashboard::encoded::STATEMENTS;
use crate::dashboard::event::{Effect, FeedId, Moment};
use crate::dashboard::rows::Panel;
use crate::pg::{Table, Value};
use crate::sql::mask::mask;
use crate::text::Clean;

/// Panels that a report shows, but that are sampled only while they are on the screen.
const READ: [Panel; 3] = [Panel::Locks, Panel::Statements, Panel::Settings];
/// Seconds that a report waits for them.
const PATIENCE_S: f64 = 2.0;

/// A report that waits for panels.
#[derive(Clone, Debug)]
pub(super) struct Reporting {
    since: Moment,
    awaited: Vec<FeedId>,
}

impl Model {
    /// Reads what a report of now needs, then writes it; writes a report of the past at once.
    pub(super) fn write_report(&mut self) -> Vec<Effect> {
        if self.memory.reporting.is_some() {
            return Vec::new();
        }
        let frozen = self.playback.is_some() || self.paused || self.facts.is_none();
        let asked = |id: &FeedId| {
            let feed = self.feed(*id);
            feed.is_some_and(|feed| feed.sampling.missing.is_empty() && !feed.sampling.denied)
        };
        let ids = READ.iter().filter(|_| !frozen);
        let ids: Vec<FeedId> = ids.filter_map(|panel| self.id_of(*panel)).collect();
        let ids: Vec<FeedId> = ids.into_iter().filter(asked).collect();
        let mut effects = self.ask(&ids);
        let awaited: Vec<FeedId> = ids.into_iter().filter(|id| self.is_awaited(*id)).collect();
        if awaited.is_empty() {
            effects.push(self.report());
        } else {
            self.hint("reading locks, statements and settings for the report …");
            let since = self.now;
            self.memory.reporting = Some(Reporting { since, awaited });
        }
        effects
    }

    /// Returns the effect that writes the report once all panels have answered, or took too long.
    pub(super) fn report_due(&mut self) -> Option<Effect> {
        let reporting = self.memory.reporting.as_ref()?;
        let waits = reporting.awaited.iter().any(|id| self.is_awaited(*id));
        if waits && self.now.since(reporting.since) < PATIENCE_S {
            return None;
        }
        self.memory.reporting = None;
        Some(self.report())
    }

    fn is_awaited(&self, id: FeedId) -> bool {
        let feed = self.feed(id);
        feed.is_some_and(|feed| feed.sampling.in_flight.is_some())
    }

    fn report(&mut self) -> Effect {
        self.hint("writing the report …");
        let past = self.playback.is_some();
        Effect::WriteReport { past }
    }

    /// Shows where the report is, or why there is none.
    pub(super) fn report_written(&mut self, outcome: &Result<Clean, Clean>) -> Vec<Effect> {
        match outcome {
            Ok(path) => self.say(Grade::Good, &format!("report: {path}")),
            Err(why) => self.say(Grade::Bad, &format!("no report was written: {why}")),
        }
        Vec::new()
    }

    /// Shows a message in the footer that the log does not keep.
    fn hint(&mut self, text: &str) {
        let line = LogLine {
            epoch_ms: self.now.epoch_ms,
            grade: Grade::Running,
            text: Clean::from(text),
        };
        self.notice = Some((line, self.now));
        self.dirty = true;
    }

    /// Masks the literals of statements and the data in errors, and judges anew, so that neither the cause line nor its
    /// evidence quotes them.
    pub(crate) fn mask(&mut self) {
        for feed in &mut self.feeds {
            mask_statements(&mut feed.table);
            mask_statements(&mut feed.raw);
            feed.sampling.error = feed.sampling.error.as_ref().map(masked);
        }
        self.judge();
    }
}

/// Masks the literals of the statements in a table, as in recordings.
fn mask_statements(table: &mut Table) {
    let Some(column) = table.column(STATEMENTS) else {
        return;
    };
    for row in &mut table.rows {
        if let Some(Value::Text(text)) = row.get_mut(column) {
            *text = Clean::from(mask(text.as_str()));
        }
    }
}
