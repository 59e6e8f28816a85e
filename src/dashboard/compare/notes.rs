//! What must be known to read a comparison: lengths, resets, other servers.

use super::Period;
use super::oltp::Oltp;
use super::statements::Works;
use crate::format;

/// Returns what must be known to read the comparison.
pub(super) fn notes(before: &Period, after: &Period) -> Vec<String> {
    let mut notes = servers(before, after);
    let (then, now) = (&before.oltp, &after.oltp);
    if now.tps.is_none() && now.p99_ms.is_none() {
        notes.push("OLTP: too few samples after".to_owned());
    } else if then.tps.is_none() && then.p99_ms.is_none() {
        notes.push("OLTP: too few samples before".to_owned());
    } else {
        let lengths = (format::seconds(then.seconds), format::seconds(now.seconds));
        notes.push(format!("OLTP: {} before, {} after", lengths.0, lengths.1));
        let lacks = |oltp: &Oltp| oltp.p50_ms.is_none() && oltp.p99_ms.is_none();
        if lacks(then) || lacks(now) {
            let which = if lacks(now) { "after" } else { "before" };
            notes.push(format!(
                "p50, p99: too few samples {which}: the first half minute does not count"
            ));
        }
    }
    notes.push(match (&before.works, &after.works) {
        (None, _) => "statements: no sample of pg_stat_statements before".to_owned(),
        (_, None) => "statements: no sample of pg_stat_statements after, or too early".to_owned(),
        (Some(then), Some(now)) => {
            let length = |works: &Works| works.seconds.map(format::seconds);
            let before = length(then).map_or_else(
                || "all time since the statistics began, to the mark,".to_owned(),
                |length| format!("{length} before"),
            );
            let after = length(now).unwrap_or_default();
            format!("statements: {before} and {after} after")
        }
    });
    let works = [&before.works, &after.works].into_iter().flatten();
    if works.clone().any(|works| works.reset) {
        let why = "pg_stat_statements was reset in between: statements cannot be compared";
        notes.push(why.to_owned());
    } else {
        let lost: usize = works.map(|works| works.lost).sum();
        if lost > 0 {
            let why =
                format!("statements: {lost} were reset or evicted in between and are left out");
            notes.push(why);
        }
    }
    if before.reset || after.reset {
        notes.push(
            "the counters of the database were reset in between: dead rows are left out".to_owned(),
        );
    }
    notes
}

/// Returns how the servers of both periods differ, and their order if it is the wrong one.
fn servers(before: &Period, after: &Period) -> Vec<String> {
    let mut notes = Vec::new();
    let (then, now) = (&before.server, &after.server);
    let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    if differ(&then.system, &now.system) {
        notes.push("these are two servers".to_owned());
    }
    if differ(&then.database, &now.database) {
        notes.push(format!(
            "these are two databases: {} and {}",
            then.database, now.database
        ));
    }
    if then.major > 0 && now.major > 0 && then.major != now.major {
        notes.push(format!(
            "PostgreSQL {} before, {} after",
            then.major, now.major
        ));
    }
    if !then.has_ids_of(now) {
        let how = "statements are matched by role and text: their query ids have nothing in common";
        notes.push(how.to_owned());
    }
    if before.epoch_ms.0 > after.epoch_ms.0 {
        let how = "the first period is later than the second: every change is shown backwards";
        notes.push(how.to_owned());
    }
    notes
}
