//! What the live aggregator holds, and the rows in which a replay differs from it.

use crate::pg::{Client, Param, PgError};
use crate::stream::StreamError;
use std::collections::{BTreeMap, HashMap};

/// A partition as the aggregator left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The offset up to which it is counted.
    pub(super) next: i64,
    /// The hash of the record before, in hexadecimal digits.
    pub(super) print: Option<String>,
    /// Its latest event, in microseconds.
    pub(super) max_at: Option<i64>,
}

/// What the aggregator has stored of a topic.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) cluster: String,
    pub(super) window_s: u64,
    pub(super) partitions: BTreeMap<i32, Left>,
}

impl Held {
    /// Returns true if the offsets are the same.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.partitions == other.partitions
    }
}

/// By how much the clock of who wrote a record may be ahead of the server's, in microseconds.
const SKEW: i64 = 300_000_000;

/// Reads what is stored of the topic.
pub(super) async fn held(client: &Client, topic: &str) -> Result<Held, StreamError> {
    let sql = concat!(
        "SELECT p.topic, p.cluster, p.window_s, o.partition, o.next_offset, o.last_record, ",
        micros!("o.max_event_at"),
        " AS max_at FROM htap.stream_progress AS p JOIN htap.stream_offset AS o USING (topic)"
    );
    let table = client.query(sql, &[]).await?;
    let refused = |why: String| Err(StreamError::Refused(why));
    let mut held: Option<Held> = None;
    for row in 0..table.rows.len() {
        let found = table.get(row, "topic").raw().unwrap_or_default();
        if found != topic {
            return refused(format!(
                "mart.realtime_stream holds topic {found}, too: a replay of {topic} alone cannot be compared with it"
            ));
        }
        let int = |column| table.get(row, column).int().unwrap_or(0);
        let held = held.get_or_insert_with(|| Held {
            cluster: table
                .get(row, "cluster")
                .raw()
                .unwrap_or_default()
                .to_owned(),
            window_s: u64::try_from(int("window_s")).unwrap_or(60),
            partitions: BTreeMap::new(),
        });
        let left = Left {
            next: int("next_offset"),
            print: table.get(row, "last_record").text().map(str::to_owned),
            max_at: table.get(row, "max_at").int(),
        };
        let number = i32::try_from(int("partition")).unwrap_or(0);
        held.partitions.insert(number, left);
    }
    match held {
        Some(held) => Ok(held),
        None => refused(format!(
            "topic {topic} was never aggregated: there is nothing to replay up to, or to compare with"
        )),
    }
}

/// Records that the aggregator put aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Late events: partition and offset, and the event's number.
    late: HashMap<(i32, i64), i64>,
    /// Dead letters: partition and offset, and when they were written, in microseconds.
    dead: HashMap<(i32, i64), i64>,
}

impl Aside {
    /// Returns true if this event was too late.
    pub(super) fn is_late(&self, partition: i32, offset: i64, event_id: i64) -> bool {
        self.late.get(&(partition, offset)) == Some(&event_id)
    }

    /// Returns true if the record of this time, in milliseconds, was a dead letter. One that was written before is of
    /// another topic of the same name.
    pub(super) fn is_dead(&self, partition: i32, offset: i64, timestamp: i64) -> bool {
        let written = self.dead.get(&(partition, offset));
        written.is_some_and(|written| *written + SKEW >= timestamp.saturating_mul(1_000))
    }
}

/// Reads which records of the topic were put aside.
pub(super) async fn aside(client: &Client, topic: &str) -> Result<Aside, PgError> {
    let topic = [Param::Text(topic)];
    let late = "SELECT l.partition, l.record_offset, l.event_id AS about FROM htap.late_event AS l WHERE l.topic = $1";
    let dead = concat!(
        "SELECT d.partition, d.record_offset, ",
        micros!("max(d.written_at)"),
        " AS about FROM htap.dead_letter AS d WHERE d.topic = $1 AND d.partition >= 0 GROUP BY d.partition, d.record_offset"
    );
    let read = async |sql| -> Result<_, PgError> {
        let table = client.query(sql, &topic).await?;
        let rows = 0..table.rows.len();
        let pairs = rows.filter_map(|row| {
            let int = |column| table.get(row, column).int();
            let partition = i32::try_from(int("partition")?).ok()?;
            Some(((partition, int("record_offset")?), int("about")?))
        });
        Ok(pairs.collect::<HashMap<_, _>>())
    };
    Ok(Aside {
        late: read(late).await?,
        dead: read(dead).await?,
    })
}

/// A row that only one of the tables has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// True if the replay has it, false if `mart.realtime_stream` does.
    pub replayed: bool,
    /// Its window, category, segment, amount, quantity, orders and distinct orders.
    pub row: String,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only windows from this time on were compared, because earlier ones hold events before the first offset.
    pub since: Option<String>,
    /// Rows of `mart.realtime_stream` that were compared.
    pub live_rows: i64,
    /// Rows of the replay that were compared.
    pub replayed_rows: i64,
    /// Rows that only `mart.realtime_stream` has.
    pub only_live: i64,
    /// Rows that only the replay has.
    pub only_replayed: i64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Returns true if no row differs.
    pub fn is_equal(&self) -> bool {
        self.only_live == 0 && self.only_replayed == 0
    }
}

/// Compares the shadow with `mart.realtime_stream`, both ways, from the windows that begin at `since` on. Earlier versions
/// did not count `distinct_orders`: it is not compared in rows that have none.
pub(super) async fn compare(
    client: &Client,
    shadow: &str,
    since: Option<i64>,
) -> Result<Comparison, PgError> {
    let figures =
        "s.window_start, s.category, s.segment, s.amount, s.quantity, s.orders, s.distinct_orders";
    let after = format!("s.window_start >= coalesce({}, '-infinity')", time!("$1"));
    let sql = format!(
        "WITH live AS MATERIALIZED (SELECT {figures} FROM mart.realtime_stream AS s WHERE {after}),
              replayed AS MATERIALIZED (
                  SELECT s.window_start, s.category, s.segment, s.amount, s.quantity, s.orders,
                         CASE WHEN l.amount IS NULL OR l.distinct_orders IS NOT NULL THEN s.distinct_orders END AS distinct_orders
                  FROM mart.{shadow} AS s LEFT JOIN live AS l USING (window_start, category, segment) WHERE {after}),
              only_live AS MATERIALIZED (SELECT * FROM live EXCEPT ALL SELECT * FROM replayed),
              only_replayed AS MATERIALIZED (SELECT * FROM replayed EXCEPT ALL SELECT * FROM live)
         SELECT (SELECT count(*) FROM live) AS live_rows, (SELECT count(*) FROM replayed) AS replayed_rows,
                (SELECT count(*) FROM only_live) AS only_live, (SELECT count(*) FROM only_replayed) AS only_replayed,
                CASE WHEN $1 >= 0 THEN to_char(({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') END AS since,
                d.replayed, d.line
         FROM (SELECT) AS always
         LEFT JOIN (SELECT r.replayed,
                           concat_ws(', ', to_char(r.window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), r.category,
                                     r.segment, r.amount, r.quantity, r.orders, r.distinct_orders) AS line
                    FROM (SELECT false AS replayed, l.* FROM only_live AS l UNION ALL SELECT true, r.* FROM only_replayed AS r) AS r
                    ORDER BY r.window_start, r.category, r.segment, r.replayed LIMIT 20) AS d ON true",
        time!("$1")
    );
    let answer = client
        .query(&sql, &[Param::Int(since.unwrap_or(-1))])
        .await?;
    let count = |column| answer.first(column).int().unwrap_or(0);
    let rows = 0..answer.rows.len();
    let differences = rows.filter_map(|row| {
        Some(Difference {
            replayed: answer.get(row, "replayed").is_true(),
            row: answer.get(row, "line").text()?.to_owned(),
        })
    });
    Ok(Comparison {
        since: answer.first("since").text().map(str::to_owned),
        live_rows: count("live_rows"),
        replayed_rows: count("replayed_rows"),
        only_live: count("only_live"),
        only_replayed: count("only_replayed"),
        differences: differences.collect(),
    })
}
