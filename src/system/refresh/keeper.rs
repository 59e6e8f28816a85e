//! Keeps views fresh: a loop with one leader, which holds back while the shop is slow, catches up in steps, and
//! rebuilds if that is cheaper.

use super::kept::Kept;
use super::plan::{KeepError, Plan, chosen};
use super::{Kind, View, connect, is_busy, known};
use crate::pg::{Client, Param, PgError, Target};
use crate::system::lead::Work;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Limit of holding back, in multiples of the pace: after that a refresh runs even if the shop's latency is high.
pub const PATIENCE: u32 = 5;

/// Events that the loop reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another refresher leads; this one waits to take over. Holds the pid of the leader's backend, if known.
    Waiting(Option<i64>),
    /// This refresher leads now.
    Leading,
    /// A refresh ended.
    Ran {
        /// The view.
        view: View,
        /// Duration in milliseconds.
        took_ms: f64,
        /// Number of merged changes.
        changes: u64,
        /// The age of the data that readers saw right before the commit, in milliseconds: its maximum.
        age_ms: f64,
        /// True if the view was rebuilt.
        rebuilt: bool,
        /// True if changes remain for the next step.
        remaining: bool,
    },
    /// A refresh was postponed because the shop's commits are slow.
    HeldBack {
        /// The view.
        view: View,
        /// Median duration of the last commits, in milliseconds.
        commit_ms: f64,
    },
    /// A refresh failed; it will be tried again.
    Failed {
        /// The view.
        view: View,
        /// Reason of the failure.
        error: PgError,
    },
    /// Something bypassed the triggers of a summary, which is wrong until it is rebuilt.
    Uncaptured {
        /// The view.
        view: View,
        /// Description of what bypassed the triggers.
        what: String,
    },
    /// The session was lost, or could not be opened; it will be tried again.
    Lost(PgError),
}

/// What the leader does; two leaders at once would only meet at the summaries' own locks.
const REFRESHING: Work = Work {
    lock: "htap.refresher",
    table: "htap.watermark",
    privilege: "UPDATE",
};

/// Number of commits whose median measures the shop's latency.
const COMMITS: usize = 7;
/// Longest time between two attempts of a failing refresh, unless its pace is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Time between two cleanups of the logs, and between two vacuums of them.
const TIDY: Duration = Duration::from_secs(5);
const VACUUM: Duration = Duration::from_secs(30);
/// Time between two checks for changes that bypassed the triggers. Each checks a part of one summary, in turn.
const CHECK: Duration = Duration::from_secs(5);
/// Time between two checks that the coming months have partitions.
const MAINTAIN: Duration = Duration::from_secs(3_600);

/// Keeps views fresh until it is dropped. Reports temporary errors and survives them; returns only on a permanent one.
/// `tell` must not block.
pub async fn keep(
    target: &Target,
    plan: &Plan,
    mut tell: impl FnMut(Event),
) -> Result<std::convert::Infallible, KeepError> {
    let mut failures = 0;
    loop {
        let error = match Keeper::start(target, plan, &mut tell).await {
            Ok(mut keeper) => {
                failures = 0;
                match keeper.run(&mut tell).await {
                    Err(KeepError::Server(error)) if !error.session_survives() => error,
                    Err(error) => return Err(error),
                    Ok(never) => return Ok(never),
                }
            }
            Err(KeepError::Server(error))
                if matches!(
                    error.class,
                    crate::pg::Class::Reconnect | crate::pg::Class::BackOff
                ) =>
            {
                error
            }
            Err(error) => return Err(error),
        };
        tell(Event::Lost(error));
        failures = (failures + 1).min(6);
        sleep(Duration::from_millis(50 << failures)).await;
    }
}

struct Keeper {
    client: Client,
    views: Vec<Kept>,
    oltp_limit: Option<Duration>,
    commits: VecDeque<f64>,
    tidied: Instant,
    vacuumed: Instant,
    checked: Instant,
    /// Number of the summary to check next.
    next_check: usize,
    maintained: Option<Instant>,
}

impl Keeper {
    async fn start(
        target: &Target,
        plan: &Plan,
        tell: &mut impl FnMut(Event),
    ) -> Result<Self, KeepError> {
        let client = connect(target).await.map_err(KeepError::Server)?;
        client
            .need_own_session("a continuous refresher, which leads by a session lock,")
            .map_err(KeepError::Server)?;
        let all = known(&client).await.map_err(KeepError::Server)?;
        let views = chosen(&all, plan)?;
        let led = REFRESHING.lead(&client, |leader| tell(Event::Waiting(leader)));
        led.await.map_err(KeepError::Server)?;
        tell(Event::Leading);
        let now = Instant::now();
        let mut views: Vec<Kept> = views
            .into_iter()
            .map(|(known, mode)| Kept {
                pace: plan.pace,
                known,
                mode,
                due: now,
                held_since: None,
                failures: 0,
                as_of: None,
                uncaptured: None,
                per_change_ms: None,
                rebuild_ms: None,
            })
            .collect();
        for kept in &mut views {
            kept.remember(&client).await.map_err(KeepError::Server)?;
        }
        Ok(Self {
            client,
            views,
            oltp_limit: plan.oltp_limit,
            commits: VecDeque::new(),
            tidied: now,
            vacuumed: now,
            checked: now,
            next_check: 0,
            maintained: None,
        })
    }

    async fn run(
        &mut self,
        tell: &mut impl FnMut(Event),
    ) -> Result<std::convert::Infallible, KeepError> {
        loop {
            let next = (0..self.views.len()).min_by_key(|at| self.views.get(*at).map(|v| v.due));
            let Some(at) = next else {
                return Err(KeepError::Unknown(
                    "at all".into(),
                    "htap-top init makes them".into(),
                ));
            };
            let due = self.views.get(at).map_or_else(Instant::now, |v| v.due);
            sleep_until(due).await;
            let outcome = self.turn(at, tell).await;
            if let Err(error) = outcome
                && !error.session_survives()
            {
                return Err(KeepError::Server(error));
            }
            self.clear_up().await.map_err(KeepError::Server)?;
            self.check(tell).await.map_err(KeepError::Server)?;
        }
    }

    /// Handles one view whose refresh is due.
    async fn turn(&mut self, at: usize, tell: &mut impl FnMut(Event)) -> Result<(), PgError> {
        let commit_ms = self.heartbeat().await?;
        let limit = self.oltp_limit;
        let Some(kept) = self.views.get_mut(at) else {
            return Ok(());
        };
        let begun = Instant::now();
        if let Some(limit) = limit
            && commit_ms > limit.as_secs_f64() * 1000.0
        {
            let since = *kept.held_since.get_or_insert(begun);
            if begun - since < kept.interval(Duration::ZERO) * PATIENCE {
                kept.due = begun + kept.interval(Duration::ZERO) / 2;
                tell(Event::HeldBack {
                    view: kept.known.view.clone(),
                    commit_ms,
                });
                return Ok(());
            }
        }
        kept.held_since = None;
        let outcome = kept.step(&self.client).await;
        let took = begun.elapsed();
        match outcome {
            Ok(step) => {
                kept.failures = 0;
                let before = kept.as_of.unwrap_or(begun);
                if step.remaining {
                    // Other views may be more urgent: they go by their due time.
                    kept.due = Instant::now();
                } else {
                    kept.as_of = Some(begun);
                    kept.due = begun + kept.interval(took);
                }
                tell(Event::Ran {
                    view: kept.known.view.clone(),
                    took_ms: took.as_secs_f64() * 1000.0,
                    changes: step.changes,
                    age_ms: before.elapsed().as_secs_f64() * 1000.0,
                    rebuilt: step.rebuilt,
                    remaining: step.remaining,
                });
                Ok(())
            }
            Err(error) => {
                // Wait longer after each failure: every failed attempt writes data that is thrown away.
                let pause = kept.interval(took).max(Duration::from_millis(200));
                kept.due = begun
                    + pause
                        .saturating_mul(1 << kept.failures.min(10))
                        .min(LONGEST_PAUSE.max(pause));
                if !is_busy(&error) {
                    kept.failures += 1;
                    tell(Event::Failed {
                        view: kept.known.view.clone(),
                        error: error.clone(),
                    });
                }
                Err(error)
            }
        }
    }

    /// Writes a heartbeat with the same durability as the shop's writes, and returns the median of the last commits in
    /// milliseconds.
    async fn heartbeat(&mut self) -> Result<f64, PgError> {
        let begun = Instant::now();
        self.client
            .query(
                "INSERT INTO htap.heartbeat DEFAULT VALUES RETURNING seq",
                &[],
            )
            .await?;
        if self.commits.len() == COMMITS {
            self.commits.pop_front();
        }
        self.commits.push_back(begun.elapsed().as_secs_f64() * 1e3);
        let mut sorted: Vec<f64> = self.commits.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        Ok(sorted.get(sorted.len() / 2).copied().unwrap_or(0.0))
    }

    /// Checks a part of the next summary for changes that bypassed the triggers.
    async fn check(&mut self, tell: &mut impl FnMut(Event)) -> Result<(), PgError> {
        if self.checked.elapsed() < CHECK {
            return Ok(());
        }
        self.checked = Instant::now();
        let summaries = self.views.iter_mut();
        let mut summaries: Vec<_> = summaries
            .filter(|kept| kept.known.kind == Kind::Incremental)
            .collect();
        let turn = self.next_check % summaries.len().max(1);
        self.next_check = turn + 1;
        let Some(kept) = summaries.get_mut(turn) else {
            return Ok(());
        };
        let view = &kept.known.view;
        let sql = "SELECT htap.check_capture($1) AS what";
        let found = match self
            .client
            .query(sql, &[Param::Text(&view.to_string())])
            .await
        {
            Ok(found) => found.first("what").text().map(str::to_owned),
            Err(error) if !error.session_survives() => return Err(error),
            Err(_) => return Ok(()),
        };
        if let Some(what) = &found
            && kept.uncaptured.is_none()
        {
            tell(Event::Uncaptured {
                view: view.clone(),
                what: what.clone(),
            });
        }
        kept.uncaptured = found;
        Ok(())
    }

    /// Removes merged rows from the logs, vacuums the logs, and creates the partitions of the coming months.
    async fn clear_up(&mut self) -> Result<(), PgError> {
        let now = Instant::now();
        let through = |outcome: Result<(), PgError>| match outcome {
            Err(error) if !error.session_survives() => Err(error),
            _ => Ok(()),
        };
        if now - self.tidied > TIDY {
            self.tidied = now;
            through(self.client.batch("SELECT htap.tidy()").await)?;
        }
        if self.maintained.is_none_or(|at| now - at > MAINTAIN) {
            self.maintained = Some(now);
            through(self.client.batch("SELECT htap.maintain()").await)?;
        }
        if now - self.vacuumed > VACUUM {
            self.vacuumed = now;
            let logs = "VACUUM htap.order_log, htap.dirty_log, htap.watermark, htap.heartbeat";
            through(self.client.batch(logs).await)?;
        }
        Ok(())
    }
}
