//! What is so at one moment: sizes and dead rows of tables, indexes, settings.

use super::statements::LISTED;
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::bloat::USER_OID;
use crate::dashboard::rows::{Rows, compared, read};
use std::collections::BTreeMap;

/// A table or an index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relation {
    /// Size.
    pub bytes: Option<f64>,
    /// Dead rows.
    pub dead: Option<f64>,
    /// Live rows.
    pub live: Option<f64>,
    /// True if it is listed whenever there is room: a user's own table or index.
    pub own: bool,
}

/// Relations by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relations {
    /// The listed ones.
    pub rows: BTreeMap<String, Relation>,
}

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

impl Relations {
    /// Returns true if there are no others.
    pub fn is_complete(&self) -> bool {
        self.rows.len() < LISTED
    }

    /// Bytes of all.
    pub fn bytes(&self) -> f64 {
        let bytes = self.rows.values().filter_map(|relation| relation.bytes);
        bytes.sum()
    }
}

/// Reads the tables of the last answer.
pub fn tables(feed: &Feed) -> Relations {
    let rows = Rows::<read::Relation>::of(&feed.table);
    let rows = rows.iter().filter_map(|row| {
        let relation = Relation {
            bytes: row.size_bytes(),
            dead: row.n_dead().map(|dead| dead as f64),
            live: row.n_live().map(|live| live as f64),
            own: row.relid() >= Some(USER_OID) && !row.relkind().is("t"),
        };
        Some((row.relation().text()?.to_owned(), relation))
    });
    Relations {
        rows: rows.collect(),
    }
}

/// Reads the indexes of the last answer.
pub fn indexes(feed: &Feed) -> Relations {
    let rows = Rows::<compared::Index>::of(&feed.table);
    let rows = rows.iter().filter_map(|row| {
        let name = format!("{} of {}", row.index().text()?, row.relation().shown());
        let relation = Relation {
            bytes: row.size_bytes(),
            own: true,
            ..Relation::default()
        };
        Some((name, relation))
    });
    Relations {
        rows: rows.collect(),
    }
}

/// Reads the settings of the last answer; those that our role may not see are missing.
pub fn settings(feed: &Feed) -> Settings {
    let rows = Rows::<compared::Setting>::of(&feed.table);
    let rows = rows.iter().filter_map(|row| {
        let (name, value) = (row.name().text()?, row.value().text()?);
        Some((name.to_owned(), value.to_owned()))
    });
    rows.collect()
}
