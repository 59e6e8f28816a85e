//! The dashboard: the model takes in events and returns effects; a view draws it.

pub mod action;
pub mod audit;
pub mod cell;
pub mod chunks;
pub mod diagnosis;
pub mod encoded;
pub mod event;
pub mod feed;
pub mod guard;
pub mod history;
mod keyframe;
pub mod model;
pub mod output;
pub mod panels;
pub mod recording;
pub mod rows;
pub mod runtime;
pub mod tape;
pub mod terminal;
pub mod theme;
pub mod timeline;
pub mod view;
pub mod wait_graph;
pub mod widgets;
pub mod xid_clock;
