//! The columns that only comparisons read, as in [`super::read`].

use super::{Number, Word, reads};

reads! {
    /// An index.
    Index of Indexes {
        relation: Word;
        index: Word;
        size_bytes: Number;
    }

    /// A setting.
    Setting of Settings {
        name: Word;
        value: Word;
    }
}
