//! A table as the engine sees it: closed hours from column files, all others from PostgreSQL, in one snapshot.

use super::error::ColumnarError;
use super::file::Writer;
use super::hours::{answered, ranges};
use super::manifest::{Held, HourRows, Manifest};
use super::pushed::{Pushed, is_of_hours, needed};
use super::reader::{Opened, Readers};
use super::rows;
use super::share::{Share, divided, select, selected};
use super::table::Table;
use super::tally::Tally;
use super::zone::Zone;
use crate::pg::Client;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use parquet::arrow::arrow_reader::RowSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The store in the snapshot of an open transaction.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// The session whose transaction it is.
    pub(super) client: Arc<Client>,
    /// The manifest that it sees.
    pub(super) manifest: Arc<Manifest>,
    /// The files of the manifest, opened: whatever is removed meanwhile can still be read.
    pub(super) files: Arc<BTreeMap<i64, Arc<Opened>>>,
    /// Rows of their hours.
    pub(super) hour_rows: Arc<HourRows>,
    /// Whether the database orders texts by their bytes.
    pub(super) bytewise: bool,
    /// The time zone of the transaction.
    pub(super) zone: Arc<Zone>,
    /// What was read.
    pub(super) tally: Arc<Tally>,
    /// Folder for temporary files.
    pub(super) spill: PathBuf,
    /// Only plans: reads no row from the server.
    pub(super) dry: bool,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// A table of the store.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) table: &'static Table,
    pub(super) snapshot: Arc<Snapshot>,
}

/// Ranges of hours from which whole days are read from the server, so that the statement stays short.
const MANY_RANGES: usize = 100;

#[async_trait]
impl TableProvider for Scanned {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The engine applies each filter once more, but not those for whole hours: it then need not read the times.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let filters = filters.iter().map(|filter| {
            if is_of_hours(self.table, filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        });
        Ok(filters.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let snapshot = &self.snapshot;
        let pushed = Pushed::of(self.table, filters);
        let hours = pushed.hours();
        let external = |error: ColumnarError| DataFusionError::External(Box::new(error));
        let store = snapshot.manifest.of(self.table).map_err(external)?;
        store.need_usable().map_err(external)?;
        let mut held = answered(store.spans(), &store.dirty, &hours);
        let open = from_rows(&mut held, &hours);
        let mut files = self.files(store, &held)?;
        if !snapshot.dry {
            let wanted = needed(self.table, projection, filters);
            files.extend(self.rows(&open, &pushed, &wanted).await.map_err(external)?);
        }
        let shares = divided(files, state.config().target_partitions());
        let groups = shares.into_iter().map(group).collect();
        let source = ParquetSource::new(self.schema())
            .with_parquet_file_reader_factory(Arc::new(Readers {
                tally: Arc::clone(&snapshot.tally),
            }))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                .with_file_groups(groups)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl Scanned {
    /// The files that answer for hours, each with the rows of its hours alone.
    fn files(&self, store: &Held, held: &BTreeMap<i64, i64>) -> Result<Vec<Part>, DataFusionError> {
        let snapshot = &self.snapshot;
        let mut of_file: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for (hour, file) in held {
            of_file.entry(*file).or_default().insert(*hour);
        }
        let (mut files, mut rows) = (Vec::new(), 0);
        for (id, hours) in of_file {
            let opened = store.file(id).zip(snapshot.files.get(&id));
            let opened = opened.zip(snapshot.hour_rows.get(&id));
            let Some(((entry, opened), hour_rows)) = opened else {
                return Err(DataFusionError::Internal(format!(
                    "file {id} was not opened"
                )));
            };
            let wanted = select(entry.span.hours.start, hour_rows, &hours);
            let count = selected(&wanted);
            rows += count as u64;
            if count > 0 {
                files.push(((Arc::clone(opened), entry.bytes), wanted));
            }
        }
        let tally = &snapshot.tally;
        tally.files.fetch_add(files.len() as u64, Ordering::Relaxed);
        tally
            .all_files
            .fetch_add(store.files.len() as u64, Ordering::Relaxed);
        tally.file_rows.fetch_add(rows, Ordering::Relaxed);
        let changed = store.dirty.hours.len() as u64;
        tally.changed.fetch_add(changed, Ordering::Relaxed);
        tally
            .all_changed
            .fetch_or(store.dirty.all, Ordering::Relaxed);
        Ok(files)
    }

    /// The rows of hours that no file answers for, as a file that only this query has.
    async fn rows(
        &self,
        open: &[Range<i64>],
        pushed: &Pushed,
        wanted: &[bool],
    ) -> Result<Option<Part>, ColumnarError> {
        if open.is_empty() {
            return Ok(None);
        }
        let snapshot = &self.snapshot;
        let failed = || ColumnarError::file("write a temporary file in", &snapshot.spill);
        let file = tempfile::tempfile_in(&snapshot.spill).map_err(failed())?;
        let mut writer = Writer::of_any_hours(file, self.table).map_err(failed())?;
        let clause = format!("WHERE ({}){}", rows::within(self.table, open), pushed.sql());
        let read = rows::read(&snapshot.client, self.table, wanted, &clause, |batch| {
            writer.add(&batch).map_err(failed())
        });
        let rows = read.await?;
        let file = writer.finish().map_err(failed())?;
        snapshot
            .tally
            .server_rows
            .fetch_add(rows, Ordering::Relaxed);
        if rows == 0 {
            return Ok(None);
        }
        let bytes = file.metadata().map_err(failed())?.len();
        let opened = Arc::new(Opened::temporary(file, bytes));
        let all = RowSelector::select(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(Some(((opened, bytes), vec![all])))
    }
}

/// An open file with its length, and which of its rows are read.
type Part = ((Arc<Opened>, u64), Vec<RowSelector>);

/// What one thread reads, as the engine takes it.
fn group(share: Share<(Arc<Opened>, u64)>) -> FileGroup {
    let files = share.into_iter().map(|((opened, bytes), rows)| {
        let file = PartitionedFile::new(opened.name.clone(), bytes).with_extension(opened);
        match rows {
            None => file,
            Some(rows) => file.with_extension(ParquetRowSelection::new(rows)),
        }
    });
    FileGroup::new(files.collect())
}

/// The hours that must come from the server; infinite ends are those of [`i64`]. Where they lie in many pieces, they come in
/// whole days, and `held` loses these.
fn from_rows(held: &mut BTreeMap<i64, i64>, hours: &Range<i64>) -> Vec<Range<i64>> {
    let open = gaps(held, hours);
    if open.len() <= MANY_RANGES {
        return open;
    }
    let days: BTreeSet<i64> = open
        .iter()
        .flat_map(|range| {
            let (first, last) = (
                range.start.div_euclid(24),
                (range.end.saturating_sub(1)).div_euclid(24),
            );
            // Of an unbounded range nothing is held but at its end.
            [first, last]
                .into_iter()
                .chain(if last.saturating_sub(first) < 10_000 {
                    first..last
                } else {
                    0..0
                })
        })
        .collect();
    held.retain(|hour, _| !days.contains(&hour.div_euclid(24)));
    gaps(held, hours)
}

/// The parts of `hours` between those that are held.
fn gaps(held: &BTreeMap<i64, i64>, hours: &Range<i64>) -> Vec<Range<i64>> {
    let mut gaps = Vec::new();
    let mut at = hours.start;
    for range in ranges(held.range(hours.clone()).map(|(hour, _)| *hour)) {
        if at < range.start {
            gaps.push(at..range.start);
        }
        at = range.end;
    }
    if at < hours.end {
        gaps.push(at..hours.end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_holds_comes_from_the_server() {
        let mut held: BTreeMap<i64, i64> = [(5, 1), (6, 1), (8, 2)].into();
        assert_eq!(from_rows(&mut held, &(0..10)), [0..5, 7..8, 9..10]);
        assert_eq!(from_rows(&mut held, &(5..7)), []);
        assert_eq!(
            from_rows(&mut held, &(i64::MIN..i64::MAX)),
            [i64::MIN..5, 7..8, 9..i64::MAX]
        );
        // Every other hour of ten days: they come as days.
        let even = (0..240).filter(|hour| hour % 2 == 0);
        let mut held: BTreeMap<i64, i64> = even.chain(300..400).map(|hour| (hour, 1)).collect();
        assert_eq!(
            from_rows(&mut held, &(i64::MIN..400)),
            std::slice::from_ref(&(i64::MIN..312))
        );
        assert_eq!(held.len(), 88);
    }
}
