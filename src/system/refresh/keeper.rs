//! Keeps views fresh: a loop with one leader, which holds back while the shop is slow, catches up in steps,
//! and fills anew where that is cheaper.

use super::plan::{KeepError, Pace, Plan, chosen};
use super::{BUSY, Kind, Known, MUST_REBUILD, Mode, STEP, View, connect, known, merge, rebuild};
use crate::pg::{Client, Param, PgError, Target};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// A refresh is held back for so many times its pace, then it is made whatever the shop's latency is.
pub const PATIENCE: u32 = 5;

/// What the loop tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another refresher leads; this one waits to take over. The pid of its backend, where known.
    Waiting(Option<i64>),
    /// This one leads now.
    Leading,
    /// A refresh ended.
    Ran {
        /// Which view.
        view: View,
        /// How long it took, milliseconds.
        took_ms: f64,
        /// Changes it merged.
        changes: u64,
        /// The age of what a reader saw right before it was committed, milliseconds: the greatest there was.
        age_ms: f64,
        /// It was filled anew.
        rebuilt: bool,
        /// More was left for the next step.
        remaining: bool,
    },
    /// A refresh was put off, for the shop's commits take so many milliseconds.
    HeldBack {
        /// Which view.
        view: View,
        /// Median of the last commits, milliseconds.
        commit_ms: f64,
    },
    /// A refresh failed; it is tried again.
    Failed {
        /// Which view.
        view: View,
        /// Why.
        error: PgError,
    },
    /// The session was lost, or could not be opened; it is tried again.
    Lost(PgError),
}

/// The advisory lock of the one that leads; sessions of a server without one wait.
const LEAD: &str =
    "SELECT pg_catalog.pg_try_advisory_lock(hashtext('htap.refresher'), 0) AS leads,
    (SELECT pid::bigint FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND classid = (hashtext('htap.refresher')::bigint & 4294967295)::oid AND objid = 0 LIMIT 1) AS leader";

/// Commits whose median tells how the shop does.
const COMMITS: usize = 7;
/// Time between two clearings of the logs, and between two vacuums of them.
const TIDY: Duration = Duration::from_secs(5);
const VACUUM: Duration = Duration::from_secs(30);
/// Time between two looks whether the months to come have their partitions.
const MAINTAIN: Duration = Duration::from_secs(3_600);

/// Keeps views fresh until it is dropped. Errors that pass are told and outlived; it returns only with one
/// that does not. `tell` must not block.
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

/// A view that is kept.
struct Kept {
    known: Known,
    mode: Mode,
    pace: Pace,
    due: Instant,
    /// When it was due first, while it is held back.
    held_since: Option<Instant>,
    /// When the last refresh began: the data are as old as that.
    as_of: Option<Instant>,
    /// Milliseconds per change of its merges, smoothed, and of its last rebuild.
    per_change_ms: Option<f64>,
    rebuild_ms: Option<f64>,
}

struct Keeper {
    client: Client,
    views: Vec<Kept>,
    oltp_limit: Option<Duration>,
    commits: VecDeque<f64>,
    tidied: Instant,
    vacuumed: Instant,
    maintained: Option<Instant>,
}

impl Keeper {
    async fn start(
        target: &Target,
        plan: &Plan,
        tell: &mut impl FnMut(Event),
    ) -> Result<Self, KeepError> {
        let client = connect(target).await.map_err(KeepError::Server)?;
        let all = known(&client).await.map_err(KeepError::Server)?;
        let views = chosen(&all, plan)?;
        lead(&client, tell).await.map_err(KeepError::Server)?;
        let now = Instant::now();
        let mut views: Vec<Kept> = views
            .into_iter()
            .map(|(known, mode)| Kept {
                pace: plan.pace,
                known,
                mode,
                due: now,
                held_since: None,
                as_of: None,
                per_change_ms: None,
                rebuild_ms: None,
            })
            .collect();
        for kept in &mut views {
            kept.rebuild_ms = last_rebuild_ms(&client, &kept.known.view)
                .await
                .map_err(KeepError::Server)?;
        }
        Ok(Self {
            client,
            views,
            oltp_limit: plan.oltp_limit,
            commits: VecDeque::new(),
            tidied: now,
            vacuumed: now,
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
        }
    }

    /// One view's turn.
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
                let before = kept.as_of.unwrap_or(begun);
                if step.remaining {
                    // Others may be more urgent: they are due by their time.
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
                kept.due = begun + kept.interval(took).max(Duration::from_millis(200));
                if error.code() != BUSY {
                    tell(Event::Failed {
                        view: kept.known.view.clone(),
                        error: error.clone(),
                    });
                }
                Err(error)
            }
        }
    }

    /// Writes a heartbeat the way the shop writes, and returns the median of the last commits in milliseconds.
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

    /// Removes what was merged from the logs, and the dead rows that leaves; makes the months to come.
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

/// What one step did.
struct Step {
    changes: u64,
    remaining: bool,
    rebuilt: bool,
}

impl Kept {
    /// Time from one beginning to the next, after a refresh that took so long. Never more than half of the
    /// time is spent refreshing.
    fn interval(&self, took: Duration) -> Duration {
        match self.pace {
            Pace::Every(every) => every.max(took),
            // Between two beginnings data grow as old as the interval and the next refresh together.
            Pace::Fresh(target) => (target / 2).saturating_sub(took).max(took * 2),
        }
    }

    async fn step(&mut self, client: &Client) -> Result<Step, PgError> {
        let view = &self.known.view;
        if self.known.kind == Kind::Materialized || self.mode != Mode::Incremental {
            super::refresh(client, view, self.known.kind, self.mode).await?;
            return Ok(Step {
                changes: 0,
                remaining: false,
                rebuilt: true,
            });
        }
        let begun = Instant::now();
        match merge(client, view, STEP).await {
            Ok(merged) => {
                if merged.changes >= 100 {
                    let ms = begun.elapsed().as_secs_f64() * 1e3 / merged.changes as f64;
                    self.per_change_ms =
                        Some(self.per_change_ms.map_or(ms, |old| 0.7 * old + 0.3 * ms));
                }
                let cheaper = merged.remaining && self.rebuild_is_cheaper(client).await?;
                if cheaper {
                    self.rebuild(client).await?;
                }
                Ok(Step {
                    changes: merged.changes,
                    remaining: merged.remaining && !cheaper,
                    rebuilt: cheaper,
                })
            }
            Err(error) if error.code() == MUST_REBUILD => {
                self.rebuild(client).await?;
                Ok(Step {
                    changes: 0,
                    remaining: false,
                    rebuilt: true,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn rebuild(&mut self, client: &Client) -> Result<(), PgError> {
        let begun = Instant::now();
        rebuild(client, &self.known.view, false).await?;
        self.rebuild_ms = Some(begun.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    /// Whether merging the backlog would take longer than filling anew did the last time.
    async fn rebuild_is_cheaper(&self, client: &Client) -> Result<bool, PgError> {
        let (Some(per_change_ms), Some(rebuild_ms)) = (self.per_change_ms, self.rebuild_ms) else {
            return Ok(false);
        };
        let sql = "SELECT count(*) AS backlog FROM htap.order_log AS l, htap.watermark AS w
                   WHERE w.view = $1 AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, w.snapshot)";
        let name = self.known.view.to_string();
        let backlog = client.query(sql, &[Param::Text(&name)]).await?;
        let backlog = backlog.first("backlog").number().unwrap_or(0.0);
        Ok(backlog * per_change_ms > rebuild_ms)
    }
}

/// Waits until this session leads.
async fn lead(client: &Client, tell: &mut impl FnMut(Event)) -> Result<(), PgError> {
    let mut told = false;
    loop {
        let answer = client.query(LEAD, &[]).await?;
        if answer.first("leads").is_true() {
            tell(Event::Leading);
            return Ok(());
        }
        if !told {
            told = true;
            tell(Event::Waiting(answer.first("leader").int()));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn last_rebuild_ms(client: &Client, view: &View) -> Result<Option<f64>, PgError> {
    let sql =
        "SELECT extract(epoch FROM finished - started)::float8 * 1000 AS ms FROM htap.refresh_run
               WHERE view = $1 AND mode = 'full' AND finished IS NOT NULL
               ORDER BY finished DESC LIMIT 1";
    let answer = client.query(sql, &[Param::Text(&view.to_string())]).await?;
    Ok(answer.first("ms").number())
}
