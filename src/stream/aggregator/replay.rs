//! Counts the topic once more, into a table beside `mart.realtime_stream`, and compares the two. What the live aggregator
//! keeps is only read.
//!
//! The replay reads each partition up to the offset that is stored, which is exactly what `mart.realtime_stream` holds. If
//! the aggregator goes on meanwhile, the replay follows it, until a snapshot has the offsets that were reached. What the
//! aggregator put aside by the clock (late events, times to come) is put aside here, too: the tables of both say so.

mod compare;
mod topic;

pub use compare::{Comparison, Difference};

use super::apply::{grow, known};
use super::batch::Batch;
use super::watermark::Windows;
use crate::pg::{Client, Param, PgError, Settings, Target, owners};
use crate::stream::StreamError;
use crate::stream::kafka::Broker;
use crate::system::lead::Work;
use compare::{Aside, Held};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use topic::Topic;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The topic.
    pub broker: Broker,
    /// Where to begin.
    pub from: From,
    /// The table to fill, in the schema `mart`.
    pub shadow: String,
}

/// Where a replay begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record that the topic holds.
    Beginning,
    /// At this offset in each partition.
    Offset(i64),
    /// At these offsets by partition; at the beginning of the others.
    Offsets(BTreeMap<i32, i64>),
}

/// What a replay has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that were read.
    pub records: u64,
    /// Events that changed windows.
    pub events: u64,
    /// Events that had been counted before.
    pub duplicates: u64,
    /// Records that are no events, or that the aggregator did not believe.
    pub dead_letters: u64,
    /// Events that were too late for the aggregator.
    pub late_events: u64,
}

const REPLAYING: Work = Work {
    lock: "htap.replay",
    table: "mart.realtime_stream",
    privilege: "SELECT",
};
/// The numbers of the events that were counted; only this session has it.
const EVENTS: &str = "pg_temp.stream_replay_event";
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const REPORT: Duration = Duration::from_secs(1);
/// How long to look for a moment in which the aggregator is where the replay is.
const MEETING: Duration = Duration::from_secs(20);

/// Replays, and compares. `tell` is called once per second, with what was counted so far.
pub async fn replay(
    target: &Target,
    plan: &Plan,
    mut tell: impl FnMut(&Counted),
) -> Result<(Counted, Comparison), StreamError> {
    let client = Client::open(target, &Settings::of_work(LOCK_TIMEOUT)).await?;
    client.need_own_session("a replay, which keeps what it has counted in a temporary table,")?;
    owners::need_of_shop(&client, "htap.stream_slot").await?;
    if let Err(leader) = REPLAYING.try_lead(&client).await? {
        let pid = leader.map_or_else(String::new, |pid| format!(" (backend {pid})"));
        return Err(StreamError::Refused(format!(
            "another replay runs{pid}: wait for its end"
        )));
    }
    let held = compare::held(&client, &plan.broker.topic).await?;
    let topic = Topic::open(&plan.broker, &plan.from, &held).await?;
    prepare(&client, &plan.shadow).await?;
    let mut replay = Replay {
        windows: Windows::new(
            Duration::from_secs(held.window_s),
            Duration::ZERO,
            Duration::ZERO,
            Duration::ZERO,
        ),
        client: &client,
        plan,
        topic,
        counted: Counted::default(),
        batches: 0,
        reported: Instant::now(),
    };
    let comparison = replay.run(held, &mut tell).await?;
    Ok((replay.counted, comparison))
}

async fn prepare(client: &Client, shadow: &str) -> Result<(), PgError> {
    let sql = "SELECT htap.make_shadow($1)";
    client.query(sql, &[Param::Text(shadow)]).await?;
    let sql = "CREATE TEMPORARY TABLE stream_replay_event
                   (event_id bigint PRIMARY KEY, order_id bigint NOT NULL, at timestamptz NOT NULL)";
    client.execute(sql, &[]).await.map(|_| ())
}

struct Replay<'a> {
    client: &'a Client,
    plan: &'a Plan,
    topic: Topic,
    /// Without a watermark: nothing is late for it.
    windows: Windows,
    counted: Counted,
    batches: i64,
    reported: Instant,
}

impl Replay<'_> {
    async fn run(
        &mut self,
        mut held: Held,
        tell: &mut impl FnMut(&Counted),
    ) -> Result<Comparison, StreamError> {
        let name = &self.plan.broker.topic;
        let mut began = None;
        loop {
            // After the offsets: whatever was put aside before them is there.
            let aside = compare::aside(self.client, name).await?;
            self.follow(&held, &aside, tell).await?;
            self.topic.verify(&held)?;
            // No transaction that writes: it would hold the relay up.
            let mode = "ISOLATION LEVEL REPEATABLE READ READ ONLY";
            self.client.begin_as(mode, "").await?;
            let compared = self.compare(&held).await;
            match &compared {
                Err(StreamError::Server(error)) if !error.session_survives() => {}
                _ => self.client.rollback().await?,
            }
            match compared? {
                Ok(comparison) => return Ok(comparison),
                Err(moved) => held = moved,
            }
            let began = began.get_or_insert_with(Instant::now);
            if began.elapsed() > MEETING {
                return Err(StreamError::Refused(
                    "the aggregator moves on faster than the replay can follow: run htap-top stream pause, then replay again"
                        .to_owned(),
                ));
            }
        }
    }

    /// Compares, if the aggregator is where the replay is; otherwise returns where it is.
    async fn compare(&self, held: &Held) -> Result<Result<Comparison, Held>, StreamError> {
        let now = compare::held(self.client, &self.plan.broker.topic).await?;
        if !now.is_at(held) {
            return Ok(Err(now));
        }
        let since = self.topic.whole_since(&now, self.windows.width());
        let compared = compare::compare(self.client, &self.plan.shadow, since).await?;
        Ok(Ok(compared))
    }

    /// Reads and counts up to these offsets.
    async fn follow(
        &mut self,
        held: &Held,
        aside: &Aside,
        tell: &mut impl FnMut(&Counted),
    ) -> Result<(), StreamError> {
        self.topic.seek(held)?;
        loop {
            let mut batch = Batch::default();
            let put_aside = self.topic.read(&mut batch, &self.windows, aside);
            if batch.records > 0 {
                self.counted.dead_letters += put_aside;
                self.apply(&mut batch, aside).await?;
            }
            if self.reported.elapsed() >= REPORT {
                self.reported = Instant::now();
                tell(&self.counted);
            }
            if self.topic.is_read(held)? {
                return Ok(());
            }
            if batch.records == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn apply(&mut self, batch: &mut Batch, aside: &Aside) -> Result<(), StreamError> {
        let before = batch.counted.len();
        batch
            .counted
            .retain(|counted| !aside.is_late(counted.partition, counted.offset, counted.event_id));
        let late = before - batch.counted.len();
        self.batches += 1;
        self.client.begin("").await?;
        let table = format!("mart.{}", self.plan.shadow);
        let done = async {
            let duplicates = known(self.client, batch, EVENTS).await?;
            batch.forget(&duplicates);
            let growth = batch.growth(&self.windows);
            grow(self.client, &growth, &table, self.batches, i64::MIN).await
        };
        let done = done.await;
        match &done {
            Ok(()) => self.client.commit().await?,
            Err(error) if error.session_survives() => self.client.rollback().await?,
            Err(_) => {}
        }
        done?;
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        self.counted.records += count(batch.records);
        self.counted.events += count(batch.counted.len());
        self.counted.duplicates += batch.duplicates;
        self.counted.dead_letters += count(batch.dead.len());
        self.counted.late_events += count(late);
        Ok(())
    }
}
