//! The moment marked to compare with, and what has changed since.

use super::{Model, Popup, layout};
use crate::dashboard::action::Grade;
use crate::dashboard::compare::oltp::{Curves, Oltp};
use crate::dashboard::compare::statements::Statements;
use crate::dashboard::compare::{Baseline, Comparison, Levels, Period, Plans, Server, levels};
use crate::dashboard::event::{Effect, FeedId, Moment};
use crate::dashboard::feed::Feed;
use crate::dashboard::rows::{Columns, Panel, Row, Rows, added, read};
use crate::format;
use crate::keys::Command;
use crate::pg::{Table, Value};
use std::sync::Arc;

/// Panels that are compared and sampled for it, although nobody looks at them.
const ASKED: [Panel; 3] = [Panel::Statements, Panel::Indexes, Panel::Settings];
/// Seconds within which the same key removes the mark again.
const TWICE_S: f64 = 1.0;
/// Seconds between two samples of statements that are kept.
const EVERY_S: f64 = 60.0;
/// Number of samples of statements that are kept: an hour.
const KEPT: usize = 60;
/// Seconds after which a time of day does not tell the day.
const DAY_S: f64 = 43_200.0;

impl Model {
    /// Marks this moment to compare with; removes the mark if it was set just now.
    pub(super) fn toggle_baseline(&mut self) -> Vec<Effect> {
        let keys = self.config.keys.clone();
        let just = self.baseline.as_ref().is_some_and(|baseline| {
            let (at, now) = (baseline.at, self.now);
            now.since(at) < TWICE_S && at.since(now) < TWICE_S
        });
        if just {
            self.forget_baseline();
            self.say(Grade::Good, "the mark is removed");
            return Vec::new();
        }
        self.set_baseline();
        let text =
            "marked: {changes} lists what changes from now on; {mark} twice removes the mark";
        self.say(Grade::Good, &keys.fill(text));
        if self.playback.is_some() {
            return Vec::new();
        }
        let lacking: Vec<FeedId> = ASKED
            .into_iter()
            .filter(|panel| {
                self.baseline
                    .as_ref()
                    .is_some_and(|of| !has(&of.levels, *panel))
            })
            .filter_map(|panel| self.id_of(panel))
            .filter(|id| self.feed(*id).is_some_and(may_be_asked))
            .collect();
        self.ask(&lacking)
    }

    /// Marks this moment.
    pub(in crate::dashboard) fn set_baseline(&mut self) {
        let mut baseline = Baseline {
            at: self.now,
            server: self.compared_server(),
            levels: Levels::default(),
            earlier: self.memory.earlier.iter().cloned().collect(),
            curves: Curves::of(&self.history, self.memory.taken),
            plans: self.plans(None),
            counters: self.commits(),
        };
        for feed in &self.feeds {
            let fresh = feed.sampling.error.is_none() && !feed.sampling.outlived;
            if fresh
                && self
                    .age_s(feed)
                    .is_some_and(|age| age <= self.longest_s(feed))
            {
                take(&mut baseline.levels, feed);
            }
        }
        self.baseline = Some(Arc::new(baseline));
        self.compare_anew();
    }

    fn forget_baseline(&mut self) {
        self.baseline = None;
        self.compare_anew();
    }

    /// Opens or closes the list of changes.
    pub(super) fn show_changes(&mut self) -> Vec<Effect> {
        if matches!(self.popup, Some(Popup::Changes { .. })) {
            self.popup = None;
            return Vec::new();
        }
        let Some(baseline) = &self.baseline else {
            let text = "no moment is marked: {mark} marks this one, {changes} then lists what has changed since";
            let text = self.config.keys.fill(text);
            self.say(Grade::Doubtful, &text);
            return Vec::new();
        };
        if self.now.mono_ms < baseline.at.mono_ms {
            let text = "the mark is later than this moment: nothing to compare yet";
            self.say(Grade::Doubtful, text);
            return Vec::new();
        }
        self.popup = Some(Popup::Changes {
            list: Arc::new(self.comparison().unwrap_or_default()),
            scroll: 0,
        });
        if self.paused || self.playback.is_some() {
            return Vec::new();
        }
        // What is compared may not have been sampled since the mark.
        let compared = |feed: &&mut Feed| feed.panel.is_some_and(|panel| ASKED.contains(&panel));
        for feed in self.feeds.iter_mut().filter(compared) {
            feed.sampling.due_ms = feed.sampling.due_ms.min(self.now.mono_ms);
        }
        self.sample_due()
    }

    /// The feeds on the screen: the panels, and what an open list of changes rests on.
    pub(super) fn on_screen(&self) -> Vec<FeedId> {
        let mut shown = layout::panels(self);
        if matches!(self.popup, Some(Popup::Changes { .. })) {
            shown.extend(ASKED.into_iter().filter_map(|panel| self.id_of(panel)));
        }
        shown
    }

    /// Keeps a sample of statements a minute: a period before a mark is made of them.
    pub(super) fn keep_statements(&mut self) {
        let Some(feed) = self.feed_of(Panel::Statements) else {
            return;
        };
        let last = self.memory.earlier.back();
        let at_s = Rows::<read::Statement>::of(&feed.table).first().now_epoch();
        let due = at_s.is_some_and(|at_s| last.is_none_or(|last| at_s - last.at_s() >= EVERY_S));
        if let Some(sample) = due.then(|| Statements::of(feed, false)).flatten() {
            self.memory.earlier.push_back(Arc::new(sample));
            if self.memory.earlier.len() > KEPT {
                self.memory.earlier.pop_front();
            }
        }
    }

    /// Takes in an answer of this feed: completes the mark, and updates what is compared with it.
    pub(super) fn compare_again(&mut self, id: FeedId) {
        if self.baseline.is_none() {
            return;
        }
        let Some(feed) = self.feed(id) else { return };
        let answered = feed.sampling.at == Some(self.now) && feed.sampling.error.is_none();
        let Some(panel) = feed.panel.filter(|_| answered) else {
            return;
        };
        if is_compared(panel)
            && let Some(baseline) = &self.baseline
            && !has(&baseline.levels, panel)
        {
            let mut levels = baseline.levels.clone();
            take(&mut levels, feed);
            if let Some(baseline) = &mut self.baseline {
                Arc::make_mut(baseline).levels = levels;
            }
        }
        if panel == Panel::Database {
            let counters = self.commits();
            if let Some(baseline) = self.baseline.as_mut().filter(|of| of.counters.is_none()) {
                Arc::make_mut(baseline).counters = counters;
            }
        }
        if panel == Panel::Facts || self.facts.is_some() && panel == Panel::Database {
            self.name_server();
        }
        if panel == Panel::Database || is_compared(panel) {
            self.compare_anew();
        }
    }

    /// Updates what is shown of the comparison.
    pub(super) fn compare_anew(&mut self) {
        self.memory.before = self.oltp_before();
        if matches!(self.popup, Some(Popup::Changes { .. })) {
            let now = self.comparison();
            match (&mut self.popup, now) {
                (Some(Popup::Changes { list, .. }), Some(now)) => *list = Arc::new(now),
                _ => self.popup = None,
            }
        }
    }

    fn name_server(&mut self) {
        let server = self.compared_server();
        if let Some(baseline) = self.baseline.as_mut().filter(|of| of.server.major == 0) {
            Arc::make_mut(baseline).server = server;
        }
    }

    fn compared_server(&self) -> Server {
        let fact = self.fact();
        Server {
            system: fact.system_identifier().shown().to_owned(),
            database: fact.current_database().shown().to_owned(),
            major: fact.server_version_num().unwrap_or(0) / 10_000,
        }
    }

    /// Commits of the database so far, and the time of its reset.
    fn commits(&self) -> Option<(f64, f64)> {
        let counters = Rows::<read::Counters>::of(self.rows(Panel::Database)).first();
        Some((
            counters.xact_commit()?,
            counters.stats_reset().unwrap_or(0.0),
        ))
    }

    /// Returns the period since the mark; `None` without a mark, or before it.
    pub fn since_baseline(&self) -> Option<Period> {
        let baseline = self.baseline.as_ref()?;
        let begun = baseline.at;
        if self.now.mono_ms < begun.mono_ms {
            return None;
        }
        let mut levels = Levels::default();
        for feed in &self.feeds {
            take(&mut levels, feed);
        }
        let sums = levels
            .statements
            .as_ref()
            .zip(baseline.levels.statements.as_ref());
        let works = sums.and_then(|(now, then)| now.since(then));
        let seen = self.memory.reset.is_some_and(|reset| reset > begun);
        let back = self.commits().zip(baseline.counters);
        let back = back.is_some_and(|(now, then)| now.0 < then.0 || now.1 > then.1);
        let now = Curves::of(&self.history, self.memory.taken);
        Some(Period {
            server: self.compared_server(),
            epoch_ms: (begun.epoch_ms, self.now.epoch_ms),
            oltp: baseline.curves.until(&now, self.now.since(begun)),
            works,
            levels,
            plans: self.plans(Some(begun)),
            reset: seen || back,
        })
    }

    /// The plans that were asked for, after a moment or at all.
    fn plans(&self, after: Option<Moment>) -> Plans {
        let plans = self.memory.plans.iter();
        let plans = plans.filter(|(_, (at, _))| after.is_none_or(|after| *at > after));
        plans
            .map(|(key, (_, lines))| (key.clone(), lines.clone()))
            .collect()
    }

    /// Compares the time since the mark with the time before it.
    pub fn comparison(&self) -> Option<Comparison> {
        let baseline = self.baseline.as_ref()?;
        let after = self.since_baseline()?;
        let before = baseline.before(self.memory.taken, self.now.since(baseline.at));
        Some(Comparison::of(&before, &after, &self.config.targets))
    }

    fn oltp_before(&self) -> Option<Oltp> {
        let baseline = self.baseline.as_ref()?;
        let known = self.now.mono_ms > baseline.at.mono_ms;
        known.then(|| {
            baseline
                .curves
                .before(self.memory.taken, self.now.since(baseline.at))
        })
    }

    /// The changes of the OLTP figures shown, as words: `p99 +28.0ms`, `tps -12%`.
    pub(crate) fn oltp_changes(&self) -> Vec<String> {
        let oltp = &self.history.oltp;
        let Some(before) = &self.memory.before else {
            return Vec::new();
        };
        let share = |now: Option<f64>, before: Option<f64>| {
            let (now, before) = now.zip(before)?;
            (before > 0.0).then(|| (now / before - 1.0) * 100.0)
        };
        let tps = share(oltp.tps, before.tps);
        let tps = tps.map(|share| format!("tps {}", format::change(share, format::Unit::Percent)));
        let p99 = oltp.p99_ms.zip(before.p99_ms);
        let p99 = p99
            .map(|(now, before)| format!("p99 {}", format::change(now - before, format::Unit::Ms)));
        p99.into_iter().chain(tps).collect()
    }

    /// The note of the OLTP panel. The header says since when.
    pub(crate) fn oltp_note(&self) -> Option<String> {
        if self.history.oltp.reset {
            return Some("counters were reset".into());
        }
        let since = self.marked()?;
        match self.oltp_changes() {
            changes if changes.is_empty() => Some(since),
            changes => Some(changes.join(", ")),
        }
    }

    /// When the mark was set: `since 14:02`.
    fn marked(&self) -> Option<String> {
        let baseline = self.baseline.as_ref()?;
        let age_s = self.now.since(baseline.at);
        if age_s > DAY_S {
            return Some(format!("since {} ago", format::seconds(age_s)));
        }
        let epoch_s = baseline.at.epoch_ms as f64 / 1_000.0;
        let time = format::time_of_day(epoch_s, self.start.utc_offset_s);
        Some(format!("since {}", time.get(..5).unwrap_or(&time)))
    }

    /// The mark in the header: `since 14:02 b`.
    pub(crate) fn mark_word(&self) -> Option<String> {
        let since = self.marked()?;
        Some(format!("{since} {}", self.config.keys.shown(Command::Mark)))
    }

    /// Adds the changes since the mark to the rows of Statements.
    pub(super) fn compare_statements(&mut self) {
        let Some(id) = self.id_of(Panel::Statements) else {
            return;
        };
        let (Some(feed), Some(baseline)) = (self.feed(id), &self.baseline) else {
            return;
        };
        let works = baseline.works_before(self.now.since(baseline.at));
        let Some(works) = works else { return };
        let keys: Vec<_> = (0..feed.table.rows.len())
            .map(|row| feed.identity(row))
            .collect();
        let Some(feed) = self.feed_mut(id) else {
            return;
        };
        let table = &mut feed.table;
        let columns = read::Statement::of(table);
        let added = added::ToComparedStatements::to(table);
        for (row, key) in keys.iter().enumerate() {
            let now = Row::of(table, columns, row);
            let then = works.of(key).unwrap_or_default();
            let pairs = [
                (added.calls_change, now.calls(), then.calls_per_s),
                (added.mean_change_ms, now.mean_ms(), then.mean_ms),
            ];
            for (column, now, then) in pairs {
                table.put(row, column, difference(now, then));
            }
        }
        feed.arrange();
    }

    /// Adds the changes since the mark to the rows of Bloat.
    pub(super) fn compare_tables(&self, table: &mut Table) {
        let baseline = self.baseline.as_ref();
        let Some(then) = baseline.and_then(|baseline| baseline.levels.tables.as_ref()) else {
            return;
        };
        let columns = read::Relation::of(table);
        let added = added::ToComparedTables::to(table);
        for row in 0..table.rows.len() {
            let now = Row::of(table, columns, row);
            let then = then.rows.get(now.relation().shown());
            let dead = now.n_dead().map(|dead| dead as f64);
            let pairs = [
                (added.dead_change, dead, then.and_then(|then| then.dead)),
                (
                    added.size_change_bytes,
                    now.size_bytes(),
                    then.and_then(|then| then.bytes),
                ),
            ];
            for (column, now, then) in pairs {
                table.put(row, column, difference(now, then));
            }
        }
    }
}

fn difference(now: Option<f64>, then: Option<f64>) -> Value {
    let both = now.zip(then);
    both.map_or(Value::Pending, |(now, then)| Value::Float(now - then))
}

fn may_be_asked(feed: &Feed) -> bool {
    feed.sampling.missing.is_empty() && !feed.sampling.denied
}

fn is_compared(panel: Panel) -> bool {
    panel == Panel::Bloat || ASKED.contains(&panel)
}

/// Returns true if the levels have what this panel tells.
fn has(levels: &Levels, panel: Panel) -> bool {
    match panel {
        Panel::Statements => levels.statements.is_some(),
        Panel::Bloat => levels.tables.is_some(),
        Panel::Indexes => levels.indexes.is_some(),
        Panel::Settings => levels.settings.is_some(),
        _ => true,
    }
}

/// Takes what the feed's last answer tells into the levels.
fn take(levels: &mut Levels, feed: &Feed) {
    if feed.sampling.at.is_none() {
        return;
    }
    match feed.panel {
        Some(Panel::Statements) => levels.statements = Statements::of(feed, true).map(Arc::new),
        Some(Panel::Bloat) => levels.tables = Some(Arc::new(levels::tables(feed))),
        Some(Panel::Indexes) => levels.indexes = Some(Arc::new(levels::indexes(feed))),
        Some(Panel::Settings) => levels.settings = Some(Arc::new(levels::settings(feed))),
        _ => {}
    }
}
