//! Notifications when a danger begins and ends; none by default.

use serde::Deserialize;

/// How somebody is told that a danger begins or ends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Command for /bin/sh; what it tells is in its environment.
    pub command: Option<String>,
    /// Escape sequence that makes the terminal show a notification.
    pub terminal: Option<TerminalNotice>,
    /// Ring the terminal's bell.
    pub bell: bool,
}

/// The escape sequence of a terminal's notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TerminalNotice {
    /// OSC 9, of iTerm2, kitty, `WezTerm`, Windows Terminal, ghostty.
    Osc9,
    /// OSC 777, of urxvt, foot, VTE, ghostty.
    Osc777,
}

impl Notify {
    /// Returns true if anybody is to be told.
    pub fn is_wanted(&self) -> bool {
        self.command.is_some() || self.terminal.is_some() || self.bell
    }

    /// Returns the error in it, if any.
    pub(super) fn fault(&self) -> Option<String> {
        let empty = self
            .command
            .as_ref()
            .is_some_and(|command| command.trim().is_empty());
        empty.then(|| "notify.command is empty: remove it to run no command".to_owned())
    }
}
