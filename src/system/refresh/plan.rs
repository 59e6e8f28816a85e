//! What is to be refreshed, how and when.

use super::{Kind, Known, Mode};
use crate::pg::PgError;
use std::time::Duration;

/// When to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Begin this often; a refresh that takes longer is not overlapped, the next one begins after it.
    Every(Duration),
    /// As often as it takes for the data never to be older than this.
    Fresh(Duration),
}

/// What to keep, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names; none means every incremental summary, and with [`Pace::Every`] every view.
    pub views: Vec<String>,
    /// How; none means the mode that suits each view best.
    pub mode: Option<Mode>,
    /// When.
    pub pace: Pace,
    /// The commit latency of the shop above which refreshes are held back, for at most
    /// [`super::keeper::PATIENCE`] times their pace.
    pub oltp_limit: Option<Duration>,
}

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KeepError {
    /// A view that is asked for is none of those that `htap-top init` made.
    #[error("there is no view {0} of htap-top init here: {1}")]
    Unknown(String, String),
    /// The mode cannot be had of this view.
    #[error(
        "{0} is a materialized view, which PostgreSQL can only recompute: full or concurrent is possible"
    )]
    NotIncremental(String),
    /// The server refused in a way that trying again does not mend.
    #[error("failed to refresh: {0}")]
    Server(PgError),
}

/// The views that are meant, with the mode of each.
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
        let mode = plan.mode.unwrap_or_else(|| known.best());
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
