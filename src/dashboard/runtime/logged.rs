//! Log entries of a model's events and effects; [`crate::log`] defines what may stand in them.

use super::FRAME;
use crate::dashboard::action::{Action, Outcome};
use crate::dashboard::event::{Effect, Event};
use crate::dashboard::model::Model;
use crate::pg::PgError;
use crate::pg::admin::{Signal, Verdict};
use crate::pg::sampler::Report;
use std::time::Duration;
use tracing::{Level, debug, enabled, info, warn};

/// A sample that takes longer is logged: a statement is to cost the server far less.
const SLOW_MS: f64 = 250.0;

/// Logs what has happened. `model` knows which panel a statement is of.
pub(super) fn event(event: &Event, model: &Model) {
    if !enabled!(Level::INFO) {
        return;
    }
    let server = number(model);
    match event {
        Event::Reported(report) => reported(report, model),
        Event::CanaryTimed { failed, .. } if *failed > 0 => {
            warn!(server, count = failed, "point queries failed");
        }
        Event::ActionStarted(id) => info!(server, id = id.0, "action started"),
        Event::ActionEnded { id, outcome } => {
            let (told, error) = ended(outcome);
            info!(
                server,
                id = id.0,
                outcome = told,
                error = error.map(PgError::kind),
                "action ended"
            );
        }
        Event::Explained { id, outcome } => {
            let outcome = outcome.as_ref().map_or("refused", |_| "planned");
            info!(server, id = id.0, outcome, "action ended");
        }
        _ => {}
    }
}

/// The number of a model's server; `None`, which is not written, if there is only one.
fn number(model: &Model) -> Option<u64> {
    model.start.server.as_ref().map(|place| place.number as u64)
}

fn reported(report: &Report, model: &Model) {
    let server = number(model);
    match report {
        Report::Opened { session, .. } => info!(server, ?session, "session opened"),
        Report::Lost {
            session,
            error,
            attempt,
            retry_in_ms,
        } => warn!(
            server,
            ?session,
            error = error.kind(),
            attempt,
            retry_in_ms,
            "session lost"
        ),
        Report::Ended { .. } => {}
        Report::Answered {
            id,
            took_ms,
            outcome,
        } => {
            let feed = crate::dashboard::event::FeedId(*id);
            let panel = model.feed(feed).map(|feed| feed.spec.name.as_str());
            match outcome {
                Err(error) => warn!(
                    server,
                    panel,
                    error = error.kind(),
                    ms = took_ms,
                    "sample failed"
                ),
                Ok(table) if *took_ms >= SLOW_MS => {
                    warn!(
                        server,
                        panel,
                        ms = took_ms,
                        rows = table.rows.len(),
                        "slow sample"
                    );
                }
                Ok(table) => debug!(
                    server,
                    panel,
                    ms = took_ms,
                    rows = table.rows.len(),
                    "sample"
                ),
            }
        }
    }
}

/// Logs what is wanted, if that is an action.
pub(super) fn effect(effect: &Effect) {
    match effect {
        Effect::Act { id, action } => asked(id.0, action),
        Effect::Explain { id, .. } => info!(id = id.0, kind = "explain", "action asked for"),
        Effect::CancelAction(id) => info!(id = id.0, "action to be cancelled"),
        Effect::Reconnect => info!("reconnect asked for"),
        _ => {}
    }
}

fn asked(id: u32, action: &Action) {
    match action {
        Action::Signal {
            signal,
            backends,
            rule,
        } => {
            let kind = match signal {
                Signal::Cancel => "cancel",
                Signal::Terminate => "terminate",
            };
            let by = if rule.is_some() { "guard" } else { "key" };
            for backend in backends {
                info!(id, kind, pid = backend.identity.pid, by, "action asked for");
            }
        }
        Action::Measure { relid, .. } => info!(id, kind = "measure", relid, "action asked for"),
        Action::Refresh { mode, .. } => {
            info!(id, kind = "refresh", ?mode, "action asked for");
        }
        Action::PauseRelay => info!(id, kind = "pause_relay", "action asked for"),
        Action::ResumeRelay => info!(id, kind = "resume_relay", "action asked for"),
    }
}

/// An action's outcome in a word, and the first error in it.
fn ended(outcome: &Outcome) -> (String, Option<&PgError>) {
    let one = |word: &str, error| (word.to_owned(), error);
    match outcome {
        Outcome::Signalled(verdicts) => {
            let word = |verdict: &Verdict| match verdict {
                Verdict::Changed => "changed",
                Verdict::Refused(_) => "refused",
                Verdict::Gone => "gone",
                Verdict::StillRunning => "still_running",
                Verdict::Unknown(_) => "unknown",
            };
            let words: Vec<&str> = verdicts.iter().map(word).collect();
            let error = verdicts.iter().find_map(|verdict| match verdict {
                Verdict::Refused(error) | Verdict::Unknown(error) => Some(error),
                _ => None,
            });
            (words.join(","), error)
        }
        Outcome::Refreshed(_) => one("refreshed", None),
        Outcome::Measured(_) => one("measured", None),
        Outcome::Switched(_) => one("switched", None),
        Outcome::Cancelled => one("cancelled", None),
        Outcome::Failed(error) => one("failed", Some(error)),
        Outcome::Unknown(error) => one("unknown", Some(error)),
        Outcome::Unaudited(_) => one("not_audited", None),
    }
}

/// Logs a frame that took so long that others could not be drawn.
pub(super) fn frame(took: Duration, width: u16, height: u16) {
    let dropped = took.as_millis() / FRAME.as_millis().max(1);
    if dropped > 0 {
        let ms = took.as_secs_f64() * 1000.0;
        warn!(
            ms,
            dropped = dropped as u64,
            width,
            height,
            "frames dropped"
        );
    }
}

/// Logs samples that are not asked for, because too many wait already.
pub(super) fn not_asked(count: usize) {
    warn!(count, "samples dropped");
}
