//! What a relay or an aggregator does, as a row of `htap.stream_state`, by which a dashboard in another process shows it.

use crate::pg::{Client, Param, PgError, Settings, Target};
use crate::system::lead::Work;
use std::time::Duration;
use tokio::time::sleep;

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Relay,
    Aggregator,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Aggregator => "aggregator",
        }
    }
}

/// What it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Another one leads.
    #[default]
    Waiting,
    Running,
    /// Somebody has paused it.
    Paused,
    /// A later one has taken over.
    Fenced,
    /// The broker does not answer.
    Broker,
    /// The topic is not the one that was read before.
    Reset,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Fenced => "fenced",
            Self::Broker => "broker",
            Self::Reset => "reset",
        }
    }
}

/// Figures of a relay or an aggregator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Records sent or read since it began.
    pub records: u64,
    /// Records per second since the last report.
    pub rate: f64,
    /// Rows of the outbox, or records that are not yet read.
    pub lag_rows: Option<u64>,
    /// The age of the first of them, in milliseconds.
    pub lag_ms: Option<f64>,
    /// Their size.
    pub lag_bytes: Option<u64>,
    /// Records or rows that could not be used.
    pub dead_letters: u64,
    /// Events beyond the limit of lateness.
    pub late_events: u64,
    /// Events that had been counted before.
    pub duplicates: u64,
    /// Milliseconds from an event to the commit that counts it, of the events counted in the last minute: median and 99th
    /// percentile.
    pub fresh_ms: Option<(f64, f64)>,
}

/// The row of this process.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) instance: &'a str,
    pub(super) component: Component,
    pub(super) topic: &'a str,
}

const PUBLISH: &str = "
    INSERT INTO htap.stream_state AS s (instance, component, topic, state, records, rate, lag_rows, lag_ms, lag_bytes,
                                        dead_letters, late_events, duplicates, fresh_p50_ms, fresh_p99_ms, error)
    VALUES ($1, $2, $3, $4, $5, $6, nullif($7, -1), nullif($8, -1), nullif($9, -1), $10, $11, $12, nullif($13, -1), nullif($14, -1),
            $15)
    ON CONFLICT (instance) DO UPDATE
    SET since = CASE WHEN s.state = excluded.state THEN s.since ELSE clock_timestamp() END,
        state = excluded.state, records = excluded.records, rate = excluded.rate, lag_rows = excluded.lag_rows,
        lag_ms = excluded.lag_ms, lag_bytes = excluded.lag_bytes, dead_letters = excluded.dead_letters,
        late_events = excluded.late_events, duplicates = excluded.duplicates,
        fresh_p50_ms = excluded.fresh_p50_ms, fresh_p99_ms = excluded.fresh_p99_ms, error = excluded.error,
        reported_at = clock_timestamp()
    -- A crash of the server may lose the last row: the next one comes in a second.
    RETURNING set_config('synchronous_commit', 'off', true) AS committed";

const TIDY: &str =
    "DELETE FROM htap.stream_state WHERE reported_at < clock_timestamp() - interval '10 minutes'";

/// Time between two attempts to lead.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest error that is kept.
const ERROR: usize = 500;

impl Place<'_> {
    /// Waits until this process leads in its `work`. Calls `waiting` once if it has to wait, with the pid of the leader's
    /// backend, if known.
    pub(super) async fn lead(
        &self,
        client: &Client,
        work: &Work,
        figures: &Figures,
        waiting: impl FnOnce(Option<i64>),
    ) -> Result<(), PgError> {
        let mut waiting = Some(waiting);
        loop {
            let Err(leader) = work.try_lead(client).await? else {
                return Ok(());
            };
            if let Some(waiting) = waiting.take() {
                waiting(leader);
            }
            self.publish(client, State::Waiting, figures, None).await?;
            sleep(AGAIN).await;
        }
    }

    /// Writes the row. Removes those of processes that died.
    pub(super) async fn publish(
        &self,
        client: &Client,
        state: State,
        figures: &Figures,
        error: Option<&str>,
    ) -> Result<(), PgError> {
        let count = |value: u64| Param::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let maybe = |value: Option<u64>| value.map_or(Param::Int(-1), count);
        let fresh = |of: fn((f64, f64)) -> f64| Param::Float(figures.fresh_ms.map_or(-1.0, of));
        let error: Option<String> = error.map(|text| text.chars().take(ERROR).collect());
        let params = [
            Param::Text(self.instance),
            Param::Text(self.component.name()),
            Param::Text(self.topic),
            Param::Text(state.name()),
            count(figures.records),
            Param::Float(figures.rate),
            maybe(figures.lag_rows),
            Param::Float(figures.lag_ms.map_or(-1.0, |ms| ms.max(0.0))),
            maybe(figures.lag_bytes),
            count(figures.dead_letters),
            count(figures.late_events),
            count(figures.duplicates),
            fresh(|(p50, _)| p50),
            fresh(|(_, p99)| p99),
            Param::MaybeText(error.as_deref()),
        ];
        client.query(PUBLISH, &params).await?;
        client.batch(TIDY).await
    }
}

/// Removes the row of a process that ends.
pub async fn retire(target: &Target, name: &str) {
    let settings = Settings::of_work(Duration::from_secs(1));
    // Otherwise others remove it after 10 minutes.
    if let Ok(client) = Client::open(target, &settings).await {
        let sql = "DELETE FROM htap.stream_state WHERE instance = $1";
        let _ = client.execute(sql, &[Param::Text(name)]).await;
    }
}
