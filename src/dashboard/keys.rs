//! The one key table: dispatch, footer, help and docs/screen.md are made from it.

mod command;

pub use command::Command;

use super::event::Key;
use super::event::Travel;

/// A row of the key table.
#[derive(Debug)]
pub struct Binding {
    /// Keys that do it.
    pub keys: &'static [Key],
    /// How the keys are written.
    pub shown: &'static str,
    /// What they ask for.
    pub command: Command,
    /// What it does.
    pub help: &'static str,
    /// One or two words for the footer; empty where it does not stand there.
    pub footer: &'static str,
}

const fn bind(
    keys: &'static [Key],
    shown: &'static str,
    command: Command,
    footer: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        keys,
        shown,
        command,
        help,
        footer,
    }
}

/// All keys, in the order of the help.
pub const BINDINGS: &[Binding] = &[
    bind(
        &[Key::Char('r')],
        "r",
        Command::Refresh,
        "refresh",
        "refresh the selected materialized view CONCURRENTLY; if it cannot be, says why and offers a plain refresh",
    ),
    bind(
        &[Key::Char('R')],
        "R",
        Command::RefreshAll,
        "all",
        "refresh all materialized views, one at a time, in the order of their dependencies",
    ),
    bind(
        &[Key::Char('C')],
        "C",
        Command::Cancel,
        "cancel",
        "cancel the statement of the selected or tagged backends (with the views focused: of the running refresh)",
    ),
    bind(
        &[Key::Char('K')],
        "K",
        Command::Terminate,
        "terminate",
        "terminate the session of the selected or tagged backends",
    ),
    bind(
        &[Key::Char('X')],
        "X",
        Command::CancelOldOlap,
        "",
        "cancel all OLAP statements that run longer than the limit (olap_limit)",
    ),
    bind(
        &[Key::Enter],
        "Enter",
        Command::Open,
        "detail",
        "open the focused panel full screen; there: show the selected row in full",
    ),
    bind(
        &[Key::Char('e')],
        "e",
        Command::Why,
        "",
        "show the evidence for the cause line, its cure, and other findings",
    ),
    bind(
        &[Key::Char('E')],
        "E",
        Command::Explain,
        "",
        "plan the statement of the selected backend, or of Statements, without running it",
    ),
    bind(
        &[Key::Char('m')],
        "m",
        Command::Measure,
        "",
        "measure the selected table or index exactly (pgstattuple); shows the cost first",
    ),
    bind(
        &[Key::Esc],
        "Esc",
        Command::Back,
        "",
        "close the popup, the filter or the full screen; never quits",
    ),
    bind(
        &[Key::Char('/')],
        "/",
        Command::Filter,
        "filter",
        "filter rows by a regular expression (a leading ! inverts; lower case ignores case)",
    ),
    bind(
        &[Key::Tab],
        "Tab",
        Command::NextPanel,
        "panel",
        "next panel",
    ),
    bind(
        &[Key::BackTab],
        "S-Tab",
        Command::PreviousPanel,
        "",
        "previous panel",
    ),
    bind(
        &[Key::Char('1')],
        "1…8",
        Command::Panel(1),
        "",
        "open the panel with that number full screen; press again to return",
    ),
    bind(&[Key::Char('2')], "2", Command::Panel(2), "", ""),
    bind(&[Key::Char('3')], "3", Command::Panel(3), "", ""),
    bind(&[Key::Char('4')], "4", Command::Panel(4), "", ""),
    bind(&[Key::Char('5')], "5", Command::Panel(5), "", ""),
    bind(&[Key::Char('6')], "6", Command::Panel(6), "", ""),
    bind(&[Key::Char('7')], "7", Command::Panel(7), "", ""),
    bind(&[Key::Char('8')], "8", Command::Panel(8), "", ""),
    bind(
        &[Key::Char('9')],
        "9",
        Command::Panel(9),
        "",
        "show the other business panels, including your own",
    ),
    bind(
        &[Key::Char('p')],
        "p",
        Command::Panels,
        "panels",
        "list the panels; a letter opens one (p l: the lock tree)",
    ),
    bind(
        &[Key::Char('0')],
        "0",
        Command::Panel(0),
        "",
        "the Overview",
    ),
    bind(
        &[Key::Down, Key::Char('j')],
        "j ↓",
        Command::Move(1),
        "",
        "next row",
    ),
    bind(
        &[Key::Up, Key::Char('k')],
        "k ↑",
        Command::Move(-1),
        "",
        "previous row",
    ),
    bind(
        &[Key::PageDown, Key::Ctrl('d')],
        "PgDn",
        Command::Page(1),
        "",
        "a page down",
    ),
    bind(
        &[Key::PageUp, Key::Ctrl('u')],
        "PgUp",
        Command::Page(-1),
        "",
        "a page up",
    ),
    bind(
        &[Key::Home, Key::Char('g')],
        "g Home",
        Command::First,
        "",
        "first row",
    ),
    bind(
        &[Key::End, Key::Char('G')],
        "G End",
        Command::Last,
        "",
        "last row",
    ),
    bind(
        &[Key::Right],
        "→",
        Command::Scroll(1),
        "",
        "columns to the right",
    ),
    bind(
        &[Key::Left],
        "←",
        Command::Scroll(-1),
        "",
        "columns to the left",
    ),
    bind(
        &[Key::Char('>')],
        ">",
        Command::SortColumn(1),
        "",
        "sort by the next column to the right",
    ),
    bind(
        &[Key::Char('<')],
        "<",
        Command::SortColumn(-1),
        "",
        "sort by the next column to the left",
    ),
    bind(
        &[Key::Char('I')],
        "I",
        Command::ReverseSort,
        "",
        "reverse the order; press again for worst first",
    ),
    bind(
        &[Key::Char('T')],
        "T",
        Command::Tag,
        "",
        "tag or untag the selected backend, for C and K on several",
    ),
    bind(
        &[Key::Char(' ')],
        "space",
        Command::Pause,
        "pause",
        "pause or resume the screen; in the past: play from there",
    ),
    bind(
        &[Key::Char('h')],
        "h",
        Command::Travel(Travel::Step(-1)),
        "",
        "go back one second (the last hour is kept)",
    ),
    bind(
        &[Key::Char('l')],
        "l",
        Command::Travel(Travel::Step(1)),
        "",
        "go forward one second; past the newest sample it is live again (Esc: at once)",
    ),
    bind(
        &[Key::Char('[')],
        "[",
        Command::Travel(Travel::Step(-60)),
        "",
        "a minute back",
    ),
    bind(
        &[Key::Char(']')],
        "]",
        Command::Travel(Travel::Step(60)),
        "",
        "a minute on",
    ),
    bind(
        &[Key::Char('N')],
        "N",
        Command::Travel(Travel::Trouble(false)),
        "",
        "jump back to the start of the previous trouble",
    ),
    bind(
        &[Key::Char('n')],
        "n",
        Command::Travel(Travel::Trouble(true)),
        "",
        "jump to the start of the next trouble",
    ),
    bind(
        &[Key::Char('+'), Key::Char('=')],
        "+",
        Command::Interval(1),
        "",
        "lengthen the interval; in the past: play faster",
    ),
    bind(
        &[Key::Char('-')],
        "-",
        Command::Interval(-1),
        "",
        "shorten the interval; in the past: play slower",
    ),
    bind(
        &[Key::Char('y')],
        "y",
        Command::Copy,
        "",
        "copy the selected row (OSC 52: the terminal must allow it)",
    ),
    bind(&[Key::Char('t')], "t", Command::Theme, "", "next theme"),
    bind(
        &[Key::Char('M')],
        "M",
        Command::Mouse,
        "",
        "toggle the mouse (click selects, wheel scrolls)",
    ),
    bind(
        &[Key::Char('L')],
        "L",
        Command::Log,
        "",
        "show the log: actions with their proof, connections lost and restored",
    ),
    bind(
        &[Key::Char('D')],
        "D",
        Command::Guard,
        "",
        "switch the guard off or on (its rules act without a key, if any are configured)",
    ),
    bind(
        &[Key::Char('c')],
        "c",
        Command::Reconnect,
        "",
        "connect again now",
    ),
    bind(
        &[Key::Char('?'), Key::F1],
        "?",
        Command::Help,
        "help",
        "show this help; in full screen also the meaning of each figure",
    ),
    bind(&[Key::Ctrl('z')], "Ctrl-Z", Command::Suspend, "", "suspend"),
    bind(
        &[Key::Char('q'), Key::Ctrl('c')],
        "q",
        Command::Quit,
        "quit",
        "quit (also Ctrl-C)",
    ),
];

/// What `key` asks for.
pub fn command(key: Key) -> Option<Command> {
    BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key))
        .map(|binding| binding.command)
}

/// The key table as Markdown, as it stands in docs/screen.md.
pub fn markdown() -> String {
    let rows = BINDINGS.iter().filter(|binding| !binding.help.is_empty());
    let rows = rows.map(|binding| format!("| `{}` | {} |\n", binding.shown, binding.help));
    format!(
        "| Key | What it does |\n| --- | --- |\n{}",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_is_bound_twice() {
        let mut seen = HashSet::new();
        for key in BINDINGS.iter().flat_map(|binding| binding.keys) {
            assert!(seen.insert(key), "{key:?} is bound twice");
        }
        assert_eq!(command(Key::Char('K')), Some(Command::Terminate));
        assert_eq!(command(Key::Char('z')), None);
    }
}
