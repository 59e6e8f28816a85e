//! The table of commands: a row for each, in the order of the help.
//!
//! A row makes a variant of [`Command`]; the compiler then asks for its arm in `dashboard/model/input.rs`.

use super::Key::{
    self, BackTab, Backspace, Char, Ctrl, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp,
    Right, Tab, Up,
};

/// The context in which a command's keys work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// On every page and in every popup; while a filter is typed or a question is open, only if the key is not a
    /// character, such as Ctrl-C.
    Everywhere,
    /// On pages and in popups.
    Screen,
    /// While a question before an action is open.
    Question,
    /// While the chooser of columns is open, besides the keys that scroll and close it.
    Columns,
    /// While a filter, or the number that a question asks for, is typed.
    Editing,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The command.
    pub command: Command,
    /// Its name in the configuration.
    pub name: &'static str,
    /// Context in which its keys work.
    pub context: Context,
    /// Default keys; sentences name the first one.
    pub keys: &'static [Key],
    /// Word for the footer; empty if it is not shown there.
    pub footer: &'static str,
    /// Description; `{name}` stands for the key of another command.
    pub help: &'static str,
}

macro_rules! commands {
    ($($context:ident $command:ident $name:literal [$($key:expr),*] $footer:literal $help:literal;)*) => {
        /// A command that a key is bound to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = $help] $command,)*
        }

        /// All commands, in the order of the help.
        pub static ROWS: &[Row] = &[$(Row {
            command: Command::$command,
            name: $name,
            context: Context::$context,
            keys: &[$($key),*],
            footer: $footer,
            help: $help,
        }),*];
    };
}

commands! {
    // Where, command, name in the configuration, keys by default, word in the footer
    //     what it does.
    Screen Refresh "refresh" [Char('r')] "refresh"
        "refresh the selected materialized view CONCURRENTLY; if it cannot be, says why and offers a plain refresh";
    Screen RefreshAll "refresh_all" [Char('R')] "all"
        "refresh all materialized views, one at a time, in the order of their dependencies";
    Screen Cancel "cancel" [Char('C')] "cancel"
        "cancel the statement of the selected or tagged backends (with the views focused: of the running refresh)";
    Screen Terminate "terminate" [Char('K')] "terminate"
        "terminate the session of the selected or tagged backends";
    Screen CancelOldOlap "cancel_old_olap" [Char('X')] ""
        "cancel all OLAP statements that run longer than the limit (olap_limit)";
    Screen Open "open" [Enter] "detail"
        "open the focused panel full screen; there: show the selected row in full";
    Screen Why "why" [Char('e')] ""
        "show the evidence for the cause line, its cure, and other findings";
    Screen Explain "explain" [Char('E')] ""
        "plan the statement of the selected backend, or of Statements, without running it";
    Screen Measure "measure" [Char('m')] ""
        "measure the selected table or index exactly (pgstattuple); shows the cost first";
    Screen PauseRelay "pause_relay" [Char('P')] ""
        "pause the relay of the stream, or resume it";
    Screen Back "back" [Esc] ""
        "close the popup, the filter or the full screen; never quits";
    Screen Filter "filter" [Char('/')] "filter"
        "filter rows by a regular expression (a leading ! inverts; lower case ignores case)";
    Screen Servers "servers" [Char('s')] "servers"
        "list the servers, if there are several; a digit there shows one";
    Screen NextServer "next_server" [Char('.')] ""
        "show the next server in the row of tabs";
    Screen PreviousServer "previous_server" [Char(',')] ""
        "show the previous server in the row of tabs";
    Screen NextPanel "next_panel" [Tab] "panel"
        "next panel";
    Screen PreviousPanel "previous_panel" [BackTab] ""
        "previous panel";
    Screen MorePanels "more_panels" [Char('9')] ""
        "show the other business panels, including your own";
    Screen ListPanels "list_panels" [Char('p')] "panels"
        "list the panels; a letter there opens one";
    Screen Overview "overview" [Char('0')] ""
        "the Overview";
    Screen NextRow "next_row" [Char('j'), Down] ""
        "next row";
    Screen PreviousRow "previous_row" [Char('k'), Up] ""
        "previous row";
    Screen PageDown "page_down" [PageDown, Ctrl('d')] ""
        "a page down";
    Screen PageUp "page_up" [PageUp, Ctrl('u')] ""
        "a page up";
    Screen FirstRow "first_row" [Char('g'), Home] ""
        "first row";
    Screen LastRow "last_row" [Char('G'), End] ""
        "last row";
    Screen ScrollRight "scroll_right" [Right] ""
        "columns to the right";
    Screen ScrollLeft "scroll_left" [Left] ""
        "columns to the left";
    Screen SortRight "sort_right" [Char('>')] ""
        "sort by the next column to the right";
    Screen SortLeft "sort_left" [Char('<')] ""
        "sort by the next column to the left";
    Screen ReverseSort "reverse_sort" [Char('I')] ""
        "reverse the order; press again for worst first";
    Screen Columns "columns" [Char('f')] ""
        "choose the columns of the focused panel: which are shown, in which order, sorted by which";
    Screen Tag "tag" [Char('T')] ""
        "tag or untag the selected backend, for {cancel} and {terminate} on several";
    Screen TimelineSpan "timeline_span" [Char('z')] ""
        "Timeline: the last 2, 5, 15 or 60 minutes";
    Screen TimelineSplit "timeline_split" [Char('v')] ""
        "Timeline: active sessions by class, or by what they wait for";
    Screen Pause "pause" [Char(' ')] "pause"
        "pause or resume the screen; in the past: play from there";
    Screen SecondBack "second_back" [Char('h')] ""
        "go back one second (the last hour is kept)";
    Screen SecondForward "second_forward" [Char('l')] ""
        "go forward one second; past the newest sample it is live again ({back}: at once)";
    Screen MinuteBack "minute_back" [Char('[')] ""
        "a minute back";
    Screen MinuteForward "minute_forward" [Char(']')] ""
        "a minute on";
    Screen PreviousTrouble "previous_trouble" [Char('N')] ""
        "jump back to the start of the previous trouble";
    Screen NextTrouble "next_trouble" [Char('n')] ""
        "jump to the start of the next trouble";
    Screen Mark "mark" [Char('b')] ""
        "mark this moment to compare with (before a deployment, say); twice within a second removes the mark";
    Screen Changes "changes" [Char('B')] ""
        "list what has changed since the mark, the most important first";
    Screen LongerInterval "longer_interval" [Char('+'), Char('=')] ""
        "lengthen the interval; in the past: play faster";
    Screen ShorterInterval "shorter_interval" [Char('-')] ""
        "shorten the interval; in the past: play slower";
    Screen Copy "copy" [Char('y')] ""
        "copy the selected row (OSC 52: the terminal must allow it)";
    Screen NextTheme "next_theme" [Char('t')] ""
        "next theme";
    Screen Mouse "mouse" [Char('M')] ""
        "toggle the mouse (click selects a row or a tab, wheel scrolls)";
    Screen Log "log" [Char('L')] ""
        "show the log: actions with their proof, connections lost and restored";
    Screen WriteReport "write_report" [Char('w')] ""
        "write a report of this moment to a file: the trouble, its evidence, sessions, locks, statements, settings, actions";
    Screen Guard "guard" [Char('D')] ""
        "switch the guard off or on (its rules act without a key, if any are configured)";
    Screen Reconnect "reconnect" [Char('c')] ""
        "connect again now";
    Screen Help "help" [Char('?'), F(1)] "help"
        "show this help; in full screen the page of that panel, with the meaning of each figure";
    Everywhere Suspend "suspend" [Ctrl('z')] ""
        "suspend";
    Everywhere Quit "quit" [Char('q'), Ctrl('c')] "quit"
        "quit";
    Question Confirm "confirm" [Char('y')] ""
        "before an action: yes; any other key: no";
    Columns ShowColumn "show_column" [Char(' '), Enter] ""
        "while choosing columns: show or hide the selected one";
    Columns ColumnLeft "column_left" [Left] ""
        "while choosing columns: move the selected one to the left";
    Columns ColumnRight "column_right" [Right] ""
        "while choosing columns: move the selected one to the right";
    Columns SortByColumn "sort_by_column" [Char('s')] ""
        "while choosing columns: sort by the selected one; press again to reverse";
    Columns NextProfile "next_profile" [Char('p')] ""
        "while choosing columns: narrow, usual, wide, and back";
    Columns ResetColumns "reset_columns" [Char('r')] ""
        "while choosing columns: forget what was chosen for this panel";
    Editing Accept "accept" [Enter] ""
        "while typing: done";
    Editing Discard "discard" [Esc] ""
        "while typing: drop the filter";
    Editing Erase "erase" [Backspace, Ctrl('h')] ""
        "while typing: erase a character";
    Editing EraseAll "erase_all" [Ctrl('u')] ""
        "while typing: erase all";
}

impl Command {
    /// Returns its row in the table.
    pub fn row(self) -> Option<&'static Row> {
        // Rows and variants come from the same lines.
        ROWS.get(self as usize)
    }

    /// Returns the command of this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = ROWS.iter().find(|row| row.name == name);
        found.map(|row| row.command)
    }

    /// Returns true if it asks for confirmation and then acts on the server.
    pub fn acts(self) -> bool {
        matches!(
            self,
            Self::Refresh
                | Self::RefreshAll
                | Self::Cancel
                | Self::Terminate
                | Self::CancelOldOlap
                | Self::Measure
                | Self::PauseRelay
        )
    }

    /// Returns true if it means something only if there are several servers.
    pub fn is_of_several(self) -> bool {
        matches!(
            self,
            Self::Servers | Self::NextServer | Self::PreviousServer
        )
    }

    /// Returns true if its keys work in the chooser of columns, too.
    pub fn is_for_chooser(self) -> bool {
        self.is_for_popups() || self == Self::Columns
    }

    /// Returns true if it scrolls or closes a popup.
    pub fn is_for_popups(self) -> bool {
        matches!(
            self,
            Self::NextRow
                | Self::PreviousRow
                | Self::PageDown
                | Self::PageUp
                | Self::FirstRow
                | Self::LastRow
                | Self::Back
                | Self::Quit
        )
    }

    /// Returns true if it must have a key.
    pub fn is_needed(self) -> bool {
        matches!(
            self,
            Self::Back | Self::Quit | Self::Confirm | Self::Accept | Self::Discard
        )
    }
}
