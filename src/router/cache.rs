//! What a router finds out about statements, and its cache.

use super::effect::Effects;
use super::names::Names;
use super::objection::Objection;
use super::{Pool, Rule};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The assessment of a text, independent of the session.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The rule that selects the server.
    pub rule: Rule,
    /// True if a replica may serve it.
    pub reads_on_replica: bool,
    /// The pool.
    pub pool: Pool,
    /// The planner's estimate, in its cost units.
    pub cost: Option<f64>,
    /// The function, relation or word that was decisive.
    pub culprit: Option<String>,
    /// True if the column store answers it.
    pub columnar: bool,
    /// State that it leaves behind in its session, one entry per statement.
    pub effects: Vec<Effects>,
    pub(super) why: String,
    pub(super) why_pool: Option<String>,
}

impl Assessment {
    /// Returns the reason as a sentence.
    pub fn reason(&self) -> String {
        match &self.why_pool {
            Some(pool) => format!("{}; {pool}", self.why),
            None => self.why.clone(),
        }
    }

    /// The same statement once the column store has failed to answer it, for this reason.
    pub(super) fn on_rows(&self, failed: &str) -> Self {
        let why = self.why_pool.as_deref().unwrap_or_default();
        Self {
            columnar: false,
            why_pool: Some(format!("{why}, but failed to: {failed}")),
            ..self.clone()
        }
    }
}

/// Cached results for statements.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) verdicts: LruCache<String, Verdict>,
    pub(super) plans: LruCache<String, Planned>,
    /// By text and types, character by character: for statements that a program sends again and again.
    pub(super) texts: LruCache<String, Arc<Assessment>>,
}

/// Maximum number of cached statements.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Maximum length of a cached canonical text, in bytes.
pub(super) const LENGTH: usize = 16 * 1024;
/// Maximum number of texts that are cached as they are.
const TEXTS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Maximum length of such a text, in bytes.
pub(super) const TEXT: usize = 4 * 1024;

impl Default for Cache {
    fn default() -> Self {
        Self {
            verdicts: LruCache::new(CAPACITY),
            plans: LruCache::new(CAPACITY),
            texts: LruCache::new(TEXTS),
        }
    }
}

/// The verdict on a query from its structure and its names.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) objection: Option<Objection>,
    /// Names that were looked up.
    pub(super) known: Arc<Names>,
    /// The pool suggested by its syntax tree.
    pub(super) pool: Pool,
}

/// The verdict on a query from its plan.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) objection: Option<Objection>,
    pub(super) cost: f64,
    /// True if it reads tables of the column store alone. Only looked up for a column store, and if the plan is dear.
    pub(super) of_sales: bool,
}
