//! What keys ask for.

use crate::dashboard::event::Travel;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the program.
    Quit,
    /// Show or leave the help.
    Help,
    /// Leave the popup, the filter, the full screen.
    Back,
    /// Open the panel with this number.
    Panel(u8),
    /// Next panel.
    NextPanel,
    /// Previous panel.
    PreviousPanel,
    /// Full screen of the focused panel, then the detail of the selected row.
    Open,
    /// Move the selection by so many rows.
    Move(i32),
    /// Move the selection by a page, down or up.
    Page(i32),
    /// First row.
    First,
    /// Last row.
    Last,
    /// Scroll columns.
    Scroll(i32),
    /// Edit the filter.
    Filter,
    /// Sort by the next column to the right or left.
    SortColumn(i32),
    /// Reverse the order.
    ReverseSort,
    /// Mark the selected row for an action on several.
    Tag,
    /// Refresh the selected view.
    Refresh,
    /// Refresh all views.
    RefreshAll,
    /// Cancel statements.
    Cancel,
    /// Terminate sessions.
    Terminate,
    /// Cancel all OLAP statements older than the limit.
    CancelOldOlap,
    /// Stop and go on with taking in samples.
    Pause,
    /// Show another moment.
    Travel(Travel),
    /// Halve or double the interval.
    Interval(i32),
    /// Copy the selected row or the text shown.
    Copy,
    /// Next theme.
    Theme,
    /// Take or release the mouse.
    Mouse,
    /// Show the log of actions and connections.
    Log,
    /// Show what the cause line rests on.
    Why,
    /// Plan the selected statement.
    Explain,
    /// Measure the selected table or index exactly.
    Measure,
    /// Switch the guard off or on.
    Guard,
    /// Show the list of panels.
    Panels,
    /// Connect again now.
    Reconnect,
    /// Stop as a shell's Ctrl-Z does.
    Suspend,
}

impl Command {
    /// Returns true if it does something to the server.
    pub fn acts(self) -> bool {
        matches!(
            self,
            Self::Refresh
                | Self::RefreshAll
                | Self::Cancel
                | Self::Terminate
                | Self::CancelOldOlap
                | Self::Measure
        )
    }
}
