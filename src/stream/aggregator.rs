//! Reads the topic, and keeps sales by window in `mart.realtime_stream`, exactly once: a batch, and the offsets up to
//! which it was read, are one transaction of PostgreSQL.

/// A time in microseconds since 1970, as SQL; -1 stands for none.
macro_rules! time {
    ($parameter:literal) => {
        concat!(
            "timestamptz 'epoch' + nullif(",
            $parameter,
            ", -1) * interval '1 microsecond'"
        )
    };
}
macro_rules! micros {
    ($time:literal) => {
        concat!("(extract(epoch FROM ", $time, ") * 1000000)::bigint")
    };
}

mod apply;
mod batch;
mod freshness;
mod keep;
mod reader;
pub mod replay;
mod watermark;

use super::StreamError;
use super::attempts::Attempts;
use super::kafka::Broker;
use super::state::{self, Component, Figures, State};
use crate::pg::{Client, Settings, Target, owners};
use crate::system::lead::Work;
use apply::{Ledger, Outcome, Shown, Terms};
use batch::Batch;
use freshness::{Clock, Freshness};
use reader::Reader;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use watermark::{Windows, micros};

/// What an aggregator is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the process in `htap.stream_state` ([`super::instance`]).
    pub name: String,
    /// The topic.
    pub broker: Broker,
    /// Width of the windows.
    pub window: Duration,
    /// How long after its end a window still takes late events.
    pub lateness: Duration,
    /// By how much the events of a partition may be out of order.
    pub delay: Duration,
    /// After this time without a record a partition that was read to its end does not hold up the watermark.
    pub idle: Duration,
    /// Events that are further in the future are dead letters.
    pub future: Duration,
    /// Begin at the beginning of a topic that has replaced the one that was read before.
    pub new_topic: bool,
}

impl Plan {
    /// A plan with the values that `htap-top stream run` has by default.
    pub fn new(name: String, broker: Broker) -> Self {
        Self {
            name,
            broker,
            window: Duration::from_secs(60),
            lateness: Duration::from_secs(3_600),
            delay: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            future: Duration::from_secs(600),
            new_topic: false,
        }
    }
}

/// Events that the loop reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another aggregator leads; this one waits to take over. Holds the pid of the leader's backend, if known.
    Waiting(Option<i64>),
    /// This aggregator leads now, with this epoch.
    Leading(i64),
    /// A later aggregator has taken over.
    Fenced,
    /// Figures, once per second.
    Figures(Figures),
    /// The broker does not answer, or there is no such topic.
    Unreachable(String),
    /// The work was interrupted; it will be tried again.
    Lost(String),
}

const AGGREGATING: Work = Work {
    lock: "htap.aggregator",
    table: "htap.stream_offset",
    privilege: "UPDATE",
};

/// Shortest time between two commits, unless a batch is full.
const PACE: Duration = Duration::from_millis(100);
/// Time between two looks at an empty topic.
const LOOK: Duration = Duration::from_millis(20);
const REPORT: Duration = Duration::from_secs(1);
/// Time between two removals of events that need not be remembered any more.
const FORGET: Duration = Duration::from_secs(30);
/// Nobody else locks our tables for long.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Aggregates until it is dropped. Reports temporary errors and survives them; returns only on a permanent one.
/// `tell` must not block.
pub async fn aggregate(
    target: &Target,
    plan: &Plan,
    mut tell: impl FnMut(Event),
) -> Result<std::convert::Infallible, StreamError> {
    let mut attempts = Attempts::begin();
    loop {
        let error = match Aggregator::open(target, plan).await {
            Ok(mut aggregator) => match Box::pin(aggregator.run(&mut tell)).await {
                // Whoever took over leads: this one waits.
                Ok(()) => continue,
                Err(StreamError::Replaced(why)) if plan.new_topic => {
                    match aggregator.begin_again().await {
                        Ok(()) => {
                            tell(Event::Lost(why));
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => {
                    if matches!(error, StreamError::Replaced(_)) {
                        // The error itself is more important than that it is shown.
                        let _ = aggregator
                            .publish(State::Reset, Some(&error.to_string()))
                            .await;
                    }
                    error
                }
            },
            Err(error) => error,
        };
        if !error.is_temporary() {
            return Err(error);
        }
        tell(Event::Lost(error.to_string()));
        attempts.again().await;
    }
}

struct Aggregator<'a> {
    client: Client,
    plan: &'a Plan,
    windows: Windows,
    figures: Figures,
    bytes: u64,
    reported: Instant,
    records_reported: u64,
    forgot: Instant,
    clock: Clock,
    freshness: Freshness,
}

impl<'a> Aggregator<'a> {
    async fn open(target: &Target, plan: &'a Plan) -> Result<Self, StreamError> {
        let client = Client::open(target, &Settings::of_work(LOCK_TIMEOUT)).await?;
        client.need_own_session("an aggregator, which leads by a session lock,")?;
        owners::need_of_shop(&client, "htap.stream_slot").await?;
        let now = Instant::now();
        Ok(Self {
            windows: Windows::new(plan.window, plan.lateness, plan.delay, plan.idle),
            client,
            plan,
            figures: Figures::default(),
            bytes: 0,
            reported: now,
            records_reported: 0,
            forgot: now,
            clock: Clock::new(0, now),
            freshness: Freshness::default(),
        })
    }

    fn place(&self) -> state::Place<'a> {
        state::Place {
            instance: &self.plan.name,
            component: Component::Aggregator,
            topic: &self.plan.broker.topic,
        }
    }

    async fn publish(&self, state: State, error: Option<&str>) -> Result<(), StreamError> {
        Ok(self
            .place()
            .publish(&self.client, state, &self.figures, error)
            .await?)
    }

    /// Begins with a topic that has replaced the one that was read before.
    async fn begin_again(&self) -> Result<(), StreamError> {
        let broker = &self.plan.broker;
        let (partitions, cluster) = broker.partitions().await?.unwrap_or_default();
        apply::begin_again(&self.client, &broker.topic, &cluster, partitions).await?;
        Ok(())
    }

    /// Aggregates until another aggregator takes over.
    async fn run(&mut self, tell: &mut impl FnMut(Event)) -> Result<(), StreamError> {
        let waiting = |leader| tell(Event::Waiting(leader));
        self.place()
            .lead(&self.client, &AGGREGATING, &self.figures, waiting)
            .await?;
        let (partitions, cluster) = self.find_topic(tell).await?;
        let ledger = self.take_over(&cluster, partitions).await?;
        self.windows.restore(ledger.watermark, ledger.final_to);
        self.ask_the_time().await?;
        tell(Event::Leading(ledger.epoch));
        let mut reader = Reader::new(&self.plan.broker, &ledger.partitions)?;
        let mut committed = Instant::now();
        loop {
            let mut batch = Batch::default();
            loop {
                reader.read(&mut batch, &self.windows, self.latest())?;
                if batch.is_full() || committed.elapsed() >= PACE {
                    break;
                }
                sleep(LOOK).await;
            }
            let before = self.windows.clone();
            self.windows.advance(reader.progress(), self.clock.now());
            if batch.records > 0 || self.windows.has_ended_since(before.final_to()) {
                let outcome = self.apply(&mut batch, &before, ledger.epoch).await;
                if !matches!(outcome, Ok(Outcome::Applied)) {
                    self.windows = before;
                }
                if outcome? == Outcome::Fenced {
                    tell(Event::Fenced);
                    self.publish(State::Fenced, None).await?;
                    return Ok(());
                }
                reader.note_applied(&batch);
            } else {
                sleep(LOOK).await;
            }
            committed = Instant::now();
            self.report(&reader, ledger.epoch, tell).await?;
        }
    }

    async fn ask_the_time(&mut self) -> Result<(), StreamError> {
        let asked = Instant::now();
        self.clock = Clock::new(apply::now(&self.client).await?, asked);
        Ok(())
    }

    /// The latest time that is believed.
    fn latest(&self) -> i64 {
        self.clock.now().saturating_add(micros(self.plan.future))
    }

    /// Waits for the broker and the topic.
    async fn find_topic(
        &mut self,
        tell: &mut impl FnMut(Event),
    ) -> Result<(i32, String), StreamError> {
        loop {
            let why = match self.plan.broker.partitions().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => format!(
                    "there is no topic {}: htap-top stream relay creates it",
                    self.plan.broker.topic
                ),
                Err(StreamError::Broker(why)) => why,
                Err(error) => return Err(error),
            };
            tell(Event::Unreachable(why.clone()));
            self.publish(State::Broker, Some(&why)).await?;
            sleep(REPORT).await;
        }
    }

    /// Takes over the topic, if it is the one that was read before.
    async fn take_over(&self, cluster: &str, partitions: i32) -> Result<Ledger, StreamError> {
        let (topic, client) = (&self.plan.broker.topic, &self.client);
        let window_s = i64::try_from(self.plan.window.as_secs()).unwrap_or(i64::MAX);
        let ledger = apply::take_over(client, topic, cluster, window_s, partitions).await?;
        if ledger.window_s != window_s {
            return Err(StreamError::Refused(format!(
                "mart.realtime_stream has windows of {} s, not {window_s} s: pass --window {}s, or remove its rows and the one \
                 of htap.stream_progress",
                ledger.window_s, ledger.window_s
            )));
        }
        let stored = i32::try_from(ledger.partitions.len()).unwrap_or(i32::MAX);
        let why = if ledger.cluster != cluster {
            format!(
                "it is in the Kafka cluster {cluster}, and was read in {}",
                ledger.cluster
            )
        } else if stored > partitions {
            format!("it has {partitions} partitions, and had {stored}")
        } else {
            return Ok(ledger);
        };
        Err(reader::replaced(topic, &why))
    }

    async fn apply(
        &mut self,
        batch: &mut Batch,
        before: &Windows,
        epoch: i64,
    ) -> Result<Outcome, StreamError> {
        let encoding = self.client.server_encoding();
        if !matches!(&*encoding, "UTF8" | "SQL_ASCII") {
            let names = batch.foreign_names();
            if let Some((names, why)) = apply::unwritable(&self.client, names).await? {
                batch.bury(&names, &why);
            }
        }
        let terms = Terms {
            topic: &self.plan.broker.topic,
            epoch,
            before,
            after: &self.windows,
        };
        let outcome = apply::apply(&self.client, batch, terms).await?;
        if outcome == Outcome::Applied {
            let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
            self.figures.records += count(batch.records);
            self.bytes += count(batch.bytes);
            self.figures.dead_letters += count(batch.dead.len());
            self.figures.late_events += count(batch.late.len());
            self.figures.duplicates += batch.duplicates;
            let events = batch.counted.iter().map(|counted| counted.at);
            self.freshness.note(events, self.clock.now());
        }
        Ok(outcome)
    }

    /// Reports once per second.
    async fn report(
        &mut self,
        reader: &Reader,
        epoch: i64,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        let past = self.reported.elapsed();
        if past < REPORT {
            return Ok(());
        }
        self.reported = Instant::now();
        self.ask_the_time().await?;
        self.figures.rate =
            (self.figures.records - self.records_reported) as f64 / past.as_secs_f64();
        self.records_reported = self.figures.records;
        let lag = reader.lag();
        self.figures.lag_rows = lag;
        let mean = self.bytes.checked_div(self.figures.records).unwrap_or(0);
        self.figures.lag_bytes = lag.map(|lag| lag.saturating_mul(mean));
        let newest = reader
            .progress()
            .filter_map(|partition| partition.max_at)
            .max();
        self.figures.lag_ms = match (lag, newest) {
            (Some(0), _) => Some(0.0),
            (_, Some(newest)) => Some(((self.clock.now() - newest) as f64 / 1_000.0).max(0.0)),
            _ => None,
        };
        self.figures.fresh_ms = self.freshness.percentiles();
        let shown: Vec<Shown> = reader.shown(&self.windows).collect();
        apply::show(&self.client, &self.plan.broker.topic, epoch, &shown).await?;
        let error = reader.error();
        let state = if error.is_some() {
            State::Broker
        } else {
            State::Running
        };
        self.publish(state, error.as_deref()).await?;
        match error {
            Some(why) => tell(Event::Unreachable(why)),
            None => tell(Event::Figures(self.figures.clone())),
        }
        if let Some(before) = self.windows.forgotten()
            && self.forgot.elapsed() >= FORGET
        {
            self.forgot = Instant::now();
            apply::forget(&self.client, before).await?;
        }
        Ok(())
    }
}
