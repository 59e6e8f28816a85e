//! Which rows of which files are read together. Pure.

use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use std::collections::BTreeSet;

/// The rows of a file that belong to `hours`, of all that it has. `hour_rows` are those of each of its hours, from `first` on.
pub(super) fn select(first: i64, hour_rows: &[u64], hours: &BTreeSet<i64>) -> Vec<RowSelector> {
    let selectors = (first..).zip(hour_rows).map(|(hour, rows)| {
        // Sums of them cannot overflow, whatever the manifest says.
        let count = u32::try_from(*rows).unwrap_or(u32::MAX) as usize;
        if hours.contains(&hour) {
            RowSelector::select(count)
        } else {
            RowSelector::skip(count)
        }
    });
    selectors
        .filter(|selector| selector.row_count > 0)
        .collect()
}

/// The number of rows that are read.
pub(super) fn selected(selectors: &[RowSelector]) -> usize {
    let read = selectors.iter().filter(|selector| !selector.skip);
    read.map(|selector| selector.row_count).sum()
}

/// Rows that are worth a thread of their own.
const WORTH_A_THREAD: usize = 32_768;

/// Files that are read one after the other, each with its rows; `None` are all.
pub(super) type Share<F> = Vec<(F, Option<RowSelection>)>;

/// Divides the rows of files into at most `most` shares of about equal size. The engine would divide files by bytes, which gives the
/// last week of a month's file to one thread.
pub(super) fn divided<F: Clone>(files: Vec<(F, Vec<RowSelector>)>, most: usize) -> Vec<Share<F>> {
    let rows: usize = files.iter().map(|(_, rows)| selected(rows)).sum();
    let enough = rows.div_ceil(most.max(1)).max(WORTH_A_THREAD);
    let (mut shares, mut share, mut room) = (Vec::new(), Share::new(), enough);
    for (file, selectors) in files {
        let (mut part, mut position) = (Vec::new(), 0);
        let all: usize = selectors.iter().map(|selector| selector.row_count).sum();
        for selector in selectors {
            let mut left = selector.row_count;
            if selector.skip {
                part.push(selector);
                position += left;
                continue;
            }
            while left > 0 {
                if room == 0 {
                    part.push(RowSelector::skip(all - position));
                    share.extend(read(file.clone(), part));
                    shares.push(std::mem::take(&mut share));
                    part = vec![RowSelector::skip(position)];
                    room = enough;
                }
                let taken = left.min(room);
                part.push(RowSelector::select(taken));
                room -= taken;
                left -= taken;
                position += taken;
            }
        }
        share.extend(read(file, part));
    }
    if !share.is_empty() {
        shares.push(share);
    }
    shares
}

/// The rows of a file, if any are read.
fn read<F>(file: F, selectors: Vec<RowSelector>) -> Option<(F, Option<RowSelection>)> {
    let rows = RowSelection::from(selectors);
    let skips = rows.iter().any(|selector| selector.skip);
    rows.selects_any()
        .then_some((file, if skips { Some(rows) } else { None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_hours_are_skipped() {
        let rows = select(10, &[3, 0, 4, 5], &BTreeSet::from([10, 11, 13]));
        assert_eq!(
            rows,
            [
                RowSelector::select(3),
                RowSelector::skip(4),
                RowSelector::select(5)
            ]
        );
        assert_eq!(selected(&rows), 8);
        // A manifest that was altered: the engine refuses such a selection.
        let rows = select(0, &[u64::MAX; 3], &BTreeSet::from([0, 1, 2]));
        assert_eq!(divided(vec![('a', rows)], 2).len(), 2);
    }

    fn rows(share: &Share<char>) -> Vec<(char, Vec<(usize, bool)>)> {
        let parts = share.iter().map(|(file, rows)| {
            let rows = rows.iter().flat_map(RowSelection::iter);
            (
                *file,
                rows.map(|rows| (rows.row_count, !rows.skip)).collect(),
            )
        });
        parts.collect()
    }

    #[test]
    fn each_thread_has_as_many_rows() {
        let files = vec![
            ('a', vec![RowSelector::select(10_000)]),
            (
                'b',
                vec![
                    RowSelector::select(70_000),
                    RowSelector::skip(1_000),
                    RowSelector::select(20_000),
                    RowSelector::skip(500),
                ],
            ),
        ];
        let shares = divided(files.clone(), 2);
        assert_eq!(shares.len(), 2);
        assert_eq!(
            rows(&shares[0]),
            [('a', vec![]), ('b', vec![(40_000, true), (51_500, false)])]
        );
        assert_eq!(
            rows(&shares[1]),
            [(
                'b',
                vec![
                    (40_000, false),
                    (30_000, true),
                    (1_000, false),
                    (20_000, true),
                    (500, false)
                ]
            )]
        );
        // A file that ends with a share is in no other.
        let files = ['a', 'b'].map(|file| (file, vec![RowSelector::select(50_000)]));
        let shares = divided(files.to_vec(), 2);
        let files: Vec<_> = shares.iter().map(rows).collect();
        assert_eq!(files, [[('a', vec![])], [('b', vec![])]]);
        // Few rows are one thread's, and no rows nobody's.
        let few = vec![('a', vec![RowSelector::select(32_000)])];
        assert_eq!(divided(few, 8).len(), 1);
        assert_eq!(
            divided(vec![('a', vec![RowSelector::select(100_000)])], 8).len(),
            4
        );
        assert!(divided(vec![('a', vec![RowSelector::skip(9)])], 8).is_empty());
        assert!(divided::<char>(Vec::new(), 8).is_empty());
    }
}
