//! Sampling: schedules the queries of feeds and takes in their answers.

use super::hosting::Whose;
use super::learning::{TEXTS, is_asked_at_once, is_first, patience_ms};
use super::lookup::own_pool;
use super::pacing::next_due;
use super::{Link, Model, SampleScope};
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, FeedId, Moment, OwnCost, Request, Sample};
use crate::dashboard::feed::{Feed, LOCK_NOT_AVAILABLE, PID};
use crate::dashboard::panels::spec::{Crowded, Pool};
use crate::dashboard::panels::{replication, times};
use crate::dashboard::rows::Panel;
use crate::format;
use crate::pg::sampler::SessionId;
use crate::pg::{Class, Peer, PgError};

/// Milliseconds by which a tick may be too early: the next one comes a quarter of a second later.
const EARLY_MS: u64 = 60;
/// Seconds for which a message stays in the footer.
const NOTICE_S: f64 = 6.0;

/// Place of a feed among those that are queried together. The counters come first because they count this session's own
/// work; at the start then the sessions, which somebody who has just come looks at. Later these come in their place, after
/// what they are judged with.
fn rank(feed: Option<&Feed>) -> u8 {
    match feed.map(|feed| (feed.panel, feed.sampling.at)) {
        Some((Some(Panel::Database), _)) => 0,
        Some((Some(Panel::Activity), None)) => 1,
        _ => 2,
    }
}

impl Model {
    pub(super) fn tick(&mut self, now: Moment, cost: OwnCost) -> Vec<Effect> {
        // The displayed clock has seconds, so a frame is needed only when the second changes.
        if now.epoch_ms.div_euclid(1000) != self.now.epoch_ms.div_euclid(1000) {
            self.dirty = true;
            self.measure_cost(now, cost);
        }
        self.now = now;
        if self.history.expire(now.mono_ms as f64 / 1000.0) {
            self.dirty = true;
            if self.history.oltp.timed == 0 {
                // A figure that is no longer measured does not prove that a target is met.
                self.judge();
            }
        }
        if self
            .notice
            .as_ref()
            .is_some_and(|(_, at)| now.since(*at) > NOTICE_S)
        {
            self.notice = None;
            self.dirty = true;
        }
        let mut effects = if self.paused {
            Vec::new()
        } else {
            self.sample_due()
        };
        effects.extend(self.report_due());
        effects.extend(self.notify());
        effects
    }

    fn measure_cost(&mut self, now: Moment, cost: OwnCost) {
        if let Some((then, cpu_ms)) = self.memory.cost_mark {
            let seconds = now.since(then);
            if seconds < 5.0 {
                return;
            }
            self.cost = (
                (cost.cpu_ms - cpu_ms) / seconds,
                self.memory.server_ms / seconds,
            );
        }
        self.memory.cost_mark = Some((now, cost.cpu_ms));
        self.memory.server_ms = 0.0;
    }

    /// Returns true if the feed is to be sampled regularly in the current state; `shown` are on the screen.
    pub(super) fn is_asked(&self, id: FeedId, feed: &Feed, shown: &[FeedId]) -> bool {
        let about = self.watched().is_some();
        let rules = &feed.spec.front.sampling;
        let id = self.shown_as(id, feed);
        match &self.scope {
            _ if is_first(feed) => true,
            _ if self.is_idle(feed) => false,
            SampleScope::Screen if feed.is_about_backend() => about,
            SampleScope::Screen if about && rules.with_detail => true,
            SampleScope::Screen => {
                let kept_back = (feed.spec.front.only_shown && !self.is_needed(feed))
                    || (rules.crowded == Crowded::OnlyShown && self.is_crowded());
                !kept_back || shown.contains(&id)
            }
            SampleScope::Background => rules.background.is_some() && self.is_wanted(feed),
            SampleScope::These(ids) => ids.contains(&id) || self.is_needed(feed),
        }
    }

    pub(super) fn sample_due(&mut self) -> Vec<Effect> {
        let known = self.facts.is_some();
        let reached = known || matches!(self.fast, Link::Live(_));
        if !reached && self.start.pooler.is_none() {
            return Vec::new();
        }
        let now = self.now;
        let shown = match self.scope {
            SampleScope::Screen => self.on_screen(),
            SampleScope::Background | SampleScope::These(_) => Vec::new(),
        };
        let due = |id: FeedId, feed: &Feed| {
            // The time first: most feeds are not due, and the rest takes longer to tell.
            feed.sampling.due_ms <= now.mono_ms.saturating_add(EARLY_MS)
                && feed.sampling.in_flight.is_none()
                && feed.sampling.missing.is_empty()
                && !feed.sampling.denied
                // The pooler answers without a server, too.
                && (known
                    || (reached && is_asked_at_once(feed))
                    || feed.spec.front.pool == Pool::Pooler)
                && self.is_asked(id, feed, &shown)
                && self.is_host_readable(feed)
        };
        let ids: Vec<FeedId> = (0..self.feeds.len() as u16)
            .map(FeedId)
            .filter(|id| self.feed(*id).is_some_and(|feed| due(*id, feed)))
            .collect();
        self.ask(&ids)
    }

    /// Queries these feeds now, if their sessions are usable.
    pub(super) fn ask(&mut self, ids: &[FeedId]) -> Vec<Effect> {
        let now = self.now;
        let about = self.watched().map(|watched| watched.pid);
        let (mut requests, mut effects) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(feed) = self.feed(*id) else { continue };
            let usable = self.link_to_ask(feed).usable();
            if !usable || feed.sampling.in_flight.is_some() || feed.sql.is_empty() {
                continue;
            }
            let about_one = feed.is_about_backend();
            let once = about_one || feed.spec.front.sampling.text_varies;
            let files = self.read_here(feed);
            let sql = match (about_one, about) {
                (false, _) => self.statement_of(feed),
                (true, Some(pid)) => feed.sql.replace(PID, &pid.to_string()).into(),
                (true, None) => continue,
            };
            let pace = self.pace(feed);
            let here = feed.spec.front.pool == Pool::Olap && self.olap_stands_in().is_some();
            let Some(feed) = self.feed_mut(*id) else {
                continue;
            };
            feed.sampling.in_flight = Some(now);
            feed.sampling.asked_here = here;
            feed.sampling.due_ms = next_due(now, pace);
            if let Some(wanted) = files {
                effects.push(Effect::ReadHost { feed: *id, wanted });
                continue;
            }
            requests.push(Request {
                feed: *id,
                sql,
                pool: feed.spec.front.pool,
                here,
                as_text: feed.foreign,
                once,
            });
        }
        if !requests.is_empty() {
            requests.sort_by_key(|request| rank(self.feed(request.feed)));
            effects.push(Effect::Sample(requests));
        }
        effects
    }

    pub(super) fn opened(&mut self, session: SessionId, peer: Peer) -> Vec<Effect> {
        let Some(link) = self.link_mut(session) else {
            return Vec::new();
        };
        let lost_at = if let Link::Lost { since, .. } = link {
            Some(*since)
        } else {
            None
        };
        // Queries sent before the session was open are answered by it.
        let first = *link == Link::Idle;
        let pooled = peer.pooled;
        *link = Link::Live(peer);
        if let Some(since) = lost_at
            && session == SessionId::Fast
        {
            self.history.forget_counters();
            self.memory.replication = replication::Memory::default();
            let away = format::seconds(self.now.since(since));
            self.say(Grade::Good, &format!("connected again after {away}"));
        }
        let pool = own_pool(session);
        let quiet = matches!(
            session,
            SessionId::Slow | SessionId::Replica | SessionId::StandIn
        );
        if pooled && first && !quiet {
            let who = match session {
                SessionId::Olap(_) => "OLAP pool: ",
                _ => "",
            };
            self.say(
                Grade::Doubtful,
                &format!(
                    "{who}connected through a pooler: settings go with each statement, for its transaction only; \
                     times include the pooler"
                ),
            );
        }
        let asked_anew = |feed: &&mut Feed| Some(feed.spec.front.pool) == pool && !first;
        for feed in self.feeds.iter_mut().filter(asked_anew) {
            feed.sampling.in_flight = None;
            // A query whose answer ended the session would end the new one, too.
            let refused = feed
                .sampling
                .error
                .as_ref()
                .is_some_and(PgError::ends_session);
            if !refused {
                feed.sampling.due_ms = 0;
                feed.sampling.failures = 0;
            }
            if feed.forbidden.any() {
                feed.forbidden.forget();
                feed.write();
            }
        }
        if session == SessionId::Replica {
            self.forget_host(Whose::Olap);
        }
        if session == SessionId::Fast {
            self.forget_host(Whose::Watched);
            // It may be another server, or another version.
            return self.ask_facts();
        }
        if self.paused {
            Vec::new()
        } else {
            self.sample_due()
        }
    }

    pub(super) fn lost(
        &mut self,
        session: SessionId,
        error: &PgError,
        attempt: u32,
        given_up: bool,
    ) {
        let now = self.now;
        let Some(link) = self.link_mut(session) else {
            return;
        };
        let first = match link {
            Link::Lost { .. } => false,
            Link::Idle => attempt > 0,
            Link::Live(_) => true,
        };
        let since = if let Link::Lost { since, .. } = link {
            *since
        } else {
            now
        };
        let lazy = matches!(session, SessionId::Olap(_) | SessionId::StandIn);
        *link = if attempt == 0 && lazy {
            // The session reopens when a statement is sent, so statements must still be sent.
            Link::Idle
        } else {
            Link::Lost {
                error: error.clone(),
                attempt,
                since,
                given_up,
            }
        };
        let pool = own_pool(session);
        for feed in self
            .feeds
            .iter_mut()
            .filter(|feed| Some(feed.spec.front.pool) == pool)
        {
            feed.sampling.in_flight = None;
            feed.sampling.outlived = true;
        }
        let who = match session {
            SessionId::Fast => Some(""),
            SessionId::Olap(_) => Some("OLAP pool: "),
            SessionId::Pooler => Some("pooler: "),
            SessionId::Columnar => Some("column store: "),
            // The cause line reports a lost replica.
            SessionId::Replica | SessionId::StandIn | SessionId::Slow | SessionId::Canary => None,
        };
        if let Some(who) = who.filter(|_| first) {
            self.say(Grade::Bad, &format!("{who}connection lost: {error}"));
        }
    }

    pub(super) fn answered(&mut self, id: FeedId, took_ms: f64, outcome: Sample) -> Vec<Effect> {
        let now = self.now;
        let of_server = |feed: &Feed| {
            !matches!(feed.spec.front.pool, Pool::Pooler | Pool::Columnar)
                && !self.is_read_here(feed)
        };
        if self.feed(id).is_some_and(of_server) {
            self.memory.server_ms += took_ms;
        }
        let Some(feed) = self.feed_mut(id) else {
            return Vec::new();
        };
        let sent = feed.sampling.in_flight.take();
        feed.sampling.took_ms = took_ms;
        match outcome {
            Ok(mut table) => {
                self.hasten_second(id, sent);
                let Some(feed) = self.feed_mut(id) else {
                    return Vec::new();
                };
                feed.sampling.at = Some(now);
                feed.sampling.from_here = feed.sampling.asked_here;
                feed.sampling.outlived = false;
                feed.sampling.error = None;
                feed.sampling.failures = 0;
                feed.forbidden.mark(&feed.source, &mut table);
                if feed.foreign || feed.spec.has_times_as_text() {
                    times::read(&mut table, &feed.spec);
                }
                if let Some(panel) = feed.panel {
                    self.ingest(id, panel, table)
                } else {
                    self.put(id, table);
                    Vec::new()
                }
            }
            Err(error) => self.refused(id, error),
        }
    }

    /// Handles a failed query: it is repeated without the forbidden parts, or later.
    fn refused(&mut self, id: FeedId, error: PgError) -> Vec<Effect> {
        let now_ms = self.now.mono_ms;
        let Some(feed) = self.feed_mut(id) else {
            return Vec::new();
        };
        let passing = error.code() == LOCK_NOT_AVAILABLE;
        // Only an error from the server can show what it forbids.
        let may_forbid = error.class == Class::Statement && error.sqlstate.is_some() && !passing;
        if may_forbid && feed.forbidden.learn(&feed.source, &error) {
            feed.write();
            feed.sampling.due_ms = now_ms;
            let lacks = feed.forbidden.columns(&feed.source).map(|(name, _)| name);
            let lacks: Vec<&str> = lacks.collect();
            let what = format!("{}: no {} here: {error}", feed.spec.name, lacks.join(", "));
            self.note(Grade::Bad, &what);
            return self.ask(&[id]);
        }
        feed.sampling.failures = feed.sampling.failures.saturating_add(1);
        if is_first(feed) || passing {
            feed.sampling.due_ms = now_ms + patience_ms(feed.sampling.failures);
        } else if error.class == Class::Statement {
            // It will fail again in the same way: repeat it rarely, to spare the server's log.
            feed.sampling.due_ms = now_ms + 30_000;
            feed.write();
        }
        // Invalid bytes, characters that this encoding lacks, or an encoding without a conversion to UTF-8.
        let texts = feed.spec.sql.contains(TEXTS);
        let unreadable =
            matches!(error.code(), "22021" | "22P05") || texts && error.code() == "42883";
        if unreadable && feed.sampling.failures == 1 && texts {
            // It may have been sent before another query showed that texts must be left out.
            feed.sampling.due_ms = now_ms;
        }
        feed.sampling.error = Some(error);
        if let Some(panel) = feed.panel {
            self.history.unanswered(panel);
        }
        if unreadable && !self.memory.without_texts {
            self.leave_texts_out();
        }
        self.judge();
        Vec::new()
    }
}
