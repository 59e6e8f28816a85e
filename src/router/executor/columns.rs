//! Reads that the column store answers in place of the primary.

use super::conversation::{Ask, Conversation, Ran};
use crate::router::counts::Fallback;
use crate::router::lanes::Lanes;
use crate::router::{Decision, Outcome};
use tokio::time::Instant;

impl<L: Lanes> Conversation<'_, L> {
    /// Asks the column store. If it has no answer after all, the primary is to be asked; the error is the reason.
    pub(super) async fn ask_columns(
        &mut self,
        ask: Ask<'_>,
        decision: &Decision,
    ) -> Result<Ran, String> {
        let executor = self.executor;
        let sent = Instant::now();
        let (Ask::Text(sql, _), Some(store)) = (ask, executor.router.column_store()) else {
            return Err("statements that a session keeps prepared stay with PostgreSQL".to_owned());
        };
        let answer = store.ask(sql).await;
        let table = answer.inspect_err(|_| {
            executor.record(|recorder| recorder.fell_back(Fallback::Columnar));
        })?;
        executor.record(|recorder| recorder.decided(decision.rule, decision.lane()));
        self.session.settle(decision, Outcome::Done(None));
        Ok(Ran {
            table,
            decision: decision.clone(),
            again: false,
            sent,
        })
    }
}
