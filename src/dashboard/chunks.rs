//! A queue of per-second records. Its clones share their common entries, so that the models kept for each
//! minute of an hour store every figure once.

use std::collections::VecDeque;
use std::sync::Arc;

/// Entries per shared chunk.
const CHUNK: usize = 60;

/// Entries, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Chunks<T> {
    /// Chunks of [`CHUNK`] entries each.
    full: VecDeque<Arc<[T]>>,
    /// Fewer than [`CHUNK`] entries.
    newest: Vec<T>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            full: VecDeque::new(),
            newest: Vec::new(),
        }
    }
}

impl<T: Copy> Chunks<T> {
    /// Appends an entry and drops whole chunks beyond the newest `keep` entries.
    pub(super) fn push(&mut self, entry: T, keep: usize) {
        self.newest.push(entry);
        if self.newest.len() == CHUNK {
            self.full.push_back(self.newest.as_slice().into());
            self.newest.clear();
        }
        while self.len() >= keep + CHUNK && self.full.pop_front().is_some() {}
    }

    /// Number of entries: up to one chunk more than should be kept.
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.newest.len()
    }

    /// Returns all entries, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = T> {
        let full = self.full.iter().flat_map(|chunk| chunk.iter());
        full.chain(&self.newest).copied()
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.newest.clear();
    }

    /// Returns the oldest entry for which `after` holds; `after` must hold for all newer entries, too.
    pub(super) fn first_where(&self, after: impl Fn(&T) -> bool) -> Option<T> {
        let before = |entry: &T| !after(entry);
        let chunk = self
            .full
            .partition_point(|chunk| chunk.last().is_some_and(before));
        let chunk = self.full.get(chunk).map_or(&self.newest[..], |chunk| chunk);
        chunk.get(chunk.partition_point(before)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_oldest_forgotten_in_whole_chunks() {
        let mut chunks = Chunks::default();
        for n in 0..1_000 {
            chunks.push(n, 200);
            assert!(chunks.len() < 200 + CHUNK, "{}", chunks.len());
            let newest: Vec<i32> = chunks.iter().rev().take(200).collect();
            let expected: Vec<i32> = (0..=n).rev().take(200).collect();
            assert_eq!(newest, expected);
        }
        assert_eq!(chunks.iter().count(), chunks.len());
        chunks.clear();
        assert_eq!((chunks.len(), chunks.iter().next()), (0, None));
    }

    #[test]
    fn what_came_after_is_found_in_any_chunk() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.first_where(|_| true), None);
        for n in 0..150 {
            chunks.push(n * 2, 1_000);
        }
        for limit in 0..400 {
            let expected = (limit <= 298).then(|| (limit + 1) / 2 * 2);
            assert_eq!(chunks.first_where(|n| *n >= limit), expected, "{limit}");
        }
    }

    #[test]
    fn a_clone_shares_full_chunks_and_nothing_that_comes_after() {
        let mut chunks = Chunks::default();
        for n in 0..130 {
            chunks.push(n, 1_000);
        }
        let before = chunks.clone();
        chunks.push(130, 1_000);
        assert_eq!((before.len(), chunks.len()), (130, 131));
        let mut both = before.full.iter().zip(&chunks.full);
        assert!(both.all(|(a, b)| Arc::ptr_eq(a, b)));
    }
}
