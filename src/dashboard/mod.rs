//! The dashboard: events in, effects out, one view.

pub mod panels;
pub mod theme;
pub mod widgets;
