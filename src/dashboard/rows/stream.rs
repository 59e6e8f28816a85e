//! The columns of the stream that code reads, as in [`super::read`].

use super::{Flag, Int, Number, Word, reads};

reads! {
    /// A stage of the stream of orders.
    Stage of Stream {
        stage: Word;
        name: Word;
        state: Word;
        since_s: Number;
        rate: Number;
        lag_rows: Int;
        lag_ms: Number;
        lag_bytes: Int;
        fresh_p50_ms: Number;
        fresh_p99_ms: Number;
        watermark_s: Number;
        next_offset: Int;
        end_offset: Int;
        dead_letters: Int;
        late_events: Int;
        duplicates: Int;
        error: Word;
        last_s: Number;
        records: Int;
        topic: Word;
        partition: Int;
    }

    /// A category in a window of the stream.
    StreamWindow of StreamWindows {
        window_start: Number;
        category: Word;
        amount: Number;
        quantity: Int;
        orders: Int;
        window_amount: Number;
        window_quantity: Int;
        window_categories: Int;
        revised: Flag;
        is_final: Flag;
        changed_epoch: Number;
        change: Int;
    }
}

impl super::Row<'_, Stage> {
    /// Returns true if events come from there: the outbox or a slot.
    pub(crate) fn is_source(self) -> bool {
        self.stage().is("outbox") || self.stage().is("slot")
    }
}
