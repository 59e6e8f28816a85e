//! The columns of the stream that code reads, as in [`super::read`].

use super::{Int, Number, Word, reads};

reads! {
    /// A stage of the stream of orders.
    Stage of Stream {
        stage: Word;
        name: Word;
        state: Word;
        since_s: Number;
        lag_rows: Int;
        lag_ms: Number;
        watermark_s: Number;
        error: Word;
    }
}
