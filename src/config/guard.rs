//! The guard's rules: conditions under which backends are signalled without a key.

use super::WorkClass;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The least age at which a rule may act; younger statements are left to people.
const YOUNGEST: Duration = Duration::from_secs(1);

/// Actions without a key; none if there are no rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Effect of a matching rule.
    pub mode: GuardMode,
    /// Maximum number of signals per minute of all rules together, 1 to 60.
    pub per_minute: u32,
    /// The rules, most important first: the first that matches a backend applies, except that a dry-run rule
    /// never takes precedence over one that acts.
    #[serde(rename = "rule")]
    pub rules: Vec<GuardRule>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            mode: GuardMode::DryRun,
            per_minute: 6,
            rules: Vec::new(),
        }
    }
}

/// Effect of a matching rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// Nothing.
    Off,
    /// The action is only logged.
    DryRun,
    /// The action is carried out.
    Act,
}

/// Action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardAction {
    /// Cancels the statement.
    Cancel,
    /// Terminates the session.
    Terminate,
    /// Keeps this dashboard's refreshes waiting.
    HoldRefreshes,
}

/// State that a backend must have been in for the given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// It runs a statement.
    Active,
    /// Its client keeps a transaction open without sending anything.
    IdleInTransaction,
}

/// A rule: all given conditions must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRule {
    /// Name, for the log and the audit file.
    pub name: String,
    /// Action.
    pub action: GuardAction,
    /// Dry run for this rule only.
    #[serde(default)]
    pub dry_run: bool,
    /// Also applies to backends whose end loses much work: a dump, or an index being built CONCURRENTLY.
    #[serde(default)]
    pub costly: bool,
    /// State; by default `active` for a cancel and `idle_in_transaction` for a termination.
    #[serde(default)]
    pub state: Option<GuardState>,
    /// Time in this state: the age of the statement, or the time since the last one.
    #[serde(default, deserialize_with = "super::maybe_duration")]
    pub longer_than: Option<Duration>,
    /// Minimum of the 99th percentile of OLTP latency, in milliseconds.
    #[serde(default)]
    pub oltp_p99_over_ms: Option<f64>,
    /// Class of work.
    #[serde(default)]
    pub class: Option<WorkClass>,
    /// Pattern for the role.
    #[serde(default, deserialize_with = "super::pattern")]
    pub role: Option<Regex>,
    /// Pattern for application_name.
    #[serde(default, deserialize_with = "super::pattern")]
    pub application: Option<Regex>,
    /// Pattern for the database; the watched one if not set.
    #[serde(default, deserialize_with = "super::pattern")]
    pub database: Option<Regex>,
    /// Pattern for the query.
    #[serde(default, deserialize_with = "super::pattern")]
    pub query: Option<Regex>,
}

impl GuardRule {
    /// The state that the rule requires.
    pub fn about(&self) -> GuardState {
        self.state.unwrap_or(match self.action {
            GuardAction::Terminate => GuardState::IdleInTransaction,
            GuardAction::Cancel | GuardAction::HoldRefreshes => GuardState::Active,
        })
    }

    fn says_whom(&self) -> bool {
        self.class.is_some()
            || [&self.role, &self.application, &self.database]
                .into_iter()
                .any(Option::is_some)
    }

    /// Returns true if a pattern names backends that are spared unless `costly` is set.
    fn names_costly(&self) -> bool {
        let names = |pattern: &Option<Regex>, word: &str| {
            let text = pattern
                .as_ref()
                .map(|pattern| pattern.as_str().to_lowercase());
            text.is_some_and(|text| text.contains(word))
        };
        names(&self.application, "pg_dump") || names(&self.query, "concurrently")
    }

    fn fault(&self) -> Option<String> {
        let hold = self.action == GuardAction::HoldRefreshes;
        let signals_only = self.state.is_some()
            || self.costly
            || self.longer_than.is_some()
            || self.query.is_some()
            || self.says_whom();
        Some(match self.action {
            _ if self.name.trim().is_empty() => "every rule needs a name".to_owned(),
            _ if hold && self.oltp_p99_over_ms.is_none() => {
                "hold_refreshes needs oltp_p99_over_ms".to_owned()
            }
            _ if hold && signals_only => {
                "hold_refreshes concerns this dashboard's own refreshes: only oltp_p99_over_ms goes with it"
                    .to_owned()
            }
            _ if hold => return None,
            _ if self.longer_than.is_none_or(|age| age < YOUNGEST) => {
                "longer_than is required, and must be at least 1s".to_owned()
            }
            _ if !self.costly && self.names_costly() => {
                "it names work that loses much if it is ended (pg_dump, CONCURRENTLY): to include such work, set costly = true".to_owned()
            }
            GuardAction::Cancel if self.about() == GuardState::IdleInTransaction => {
                "a session in idle_in_transaction runs nothing to cancel: use terminate".to_owned()
            }
            GuardAction::Terminate if !self.says_whom() => {
                "terminate must name its targets: class, role, application or database".to_owned()
            }
            _ => return None,
        })
    }
}

impl Guard {
    /// Returns the error in it, if any.
    pub(super) fn fault(&self) -> Option<String> {
        if !(1..=60).contains(&self.per_minute) {
            return Some(format!(
                "guard.per_minute must lie between 1 and 60, not {}",
                self.per_minute
            ));
        }
        let mut names = BTreeSet::new();
        self.rules.iter().find_map(|rule| {
            let twice =
                || (!names.insert(&rule.name)).then(|| "another rule has this name".to_owned());
            let fault = rule.fault().or_else(twice)?;
            Some(format!("guard rule \"{}\": {fault}", rule.name))
        })
    }
}
