//! The model without a screen: the same sessions feed it, and nothing but samples is carried out.

use super::hands::Hands;
use super::{Clock, Targets};
use crate::dashboard::audit::Audit;
use crate::dashboard::event::{Effect, Event, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Asked, Link, Model, Start};
use crate::dashboard::panels::spec::Pool;
use crate::pg::PgError;
use crate::pg::sampler::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, Interval, sleep_until};

/// Point queries from which percentiles are told: two reports of the session that times them.
const TIMED: usize = 10;
/// Feeds with figures that two samples make, besides those whose panel file names `rates`.
const TWICE: [&str; 3] = ["database", "statements", "wal"];
/// A refused connection is tried again so often where nobody is there to ask for it.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// A model and what feeds it.
pub struct Headless {
    /// The state.
    pub model: Model,
    hands: Hands,
    clock: Clock,
    ticker: Interval,
    awaited: Vec<FeedId>,
    /// All figures are wanted, not those of some panels alone.
    all: bool,
    /// Good answers, and others.
    told: BTreeMap<FeedId, (u32, u32)>,
    connected: bool,
    refused: Option<Instant>,
}

/// How waiting for figures ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// All are there, or known not to come.
    All,
    /// Time was up first.
    TimeUp,
    /// There is no connection.
    NotConnected(PgError),
}

impl Headless {
    /// Starts sampling: what rules rest on, and these `panels`. Where `only` they are wanted, no business
    /// panel besides them is asked.
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
                    !feed.spec.front.only_shown && !(only && feed.spec.front.pool == Pool::Olap)
                };
                named.contains(id) || model.feed(*id).is_some_and(needed)
            })
            .collect();
        let awaited = if only { &named } else { &asked };
        let awaited = awaited.iter().copied().collect();
        model.asked = Asked::These(asked);
        // Nothing is ever written: no action is carried out.
        let audit = Audit {
            path: PathBuf::new(),
            target: String::new(),
            actor: String::new(),
        };
        let clock = Clock::start();
        let mut headless = Self {
            model,
            hands: Hands::start(&config, targets, audit),
            ticker: clock.ticker(),
            clock,
            awaited,
            all: !only,
            told: BTreeMap::new(),
            connected: false,
            refused: None,
        };
        let now = headless.clock.tick();
        headless.take_in(now);
        headless
    }

    /// Takes the next event in, whenever it comes; nothing is lost where this is dropped meanwhile.
    pub async fn step(&mut self) {
        let event = tokio::select! {
            biased;
            Some(report) = self.hands.reports.recv() => Event::Reported(report),
            Some((latencies_ms, failed)) = self.hands.canary.recv() => {
                Event::CanaryTimed { latencies_ms, failed }
            }
            Some(event) = self.hands.ended.recv() => event,
            _ = self.ticker.tick() => self.clock.tick(),
        };
        self.take_in(event);
    }

    fn take_in(&mut self, event: Event) {
        if let Event::Reported(Report::Answered { id, outcome, .. }) = &event {
            let told = self.told.entry(FeedId(*id)).or_default();
            if outcome.is_ok() {
                told.0 += 1;
            } else {
                told.1 += 1;
            }
        }
        for effect in self.model.update(event) {
            if matches!(
                effect,
                Effect::Sample(_) | Effect::Canary(_) | Effect::Reconnect
            ) {
                self.hands.execute(effect);
            }
        }
        self.connected |= matches!(self.model.fast, Link::Live(_));
        self.try_again();
    }

    /// Whoever watches a dashboard asks for another attempt; here nobody does.
    fn try_again(&mut self) {
        let links = [&self.model.fast, &self.model.slow, &self.model.olap];
        let refused = |link: &&Link| {
            matches!(
                link,
                Link::Lost {
                    given_up: true,
                    ..
                }
            )
        };
        if !links.iter().any(refused) {
            self.refused = None;
            return;
        }
        let since = *self.refused.get_or_insert_with(Instant::now);
        if since.elapsed() >= REFUSED_AGAIN {
            self.refused = None;
            self.hands.execute(Effect::Reconnect);
        }
    }

    /// Takes events in until every figure that is wanted has been measured, for at most `wait`. A server
    /// that cannot be reached at first is not waited for.
    pub async fn settle(&mut self, wait: Duration) -> Settled {
        let end = Instant::now() + wait;
        loop {
            if let Link::Lost { error, given_up, .. } = &self.model.fast
                && (*given_up || !self.connected)
            {
                return Settled::NotConnected(error.clone());
            }
            if self.is_settled() {
                // What came last counts, too.
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
            Link::Live(_) if self.model.facts.is_some() => Settled::TimeUp,
            _ => Settled::NotConnected(PgError::deadline(wait.as_secs_f64())),
        }
    }

    fn is_settled(&self) -> bool {
        if self.model.facts.is_none() || (self.all && self.model.history.oltp.timed < TIMED) {
            return false;
        }
        self.awaited.iter().all(|id| self.has_told(*id))
    }

    /// Whether a feed has told what it can.
    fn has_told(&self, id: FeedId) -> bool {
        let Some(feed) = self.model.feed(id) else {
            return true;
        };
        let refused = matches!(self.model.link(feed), Link::Lost { given_up: true, .. });
        let (good, bad) = self.told.get(&id).copied().unwrap_or_default();
        let twice = TWICE.contains(&feed.spec.name.as_str()) || !feed.spec.front.rates.is_empty();
        refused || !feed.sampling.missing.is_empty() || bad > 0 || good >= if twice { 2 } else { 1 }
    }
}
