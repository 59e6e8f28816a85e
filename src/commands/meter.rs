//! Progress of a long command: on a terminal one line that is redrawn, elsewhere a line every few seconds.

use crate::format;
use crate::system::fill::Progress;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// Time between two lines without a terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes progress to standard error.
pub(super) struct Meter {
    terminal: bool,
    /// Start of the load, and the progress at that time.
    begun: Option<(Instant, Progress)>,
    said: Option<Instant>,
    /// True if the redrawn line is on the screen.
    drawn: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            begun: None,
            said: None,
            drawn: false,
        }
    }
}

impl Meter {
    /// Reports the step that begins.
    pub(super) fn say(&mut self, doing: &str) {
        let above = if self.drawn { "\n" } else { "" };
        self.drawn = false;
        let _ = writeln!(std::io::stderr(), "{above}{doing}");
    }

    /// Shows the progress of a load.
    pub(super) fn show(&mut self, progress: &Progress) {
        let now = now();
        let (since, first) = *self.begun.get_or_insert((now, *progress));
        let over = progress.loaded.orders >= progress.orders;
        let pause = self.said.map(|said| now.duration_since(said));
        if !self.terminal && !over && pause.is_some_and(|pause| pause < PAUSE) {
            return;
        }
        self.said = Some(now);
        let line = line(progress, &first, now.duration_since(since));
        if self.terminal {
            self.drawn = true;
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.drawn {
            let _ = writeln!(std::io::stderr());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a rate is rows by time, and this is where a person is told"
)]
fn now() -> Instant {
    Instant::now()
}

/// Formats `412k of 1.00M orders (41%), 310k rows/s, 12s left`. Rate and time left are computed since
/// `first`.
fn line(at: &Progress, first: &Progress, took: Duration) -> String {
    let (orders, all) = (at.loaded.orders as f64, at.orders as f64);
    let mut line = format!(
        "loading: {} of {} orders ({})",
        format::count(orders),
        format::count(all),
        format::percent(100.0 * orders / all.max(1.0))
    );
    let (new, seconds) = (orders - first.loaded.orders as f64, took.as_secs_f64());
    if new > 0.0 && seconds > 0.0 {
        let rows = (at.loaded.rows - first.loaded.rows) as f64;
        let (rate, left) = (rows / seconds, seconds * (all - orders) / new);
        let (rate, left) = (format::count(rate), format::seconds(left));
        let _ = write!(line, ", {rate} rows/s, {left} left");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fill::Loaded;

    #[test]
    fn rate_and_time_left_count_from_where_this_run_began() {
        let at = |orders, rows| Progress {
            loaded: Loaded {
                orders,
                items: 3 * orders,
                rows,
            },
            orders: 1_000_000,
        };
        let first = at(200_000, 0);
        assert_eq!(
            line(&first, &first, Duration::ZERO),
            "loading: 200k of 1M orders (20%)"
        );
        assert_eq!(
            line(&at(400_000, 1_200_000), &first, Duration::from_secs(4)),
            "loading: 400k of 1M orders (40%), 300k rows/s, 12s left"
        );
    }
}
