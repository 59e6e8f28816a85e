//! The cause line: one sentence, and what cures it.

use super::{
    Cause, DEAD_ROWS, Evidence, Gauge, Health, MANY_DEAD_ROWS, Since, own_holder, waiters,
};
use crate::dashboard::event::Moment;
use crate::format;
use crate::pg::Table;

/// A backend of less harm is not named as a cause.
const HARMFUL: f64 = 5.0;

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
        "p99" if evidence.oltp.failed > 0 => {
            let (who, cure) = who(evidence);
            let failed = evidence.oltp.failed;
            let queries = if failed == 1 { "query" } else { "queries" };
            // Lost connections and restarts stand there.
            let cure = if cure.is_empty() { "L the log" } else { cure };
            (
                format!("{failed} point {queries} failed in 30s: {who}, since {since}"),
                cure,
            )
        }
        "p99" => {
            let from = before
                .map(|before| format!("{} → ", format::ms(before)))
                .unwrap_or_default();
            let (who, cure) = who(evidence);
            (
                format!("p99 {from}{}: {who}, since {since}", worst.value),
                cure,
            )
        }
        "snapshot" => holder_sentence(evidence),
        "locks" => lock_sentence(evidence),
        "fresh" => view_sentence(evidence),
        "dead" => dead_sentence(evidence),
        label => {
            let (who, cure) = who(evidence);
            (
                format!(
                    "{label} {} of {}: {who}, since {since}",
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
    let mut sentence = format!("all targets held for {}", format::seconds(held));
    let unknown = gauges
        .iter()
        .filter(|gauge| gauge.health == Health::Unknown);
    let unknown: Vec<&str> = unknown.map(|gauge| gauge.label).collect();
    if !unknown.is_empty() {
        sentence = format!("{sentence}; not measured: {}", unknown.join(", "));
    }
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

/// `pid 812 (metabase, reports, olap)`: what is cut on a narrow screen is what matters least.
fn described(table: &Table, row: usize) -> String {
    let text = |name| table.get(row, name).text().filter(|text| !text.is_empty());
    let role = text("usename").or(text("role"));
    let parts: Vec<&str> = [text("application_name"), role, text("class")]
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
    let age = |name| snapshots.get(row, name).number().map(format::seconds);
    let least = || age("age_least_s").map(|least| format!("≥{least}"));
    let age = age("age_s").or_else(least).unwrap_or_else(|| "?".into());
    let kind = snapshots.get(row, "kind").text().unwrap_or_default();
    let holder = snapshots.get(row, "holder").text().unwrap_or_default();
    // On a narrow screen the end of the sentence is cut: who and how old comes first.
    let ((who, how), cure) = match kind {
        "backend" => {
            let state = snapshots.get(row, "state").text().unwrap_or("?");
            (
                (described(snapshots, row), format!(", {}", short(state))),
                cure(state),
            )
        }
        "prepared" => (
            (format!("prepared transaction {holder}"), String::new()),
            "COMMIT or ROLLBACK PREPARED it",
        ),
        "replica" => (
            (
                format!("standby {holder}"),
                ", by hot_standby_feedback".into(),
            ),
            "look for its long query",
        ),
        _ => (
            (format!("replication slot {holder}"), String::new()),
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
            "{who} holds a {age} snapshot{how}{}",
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
            "{} {plural} up to {longest} for {}, {}",
            waits.len(),
            described(activity, root),
            short(state)
        ),
        cure(state),
    )
}

fn view_sentence(evidence: &Evidence<'_>) -> (String, &'static str) {
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
        format!("{view} is {fresh} old, target {target}: {what}"),
        cure,
    )
}

fn dead_sentence(evidence: &Evidence<'_>) -> (String, &'static str) {
    let bloat = evidence.bloat;
    let worst = (0..bloat.rows.len())
        .filter(|row| bloat.get(*row, "n_dead").int().unwrap_or(0) >= MANY_DEAD_ROWS)
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
    let cure = bloat
        .get(worst, "held_by")
        .text()
        .and_then(|holder| cure_of(evidence.activity, holder))
        .unwrap_or_default();
    (
        format!("{relation}: {dead} dead rows, {share}; {why}"),
        cure,
    )
}

/// The key that ends `pid 812`, where it is still there.
fn cure_of(activity: &Table, holder: &str) -> Option<&'static str> {
    let pid: i64 = holder.strip_prefix("pid ")?.parse().ok()?;
    let row = (0..activity.rows.len()).find(|row| activity.get(*row, "pid").int() == Some(pid))?;
    activity.get(row, "state").text().map(cure)
}
