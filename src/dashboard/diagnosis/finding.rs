//! What a rule says: one sentence, what cures it, and what it rests on.

use super::Health;

/// What comes of a trouble that nobody ends, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Figures are old.
    Staleness,
    /// Work takes longer.
    #[default]
    Latency,
    /// Figures that people rely on are wrong.
    Error,
    /// The server, or what follows it, comes to a halt.
    Halt,
    /// Data are lost.
    Loss,
}

/// What a rule found. A rule without data, or without anything to say, finds nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// Name of the rule, as it stands in docs/diagnosis.md: `lock_queue`.
    pub rule: &'static str,
    /// How bad it is by itself; `Good` where it only explains why a target is missed.
    pub health: Health,
    /// What comes of it.
    pub damage: Damage,
    /// Labels of the gauges whose miss it explains.
    pub explains: &'static [&'static str],
    /// Whom or what it is about, the same from one sample to the next: `pid 812`.
    pub subject: String,
    /// The sentence, without a full stop.
    pub sentence: String,
    /// What cures it, in few words; empty where nothing simple does.
    pub cure: String,
    /// What it rests on: names and figures.
    pub evidence: Vec<Fact>,
}

/// A figure that a finding rests on, with its name.
pub type Fact = (String, String);

/// A figure with its name.
pub fn fact(name: impl Into<String>, value: impl Into<String>) -> Fact {
    (name.into(), value.into())
}
