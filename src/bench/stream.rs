//! The stream on this machine: how fast relay and aggregator work off a backlog, how fresh their figures are beside those of
//! the merge, what they cost, and how soon they go on after each was killed.

pub(super) mod load;
mod pipeline;
mod probes;

use super::figures::{Figures, figures};
use super::{BenchError, Experiment, Lab, mixed};
use crate::workload::Options;
use load::{Completer, number_of};
use pipeline::Pipeline;
use probes::{Probes, Seen};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The experiment `stream`.
pub(super) const STREAM: Experiment = Experiment {
    name: "stream",
    about: "orders through relay, Kafka and aggregator: a backlog, 1,000 and 5,000 completed orders/s beside 500 transactions/s \
            of the shop, and kill -9 of each part",
    section: "8.3",
    variants: &[
        BACKLOG,
        "1,000/s, neither",
        "1,000/s, refresh --fresh 1s",
        "1,000/s, stream",
        "5,000/s, neither",
        "5,000/s, refresh --fresh 1s",
        "5,000/s, stream",
        KILLED,
    ],
    run: |lab, variant| Box::pin(stream(lab, variant)),
};

pub(super) const BACKLOG: &str = "backlog";
pub(super) const KILLED: &str = "killed";

/// Orders of the backlog per second of a measurement; each has four events.
const ORDERS_PER_S: f64 = 5_000.0;
/// The load of the shop beside the completed orders.
const SHOP_PER_S: f64 = 500.0;

async fn stream(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    for sql in [
        "SELECT htap.switch_outbox(false)",
        "TRUNCATE htap.outbox, htap.stream_event, htap.late_event, htap.dead_letter, htap.stream_state, mart.realtime_stream",
        "DELETE FROM htap.stream_progress",
        include_str!("../../queries/bench/stream.sql"),
    ] {
        lab.batch(sql).await?;
    }
    let outcome = match variant {
        BACKLOG => Box::pin(backlog(lab)).await,
        KILLED => Box::pin(killed(lab)).await,
        _ => Box::pin(fresh(lab, variant)).await,
    };
    lab.batch("SELECT htap.switch_outbox(false)").await?;
    outcome
}

/// Fills the outbox, then the topic, and times who empties them.
async fn backlog(lab: &Lab) -> Result<Figures, BenchError> {
    let mut pipeline = Pipeline::start().await?;
    let orders = (ORDERS_PER_S * lab.window.as_secs_f64()).round();
    lab.batch("SELECT htap.switch_outbox(true)").await?;
    lab.batch(&format!("SELECT bench.place({orders}, 0, 0::smallint)"))
        .await?;
    for status in 1..=3 {
        let advance = format!("SELECT bench.advance(1, {orders}, {status}::smallint)");
        lab.batch(&advance).await?;
    }
    lab.batch("CHECKPOINT").await?;
    let mut figures = figures([("events", 4.0 * orders)]);
    let rows = "SELECT count(*)::float8 FROM htap.outbox";
    pipeline.start_relay(lab).await?;
    measure(lab, &pipeline, &mut figures, "relay", 4.0 * orders, rows).await?;
    pipeline.start_aggregator(lab).await?;
    let left = format!(
        "SELECT {} - coalesce(sum(next_offset), 0)::float8 FROM htap.stream_offset",
        4.0 * orders
    );
    measure(
        lab,
        &pipeline,
        &mut figures,
        "aggregator",
        4.0 * orders,
        &left,
    )
    .await?;
    pipeline.stop().await?;
    Ok(figures)
}

/// Times how a process empties what it reads, from its first batch on; if that is all of it, from its start on. `left`
/// asks for what is left of `all`.
async fn measure(
    lab: &Lab,
    pipeline: &Pipeline,
    figures: &mut Figures,
    who: &str,
    all: f64,
    left: &str,
) -> Result<(), BenchError> {
    let start = (Instant::now(), lab.meter(), pipeline.used());
    let first = until(lab, left, |left| left < all).await?;
    let (first, (begun, meter, before)) = if first < 1.0 {
        (all, start)
    } else {
        // Connecting does not count.
        (first, (Instant::now(), lab.meter(), pipeline.used()))
    };
    until(lab, left, |left| left < 1.0).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let used = pipeline.used();
    figures.insert(format!("{who}_events_per_s"), (first / seconds).round());
    let mut cost = |name: &str, ms: f64| {
        figures.insert(format!("{who}_{name}_ms_per_1000"), ms / (first / 1_000.0));
    };
    cost("broker", used.broker_ms - before.broker_ms);
    match who {
        "relay" => cost("own", used.relay_ms - before.relay_ms),
        _ => cost("own", used.aggregator_ms - before.aggregator_ms),
    }
    if let Some(used) = meter.stop() {
        cost("server", used.server * seconds * 1_000.0);
    }
    let bytes = match who {
        "relay" => used.relay_bytes,
        _ => used.aggregator_bytes,
    };
    figures.insert(format!("{who}_rss_mib_max"), bytes / 1_048_576.0);
    Ok(())
}

/// Repeats a query until its number satisfies the condition, and returns that.
async fn until(lab: &Lab, sql: &str, good: impl Fn(f64) -> bool) -> Result<f64, BenchError> {
    let end = Instant::now() + Duration::from_secs(600);
    loop {
        let number = lab.number(sql).await?;
        if good(number) {
            return Ok(number);
        }
        if Instant::now() > end {
            return Err(BenchError::Program {
                program: "the stream".to_owned(),
                detail: format!("it did not end within 10 minutes, {number} left"),
            });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Measures freshness and the shop's latency while orders are completed at a rate.
async fn fresh(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let streamed = variant.ends_with("stream");
    let merged = variant.ends_with("1s");
    let options = Options {
        oltp_per_s: SHOP_PER_S,
        olap_per_s: 0.0,
        ..mixed::base(lab)
    };
    let seconds = (options.warm_up + options.duration).as_secs_f64() + load::LEAD.as_secs_f64();
    let rate = number_of(variant);
    Completer::prepare(lab, rate * seconds, seconds).await?;
    let _keeper = merged.then(|| mixed::keeper(lab.target(), Duration::from_secs(1)));
    let mut pipeline = None;
    if streamed {
        lab.batch("SELECT htap.switch_outbox(true)").await?;
        pipeline = Some(Pipeline::running(lab).await?);
    }
    let completer = Completer::start(lab, rate).await?;
    let seen = if streamed {
        Seen::Streamed
    } else {
        Seen::Merged
    };
    let mut probes = None;
    if streamed || merged {
        probes = Some(Probes::start(lab, seen).await?);
    }
    let events = "SELECT coalesce(sum(next_offset), 0)::float8 FROM htap.stream_offset";
    let (read, before) = (
        lab.number(events).await?,
        pipeline.as_ref().map(Pipeline::used),
    );
    let begun = Instant::now();
    let measured = mixed::load(lab, &options).await;
    let (all, after) = (
        lab.number(events).await?,
        pipeline.as_ref().map(Pipeline::used),
    );
    let seconds = begun.elapsed().as_secs_f64();
    let rates = completer.stop().await;
    let mut figures = measured?;
    figures.insert("completed_offered_per_s".into(), rate);
    figures.insert("completed_per_s".into(), rates.round());
    if let Some(probes) = probes {
        figures.extend(probes.stop(options.warm_up).await.figures());
    }
    if let (Some(after), Some(before)) = (after, before) {
        figures.extend(after.since(before, all - read));
        if let Some(others) = figures.get_mut("others_cpu") {
            // They are no strangers.
            *others = (*others - after.cores(before, seconds)).max(0.0);
        }
    }
    if let Some(pipeline) = pipeline {
        pipeline.stop().await?;
    }
    Ok(figures)
}

/// Kills relay, aggregator and broker, each in turn, and times until an order that was completed later is in the figures.
async fn killed(lab: &Lab) -> Result<Figures, BenchError> {
    let seconds = 60.0;
    Completer::prepare(lab, 1_000.0 * seconds, seconds).await?;
    lab.batch("SELECT htap.switch_outbox(true)").await?;
    let mut pipeline = Pipeline::running(lab).await?;
    let completer = Completer::start(lab, 1_000.0).await?;
    let probes = Probes::start(lab, Seen::Streamed).await?;
    let mut figures = Figures::new();
    for what in ["relay", "aggregator", "broker"] {
        probes.until_current().await?;
        let at = Instant::now();
        match what {
            "relay" => pipeline.kill_relay(lab).await?,
            "aggregator" => pipeline.kill_aggregator(lab).await?,
            _ => pipeline.kill_broker().await?,
        }
        let recovered = probes.first_after(at).await?;
        let name = format!("{what}_recovery_ms");
        figures.insert(name, recovered.as_secs_f64() * 1_000.0);
    }
    completer.stop().await;
    probes.stop(Duration::ZERO).await;
    pipeline.stop().await?;
    Ok(figures)
}
