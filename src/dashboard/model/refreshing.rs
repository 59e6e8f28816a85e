//! Refreshes: the views that can be refreshed, the mode and the order.

use super::{Confirm, Model, Popup};
use crate::dashboard::action::{Action, Grade};
use crate::dashboard::rows::{Panel, Row, Rows, read};
use crate::format;
use crate::system::refresh::{Kind, Mode, View};

impl Model {
    pub(super) fn ask_cancel_refresh(&mut self) {
        let running = self
            .running
            .iter()
            .find(|running| matches!(running.action, Action::Refresh { .. }));
        let Some(running) = running else {
            if !self.queue.is_empty() {
                let dropped = self.queue.len();
                self.queue.clear();
                let text = format!("dropped {dropped} refreshes that the guard held back");
                self.say(Grade::Good, &text);
                return;
            }
            let text = format!(
                "none of our refreshes is running; to cancel another's, select its backend ({})",
                self.way_to("activity")
            );
            self.say(Grade::Doubtful, &text);
            return;
        };
        let for_s = format::seconds(self.now.since(running.since));
        let cancels = Some(running.id);
        let mut lines = vec![format!(
            "Cancel our {}, running {for_s}?",
            running.action.describe()
        )];
        if !self.queue.is_empty() {
            lines.push(format!(
                "The {} refreshes waiting behind it are dropped too.",
                self.queue.len()
            ));
        }
        lines.push("The view stays as it is.".into());
        self.popup = Some(Popup::Confirm(Confirm {
            lines,
            cancels,
            ..Confirm::default()
        }));
    }

    pub(super) fn ask_refresh(&mut self) {
        if self.barred() {
            return;
        }
        let Some(id) = self.id_of(Panel::Views) else {
            self.say(Grade::Doubtful, "the views panel is off");
            return;
        };
        let Some(feed) = self.feed(id) else { return };
        let Some(row) = self.row_meant(id) else {
            self.say(Grade::Doubtful, "this database has no materialized view");
            return;
        };
        let row = Rows::<read::View>::of(&feed.table).at(row);
        let name = row.view().shown().to_owned();
        if let Some(why) = refusal(row) {
            self.say(
                Grade::Bad,
                &format!("{name} cannot be refreshed here: {why}"),
            );
            return;
        }
        let Some(view) = view(row) else { return };
        let last = row.last_s();
        let last = last.map(|last| format!(" Last time it took {}.", format::seconds(last)));
        let last = last.unwrap_or_default();
        let mode = best_mode(row);
        let mut lines = Vec::new();
        if mode == Mode::Incremental {
            lines.push(format!("Merge the changes into {name}?{last}"));
            lines.push(
                "Readers are not blocked. If it must be rebuilt, that takes a separate transaction."
                    .into(),
            );
        } else if mode == Mode::Concurrent {
            lines.push(format!("Refresh {name} CONCURRENTLY?{last}"));
            lines.push(
                "Readers are not blocked. It takes an EXCLUSIVE lock and holds a snapshot while it runs."
                    .into(),
            );
        } else {
            let why = row.concurrent_reason().text().unwrap_or("unknown");
            lines.push(format!("{name} cannot be refreshed CONCURRENTLY: {why}."));
            lines.push(format!("Run a plain refresh instead?{last}"));
            lines.push("It takes an ACCESS EXCLUSIVE lock: every reader of the view waits until it is done.".into());
        }
        let actions = vec![Action::Refresh { view, mode }];
        self.popup = Some(Popup::Confirm(Confirm {
            lines,
            actions,
            ..Confirm::default()
        }));
    }

    /// Asks to refresh all views that can be refreshed concurrently, dependencies first.
    pub(super) fn ask_refresh_all(&mut self) {
        if self.barred() {
            return;
        }
        let views = Rows::of(self.rows(Panel::Views));
        let mut actions = Vec::new();
        let mut skipped = Vec::new();
        for row in in_order(views) {
            let name = row.view().shown();
            match (refusal(row), best_mode(row)) {
                (Some(why), _) => skipped.push(format!("{name}: {why}")),
                (None, Mode::Full) => {
                    let why = row.concurrent_reason().text().unwrap_or("unknown");
                    skipped.push(format!("{name}: not CONCURRENTLY ({why})"));
                }
                (None, mode) => {
                    if let Some(view) = view(row) {
                        actions.push(Action::Refresh { view, mode });
                    }
                }
            }
        }
        if actions.is_empty() {
            let why = skipped.join("; ");
            self.say(
                Grade::Doubtful,
                &format!("no materialized view can be refreshed CONCURRENTLY. {why}"),
            );
            return;
        }
        let mut lines = vec!["Refresh these, views CONCURRENTLY, one after the other?".to_owned()];
        lines.extend(actions.iter().filter_map(|action| match action {
            Action::Refresh { view, mode } => Some(match mode {
                Mode::Incremental => format!("{view} (merges the changes)"),
                Mode::Concurrent | Mode::Full => view.to_string(),
            }),
            _ => None,
        }));
        lines.push(String::new());
        lines.extend(skipped.iter().map(|why| format!("Left out: {why}")));
        lines.push(
            "Readers are not blocked. Each refresh takes an EXCLUSIVE lock and holds a snapshot while it runs."
                .into(),
        );
        self.popup = Some(Popup::Confirm(Confirm {
            lines,
            actions,
            ..Confirm::default()
        }));
    }

    pub(super) fn note_refresh(&mut self, view: &View, seconds: f64) {
        if let Some(relid) = view.relid {
            self.memory.views.took(relid, seconds);
        }
    }
}

/// Returns the least disruptive of the modes possible for a view.
fn best_mode(row: Row<'_, read::View>) -> Mode {
    Kind::from_word(row.kind().shown()).best_mode(row.concurrent_ok() == Some(true))
}

/// Returns the reason why a view cannot be refreshed here at all.
fn refusal(row: Row<'_, read::View>) -> Option<String> {
    if row.on_standby() == Some(true) {
        return Some("this server is a standby: refresh on the primary".into());
    }
    if row.may_refresh() == Some(false) {
        let owner = row.owner().text().unwrap_or("its owner");
        return Some(format!(
            "only {owner} and members of that role may refresh it (17 and later: or MAINTAIN); doctor says how"
        ));
    }
    None
}

fn view(row: Row<'_, read::View>) -> Option<View> {
    let (schema, name) = (row.schemaname(), row.matviewname());
    let shown = View::new(schema.text()?, name.text()?);
    let relid = Some(row.relid()?);
    let raw = View::new(schema.raw()?, name.raw()?);
    Some(View {
        relid,
        raw: (raw != shown).then(|| raw.to_string()),
        ..shown
    })
}

/// Orders rows so that each comes after all it depends on; rows of a cycle come last.
fn in_order(views: Rows<'_, read::View>) -> Vec<Row<'_, read::View>> {
    let relid = |row: &Row<'_, read::View>| row.relid().unwrap_or(0);
    let mut open: Vec<Row<'_, read::View>> = views.iter().collect();
    let mut ordered = Vec::new();
    while !open.is_empty() {
        let waiting: Vec<i64> = open.iter().map(relid).collect();
        let ready = |row: &Row<'_, read::View>| {
            let depends = row.depends_on().shown().split(',');
            let mut depends = depends.filter_map(|id| id.trim().parse::<i64>().ok());
            !depends.any(|id| id != relid(row) && waiting.contains(&id))
        };
        let (mut next, rest): (Vec<_>, Vec<_>) = open.iter().copied().partition(ready);
        if next.is_empty() {
            next = rest;
            open = Vec::new();
        } else {
            open = rest;
        }
        ordered.extend(next);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Table, Value};

    #[test]
    fn a_view_is_refreshed_after_what_it_reads() {
        let row = |id, on: &str| vec![Value::Int(id), on.into()];
        let table = Table {
            columns: ["relid".into(), "depends_on".into()].into(),
            rows: vec![
                row(1, "2"),
                row(2, "3, 9"),
                row(3, ""),
                row(4, "5"),
                row(5, "4"),
            ],
        };
        let ordered = in_order(Rows::of(&table)).into_iter();
        let ordered: Vec<usize> = ordered.map(|row| row.position()).collect();
        assert_eq!(ordered, [2, 1, 0, 3, 4]);
    }
}
