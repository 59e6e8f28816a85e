//! Which rows of which files each thread reads. Pure.

use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use std::collections::BTreeSet;

/// The hours of a file that have rows, and their number.
pub(super) fn with_rows(first: i64, hour_rows: &[u64]) -> impl Iterator<Item = (i64, u64)> {
    let hours = (first..).zip(hour_rows.iter().copied());
    hours.filter(|(_, rows)| *rows > 0)
}

/// The rows of a file that belong to `hours`; `None` if all do.
pub(super) fn select(first: i64, hour_rows: &[u64], hours: &BTreeSet<i64>) -> Option<RowSelection> {
    let selectors: Vec<RowSelector> = with_rows(first, hour_rows)
        .map(|(hour, rows)| {
            let count = usize::try_from(rows).unwrap_or(usize::MAX);
            if hours.contains(&hour) {
                RowSelector::select(count)
            } else {
                RowSelector::skip(count)
            }
        })
        .collect();
    let some_are_skipped = selectors.iter().any(|selector| selector.skip);
    some_are_skipped.then(|| RowSelection::from(selectors))
}

/// Rows that are worth a thread of their own.
const WORTH_A_THREAD: u64 = 32_768;

/// Files, or parts of files, that one thread reads, each with its hours.
pub(super) type Share<F> = Vec<(F, BTreeSet<i64>)>;

/// Divides files, each with its hours and their rows, into at most so many shares of about as many rows. The engine would
/// divide files by their bytes, and the last week of a month's file is then one thread's.
pub(super) fn divided<F: Copy>(files: Vec<(F, Vec<(i64, u64)>)>, most: usize) -> Vec<Share<F>> {
    let rows = files.iter().flat_map(|(_, hours)| hours);
    let rows: u64 = rows.map(|(_, rows)| rows).sum();
    let most = u64::try_from(most).unwrap_or(u64::MAX).max(1);
    let enough = rows.div_ceil(most).max(WORTH_A_THREAD);
    let (mut shares, mut share, mut count) = (Vec::new(), Share::new(), 0);
    for (file, hours) in files {
        let mut part = BTreeSet::new();
        for (hour, rows) in hours {
            if count >= enough {
                if !part.is_empty() {
                    share.push((file, std::mem::take(&mut part)));
                }
                shares.push(std::mem::take(&mut share));
                count = 0;
            }
            part.insert(hour);
            count += rows;
        }
        share.push((file, part));
    }
    if !share.is_empty() {
        shares.push(share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_hours_are_skipped() {
        let hour_rows = [3, 0, 4, 5];
        let selection = select(10, &hour_rows, &BTreeSet::from([10, 11, 13])).unwrap();
        let selectors: Vec<RowSelector> = selection.into();
        assert_eq!(
            selectors,
            [
                RowSelector::select(3),
                RowSelector::skip(4),
                RowSelector::select(5)
            ]
        );
        let all = BTreeSet::from([10, 12, 13]);
        assert_eq!(select(10, &hour_rows, &all), None);
    }

    #[test]
    fn each_thread_has_about_as_many_rows() {
        let hours = |hours: std::ops::Range<i64>, rows| hours.map(|hour| (hour, rows)).collect();
        let shares = divided(vec![('a', hours(0..3, 10)), ('b', hours(3..100, 1000))], 2);
        let count = |share: &Share<char>| {
            let rows = share.iter().map(|(file, hours)| {
                let each = if *file == 'a' { 10 } else { 1000 };
                each * hours.len()
            });
            rows.sum::<usize>()
        };
        assert_eq!(
            shares.iter().map(count).collect::<Vec<_>>(),
            [49_030, 48_000]
        );
        // No hour is in two shares, and none is missing.
        let all = shares.iter().flatten().flat_map(|(_, hours)| hours);
        assert_eq!(
            all.copied().collect::<Vec<_>>(),
            (0..100).collect::<Vec<i64>>()
        );
        // Few rows are one thread's, and no rows nobody's.
        let shares = divided(vec![('a', hours(0..32, 1000)), ('b', hours(32..33, 10))], 8);
        assert_eq!(shares.len(), 1);
        assert_eq!(divided(vec![('a', hours(0..100, 1000))], 8).len(), 4);
        assert!(divided::<char>(Vec::new(), 8).is_empty());
    }
}
