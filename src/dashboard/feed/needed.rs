//! The rows that a panel has needed lately, so that its place on the screen does not change with every sample.

/// Milliseconds for which a panel keeps the rows that it needed.
const LATELY_MS: u64 = 60_000;

/// The most rows of the last minute or so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    rows: u16,
    /// Time at which it needed them, in milliseconds.
    at_ms: u64,
}

impl Needed {
    /// Takes in the rows of a sample: more count at once, fewer after a while.
    pub fn note(&mut self, rows: usize, now_ms: u64) {
        let rows = u16::try_from(rows).unwrap_or(u16::MAX);
        if rows >= self.rows || now_ms.saturating_sub(self.at_ms) >= LATELY_MS {
            *self = Self {
                rows,
                at_ms: now_ms,
            };
        }
    }

    /// The rows.
    pub fn rows(self) -> u16 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rows_count_at_once_and_fewer_after_a_minute() {
        let mut needed = Needed::default();
        let mut seen = Vec::new();
        for (rows, at_s) in [
            (2, 0),
            (7, 1),
            (1, 2),
            (7, 30),
            (0, 31),
            (0, 89),
            (0, 90),
            (3, 91),
        ] {
            needed.note(rows, at_s * 1_000);
            seen.push(needed.rows());
        }
        assert_eq!(seen, [2, 7, 7, 7, 7, 7, 0, 3]);
    }
}
