//! Reads the outbox in the order of commits, and removes what was sent.

use crate::pg::{Client, Param, PgError, quote_literal};
use serde::Deserialize;
use serde_json::json;

/// A place in the order of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A decimal number: xid8 has no other form outside the server.
    xid: String,
    event_id: i64,
}

impl Place {
    /// The place before all rows.
    pub(super) fn first() -> Self {
        Self {
            xid: "0".to_owned(),
            event_id: 0,
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    place: Place,
    /// The record's key.
    pub(super) key: Vec<u8>,
    payload: Vec<u8>,
    /// The row came with a dump from another server.
    restored: bool,
    /// A slot had it, and the shop's trigger did not write it.
    foreign: bool,
}

/// Limits of a batch.
const ROWS: usize = 5_000;
const BYTES: usize = 4_000_000;

/// An SQL expression of type bytea: a text in UTF-8 or, in a database of SQL_ASCII, which may hold any bytes, as it is.
macro_rules! bytes {
    ($text:literal) => {
        concat!(
            "convert_to(",
            $text,
            ", CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
        )
    };
}

/// Reads the next rows after `after`.
///
/// A row whose transaction is older than all running ones can no longer be preceded by another one: it is neither skipped
/// nor overtaken. A visible row with a transaction id of the future was written on another server, and restored here.
pub(super) async fn read(client: &Client, after: &Place) -> Result<Vec<Row>, PgError> {
    let xid = quote_literal(&after.xid);
    let event_id = after.event_id;
    let sql = format!(
        "COPY (SELECT s.xid::text, s.event_id, s.key, s.payload, s.restored
               FROM (SELECT q.*, sum(octet_length(q.payload)) OVER (ORDER BY q.xid, q.event_id) AS bytes
                     FROM (SELECT o.xid, o.event_id, {} AS key, {} AS payload,
                                  o.xid >= pg_snapshot_xmax(pg_current_snapshot()) AS restored
                           FROM htap.outbox AS o
                           WHERE (o.xid, o.event_id) > ({xid}::xid8, {event_id})
                             AND (o.xid < pg_snapshot_xmin(pg_current_snapshot()) OR o.xid >= pg_snapshot_xmax(pg_current_snapshot()))
                           ORDER BY o.xid, o.event_id LIMIT {ROWS}) AS q) AS s
               WHERE s.bytes - octet_length(s.payload) < {BYTES}
               ORDER BY s.xid, s.event_id) TO STDOUT (FORMAT binary)",
        bytes!("o.key"),
        bytes!("o.payload::text")
    );
    let mut data = Vec::new();
    client
        .copy_out(&sql, |piece| {
            data.extend_from_slice(piece);
            Ok::<(), PgError>(())
        })
        .await?;
    rows(&data).ok_or_else(unknown_form)
}

/// The error if COPY's data cannot be read.
pub(super) fn unknown_form() -> PgError {
    PgError::new(
        crate::pg::Class::Statement,
        "the answer of COPY has an unknown form",
    )
}

/// Makes sure that a crash of the server cannot undo the transactions whose rows were read before.
///
/// With `synchronous_commit = off` a transaction is visible before it is on disk. If some of the WAL is not, a lock of the
/// relay's own row in `htap.stream_state` is written and committed with `local`, which puts everything before it on disk.
/// Returns false if there is no such row.
pub(super) async fn flush(client: &Client, instance: &str) -> Result<bool, PgError> {
    let sql = "
        WITH wal AS MATERIALIZED (SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() AS ahead),
             flushed AS MATERIALIZED (
                 SELECT set_config('synchronous_commit', 'local', true) AS level
                 FROM htap.stream_state AS s WHERE s.instance = $1 AND (SELECT w.ahead FROM wal AS w) FOR NO KEY UPDATE)
        SELECT NOT w.ahead OR EXISTS (SELECT FROM flushed AS f WHERE f.level = 'local') AS safe FROM wal AS w";
    let table = client.query(sql, &[Param::Text(instance)]).await?;
    Ok(table.first("safe").is_true())
}

/// Length of the header of COPY's binary format: a signature, flags, and the length of an extension, which is empty.
const HEADER: usize = 19;

fn rows(data: &[u8]) -> Option<Vec<Row>> {
    tuples(data, |field| {
        let xid = std::str::from_utf8(field()?).ok()?.to_owned();
        let event_id = i64::from_be_bytes(field()?.try_into().ok()?);
        Some(Row {
            place: Place { xid, event_id },
            key: field()?.to_vec(),
            payload: field()?.to_vec(),
            restored: field()? == [1],
            foreign: false,
        })
    })
}

/// Reads COPY's binary format. `read` takes a row's fields one by one, all of them; none may be NULL.
pub(super) fn tuples<'d, T>(
    data: &'d [u8],
    mut read: impl FnMut(&mut dyn FnMut() -> Option<&'d [u8]>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut rest = data.get(HEADER..)?;
    let mut found = Vec::new();
    loop {
        let (count, tail) = rest.split_first_chunk()?;
        rest = tail;
        // The end is marked by -1.
        if i16::from_be_bytes(*count) < 0 {
            return Some(found);
        }
        let mut field = || -> Option<&'d [u8]> {
            let (length, tail) = rest.split_first_chunk()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
            let (value, tail) = tail.split_at_checked(length)?;
            rest = tail;
            Some(value)
        };
        found.push(read(&mut field)?);
    }
}

/// Removes rows that the broker has acknowledged, all those of a batch, and returns the place after which to go on.
pub(super) async fn remove(client: &Client, after: &Place, rows: &[Row]) -> Result<Place, PgError> {
    let Some(last) = rows.last() else {
        return Ok(after.clone());
    };
    // By number, too: between restored rows and others there may be some that came since.
    let sql = "DELETE FROM htap.outbox AS o USING unnest($5) AS sent (event_id)
               WHERE (o.xid, o.event_id) > ($1::xid8, $2) AND (o.xid, o.event_id) <= ($3::xid8, $4)
                 AND o.event_id = sent.event_id";
    let sent: Vec<i64> = rows.iter().map(Row::event_id).collect();
    let params = [
        Param::Text(&after.xid),
        Param::Int(after.event_id),
        Param::Text(&last.place.xid),
        Param::Int(last.place.event_id),
        Param::Ints(&sent),
    ];
    client.execute(sql, &params).await?;
    // Behind restored rows lie those to come.
    Ok(if last.restored {
        after.clone()
    } else {
        last.place.clone()
    })
}

/// Keeps a row that could not be sent, from the table, with all its bytes.
pub(super) async fn bury(
    client: &Client,
    topic: &str,
    row: &Row,
    why: &str,
) -> Result<(), PgError> {
    let sql = concat!(
        "INSERT INTO htap.dead_letter (topic, partition, record_offset, reason, key, value, value_bytes)
         SELECT $1, -1, o.event_id, $2, ",
        bytes!("o.key"),
        ", substr(",
        bytes!("o.payload::text"),
        ", 1, 16384), octet_length(o.payload::text) FROM htap.outbox AS o WHERE o.event_id = $3"
    );
    let params = [
        Param::Text(topic),
        Param::Text(why),
        Param::Int(row.event_id()),
    ];
    client.execute(sql, &params).await?;
    Ok(())
}

/// A row of the versions before records had a version: an order that was created.
#[derive(Deserialize)]
struct Old {
    order_id: i64,
    user_id: i64,
    status: u8,
    amount: serde_json::Number,
    created_at: String,
}

impl Row {
    /// An event that a slot had.
    pub(super) fn decoded(event_id: i64, key: &[u8], payload: &[u8]) -> Self {
        let place = Place {
            xid: String::new(),
            event_id,
        };
        Self {
            place,
            key: key.to_vec(),
            payload: payload.to_vec(),
            restored: false,
            foreign: false,
        }
    }

    /// What a slot had, and is no event.
    pub(super) fn unreadable(data: &[u8]) -> Self {
        Self {
            foreign: true,
            ..Self::decoded(0, &[], data)
        }
    }

    /// Returns true if it is a row of the outbox, not of a slot.
    pub(super) fn is_of_outbox(&self) -> bool {
        !self.place.xid.is_empty()
    }

    /// Its payload as it was written.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its event_id.
    pub(super) fn event_id(&self) -> i64 {
        self.place.event_id
    }

    /// Returns the record's value, or the reason why there is none.
    pub(super) fn value(&self) -> Result<String, &'static str> {
        if self.foreign {
            return Err("a message of the prefix htap.outbox that the shop did not write");
        }
        // The database may have texts that are no UTF-8, but JSON must be.
        let payload = String::from_utf8_lossy(&self.payload);
        // The type jsonb puts the shortest key first.
        if let Some(rest) = payload.strip_prefix("{\"v\": ") {
            return Ok(format!(
                "{{\"event_id\": {}, \"v\": {rest}",
                self.event_id()
            ));
        }
        let Ok(old) = serde_json::from_str::<Old>(&payload) else {
            return Err("the row of the outbox is not an event of an order");
        };
        if old.status != 0 {
            return Err(
                "a row of an earlier version, which holds an order that was not new, but not its lines",
            );
        }
        let value = json!({"v": 1, "event": "created", "event_id": self.event_id(), "order_id": old.order_id,
                           "user_id": old.user_id, "status": old.status, "at": old.created_at,
                           "amount": old.amount.to_string()});
        Ok(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: &str) -> Row {
        Row {
            place: Place {
                xid: "7".to_owned(),
                event_id: 3,
            },
            key: b"5".to_vec(),
            payload: payload.as_bytes().to_vec(),
            restored: false,
            foreign: false,
        }
    }

    #[test]
    fn a_row_becomes_a_record() {
        let now = row(r#"{"v": 1, "at": "x"}"#).value();
        assert_eq!(now.unwrap(), r#"{"event_id": 3, "v": 1, "at": "x"}"#);
        let old = r#"{"amount": 12.30, "status": 0, "user_id": 2, "order_id": 5, "created_at": "2026-01-02T03:04:05+00:00"}"#;
        let old: serde_json::Value = serde_json::from_str(&row(old).value().unwrap()).unwrap();
        assert_eq!(old["event"], "created");
        assert_eq!(old["event_id"], 3);
        assert!(row("{}").value().is_err());
        assert!(
            row(r#"{"amount": 1, "status": 3, "user_id": 2, "order_id": 5, "created_at": "x"}"#)
                .value()
                .is_err()
        );
    }

    #[test]
    fn what_copy_sends_is_read_and_nothing_else() {
        let mut data = vec![0; HEADER];
        data.extend(5_i16.to_be_bytes());
        for field in [&b"7"[..], &3_i64.to_be_bytes(), b"5", b"{}", &[0]] {
            data.extend((field.len() as i32).to_be_bytes());
            data.extend(field);
        }
        assert_eq!(rows(&data), None, "cut off");
        data.extend((-1_i16).to_be_bytes());
        assert_eq!(rows(&data), Some(vec![row("{}")]));
        assert_eq!(rows(&[]), None);
    }
}
