//! Computes weights from a share.
//!
//! The scheduler gives groups that compete for a processor time in proportion to their weights. So a group gets the
//! share s of what it and its competitors get if its weight is theirs times s / (1 - s). That holds while all of them
//! want processors: time that nobody else wants is not withheld.

use std::fmt;
use std::str::FromStr;

/// Weight of a process with nice value 0, in the scheduler's unit; `cpu.shares` has the same unit.
pub(super) const NICE_0: f64 = 1024.0;
/// The same in the unit of `cpu.weight`.
pub(super) const WEIGHT_0: f64 = 100.0;

/// The scheduler's weights of the nice values from 0 to 19 (`sched_prio_to_weight` in kernel/sched/core.c).
const WEIGHTS: [u32; 20] = [
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
];

/// A percentage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(f64);

impl Percent {
    /// Returns it as a fraction of 1.
    pub(super) fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim();
        let number = number.strip_suffix('%').unwrap_or(number);
        match number.trim_end().parse() {
            Ok(percent) if (1.0..=100.0).contains(&percent) => Ok(Self(percent)),
            _ => Err("expected a percentage from 1% to 100%".to_owned()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", crate::format::plain(self.0))
    }
}

/// What competes with the group for processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Competitors {
    /// One group of this weight, which is the server's.
    Group(f64),
    /// Single processes: at least one per processor if the machine is full.
    Processes(u32),
}

impl Competitors {
    /// Returns the weight of a group that is to get `share`; in the scheduler's unit against processes, else in the unit
    /// of the competing group.
    pub(super) fn weight(self, share: Percent) -> f64 {
        let share = share.fraction().min(0.99);
        let theirs = match self {
            Self::Group(weight) => weight,
            Self::Processes(processors) => f64::from(processors) * NICE_0,
        };
        theirs * share / (1.0 - share)
    }

    /// Describes the computation.
    pub(super) fn formula(self, share: Percent) -> String {
        let fraction = crate::format::plain(share.fraction().min(0.99));
        let rest = crate::format::plain(1.0 - share.fraction().min(0.99));
        match self {
            Self::Group(weight) => format!("{weight} of the server's group × {fraction} / {rest}"),
            Self::Processes(processors) => {
                let plural = if processors == 1 { "" } else { "s" };
                format!(
                    "{processors} processor{plural} × {NICE_0} of one process × {fraction} / {rest}"
                )
            }
        }
    }
}

/// Returns the value of `cpu.shares` for a weight in the scheduler's unit.
pub(super) fn shares(weight: f64) -> u64 {
    weight.round().clamp(2.0, 262_144.0) as u64
}

/// Returns a weight in the unit of `cpu.weight`; `against` tells the unit of `weight`.
pub(super) fn in_unit_of_version_2(weight: f64, against: Competitors) -> f64 {
    match against {
        Competitors::Group(_) => weight,
        Competitors::Processes(_) => weight * WEIGHT_0 / NICE_0,
    }
}

/// Returns the value of `cpu.weight`.
pub(super) fn weight_of_version_2(weight: f64) -> u64 {
    weight.round().clamp(1.0, 10_000.0) as u64
}

/// Returns the nice value, from 0 to 19, whose weight is nearest to `weight`.
pub(super) fn nice(weight: f64) -> i32 {
    let distance = |of: u32| (f64::from(of).ln() - weight.max(1.0).ln()).abs();
    let nearest = WEIGHTS
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| distance(**a).total_cmp(&distance(**b)));
    nearest.map_or(19, |(nice, _)| nice as i32)
}

/// Returns the scheduler's weight of a nice value from 0 to 19.
pub(super) fn weight_of(nice: i32) -> u32 {
    let weight = usize::try_from(nice).ok();
    let weight = weight.and_then(|nice| WEIGHTS.get(nice));
    weight.copied().unwrap_or(15)
}

/// Period of a hard limit in microseconds: a process that holds a lock is stopped no longer than this.
pub(super) const PERIOD_US: u64 = 20_000;

/// Returns the time per period that a hard limit leaves, in microseconds; the kernel accepts 1,000 and more.
pub(super) fn quota_us(limit: Percent, processors: u32) -> u64 {
    let whole = PERIOD_US as f64 * f64::from(processors);
    (whole * limit.fraction()).round().max(1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Percent {
        text.parse().unwrap()
    }

    #[test]
    fn percentages_are_read_and_shown() {
        assert_eq!(percent("25%"), percent(" 25 "));
        assert_eq!(percent("12.5 %").to_string(), "12.5%");
        for wrong in ["", "%", "0", "101%", "-5", "NaN", "inf", "a%", "25%%"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn weights_give_the_share() {
        let against = Competitors::Processes(2);
        assert_eq!(shares(against.weight(percent("25%"))), 683);
        assert_eq!(shares(against.weight(percent("50%"))), 2048);
        let second = |against: Competitors, share| {
            let weight = against.weight(percent(share));
            weight_of_version_2(in_unit_of_version_2(weight, against))
        };
        assert_eq!(second(against, "25%"), 67);
        let group = Competitors::Group(100.0);
        assert_eq!((second(group, "25%"), second(group, "1%")), (33, 1));
        // All of it is only nearly all: the others must not starve.
        assert_eq!(second(group, "100%"), 9900);
        assert_eq!(shares(0.0), 2);
        assert_eq!(
            against.formula(percent("25%")),
            "2 processors × 1024 of one process × 0.25 / 0.75"
        );
    }

    #[test]
    fn nice_values_follow_the_table_of_the_scheduler() {
        for (weight, wanted) in [
            (1024.0, 0),
            (5000.0, 0),
            (683.0, 2),
            (137.0, 9),
            (15.0, 19),
            (0.0, 19),
        ] {
            assert_eq!(nice(weight), wanted, "{weight}");
        }
        assert_eq!((weight_of(9), weight_of(-1), weight_of(99)), (137, 15, 15));
    }

    #[test]
    fn a_limit_is_of_all_processors() {
        assert_eq!(quota_us(percent("40%"), 2), 16_000);
        assert_eq!(quota_us(percent("1%"), 1), 1_000);
    }
}
