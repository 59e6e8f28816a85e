//! What a sync takes out of the manifest and removes from the folder.

use super::Sync;
use crate::columnar::error::ColumnarError;
use crate::columnar::hours::{ALWAYS, Dirty, answered};
use crate::columnar::manifest::{self, Held, Manifest};
use crate::columnar::report;
use crate::pg::Param;
use std::collections::BTreeSet;

impl Sync {
    /// Takes files out of the manifest that are missing, of another length or format or, where `whole`, of another content,
    /// and says so. Their hours count as changed: an older file may hold them, too. Also returns their numbers.
    pub(super) async fn discard_damaged(
        &mut self,
        store: &Manifest,
        whole: impl Fn(i64) -> bool,
    ) -> Result<(Vec<String>, Vec<i64>), ColumnarError> {
        let mut notes = Vec::new();
        let mut damaged = Vec::new();
        for (table, entry) in store.files() {
            let (name, whole) = (entry.name(table, &store.store), whole(entry.span.id));
            if let Some(why) = self.files.fault(&name, entry, whole).await? {
                report::damage(&self.client, entry.span.id, &why).await?;
                notes.push(format!(
                    "{} {why}: its hours are written anew",
                    self.files.path(&name)
                ));
                damaged.push(entry.span.id);
            }
        }
        manifest::discard(&self.client, &damaged).await?;
        Ok((notes, damaged))
    }

    /// Takes out files whose hours all lie before `first`.
    pub(super) async fn forget_before(&self, held: &Held, first: i64) -> Result<(), ColumnarError> {
        let old = held
            .files
            .iter()
            .filter(|file| file.span.hours.end <= first);
        let old: Vec<i64> = old.map(|file| file.span.id).collect();
        manifest::discard(&self.client, &old).await
    }

    /// Takes out files that no longer answer for any hour, forgets changes of hours that no file holds, and removes files that
    /// the manifest does not name. Returns the number of files left.
    pub(super) async fn tidy(&mut self, notes: &mut Vec<String>) -> Result<usize, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        let begun = self
            .client
            .begin_as("ISOLATION LEVEL REPEATABLE READ", "")
            .await;
        begun.map_err(writing())?;
        let tidied = self.tidy_in_transaction().await;
        let files = match tidied {
            Ok(files) => self
                .client
                .commit()
                .await
                .map_err(writing())
                .map(|()| files),
            Err(error) => {
                let _ = self.client.rollback().await;
                Err(error)
            }
        }?;
        let removed = self.files.remove_orphans(&self.store, &files).await?;
        notes.extend(removed);
        Ok(files.len())
    }

    /// Returns the names of the files left.
    async fn tidy_in_transaction(&self) -> Result<BTreeSet<String>, ColumnarError> {
        let store = self.read().await?;
        let mut named = BTreeSet::new();
        for held in &store.held {
            let live = self.tidy_table(held).await?;
            let kept = held
                .files
                .iter()
                .filter(|file| live.contains(&file.span.id));
            named.extend(kept.map(|file| file.name(held.table, &store.store)));
        }
        Ok(named)
    }

    /// Returns the numbers of the files left.
    async fn tidy_table(&self, held: &Held) -> Result<BTreeSet<i64>, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        let answering = answered(held.spans(), &Dirty::default(), &ALWAYS);
        let live: BTreeSet<i64> = answering.values().copied().collect();
        let idle = held.spans().map(|span| span.id);
        let idle: Vec<i64> = idle.filter(|id| !live.contains(id)).collect();
        if !idle.is_empty() {
            let delete = "DELETE FROM htap.column_file AS f WHERE f.file_id = ANY ($1)";
            self.client
                .execute(delete, &[Param::Ints(&idle)])
                .await
                .map_err(writing())?;
        }
        // Those before the first file get one in the next round, unless they are too old.
        let end = held.spans().map(|span| span.hours.end).max();
        let open = |hour: &i64| {
            end.is_none_or(|end| *hour >= end)
                || self.options.keep.is_some() && !answering.contains_key(hour)
        };
        let unheld: Vec<i64> = held.dirty.hours.iter().copied().filter(open).collect();
        if !unheld.is_empty() {
            let forget = "
                DELETE FROM htap.column_dirty AS d WHERE d.relation = $1 AND isfinite(d.hour) AND d.hour = ANY (
                    SELECT to_timestamp(h * 3600.0) FROM unnest($2) AS h)";
            let params = [Param::Text(held.table.name), Param::Ints(&unheld)];
            self.client
                .execute(forget, &params)
                .await
                .map_err(writing())?;
        }
        Ok(live)
    }
}
