//! Keys: the table of commands, and the keys that a configuration binds to them.
//!
//! Dispatch, footer, help, messages that name a key, and docs/keys.md use it.

mod conflict;
mod entry;
mod key;
mod keymap;
mod settle;
mod table;

pub use key::Key;
pub use keymap::{Keymap, PanelKeys, Place, markdown, shown};
pub use table::{Command, Context, ROWS, Row};
