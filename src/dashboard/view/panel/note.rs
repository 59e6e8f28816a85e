//! The note at the right of a panel's title.

use super::timeline;
use crate::config::WorkClass;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Link, Model, Screen};
use crate::dashboard::panels::spec::Pool;
use crate::dashboard::rows::{self, Rows, read};
use crate::format;

/// Returns the note at the right of the title: trouble first, else a figure of the panel.
pub(super) fn note(model: &Model, feed: &Feed, stale: bool) -> Option<String> {
    if let Some(note) = model.olap_note(feed).filter(|_| model.link(feed).usable()) {
        return Some(note);
    }
    if stale {
        let age = model.age_s(feed).map(format::seconds).unwrap_or_default();
        let link = model.link(feed);
        let why = match (link, &model.fast) {
            (lost, _) if feed.spec.front.pool == Pool::Pooler => super::super::unconnected(lost),
            // The error says what is lost.
            (Link::Lost { error, .. }, _) if feed.spec.front.pool == Pool::Columnar => {
                format!(", {error}")
            }
            (Link::Lost { given_up: true, .. }, _) => ", not connected".into(),
            (Link::Lost { attempt, .. }, _) | (_, Link::Lost { attempt, .. }) => {
                format!(", {}", super::super::connecting(*attempt))
            }
            _ if model.is_in_background() => ", in the background".into(),
            _ => ", no answer".into(),
        };
        return Some(format!("{age} old{why}"));
    }
    if let (Some(error), Some(_)) = (&feed.sampling.error, feed.sampling.at) {
        let age = model.age_s(feed).map(format::seconds).unwrap_or_default();
        return Some(format!("{age} old: {error}"));
    }
    figure(model, feed).or_else(|| {
        // Where else its figures could come from.
        let moved = feed.spec.front.pool == Pool::Columnar && feed.sampling.at.is_some();
        let room = matches!(model.screen, Screen::Full(_));
        (moved && room).then(|| "column store".to_owned())
    })
}

/// Returns the figure of a panel that its title has room for.
fn figure(model: &Model, feed: &Feed) -> Option<String> {
    match feed.panel? {
        rows::Panel::Activity => Some(hidden_note(model).unwrap_or_else(|| sessions_note(model))),
        rows::Panel::Timeline => {
            let legend = || (model.screen == Screen::Overview).then(|| timeline::named(model));
            hidden_note(model).or_else(legend)
        }
        rows::Panel::Waits => hidden_note(model),
        rows::Panel::Statements => model.statements_note(),
        rows::Panel::Pooler => model.pooler_note(),
        rows::Panel::Host => model.host_note(),
        rows::Panel::HourlySales => {
            let hours = Rows::<read::HourlySales>::of(&feed.table).iter();
            let sales = hours.filter_map(|row| row.sales());
            let known = feed.sampling.at.is_some();
            known.then(|| format!("{} in all", format::short(sales.sum())))
        }
        rows::Panel::Database => model.oltp_note(),
        rows::Panel::Views => model.running.first().map(|running| {
            format!(
                "{}, {}",
                running.action.describe(),
                format::seconds(model.now.since(running.since))
            )
        }),
        _ => None,
    }
}

/// Returns how many sessions the server hides from the current role and how to see them, if it hides any.
fn hidden_note(model: &Model) -> Option<String> {
    let restricted = model.history.oltp.restricted;
    let role = model.fact().current_user().text().unwrap_or("this role");
    (restricted > 0).then(|| format!("{restricted} sessions hidden: GRANT pg_monitor TO {role}"))
}

fn sessions_note(model: &Model) -> String {
    let sessions = &model.history.oltp.sessions;
    let count = |class| sessions.get(&class).copied().unwrap_or(0);
    let (short, long) = (count(WorkClass::Oltp), count(WorkClass::Olap));
    format!("{short} oltp · {long} olap")
}
