//! The finding of a rule: one sentence, a cure, and the facts behind it.

use super::Health;

/// Damage done by a trouble that nobody ends, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Figures are old.
    Staleness,
    /// Work takes longer.
    #[default]
    Latency,
    /// Figures that people rely on are wrong.
    Error,
    /// The server, or a system that follows it, comes to a halt.
    Halt,
    /// Data are lost.
    Loss,
}

/// The finding of a rule. A rule without data, or without a trouble to report, returns none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// Name of the rule, as in docs/diagnosis.md: `lock_queue`.
    pub rule: &'static str,
    /// Severity by itself; `Good` if it only explains why a target is missed.
    pub health: Health,
    /// Damage that it does.
    pub damage: Damage,
    /// Labels of the gauges whose miss it explains.
    pub explains: &'static [&'static str],
    /// Subject of the finding, the same from one sample to the next: `pid 812`.
    pub subject: String,
    /// The sentence, without a full stop.
    pub sentence: String,
    /// A short cure; empty if there is no simple one.
    pub cure: String,
    /// Process id of the session that the cure ends by a key.
    pub ends: Option<i64>,
    /// Facts behind it: names and figures.
    pub evidence: Vec<Fact>,
}

/// Name and value of a fact that a finding rests on.
pub type Fact = (String, String);

/// Returns a fact.
pub fn fact(name: impl Into<String>, value: impl Into<String>) -> Fact {
    (name.into(), value.into())
}
