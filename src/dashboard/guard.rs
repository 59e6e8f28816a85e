//! The actions that the guard's rules require for a sample of backends. Pure: nothing is carried out here.

use super::diagnosis::blocker::Kind;
use super::event::Moment;
use super::panels::classify::Classifier;
use super::rows::{Row, Rows, Text, read};
use crate::config::{Guard, GuardAction, GuardRule, GuardState};
use crate::pg::Table;
use crate::pg::admin::{Identity, Signal};
use regex::Regex;
use std::collections::{HashMap, VecDeque};

/// Seconds before the same statement or transaction may be signalled, or reported, again.
const AGAIN_S: f64 = 30.0;
/// Seconds over which signals are counted.
const MINUTE_S: f64 = 60.0;

/// The action that a rule requires for the backend in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish<'a> {
    /// The rule.
    pub rule: &'a str,
    /// True if it is only to be reported.
    pub dry: bool,
    /// The signal.
    pub signal: Signal,
    /// Act only if the session has been idle in its transaction for this many seconds.
    pub idle_s: Option<u64>,
    /// The row.
    pub row: usize,
}

/// Recent actions.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Statements and transactions signalled or reported, with the time.
    hit: HashMap<Identity, Moment>,
    sent: VecDeque<Moment>,
    /// Time of the last report that the limit is reached.
    full: Option<Moment>,
}

impl Memory {
    /// Returns true if this one was not signalled or reported recently.
    pub(super) fn is_new(&mut self, whom: &Identity, now: Moment) -> bool {
        self.hit.retain(|_, at| now.since(*at) < AGAIN_S);
        !self.hit.contains_key(whom)
    }

    /// Records that this one was signalled or reported.
    pub(super) fn note(&mut self, whom: Identity, now: Moment) {
        self.hit.insert(whom, now);
    }

    /// Returns true if another signal may be sent within this minute, and counts it.
    pub(super) fn may_send(&mut self, per_minute: u32, now: Moment) -> bool {
        let old = |at: &Moment| now.since(*at) >= MINUTE_S;
        while self.sent.front().is_some_and(old) {
            self.sent.pop_front();
        }
        let may = self.sent.len() < per_minute as usize;
        if may {
            self.sent.push_back(now);
        }
        may
    }

    /// Returns true if it should be reported that the limit is reached: once per minute.
    pub(super) fn tell_full(&mut self, now: Moment) -> bool {
        let tell = self.full.is_none_or(|at| now.since(at) >= MINUTE_S);
        if tell {
            self.full = Some(now);
        }
        tell
    }
}

/// Returns the actions that the rules require, at most one per backend.
/// `own` is the watched database, to which rules without a database apply.
pub(super) fn wishes<'a>(
    guard: &'a Guard,
    activity: &Table,
    own: &str,
    p99_ms: Option<f64>,
    dry: bool,
    classifier: &Classifier,
) -> Vec<Wish<'a>> {
    let backends = Rows::<read::Backend>::of(activity);
    let rows = backends.iter().filter(|row| may_be_hit(*row, classifier));
    let wish = |row: Row<'_, read::Backend>| {
        let fits = |rule: &&GuardRule| is_due(rule, p99_ms) && fits(rule, row, own);
        // A dry-run rule never takes precedence over one that acts.
        let acts = guard.rules.iter().filter(|rule| !rule.dry_run).find(fits);
        let rule = acts.or_else(|| guard.rules.iter().find(fits))?;
        let signal = match rule.action {
            GuardAction::Cancel => Signal::Cancel,
            GuardAction::Terminate => Signal::Terminate,
            GuardAction::HoldRefreshes => return None,
        };
        Some(Wish {
            rule: &rule.name,
            dry: dry || rule.dry_run,
            signal,
            idle_s: rule
                .longer_than
                .filter(|_| rule.about() == GuardState::IdleInTransaction)
                .map(|limit| limit.as_secs() + u64::from(limit.subsec_nanos() > 0)),
            row: row.position(),
        })
    };
    rows.filter_map(wish).collect()
}

/// Returns the rule that currently holds refreshes back.
pub(super) fn holder(guard: &Guard, p99_ms: Option<f64>) -> Option<&GuardRule> {
    let holds =
        |rule: &&GuardRule| rule.action == GuardAction::HoldRefreshes && is_due(rule, p99_ms);
    guard.rules.iter().find(holds)
}

/// Returns true for sessions of other clients that are not superusers; false if that is unknown.
fn may_be_hit(row: Row<'_, read::Backend>, classifier: &Classifier) -> bool {
    row.superuser() == Some(false)
        && row.backend_type().is("client backend")
        && !classifier.is_spared(row.usename().shown(), row.application_name().shown())
        && row.pid() > Some(0)
}

fn is_due(rule: &GuardRule, p99_ms: Option<f64>) -> bool {
    rule.oltp_p99_over_ms
        .is_none_or(|limit| p99_ms.is_some_and(|p99| p99 > limit))
}

fn fits(rule: &GuardRule, row: Row<'_, read::Backend>, own: &str) -> bool {
    // Patterns match raw names, not the displayed ones.
    let found = |pattern: &Option<Regex>, text: Text<'_>| {
        pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(text.name()))
    };
    let state = row.state().shown();
    let in_state = match rule.about() {
        GuardState::Active => state == "active",
        GuardState::IdleInTransaction => state.starts_with("idle in transaction"),
    };
    let age_s = row.query_age_s();
    let old = rule
        .longer_than
        .is_some_and(|limit| age_s.is_some_and(|age| age > limit.as_secs_f64()));
    let spared = !rule.costly && Kind::of(row).is_costly();
    rule.action != GuardAction::HoldRefreshes
        && !spared
        && in_state
        && old
        && rule.class.is_none_or(|class| row.class().is(class.name()))
        && found(&rule.role, row.usename())
        && found(&rule.application, row.application_name())
        && (rule.database.is_some() || row.datname().name() == own)
        && found(&rule.database, row.datname())
        && found(&rule.query, row.query())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pg::Value;
    use std::path::Path;

    fn classifier() -> Classifier {
        Classifier::new(Vec::new(), vec!["our_olap".to_owned()])
    }

    fn guard(text: &str) -> Guard {
        let config = Config::parse(Path::new("config.toml"), text);
        config.unwrap().guard
    }

    /// Pid, superuser, type, application, role, state, seconds in that state.
    type Session<'a> = (i64, Option<bool>, &'a str, &'a str, &'a str, &'a str, f64);

    fn activity(sessions: &[Session<'_>]) -> Table {
        let names = [
            "pid",
            "superuser",
            "backend_type",
            "application_name",
            "usename",
            "state",
            "query_age_s",
            "class",
            "datname",
            "backend_start",
            "query_start",
            "xact_start",
        ];
        let row = |(pid, superuser, kind, application, role, state, age): &Session<'_>| {
            let class = if role.contains("olap") {
                "olap"
            } else {
                "oltp"
            };
            vec![
                Value::Int(*pid),
                superuser.map_or(Value::Null, Value::Bool),
                (*kind).into(),
                (*application).into(),
                (*role).into(),
                (*state).into(),
                Value::Float(*age),
                class.into(),
                "shop".into(),
                "b".into(),
                "q".into(),
                "x".into(),
            ]
        };
        Table {
            columns: names.map(Into::into).into(),
            rows: sessions.iter().map(row).collect(),
        }
    }

    const RULES: &str = "[guard]\nmode = \"act\"\n[[guard.rule]]\nname = \"old OLAP\"\naction = \"cancel\"\nclass = \"olap\"\n\
                         longer_than = \"60s\"\n[[guard.rule]]\nname = \"left open\"\naction = \"terminate\"\n\
                         role = \"^app\"\nlonger_than = \"5m\"\n[[guard.rule]]\nname = \"busy\"\naction = \"hold_refreshes\"\n\
                         oltp_p99_over_ms = 50\n";

    #[test]
    fn only_whom_a_rule_is_about_is_hit() {
        let client = "client backend";
        let no = Some(false);
        let sessions = activity(&[
            (1, no, client, "bi", "olap", "active", 61.0),
            (2, no, client, "bi", "olap", "active", 59.0),
            (3, no, client, "web", "app", "active", 900.0),
            (4, no, client, "web", "app", "idle in transaction", 301.0),
            (5, no, client, "web", "other", "idle in transaction", 301.0),
            (6, Some(true), client, "bi", "olap", "active", 61.0),
            (7, None, client, "bi", "olap", "active", 61.0),
            (8, no, "parallel worker", "bi", "olap", "active", 61.0),
            (
                9,
                no,
                client,
                "htap-top refresh",
                "our_olap",
                "active",
                61.0,
            ),
            (10, no, client, "htap-top", "olap", "active", 61.0),
        ]);
        let guard = guard(RULES);
        let wishes = wishes(&guard, &sessions, "shop", Some(80.0), false, &classifier());
        let told: Vec<_> = wishes
            .iter()
            .map(|wish| (wish.row + 1, wish.rule, wish.signal, wish.idle_s, wish.dry))
            .collect();
        assert_eq!(
            told,
            [
                (1, "old OLAP", Signal::Cancel, None, false),
                (4, "left open", Signal::Terminate, Some(300), false),
                (10, "old OLAP", Signal::Cancel, None, false),
            ]
        );
    }

    #[test]
    fn a_rule_that_is_tried_out_holds_up_none_that_acts() {
        let trial = "[guard]\nmode = \"act\"\n[[guard.rule]]\nname = \"trial\"\naction = \"cancel\"\ndry_run = true\n\
                     longer_than = \"10s\"\n[[guard.rule]]\nname = \"old\"\naction = \"cancel\"\nlonger_than = \"1500ms\"\n";
        let sessions = activity(&[
            (
                1,
                Some(false),
                "client backend",
                "bi",
                "olap",
                "active",
                61.0,
            ),
            (
                2,
                Some(false),
                "client backend",
                "bi",
                "olap",
                "active",
                5.0,
            ),
        ]);
        let guard = guard(trial);
        let wishes = wishes(&guard, &sessions, "shop", None, false, &classifier());
        let told: Vec<_> = wishes.iter().map(|wish| (wish.rule, wish.dry)).collect();
        assert_eq!(told, [("old", false), ("old", false)]);
    }

    #[test]
    fn a_rule_about_latency_needs_it_measured() {
        let guard = guard(RULES);
        let held = |p99| holder(&guard, p99).map(|rule| rule.name.as_str());
        assert_eq!(held(Some(51.0)), Some("busy"));
        assert_eq!((held(Some(49.0)), held(None)), (None, None));
    }

    #[test]
    fn one_statement_is_hit_once_and_a_minute_has_so_many_signals() {
        let at = |seconds: u64| Moment {
            mono_ms: seconds * 1000,
            epoch_ms: 0,
        };
        let statement = |since: &str| Identity {
            pid: 1,
            backend_start: "b".into(),
            since: Some(since.to_owned()),
        };
        let mut memory = Memory::default();
        assert!(memory.is_new(&statement("q"), at(0)));
        memory.note(statement("q"), at(0));
        assert!(!memory.is_new(&statement("q"), at(29)));
        assert!(memory.is_new(&statement("the next"), at(29)));
        assert!(memory.is_new(&statement("q"), at(30)));
        assert!(memory.may_send(2, at(0)) && memory.may_send(2, at(10)));
        assert!(!memory.may_send(2, at(59)));
        assert!(memory.tell_full(at(59)) && !memory.tell_full(at(60)));
        assert!(memory.may_send(2, at(60)));
        assert!(!memory.may_send(2, at(61)));
    }
}
