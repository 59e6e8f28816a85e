//! The dashboard: the model takes in events and returns effects; a view draws it.

pub mod action;
pub mod audit;
mod cell;
pub(crate) mod chunks;
pub mod compare;
pub mod diagnosis;
pub mod encoded;
pub mod event;
pub mod feed;
pub(crate) mod guard;
pub(crate) mod history;
mod keyframe;
pub mod model;
pub mod output;
pub mod panels;
pub mod recording;
pub mod rows;
pub mod runtime;
pub mod tabs;
pub mod tape;
pub mod terminal;
pub mod theme;
pub mod timeline;
pub mod view;
pub(crate) mod wait_graph;
pub(crate) mod widgets;
pub mod xid_clock;
