//! The views to refresh, and their mode and pace.

use super::{Kind, Known, Mode};
use crate::pg::PgError;
use std::time::Duration;

/// Pace of refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Start at this interval. Refreshes do not overlap: after one that takes longer, the next starts when it ends.
    Every(Duration),
    /// Start as often as necessary to keep the data younger than this.
    Fresh(Duration),
}

/// The views to keep fresh, and their mode and pace.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of the views; if empty, every incremental summary, and with [`Pace::Every`] every view.
    pub views: Vec<String>,
    /// Mode for all views; if `None`, the mode that suits each view best.
    pub mode: Option<Mode>,
    /// Pace of the refreshes.
    pub pace: Pace,
    /// Commit latency of the shop above which refreshes are held back, for at most [`super::keeper::PATIENCE`] times
    /// their pace.
    pub oltp_limit: Option<Duration>,
}

/// Reason why the loop ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KeepError {
    /// A requested view is none of those that `htap-top init` created.
    #[error("{0} is not a view that htap-top init made in this database: {1}")]
    Unknown(String, String),
    /// The view does not support the requested mode.
    #[error(
        "{0} is a materialized view, which PostgreSQL can only recompute: use full or concurrent"
    )]
    NotIncremental(String),
    /// The server returned an error that a retry cannot resolve.
    #[error("failed to refresh: {0}")]
    Server(PgError),
}

/// Returns the views that the plan selects, with the mode of each.
pub fn chosen(all: &[Known], plan: &Plan) -> Result<Vec<(Known, Mode)>, KeepError> {
    let names = || {
        let names: Vec<String> = all.iter().map(|known| known.view.to_string()).collect();
        if names.is_empty() {
            "it has none; htap-top init makes them".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        }
    };
    for wanted in &plan.views {
        if !all.iter().any(|known| known.is_called(wanted)) {
            return Err(KeepError::Unknown(wanted.clone(), names()));
        }
    }
    let everything = matches!(plan.pace, Pace::Every(_));
    let mut chosen = Vec::new();
    for known in all {
        let meant = if plan.views.is_empty() {
            let fits = plan.mode != Some(Mode::Incremental) || known.kind == Kind::Incremental;
            fits && (everything || known.kind == Kind::Incremental)
        } else {
            plan.views.iter().any(|wanted| known.is_called(wanted))
        };
        if !meant {
            continue;
        }
        let mode = plan.mode.unwrap_or_else(|| known.best_mode());
        if mode == Mode::Incremental && known.kind == Kind::Materialized {
            return Err(KeepError::NotIncremental(known.view.to_string()));
        }
        chosen.push((known.clone(), mode));
    }
    if chosen.is_empty() {
        return Err(KeepError::Unknown("at all".into(), names()));
    }
    Ok(chosen)
}
