//! Options and limits of queries.

use super::answer::Form;
use super::place::Place;
use std::path::PathBuf;
use std::time::Duration;

/// Options and limits of queries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Place of the files; that of the last sync if `None`.
    pub folder: Option<Place>,
    /// Time zone of the session; that of the user's own sessions if `None`.
    pub time_zone: Option<String>,
    /// Memory that the queries of one [`super::Columnar`] may use together, in bytes. Sorts, joins and aggregations that need more
    /// write temporary files. Half of it goes to whoever asks first, and half in equal shares to all of them. RFM over
    /// 2.7 million sales, with two threads, needs 256 MB to write none.
    pub memory: usize,
    /// Time that a query may take, with the reading of its rows.
    pub timeout: Option<Duration>,
    /// Folder of temporary files.
    pub spill: PathBuf,
    /// Form in which [`super::query::query`] writes an answer.
    pub form: Form,
    /// Threads that compute a query; as many as there are processors if `None`.
    pub threads: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: None,
            time_zone: None,
            memory: 1 << 30,
            timeout: None,
            spill: std::env::temp_dir(),
            form: Form::Table,
            threads: None,
        }
    }
}
