//! The stream on the dashboard: each stage, and what holds it up.

use crate::it::facts::{feed, until, watch};
use crate::it::server::{block_on, shared};
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::model::Model;
use htap_top::system::schema;

/// Two events, the first of which has waited for a minute.
const WAITING: &str = "
    INSERT INTO htap.outbox (occurred_at, topic, key, payload)
    SELECT clock_timestamp() - make_interval(secs => s), 'orders', '1', '{}' FROM (VALUES (60), (1)) AS v (s)";
/// A relay that reports for the next minutes, and cannot reach the broker.
const RELAY: &str = "
    INSERT INTO htap.stream_state (instance, component, topic, state, since, reported_at, records, rate, lag_rows, lag_ms,
                                   lag_bytes, dead_letters, late_events, duplicates, error)
    VALUES ('r 1', 'relay', 'orders', 'broker', clock_timestamp() - interval '20 s', clock_timestamp() + interval '5 min', 0, 0,
            2, 60000, 200, 0, 0, 0, 'no route to host')";
/// It works, the aggregator does, and one partition has had no event for ten minutes.
const STREAMED: &str = "
    UPDATE htap.stream_state SET state = 'running', rate = 50, error = NULL;
    INSERT INTO htap.stream_state
    SELECT (s).* FROM (SELECT jsonb_populate_record(s, '{\"instance\": \"a 1\", \"component\": \"aggregator\"}') AS s
                       FROM htap.stream_state AS s) AS a;
    INSERT INTO htap.stream_progress (topic, cluster, window_s, final_to)
    VALUES ('orders', 'c', 60, clock_timestamp() - interval '11 min');
    INSERT INTO htap.stream_offset (topic, partition, topic_id, next_offset, end_offset, watermark)
    SELECT 'orders', p, 'c', 10, 10 + 7 * p, clock_timestamp() - make_interval(mins => 10 * p) FROM generate_series(0, 1) AS p";

fn says(model: &Model, what: &str, health: Health) -> bool {
    model.findings.iter().any(|finding| {
        finding.rule == "stream" && finding.health == health && finding.sentence.contains(what)
    })
}

fn cells(model: &Model, column: &str) -> Vec<String> {
    let table = &feed(model, "stream").table;
    let rows = 0..table.rows.len();
    rows.map(|row| table.get(row, column).text().unwrap_or("-").to_owned())
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[test]
fn the_stage_that_holds_the_stream_up_is_told() {
    block_on(async {
        let database = shared().database("stream_shown").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "nothing is streamed", |model| {
            let feed = feed(model, "stream");
            feed.sampling.at.is_some() && feed.table.rows.is_empty()
        })
        .await;
        let switch = "SELECT htap.switch_outbox(true)";
        admin.batch(switch).await.unwrap();
        admin.batch(WAITING).await.unwrap();
        until(&mut headless, "nobody sends the outbox", |model| {
            let what = "no relay sends the outbox: 2 events wait, the first for 1m";
            says(model, what, Health::Warning)
        })
        .await;
        assert_eq!(cells(&headless.model, "state"), ["on"]);

        admin.batch(RELAY).await.unwrap();
        until(&mut headless, "the broker is away", |model| {
            says(
                model,
                "the relay has not reached Kafka for ",
                Health::Warning,
            )
        })
        .await;

        admin.batch(STREAMED).await.unwrap();
        until(&mut headless, "a partition holds the watermark", |model| {
            let what = "partition orders 1 holds the watermark 10m";
            says(model, what, Health::Warning)
        })
        .await;
        let stages = [
            "outbox",
            "relay",
            "partition",
            "partition",
            "aggregator",
            "table",
        ];
        assert_eq!(cells(&headless.model, "stage"), stages);
        let table = &feed(&headless.model, "stream").table;
        assert_eq!(table.get(3, "lag_rows").int(), Some(7));
        assert_eq!(cells(&headless.model, "state")[2..4], ["read", "behind"]);

        let reset = "UPDATE htap.stream_state SET state = 'reset' WHERE component = 'aggregator'";
        admin.batch(reset).await.unwrap();
        until(&mut headless, "another topic", |model| {
            says(model, "is not the one that was read before", Health::Danger)
        })
        .await;
        let silent =
            "UPDATE htap.stream_state SET reported_at = clock_timestamp() - interval '9 s'";
        admin.batch(silent).await.unwrap();
        until(&mut headless, "the relay is gone", |model| {
            says(model, "the relay has said nothing for ", Health::Warning)
        })
        .await;
        let another = "UPDATE htap.stream_state SET state = 'running', reported_at = clock_timestamp() + interval '5 min'
                       WHERE component = 'aggregator'";
        admin.batch(another).await.unwrap();
        let relay = "INSERT INTO htap.stream_state
                     SELECT (s).* FROM (SELECT jsonb_populate_record(s, '{\"instance\": \"r 2\", \"component\": \"relay\"}') AS s
                                        FROM htap.stream_state AS s WHERE s.component = 'aggregator') AS r";
        admin.batch(relay).await.unwrap();
        until(&mut headless, "another relay has taken over", |model| {
            says(model, "holds the watermark", Health::Warning)
        })
        .await;
        headless.end().await;
    });
}
