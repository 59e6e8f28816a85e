//! Metrics of the stream, under the names that exporters of Kafka and Flink have made usual.

use super::{Family, Labels, PREFIX};
use crate::dashboard::model::Model;
use crate::dashboard::output::sheet::is_told;
use crate::dashboard::rows::{Panel, Row, Rows, stream as rows};

type Stage<'t> = Row<'t, rows::Stage>;

/// A metric: its name, whether it is a counter, its help, and its figure in a row.
type Metric = (
    &'static str,
    bool,
    &'static str,
    fn(Stage<'_>) -> Option<f64>,
);

fn whole(figure: Option<i64>) -> Option<f64> {
    figure.map(|figure| figure as f64)
}

/// Of a process that reports.
fn live(row: Stage<'_>, figure: Option<f64>) -> Option<f64> {
    figure.filter(|_| !row.state().is("silent"))
}

const OF_PROCESSES: [Metric; 9] = [
    (
        "records",
        true,
        "Records that the process has sent or read.",
        |row| whole(row.records()),
    ),
    (
        "dead_letters",
        true,
        "Records and rows that were no events.",
        |row| whole(row.dead_letters()),
    ),
    (
        "late_events",
        true,
        "Events beyond the limit of lateness, which do not count.",
        |row| whole(row.late_events()),
    ),
    (
        "duplicates",
        true,
        "Events that were sent twice and counted once.",
        |row| whole(row.duplicates()),
    ),
    (
        "records_per_second",
        false,
        "Records per second that the process sent or read.",
        |row| live(row, row.rate()),
    ),
    (
        "lag_records",
        false,
        "Relay: rows of the outbox that are not sent, counted to 100,000. Aggregator: records that are not read.",
        |row| live(row, whole(row.lag_rows())),
    ),
    (
        "lag_seconds",
        false,
        "Relay: age of the first row that is not sent. Aggregator: age of the last event that was counted, if it lags.",
        |row| live(row, row.lag_ms().map(|ms| ms / 1_000.0)),
    ),
    (
        "freshness_p50_seconds",
        false,
        "Aggregator: time from an event to the commit that counts it, of the last minute: median.",
        |row| live(row, row.fresh_p50_ms().map(|ms| ms / 1_000.0)),
    ),
    (
        "freshness_p99_seconds",
        false,
        "The same: 99th percentile.",
        |row| live(row, row.fresh_p99_ms().map(|ms| ms / 1_000.0)),
    ),
];

const OF_PARTITIONS: [Metric; 5] = [
    (
        "topic_partition_current_offset",
        false,
        "End of the partition.",
        // It is reported once per second, what was read at once.
        |row| whole(row.end_offset().max(row.next_offset())),
    ),
    (
        "consumer_current_offset",
        false,
        "Offset that the aggregator reads next: what is before is counted.",
        |row| whole(row.next_offset()),
    ),
    (
        "consumer_lag",
        false,
        "Records of the partition that the aggregator has not read.",
        |row| whole(row.lag_rows()),
    ),
    (
        "watermark_lag_seconds",
        false,
        "Age of the partition's watermark.",
        |row| row.watermark_s(),
    ),
    (
        "partition_idle",
        false,
        "1 if the partition has had no record for a while, so that it does not hold the watermark up.",
        |row| Some(f64::from(u8::from(row.state().is("idle")))),
    ),
];

/// Returns the metrics of the stream; none if nothing is streamed.
pub(super) fn families(model: &Model) -> Vec<Family> {
    let feed = model.feed_of(Panel::Stream);
    let Some(feed) = feed.filter(|feed| feed.sampling.missing.is_empty() && is_told(model, feed))
    else {
        return Vec::new();
    };
    let rows = Rows::<rows::Stage>::of(&feed.table);
    if rows.iter().next().is_none() {
        return Vec::new();
    }
    let of = |stage: &'static str| rows.iter().filter(move |row| row.stage().is(stage));
    let processes = || of("relay").chain(of("aggregator"));
    let named = |row: Stage<'_>| {
        labels([
            ("component", row.stage().shown()),
            ("process", row.name().shown()),
        ])
    };
    let numbered = |row: Stage<'_>| {
        let number = row.partition().unwrap_or(0).to_string();
        labels([("topic", row.topic().shown()), ("partition", &number)])
    };
    let paused = of("outbox")
        .chain(of("slot"))
        .any(|row| row.state().is("paused"));
    let recent = of("dead letters").find_map(|row| row.dead_letters());
    let mut families = vec![
        gauge(
            "processes",
            "Relays and aggregators in this state.",
            counted(processes),
        ),
        gauge(
            "paused",
            "1 while somebody has paused the relay.",
            single(f64::from(u8::from(paused))),
        ),
        gauge(
            "recent_dead_letters",
            "Dead letters of the last 10 minutes, counted to 10,000.",
            single(recent.unwrap_or(0) as f64),
        ),
        gauge(
            "final_lag_seconds",
            "Time since the end of the windows that are final.",
            of("table")
                .filter_map(|row| {
                    let topic = labels([("topic", row.topic().shown())]);
                    Some((topic, row.watermark_s()?))
                })
                .collect(),
        ),
    ];
    families.extend(of_sources(&rows));
    families.extend(OF_PROCESSES.map(|metric| family(metric, processes(), named)));
    families.extend(OF_PARTITIONS.map(|metric| family(metric, of("partition"), numbered)));
    families
}

/// What waits where events come from.
fn of_sources(rows: &Rows<'_, rows::Stage>) -> [Family; 4] {
    let of = |stage: &'static str| rows.iter().filter(move |row| row.stage().is(stage));
    [
        gauge(
            "outbox_rows",
            "Events in the outbox that are not sent, counted to 10,000.",
            of("outbox")
                .filter_map(|row| Some((Vec::new(), whole(row.lag_rows())?)))
                .collect(),
        ),
        gauge(
            "outbox_age_seconds",
            "Age of the first of them.",
            of("outbox")
                .filter_map(|row| Some((Vec::new(), row.lag_ms()? / 1_000.0)))
                .collect(),
        ),
        gauge(
            "slot_wal_bytes",
            "WAL since the last event that was sent from the replication slot.",
            of("slot")
                .filter_map(|row| Some((of_slot(row), whole(row.lag_bytes())?)))
                .collect(),
        ),
        gauge(
            "slot_age_seconds",
            "An event of the slot that is not sent is at most so old.",
            of("slot")
                .filter_map(|row| Some((of_slot(row), row.lag_ms()? / 1_000.0)))
                .collect(),
        ),
    ]
}

fn of_slot(row: Stage<'_>) -> Labels {
    labels([("slot", row.name().shown())])
}

fn family<'t>(
    (name, counter, help, figure): Metric,
    rows: impl Iterator<Item = Stage<'t>>,
    labels: impl Fn(Stage<'t>) -> Labels,
) -> Family {
    let samples = rows.filter_map(|row| Some((labels(row), figure(row)?)));
    Family {
        counter,
        ..gauge(name, help, samples.collect())
    }
}

fn gauge(name: &str, help: &str, samples: Vec<(Labels, f64)>) -> Family {
    Family {
        name: format!("{PREFIX}_stream_{name}"),
        help: help.to_owned(),
        counter: false,
        samples,
    }
}

fn single(figure: f64) -> Vec<(Labels, f64)> {
    vec![(Vec::new(), figure)]
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Counts processes by component and state; those that run even if there is none.
fn counted<'t, I: Iterator<Item = Stage<'t>>>(processes: impl Fn() -> I) -> Vec<(Labels, f64)> {
    let mut pairs: Vec<(&str, &str)> = vec![("relay", "running"), ("aggregator", "running")];
    pairs.extend(processes().map(|row| (row.stage().shown(), row.state().shown())));
    pairs.sort_unstable();
    pairs.dedup();
    let count = |(component, state): (&str, &str)| {
        let is = |row: &Stage<'_>| row.stage().is(component) && row.state().is(state);
        let count = processes().filter(is).count();
        let labels = labels([("component", component), ("state", state)]);
        (labels, count as f64)
    };
    pairs.into_iter().map(count).collect()
}
