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
        let outbox = rows.iter().find(|row| row.stage().is("outbox"));
        let paused = outbox.filter(|row| row.state().is("paused"));
        let waiting = outbox.and_then(|row| row.lag_rows()).unwrap_or(0);
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
            let lines = vec![
                format!(
                    "Resume the relay, paused for {for_s} {}?",
                    row.error().shown()
                ),
                format!(
                    "It sends what waits in the outbox: {least}{} events.",
                    format::count(waiting as f64)
                ),
            ];
            (lines, Action::ResumeRelay)
        } else {
            let lines = vec![
                "Pause the relay?".to_owned(),
                "It finishes its batch, then sends nothing. Events stay in the outbox, which grows.".into(),
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
