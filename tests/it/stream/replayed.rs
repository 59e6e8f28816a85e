//! A replay: equal to what the live aggregator keeps, whatever came in between; what it must not touch, and what it finds.

use super::{
    Kafka, aggregate, bytes, completed, number, plan, relay, relay_plan, streaming_shop, trade,
    until_read, until_relayed,
};
use crate::it::server::{Database, block_on};
use htap_top::pg::Client;
use htap_top::stream::StreamError;
use htap_top::stream::aggregator::replay::{Comparison, Counted, From, Plan, replay};
use htap_top::system::schema;
use serde_json::json;
use std::time::Duration;

async fn replayed(
    database: &Database<'_>,
    kafka: &Kafka,
    from: From,
    shadow: &str,
) -> Result<(Counted, Comparison), StreamError> {
    let plan = Plan {
        broker: kafka.broker(),
        from,
        shadow: shadow.to_owned(),
    };
    replay(&database.target_of("htap_refresh"), &plan, |_| ()).await
}

/// What a replay must leave as it is.
async fn untouched(client: &Client) -> String {
    let sql = "SELECT jsonb_build_array(
                   (SELECT jsonb_agg(o ORDER BY o.partition) FROM (SELECT partition, next_offset, last_record, epoch FROM htap.stream_offset) AS o),
                   (SELECT md5(jsonb_agg(s ORDER BY s.window_start, s.category, s.segment)::text) FROM mart.realtime_stream AS s),
                   (SELECT count(*) FROM htap.stream_event), (SELECT count(*) FROM htap.dead_letter),
                   (SELECT count(*) FROM htap.late_event))::text AS text";
    let table = client.query(sql, &[]).await.unwrap();
    table.first("text").text().unwrap().to_owned()
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[test]
fn a_replay_equals_what_was_counted_and_finds_what_was_changed() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let never = replayed(&database, &kafka, From::Beginning, "replay").await;
        let never = never.unwrap_err().to_string();
        assert!(never.contains("was never aggregated"), "{never}");
        let sending = relay(&database, relay_plan(&kafka));
        let mut tight = plan(&kafka);
        // Soon late: the watermark is that of the shop's orders.
        tight.lateness = Duration::from_secs(60);
        tight.idle = Duration::ZERO;
        let live = aggregate(&database, tight.clone());
        trade(&client, 40).await;
        until_relayed(&client).await;
        until_read(&client, 150).await;
        // A copy, a cancellation, an event that is too late, one of the future, and what is no event.
        let sent = kafka.records();
        let copy = sent
            .iter()
            .find(|record| record.value["event"] == "completed")
            .unwrap();
        let again = completed(9_000_001, copy.value["at"].as_str().unwrap(), "Books");
        let mut cancelled = again.clone();
        cancelled["event"] = json!("cancelled");
        cancelled["event_id"] = json!(9_000_002);
        cancelled["status"] = json!(4);
        cancelled["was_at"] = again["at"].clone();
        let late = completed(9_000_003, "2020-01-01T00:00:00Z", "Books");
        let future = completed(9_000_004, "2190-01-01T00:00:00Z", "Books");
        let texts = [&copy.value, &again, &cancelled, &late, &future].map(bytes);
        let odd = texts.into_iter().chain([b"poison".to_vec()]);
        kafka.produce(odd.map(|value| (1, value))).await;
        until_read(&client, 156).await;
        assert_eq!(
            number(&client, "SELECT count(*) FROM htap.late_event").await,
            1
        );
        assert_eq!(
            number(&client, "SELECT count(*) FROM htap.dead_letter").await,
            2
        );

        // While the aggregator runs.
        let before = untouched(&client).await;
        let (counted, comparison) = replayed(&database, &kafka, From::Beginning, "replay")
            .await
            .unwrap();
        assert!(comparison.is_equal(), "{comparison:?}");
        let expected = Counted {
            records: 156,
            events: 32,
            duplicates: 1,
            dead_letters: 2,
            late_events: 1,
        };
        assert_eq!(counted, expected);
        assert!(comparison.live_rows > 0 && comparison.since.is_none());
        assert_eq!(comparison.live_rows, comparison.replayed_rows);
        assert_eq!(untouched(&client).await, before);
        // It stays equal while orders come in.
        let trading = async {
            for _ in 0..10 {
                trade(&client, 4).await;
            }
        };
        let (again, ()) = tokio::join!(
            replayed(&database, &kafka, From::Beginning, "replay"),
            trading
        );
        let (_, comparison) = again.unwrap();
        assert!(comparison.is_equal(), "{comparison:?}");
        drop(sending);
        drop(live);

        let tamper = async |change: &str| {
            let sql = format!(
                "UPDATE mart.realtime_stream SET {change}
                 WHERE (window_start, category, segment) = (SELECT window_start, category, segment
                       FROM mart.realtime_stream WHERE distinct_orders > 0 OR distinct_orders IS NULL ORDER BY 1, 2, 3 LIMIT 1)"
            );
            client.batch(&sql).await.unwrap();
            let again = replayed(&database, &kafka, From::Beginning, "replay").await;
            again.unwrap().1
        };
        let comparison = tamper("distinct_orders = distinct_orders + 1").await;
        assert_eq!((comparison.only_live, comparison.only_replayed), (1, 1));
        // As an earlier version left it.
        let comparison = tamper("distinct_orders = NULL").await;
        assert!(comparison.is_equal(), "{comparison:?}");
        let comparison = tamper("amount = amount + 1").await;
        assert_eq!((comparison.only_live, comparison.only_replayed), (1, 1));
        let sides: Vec<bool> = comparison
            .differences
            .iter()
            .map(|difference| difference.replayed)
            .collect();
        assert_eq!(sides, [false, true]);
    });
}

#[test]
fn from_an_offset_on_only_windows_are_compared_that_begin_after_it() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let _live = aggregate(&database, plan(&kafka));
        let event = |minute: i64| {
            let at = format!("2025-11-29T12:{minute:02}:10Z");
            (0, bytes(&completed(minute, &at, "Books")))
        };
        kafka.produce((0..12).map(event)).await;
        until_read(&client, 12).await;
        let change = async |minute: u8| {
            let sql = format!(
                "UPDATE mart.realtime_stream SET quantity = 7 WHERE window_start = '2025-11-29 12:{minute:02}+00'"
            );
            client.batch(&sql).await.unwrap();
        };
        // The event at offset 4 is of 12:04:10; those before it are of 12:05 at the latest.
        change(5).await;
        let replayed = async |from| replayed(&database, &kafka, from, "replay_tail").await;
        let (counted, comparison) = replayed(From::Offset(4)).await.unwrap();
        assert_eq!(counted.records, 8);
        assert_eq!(comparison.since.as_deref(), Some("2025-11-29T12:06:00Z"));
        assert!(comparison.is_equal(), "{comparison:?}");
        assert_eq!((comparison.live_rows, comparison.replayed_rows), (6, 6));
        change(6).await;
        let (_, comparison) = replayed(From::Offsets([(0, 4)].into())).await.unwrap();
        assert_eq!((comparison.only_live, comparison.only_replayed), (1, 1));
        let (_, comparison) = replayed(From::Offset(99)).await.unwrap();
        assert_eq!((comparison.live_rows, comparison.replayed_rows), (0, 0));
    });
}

#[test]
fn only_the_table_of_a_replay_is_replaced_and_it_goes_with_the_shop() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let shadow = async |role: &str, name: &str| {
            let client = database.connect_as(role).await;
            let made = client
                .batch(&format!("SELECT htap.make_shadow('{name}')"))
                .await;
            made.err().map(|error| error.code().to_owned())
        };
        client
            .batch("CREATE TABLE mart.replay_own (n int); SET ROLE htap_owner; CREATE TABLE mart.replay_ours (n int)")
            .await
            .unwrap();
        client.batch("RESET ROLE").await.unwrap();
        assert_eq!(
            shadow("htap_refresh", "replay_own").await.as_deref(),
            Some("42P07")
        );
        assert_eq!(
            shadow("htap_refresh", "replay_ours").await.as_deref(),
            Some("42P07")
        );
        for wrong in ["realtime_stream", "sales_hourly", "replay_\"", "Replay", ""] {
            assert_eq!(
                shadow("htap_refresh", wrong).await.as_deref(),
                Some("42602"),
                "{wrong}"
            );
        }
        assert_eq!(
            shadow("htap_oltp", "replay").await.as_deref(),
            Some("42501")
        );
        assert_eq!(shadow("htap_refresh", "replay").await, None);
        assert_eq!(shadow("htap_monitor", "replay").await, None);
        let rights = "SELECT count(*) FROM pg_class WHERE oid = 'mart.replay'::regclass AND relowner = 'htap_owner'::regrole
                      AND has_table_privilege('htap_olap', oid, 'SELECT') AND NOT has_table_privilege('htap_oltp', oid, 'SELECT')";
        assert_eq!(number(&client, rights).await, 1);
        // Another installation over it changes nothing.
        schema::create(&client).await.unwrap();
        assert_eq!(number(&client, rights).await, 1);
        client
            .batch("DROP TABLE mart.replay_own, mart.replay_ours; SELECT htap.drop_shadow('replay'), htap.drop_shadow('replay')")
            .await
            .unwrap();
        assert_eq!(
            number(
                &client,
                "SELECT count(*) FROM htap.object WHERE identity = 'mart.replay'"
            )
            .await,
            0
        );
    });
}
