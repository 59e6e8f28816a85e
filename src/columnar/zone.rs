//! The session's time zone: its offsets from UTC as PostgreSQL has them, so that no second time zone database can differ.

use super::error::ColumnarError;
use super::hours::HOUR;
use crate::pg::{Client, Param};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use futures_util::future::join;
use std::fmt::Write as _;
use std::ops::Range;

/// A unit of date_trunc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// The unit of a word, in PostgreSQL's main spelling.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }
}

/// A time zone, as far as the table's times need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Zone {
    /// Its name.
    pub(super) name: String,
    /// From these microseconds on it has this offset, in microseconds. Empty: UTC.
    offsets: Vec<(i64, i64)>,
    /// Before and from these microseconds on nothing is known.
    begin: i64,
    end: i64,
}

/// Reads the offsets at all minutes of those six hours in which they change: since 1972 no zone has changed its offset within a
/// minute, or back within six hours.
const OFFSETS: &str = "
    SELECT (extract(epoch FROM o.at) * 1000000)::bigint AS at, (o.offset_s * 1000000)::bigint AS offset_us
    FROM (
        SELECT e.at, e.offset_s, pg_catalog.lag(e.offset_s) OVER (ORDER BY e.at) AS before
        FROM (
            SELECT q AS at, extract(timezone FROM q) AS offset_s
            FROM (
                SELECT t AS at, extract(timezone FROM t) AS offset_s, pg_catalog.lag(extract(timezone FROM t)) OVER (ORDER BY t) AS before
                FROM generate_series(to_timestamp($1), to_timestamp($2), interval '6 hours') AS t
            ) AS s
            CROSS JOIN LATERAL generate_series(
                s.at - CASE WHEN s.before IS NULL THEN interval '0' ELSE interval '6 hours' END, s.at, interval '1 minute'
            ) AS q
            WHERE s.before IS DISTINCT FROM s.offset_s
        ) AS e
    ) AS o
    WHERE o.before IS DISTINCT FROM o.offset_s ORDER BY o.at";

const SECOND: i64 = 1_000_000;
/// Hours before and after the table's times that are read, too.
const MARGIN: i64 = 400 * 24;
/// Hours of them that are needed: a year, for times that are truncated to it.
const LEAST_MARGIN: i64 = 370 * 24;

/// The microseconds around these hours.
fn wanted(hours: &Range<i64>, margin: i64) -> Range<i64> {
    (hours.start - margin) * HOUR..(hours.end + margin) * HOUR
}

impl Zone {
    /// UTC.
    pub(super) fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            offsets: Vec::new(),
            begin: i64::MIN,
            end: i64::MAX,
        }
    }

    /// Makes the zone of the open transaction that of `wanted`, or that which the user's own sessions have; returns its name.
    pub(super) async fn set(
        client: &Client,
        wanted: Option<&str>,
    ) -> Result<String, ColumnarError> {
        let failed = || ColumnarError::server("set the time zone");
        let name = if let Some(wanted) = wanted {
            let set = "SELECT pg_catalog.set_config('TimeZone', $1, true) AS name";
            client.query(set, &[Param::Text(wanted)]).await
        } else {
            // pg_settings computes all settings, which takes 1 ms.
            let (set, name) = join(
                client.batch("SET LOCAL TimeZone TO DEFAULT"),
                client.query_again("SELECT pg_catalog.current_setting('TimeZone') AS name"),
            )
            .await;
            set.map_err(failed())?;
            name
        };
        let name = name.map_err(failed())?;
        Ok(name.first("name").text().unwrap_or("UTC").to_owned())
    }

    /// Whether it is the zone of this name, and all is known that times around these hours need.
    pub(super) fn serves(&self, name: &str, hours: &Range<i64>) -> bool {
        let known = self.begin..self.end;
        let wanted = wanted(hours, LEAST_MARGIN);
        self.name == name && known.start <= wanted.start && wanted.end <= known.end
    }

    /// The zone of the open transaction, whose name this is, for times around these hours.
    pub(super) async fn read(
        client: &Client,
        name: String,
        hours: &Range<i64>,
    ) -> Result<Self, ColumnarError> {
        let mut zone = Self {
            name,
            ..Self::utc()
        };
        if matches!(zone.name.as_str(), "UTC" | "Etc/UTC" | "GMT") {
            return Ok(zone);
        }
        let wanted = wanted(hours, MARGIN);
        let second = |at: i64| Param::Float((at / SECOND) as f64);
        let params = [second(wanted.start), second(wanted.end)];
        let offsets = client.query(OFFSETS, &params).await;
        let offsets = offsets.map_err(ColumnarError::server("read the time zone"))?;
        let int = |row, name| offsets.get(row, name).int();
        let rows = 0..offsets.rows.len();
        zone.offsets = rows
            .filter_map(|row| Some((int(row, "at")?, int(row, "offset_us")?)))
            .collect();
        (zone.begin, zone.end) = (wanted.start, wanted.end);
        Ok(zone)
    }

    /// The offset at a time, in microseconds. `None` beyond what was read.
    fn offset(&self, at: i64) -> Option<i64> {
        if self.offsets.is_empty() {
            return Some(0);
        }
        if at >= self.end {
            return None;
        }
        let after = self.offsets.partition_point(|(from, _)| *from <= at);
        self.offsets
            .get(after.checked_sub(1)?)
            .map(|(_, offset)| *offset)
    }

    /// The local time of a time, and its offset.
    fn local(&self, at: i64) -> Option<(NaiveDateTime, i64)> {
        let offset = self.offset(at)?;
        let local = DateTime::from_timestamp_micros(at.checked_add(offset)?)?;
        Some((local.naive_utc(), offset))
    }

    /// The time of a local time, as PostgreSQL chooses it where there are two or none.
    fn universal(&self, local: NaiveDateTime) -> Option<i64> {
        let local = local.and_utc().timestamp_micros();
        let day_before = local.checked_sub(86_400 * SECOND)?;
        let before = self.offset(day_before)?;
        let next = self.offsets.iter().find(|(from, _)| *from > day_before);
        let Some((boundary, after)) = next else {
            return Some(local - before);
        };
        let (if_before, if_after) = (local - before, local - after);
        Some(if if_before < *boundary && if_after < *boundary {
            if_before
        } else if if_before > *boundary && if_after >= *boundary {
            if_after
        } else {
            if_before.max(if_after)
        })
    }

    /// date_trunc.
    pub(super) fn truncate(&self, unit: Unit, at: i64) -> Option<i64> {
        let (local, offset) = self.local(at)?;
        let day = local.date();
        let midnight = |day: Option<NaiveDate>| self.universal(day?.and_time(NaiveTime::MIN));
        let (hour, minute, second) = (local.hour(), local.minute(), local.second());
        let kept = |hour, minute, second| {
            let time = day.and_hms_opt(hour, minute, second)?;
            Some(time.and_utc().timestamp_micros() - offset)
        };
        match unit {
            Unit::Second => kept(hour, minute, second),
            Unit::Minute => kept(hour, minute, 0),
            Unit::Hour => kept(hour, 0, 0),
            Unit::Day => midnight(Some(day)),
            Unit::Week => {
                let since = u64::from(day.weekday().num_days_from_monday());
                midnight(day.checked_sub_days(Days::new(since)))
            }
            Unit::Month => midnight(day.with_day(1)),
            Unit::Quarter => {
                let since = day.month0() % 3;
                midnight(
                    day.with_day(1)
                        .and_then(|day| day.checked_sub_months(Months::new(since))),
                )
            }
            Unit::Year => midnight(NaiveDate::from_ymd_opt(day.year(), 1, 1)),
        }
    }

    /// The date of a time, in days since 1970.
    pub(super) fn date(&self, at: i64) -> Option<i32> {
        let (local, _) = self.local(at)?;
        i32::try_from(local.and_utc().timestamp().div_euclid(86_400)).ok()
    }

    /// A time as PostgreSQL writes it, with `between` date and time: `2026-03-01 04:05:06.7+01`; in JSON with minutes of the
    /// offset.
    pub(super) fn text(&self, at: i64, between: char, minutes: bool) -> Option<String> {
        let (local, offset) = self.local(at)?;
        let mut text = local
            .format(&format!("%Y-%m-%d{between}%H:%M:%S"))
            .to_string();
        let micros = local.and_utc().timestamp_subsec_micros();
        if micros > 0 {
            text += format!(".{micros:06}").trim_end_matches('0');
        }
        let seconds = offset / SECOND;
        let sign = if seconds < 0 { '-' } else { '+' };
        let seconds = seconds.abs();
        let _ = write!(text, "{sign}{:02}", seconds / 3600);
        if minutes || seconds % 3600 > 0 {
            let _ = write!(text, ":{:02}", seconds / 60 % 60);
        }
        if seconds % 60 > 0 {
            let _ = write!(text, ":{:02}", seconds % 60);
        }
        Some(text)
    }
}
