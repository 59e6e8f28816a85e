//! The aggregator's transactions.

use super::batch::{Batch, Growth, Key, Moved};
use super::keep::{keep_dead, keep_late};
use super::watermark::Windows;
use crate::pg::{Client, Param, PgError, Table};
use std::collections::{BTreeMap, HashSet};

/// How far a partition was read, as stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) partition: i32,
    pub(super) next: i64,
    /// The hash of the record before `next`.
    pub(super) print: Option<u64>,
    pub(super) max_at: Option<i64>,
}

/// What is stored of a topic.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) cluster: String,
    pub(super) window_s: i64,
    pub(super) watermark: Option<i64>,
    pub(super) final_to: Option<i64>,
    pub(super) epoch: i64,
    pub(super) partitions: Vec<Stored>,
}

/// Outcome of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Applied,
    /// Another aggregator has moved the offsets, or may: nothing was changed.
    Fenced,
}

/// Returns the server's time.
pub(super) async fn now(client: &Client) -> Result<i64, PgError> {
    let sql = concat!("SELECT ", micros!("clock_timestamp()"), " AS now");
    let answer = client.query(sql, &[]).await?;
    Ok(answer.first("now").int().unwrap_or(0))
}

/// Takes over the topic: from now on nobody else moves its offsets. Adds what is not stored yet.
pub(super) async fn take_over(
    client: &Client,
    topic: &str,
    cluster: &str,
    window_s: i64,
    partitions: i32,
) -> Result<Ledger, PgError> {
    client.begin("").await?;
    let done = taken_over(client, topic, cluster, window_s, partitions).await;
    end(client, &done).await?;
    done
}

/// Commits, or rolls back after an error that the session survives.
async fn end<T>(client: &Client, done: &Result<T, PgError>) -> Result<(), PgError> {
    match done {
        Ok(_) => client.commit().await,
        Err(error) if error.session_survives() => client.rollback().await,
        Err(_) => Ok(()),
    }
}

async fn taken_over(
    client: &Client,
    topic: &str,
    cluster: &str,
    window_s: i64,
    partitions: i32,
) -> Result<Ledger, PgError> {
    let new = "INSERT INTO htap.stream_progress (topic, cluster, window_s) VALUES ($1, $2, $3::bigint::integer)
               ON CONFLICT DO NOTHING";
    let params = [
        Param::Text(topic),
        Param::Text(cluster),
        Param::Int(window_s),
    ];
    client.execute(new, &params).await?;
    let progress = concat!(
        "SELECT p.cluster, p.window_s, ",
        micros!("p.watermark"),
        " AS watermark, ",
        micros!("p.final_to"),
        " AS final_to FROM htap.stream_progress AS p WHERE p.topic = $1 FOR UPDATE"
    );
    let progress = client.query(progress, &[Param::Text(topic)]).await?;
    let offsets = "INSERT INTO htap.stream_offset (topic, topic_id, partition)
                   SELECT $1, $2, n FROM generate_series(0, $3::bigint::integer - 1) AS n ON CONFLICT DO NOTHING";
    let params = [
        Param::Text(topic),
        Param::Text(cluster),
        Param::Int(partitions.into()),
    ];
    client.execute(offsets, &params).await?;
    let taken = concat!(
        "UPDATE htap.stream_offset AS o SET epoch = m.epoch
         FROM (SELECT max(epoch) + 1 AS epoch FROM htap.stream_offset WHERE topic = $1) AS m
         WHERE o.topic = $1
         RETURNING o.partition, o.next_offset, o.last_record, o.epoch, ",
        micros!("o.max_event_at"),
        " AS max_at"
    );
    let taken = client.query(taken, &[Param::Text(topic)]).await?;
    Ok(Ledger {
        cluster: progress
            .first("cluster")
            .raw()
            .unwrap_or_default()
            .to_owned(),
        window_s: progress.first("window_s").int().unwrap_or(0),
        watermark: progress.first("watermark").int(),
        final_to: progress.first("final_to").int(),
        epoch: taken.first("epoch").int().unwrap_or(0),
        partitions: stored(&taken),
    })
}

fn stored(table: &Table) -> Vec<Stored> {
    let rows = 0..table.rows.len();
    let mut stored: Vec<Stored> = rows
        .filter_map(|row| {
            let print = table.get(row, "last_record").text();
            Some(Stored {
                partition: table.get(row, "partition").int()?.try_into().ok()?,
                next: table.get(row, "next_offset").int()?,
                print: print.and_then(|print| u64::from_str_radix(print, 16).ok()),
                max_at: table.get(row, "max_at").int(),
            })
        })
        .collect();
    stored.sort_by_key(|stored| stored.partition);
    stored
}

/// Begins again with a topic that has replaced the former one: its partitions are read from their beginning.
pub(super) async fn begin_again(
    client: &Client,
    topic: &str,
    cluster: &str,
    partitions: i32,
) -> Result<(), PgError> {
    client.begin("").await?;
    let done = async {
        let params = [Param::Text(topic), Param::Text(cluster)];
        let progress = "UPDATE htap.stream_progress SET cluster = $2 WHERE topic = $1";
        client.execute(progress, &params).await?;
        let offsets = "UPDATE htap.stream_offset SET next_offset = 0, last_record = NULL, end_offset = NULL, topic_id = $2
                       WHERE topic = $1";
        client.execute(offsets, &params).await?;
        let gone = "DELETE FROM htap.stream_offset WHERE topic = $1 AND partition >= $2";
        let params = [Param::Text(topic), Param::Int(partitions.into())];
        client.execute(gone, &params).await
    };
    let done = done.await;
    end(client, &done).await?;
    done.map(|_| ())
}

/// What a batch is applied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) topic: &'a str,
    pub(super) epoch: i64,
    /// As they were before the batch.
    pub(super) before: &'a Windows,
    /// As the batch leaves them.
    pub(super) after: &'a Windows,
}

/// Applies a batch in one transaction, or nothing of it.
///
/// The first statements lock the topic's row and move the offsets, so that of two aggregators one waits, and then finds
/// offsets or epoch changed.
pub(super) async fn apply(
    client: &Client,
    batch: &mut Batch,
    terms: Terms<'_>,
) -> Result<Outcome, PgError> {
    client.begin("").await?;
    let done = within(client, batch, terms).await;
    match &done {
        Ok(Outcome::Fenced) => client.rollback().await?,
        _ => end(client, &done).await?,
    }
    done
}

async fn within(client: &Client, batch: &mut Batch, terms: Terms<'_>) -> Result<Outcome, PgError> {
    let none = |at: Option<i64>| Param::Int(at.unwrap_or(-1));
    let progress = concat!(
        "UPDATE htap.stream_progress AS p SET change = p.change + 1, watermark = greatest(p.watermark, ",
        time!("$2"),
        "), final_to = greatest(p.final_to, ",
        time!("$3"),
        ") WHERE p.topic = $1 RETURNING p.change"
    );
    let params = [
        Param::Text(terms.topic),
        none(terms.after.watermark()),
        none(terms.after.final_to()),
    ];
    let Some(change) = client.query(progress, &params).await?.first("change").int() else {
        return Ok(Outcome::Fenced);
    };
    if !moved(client, &batch.moved, terms).await? {
        return Ok(Outcome::Fenced);
    }
    let duplicates = known(client, batch, "htap.stream_event").await?;
    batch.forget(&duplicates);
    let ended = terms
        .before
        .final_to()
        .map_or(i64::MIN, |to| to - terms.before.width());
    let growth = batch.growth(terms.before);
    grow(client, &growth, "mart.realtime_stream", change, ended).await?;
    if terms.after.has_ended_since(terms.before.final_to()) {
        let finish = concat!(
            "UPDATE mart.realtime_stream AS s SET final = true, change = $1, changed_at = clock_timestamp()
             WHERE NOT s.final AND s.window_start <= ",
            time!("$2")
        );
        let last = terms.after.final_to().unwrap_or(0) - terms.after.width();
        client
            .execute(finish, &[Param::Int(change), Param::Int(last)])
            .await?;
    }
    keep_dead(client, batch, terms.topic).await?;
    keep_late(client, batch, terms.topic, terms.before.watermark()).await?;
    Ok(Outcome::Applied)
}

/// Moves the offsets. Returns false if they are not where this aggregator left them.
async fn moved(
    client: &Client,
    moved: &BTreeMap<i32, Moved>,
    terms: Terms<'_>,
) -> Result<bool, PgError> {
    let sql = concat!(
        "WITH moved AS (
             UPDATE htap.stream_offset AS o
             SET next_offset = n.next, last_record = n.print, last_record_at = clock_timestamp(), idle = false,
                 max_event_at = greatest(o.max_event_at, ",
        time!("n.max_at"),
        ")
             FROM unnest($3, $4, $5, $6, $7) AS n (partition, old, next, max_at, print)
             WHERE o.topic = $1 AND o.partition = n.partition AND o.epoch = $2 AND o.next_offset = n.old RETURNING 1)
         SELECT (SELECT count(*) FROM moved) AS moved,
                (SELECT count(*) FROM htap.stream_offset AS o WHERE o.topic = $1 AND o.epoch <> $2) AS strange"
    );
    let column = |of: fn(&Moved) -> i64| -> Vec<i64> { moved.values().map(of).collect() };
    let partitions: Vec<i64> = moved
        .keys()
        .map(|partition| i64::from(*partition))
        .collect();
    let (old, next) = (column(|m| m.from), column(|m| m.to));
    let max_at = column(|m| m.max_at.unwrap_or(-1));
    let prints: Vec<String> = moved.values().map(|m| format!("{:x}", m.print)).collect();
    let params = [
        Param::Text(terms.topic),
        Param::Int(terms.epoch),
        Param::Ints(&partitions),
        Param::Ints(&old),
        Param::Ints(&next),
        Param::Ints(&max_at),
        Param::Texts(&prints),
    ];
    let answer = client.query(sql, &params).await?;
    let all = i64::try_from(moved.len()).unwrap_or(i64::MAX);
    Ok(answer.first("moved").int() == Some(all) && answer.first("strange").int() == Some(0))
}

/// Notes the events in a table, and returns those that are noted there already.
pub(super) async fn known(
    client: &Client,
    batch: &Batch,
    table: &str,
) -> Result<HashSet<i64>, PgError> {
    if batch.counted.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "WITH n AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3) AS n (event_id, order_id, at)), new AS (
             INSERT INTO {table} (event_id, order_id, at)
             SELECT n.event_id, n.order_id, {}
             FROM n ON CONFLICT DO NOTHING RETURNING event_id)
         SELECT event_id FROM n EXCEPT SELECT event_id FROM new",
        time!("n.at")
    );
    let ids: Vec<i64> = batch
        .counted
        .iter()
        .map(|counted| counted.event_id)
        .collect();
    let orders: Vec<i64> = batch
        .counted
        .iter()
        .map(|counted| counted.order_id)
        .collect();
    let times: Vec<i64> = batch
        .counted
        .iter()
        .map(|counted| counted.sales.at)
        .collect();
    let params = [Param::Ints(&ids), Param::Ints(&orders), Param::Ints(&times)];
    let answer = client.query(&sql, &params).await?;
    let column = answer.find("event_id", &mut 0);
    Ok(answer
        .rows
        .iter()
        .filter_map(|row| column.of(row).int())
        .collect())
}

/// Adds to the windows of a table. Those that begin by `ended` are final.
pub(super) async fn grow(
    client: &Client,
    growth: &BTreeMap<Key<'_>, Growth>,
    table: &str,
    change: i64,
    ended: i64,
) -> Result<(), PgError> {
    if growth.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO {table} AS s (window_start, category, segment, amount, quantity, orders, distinct_orders, revised, final,
                                   change)
         SELECT {}, n.category, n.segment, n.amount::numeric, n.quantity, n.orders, n.distinct_orders, n.start <= $8,
                n.start <= $8, $9
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS n (start, category, segment, amount, quantity, orders, distinct_orders)
         ON CONFLICT (window_start, category, segment) DO UPDATE
         SET amount = s.amount + excluded.amount, quantity = s.quantity + excluded.quantity, orders = s.orders + excluded.orders,
             distinct_orders = s.distinct_orders + excluded.distinct_orders,
             revised = s.revised OR s.final, change = excluded.change, changed_at = clock_timestamp()",
        time!("n.start")
    );
    let starts: Vec<i64> = growth.keys().map(|(start, ..)| *start).collect();
    let categories: Vec<String> = growth
        .keys()
        .map(|(_, name, _)| (*name).to_owned())
        .collect();
    let segments: Vec<String> = growth.keys().map(|(.., name)| (*name).to_owned()).collect();
    let amounts: Vec<String> = growth
        .values()
        .map(|growth| growth.amount.to_string())
        .collect();
    let quantities: Vec<i64> = growth.values().map(|growth| growth.quantity).collect();
    let orders: Vec<i64> = growth.values().map(|growth| growth.orders).collect();
    let distinct: Vec<i64> = growth
        .values()
        .map(|growth| growth.distinct_orders)
        .collect();
    let params = [
        Param::Ints(&starts),
        Param::Texts(&categories),
        Param::Texts(&segments),
        Param::Texts(&amounts),
        Param::Ints(&quantities),
        Param::Ints(&orders),
        Param::Ints(&distinct),
        Param::Int(ended),
        Param::Int(change),
    ];
    client.execute(&sql, &params).await.map(|_| ())
}

/// What a panel shows of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) partition: i32,
    pub(super) end: Option<i64>,
    pub(super) watermark: Option<i64>,
    pub(super) idle: bool,
}

/// Writes what a panel shows of the partitions.
pub(super) async fn show(
    client: &Client,
    topic: &str,
    epoch: i64,
    shown: &[Shown],
) -> Result<(), PgError> {
    let sql = concat!(
        "UPDATE htap.stream_offset AS o SET end_offset = nullif(n.end_offset, -1), idle = n.idle = 1, watermark = ",
        time!("n.watermark"),
        " FROM unnest($3, $4, $5, $6) AS n (partition, end_offset, watermark, idle)
          WHERE o.topic = $1 AND o.epoch = $2 AND o.partition = n.partition"
    );
    let column = |of: fn(&Shown) -> i64| -> Vec<i64> { shown.iter().map(of).collect() };
    let (partitions, ends) = (
        column(|s| s.partition.into()),
        column(|s| s.end.unwrap_or(-1)),
    );
    let (watermarks, idle) = (
        column(|s| s.watermark.unwrap_or(-1)),
        column(|s| s.idle.into()),
    );
    let params = [
        Param::Text(topic),
        Param::Int(epoch),
        Param::Ints(&partitions),
        Param::Ints(&ends),
        Param::Ints(&watermarks),
        Param::Ints(&idle),
    ];
    client.execute(sql, &params).await.map(|_| ())
}

/// Forgets the events whose duplicates would be too late.
pub(super) async fn forget(client: &Client, before: i64) -> Result<(), PgError> {
    let sql = concat!("DELETE FROM htap.stream_event WHERE at < ", time!("$1"));
    client.execute(sql, &[Param::Int(before)]).await.map(|_| ())
}

/// Returns the names that the database's encoding does not have, with the error.
pub(super) async fn unwritable(
    client: &Client,
    names: HashSet<String>,
) -> Result<Option<(HashSet<String>, String)>, PgError> {
    let mut found = HashSet::new();
    let mut why = None;
    for name in names {
        match client
            .query("SELECT length($1) AS n", &[Param::Text(&name)])
            .await
        {
            Ok(_) => {}
            Err(error) if error.code().starts_with("22") => {
                why = Some(error.message.as_str().chars().take(200).collect());
                found.insert(name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(why.map(|why| (found, why)))
}
