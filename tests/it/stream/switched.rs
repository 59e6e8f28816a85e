//! `htap.switch_realtime`: `mart.realtime_summary` is answered from the merge or from the stream, never from both.

use super::{
    Kafka, aggregate, aggregator, last_order, plan, relay, relay_plan, streaming_shop, trade,
    until_relayed,
};
use crate::it::server::{block_on, until};
use htap_top::pg::{Client, Param};
use htap_top::system::refresh::{self, View};

async fn refusal(client: &Client, sql: &str) -> String {
    client.batch(sql).await.unwrap_err().to_string()
}

/// The summary equals that of its source, in one statement, hence in one snapshot. Returns the source.
async fn agrees(client: &Client) -> String {
    let sql = "
        WITH answered AS (
            SELECT count(*) AS windows, sum(order_count) AS orders, sum(total_amount) AS amount FROM mart.realtime_summary
        ), held AS (
            SELECT 'merge' AS source, count(*) AS windows, sum(order_count) AS orders, sum(total_amount) AS amount
            FROM mart.realtime_merge
            UNION ALL
            SELECT 'stream', count(DISTINCT window_start), sum(distinct_orders), sum(amount) FROM mart.realtime_stream
        )
        SELECT s.source, (a.windows, a.orders, a.amount) IS NOT DISTINCT FROM (h.windows, h.orders, h.amount) AS agrees,
               a::text || ' ' || h::text AS both
        FROM answered AS a, htap.realtime_source AS s JOIN held AS h USING (source)";
    let table = client.query(sql, &[]).await.unwrap();
    assert!(table.first("agrees").is_true(), "{table:?}");
    table.first("source").text().unwrap().to_owned()
}

#[test]
fn switching_while_both_run_counts_nothing_twice() {
    block_on(switch_while_both_run());
}

async fn switch_while_both_run() {
    let (database, client) = streaming_shop().await;
    let last = last_order(&client).await;
    let why = refusal(&client, "SELECT htap.switch_realtime('stream')").await;
    assert!(why.contains("no aggregator runs"), "{why}");
    let why = refusal(&client, "SELECT htap.switch_realtime('both')").await;
    assert!(why.contains("from merge or stream, not from both"), "{why}");
    let kafka = Kafka::start();
    let _relay = relay(&database, relay_plan(&kafka));
    let aggregator = aggregate(&database, plan(&kafka));
    aggregator
        .tells(|event| matches!(event, aggregator::Event::Figures(_)))
        .await;
    let why = refusal(&client, "SELECT htap.switch_realtime('stream')").await;
    assert!(why.contains("mart.realtime_stream is empty"), "{why}");
    trade(&client, 8).await;
    until_relayed(&client).await;
    let counted = "SELECT coalesce(sum(distinct_orders), 0)::bigint AS n FROM mart.realtime_stream";
    let reached = |wanted: i64| {
        until(
            &client,
            "all orders are counted",
            counted,
            &[],
            move |table| table.first("n").int() == Some(wanted),
        )
    };
    reached(6).await;
    let lesser = database.connect_as("htap_refresh").await;
    let why = refusal(&lesser, "SELECT htap.switch_realtime('stream')").await;
    assert!(why.contains("permission denied"), "{why}");

    let reader = database.connect().await;
    let merger = refresh::connect(&database.target()).await.unwrap();
    let hourly = View::new("mart", "sales_hourly");
    let mut seen = Vec::new();
    for (round, source) in ["stream", "merge", "stream", "merge", "stream"]
        .into_iter()
        .enumerate()
    {
        let switch = format!("SELECT htap.switch_realtime('{source}')");
        let work = async {
            trade(&client, 4).await;
            client.batch(&switch).await.unwrap();
        };
        let reading = async {
            for _ in 0..10 {
                seen.push(agrees(&reader).await);
            }
        };
        let merging = refresh::merge(&merger, &hourly, 1_000_000);
        let ((), done, ()) = tokio::join!(work, merging, reading);
        done.unwrap();
        assert_eq!(agrees(&reader).await, source, "round {round}");
    }
    assert!(seen.iter().any(|source| source == "stream"));
    reached(6 + 5 * 3).await;

    let wrong = "
        WITH batch AS (
            SELECT date_trunc('minute', completed_at, 'UTC') AS window_start, sum(total_amount) AS total_amount, count(*) AS order_count
            FROM shop.orders WHERE status = 3 AND order_id > $1 GROUP BY 1
        )
        SELECT (SELECT count(*) FROM (TABLE batch EXCEPT ALL TABLE mart.realtime_summary) AS d)
             + (SELECT count(*) FROM (TABLE mart.realtime_summary EXCEPT ALL TABLE batch) AS d) AS n";
    let wrong = client.query(wrong, &[Param::Int(last)]).await.unwrap();
    assert_eq!(wrong.first("n").int(), Some(0));
}
