use super::*;
use proptest::prelude::*;

/// Checks a formatting function against `(number, text)` pairs.
fn check(write: fn(f64) -> String, pairs: &[(f64, &str)]) {
    for (value, text) in pairs {
        assert_eq!(write(*value), *text, "{value}");
    }
}

const ODD: [(f64, &str); 4] = [
    (f64::NAN, "NaN"),
    (f64::INFINITY, "inf"),
    (f64::NEG_INFINITY, "-inf"),
    (-f64::NAN, "NaN"),
];

#[test]
fn numbers_that_are_none_are_shown_as_such() {
    for write in [plain, count, bytes, seconds, ms, percent, money, short] {
        check(write, &ODD);
    }
    assert_eq!(time_of_day(f64::NAN, 0), "NaN");
    assert_eq!(hour_of_day(f64::NEG_INFINITY, 3600), "-inf");
}

#[test]
fn counts_have_at_most_four_significant_digits() {
    check(
        count,
        &[
            (0.0, "0"),
            (-0.0, "0"),
            (0.001, "<0.01"),
            (0.03, "0.03"),
            (4.0, "4"),
            (9.996, "10"),
            (50.73, "50.7"),
            (99.96, "100"),
            (812.0, "812"),
            (999.6, "1,000"),
            (2_104.0, "2,104"),
            (9_999.4, "9,999"),
            (9_999.6, "10k"),
            (12_345.0, "12.3k"),
            (31_000.0, "31k"),
            (182_000.0, "182k"),
            (999_499.0, "999k"),
            (999_501.0, "1M"),
            (1_240_000.0, "1.24M"),
            (5.6e12, "5.6T"),
            (1e20, "1.0e20"),
            (-2_104.0, "-2,104"),
            (-0.001, "-<0.01"),
        ],
    );
}

#[test]
fn bytes_are_counted_as_postgresql_does() {
    check(
        bytes,
        &[
            (0.0, "0 B"),
            (512.0, "512 B"),
            (1023.6, "1.0 kB"),
            (8192.0, "8.0 kB"),
            (1.2 * 1_048_576.0, "1.2 MB"),
            (243.0 * 1_048_576.0, "243 MB"),
            (1023.6 * 1024.0, "1.0 MB"),
            (-2048.0, "-2.0 kB"),
            (3.0 * 1024f64.powi(4), "3.0 TB"),
            (1e30, "1.0e30 B"),
        ],
    );
}

#[test]
fn ages_have_two_units_at_most() {
    check(
        seconds,
        &[
            (0.0, "0s"),
            (0.01, "<0.1s"),
            (0.4, "0.4s"),
            (2.0, "2s"),
            (6.24, "6.2s"),
            (9.96, "10s"),
            (50.0, "50s"),
            (59.6, "1m00s"),
            (62.0, "1m02s"),
            (252.0, "4m12s"),
            (3_599.6, "1h00m"),
            (11_100.0, "3h05m"),
            (86_399.9, "1d"),
            (12.0 * 86_400.0, "12d"),
            (-5.0, "-5s"),
            (1e15, "1.0e15s"),
        ],
    );
    check(
        ms,
        &[
            (0.0, "0.0ms"),
            (0.001, "<0.01ms"),
            (0.04, "0.04ms"),
            (0.8, "0.8ms"),
            (31.0, "31.0ms"),
            (99.96, "100ms"),
            (812.4, "812ms"),
            (999.6, "1.0s"),
            (1_234.0, "1.2s"),
            (20_300.0, "20.3s"),
            (59_960.0, "1m00s"),
            (252_000.0, "4m12s"),
        ],
    );
}

#[test]
fn percent_is_never_rounded_to_all_or_nothing() {
    check(
        percent,
        &[
            (0.0, "0%"),
            (0.01, "<0.1%"),
            (0.1, "0.1%"),
            (2.0, "2%"),
            (9.96, "10%"),
            (94.4, "94%"),
            (99.2, "99.2%"),
            (99.99, "99.9%"),
            (100.0, "100%"),
            (12_000.0, "12,000%"),
            (-3.0, "-3%"),
        ],
    );
}

#[test]
fn money_has_thousands_and_cents_only_where_they_matter() {
    check(
        money,
        &[
            (0.0, "0"),
            (50.7, "50.70"),
            (180.0, "180"),
            (999.999, "1,000"),
            (4_210.4, "4,210"),
            (1_240_000.0, "1,240,000"),
            (-4_210.0, "-4,210"),
            (1e16, "1.00e16"),
        ],
    );
    check(short, &[(412_345.0, "412k"), (1_240_000.0, "1.24M")]);
}

#[test]
fn plain_numbers_come_plainly() {
    check(
        plain,
        &[
            (4711.0, "4711"),
            (18.24, "18.24"),
            (0.1 + 0.2, "0.3"),
            (0.0123, "0.0123"),
            (0.000_012, "1.2e-5"),
            (1234.567, "1235"),
            (1e18, "1.00e18"),
        ],
    );
}

#[test]
fn times_of_day_are_local() {
    assert_eq!(time_of_day(0.0, 0), "00:00:00");
    assert_eq!(time_of_day(0.0, 8 * 3600), "08:00:00");
    assert_eq!(time_of_day(-1.5, 0), "23:59:58");
    assert_eq!(time_of_day(1_700_000_000.9, 0), "22:13:20");
    assert_eq!(hour_of_day(1_700_000_000.0, -5 * 3600), "17h");
    assert_eq!(utc_offset(8 * 3600), "+08:00");
    assert_eq!(utc_offset(-12_600), "-03:30");
}

proptest! {
    #[test]
    fn every_number_has_a_short_text(value in proptest::num::f64::ANY) {
        for write in [count, bytes, seconds, ms, percent] {
            let text = write(value);
            prop_assert!(!text.is_empty() && text.chars().count() <= 12, "{value} {text}");
        }
        for write in [plain, money] {
            prop_assert!(write(value).chars().count() <= 22);
        }
        let time = time_of_day(value, 28_800);
        prop_assert!(!time.is_empty() && time.len() <= 8);
    }
}
