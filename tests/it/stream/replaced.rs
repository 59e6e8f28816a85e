//! A topic that is not the one that was read before: it is said, and nothing is read or skipped.

use super::{Kafka, aggregate, bytes, number, plan, streaming_shop, until_read};
use crate::it::server::block_on;
use htap_top::pg::{Client, Param};

fn completed(event_id: i64) -> (i32, Vec<u8>) {
    let value = super::completed(event_id, "2025-11-29T12:00:00Z", "Books");
    (0, bytes(&value))
}

/// Gives the topic the cluster's id that an error names.
async fn as_if_in_the_same_cluster(client: &Client, why: &str) {
    let cluster = why
        .split("cluster ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let same = "UPDATE htap.stream_progress SET cluster = c.id FROM (SELECT $1 AS id) AS c";
    client.execute(same, &[Param::Text(cluster)]).await.unwrap();
}

async fn orders(client: &Client) -> i64 {
    number(
        client,
        "SELECT coalesce(sum(orders), 0)::bigint FROM mart.realtime_stream",
    )
    .await
}

#[test]
fn another_topic_of_the_same_name_is_refused_until_it_is_accepted() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let first = Kafka::start();
        first.produce((1..=3).map(completed)).await;
        let aggregator = aggregate(&database, plan(&first));
        until_read(&client, 3).await;
        drop(aggregator);

        let second = Kafka::start();
        second.produce((3..=7).map(completed)).await;
        let why = aggregate(&database, plan(&second)).ends().await;
        assert!(
            why.contains("is not the one that was read before") && why.contains("--new-topic"),
            "{why}"
        );
        assert_eq!(
            number(
                &client,
                "SELECT count(*) FROM htap.stream_state WHERE state = 'reset' AND error IS NOT NULL"
            )
            .await,
            1
        );

        // The same cluster's name, and other records.
        as_if_in_the_same_cluster(&client, &why).await;
        let why = aggregate(&database, plan(&second)).ends().await;
        assert!(why.contains("another record at offset 2"), "{why}");

        // And a topic that ends before.
        let third = Kafka::start();
        third.produce([completed(9)]).await;
        let why = aggregate(&database, plan(&third)).ends().await;
        as_if_in_the_same_cluster(&client, &why).await;
        let why = aggregate(&database, plan(&third)).ends().await;
        assert!(why.contains("ends before it"), "{why}");
        assert_eq!(orders(&client).await, 3, "nothing was read");

        let mut accepted = plan(&second);
        accepted.new_topic = true;
        let aggregator = aggregate(&database, accepted);
        until_read(&client, 5).await;
        assert_eq!(
            orders(&client).await,
            7,
            "an event that was counted before is not counted again"
        );
        drop(aggregator);
        // The same cluster, other records: accepted, too.
        client
            .batch("UPDATE htap.stream_offset SET last_record = 'ff', epoch = epoch + 1")
            .await
            .unwrap();
        second.produce([completed(8)]).await;
        let mut accepted = plan(&second);
        accepted.new_topic = true;
        let aggregator = aggregate(&database, accepted);
        until_read(&client, 6).await;
        assert_eq!(orders(&client).await, 8);
        drop(aggregator);
    });
}
