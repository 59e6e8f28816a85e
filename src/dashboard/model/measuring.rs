//! Exact sizes on demand, after a confirmation that states the cost.

use super::{Confirm, Model, Popup};
use crate::dashboard::action::{Action, Grade};
use crate::dashboard::rows::{Panel, Row, Rows, Text, read};
use crate::format;

/// Reads the name of a table or index.
type Name = for<'t> fn(Row<'t, read::Measurable>) -> Text<'t>;

impl Model {
    /// The names in the focused panel, if its rows can be measured.
    fn measurable(&self) -> Option<Name> {
        match self.feed(self.focus)?.panel? {
            Panel::Bloat | Panel::Tables | Panel::Vacuum => Some(|row| row.relation()),
            Panel::Indexes => Some(|row| row.index()),
            _ => None,
        }
    }

    /// Asks the user to confirm measuring the selected relation.
    pub(super) fn ask_measure(&mut self) {
        if self.barred() {
            return;
        }
        let chosen = self.measurable().and_then(|name| {
            let feed = self.feed(self.focus)?;
            let row = Rows::of(&feed.table).at(self.row_meant(self.focus)?);
            let (shown, raw) = (name(row).text()?, name(row).raw()?);
            let raw = (raw != shown).then(|| raw.to_owned());
            Some((row.relid()?, shown.to_owned(), raw, row.size_bytes()))
        });
        let Some((relid, relation, raw, size)) = chosen else {
            let why = format!(
                "select a table or an index first: {} bloat, {} tables, {} indexes",
                self.way_to("bloat"),
                self.way_to("tables"),
                self.way_to("indexes")
            );
            self.say(Grade::Doubtful, &why);
            return;
        };
        let size = size.map_or_else(|| "unknown size".into(), format::bytes);
        self.popup = Some(Popup::Confirm(Confirm {
            lines: vec![
                format!("Measure {relation} exactly ({size})?"),
                "pgstattuple reads every page once, from disk unless cached, for at most 10 minutes.".into(),
                self.config.keys.fill(
                    "It takes an ACCESS SHARE lock and holds a snapshot while it reads; {cancel} here ends it.",
                ),
            ],
            actions: vec![Action::Measure {
                relid,
                relation,
                raw,
            }],
            ..Confirm::default()
        }));
    }

    /// Asks the user to confirm cancelling a running measurement; returns false if none runs or the focused
    /// panel has no measurable rows.
    pub(super) fn ask_cancel_measure(&mut self) -> bool {
        let measuring =
            |running: &&super::Running| matches!(running.action, Action::Measure { .. });
        let running = self.running.iter().find(measuring);
        let Some(running) = running.filter(|_| self.measurable().is_some()) else {
            return false;
        };
        let for_s = format::seconds(self.now.since(running.since));
        self.popup = Some(Popup::Confirm(Confirm {
            lines: vec![format!(
                "Cancel our {}, running {for_s}?",
                running.action.describe()
            )],
            cancels: Some(running.id),
            ..Confirm::default()
        }));
        true
    }
}
