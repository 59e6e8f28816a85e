//! A view that is kept fresh: its due time, and the choice between merge and rebuild.

use super::plan::Pace;
use super::{Kind, Known, MUST_REBUILD, Mode, STEP, merge, rebuild};
use crate::pg::{Client, Param, PgError};
use std::time::Duration;
use tokio::time::Instant;

/// A view that is kept fresh.
pub(super) struct Kept {
    pub(super) known: Known,
    pub(super) mode: Mode,
    pub(super) pace: Pace,
    pub(super) due: Instant,
    /// Time at which it was first due, while it is held back.
    pub(super) held_since: Option<Instant>,
    /// Number of failures in a row.
    pub(super) failures: u32,
    /// Start of the last refresh, which is the age of the data.
    pub(super) as_of: Option<Instant>,
    /// The last reported change that bypassed its triggers.
    pub(super) uncaptured: Option<String>,
    /// Milliseconds per change of its merges, smoothed, and duration of its last rebuild.
    pub(super) per_change_ms: Option<f64>,
    pub(super) rebuild_ms: Option<f64>,
}

/// Result of one step.
pub(super) struct Step {
    pub(super) changes: u64,
    pub(super) remaining: bool,
    pub(super) rebuilt: bool,
}

impl Kept {
    /// Returns the time from one start to the next, after a refresh that took `took`. At most half of the time is spent
    /// refreshing.
    pub(super) fn interval(&self, took: Duration) -> Duration {
        match self.pace {
            Pace::Every(every) => every.max(took),
            // Between two starts the data grow as old as the interval plus the duration of the next refresh.
            Pace::Fresh(target) => (target / 2).saturating_sub(took).max(took * 2),
        }
    }

    pub(super) async fn step(&mut self, client: &Client) -> Result<Step, PgError> {
        let view = &self.known.view;
        if self.known.kind == Kind::Materialized || self.mode != Mode::Incremental {
            super::refresh(client, view, self.known.kind, self.mode).await?;
            return Ok(Step {
                changes: 0,
                remaining: false,
                rebuilt: true,
            });
        }
        // Check before the merge, because the steps through a long backlog take longer than this.
        let late = |at: Instant| at.elapsed() > self.interval(Duration::ZERO) * 3;
        if self.as_of.is_none_or(late) && self.rebuild_is_cheaper(client).await? {
            self.rebuild(client).await?;
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
                Ok(Step {
                    changes: merged.changes,
                    remaining: merged.remaining,
                    rebuilt: false,
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

    /// Loads the duration of merges and of the last rebuild from before this session.
    pub(super) async fn remember(&mut self, client: &Client) -> Result<(), PgError> {
        let sql = "
            SELECT (SELECT extract(epoch FROM sum(r.finished - r.started))::float8 * 1000 / sum(r.rows)::float8
                    FROM htap.refresh_run AS r
                    WHERE r.view = $1 AND r.mode = 'incremental' AND r.rows >= 100) AS per_change_ms,
                   (SELECT extract(epoch FROM r.finished - r.started)::float8 * 1000
                    FROM htap.refresh_run AS r WHERE r.view = $1 AND r.mode = 'full' AND r.finished IS NOT NULL
                    ORDER BY r.finished DESC LIMIT 1) AS rebuild_ms";
        let name = self.known.view.to_string();
        let answer = client.query(sql, &[Param::Text(&name)]).await?;
        self.per_change_ms = answer.first("per_change_ms").number();
        self.rebuild_ms = answer.first("rebuild_ms").number();
        Ok(())
    }

    /// Returns true if merging the backlog would take longer than the last rebuild did.
    async fn rebuild_is_cheaper(&self, client: &Client) -> Result<bool, PgError> {
        let (Some(per_change_ms), Some(rebuild_ms)) = (self.per_change_ms, self.rebuild_ms) else {
            return Ok(false);
        };
        let sql = "SELECT count(*) AS backlog FROM htap.order_log AS l, htap.watermark AS w
                   WHERE w.view = $1 AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, w.snapshot)";
        let name = self.known.view.to_string();
        let backlog = client.query(sql, &[Param::Text(&name)]).await?;
        let backlog = backlog.first("backlog").number().unwrap_or(0.0);
        Ok(backlog > STEP as f64 && backlog * per_change_ms > rebuild_ms)
    }
}
