//! The report of an incident: what is read for it, when it is written, and what must not be in it.

use super::{LogLine, Model};
use crate::dashboard::action::{Grade, masked};
use crate::dashboard::diagnosis::Health;
use crate::dashboard::encoded::STATEMENTS;
use crate::dashboard::event::{Effect, FeedId, Moment};
use crate::dashboard::rows::Panel;
use crate::pg::{Table, Value};
use crate::sql::mask::mask;
use crate::text::Clean;

/// Panels that a report shows, but that are sampled only while they are on the screen.
const READ: [Panel; 3] = [Panel::Locks, Panel::Statements, Panel::Settings];
/// Those that are also read when a danger begins, so that a recording holds them.
const IN_DANGER: [Panel; 2] = [Panel::Locks, Panel::Settings];
/// Seconds after which they are read again, at the earliest.
const AGAIN_S: f64 = 300.0;
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
        let ids = if frozen {
            Vec::new()
        } else {
            self.readable(&READ)
        };
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

    /// The feeds of these panels that the server has and our role may read.
    fn readable(&self, panels: &[Panel]) -> Vec<FeedId> {
        let may_read = |id: &FeedId| {
            let feed = self.feed(*id);
            feed.is_some_and(|feed| feed.sampling.missing.is_empty() && !feed.sampling.denied)
        };
        let ids = panels.iter().filter_map(|panel| self.id_of(*panel));
        ids.filter(may_read).collect()
    }

    /// Returns the effect that writes the report once all panels have answered, or took too long.
    pub(super) fn report_due(&mut self) -> Vec<Effect> {
        let mut effects = self.read_in_danger();
        if let Some(reporting) = &self.memory.reporting {
            let waits = reporting.awaited.iter().any(|id| self.is_awaited(*id));
            if !waits || self.now.since(reporting.since) >= PATIENCE_S {
                self.memory.reporting = None;
                effects.push(self.report());
            }
        }
        effects
    }

    /// Reads what the report of a recording needs when a danger begins: while it is not shown, nothing else reads it.
    fn read_in_danger(&mut self) -> Vec<Effect> {
        let wanted = self.guarding.armed && self.config.record.always && !self.paused;
        let read = self.memory.read_in_danger;
        let lately = read.is_some_and(|read| self.now.since(read) < AGAIN_S);
        if !wanted || lately || self.cause.health < Health::Danger || self.facts.is_none() {
            return Vec::new();
        }
        self.memory.read_in_danger = Some(self.now);
        let ids = self.readable(&IN_DANGER);
        self.ask(&ids)
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
