//! A stored past model. The rows of its feeds, which take most of its memory, are compressed until the moment
//! is viewed.

use super::course::Course;
use super::model::Model;
use super::panels::rates;
use crate::pg::Table;
use std::io;

/// Compression level: higher ones save little on a minute's events.
const LEVEL: i32 = 3;

/// A model of the past.
#[derive(Debug)]
pub(super) struct Keyframe {
    /// The model, without the rows of its feeds if those are compressed.
    model: Box<Model>,
    rows: Option<Vec<u8>>,
}

/// Compresses; `None` if that fails.
pub(super) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packed = zstd::bulk::compress(bytes, LEVEL).ok()?;
    // The buffer was allocated for the worst case.
    packed.shrink_to_fit();
    Some(packed)
}

impl Keyframe {
    /// Stores a copy of the model.
    pub(super) fn of(model: &Model) -> Self {
        let mut model = model.clone();
        model.become_past();
        let feeds = model.feeds.iter();
        let rows: Vec<_> = feeds
            .map(|feed| (&feed.table, &feed.raw, &feed.rates))
            .collect();
        let rows = serde_json::to_vec(&rows).ok();
        let rows = rows.and_then(|json| pack(&json));
        if rows.is_some() {
            for feed in &mut model.feeds {
                (feed.table, feed.raw) = (Table::default(), Table::default());
                feed.rates = rates::Memory::default();
            }
        }
        Self {
            model: Box::new(model),
            rows,
        }
    }

    /// Returns what the timeline showed then.
    pub(super) fn course(&self) -> &Course {
        &self.model.history.course
    }

    /// Returns the stored model.
    pub(super) fn model(&self) -> io::Result<Model> {
        let mut model = (*self.model).clone();
        if let Some(packed) = &self.rows {
            let json = zstd::stream::decode_all(packed.as_slice())?;
            let rows: Vec<(Table, Table, rates::Memory)> = serde_json::from_slice(&json)?;
            for (feed, rows) in model.feeds.iter_mut().zip(rows) {
                (feed.table, feed.raw, feed.rates) = rows;
            }
        }
        Ok(model)
    }
}
