//! The stream on the dashboard: each stage, and what holds it up.

use crate::it::facts::{feed, until, watch};
use crate::it::server::{Database, block_on, shared};
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::model::Model;
use htap_top::dashboard::output::prometheus;
use htap_top::pg::{Client, Param};
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
    SELECT (s).* FROM (SELECT jsonb_populate_record(s, '{\"instance\": \"a 1\", \"component\": \"aggregator\",
                                                         \"fresh_p50_ms\": 250, \"fresh_p99_ms\": 2000}') AS s
                       FROM htap.stream_state AS s) AS a;
    INSERT INTO htap.stream_progress (topic, cluster, window_s, final_to)
    VALUES ('orders', 'c', 60, clock_timestamp() - interval '11 min');
    INSERT INTO htap.stream_offset (topic, partition, topic_id, next_offset, end_offset, watermark)
    SELECT 'orders', p, 'c', 10, 10 + 7 * p, clock_timestamp() - make_interval(mins => 10 * p) FROM generate_series(0, 1) AS p";
/// Dead letters of this age in minutes, the first of the topic, the others of the outbox.
const DEAD: &str = "
    INSERT INTO htap.dead_letter (topic, partition, record_offset, reason, written_at)
    SELECT 'orders', 1 - n, 40 + n, 'no JSON', clock_timestamp() - make_interval(secs => age * 60 + n)
    FROM unnest($1) AS age, generate_series(0, 2) AS n";

/// Creates the shop, with events that wait.
async fn waiting(database: &Database<'_>) -> Client {
    let admin = database.connect().await;
    schema::create(&admin).await.unwrap();
    let events = format!("SELECT htap.switch_outbox(true); {WAITING}");
    admin.batch(&events).await.unwrap();
    admin
}

fn says(model: &Model, what: &str, health: Health) -> bool {
    model.findings.iter().any(|finding| {
        finding.rule == "stream" && finding.health == health && finding.sentence.contains(what)
    })
}

fn says_dead(model: &Model, what: &str) -> bool {
    let mut findings = model.findings.iter();
    findings.any(|finding| finding.rule == "dead_letters" && finding.sentence.contains(what))
}

fn cells(model: &Model, column: &str) -> Vec<String> {
    let table = &feed(model, "stream").table;
    let rows = 0..table.rows.len();
    rows.map(|row| table.get(row, column).text().unwrap_or("-").to_owned())
        .collect()
}

/// The metrics of the stages, under the names that exporters of Kafka have made usual.
fn as_prometheus_has_it(model: &Model) {
    let text = prometheus::text(model, &[]).unwrap();
    for line in [
        "htap_top_stream_processes{component=\"relay\",state=\"running\"} 1",
        "htap_top_stream_paused 0",
        "htap_top_stream_outbox_rows 2",
        "htap_top_stream_records_total{component=\"relay\",process=\"r 1\"} 0",
        "htap_top_stream_records_per_second{component=\"aggregator\",process=\"a 1\"} 50",
        "htap_top_stream_lag_records{component=\"relay\",process=\"r 1\"} 2",
        "htap_top_stream_lag_seconds{component=\"relay\",process=\"r 1\"} 60",
        "htap_top_stream_freshness_p50_seconds{component=\"aggregator\",process=\"a 1\"} 0.25",
        "htap_top_stream_freshness_p99_seconds{component=\"aggregator\",process=\"a 1\"} 2",
        "htap_top_stream_dead_letters_total{component=\"aggregator\",process=\"a 1\"} 0",
        "htap_top_stream_consumer_lag{topic=\"orders\",partition=\"1\"} 7",
        "htap_top_stream_consumer_current_offset{topic=\"orders\",partition=\"1\"} 10",
        "htap_top_stream_topic_partition_current_offset{topic=\"orders\",partition=\"1\"} 17",
        "htap_top_stream_partition_idle{topic=\"orders\",partition=\"0\"} 0",
        "htap_top_stream_recent_dead_letters 0",
    ] {
        assert!(
            text.lines()
                .any(|told| told.strip_suffix(".0").unwrap_or(told) == line),
            "{line}: {text}"
        );
    }
    let watermark = "htap_top_stream_watermark_lag_seconds{topic=\"orders\",partition=\"1\"} 6";
    assert!(text.contains(watermark), "{text}");
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
        as_prometheus_has_it(&headless.model);

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

#[test]
fn dead_letters_are_told_while_they_are_new() {
    block_on(async {
        let database = shared().database("stream_dead").await;
        let admin = waiting(&database).await;
        let written = async |minutes: i64| {
            let ages = [minutes];
            admin.execute(DEAD, &[Param::Ints(&ages)]).await.unwrap();
        };
        written(11).await;
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "the stream is seen", |model| {
            says(model, "no relay sends", Health::Warning)
        })
        .await;
        let old = |model: &Model| says_dead(model, "");
        assert!(!old(&headless.model), "those of long ago are not told");
        written(3).await;
        until(&mut headless, "new ones", |model| {
            says_dead(model, "3 dead letters in 3m")
                && says_dead(model, "ago: orders 1, offset 40: no JSON")
        })
        .await;
        let text = prometheus::text(&headless.model, &[]).unwrap();
        assert!(
            text.contains("htap_top_stream_recent_dead_letters 3.0\n"),
            "{text}"
        );
        let aged = "UPDATE htap.dead_letter SET written_at = written_at - interval '8 min'";
        admin.batch(aged).await.unwrap();
        until(&mut headless, "they are old now", |model| {
            !says_dead(model, "")
        })
        .await;
        let relayed = "INSERT INTO htap.dead_letter (topic, partition, record_offset, reason) VALUES ('orders', -1, 7, 'too large')";
        admin.batch(relayed).await.unwrap();
        until(&mut headless, "one of the outbox", |model| {
            says_dead(model, "a dead letter ")
                && says_dead(model, "ago: outbox, event 7: too large")
        })
        .await;
        headless.end().await;
    });
}

#[test]
fn a_paused_relay_is_told_with_who_paused_it() {
    block_on(async {
        let database = shared().database("stream_paused").await;
        let admin = waiting(&database).await;
        let operator = database.target_of("htap_monitor");
        let operator = Client::connect(&operator).await.unwrap();
        operator
            .batch("SELECT htap.pause_relay(true, 'ada')")
            .await
            .unwrap();
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "it is paused", |model| {
            says(
                model,
                "by htap_monitor (ada): 2 events wait, the first for 1m",
                Health::Warning,
            )
        })
        .await;
        assert_eq!(cells(&headless.model, "state"), ["paused"]);
        admin.batch(RELAY).await.unwrap();
        admin
            .batch("UPDATE htap.stream_state SET state = 'paused'")
            .await
            .unwrap();
        until(&mut headless, "the relay says so", |model| {
            cells(model, "state") == ["paused", "paused"]
        })
        .await;
        let by = "by htap_monitor (ada)";
        assert_eq!(cells(&headless.model, "error"), [by, by]);
        let text = prometheus::text(&headless.model, &[]).unwrap();
        assert!(text.contains("htap_top_stream_paused 1.0\n"), "{text}");
        operator
            .batch("SELECT htap.pause_relay(false)")
            .await
            .unwrap();
        until(&mut headless, "it is resumed", |model| {
            !says(model, "has been paused", Health::Warning)
        })
        .await;
        headless.end().await;
    });
}
