//! What is kept of records that are not counted.

use super::batch::Batch;
use crate::pg::{Client, Param, PgError};

/// Keeps the records that are no events.
pub(super) async fn keep_dead(client: &Client, batch: &Batch, topic: &str) -> Result<(), PgError> {
    if batch.dead.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO htap.dead_letter (topic, partition, record_offset, reason, key, value, value_bytes)
               SELECT $1, n.partition::integer, n.record_offset, n.reason, decode(n.key, 'hex'), decode(n.value, 'hex'), n.bytes
               FROM unnest($2, $3, $4, $5, $6, $7) AS n (partition, record_offset, reason, key, value, bytes)";
    let dead = &batch.dead;
    let partitions: Vec<i64> = dead.iter().map(|dead| dead.partition.into()).collect();
    let offsets: Vec<i64> = dead.iter().map(|dead| dead.offset).collect();
    let reasons: Vec<String> = dead
        .iter()
        .map(|dead| dead.reason.escape_default().take(500).collect())
        .collect();
    let keys: Vec<Option<&str>> = dead.iter().map(|dead| dead.key.as_deref()).collect();
    let values: Vec<Option<&str>> = dead.iter().map(|dead| dead.value.as_deref()).collect();
    let bytes: Vec<i64> = dead.iter().map(|dead| dead.bytes).collect();
    let params = [
        Param::Text(topic),
        Param::Ints(&partitions),
        Param::Ints(&offsets),
        Param::Texts(&reasons),
        Param::MaybeTexts(&keys),
        Param::MaybeTexts(&values),
        Param::Ints(&bytes),
    ];
    client.execute(sql, &params).await.map(|_| ())
}

/// Keeps the events beyond the limit of lateness.
pub(super) async fn keep_late(
    client: &Client,
    batch: &Batch,
    topic: &str,
    watermark: Option<i64>,
) -> Result<(), PgError> {
    if batch.late.is_empty() {
        return Ok(());
    }
    let sql = concat!(
        "INSERT INTO htap.late_event (topic, partition, record_offset, event_id, event, order_id, at, watermark, value)
         SELECT $1, n.partition::integer, n.record_offset, n.event_id, n.event, n.order_id, ",
        time!("n.at"),
        ", ",
        time!("$9"),
        ", decode(n.value, 'hex')
         FROM unnest($2, $3, $4, $5, $6, $7, $8) AS n (partition, record_offset, event_id, event, order_id, at, value)"
    );
    let late = &batch.late;
    let partitions: Vec<i64> = late.iter().map(|late| late.partition.into()).collect();
    let offsets: Vec<i64> = late.iter().map(|late| late.offset).collect();
    let ids: Vec<i64> = late.iter().map(|late| late.event_id).collect();
    let kinds: Vec<String> = late.iter().map(|late| late.kind.to_owned()).collect();
    let orders: Vec<i64> = late.iter().map(|late| late.order_id).collect();
    let times: Vec<i64> = late.iter().map(|late| late.at).collect();
    let values: Vec<Option<&str>> = late.iter().map(|late| Some(late.value.as_str())).collect();
    let params = [
        Param::Text(topic),
        Param::Ints(&partitions),
        Param::Ints(&offsets),
        Param::Ints(&ids),
        Param::Texts(&kinds),
        Param::Ints(&orders),
        Param::Ints(&times),
        Param::MaybeTexts(&values),
        Param::Int(watermark.unwrap_or(0)),
    ];
    client.execute(sql, &params).await.map(|_| ())
}
