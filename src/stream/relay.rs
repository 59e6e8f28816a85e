//! Sends the rows of the outbox to the topic, at least once, and removes what the broker has acknowledged. The same with the
//! events of a replication slot.

mod report;

use super::attempts::Attempts;
use super::kafka::{Broker, Context};
use super::outbox::{self, Place, Row};
use super::slot::{self, Slot};
use super::state::{self, Component, Figures, State};
use super::{StreamError, pause};
use crate::pg::{Client, Settings, Target, owners};
use crate::system::lead::Work;
use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// What a relay is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the process in `htap.stream_state` ([`super::instance`]).
    pub name: String,
    /// The topic.
    pub broker: Broker,
    /// Number of the topic's partitions; the topic is created if it is missing.
    pub partitions: i32,
    /// Replicas of each partition of a new topic.
    pub replication: i32,
}

/// Events that the loop reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another relay leads; this one waits to take over. Holds the pid of the leader's backend, if known.
    Waiting(Option<i64>),
    /// This relay leads now.
    Leading,
    /// Somebody has paused relays.
    Paused,
    /// It goes on.
    Resumed,
    /// From now on it reads this replication slot, too.
    Slot(String),
    /// The topic was missing and was created.
    Created,
    /// Figures, once per second.
    Figures(Figures),
    /// The broker does not answer.
    Unreachable(String),
    /// A row cannot be sent: it was moved to `htap.dead_letter`.
    DeadLetter {
        /// The row.
        event_id: i64,
        /// Why.
        reason: String,
    },
    /// The work was interrupted; it will be tried again.
    Lost(String),
}

const RELAYING: Work = Work {
    lock: "htap.relay",
    table: "htap.outbox",
    privilege: "DELETE",
};

/// Time between two looks at the outbox that find it empty, or few rows in it.
const LOOK: Duration = Duration::from_millis(50);
/// Fewer rows are few. However many they are, sending them takes a request for each partition, and a transaction.
const FEW: usize = 1_000;
/// Time between two looks at whether relays are paused.
const OBEY: Duration = Duration::from_millis(250);
const REPORT: Duration = Duration::from_secs(1);
/// Longest wait for a lock: nobody else locks the outbox for long.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the producer.
///
/// Idempotent: the broker ignores what the client repeats. Gapless, and without a time-out of a record: a record is sent
/// only after those before it, however long the broker is away. So no event of an order overtakes an earlier one.
const PRODUCER: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "32768"),
    ("partitioner", "murmur2_random"),
];

/// Sends rows until it is dropped. Reports temporary errors and survives them; returns only on a permanent one.
/// `tell` must not block.
pub async fn relay(
    target: &Target,
    plan: &Plan,
    mut tell: impl FnMut(Event),
) -> Result<std::convert::Infallible, StreamError> {
    let mut attempts = Attempts::begin();
    loop {
        let mut relay = match Relay::open(target, plan).await {
            Ok(relay) => relay,
            Err(error) if error.is_temporary() => {
                tell(Event::Lost(error.to_string()));
                attempts.again().await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let error = match Box::pin(relay.run(&mut tell)).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if !error.is_temporary() {
            relay.leave_word(&error).await;
            return Err(error);
        }
        tell(Event::Lost(error.to_string()));
        attempts.again().await;
    }
}

struct Relay<'a> {
    client: Client,
    plan: &'a Plan,
    slot: Option<Slot>,
    figures: Figures,
    paused: bool,
    obeyed: Option<Instant>,
    reported: Instant,
    counted: Option<Instant>,
    records_reported: u64,
    bytes: u64,
}

/// A row that cannot be sent, with the reason.
type Dead = (usize, String);

/// Where rows come from.
enum Batch<'a> {
    /// With the place after which the outbox was read.
    Outbox(&'a mut Place, &'a [Row]),
    Slot(&'a slot::Batch),
}

impl<'a> Batch<'a> {
    fn rows(&self) -> &'a [Row] {
        match self {
            Self::Outbox(_, rows) => rows,
            Self::Slot(batch) => &batch.rows,
        }
    }
}

impl<'a> Relay<'a> {
    async fn open(target: &Target, plan: &'a Plan) -> Result<Self, StreamError> {
        // The order of the rows is that of the key. The statistics of a queue are wrong at any time.
        let settings = Settings::of_work(LOCK_TIMEOUT)
            .with("enable_seqscan", "off")
            .with("enable_bitmapscan", "off");
        let client = Client::open(target, &settings).await?;
        client.need_own_session("a relay, which leads by a session lock,")?;
        owners::need_of_shop(&client, "htap.stream_slot").await?;
        Ok(Self {
            client,
            plan,
            slot: None,
            figures: Figures::default(),
            paused: false,
            obeyed: None,
            reported: Instant::now(),
            counted: None,
            records_reported: 0,
            bytes: 0,
        })
    }

    fn place(&self) -> state::Place<'a> {
        state::Place {
            instance: &self.plan.name,
            component: Component::Relay,
            topic: &self.plan.broker.topic,
        }
    }

    async fn run(
        &mut self,
        tell: &mut impl FnMut(Event),
    ) -> Result<std::convert::Infallible, StreamError> {
        let (place, client) = (self.place(), &self.client);
        // Who may not do this learns it before it leads, and before a topic is created.
        place
            .publish(client, State::Waiting, &self.figures, None)
            .await?;
        let waiting = |leader| tell(Event::Waiting(leader));
        place
            .lead(client, &RELAYING, &self.figures, waiting)
            .await?;
        tell(Event::Leading);
        self.find_topic(tell).await?;
        let context = Context::default();
        let producer: FutureProducer<Context> =
            self.plan.broker.client(&PRODUCER, context.clone())?;
        let mut after = Place::first();
        loop {
            self.obey(&context, tell).await?;
            let looked = Instant::now();
            let mut more = false;
            if !self.slot.as_ref().is_some_and(Slot::goes_first) {
                let rows = outbox::read(&self.client, &after).await?;
                let is_full = rows.len() >= FEW;
                // Without its row in htap.stream_state, the relay sends when it has reported again.
                if !rows.is_empty() && outbox::flush(&self.client, &self.plan.name).await? {
                    let dead = self.send(&producer, &context, &rows, tell).await?;
                    let rows = Batch::Outbox(&mut after, &rows);
                    self.finish(rows, &dead, tell).await?;
                    more = is_full;
                }
            }
            if let Some(slot) = &mut self.slot {
                let batch = slot.read(&self.client).await?;
                more |= slot.has_more();
                if slot.is_due(&batch) {
                    let dead = self.send(&producer, &context, &batch.rows, tell).await?;
                    self.finish(Batch::Slot(&batch), &dead, tell).await?;
                } else {
                    slot.reach(&batch);
                }
            }
            self.report(&context, REPORT, tell).await?;
            if !more {
                sleep_until(looked + LOOK).await;
            }
        }
    }

    /// Begins or ends reading a slot, as `htap.stream_slot` says.
    async fn follow(
        &mut self,
        told: Option<slot::Told>,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        let Some(told) = told else {
            return self.leave_slot().await;
        };
        if let Some(slot) = self.slot.as_mut().filter(|slot| slot.is_of(&told)) {
            slot.note(told);
            return Ok(());
        }
        self.leave_slot().await?;
        let name = told.slot.clone();
        self.slot = Some(Slot::open(&self.client, told).await?);
        tell(Event::Slot(name));
        Ok(())
    }

    async fn leave_slot(&mut self) -> Result<(), StreamError> {
        if let Some(slot) = self.slot.take() {
            slot.close(&self.client).await?;
        }
        Ok(())
    }

    /// Publishes why it ends, if events were lost.
    async fn leave_word(&self, error: &StreamError) {
        if let StreamError::Replaced(why) = error {
            let place = self.place();
            let _ = place
                .publish(&self.client, State::Reset, &self.figures, Some(why))
                .await;
        }
    }

    /// Waits while relays are paused.
    async fn obey(
        &mut self,
        context: &Context,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        if self.obeyed.is_some_and(|at| at.elapsed() < OBEY) {
            return Ok(());
        }
        let told = loop {
            let (is_paused, told) = pause::orders(&self.client).await?;
            if !is_paused {
                break told;
            }
            let begins = !std::mem::replace(&mut self.paused, true);
            if begins {
                tell(Event::Paused);
            }
            let due = if begins { Duration::ZERO } else { REPORT };
            self.report(context, due, tell).await?;
            sleep(OBEY).await;
        };
        self.follow(told, tell).await?;
        let begins = self.obeyed.replace(Instant::now()).is_none();
        let resumed = std::mem::take(&mut self.paused);
        if resumed {
            tell(Event::Resumed);
        }
        if begins || resumed {
            self.report(context, Duration::ZERO, tell).await?;
        }
        Ok(())
    }

    /// Sends the rows, and waits until the broker has acknowledged all of them. Returns those that it will never take.
    async fn send(
        &mut self,
        producer: &FutureProducer<Context>,
        context: &Context,
        rows: &[Row],
        tell: &mut impl FnMut(Event),
    ) -> Result<Vec<Dead>, StreamError> {
        let mut dead = Vec::new();
        let mut sent = Vec::with_capacity(rows.len());
        for (number, row) in rows.iter().enumerate() {
            let value = match row.value() {
                Ok(value) => value,
                Err(why) => {
                    dead.push((number, why.to_owned()));
                    continue;
                }
            };
            let record = FutureRecord::to(&self.plan.broker.topic)
                .key(row.key.as_slice())
                .payload(value.as_bytes());
            match producer.send_result(record) {
                Ok(acknowledged) => sent.push(async move { (number, acknowledged.await) }),
                Err((error, _)) => dead.push((number, unsendable(&error)?)),
            }
            self.bytes += u64::try_from(value.len()).unwrap_or(0);
        }
        let waiting = join_all(sent);
        tokio::pin!(waiting);
        let answers = loop {
            tokio::select! {
                answers = &mut waiting => break answers,
                () = sleep(REPORT) => self.report(context, REPORT, tell).await?,
            }
        };
        let mut failed = producer
            .client()
            .fatal_error()
            .map(|(_, why)| StreamError::Broker(why));
        for (number, answer) in answers {
            let error = match answer {
                Ok(Ok(_)) => continue,
                Ok(Err((error, _))) => error,
                Err(_) => KafkaError::Canceled,
            };
            match unsendable(&error) {
                Ok(why) => dead.push((number, why)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            // The others are sent again, but not those of the outbox that would fail again.
            let dead: Vec<(Row, String)> = dead
                .into_iter()
                .filter_map(|(number, why)| Some((rows.get(number)?.clone(), why)))
                .filter(|(row, _)| row.is_of_outbox())
                .collect();
            let rows: Vec<Row> = dead.iter().map(|(row, _)| row.clone()).collect();
            let dead: Vec<Dead> = dead.into_iter().map(|(_, why)| why).enumerate().collect();
            let rows = Batch::Outbox(&mut Place::first(), &rows);
            self.finish(rows, &dead, tell).await?;
            return Err(error);
        }
        context.note_success();
        Ok(dead)
    }

    /// Removes the rows, or notes how far the slot was sent, and keeps what could not be sent as dead letters.
    async fn finish(
        &mut self,
        batch: Batch<'_>,
        dead: &[Dead],
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        let (client, topic) = (&self.client, &self.plan.broker.topic);
        let rows = batch.rows();
        // Rows whose removal a crash of the server undoes are sent again, and recognised. The slot must not be ahead of its
        // note, nor may a dead letter be lost.
        let settings = match (&batch, dead) {
            (Batch::Outbox(..), []) => "SET LOCAL synchronous_commit = off",
            _ => "",
        };
        client.begin(settings).await?;
        let done = async {
            for (number, reason) in dead {
                match (&batch, rows.get(*number)) {
                    (Batch::Outbox(..), Some(row)) => {
                        outbox::bury(client, topic, row, reason).await?;
                    }
                    (Batch::Slot(_), Some(row)) => {
                        Slot::bury(client, topic, row, reason).await?;
                    }
                    _ => {}
                }
            }
            match (&batch, &self.slot) {
                (Batch::Outbox(after, rows), _) => {
                    outbox::remove(client, after, rows).await.map(Some)
                }
                (Batch::Slot(batch), Some(slot)) => slot.store(client, batch).await.map(|()| None),
                _ => Ok(None),
            }
        };
        let place = match done.await {
            Ok(place) => place,
            Err(error) => {
                if error.session_survives() {
                    client.rollback().await?;
                }
                // The rows stay, and are sent again.
                return Err(error.into());
            }
        };
        client.commit().await?;
        for (number, reason) in dead {
            if let Some(row) = rows.get(*number) {
                let (event_id, reason) = (row.event_id(), reason.clone());
                tell(Event::DeadLetter { event_id, reason });
            }
        }
        self.figures.dead_letters += u64::try_from(dead.len()).unwrap_or(0);
        self.figures.records += u64::try_from(rows.len() - dead.len()).unwrap_or(0);
        match (batch, place, &mut self.slot) {
            (Batch::Outbox(after, _), Some(place), _) => *after = place,
            (Batch::Slot(batch), _, Some(slot)) => slot.advance(&self.client, batch).await?,
            _ => {}
        }
        Ok(())
    }
}

/// Returns why a record can never be sent; an error that may go away is one of the whole batch.
fn unsendable(error: &KafkaError) -> Result<String, StreamError> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            Ok("the record is larger than the broker or message.max.bytes allows".to_owned())
        }
        _ => Err(StreamError::Broker(error.to_string())),
    }
}
