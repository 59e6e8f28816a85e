//! Pausing and resuming the relays of the stream.

use super::{Confirm, Model, Popup};
use crate::dashboard::action::{Action, Grade};
use crate::dashboard::rows::{Panel, Rows, stream};
use crate::format;

impl Model {
    /// Asks to pause the relays, or, if they are, to resume them.
    pub(super) fn ask_pause_relay(&mut self) {
        if self.barred() {
            return;
        }
        let known = self.feed_of(Panel::Stream).is_some_and(|feed| {
            feed.sampling.at.is_some() && feed.sampling.missing.is_empty() && self.is_current(feed)
        });
        if !known {
            let why = format!(
                "the stream's state is not known; {} shows why",
                self.way_to("stream")
            );
            self.say(Grade::Doubtful, &why);
            return;
        }
        let rows = Rows::<stream::Stage>::of(self.rows(Panel::Stream));
        let sources = || rows.iter().filter(|row| row.is_source());
        let outbox = sources().next();
        let paused = sources().find(|row| row.state().is("paused"));
        let waiting = sources().find_map(|row| row.lag_rows()).unwrap_or(0);
        let slot = sources().find(|row| row.stage().is("slot"));
        // The panel counts no further.
        let least = if waiting >= 10_000 { "at least " } else { "" };
        let relays = rows.iter().filter(|row| row.stage().is("relay")).count();
        if outbox.is_none() && relays == 0 {
            let why = "nothing is streamed: there is no relay to pause (htap-top help stream)";
            self.say(Grade::Doubtful, why);
            return;
        }
        let (mut lines, action) = if let Some(row) = paused {
            let for_s = row.since_s().map_or_else(|| "?".into(), format::seconds);
            let mut lines = vec![
                format!(
                    "Resume the relay, paused for {for_s} {}?",
                    row.error().shown()
                ),
                format!(
                    "It sends what waits in the outbox: {least}{} events.",
                    format::count(waiting as f64)
                ),
            ];
            if let Some(slot) = slot {
                let bytes = slot
                    .lag_bytes()
                    .map_or("?".into(), |bytes| format::bytes(bytes as f64));
                lines.push(format!(
                    "It reads {bytes} of WAL by slot {}.",
                    slot.name().shown()
                ));
            }
            (lines, Action::ResumeRelay)
        } else {
            let lines = vec![
                "Pause the relay?".to_owned(),
                if slot.is_some() {
                    "It finishes its batch, then sends nothing. The server keeps the WAL for the slot, which grows.".into()
                } else {
                    "It finishes its batch, then sends nothing. Events stay in the outbox, which grows.".into()
                },
                "The figures of mart.realtime_stream, and all other readers of the topic, stand still until it is resumed.".into(),
            ];
            (lines, Action::PauseRelay)
        };
        if relays == 0 {
            lines.push("No relay runs: it holds for the next one.".into());
        }
        self.popup = Some(Popup::Confirm(Confirm {
            lines,
            actions: vec![action],
            ..Confirm::default()
        }));
    }
}
