//! The guard's rules: what may be done to whom without a key.

use super::WorkClass;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The shortest age at which a rule may act: what is younger is still to be looked at by people.
const YOUNGEST: Duration = Duration::from_secs(1);

/// Actions that are taken without a key. Without rules there are none.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What happens where a rule fits.
    pub mode: GuardMode,
    /// Signals that all rules together send within a minute, at most; 1 to 60.
    pub per_minute: u32,
    /// The rules, most important first: a backend is hit by the first that fits, but one that is tried out
    /// stands before none that acts.
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

/// What happens where a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// Nothing.
    Off,
    /// The log says what would be done.
    DryRun,
    /// It is done.
    Act,
}

/// What a rule does.
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

/// The state that a backend must have been in for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// It runs one statement.
    Active,
    /// Its client keeps a transaction open and sends nothing.
    IdleInTransaction,
}

/// A rule: all that is given must be true.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRule {
    /// Its name, for the log and the audit file.
    pub name: String,
    /// What it does.
    pub action: GuardAction,
    /// Dry run for this rule alone.
    #[serde(default)]
    pub dry_run: bool,
    /// Also what loses much if it is ended: a dump, or an index that is built CONCURRENTLY.
    #[serde(default)]
    pub costly: bool,
    /// State; `active` for a cancel, `idle_in_transaction` for a termination where not given.
    #[serde(default)]
    pub state: Option<GuardState>,
    /// Time in this state: the statement's age, or how long nothing was sent.
    #[serde(default, deserialize_with = "super::maybe_duration")]
    pub longer_than: Option<Duration>,
    /// Only while the OLTP latency's 99th percentile is above, milliseconds.
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
    /// Pattern for the database; the watched one where not given.
    #[serde(default, deserialize_with = "super::pattern")]
    pub database: Option<Regex>,
    /// Pattern for the query.
    #[serde(default, deserialize_with = "super::pattern")]
    pub query: Option<Regex>,
}

impl GuardRule {
    /// The state it is about.
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

    /// Returns true if it names what is spared unless it says `costly`.
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
                "hold_refreshes is about this dashboard's refreshes: only oltp_p99_over_ms goes with it"
                    .to_owned()
            }
            _ if hold => return None,
            _ if self.longer_than.is_none_or(|age| age < YOUNGEST) => {
                "longer_than is needed, of 1s or more".to_owned()
            }
            _ if !self.costly && self.names_costly() => {
                "it names what loses much if it is ended (pg_dump, CONCURRENTLY): costly = true hits that, too".to_owned()
            }
            GuardAction::Cancel if self.about() == GuardState::IdleInTransaction => {
                "nothing runs in idle_in_transaction that could be cancelled: use terminate".to_owned()
            }
            GuardAction::Terminate if !self.says_whom() => {
                "terminate must say whom: class, role, application or database".to_owned()
            }
            _ => return None,
        })
    }
}

impl Guard {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<String> {
        if !(1..=60).contains(&self.per_minute) {
            return Some(format!(
                "guard.per_minute must lie between 1 and 60, not {}",
                self.per_minute
            ));
        }
        let mut names = BTreeSet::new();
        self.rules.iter().find_map(|rule| {
            let twice = || (!names.insert(&rule.name)).then(|| "the name is taken".to_owned());
            let fault = rule.fault().or_else(twice)?;
            Some(format!("guard rule \"{}\": {fault}", rule.name))
        })
    }
}
