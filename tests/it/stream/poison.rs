//! Records that are no events: each is kept with its reason and its place, and the stream goes on.

use super::{Kafka, aggregate, bytes, completed, number, plan, streaming_shop, until_read};
use crate::it::server::{Database, block_on};
use crate::it::system::server;
use htap_top::system::schema;
use serde_json::{Value, json};

fn good(event_id: i64, category: &str) -> Value {
    completed(event_id, "2025-11-29T12:00:00Z", category)
}

fn with(field: &str, value: Value) -> Vec<u8> {
    let mut record = good(0, "Books");
    record[field] = value;
    bytes(&record)
}

/// Records that are no events.
pub(super) fn poison() -> Vec<Option<Vec<u8>>> {
    let line = |quantity: i64, amount: &str| json!([{"category": "Books", "quantity": quantity, "amount": amount}]);
    vec![
        None,
        Some(b"not JSON".to_vec()),
        Some(Vec::new()),
        Some(vec![0xff; 40_000]),
        Some(vec![b'x'; 3_000_000]),
        Some(with("v", json!(2))),
        Some(with("lines", line(1, "NaN"))),
        Some(with("lines", line(1, "-5"))),
        Some(with("lines", line(-1, "5"))),
        Some(with("lines", line(1, "1e99"))),
        Some(with("at", json!("2199-01-01T00:00:00Z"))),
        Some(with("at", json!("never"))),
        Some(with("lines", json!("x"))),
    ]
}

#[test]
fn poison_is_kept_apart_and_what_follows_is_counted() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let poison = poison();
        let count = poison.len();
        let aggregator = aggregate(&database, plan(&kafka));
        // One by one: this broker keeps 5 MB, or the last record.
        let good = Some(bytes(&good(7, "Books")));
        let records = poison.into_iter().flat_map(|value| [value, good.clone()]);
        for (value, number) in records.zip(1..) {
            kafka.produce([(1, value)]).await;
            until_read(&client, number).await;
        }
        let dead = "SELECT count(DISTINCT (partition, record_offset)) FROM htap.dead_letter WHERE partition = 1 AND record_offset % 2 = 0";
        let all = client
            .query(
                "SELECT record_offset, reason, value_bytes FROM htap.dead_letter ORDER BY 1",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            number(&client, dead).await,
            i64::try_from(count).unwrap(),
            "{:?}",
            all.rows
        );
        for reason in [
            "tombstone",
            "not JSON",
            "not UTF-8",
            "newer schema",
            "3000000 bytes",
            "amount",
            "quantity",
            "still to come",
        ] {
            let sql =
                format!("SELECT count(*) FROM htap.dead_letter WHERE reason LIKE '%{reason}%'");
            assert!(number(&client, &sql).await > 0, "{reason}");
        }
        let kept = "SELECT count(*) FROM htap.dead_letter WHERE value_bytes = 40000 AND octet_length(value) = 16384
                    AND get_byte(value, 0) = 255";
        assert_eq!(number(&client, kept).await, 1);
        assert_eq!(
            number(
                &client,
                "SELECT sum(orders)::bigint FROM mart.realtime_stream"
            )
            .await,
            1
        );
        // The future did not move the watermark.
        assert_eq!(
            number(
                &client,
                "SELECT count(*) FROM htap.stream_offset WHERE max_event_at > '2026-01-01'"
            )
            .await,
            0
        );
        drop(aggregator);
    });
}

#[test]
fn a_name_that_the_database_cannot_hold_does_not_stop_the_stream() {
    block_on(async {
        let server = server().await;
        let admin = htap_top::pg::Client::connect(&server.target("postgres", "postgres"))
            .await
            .unwrap();
        admin
            .batch("CREATE DATABASE stream_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
            .await
            .unwrap();
        let database = Database {
            server,
            name: "stream_latin".to_owned(),
        };
        let client = database.connect().await;
        schema::create(&client).await.unwrap();
        let kafka = Kafka::start();
        let records = [
            good(1, "Bücher"),
            good(2, "\u{66f8}\u{7c4d}"),
            good(3, "Books"),
        ];
        kafka
            .produce(records.map(|record| (0, Some(record.to_string().into_bytes()))))
            .await;
        let aggregator = aggregate(&database, plan(&kafka));
        until_read(&client, 3).await;
        assert_eq!(
            number(
                &client,
                "SELECT sum(orders)::bigint FROM mart.realtime_stream"
            )
            .await,
            2
        );
        assert_eq!(
            number(&client, "SELECT record_offset FROM htap.dead_letter").await,
            1
        );
        drop(aggregator);
    });
}
