//! A notification that a danger has begun or ended, as plain data.

use crate::config::TerminalNotice;
use crate::text::{self, Clean};
use serde::{Deserialize, Serialize};

/// Maximum number of columns of a terminal's notification.
const COLUMNS: usize = 200;

/// What a notification tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// A danger has begun.
    Begun,
    /// It has ended; seconds that it lasted.
    Ended(f64),
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What it tells.
    pub news: News,
    /// The server: `shop @ primary:5432`.
    pub server: Clean,
    /// The cause line at the beginning.
    pub sentence: Clean,
    /// Time at which the danger began, in milliseconds since the epoch.
    pub since_epoch_ms: i64,
}

impl Notice {
    /// Returns the variables that a command finds in its environment.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        let since = chrono::DateTime::from_timestamp_millis(self.since_epoch_ms);
        let since = since.map(|since| since.format("%FT%TZ").to_string());
        let (event, lasted) = match self.news {
            News::Begun => ("begin", String::new()),
            News::Ended(seconds) => ("end", format!("{seconds:.0}")),
        };
        [
            ("HTAP_TOP_EVENT", event.to_owned()),
            ("HTAP_TOP_SENTENCE", self.sentence.to_string()),
            ("HTAP_TOP_SERVER", self.server.to_string()),
            ("HTAP_TOP_SINCE", since.unwrap_or_default()),
            ("HTAP_TOP_LASTED_S", lasted),
        ]
    }

    /// Returns the escape sequence that makes a terminal show it. Its text holds no control characters, because it is
    /// [`Clean`], and no semicolons, which separate the parts of the sequence.
    pub fn sequence(&self, kind: TerminalNotice) -> String {
        let what = match self.news {
            News::Begun => "",
            News::Ended(_) => "ended: ",
        };
        let told = format!("{}: {what}{}", self.server, self.sentence);
        let told = text::cut(&told, COLUMNS).replace(';', ",");
        match kind {
            TerminalNotice::Osc9 => format!("\u{1b}]9;htap-top {told}\u{1b}\\"),
            TerminalNotice::Osc777 => format!("\u{1b}]777;notify;htap-top;{told}\u{1b}\\"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_one_sequence_whatever_it_tells() {
        let hostile = "a\u{1b}\\b\u{7}c;d\u{9c}e\nf\u{202e}g$(h)'i'";
        let notice = Notice {
            news: News::Begun,
            server: Clean::from(hostile),
            sentence: Clean::from(hostile),
            since_epoch_ms: 0,
        };
        for (kind, begins, parts) in [
            (TerminalNotice::Osc9, "\u{1b}]9;htap-top ", 1),
            (TerminalNotice::Osc777, "\u{1b}]777;notify;htap-top;", 3),
        ] {
            let sequence = notice.sequence(kind);
            let inner = sequence.strip_prefix(begins).unwrap();
            let inner = inner.strip_suffix("\u{1b}\\").unwrap();
            assert!(!inner.chars().any(char::is_control), "{inner:?}");
            assert_eq!(sequence.matches(';').count(), parts, "{sequence:?}");
        }
        let told: Vec<(&str, String)> = notice.environment().into();
        let clean = Clean::from(hostile).to_string();
        assert!(told.contains(&("HTAP_TOP_SENTENCE", clean)), "{told:?}");
        assert!(told.contains(&("HTAP_TOP_SINCE", "1970-01-01T00:00:00Z".into())));
        assert!(told.contains(&("HTAP_TOP_LASTED_S", String::new())));
    }
}
