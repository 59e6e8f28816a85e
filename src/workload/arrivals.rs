//! Arrival times of work in an open loop, in which arrivals do not wait for earlier work.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use std::str::FromStr;
use std::time::Duration;

/// Distribution of arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Independent of each other, as customers arrive (a Poisson process).
    #[default]
    Poisson,
    /// At equal intervals.
    Fixed,
}

impl Spread {
    /// Returns the name used on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Fixed => "fixed",
        }
    }
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Poisson, Self::Fixed]
            .into_iter()
            .find(|s| s.name() == text);
        found.ok_or_else(|| "expected poisson or fixed".to_owned())
    }
}

/// Iterator over the arrival times, counted from the start. Endless, unless the rate is 0.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    rate: f64,
    /// Seconds over which the rate rises from 0.
    ramp_s: f64,
    spread: Spread,
    rng: Xoshiro256PlusPlus,
    /// Expected number of arrivals until the last one.
    expected: f64,
}

impl Arrivals {
    /// Returns arrivals at `rate` per second, after a rise of `ramp`.
    pub(super) fn new(rate: f64, ramp: Duration, spread: Spread, rng: Xoshiro256PlusPlus) -> Self {
        Self {
            rate,
            ramp_s: ramp.as_secs_f64(),
            spread,
            rng,
            expected: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    /// A Poisson process with a changing rate has rate 1 in the time scale of the expected arrivals: rate x t²/(2 x
    /// ramp) during the ramp, linear after it.
    fn next(&mut self) -> Option<Duration> {
        if self.rate <= 0.0 {
            return None;
        }
        self.expected += match self.spread {
            Spread::Fixed => 1.0,
            Spread::Poisson => -(1.0 - self.rng.random::<f64>()).max(f64::MIN_POSITIVE).ln(),
        };
        let of_ramp = self.rate * self.ramp_s / 2.0;
        let seconds = if self.expected < of_ramp {
            (2.0 * self.ramp_s * self.expected / self.rate).sqrt()
        } else {
            self.ramp_s + (self.expected - of_ramp) / self.rate
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn arrivals(rate: f64, ramp_s: u64, spread: Spread) -> Arrivals {
        let rng = Xoshiro256PlusPlus::seed_from_u64(1);
        Arrivals::new(rate, Duration::from_secs(ramp_s), spread, rng)
    }

    fn between(arrivals: Arrivals, from_s: u64, to_s: u64) -> usize {
        let (from, to) = (Duration::from_secs(from_s), Duration::from_secs(to_s));
        arrivals
            .skip_while(|at| *at < from)
            .take_while(|at| *at < to)
            .count()
    }

    #[test]
    fn the_rate_is_kept_from_the_end_of_the_ramp_on() {
        for spread in [Spread::Fixed, Spread::Poisson] {
            let ramp = between(arrivals(1000.0, 10, spread), 0, 10);
            let after = between(arrivals(1000.0, 10, spread), 10, 20);
            assert!((4_700..5_300).contains(&ramp), "{spread:?} {ramp}");
            assert!((9_700..10_300).contains(&after), "{spread:?} {after}");
        }
        let first: Vec<_> = arrivals(10.0, 0, Spread::Fixed).take(3).collect();
        assert_eq!(first, [100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn poisson_arrivals_are_as_uneven_as_they_should_be() {
        // The variance of the count per second equals its mean.
        let counts: Vec<f64> = (0..200)
            .map(|s| between(arrivals(100.0, 0, Spread::Poisson), s, s + 1) as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / 200.0;
        let variance = counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 200.0;
        assert!((95.0..105.0).contains(&mean), "{mean}");
        assert!((70.0..130.0).contains(&variance), "{variance}");
    }

    #[test]
    fn nothing_arrives_at_rate_0() {
        assert_eq!(arrivals(0.0, 5, Spread::Poisson).next(), None);
    }
}
