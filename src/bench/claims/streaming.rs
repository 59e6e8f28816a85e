//! Claims about the stream.

use super::{Line, line, of};
use crate::bench::store::Store;
use crate::bench::stream::{BACKLOG, KILLED, STREAM};
use crate::format;

/// Returns the rows of the experiment `stream`.
pub(super) fn lines(store: &Store) -> Vec<Line> {
    let mut lines = vec![
        line(
            "9.3",
            "relay: a filled outbox",
            "(no relay: the shop and Kafka are written apart)",
            emptied(store, "relay"),
        ),
        line(
            "9.3",
            "aggregator: a filled topic, exactly once",
            "\"real-time aggregator\": loses the last window, counts repeated and late orders twice",
            emptied(store, "aggregator"),
        ),
    ];
    for rate in ["1,000/s", "5,000/s"] {
        for (how, claim) in [
            ("neither", ""),
            ("refresh --fresh 1s", "freshness 1,000x better"),
            ("stream", "Kafka and Flink: figures in real time"),
        ] {
            let what = format!("{rate} completed orders beside 500 transactions/s: {how}");
            let measured = fresh(store, &format!("{rate}, {how}"));
            lines.push(line(STREAM.section, what, claim, measured));
        }
        let what = format!("{rate} completed orders: what the stream costs per 1,000 events");
        let measured = cost(store, &format!("{rate}, stream"));
        lines.push(line(STREAM.section, what, "", measured));
    }
    lines.push(line(
        "9.3",
        "kill -9, started again at once: until an order that is completed then is in the figures",
        "(the window in memory is lost)",
        recovered(store),
    ));
    lines
}

fn emptied(store: &Store, who: &str) -> Option<String> {
    let get = |name: &str| of(store, STREAM.name, BACKLOG, &format!("{who}_{name}"));
    Some(format!(
        "{} events/s; per 1,000 events {:.1} ms of its own processor time, {:.1} ms of the broker, {:.1} ms of the server; \
         {:.0} MiB at most",
        format::count(get("events_per_s")?),
        get("own_ms_per_1000")?,
        get("broker_ms_per_1000")?,
        get("server_ms_per_1000")?,
        get("rss_mib_max")?,
    ))
}

fn fresh(store: &Store, variant: &str) -> Option<String> {
    let get = |name| of(store, STREAM.name, variant, name);
    let mut text = format!("{:.0} completed/s", get("completed_per_s")?);
    if let (Some(p50), Some(p99)) = (get("freshness_ms_p50"), get("freshness_ms_p99")) {
        text = format!(
            "{text}; freshness P50 {}, P99 {}",
            format::ms(p50),
            format::ms(p99)
        );
    }
    let p99 = get("oltp_ms_p99")?;
    text = format!("{text}; OLTP P99 {}", format::ms(p99));
    if let Some((rate, _)) = variant.split_once(", ")
        && let Some(times) = store.ratio(
            STREAM.name,
            variant,
            &format!("{rate}, neither"),
            "oltp_ms_p99",
        )
        && !variant.ends_with("neither")
    {
        text = format!("{text} ({times:.2}x)");
    }
    if let Some(server) = get("server_cpu") {
        text = format!("{text}; server {server:.2} processors");
    }
    Some(text)
}

fn cost(store: &Store, variant: &str) -> Option<String> {
    let get = |name| of(store, STREAM.name, variant, name);
    Some(format!(
        "relay {:.1} ms, aggregator {:.1} ms, broker {:.1} ms of processor time; relay {:.0} MiB, aggregator {:.0} MiB at most",
        get("relay_own_ms_per_1000")?,
        get("aggregator_own_ms_per_1000")?,
        get("broker_ms_per_1000")?,
        get("relay_rss_mib_max")?,
        get("aggregator_rss_mib_max")?,
    ))
}

fn recovered(store: &Store) -> Option<String> {
    let get = |name| of(store, STREAM.name, KILLED, name).map(format::ms);
    Some(format!(
        "relay {}, aggregator {}, broker {}",
        get("relay_recovery_ms")?,
        get("aggregator_recovery_ms")?,
        get("broker_recovery_ms")?
    ))
}
