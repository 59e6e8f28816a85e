//! Watermarks: windows become final, late events revise them, later ones are kept apart.

use super::{Kafka, aggregate, bytes, number, plan, streaming_shop, until_read};
use crate::it::server::{block_on, until};
use htap_top::pg::Client;
use std::time::Duration;

fn completed(event_id: i64, minute: u32) -> Vec<u8> {
    let at = format!("2025-11-29T12:{minute:02}:10Z");
    bytes(&super::completed(event_id, &at, "Books"))
}

async fn window(client: &Client, minute: u32) -> (i64, bool, bool) {
    let sql = format!(
        "SELECT orders, final, revised FROM mart.realtime_stream WHERE window_start = '2025-11-29 12:{minute:02}+00'"
    );
    let table = client.query(&sql, &[]).await.unwrap();
    (
        table.first("orders").int().unwrap_or(0),
        table.first("final").is_true(),
        table.first("revised").is_true(),
    )
}

#[test]
fn a_late_event_revises_a_final_window_and_a_later_one_is_kept_apart() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let mut plan = plan(&kafka);
        plan.lateness = Duration::from_secs(600);
        plan.idle = Duration::from_secs(3_600);
        let aggregator = aggregate(&database, plan);
        kafka
            .produce((0..4).map(|partition| (partition, completed(i64::from(partition), 5))))
            .await;
        until_read(&client, 4).await;
        assert_eq!(
            window(&client, 5).await,
            (4, false, false),
            "the watermark is in it"
        );
        // Three partitions go on; the fourth one holds the watermark.
        kafka
            .produce((0..3).map(|partition| (partition, completed(10 + i64::from(partition), 7))))
            .await;
        until_read(&client, 7).await;
        assert_eq!(window(&client, 5).await, (4, false, false));
        kafka.produce([(3, completed(13, 7))]).await;
        until_read(&client, 8).await;
        assert_eq!(window(&client, 5).await, (4, true, false));
        // Its own window, and one that had no row.
        kafka
            .produce([(0, completed(20, 5)), (0, completed(21, 4))])
            .await;
        until_read(&client, 10).await;
        assert_eq!(window(&client, 5).await, (5, true, true));
        assert_eq!(window(&client, 4).await, (1, true, true));
        kafka
            .produce((0..4).map(|partition| (partition, completed(30 + i64::from(partition), 30))))
            .await;
        until_read(&client, 14).await;
        kafka
            .produce([
                (1, completed(40, 5)),
                (1, completed(40, 5)),
                (1, completed(41, 25)),
            ])
            .await;
        until_read(&client, 17).await;
        assert_eq!(
            window(&client, 5).await,
            (5, true, true),
            "beyond the limit"
        );
        assert_eq!(window(&client, 25).await, (1, true, true));
        let late = "SELECT count(*) FROM htap.late_event WHERE event_id = 40 AND at < watermark AND convert_from(value, 'UTF8')::jsonb ->> 'v' = '1'";
        assert_eq!(number(&client, late).await, 2);
        let last = "SELECT max(s.change) - (SELECT p.change FROM htap.stream_progress AS p) FROM mart.realtime_stream AS s";
        assert_eq!(number(&client, last).await, 0, "a feed sees the last batch");
        drop(aggregator);
    });
}

#[test]
fn an_idle_topic_ends_its_last_window() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let mut plan = plan(&kafka);
        plan.idle = Duration::from_millis(300);
        let aggregator = aggregate(&database, plan);
        kafka.produce([(0, completed(1, 5))]).await;
        let sql = "SELECT final, orders FROM mart.realtime_stream";
        until(&client, "the window is final", sql, &[], |table| {
            table.first("final").is_true()
        })
        .await;
        // Nothing is late for the clock.
        kafka.produce([(1, completed(2, 5))]).await;
        until_read(&client, 2).await;
        assert_eq!(window(&client, 5).await, (2, true, true));
        let idle = "SELECT count(*) AS n FROM htap.stream_offset WHERE idle";
        until(&client, "all are idle", idle, &[], |table| {
            table.first("n").int() == Some(4)
        })
        .await;
        // An end that was reached is no error, after which all would be read again.
        let reported =
            "SELECT (extract(epoch FROM reported_at) * 1000)::bigint FROM htap.stream_state";
        for _ in 0..4 {
            let before = number(&client, reported).await;
            let later = format!("SELECT ({reported}) > {before} AS later");
            until(&client, "the next report", &later, &[], |table| {
                table.first("later").is_true()
            })
            .await;
            assert_eq!(
                number(
                    &client,
                    "SELECT count(*) FROM htap.stream_offset WHERE idle"
                )
                .await,
                4
            );
        }
        drop(aggregator);
    });
}
