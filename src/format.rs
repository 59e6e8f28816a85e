//! Figures for people: few digits, a unit, and never a 0 for an unknown value.
//!
//! Nothing here reads a clock: callers that want local time pass the offset from UTC.

pub(crate) mod duration;
#[cfg(test)]
mod tests;
mod unit;

pub use unit::Unit;

/// No value (SQL NULL).
pub const NONE: &str = "—";
/// A figure that cannot be known here.
pub const UNAVAILABLE: &str = "n/a";
/// A figure that has not been measured yet.
pub const PENDING: &str = "?";

/// Returns true if a column with this unit holds figures, which are aligned to the right.
pub fn is_numeric(unit: Unit) -> bool {
    !matches!(unit, Unit::Plain | Unit::Flag)
}

/// Formats a figure with its unit, as in tables.
pub fn figure(value: f64, unit: Unit, utc_offset_s: i32) -> String {
    match unit {
        Unit::Plain => plain(value),
        Unit::Count => count(value),
        Unit::Bytes => bytes(value),
        Unit::Seconds => seconds(value),
        Unit::Ms => ms(value),
        Unit::Percent => percent(value),
        Unit::Money => money(value),
        Unit::PerSecond => format!("{}/s", count(value)),
        Unit::Time => time_of_day(value, utc_offset_s),
        Unit::Hour => hour_of_day(value, utc_offset_s),
        Unit::Flag => if value == 0.0 { "no" } else { "yes" }.to_owned(),
    }
}

/// Formats a difference with its unit: above 0 it has a sign, too.
pub fn change(value: f64, unit: Unit) -> String {
    let text = figure(value, unit, 0);
    if value > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// Formats a figure with its unit in little room: on axes and beside bars.
pub fn compact(value: f64, unit: Unit, utc_offset_s: i32) -> String {
    match unit {
        Unit::Plain | Unit::Count | Unit::Money | Unit::PerSecond => short(value),
        other => figure(value, other, utc_offset_s),
    }
}

/// Formats a round figure as [`compact`] does, without decimals that are zero: `50ms`, `2 MB`.
pub fn round(value: f64, unit: Unit) -> String {
    let text = compact(value, unit, 0);
    match text.split_once(".0") {
        Some((whole, rest)) if !rest.starts_with(|next: char| next.is_ascii_digit()) => {
            format!("{whole}{rest}")
        }
        _ => text,
    }
}

/// Name of a value that is not a finite number: `NaN`, `inf`, `-inf`.
fn odd(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "inf" } else { "-inf" }.to_owned())
    } else {
        None
    }
}

/// Formats the magnitude with `write` and adds the sign, except to a zero.
fn signed(value: f64, write: impl FnOnce(f64) -> String) -> String {
    if let Some(text) = odd(value) {
        return text;
    }
    let text = write(value.abs());
    if value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        format!("-{text}")
    } else {
        text
    }
}

/// Formats `value` with `decimals` decimals, without trailing zeros.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Formats `value` with three significant digits, without trailing zeros.
fn three_digits(value: f64) -> String {
    // Just below the next power of ten, rounding would add a digit.
    let decimals = usize::from(value < 9.995) + usize::from(value < 99.95);
    trimmed(value, decimals)
}

/// Formats a whole number with commas between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a number without a unit: whole ones in full, others with at most four significant digits or no
/// decimals.
pub fn plain(value: f64) -> String {
    signed(value, |value| {
        if value >= 1e15 {
            format!("{value:.2e}")
        } else if value.fract() == 0.0 || value >= 999.95 {
            format!("{value:.0}")
        } else if value >= 0.1 {
            trimmed(value, if value < 99.995 { 2 } else { 1 })
        } else if value >= 0.0001 {
            trimmed(value, 4)
        } else {
            format!("{value:.1e}")
        }
    })
}

/// Formats a count with at most four significant digits: `812`, `2,104`, `182k`, `1.24M`.
pub fn count(value: f64) -> String {
    signed(value, |value| {
        if value < 0.005 {
            return if value == 0.0 { "0" } else { "<0.01" }.to_owned();
        }
        if value < 99.95 {
            return three_digits(value);
        }
        if value < 9_999.5 {
            return thousands(value);
        }
        let mut scaled = value / 1e3;
        for suffix in ["k", "M", "G", "T"] {
            // 999.5 would be rounded to 1000.
            if scaled < 999.5 {
                return format!("{}{suffix}", three_digits(scaled));
            }
            scaled /= 1e3;
        }
        format!("{value:.1e}")
    })
}

/// Formats bytes in the units of PostgreSQL's `pg_size_pretty`, where 1 kB is 1024 bytes: `512 B`, `1.2 MB`,
/// `243 MB`.
pub fn bytes(value: f64) -> String {
    signed(value, |value| {
        if value < 1023.5 {
            return format!("{value:.0} B");
        }
        let mut scaled = value / 1024.0;
        for suffix in ["kB", "MB", "GB", "TB", "PB"] {
            if scaled < 1023.5 {
                let decimals = usize::from(scaled < 9.95);
                return format!("{scaled:.decimals$} {suffix}");
            }
            scaled /= 1024.0;
        }
        format!("{value:.1e} B")
    })
}

/// Formats a duration or age in seconds: `0.4s`, `50s`, `4m12s`, `3h05m`, `12d`.
pub fn seconds(value: f64) -> String {
    signed(value, |value| {
        if value < 9.95 {
            return if value > 0.0 && value < 0.05 {
                "<0.1s".to_owned()
            } else {
                format!("{}s", trimmed(value, 1))
            };
        }
        if value >= 1e14 {
            return format!("{value:.1e}s");
        }
        let whole = value.round() as u64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => format!("{whole}s"),
            (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
            (0, ..) => format!("{hours}h{minutes:02}m"),
            _ => format!("{}d", count(days as f64)),
        }
    })
}

/// Formats a latency in milliseconds: `0.8ms`, `31.0ms`, `812ms`, `1.2s`, `4m12s`.
pub fn ms(value: f64) -> String {
    signed(value, |value| {
        if value > 0.0 && value < 0.005 {
            "<0.01ms".to_owned()
        } else if value > 0.0 && value < 0.095 {
            format!("{value:.2}ms")
        } else if value < 99.95 {
            format!("{value:.1}ms")
        } else if value < 999.5 {
            format!("{value:.0}ms")
        } else if value < 59_950.0 {
            format!("{:.1}s", value / 1e3)
        } else {
            seconds(value / 1e3)
        }
    })
}

/// Formats a percentage from 0 to 100: `0.1%`, `94%`. No value is rounded up to 100 or down to 0.
pub fn percent(value: f64) -> String {
    signed(value, |value| {
        if value > 0.0 && value < 0.05 {
            "<0.1%".to_owned()
        } else if value < 9.95 {
            format!("{}%", trimmed(value, 1))
        } else if value > 99.0 && value < 100.0 {
            format!("{}%", trimmed((value * 10.0).floor() / 10.0, 1))
        } else if value < 1e6 {
            format!("{}%", thousands(value))
        } else {
            format!("{}%", count(value))
        }
    })
}

/// Formats an amount of money: cents below a thousand, separators above: `50.70`, `412`, `4,210`.
pub fn money(value: f64) -> String {
    signed(value, |value| {
        if value >= 1e15 {
            format!("{value:.2e}")
        } else if value >= 999.995 {
            thousands(value)
        } else if (value - value.round()).abs() < 0.005 {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        }
    })
}

/// Formats a count or an amount of money in little room: `7k`, `412k`, `1.24M`.
pub fn short(value: f64) -> String {
    if (999.5..9_999.5).contains(&value.abs()) {
        signed(value, |value| format!("{}k", three_digits(value / 1e3)))
    } else {
        count(value)
    }
}

/// Returns the second of the local day for epoch seconds, if they are finite.
fn second_of_day(epoch: f64, utc_offset_s: i32) -> Option<u32> {
    let local = epoch.floor() + f64::from(utc_offset_s);
    local
        .is_finite()
        .then(|| local.rem_euclid(86_400.0).min(86_399.0) as u32)
}

/// Formats epoch seconds as local time of day: `14:02:11`.
pub fn time_of_day(epoch: f64, utc_offset_s: i32) -> String {
    second_of_day(epoch, utc_offset_s).map_or_else(
        || odd(epoch).unwrap_or_default(),
        |s| format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60),
    )
}

/// Formats epoch seconds as local hour of the day: `14h`.
pub fn hour_of_day(epoch: f64, utc_offset_s: i32) -> String {
    second_of_day(epoch, utc_offset_s).map_or_else(
        || odd(epoch).unwrap_or_default(),
        |s| format!("{:02}h", s / 3_600),
    )
}

/// Formats an offset from UTC: `+08:00`.
pub fn utc_offset(offset_s: i32) -> String {
    let minutes = offset_s.unsigned_abs() / 60;
    let sign = if offset_s < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Formats a time with its date and offset: `2026-03-01 14:02:11 +01:00`.
pub fn moment(epoch_ms: i64, utc_offset_s: i32) -> String {
    let at = chrono::DateTime::from_timestamp_millis(epoch_ms);
    let local = at.zip(chrono::FixedOffset::east_opt(utc_offset_s));
    local.map_or_else(
        || format!("{epoch_ms} ms since 1970"),
        |(at, offset)| at.with_timezone(&offset).format("%F %T %:z").to_string(),
    )
}
