//! The model without a screen: fed by the same sessions, but the only effects carried out are samples.

use super::clock::wall_clock;
use super::effects::EffectRunner;
use super::source::poll_runner;
use super::writer::RecordingWriter;
use super::{Clock, Targets, checked, logged};
use crate::dashboard::audit::Audit;
use crate::dashboard::encoded::Encoded;
use crate::dashboard::event::{Effect, Event, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::history::CARRIES_P99;
use crate::dashboard::model::{Link, Model, SampleScope, Start};
use crate::dashboard::panels::spec::{Pool, Samples};
use crate::dashboard::recording::{Header, Recorder};
use crate::dashboard::rows::Panel;
use crate::pg::PgError;
use crate::pg::sampler::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, Interval, sleep_until};

/// Interval between attempts after a refused connection, as no user can ask for one.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// A model with its source of samples.
pub struct Headless {
    /// The state.
    pub model: Model,
    runner: EffectRunner,
    clock: Clock,
    begun: Instant,
    ticker: Interval,
    awaited: Vec<FeedId>,
    /// Panels whose rows are output.
    named: BTreeSet<FeedId>,
    /// True if all figures are wanted, not only those of some panels.
    all: bool,
    told: BTreeMap<FeedId, AnswerCounts>,
    /// Number of answers so far.
    answers: u64,
    connected: bool,
    refused: Option<Instant>,
    recorder: Option<RecordingWriter>,
    /// The error that ended the recording.
    failed: Option<String>,
}

/// Answers of a feed so far.
#[derive(Clone, Copy, Debug, Default)]
struct AnswerCounts {
    /// Number of successful answers.
    good: u32,
    /// Position of the first and the last of them among all answers.
    first: u64,
    last: u64,
    /// True if the query failed.
    refused: bool,
}

/// Result of waiting for figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// All have arrived, or are known not to come.
    All,
    /// The time limit was reached first.
    TimeUp,
    /// There is no connection.
    NotConnected(PgError),
}

impl Headless {
    /// Starts sampling: everything that rules depend on, and these `panels`. If `only` these are wanted, no
    /// other business panel is queried.
    pub fn start(mut start: Start, targets: Targets, panels: &[String], only: bool) -> Self {
        start.config.read_only = true;
        let config = start.config.clone();
        let mut model = Model::new(start);
        let named: BTreeSet<FeedId> = panels
            .iter()
            .filter_map(|name| model.feed_named(name))
            .collect();
        let asked: BTreeSet<FeedId> = (0..model.feeds.len() as u16)
            .map(FeedId)
            .filter(|id| {
                let needed = |feed: &Feed| {
                    let front = &feed.spec.front;
                    let unasked = only && matches!(front.pool, Pool::Olap | Pool::Columnar);
                    !front.only_shown && !unasked && !feed.is_about_backend()
                };
                named.contains(id) || model.feed(*id).is_some_and(needed)
            })
            .collect();
        let awaited = if only { &named } else { &asked };
        let awaited = awaited.iter().copied().collect();
        model.scope = SampleScope::These(asked);
        // The audit file is never written, since no action is carried out.
        let audit = Audit {
            path: PathBuf::new(),
            target: String::new(),
            actor: String::new(),
        };
        let clock = Clock::start();
        let mut headless = Self {
            model,
            runner: EffectRunner::start(&config, targets, audit),
            ticker: clock.ticker(),
            clock,
            begun: Instant::now(),
            awaited,
            named,
            all: !only,
            told: BTreeMap::new(),
            answers: 0,
            connected: false,
            refused: None,
            recorder: None,
            failed: None,
        };
        let now = headless.clock.tick();
        headless.take_in(now);
        headless
    }

    /// Waits for the next event and applies it. Cancellation-safe: no event is lost if the future is dropped.
    pub async fn step(&mut self) {
        let event = tokio::select! {
            biased;
            event = poll_fn(|context| poll_runner(&mut self.runner, context)) => event,
            _ = self.ticker.tick() => self.clock.tick(),
        };
        self.take_in(event);
    }

    /// Samples this panel, too, or no longer.
    pub(crate) fn ask_also(&mut self, panel: Panel, wanted: bool) {
        if let Some(id) = self.model.id_of(panel)
            && let SampleScope::These(ids) = &mut self.model.scope
        {
            if wanted {
                ids.insert(id);
            } else {
                ids.remove(&id);
            }
        }
    }

    /// Records all further events in `file`. Errors name it `place`.
    pub fn record(&mut self, place: String, file: File, mask: bool) {
        let header = Header::of(&self.model, mask, wall_clock().timestamp_millis());
        self.recorder = Some(RecordingWriter::start(place, move || {
            Recorder::begin(file, &header)
        }));
        let now = self.clock.tick();
        self.take_in(now);
    }

    /// Continues for `duration` after the start, or until `stop`, and ends the recording. Returns the number of
    /// samples missing from it, or an error if recording fails.
    pub async fn go_on(
        &mut self,
        duration: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<u64, String> {
        let begun = self.begun;
        let end = async {
            match begun.checked_add(duration) {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(stop, end);
        while self.failed.is_none() {
            tokio::select! {
                () = self.step() => {}
                () = &mut stop => break,
                () = &mut end => break,
            }
        }
        match (self.failed.take(), self.recorder.take()) {
            (Some(error), _) => Err(error),
            (None, Some(recorder)) => recorder.end().await,
            (None, None) => Ok(0),
        }
    }

    fn take_in(&mut self, event: Event) {
        let event = checked(event, &self.model);
        logged::event(&event, &self.model);
        self.note(&event);
        let (mut refused, mut answered) = (None, None);
        if let Event::Reported(Report::Answered { id, outcome, .. }) = &event {
            self.answers += 1;
            answered = Some(FeedId(*id));
            let told = self.told.entry(FeedId(*id)).or_default();
            if outcome.is_err() {
                refused = Some(FeedId(*id));
            } else {
                told.good += 1;
                told.last = self.answers;
                if told.good == 1 {
                    told.first = told.last;
                }
            }
        }
        for effect in self.model.update(event) {
            if matches!(
                effect,
                Effect::Sample(_) | Effect::ReadHost { .. } | Effect::Canary(_) | Effect::Reconnect
            ) {
                self.runner.execute(effect);
            }
        }
        let is_empty =
            |id: &FeedId| (self.model.feed(*id)).is_some_and(|feed| feed.sampling.at.is_none());
        if let Some(id) = answered.filter(is_empty).filter(|_| refused.is_none()) {
            // Another way of reading it is tried now.
            self.told.remove(&id);
        }
        if let Some(id) = refused
            && !self.model.feed(id).is_some_and(Feed::is_asked_again)
        {
            self.told.entry(id).or_default().refused = true;
        }
        self.connected |= matches!(self.model.fast, Link::Live(_));
        self.try_again();
    }

    /// Records an event.
    fn note(&mut self, event: &Event) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Some(line) = Encoded::of(event) {
            recorder.note(&line);
        }
        if !matches!(event, Event::Ticked { .. }) {
            return;
        }
        match recorder.news() {
            Ok(news) => {
                // The replay must show it; nobody watches this model.
                for line in news.iter().filter_map(Encoded::of) {
                    recorder.note(&line);
                }
            }
            Err(why) => {
                self.recorder = None;
                self.failed = Some(why);
            }
        }
    }

    /// A dashboard's user asks for another attempt; without one it is made after a while.
    fn try_again(&mut self) {
        let model = &self.model;
        let links = [
            &model.fast,
            &model.slow,
            &model.olap,
            &model.pooler,
            &model.replica,
            &model.stand_in,
            &model.columnar,
        ];
        let refused = |link: &&Link| matches!(link, Link::Lost { given_up: true, .. });
        if !links.iter().any(refused) {
            self.refused = None;
            return;
        }
        let since = *self.refused.get_or_insert_with(Instant::now);
        if since.elapsed() >= REFUSED_AGAIN {
            self.refused = None;
            self.runner.execute(Effect::Reconnect);
        }
    }

    /// Takes events in until all wanted figures have been measured, for at most `wait`. Returns at once if the
    /// server cannot be reached at first.
    pub async fn settle(&mut self, wait: Duration) -> Settled {
        let end = Instant::now() + wait;
        loop {
            if let Link::Lost {
                error, given_up, ..
            } = &self.model.fast
                && (*given_up || !self.connected)
            {
                return Settled::NotConnected(error.clone());
            }
            if self.is_settled() {
                // The last answer counts, too.
                self.model.judge();
                return Settled::All;
            }
            tokio::select! {
                () = self.step() => {}
                () = sleep_until(end) => break,
            }
        }
        self.model.judge();
        match &self.model.fast {
            Link::Lost { error, .. } => Settled::NotConnected(error.clone()),
            Link::Live(_) => Settled::TimeUp,
            Link::Idle => Settled::NotConnected(PgError::deadline(wait.as_secs_f64())),
        }
    }

    /// Closes the sessions after their statements in progress have been answered, waiting only briefly.
    pub async fn end(self) {
        // No action was carried out: nothing can be missing in an audit file.
        let _ = self.runner.end().await;
    }

    fn is_settled(&self) -> bool {
        let counted = self.model.id_of(Panel::Database);
        let oltp = &self.model.history.oltp;
        self.model.facts.is_some()
            && (!self.all || (oltp.timed >= CARRIES_P99 && self.has_rate()))
            // All outputs include whether the server answers.
            && counted.is_none_or(|id| self.has_told(id, 1))
            && self.awaited.iter().all(|id| self.is_complete(*id))
            // Only the counted sessions show whether locks are needed.
            && (!self.all || self.model.history.oltp.restricted == 0 || self.has_told_locks())
    }

    /// Returns true if transactions were counted long enough, or if that will not happen.
    fn has_rate(&self) -> bool {
        let counted = self.model.id_of(Panel::Database);
        let refused = |id| self.told.get(&id).is_some_and(|told| told.refused);
        self.model.history.oltp.tps.is_some() || counted.is_none_or(refused)
    }

    fn has_told_locks(&self) -> bool {
        let locks = self.model.id_of(Panel::Locks);
        locks.is_none_or(|id| self.has_told(id, 1))
    }

    /// Returns true if a feed has answered often enough, and after the feeds it is derived from.
    fn is_complete(&self, id: FeedId) -> bool {
        let Some(feed) = self.model.feed(id) else {
            return true;
        };
        let is_named = self.named.contains(&id);
        let rules = &feed.spec.front.sampling;
        let twice = match rules.samples {
            Samples::One => !feed.spec.front.rates.is_empty(),
            Samples::Two => true,
            Samples::TwoIfNamed => is_named,
        };
        let under = rules.rests_on.iter().filter(|_| is_named);
        let mut under = under.filter_map(|name| self.model.feed_named(name));
        let last = self.told.get(&id).map_or(u64::MAX, |told| told.last);
        let before = |id| self.told.get(&id).is_none_or(|told| told.first < last);
        // Rows that are derived again when such a feed answers.
        let again = matches!(
            feed.panel,
            Some(Panel::Views | Panel::Pooler | Panel::Nodes)
        );
        self.has_told(id, if twice { 2 } else { 1 })
            && under.all(|id| self.has_told(id, self.needed(id)) && (again || before(id)))
    }

    /// Number of answers that make the figures of a feed.
    fn needed(&self, id: FeedId) -> u32 {
        let Some(feed) = self.model.feed(id) else {
            return 1;
        };
        match feed.panel {
            // A router reports once per second, so that the second look may find nothing new.
            Some(Panel::Routing) if self.model.has_nodes() => 3,
            _ if feed.spec.front.rates.is_empty() => 1,
            _ => 2,
        }
    }

    /// Returns true if a feed has answered that many times, or never will.
    fn has_told(&self, id: FeedId, times: u32) -> bool {
        let Some(feed) = self.model.feed(id) else {
            return true;
        };
        let given_up = match self.model.link(feed) {
            // Nobody waits for a pooler that is down: the figures of the server are there without it.
            Link::Lost { .. }
                if matches!(
                    feed.spec.front.pool,
                    Pool::Pooler | Pool::Replica | Pool::Columnar
                ) =>
            {
                true
            }
            Link::Lost { given_up, .. } => *given_up,
            Link::Idle | Link::Live(_) => false,
        };
        let told = self.told.get(&id).copied().unwrap_or_default();
        let derived = feed.spec.front.sampling.derived;
        let not_asked = derived
            || !feed.sampling.missing.is_empty()
            || feed.sampling.denied
            || self.model.is_idle(feed);
        given_up || not_asked || told.refused || told.good >= times
    }
}
