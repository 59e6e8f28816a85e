//! Judges figures: gauges compare them with targets, and one line names the cause.

pub(crate) mod blocker;
mod cause;
mod evidence;
pub mod finding;
mod freshness;
mod horizon;
mod lag;
mod machine;
pub mod rules;
mod since;

pub use cause::cause;
pub(crate) use cause::severity;
pub use evidence::Evidence;
pub(crate) use evidence::{LostPooler, Pools};
pub use rules::findings;
pub use since::Since;

use self::evidence::Backends;
use self::finding::Fact;
use super::history::{CARRIES_P99, Oltp};
use crate::config::{Targets, WorkClass};
use crate::dashboard::panels::activity::CROWDED;
use crate::dashboard::panels::pooler::longest_wait_s;
use crate::dashboard::rows::{Row, Rows, read};
use crate::format;
use crate::format::Unit;

/// State of a figure relative to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Not measured.
    #[default]
    Unknown,
    /// Within its target.
    Good,
    /// Near its target.
    Warning,
    /// Past its target.
    Danger,
}

/// A figure and its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Short name: `p99`.
    pub label: &'static str,
    /// The figure; `None` if it is not known.
    pub figure: Option<f64>,
    /// The target in the figure's unit.
    pub limit: f64,
    /// Unit of both.
    pub unit: Unit,
    /// The figure, formatted.
    pub value: String,
    /// The target, formatted.
    pub target: String,
    /// The judgement.
    pub health: Health,
    /// Figure / target.
    pub ratio: f64,
}

/// A gauge or panel without data, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The gauge, or the panel.
    pub what: String,
    /// The reason; empty while it is being measured for the first time.
    pub why: String,
}

impl Unknown {
    /// The SQLSTATE in the reason; empty if the server sent none.
    pub fn sqlstate(&self) -> &str {
        let code = self.why.split_once("(SQLSTATE ");
        let code = code.and_then(|(_, rest)| rest.split_once(')'));
        code.map_or("", |(code, _)| code)
    }
}

/// The line under the strip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// The gauge it is about, or the rule if there is no gauge; empty while all is well.
    pub label: &'static str,
    /// The rule that names the cause; empty if none does.
    pub rule: &'static str,
    /// Severity.
    pub health: Health,
    /// The sentence.
    pub sentence: String,
    /// A short cure; empty if there is no simple one.
    pub cure: String,
    /// Process id of the session that the cure ends by a key.
    pub ends: Option<i64>,
    /// Names and figures that support the sentence.
    pub evidence: Vec<Fact>,
    /// Number of further troubles.
    pub more: usize,
}

impl Cause {
    /// Returns `; and 2 more` if there are other troubles.
    pub fn others(&self) -> String {
        match self.more {
            0 => String::new(),
            more => format!("; and {more} more"),
        }
    }
}

/// Dead rows below which they are not mentioned.
const DEAD_ROWS: i64 = 1_000;
/// Dead rows below which a table is not judged by their share: a small table is soon vacuumed.
const MANY_DEAD_ROWS: i64 = 5_000;
/// Seconds that a session may wait for a lock.
const LOCK_WAIT_S: f64 = 1.0;

/// Returns all gauges, the worst first; those within their targets keep a fixed order.
pub fn gauges(evidence: &Evidence<'_>) -> Vec<Gauge> {
    let targets = &evidence.config.targets;
    let mut gauges = vec![
        latency(evidence.oltp, targets),
        horizon::snapshot(evidence, targets),
        locks(evidence),
        freshness::freshness(evidence.views, targets),
        olap(evidence.olap_ms, evidence.oltp.restricted > 0, targets),
        throughput(evidence.oltp, targets),
        pool(
            evidence.oltp,
            WorkClass::Oltp,
            "oltp pool",
            targets.oltp_connections,
            targets,
        ),
        pool(
            evidence.oltp,
            WorkClass::Olap,
            "olap pool",
            targets.olap_connections,
            targets,
        ),
        connections(evidence.database, targets),
        dead(evidence.bloat, targets),
        lag::lag(evidence),
        maxwait(evidence, targets),
        machine::cpu(evidence, targets),
    ];
    // A gauge without its subject in this database is left out.
    let no_views = evidence.views.is_told() && evidence.views.is_empty();
    let judged = evidence.has_views && !no_views && freshness::is_wanted(evidence.views);
    gauges.retain(|gauge| match gauge.label {
        "fresh" => judged,
        "olap" => evidence.has_olap,
        "lag" => lag::is_judged(evidence),
        "maxwait" => evidence.pools.is_some(),
        "cpu" => evidence.host.is_told(),
        _ => true,
    });
    gauges.sort_by(|a, b| {
        let rank = |gauge: &Gauge| {
            if gauge.health >= Health::Warning {
                gauge.ratio
            } else {
                0.0
            }
        };
        b.health
            .max(Health::Good)
            .cmp(&a.health.max(Health::Good))
            .then(rank(b).total_cmp(&rank(a)))
    });
    gauges
}

fn judge(label: &'static str, figure: Option<f64>, target: f64, warn_at: f64, unit: Unit) -> Gauge {
    let write = |figure| format::figure(figure, unit, 0);
    let ratio = figure.map_or(
        0.0,
        |figure| if target > 0.0 { figure / target } else { 0.0 },
    );
    let health = match figure {
        None => Health::Unknown,
        Some(_) if ratio >= 1.0 => Health::Danger,
        Some(_) if ratio >= warn_at => Health::Warning,
        Some(_) => Health::Good,
    };
    // A round target is written without decimals: `50ms`, `1s`.
    let written = write(target).replace(".0", "");
    Gauge {
        label,
        figure,
        limit: target,
        unit,
        value: figure.map_or_else(|| "?".into(), write),
        target: written,
        health,
        ratio,
    }
}

fn latency(oltp: &Oltp, targets: &Targets) -> Gauge {
    let mut gauge = judge(
        "p99",
        oltp.p99_ms,
        targets.oltp_p99_ms,
        targets.warn_at,
        Unit::Ms,
    );
    if oltp.failed > 0 {
        gauge.health = Health::Danger;
        gauge.value = format!("{} failed", oltp.failed);
        gauge.target = String::new();
        gauge.ratio = gauge.ratio.max(1.0);
    }
    if oltp.timed < CARRIES_P99 && gauge.health < Health::Danger {
        // The highest of a few measurements is no 99th percentile.
        gauge.health = Health::Unknown;
    }
    gauge
}

fn locks(evidence: &Evidence<'_>) -> Gauge {
    let table = evidence.waits();
    let mut waiting = waiting(table).peekable();
    // PostgreSQL 13 hides the start of a wait from roles without pg_monitor.
    let mut measured = waiting.peek().is_none();
    let mut longest: f64 = 0.0;
    for row in waiting {
        measured |= row.wait_s().or(row.query_age_s()).is_some();
        longest = longest.max(wait_s(row));
    }
    let figure = Some(longest).filter(|_| measured && table.is_told());
    let waiting = all_waiting(table, evidence.sessions);
    let mut gauge = judge("locks", figure, LOCK_WAIT_S, 0.2, Unit::Seconds);
    gauge.value = match (figure, waiting) {
        (None, 0) => "?".into(),
        (None, waiting) => format!("{waiting} wait"),
        (Some(_), 0) => "free".into(),
        // No `/` before the longest wait, which is not a target.
        (Some(longest), waiting) => format!("{waiting} wait {}", format::seconds(longest)),
    };
    gauge.target = String::new();
    gauge
}

/// The sessions that wait for a lock, including those whose blockers were not queried because many wait.
fn waiting(activity: Backends<'_>) -> impl Iterator<Item = Row<'_, read::Backend>> {
    activity.iter().filter(|row| waits_for_lock(*row))
}

/// Returns true if the session waits for a lock.
fn waits_for_lock(row: Row<'_, read::Backend>) -> bool {
    row.blocked_by().is_known() || row.wait_event_type().is("Lock")
}

/// Seconds that a session has waited for its lock; at most as long if the server does not report it (13).
fn wait_s(row: Row<'_, read::Backend>) -> f64 {
    let most = row.query_age_s();
    let most = most.filter(|_| row.blocked_by().is_known());
    row.wait_s().or(most).unwrap_or(0.0)
}

/// Number of sessions that wait for locks, even if the activity panel does not list all of them.
fn all_waiting(activity: Backends<'_>, sessions: Rows<'_, read::SessionCount>) -> usize {
    let seen = waiting(activity).count();
    if activity.len() < CROWDED {
        return seen;
    }
    let counted: i64 = sessions
        .iter()
        .filter(|row| row.waiting() == Some(true))
        .filter_map(|row| row.n())
        .sum();
    seen.max(usize::try_from(counted).unwrap_or(0))
}

/// Judges OLAP latency. With `restricted`, statements of others may run for hours unseen: then only a missed
/// target is certain.
fn olap(olap_ms: Option<f64>, restricted: bool, targets: &Targets) -> Gauge {
    let mut gauge = judge(
        "olap",
        olap_ms,
        targets.olap_latency.as_secs_f64() * 1000.0,
        targets.warn_at,
        Unit::Ms,
    );
    if restricted && gauge.health == Health::Good {
        gauge.health = Health::Unknown;
    }
    gauge
}

/// Judges throughput. More than planned is good as long as latency does not suffer.
fn throughput(oltp: &Oltp, targets: &Targets) -> Gauge {
    let mut gauge = judge("tps", oltp.tps, targets.tps, targets.warn_at, Unit::Count);
    if gauge.health > Health::Good {
        gauge.health = latency(oltp, targets)
            .health
            .clamp(Health::Good, Health::Warning);
    }
    gauge
}

fn pool(
    oltp: &Oltp,
    class: WorkClass,
    label: &'static str,
    limit: u32,
    targets: &Targets,
) -> Gauge {
    let used = oltp.sessions.get(&class).copied().unwrap_or(0) as f64;
    let measured = !oltp.sessions.is_empty();
    let mut gauge = judge(
        label,
        measured.then_some(used),
        f64::from(limit),
        targets.warn_at,
        Unit::Count,
    );
    // Many connections harm nobody while the server has more and latency is within target.
    if latency(oltp, targets).health < Health::Danger {
        gauge.health = gauge.health.min(Health::Warning);
    }
    gauge
}

fn connections(database: Row<'_, read::Counters>, targets: &Targets) -> Gauge {
    // Reserved connections are subtracted: ordinary roles are refused before max_connections.
    let limit = database.usable_connections().or(database.max_connections());
    judge(
        "server",
        database.numbackends_all(),
        limit.unwrap_or(0.0),
        targets.warn_at,
        Unit::Count,
    )
}

/// Judges the longest wait of a client of the pooler for a server connection.
fn maxwait(evidence: &Evidence<'_>, targets: &Targets) -> Gauge {
    let pools = evidence.pools.as_ref();
    judge(
        "maxwait",
        pools.and_then(|pools| longest_wait_s(pools.rows)),
        targets.pooler_wait.as_secs_f64(),
        targets.warn_at,
        Unit::Seconds,
    )
}

fn dead(bloat: Rows<'_, read::Relation>, targets: &Targets) -> Gauge {
    let share = bloat
        .iter()
        .filter(|row| row.n_dead().unwrap_or(0) >= MANY_DEAD_ROWS)
        .filter_map(|row| row.dead_pct())
        .fold(0.0, f64::max);
    judge(
        "dead",
        bloat.is_told().then_some(share),
        targets.dead_pct,
        targets.warn_at,
        Unit::Percent,
    )
}
