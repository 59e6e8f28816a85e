//! Materialized views and summaries.

use super::RESUME;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::freshness::latest_wanted;
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::panels::views::in_words;
use crate::dashboard::rows::{Row, Rows, read};
use crate::format;
use crate::pg::Value;

/// Returns the reason why no key refreshes a view here, in few words that name the role or server to use.
pub(super) fn refusal(evidence: &Evidence<'_>, view: Row<'_, read::View>) -> Option<String> {
    if view.on_standby() == Some(true) || evidence.facts.in_recovery() == Some(true) {
        return Some("refresh it on the primary".into());
    }
    if view.may_refresh() == Some(false) {
        // The owner of the shop cannot log in.
        let who = match view.owner().text() {
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
pub(super) fn late_view(evidence: &Evidence<'_>) -> Option<Finding> {
    let views = evidence.views;
    let is_late = |row: &Row<'_, read::View>| {
        // An upper bound of the age does not prove that the view is late.
        row.late() >= Some(1.0) && !matches!(row.fresh_s(), Value::AtMost(_))
    };
    let wanted = latest_wanted(views).filter(is_late);
    let own = || {
        let mut own = views.iter().filter(|row| row.target_own() == Some(true));
        own.find(is_late)
    };
    let row = wanted.or_else(own)?;
    let seconds = |figure: Option<f64>| figure.map_or_else(|| "?".into(), format::seconds);
    let view = row.view().shown();
    let state = in_words(row.state().shown());
    let (what, cure) = match state.as_str() {
        _ if evidence.replication.first().replay_paused() == Some(true) => {
            ("replay is paused on this standby", RESUME)
        }
        "idle" => ("no refresh runs", "{refresh} refreshes it"),
        backlog if backlog.starts_with("backlog") => (backlog, "{refresh} merges it"),
        other => (other, ""),
    };
    let refusal = refusal(evidence, row).filter(|_| cure.starts_with("{refresh}"));
    let cure = refusal.unwrap_or_else(|| evidence.config.keys.fill(cure));
    let [source, mode] = [row.source(), row.mode()].map(|text| text.text().unwrap_or("?"));
    let fresh = row.fresh_s();
    let age = format!("{}{}", fresh.sign(), seconds(fresh.number()));
    let target = seconds(row.target_s());
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
            fact("age", format!("{age} ({source})")),
            fact("target", target),
            fact("kept by", mode),
            fact("last refresh took", seconds(row.last_s())),
            fact("state", state),
        ],
        ..Finding::default()
    })
}

/// Finds a summary that, by the refresher's check, differs from the shop however fresh it is.
pub(super) fn wrong_summary(evidence: &Evidence<'_>) -> Option<Finding> {
    let views = evidence.views.iter();
    let wrong: Vec<_> = views
        .filter_map(|row| row.view().text().zip(row.uncaptured().text()))
        .collect();
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
fn bloat_of<'t>(bloat: Rows<'t, read::Relation>, view: &str) -> Option<Row<'t, read::Relation>> {
    let name = view.strip_prefix("public.").unwrap_or(view);
    bloat.iter().find(|row| row.relation().is(name))
}

/// Dead rows from which a view is judged.
const MANY: i64 = 5_000;
/// Dead rows as a percentage of rows from which a view is bloated rather than just refreshed.
const BLOATED_PCT: f64 = 50.0;

/// Finds a view with a column such as now(), which makes every row new at each refresh.
pub(super) fn now_view(evidence: &Evidence<'_>) -> Option<Finding> {
    let (views, bloat) = (evidence.views, evidence.bloat);
    let (view, row) = views
        .iter()
        .filter(|row| row.def_has_now() == Some(true) && row.concurrent_ok() == Some(true))
        .filter_map(|row| {
            let view = row.view().text()?;
            Some((view, bloat_of(bloat, view)?))
        })
        .find(|(_, row)| row.n_dead() >= Some(MANY) && row.dead_pct() >= Some(BLOATED_PCT))?;
    let dead = format::count(row.n_dead().unwrap_or(0) as f64);
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
pub(super) fn starved_vacuum(evidence: &Evidence<'_>) -> Option<Finding> {
    let (views, bloat) = (evidence.views, evidence.bloat);
    // A recent vacuum did get the lock.
    let vacuumed =
        |row: &Row<'_, read::Relation>| row.last_vacuum_s().is_some_and(|ago| ago < LATELY_S);
    let overdue = |row: &Row<'_, read::Relation>| {
        row.n_dead() >= Some(MANY) && !vacuumed(row) && row.autovacuum_due() >= Some(OVERDUE)
    };
    let (view, row, busy) = views
        .iter()
        .filter_map(|row| {
            let view = row.view().text()?;
            let busy = row.refresh_share()?;
            Some((view, bloat_of(bloat, view)?, busy))
        })
        .find(|(_, row, busy)| *busy >= BUSY && overdue(row))?;
    let dead = format::count(row.n_dead().unwrap_or(0) as f64);
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
