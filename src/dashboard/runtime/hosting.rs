//! Reads figures of the machine from its files, as if the server had answered.

use super::wall_clock;
use crate::dashboard::event::{Event, FeedId};
use crate::host::COLUMNS;
use crate::host::local::{self, Row, Wanted};
use crate::pg::sampler::Report;
use crate::pg::{Table, Value};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// Reads the files, beside the loop: a file system may hang.
pub(super) async fn read(feed: FeedId, wanted: Wanted, tell: Sender<Event>) {
    let begun = Instant::now();
    let now_s = wall_clock().timestamp_micros() as f64 / 1e6;
    let rows = tokio::task::spawn_blocking(move || local::read(&wanted, now_s)).await;
    let report = Report::Answered {
        id: feed.0,
        took_ms: begun.elapsed().as_secs_f64() * 1000.0,
        outcome: Ok(table(rows.unwrap_or_default())),
    };
    let _ = tell.send(Event::Reported(report)).await;
}

fn table(rows: Vec<Row>) -> Table {
    let cells = |(pid, file, content): Row| {
        let content = content.map_or(Value::Null, |content| content.as_str().into());
        vec![Value::Int(pid), file.into(), content]
    };
    Table {
        columns: COLUMNS.iter().map(|name| (*name).into()).collect(),
        rows: rows.into_iter().map(cells).collect(),
    }
}
