//! Materialized views and summaries.

use super::replication::RESUME;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::freshness::latest_wanted;
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::format;
use crate::pg::{Table, Value};

/// Returns the reason why no key refreshes the view in `row` here, in few words that name the role or server
/// to use.
pub fn refusal(evidence: &Evidence<'_>, row: usize) -> Option<String> {
    let views = evidence.views;
    let flag = |name| views.get(row, name);
    if flag("on_standby").is_true() || evidence.facts.first("in_recovery").is_true() {
        return Some("refresh it on the primary".into());
    }
    let may = flag("may_refresh");
    if may.is_known() && !may.is_true() {
        // The owner of the shop cannot log in.
        let who = match views.get(row, "owner").text() {
            Some("htap_owner") => "htap_refresh",
            owner => owner.unwrap_or("its owner"),
        };
        return Some(format!("{who} may refresh it"));
    }
    evidence
        .config
        .read_only
        .then(|| "read-only here: refresh it elsewhere".into())
}

/// Finds the latest view that is past its target: first among those with a target that somebody set, then
/// among those that are older than their own refreshes have ever let them become.
pub fn late_view(evidence: &Evidence<'_>) -> Option<Finding> {
    let views = evidence.views;
    let is_late = |row: &usize| {
        let late = views.get(*row, "late").number();
        // An upper bound of the age does not prove that the view is late.
        late >= Some(1.0) && !matches!(views.get(*row, "fresh_s"), Value::AtMost(_))
    };
    let own = |row: &usize| views.get(*row, "target_own").is_true();
    let wanted = latest_wanted(views).filter(is_late);
    let row = wanted.or_else(|| (0..views.rows.len()).filter(own).find(is_late))?;
    let seconds = |name| {
        let cell = views.get(row, name);
        let figure = cell.number().map(format::seconds);
        figure.map_or_else(|| "?".into(), |figure| format!("{}{figure}", cell.sign()))
    };
    let view = views.get(row, "view").text().unwrap_or_default();
    let state = views.get(row, "state").text().unwrap_or_default();
    let (what, cure) = match state {
        _ if evidence.replication.first("replay_paused").is_true() => {
            ("replay is paused on this standby", RESUME)
        }
        "idle" => ("no refresh runs", "{refresh} refreshes it"),
        backlog if backlog.starts_with("backlog") => (backlog, "{refresh} merges it"),
        other => (other, ""),
    };
    let refusal = refusal(evidence, row).filter(|_| cure.starts_with("{refresh}"));
    let cure = refusal.unwrap_or_else(|| evidence.config.keys.fill(cure));
    let text = |name| views.get(row, name).text().unwrap_or("?").to_owned();
    let (age, target) = (seconds("fresh_s"), seconds("target_s"));
    let (health, explains, sentence): (_, &[&str], _) = if wanted.is_some() {
        let sentence = format!("{view} is {age} old, target {target}: {what}");
        (Health::Unknown, &["fresh"], sentence)
    } else {
        let sentence =
            format!("{view} is {age} old, its own refreshes kept it within {target}: {what}");
        (Health::Warning, &[], sentence)
    };
    Some(Finding {
        health,
        damage: Damage::Staleness,
        explains,
        subject: view.to_owned(),
        sentence,
        cure,
        evidence: vec![
            fact("age", format!("{age} ({})", text("source"))),
            fact("target", target),
            fact("kept by", text("mode")),
            fact("last refresh took", seconds("last_s")),
            fact("state", state),
        ],
        ..Finding::default()
    })
}

/// Finds a summary that, by the refresher's check, differs from the shop however fresh it is.
pub fn wrong_summary(evidence: &Evidence<'_>) -> Option<Finding> {
    let views = evidence.views;
    let found = |row: usize| {
        let what = views.get(row, "uncaptured").text()?;
        Some((views.get(row, "view").text()?, what))
    };
    let wrong: Vec<_> = (0..views.rows.len()).filter_map(found).collect();
    let (view, what) = wrong.first()?;
    let others = match wrong.len() - 1 {
        0 => String::new(),
        1 => ", and so is 1 more".to_owned(),
        n => format!(", and so are {n} more"),
    };
    Some(Finding {
        health: Health::Danger,
        damage: Damage::Error,
        subject: (*view).to_owned(),
        sentence: format!("{view} is wrong, or will be: {what}{others}"),
        cure: format!("htap-top refresh --mode full {view} rebuilds it"),
        evidence: wrong
            .iter()
            .map(|(view, what)| fact(*view, *what))
            .collect(),
        ..Finding::default()
    })
}

/// Returns a view's row in the tables panel.
fn bloat_of(bloat: &Table, view: &str) -> Option<usize> {
    let name = view.strip_prefix("public.").unwrap_or(view);
    (0..bloat.rows.len()).find(|row| bloat.get(*row, "relation").text() == Some(name))
}

/// Dead rows from which a view is judged.
const MANY: i64 = 5_000;
/// Dead rows as a percentage of rows from which a view is bloated rather than just refreshed.
const BLOATED_PCT: f64 = 50.0;

/// Finds a view with a column such as now(), which makes every row new at each refresh.
pub fn now_view(evidence: &Evidence<'_>) -> Option<Finding> {
    let (views, bloat) = (evidence.views, evidence.bloat);
    let (view, row) = (0..views.rows.len())
        .filter(|row| {
            views.get(*row, "def_has_now").is_true() && views.get(*row, "concurrent_ok").is_true()
        })
        .filter_map(|row| {
            let view = views.get(row, "view").text()?;
            Some((view, bloat_of(bloat, view)?))
        })
        .find(|(_, row)| {
            bloat.get(*row, "n_dead").int().unwrap_or(0) >= MANY
                && bloat.get(*row, "dead_pct").number().unwrap_or(0.0) >= BLOATED_PCT
        })?;
    let dead = format::count(bloat.get(row, "n_dead").number().unwrap_or(0.0));
    Some(Finding {
        health: Health::Warning,
        explains: &["dead"],
        subject: view.to_owned(),
        sentence: format!(
            "{view}: {dead} dead rows: its now() column makes each refresh CONCURRENTLY replace every row"
        ),
        cure: "remove now() from its definition".into(),
        evidence: vec![
            fact("dead rows", dead),
            fact(
                "its definition",
                "has now(), current_timestamp or the like among its columns",
            ),
        ],
        ..Finding::default()
    })
}

/// Multiple of autovacuum's threshold from which a vacuum is overdue.
const OVERDUE: f64 = 3.0;
/// Seconds: a later vacuum happened while refreshes were observed.
const LATELY_S: f64 = 180.0;
/// Share of the last minutes during which refreshes ran.
const BUSY: f64 = 0.5;

/// Finds a view that autovacuum cannot lock between refreshes: it gives up at once and returns after
/// autovacuum_naptime.
pub fn starved_vacuum(evidence: &Evidence<'_>) -> Option<Finding> {
    let (views, bloat) = (evidence.views, evidence.bloat);
    // A recent vacuum did get the lock.
    let vacuumed = |row: usize| {
        let ago = bloat.get(row, "last_vacuum_s").number();
        ago.is_some_and(|ago| ago < LATELY_S)
    };
    let overdue = |row: usize| {
        bloat.get(row, "n_dead").int().unwrap_or(0) >= MANY
            && !vacuumed(row)
            && bloat.get(row, "autovacuum_due").number().unwrap_or(0.0) >= OVERDUE
    };
    let (view, row, busy) = (0..views.rows.len())
        .filter_map(|row| {
            let view = views.get(row, "view").text()?;
            let busy = views.get(row, "refresh_share").number()?;
            Some((view, bloat_of(bloat, view)?, busy))
        })
        .find(|(_, row, busy)| *busy >= BUSY && overdue(*row))?;
    let dead = format::count(bloat.get(row, "n_dead").number().unwrap_or(0.0));
    let busy = format::percent(busy * 100.0);
    Some(Finding {
        health: Health::Warning,
        explains: &["dead"],
        subject: view.to_owned(),
        sentence: format!(
            "{view}: {dead} dead rows: refreshes hold its lock {busy} of the time, autovacuum never gets it"
        ),
        cure: format!(
            "refresh it less often, or {} in between",
            super::tables::vacuum(evidence, row)
        ),
        evidence: vec![
            fact("dead rows", dead),
            fact("refreshed", format!("{busy} of the last minutes")),
        ],
        ..Finding::default()
    })
}
