//! The guard: carries out the actions that its rules require, or only logs them in a dry run.

use super::Model;
use super::meant::backend;
use crate::config::GuardMode;
use crate::dashboard::action::{Action, Grade, Rule};
use crate::dashboard::event::Effect;
use crate::dashboard::guard::{self, Memory};
use crate::dashboard::rows::{Panel, Rows, read};
use crate::pg::admin::Signal;
use crate::text::Clean;

/// State of the guard.
#[derive(Clone, Debug, Default)]
pub struct Guarding {
    /// True only in the model of a running dashboard. Models of the past and sampling without a screen must
    /// not act.
    pub armed: bool,
    /// True if the user switched it off.
    pub off: bool,
    /// Name of the rule that holds refreshes back.
    pub holding: Option<String>,
    memory: Memory,
}

impl Model {
    /// Returns the guard's current mode: off if it has no rules or is switched off, and while another server is shown.
    pub fn guard_mode(&self) -> GuardMode {
        let guard = &self.config.guard;
        let idle = self.guarding.off || !self.guarding.armed || self.is_in_background();
        if guard.rules.is_empty() || idle {
            GuardMode::Off
        } else if self.config.read_only && guard.mode == GuardMode::Act {
            GuardMode::DryRun
        } else {
            guard.mode
        }
    }

    /// Applies the rules to a new sample of the backends.
    pub(super) fn guard(&mut self) -> Vec<Effect> {
        let mode = self.guard_mode();
        if mode == GuardMode::Off {
            return Vec::new();
        }
        let rules = self.config.guard.clone();
        let p99_ms = self.history.oltp.p99_ms;
        let activity = self.rows(Panel::Activity).clone();
        let own = self.fact().current_database().name().to_owned();
        let backends = Rows::<read::Signalled>::of(&activity);
        let mut effects = Vec::new();
        let dry = mode == GuardMode::DryRun;
        let wishes = guard::wishes(&rules, &activity, &own, p99_ms, dry, &self.classifier);
        for wish in wishes {
            let row = backends.at(wish.row);
            let Some(mut hit) = backend(row, wish.signal) else {
                continue;
            };
            // The rule applies to this transaction only, however young it is.
            if wish.signal == Signal::Terminate {
                let since = row.xact_start().text();
                hit.identity.since = since.map(str::to_owned);
            }
            let (now, whom) = (self.now, hit.identity.clone());
            if !self.guarding.memory.is_new(&whom, now) {
                continue;
            }
            let action = Action::Signal {
                signal: wish.signal,
                backends: vec![hit],
                rule: Some(Rule {
                    name: Clean::from(wish.rule),
                    idle_s: wish.idle_s,
                }),
            };
            if wish.dry {
                let text = format!("dry run, nothing is sent: {}", action.describe());
                self.say(Grade::Doubtful, &text);
                self.guarding.memory.note(whom, now);
            } else if self.guarding.memory.may_send(rules.per_minute, now) {
                self.guarding.memory.note(whom, now);
                effects.push(self.begin(action));
            } else if self.guarding.memory.tell_full(now) {
                let text = format!(
                    "guard: the limit is {} signals per minute (guard.per_minute); {} waits",
                    rules.per_minute,
                    action.describe()
                );
                self.say(Grade::Bad, &text);
            }
        }
        effects.extend(self.hold_refreshes(mode));
        effects
    }

    /// Records the rule that holds refreshes back; waiting refreshes continue if there is none.
    fn hold_refreshes(&mut self, mode: GuardMode) -> Option<Effect> {
        let p99_ms = self.history.oltp.p99_ms;
        let holder = guard::holder(&self.config.guard, p99_ms);
        let holder =
            holder.map(|rule| (rule.name.clone(), mode == GuardMode::DryRun || rule.dry_run));
        let was = self.guarding.holding.take();
        match holder {
            Some((rule, true)) => {
                if was.as_ref() != Some(&rule) && !self.queue.is_empty() {
                    let text = format!("dry run: guard {rule} would hold the refreshes back");
                    self.say(Grade::Doubtful, &text);
                }
                None
            }
            Some((rule, false)) => {
                self.guarding.holding = Some(rule);
                None
            }
            None => self.next_refresh(),
        }
    }

    /// Switches the guard off, or on again.
    pub(super) fn toggle_guard(&mut self) -> Vec<Effect> {
        let guard = &self.config.guard;
        if guard.rules.is_empty() || guard.mode == GuardMode::Off {
            self.say(
                Grade::Doubtful,
                "no guard is configured: [guard] in the configuration (htap-top config prints an example)",
            );
            return Vec::new();
        }
        self.guarding.off = !self.guarding.off;
        self.guarding.holding = None;
        let text = if self.guarding.off {
            "the guard is off; {guard} switches it on again"
        } else {
            "the guard is on"
        };
        let text = self.config.keys.fill(text);
        self.say(Grade::Good, &text);
        self.next_refresh().into_iter().collect()
    }
}
