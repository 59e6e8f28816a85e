//! The columns of the column store that code reads, as in [`super::read`].

use super::{Flag, Int, Number, Word, reads};

reads! {
    /// The column store, in the first row; one of its tables, in the others.
    Store of Columnar {
        state: Word;
        since_s: Number;
        dirty_hours: Int;
        all_dirty: Flag;
        unlogged: Word;
        log_bytes: Number;
        last_s: Number;
        fresh_s: Number;
        damaged: Int;
        damage: Word;
        error: Word;
        folder: Word;
        free_bytes: Number;
        disk_bytes: Number;
    }
}
