//! The columns of the timeline that code reads, as in [`super::read`].

use super::{Flag, Int, Number, Word, reads};

reads! {
    /// A bar.
    TimelineBar of Timeline {
        lane: Word;
        began_ms: Int;
        lasted_s: Number;
        goes_on: Flag;
        pid: Int;
    }
}
