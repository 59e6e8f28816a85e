//! From figures to a judgement: gauges against their targets, and one line that names the cause.

use super::event::Moment;
use super::history::Oltp;
use crate::config::{Config, Targets, WorkClass};
use crate::format;
use crate::pg::Table;
use std::collections::BTreeMap;

/// How a figure stands to its target.
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

/// A figure beside its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Short name: `p99`.
    pub label: &'static str,
    /// The figure, as written.
    pub value: String,
    /// The target, as written.
    pub target: String,
    /// Judgement.
    pub health: Health,
    /// Figure / target.
    pub ratio: f64,
}

/// The line under the strip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// The gauge it is about; empty while all is well.
    pub label: &'static str,
    /// How bad it is.
    pub health: Health,
    /// The sentence.
    pub sentence: String,
    /// What cures it, in few words; empty where nothing simple does.
    pub cure: &'static str,
}

/// What the judgement rests on.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Targets.
    pub config: &'a Config,
    /// OLTP figures.
    pub oltp: &'a Oltp,
    /// Derived backends, most harmful first.
    pub activity: &'a Table,
    /// Holders of the horizon, oldest first.
    pub snapshots: &'a Table,
    /// Tables, most dead rows first.
    pub bloat: &'a Table,
    /// Views, latest first.
    pub views: &'a Table,
    /// Server counters.
    pub database: &'a Table,
    /// Slowest answer of the OLAP panels, milliseconds.
    pub olap_ms: Option<f64>,
}

/// Dead rows below this are not worth a judgement, whatever their share.
const DEAD_ROWS: i64 = 1_000;
/// A backend of less harm is not named as a cause.
const HARMFUL: f64 = 5.0;
/// Seconds that a session may wait for a lock.
const LOCK_WAIT_S: f64 = 1.0;

/// All gauges, the worst first; those within their targets keep a fixed order.
pub fn gauges(evidence: &Evidence<'_>) -> Vec<Gauge> {
    let targets = &evidence.config.targets;
    let mut gauges = vec![
        latency(evidence.oltp, targets),
        snapshot(evidence.snapshots, targets),
        locks(evidence.activity),
        freshness(evidence.views, targets),
        olap(evidence.olap_ms, targets),
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
    ];
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

fn judge(
    label: &'static str,
    figure: Option<f64>,
    target: f64,
    warn_at: f64,
    write: fn(f64) -> String,
) -> Gauge {
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
    // A round target is written without its decimals: `50ms`, `1s`.
    let target = write(target).replace(".0", "");
    Gauge {
        label,
        value: figure.map_or_else(|| "?".into(), write),
        target,
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
        format::ms,
    );
    if oltp.failed > 0 {
        gauge.health = Health::Danger;
        gauge.value = format!("{} failed", oltp.failed);
        gauge.ratio = gauge.ratio.max(1.0);
    }
    gauge
}

fn snapshot(snapshots: &Table, targets: &Targets) -> Gauge {
    let oldest = own_holder(snapshots).and_then(|row| snapshots.get(row, "age_s").number());
    let target = targets.snapshot_age.as_secs_f64();
    let measured = !snapshots.columns.is_empty();
    judge(
        "snapshot",
        oldest.or(measured.then_some(0.0)),
        target,
        targets.warn_at,
        format::seconds,
    )
}

/// The oldest holder whose snapshot keeps rows of this database.
fn own_holder(snapshots: &Table) -> Option<usize> {
    (0..snapshots.rows.len()).find(|row| {
        snapshots.get(*row, "own_database").is_true()
            && snapshots.get(*row, "kind").text() != Some("slot_catalog")
    })
}

fn locks(activity: &Table) -> Gauge {
    let waits = waiters(activity);
    let longest = waits.iter().copied().fold(0.0, f64::max);
    let mut gauge = judge("locks", Some(longest), LOCK_WAIT_S, 0.2, format::seconds);
    gauge.value = if waits.is_empty() {
        "free".into()
    } else {
        format!("{} wait", waits.len())
    };
    gauge.target = if waits.is_empty() {
        String::new()
    } else {
        format::seconds(longest)
    };
    if activity.columns.is_empty() {
        gauge.health = Health::Unknown;
    }
    gauge
}

/// Seconds that each waiter has waited for its lock.
fn waiters(activity: &Table) -> Vec<f64> {
    let waiting = |row: &usize| {
        activity
            .get(*row, "blocked_by")
            .text()
            .is_some_and(|blockers| !blockers.is_empty())
    };
    let wait = |row| {
        activity
            .get(row, "wait_s")
            .number()
            .or(activity.get(row, "query_age_s").number())
            .unwrap_or(0.0)
    };
    (0..activity.rows.len()).filter(waiting).map(wait).collect()
}

fn freshness(views: &Table, targets: &Targets) -> Gauge {
    let fresh = views.first("fresh_s").number();
    let target = views
        .first("target_s")
        .number()
        .unwrap_or(targets.freshness.as_secs_f64());
    judge("fresh", fresh, target, 1.0, format::seconds)
}

fn olap(olap_ms: Option<f64>, targets: &Targets) -> Gauge {
    judge(
        "olap",
        olap_ms,
        targets.olap_latency.as_secs_f64() * 1000.0,
        targets.warn_at,
        format::ms,
    )
}

fn throughput(oltp: &Oltp, targets: &Targets) -> Gauge {
    judge("tps", oltp.tps, targets.tps, targets.warn_at, format::count)
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
    judge(
        label,
        measured.then_some(used),
        f64::from(limit),
        targets.warn_at,
        format::count,
    )
}

fn connections(database: &Table, targets: &Targets) -> Gauge {
    let limit = database.first("max_connections").number().unwrap_or(0.0);
    judge(
        "server",
        database.first("numbackends_all").number(),
        limit,
        targets.warn_at,
        format::count,
    )
}

fn dead(bloat: &Table, targets: &Targets) -> Gauge {
    let share = (0..bloat.rows.len())
        .filter(|row| bloat.get(*row, "n_dead").int().unwrap_or(0) >= DEAD_ROWS)
        .filter_map(|row| bloat.get(row, "dead_pct").number())
        .fold(0.0, f64::max);
    let measured = !bloat.columns.is_empty();
    judge(
        "dead",
        measured.then_some(share),
        targets.dead_pct,
        targets.warn_at,
        format::percent,
    )
}

/// Since when each gauge has been where it is.
#[derive(Debug, Default)]
pub struct Since {
    bad: BTreeMap<&'static str, (Moment, Option<f64>)>,
    calm: Option<Moment>,
}

impl Since {
    /// Notes the gauges as they are at `now`; `before` is the figure that a gauge had while it was good.
    pub fn note(&mut self, gauges: &[Gauge], now: Moment, before: &dyn Fn(&str) -> Option<f64>) {
        for gauge in gauges {
            if gauge.health >= Health::Warning {
                self.bad
                    .entry(gauge.label)
                    .or_insert_with(|| (now, before(gauge.label)));
            } else {
                self.bad.remove(gauge.label);
            }
        }
        let calm = gauges.iter().all(|gauge| gauge.health < Health::Warning);
        self.calm = if calm { self.calm.or(Some(now)) } else { None };
    }
}

/// One sentence: the worst target missed, and who most plausibly matters; with the key that cures it.
pub fn cause(
    evidence: &Evidence<'_>,
    gauges: &[Gauge],
    since: &Since,
    now: Moment,
    utc_offset_s: i32,
) -> Cause {
    let missed = gauges
        .iter()
        .filter(|gauge| gauge.health >= Health::Warning);
    let Some(worst) = missed.max_by_key(|gauge| importance(gauge)) else {
        return calm(gauges, since, now);
    };
    let (began, before) = since.bad.get(worst.label).copied().unwrap_or((now, None));
    let age_ms = now.mono_ms.saturating_sub(began.mono_ms) as i64;
    let since = format::time_of_day((now.epoch_ms - age_ms) as f64 / 1000.0, utc_offset_s);
    let (sentence, cure) = match worst.label {
        "p99" => {
            let from = before
                .map(|before| format!("{} → ", format::ms(before)))
                .unwrap_or_default();
            let (who, cure) = who(evidence);
            (
                format!("OLTP p99 {from}{} since {since}: {who}", worst.value),
                cure,
            )
        }
        "snapshot" => holder_sentence(evidence),
        "locks" => lock_sentence(evidence),
        "fresh" => view_sentence(evidence, &since),
        "dead" => (dead_sentence(evidence), ""),
        label => {
            let (who, cure) = who(evidence);
            (
                format!(
                    "{label} {} of {} since {since}: {who}",
                    worst.value, worst.target
                ),
                cure,
            )
        }
    };
    Cause {
        label: worst.label,
        health: worst.health,
        sentence,
        cure,
    }
}

fn calm(gauges: &[Gauge], since: &Since, now: Moment) -> Cause {
    if gauges.iter().all(|gauge| gauge.health != Health::Good) {
        return Cause {
            sentence: "measuring".into(),
            ..Cause::default()
        };
    }
    let held = since.calm.map_or(0.0, |calm| now.since(calm));
    let sentence = format!("all targets held for {}", format::seconds(held));
    Cause {
        health: Health::Good,
        sentence,
        ..Cause::default()
    }
}

/// Danger before warning; then what causes before what suffers.
fn importance(gauge: &Gauge) -> (Health, u8) {
    let rank = match gauge.label {
        "locks" => 9,
        "snapshot" => 8,
        "p99" => 7,
        "server" => 6,
        "oltp pool" => 5,
        "olap pool" => 4,
        "dead" => 3,
        "fresh" => 2,
        _ => 1,
    };
    (gauge.health, rank)
}

/// The key that ends a backend in this state.
fn cure(state: &str) -> &'static str {
    if state == "active" {
        "C cancels it"
    } else {
        "K terminates it"
    }
}

/// `idle in transaction` takes too much of one line.
fn short(state: &str) -> &str {
    if state.starts_with("idle in transaction") {
        "idle in tx"
    } else {
        state
    }
}

/// The backend that most plausibly matters.
fn who(evidence: &Evidence<'_>) -> (String, &'static str) {
    let activity = evidence.activity;
    if activity.first("harm").number().unwrap_or(0.0) < HARMFUL {
        return ("no backend stands out".into(), "");
    }
    let age = activity
        .first("xact_age_s")
        .number()
        .or(activity.first("query_age_s").number())
        .unwrap_or(0.0);
    let state = activity.first("state").text().unwrap_or("?");
    (
        format!(
            "{}, {} for {}",
            described(activity, 0),
            short(state),
            format::seconds(age)
        ),
        cure(state),
    )
}

/// `pid 812 (olap, reports, metabase)`
fn described(table: &Table, row: usize) -> String {
    let text = |name| table.get(row, name).text().filter(|text| !text.is_empty());
    let role = text("usename").or(text("role"));
    let parts: Vec<&str> = [text("class"), role, text("application_name")]
        .into_iter()
        .flatten()
        .collect();
    format!(
        "pid {} ({})",
        table.get(row, "pid").int().unwrap_or(0),
        parts.join(", ")
    )
}

fn holder_sentence(evidence: &Evidence<'_>) -> (String, &'static str) {
    let snapshots = evidence.snapshots;
    let Some(row) = own_holder(snapshots) else {
        return (String::new(), "");
    };
    let age = snapshots
        .get(row, "age_s")
        .number()
        .map_or_else(|| "?".into(), format::seconds);
    let kind = snapshots.get(row, "kind").text().unwrap_or_default();
    let holder = snapshots.get(row, "holder").text().unwrap_or_default();
    let (who, cure) = match kind {
        "backend" => {
            let state = snapshots.get(row, "state").text().unwrap_or("?");
            (
                format!("{}, {},", described(snapshots, row), short(state)),
                cure(state),
            )
        }
        "prepared" => (
            format!("prepared transaction {holder}"),
            "COMMIT or ROLLBACK PREPARED it",
        ),
        "replica" => (
            format!("standby {holder} (hot_standby_feedback)"),
            "look for its long query",
        ),
        _ => (
            format!("replication slot {holder}"),
            "its consumer lags or is gone",
        ),
    };
    let pins = snapshots
        .get(row, "pins")
        .number()
        .filter(|pins| *pins >= DEAD_ROWS as f64);
    let worst = evidence.bloat.first("relation").text().unwrap_or("tables");
    let pins =
        pins.map(|pins| format!(": ≤{} dead rows wait, most in {worst}", format::count(pins)));
    (
        format!(
            "{who} holds a snapshot {age} old{}",
            pins.unwrap_or_default()
        ),
        cure,
    )
}

fn lock_sentence(evidence: &Evidence<'_>) -> (String, &'static str) {
    let activity = evidence.activity;
    let waits = waiters(activity);
    let longest = format::seconds(waits.iter().copied().fold(0.0, f64::max));
    let plural = if waits.len() == 1 {
        "session waits"
    } else {
        "sessions wait"
    };
    let blocks = |row: &usize| activity.get(*row, "blocks").int().unwrap_or(0);
    let waits_itself = |row: &usize| activity.get(*row, "blocked_by").is_known();
    let root = (0..activity.rows.len())
        .filter(|row| blocks(row) > 0 && !waits_itself(row))
        .max_by_key(blocks);
    let Some(root) = root else {
        return (
            format!("{} {plural} for locks, up to {longest}", waits.len()),
            "",
        );
    };
    let state = activity.get(root, "state").text().unwrap_or("?");
    (
        format!(
            "{} {plural}, up to {longest}, for {}, {}",
            waits.len(),
            described(activity, root),
            short(state)
        ),
        cure(state),
    )
}

fn view_sentence(evidence: &Evidence<'_>, since: &str) -> (String, &'static str) {
    let views = evidence.views;
    let view = views.first("view").text().unwrap_or_default();
    let fresh = views
        .first("fresh_s")
        .number()
        .map_or_else(|| "?".into(), format::seconds);
    let target = views
        .first("target_s")
        .number()
        .map_or_else(|| "?".into(), format::seconds);
    let state = views.first("state").text().unwrap_or_default();
    let (what, cure) = if state == "idle" {
        ("no refresh runs", "r refreshes it")
    } else {
        (state, "")
    };
    (
        format!("{view} is {fresh} old, target {target}, late since {since}: {what}"),
        cure,
    )
}

fn dead_sentence(evidence: &Evidence<'_>) -> String {
    let bloat = evidence.bloat;
    let worst = (0..bloat.rows.len())
        .filter(|row| bloat.get(*row, "n_dead").int().unwrap_or(0) >= DEAD_ROWS)
        .max_by(|a, b| {
            let share = |row: &usize| bloat.get(*row, "dead_pct").number().unwrap_or(0.0);
            share(a).total_cmp(&share(b))
        })
        .unwrap_or(0);
    let figure = |name| bloat.get(worst, name).number();
    let relation = bloat.get(worst, "relation").text().unwrap_or_default();
    let dead = format::count(figure("n_dead").unwrap_or(0.0));
    let share = format::percent(figure("dead_pct").unwrap_or(0.0));
    let why = match (figure("in_vain"), bloat.get(worst, "held_by").text()) {
        (Some(times), Some(holder)) => format!("{times} vacuums in vain: held back by {holder}"),
        (Some(times), None) => format!("{times} vacuums in vain"),
        _ => figure("last_vacuum_s").map_or_else(
            || "never vacuumed".into(),
            |ago| format!("last vacuum {} ago", format::seconds(ago)),
        ),
    };
    format!("{relation}: {dead} dead rows, {share}; {why}")
}
