//! Hours, and which file holds which of them. An hour is the number of hours since 1970 in UTC. Pure.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Microseconds of an hour.
pub(super) const HOUR: i64 = 3_600_000_000;

/// The hour of a time, in microseconds since 1970.
pub(super) fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR)
}

/// What the manifest says of a file, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its number: of two files that hold an hour, the one with the greater number counts.
    pub(super) id: i64,
    /// Its hours.
    pub(super) hours: Range<i64>,
}

/// For each of these hours that a file answers for, the number of the file. Hours of `dirty` are answered by none.
pub(super) fn answered<'a>(
    files: impl Iterator<Item = &'a Span>,
    dirty: &Dirty,
    hours: &Range<i64>,
) -> BTreeMap<i64, i64> {
    if dirty.all {
        return BTreeMap::new();
    }
    let mut files: Vec<&Span> = files.collect();
    files.sort_by_key(|file| file.id);
    let answers = files.into_iter().flat_map(|file| {
        let (first, end) = (file.hours.start, file.hours.end);
        (first.max(hours.start)..end.min(hours.end)).map(|hour| (hour, file.id))
    });
    let mut last = BTreeMap::new();
    last.extend(answers.filter(|(hour, _)| !dirty.hours.contains(hour)));
    last
}

/// All hours.
pub(super) const ALWAYS: Range<i64> = i64::MIN..i64::MAX;

/// Hours that changed since their files were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// All of them did.
    pub(super) all: bool,
    /// These did.
    pub(super) hours: BTreeSet<i64>,
}

/// Joins hours that follow each other.
pub(super) fn ranges(hours: impl Iterator<Item = i64>) -> Vec<Range<i64>> {
    let mut ranges: Vec<Range<i64>> = Vec::new();
    for hour in hours {
        match ranges.last_mut() {
            Some(last) if last.end == hour => last.end += 1,
            _ => ranges.push(hour..hour + 1),
        }
    }
    ranges
}

/// Hours of a day from which the whole day is written anew, and of a month from which the month is.
const MUCH_OF_A_DAY: usize = 4;
const MUCH_OF_A_MONTH: usize = 72;
/// Files that answer for hours of a closed day or month from which they are made one.
const MANY_FILES: usize = 8;

/// Returns the ranges of hours to write, each as one file: the hours of `wanted` that no file answers for, and days and
/// months that are over and lie in many files. A file of a day is written when the day is over, one of a month when the
/// month is.
pub(super) fn to_write(wanted: Range<i64>, answered: &BTreeMap<i64, i64>) -> Vec<Range<i64>> {
    let mut units = Vec::new();
    let mut hour = wanted.start;
    while hour < wanted.end {
        let month = month_of(hour);
        let over = month.end <= wanted.end;
        let within = month.start.max(wanted.start)..month.end.min(wanted.end);
        hour = month.end;
        if over && is_due(&within, answered, MUCH_OF_A_MONTH) {
            units.push(within);
            continue;
        }
        let mut at = within.start;
        while at < within.end {
            let end = (at.div_euclid(24) + 1) * 24;
            let day = at..end.min(within.end);
            at = end;
            if end <= wanted.end && is_due(&day, answered, MUCH_OF_A_DAY) {
                units.push(day);
                continue;
            }
            let missing = day.filter(|hour| !answered.contains_key(hour));
            units.extend(ranges(missing));
        }
    }
    units
}

fn is_due(span: &Range<i64>, answered: &BTreeMap<i64, i64>, much: usize) -> bool {
    let held = answered.range(span.clone());
    let held: Vec<i64> = held.map(|(_, file)| *file).collect();
    let hours = usize::try_from(span.end - span.start).unwrap_or(usize::MAX);
    let missing = hours.saturating_sub(held.len());
    let files: BTreeSet<i64> = held.into_iter().collect();
    // A short span at the beginning of the table is written once it lacks anything.
    missing >= much.min(hours) || files.len() > MANY_FILES
}

/// The hours of the calendar month that holds an hour, in UTC.
fn month_of(hour: i64) -> Range<i64> {
    let first =
        DateTime::from_timestamp(hour * 3600, 0).and_then(|time| time.date_naive().with_day(1));
    let next = first.and_then(|first| first.checked_add_months(Months::new(1)));
    let hours = |day: NaiveDate| {
        day.and_time(NaiveTime::MIN)
            .and_utc()
            .timestamp()
            .div_euclid(3600)
    };
    match (first, next) {
        (Some(first), Some(next)) => hours(first)..hours(next),
        // A year that no calendar has.
        _ => hour..hour + 1,
    }
}

/// An hour as text, such as `2026-03-01 04:00 UTC`.
pub(super) fn shown(hour: i64) -> String {
    let time = DateTime::from_timestamp(hour * 3600, 0);
    time.map_or_else(String::new, |time| {
        time.format("%Y-%m-%d %H:00 UTC").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01 00:00 UTC.
    const MARCH: i64 = 20_513 * 24;

    fn span(id: i64, hours: Range<i64>) -> Span {
        Span { id, hours }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        assert_eq!(month_of(MARCH), MARCH..MARCH + 31 * 24);
        assert_eq!(month_of(MARCH - 1), MARCH - 28 * 24..MARCH);
        assert_eq!(month_of(0), 0..31 * 24);
        // 2024-02 had 29 days.
        assert_eq!(month_of(19_782 * 24), 19_754 * 24..19_783 * 24);
        for hour in (0..2_000_000).step_by(101) {
            let month = month_of(hour);
            assert!(month.contains(&hour) && (28..=31).contains(&((month.end - month.start) / 24)));
            assert_eq!(month_of(month.end).start, month.end);
        }
    }

    #[test]
    fn the_last_file_of_an_hour_answers_unless_the_hour_is_dirty() {
        let files = [span(7, 10..14), span(9, 12..13), span(3, 0..12)];
        let dirty = Dirty {
            all: false,
            hours: BTreeSet::from([13]),
        };
        let answered = answered(files.iter(), &dirty, &ALWAYS);
        let of = |hour: i64| answered.get(&hour).copied();
        assert_eq!(
            (of(9), of(10), of(12), of(13), of(14)),
            (Some(3), Some(7), Some(9), None, None)
        );
        let one = super::answered(files.iter(), &dirty, &(12..14));
        assert_eq!(one, BTreeMap::from([(12, 9)]));
        let all = Dirty {
            all: true,
            ..Dirty::default()
        };
        assert!(super::answered(files.iter(), &all, &ALWAYS).is_empty());
    }

    #[test]
    fn hours_become_days_and_days_become_months() {
        // Nothing is written yet: the month before as one, this one's days, and today's hours as one.
        let now = MARCH + 2 * 24 + 3;
        let first = MARCH - 28 * 24 + 5;
        let units = to_write(first..now, &BTreeMap::new());
        assert_eq!(
            units,
            [
                first..MARCH,
                MARCH..MARCH + 24,
                MARCH + 24..MARCH + 48,
                MARCH + 48..now
            ]
        );
        let mut files: Vec<Span> = units
            .into_iter()
            .zip(1..)
            .map(|(hours, id)| span(id, hours))
            .collect();
        let held = |files: &[Span]| answered(files.iter(), &Dirty::default(), &ALWAYS);
        assert!(to_write(first..now, &held(&files)).is_empty());
        // An hour each, until the day is over.
        for hour in now..MARCH + 3 * 24 - 1 {
            let due = to_write(first..hour + 1, &held(&files));
            assert_eq!(due, vec![hour..hour + 1]);
            files.push(span(hour, due[0].clone()));
        }
        let day = MARCH + 48..MARCH + 72;
        assert_eq!(to_write(first..day.end, &held(&files)), vec![day.clone()]);
        files.push(span(1_000_000, day.clone()));
        assert!(to_write(first..day.end, &held(&files)).is_empty());
        // A correction in the old month is a file of its hour; many of them make the month anew.
        let dirty = Dirty {
            all: false,
            hours: (0..9).map(|n| first + 30 * n).collect(),
        };
        let due = to_write(first..day.end, &answered(files.iter(), &dirty, &ALWAYS));
        assert_eq!(due.len(), 9);
        files.extend(
            due.into_iter()
                .zip(2_000_000..)
                .map(|(hours, id)| span(id, hours)),
        );
        let due = to_write(first..day.end, &held(&files));
        assert_eq!(due, vec![first..MARCH; 1]);
    }
}
