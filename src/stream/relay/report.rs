//! What the relay tells of itself and of the topic.

use super::{Event, REPORT, Relay};
use crate::stream::kafka::Context;
use crate::stream::state::State;
use crate::stream::{StreamError, is_restart};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The outbox is counted seldom while it is so long that this takes a while.
const SELDOM: Duration = Duration::from_secs(5);
const LONG: u64 = 10_000;

impl Relay<'_> {
    /// Waits for the broker, and creates the topic or refuses it.
    pub(super) async fn find_topic(
        &mut self,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        let (broker, wanted) = (&self.plan.broker, self.plan.partitions);
        loop {
            match broker.partitions().await {
                Ok(Some((found, _))) if found == wanted => return Ok(()),
                Ok(Some((found, _))) => {
                    return Err(StreamError::Refused(format!(
                        "topic {} has {found} partitions, not {wanted}: pass --partitions {found}, or choose another topic",
                        broker.topic
                    )));
                }
                Ok(None) => {
                    broker.create_topic(wanted, self.plan.replication).await?;
                    tell(Event::Created);
                    return Ok(());
                }
                Err(StreamError::Broker(why)) => {
                    tell(Event::Unreachable(why.clone()));
                    let place = self.place();
                    place
                        .publish(&self.client, State::Broker, &self.figures, Some(&why))
                        .await?;
                    sleep(REPORT).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reports if the last time is `due` ago.
    pub(super) async fn report(
        &mut self,
        context: &Context,
        due: Duration,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), StreamError> {
        let past = self.reported.elapsed();
        if past < due {
            return Ok(());
        }
        self.reported = Instant::now();
        self.figures.rate =
            (self.figures.records - self.records_reported) as f64 / past.as_secs_f64().max(0.1);
        self.records_reported = self.figures.records;
        self.count().await?;
        let error = context.error();
        let state = match error {
            _ if self.paused => State::Paused,
            Some(_) => State::Broker,
            None => State::Running,
        };
        let place = self.place();
        place
            .publish(&self.client, state, &self.figures, error.as_deref())
            .await?;
        match error {
            Some(why) if !self.paused => tell(Event::Unreachable(why)),
            _ => tell(Event::Figures(self.figures.clone())),
        }
        Ok(())
    }

    /// Measures what waits in the outbox, or behind the slot.
    async fn count(&mut self) -> Result<(), StreamError> {
        if let Some(slot) = self.slot.as_ref().filter(|slot| slot.leads()) {
            (self.figures.lag_bytes, self.figures.lag_ms) = slot.lag(&self.client).await?;
            self.figures.lag_rows = None;
            return Ok(());
        }
        let long = self.figures.lag_rows.is_some_and(|rows| rows > LONG);
        if long && self.counted.is_some_and(|at| at.elapsed() < SELDOM) {
            return Ok(());
        }
        let sql = "
            SELECT count(*) AS rows,
                   (extract(epoch FROM clock_timestamp() - min(q.occurred_at)) * 1000)::float8 AS age_ms
            FROM (SELECT o.occurred_at FROM htap.outbox AS o ORDER BY o.xid, o.event_id LIMIT 100000) AS q";
        let lag = match self.client.query(sql, &[]).await {
            Err(error) if is_restart(&error) => return Ok(()),
            lag => lag?,
        };
        self.counted = Some(Instant::now());
        let rows = lag.first("rows").int().unwrap_or(0);
        let rows = u64::try_from(rows).unwrap_or(0);
        self.figures.lag_rows = Some(rows);
        self.figures.lag_ms = Some(lag.first("age_ms").number().unwrap_or(0.0).max(0.0));
        let mean = self.bytes.checked_div(self.figures.records).unwrap_or(0);
        self.figures.lag_bytes = Some(rows.saturating_mul(mean));
        Ok(())
    }
}
