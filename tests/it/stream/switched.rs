//! `htap.switch_realtime`: `mart.realtime_summary` is answered from the merge or from the stream, never from both.

use super::{
    Kafka, aggregate, aggregator, last_order, number, plan, relay, relay_plan, streaming_shop,
    trade, until_relayed,
};
use crate::it::server::{block_on, until};
use htap_top::pg::{Client, Param};
use htap_top::system::init::init;
use htap_top::system::refresh::{self, View};
use htap_top::system::survey::Survey;

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

/// Makes of the schema what it was when `mart.realtime_summary` was a table.
const EARLIER: &str = "
    DROP VIEW mart.realtime_summary;
    DROP TABLE htap.realtime_source;
    DROP FUNCTION htap.switch_realtime(text);
    ALTER TABLE mart.realtime_merge RENAME CONSTRAINT realtime_merge_pkey TO realtime_summary_pkey;
    ALTER TABLE mart.realtime_merge RENAME TO realtime_summary;
    ALTER VIEW mart.realtime_merge_query RENAME TO realtime_summary_query;
    UPDATE htap.view_def SET tables = array_replace(tables, 'mart.realtime_merge', 'mart.realtime_summary');
    DELETE FROM htap.object WHERE identity IN ('mart.realtime_summary', 'htap.realtime_source', 'htap.switch_realtime(text)');
    UPDATE htap.object SET identity = replace(identity, 'realtime_merge', 'realtime_summary') WHERE identity LIKE 'mart.realtime_merge%'";

#[test]
fn the_table_of_earlier_versions_becomes_the_view_and_nothing_is_lost() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        client.batch(EARLIER).await.unwrap();
        let readers = [
            "upgrade_reader",
            "upgrade_granter",
            "upgrade_column",
            "upgrade_stranger",
        ];
        for role in readers {
            let made = format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA mart TO {role}");
            client.batch(&made).await.unwrap();
        }
        client
            .batch(
                "GRANT SELECT, INSERT ON mart.realtime_summary TO upgrade_reader;
                 GRANT SELECT ON mart.realtime_summary TO upgrade_granter WITH GRANT OPTION;
                 GRANT SELECT (order_count) ON mart.realtime_summary TO upgrade_column;
                 CREATE VIEW public.report AS SELECT sum(order_count)::bigint AS n FROM mart.realtime_summary",
            )
            .await
            .unwrap();
        let sums = "SELECT string_agg(r::text, ' ' ORDER BY window_start) AS rows FROM mart.realtime_summary AS r";
        let before = client.query(sums, &[]).await.unwrap();
        assert!(before.first("rows").text().is_some());
        init(&database.target(), None, |_| {}).await.unwrap();
        assert_eq!(before.rows, client.query(sums, &[]).await.unwrap().rows);
        assert_eq!(agrees(&client).await, "merge");
        let total = number(&client, "SELECT n FROM public.report").await;
        assert!(total > 0);
        let count = "SELECT sum(order_count)::bigint FROM mart.realtime_summary";
        for role in readers {
            let reader = Client::connect(&database.target_of(role)).await.unwrap();
            if role == "upgrade_stranger" {
                let why = refusal(&reader, count).await;
                assert!(why.contains("permission denied"), "{why}");
            } else {
                assert_eq!(number(&reader, count).await, total, "{role}");
            }
        }
        let granter = database.target_of("upgrade_granter");
        let granter = Client::connect(&granter).await.unwrap();
        let grant = "GRANT SELECT ON mart.realtime_summary TO upgrade_stranger";
        granter.batch(grant).await.unwrap();
        // It is ours as a whole, and once.
        let done = init(&database.target(), None, |_| {}).await.unwrap();
        assert!(done.created.is_empty(), "{done:?}");
        let survey = Survey::of(&client).await.unwrap();
        let foreign: Vec<&str> = survey
            .foreign()
            .map(|thing| thing.identity.as_str())
            .collect();
        assert_eq!(foreign, ["public.report"]);
        for role in readers {
            client
                .batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
                .await
                .unwrap();
        }
    });
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
