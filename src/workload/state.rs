//! State of a running load, shared by the modules that run it, show it and summarize it.

use super::freshness::Freshness;
use super::machine::Processors;
use super::options::Options;
use super::queue::Queue;
use super::routed::Sender;
use super::tally::Tally;
use crate::system::orders::Orders;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// A running load.
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) sender: Arc<Sender>,
    pub(super) orders: Arc<Orders>,
    pub(super) oltp: Class,
    pub(super) olap: Class,
    pub(super) freshness: Arc<Mutex<Freshness>>,
    /// Number of pieces delivered before the start.
    pub(super) delivered: i64,
    pub(super) start: Instant,
}

/// One of the two classes of work.
pub(super) struct Class {
    pub(super) tally: Arc<Mutex<Tally>>,
    pub(super) queue: Arc<Queue>,
}

/// Counters of the machine and the server at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) processors: Option<Processors>,
    pub(super) deadlocks: Option<i64>,
}
