//! A stored past model. The rows of its feeds, which take most of its memory, are compressed until the moment
//! is viewed.

use super::course::Course;
use super::model::{Bulk, Model};
use super::panels::rates;
use crate::pg::Table;
use std::io;

/// Compression level: higher ones save little on a minute's events.
const LEVEL: i32 = 3;

/// A model of the past.
#[derive(Debug)]
pub(super) struct Keyframe {
    /// The model, without what is compressed.
    model: Box<Model>,
    /// The rows of its feeds, and what else takes much room; `None` if that could not be compressed.
    packed: Option<Vec<u8>>,
}

/// A feed's rows.
type Rows = (Table, Table, rates::Memory);

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
        let feeds = model.feeds.iter_mut();
        let rows: Vec<Rows> = feeds
            .map(|feed| {
                let tables = (
                    std::mem::take(&mut feed.table),
                    std::mem::take(&mut feed.raw),
                );
                (tables.0, tables.1, std::mem::take(&mut feed.rates))
            })
            .collect();
        let whole = (rows, model.take_bulk());
        let packed = serde_json::to_vec(&whole).ok();
        let packed = packed.and_then(|json| pack(&json));
        if packed.is_none() {
            put(&mut model, whole);
        }
        Self {
            model: Box::new(model),
            packed,
        }
    }

    /// Returns what the timeline showed then.
    pub(super) fn course(&self) -> &Course {
        &self.model.history.course
    }

    /// Returns the stored model.
    pub(super) fn model(&self) -> io::Result<Model> {
        let mut model = (*self.model).clone();
        if let Some(packed) = &self.packed {
            let json = zstd::stream::decode_all(packed.as_slice())?;
            put(&mut model, serde_json::from_slice(&json)?);
        }
        Ok(model)
    }
}

fn put(model: &mut Model, (rows, bulk): (Vec<Rows>, Bulk)) {
    for (feed, rows) in model.feeds.iter_mut().zip(rows) {
        (feed.table, feed.raw, feed.rates) = rows;
    }
    model.put_bulk(bulk);
}
