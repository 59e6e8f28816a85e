//! Several servers: the contents of this one's tab, and its time in the background.

use super::{Link, Model, SampleScope};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::Health;
use crate::dashboard::event::{Effect, Show};
use crate::dashboard::feed::Feed;
use crate::dashboard::rows::Panel;
use crate::dashboard::tabs::Tab;
use crate::format;
use crate::pg::canary::Pace;
use std::sync::Arc;
use std::time::Duration;

/// Time between two point queries in the background.
const POINTS: Duration = Duration::from_secs(1);
/// Time between two samples of a feed that all others depend on, in the background.
const FIRST: Duration = Duration::from_secs(10);
/// Intervals without an answer after which the cause line and the tab report nothing but the silence. The header and
/// the grey panels show it earlier.
const SILENT: f64 = 1.5;

impl Model {
    /// Returns true if another server is shown.
    pub fn is_in_background(&self) -> bool {
        self.scope == SampleScope::Background
    }

    /// Returns the seconds without an answer if they are so many that nothing else matters.
    pub fn silence_s(&self) -> Option<f64> {
        let silent = self.silent_s();
        (silent >= self.interval.as_secs_f64() * SILENT).then_some(silent)
    }

    /// Returns the contents of this server's tab; `None` if it is the only one.
    pub fn tab(&self, shown: bool) -> Option<Tab> {
        let place = self.start.server.clone()?;
        let tab = Tab {
            place,
            target: self.start.target.clone(),
            shown,
            health: Health::Danger,
            figure: String::new(),
            rule: String::new(),
            sentence: String::new(),
        };
        if let (Link::Lost { since, .. }, Some(sentence)) = (&self.fast, self.unreachable()) {
            return Some(Tab {
                figure: format!("lost {}", format::seconds(self.now.since(*since))),
                sentence,
                ..tab
            });
        }
        if let Some(silent) = self.silence_s() {
            let silent = format::seconds(silent);
            return Some(Tab {
                figure: format!("silent {silent}"),
                sentence: format!("the server has not answered for {silent}"),
                ..tab
            });
        }
        if !matches!(self.fast, Link::Live(_)) {
            return Some(Tab {
                health: Health::Unknown,
                figure: "connecting".to_owned(),
                sentence: "connecting".to_owned(),
                ..tab
            });
        }
        let cause = &self.cause;
        let named = self.gauges.iter().find(|gauge| gauge.label == cause.label);
        let worst = named.or(self.gauges.first());
        let missed = worst.filter(|gauge| gauge.health >= Health::Warning);
        let figure = missed.map(|gauge| match gauge.target.as_str() {
            "" => format!("{} {}", gauge.label, gauge.value),
            target => format!("{} {}/{target}", gauge.label, gauge.value),
        });
        Some(Tab {
            health: missed.map_or(cause.health, |gauge| gauge.health.max(cause.health)),
            figure: figure.unwrap_or_default(),
            rule: cause.rule.replace('_', " "),
            sentence: format!("{}{}", cause.sentence, cause.others()),
            ..tab
        })
    }

    /// Takes in the row of tabs.
    pub fn set_tabs(&mut self, tabs: &Arc<[Tab]>) {
        if self.tabs != *tabs {
            self.tabs = Arc::clone(tabs);
            self.dirty = true;
        }
    }

    /// Leaves the screen to another server: a question asked here must not be answered there.
    pub fn leave(&mut self) {
        (self.popup, self.prompt) = (None, None);
    }

    /// Puts the server in the background, or back.
    pub(super) fn background(&mut self, behind: bool) -> Vec<Effect> {
        if behind == self.is_in_background() {
            return Vec::new();
        }
        self.dirty = true;
        if behind {
            self.scope = SampleScope::Background;
            // Its tab must stay true.
            self.paused = false;
            self.history.unanswered(Panel::StatementTotals);
            let apart = POINTS.max(self.config.canary.interval);
            return vec![Effect::PacePoints(Pace { apart, soon: false })];
        }
        self.scope = SampleScope::Screen;
        self.memory.returned = Some(self.now);
        let now_ms = self.now.mono_ms;
        for feed in &mut self.feeds {
            // Feeds that have not failed are sampled at once.
            if feed.sampling.error.is_none() && feed.sampling.due_ms < u64::MAX {
                feed.sampling.due_ms = feed.sampling.due_ms.min(now_ms);
            }
        }
        self.judge();
        let pace = Pace::soon(self.config.canary.interval);
        let mut effects = vec![Effect::PacePoints(pace)];
        effects.extend(self.sample_due());
        effects
    }

    /// Time between two samples of a feed according to the configuration, and in the background at least what the
    /// feed has for that; `None` if neither says anything.
    pub(super) fn configured_pace(&self, feed: &Feed) -> Option<Duration> {
        let panel = self.config.panels.get(&feed.spec.name);
        let configured = panel.and_then(|panel| panel.interval);
        if !self.is_in_background() {
            return configured;
        }
        let rules = &feed.spec.front.sampling;
        let pace = rules.background.or(rules.first.then_some(FIRST));
        let pace = pace.map(|pace| pace.max(self.interval));
        configured.max(pace)
    }

    /// Requests another server.
    pub(super) fn show_server(&mut self, which: Show) -> Vec<Effect> {
        if self.tabs.is_empty() {
            self.say(
                Grade::Doubtful,
                "only one server is watched; name several: htap-top CONNINFO CONNINFO, or [[servers]] in the configuration",
            );
            return Vec::new();
        }
        self.popup = None;
        vec![Effect::Show(which)]
    }
}
