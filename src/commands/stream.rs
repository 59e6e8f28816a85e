//! `htap-top stream`.

mod broker;
mod pause;
mod replay;
mod slot;
mod trail;

use super::options::Server;
use super::{FAILURE, Failure, block_on, interrupted, print, refused, target};
use crate::format;
use crate::format::duration::parse as parse_duration;
use crate::stream::{Broker, Figures, StreamError, aggregator, instance, relay, retire};
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

/// Options of `stream`.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Command to run.
    #[command(subcommand)]
    pub(super) command: StreamCommand,
}

/// Commands of `stream`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum StreamCommand {
    /// Send the shop's order events from the outbox, or from a replication slot, to a topic of Kafka
    #[command(
        after_help = "SELECT htap.switch_outbox(true) makes the shop write events. Connect as htap_refresh, or as a member \
                      of it. Of several relays one leads and the others wait to take over. Rows leave the outbox when the \
                      broker has acknowledged them; while it is away they stay. If htap-top stream slot create has made a \
                      replication slot, it reads that, too: its role then needs REPLICATION. See `htap-top help stream`."
    )]
    Relay(Relay),
    /// Keep sales by minute, category and segment in mart.realtime_stream, from the topic, exactly once
    #[command(
        after_help = "Connect as htap_refresh, or as a member of it. Offsets are kept in PostgreSQL, in the transaction of \
                      the figures. Of several aggregators one leads and the others wait to take over. See `htap-top help \
                      stream`."
    )]
    Run(Run),
    /// Pause the relay: events stay in the outbox until it is resumed
    #[command(
        after_help = "Connect as htap_refresh, or as a member of it. It holds for all relays, those that start later too, and is \
                      told in the panel Stream and the cause line. Returns when the relay says that it is paused; exit code 1 if \
                      it does not within 5 s. The audit file keeps who did it."
    )]
    Pause(pause::Options),
    /// Let a paused relay go on
    #[command(
        after_help = "Connect as htap_refresh, or as a member of it. Returns when the relay says that it runs again; exit code 1 \
                      if it does not within 5 s. The audit file keeps who did it."
    )]
    Resume(pause::Options),
    /// Count the topic once more, into a table of its own, and compare that with mart.realtime_stream
    #[command(
        after_help = "Connect as htap_refresh, or as a member of it. Reads up to where mart.realtime_stream is, and follows it; \
                      compares by EXCEPT ALL both ways. The stream's own tables are only read. Exit code 5: they differ. The \
                      audit file keeps who did it. SELECT htap.drop_shadow('replay') removes the table. See `htap-top help \
                      stream`."
    )]
    Replay(replay::Options),
    /// Make or drop a replication slot through which events reach the relay without the outbox
    Slot(slot::Options),
    /// Run a Kafka broker on this machine, on the loopback address, until it is interrupted
    #[command(
        after_help = "Needs Java 17 or later, and Maven (mvn) once, to fetch Apache Kafka into the cache folder. As root it \
                      runs as the owner of the folder or, if that is root, as postgres or nobody. It has no password: every \
                      user of this machine may connect. See `htap-top help broker`."
    )]
    Broker(broker::Options),
}

/// Where the topic is.
#[derive(Clone, Debug, Args)]
pub(super) struct Kafka {
    /// Brokers: host and port, several separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9092")]
    brokers: String,
    /// Topic
    #[arg(long, value_name = "NAME", default_value = "orders", value_parser = parse_topic)]
    topic: String,
    /// Setting of librdkafka, such as security.protocol=SSL; may be repeated
    #[arg(long = "kafka", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// text, or json: one object per line
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Options of `stream relay`.
#[derive(Clone, Debug, Args)]
pub(super) struct Relay {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// The topic.
    #[command(flatten)]
    kafka: Kafka,
    /// Number of the topic's partitions; the topic is created if it is missing
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Replicas of each partition, if the topic is created
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    replication: i32,
}

/// Options of `stream run`.
#[derive(Clone, Debug, Args)]
pub(super) struct Run {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// The topic.
    #[command(flatten)]
    kafka: Kafka,
    /// Width of the windows, in whole seconds up to a day
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = parse_window)]
    window: Duration,
    /// How long after its end a window still takes late events; later ones go to htap.late_event
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    lateness: Duration,
    /// By how much events of a partition may be out of order before they count as late
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    delay: Duration,
    /// After this time without a record a partition does not hold up the watermark
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    idle: Duration,
    /// Events further in the future than this are dead letters
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = parse_duration)]
    future: Duration,
    /// Read a topic that has replaced the one that was read before from its beginning
    #[arg(long)]
    new_topic: bool,
}

fn parse_topic(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty()
        || text.len() > 249
        || !text.chars().all(allowed)
        || matches!(text, "." | "..")
    {
        return Err(
            "a topic's name has 1 to 249 letters, digits, dots, underscores and hyphens".to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as security.protocol=SSL".to_owned()),
    }
}

fn parse_window(text: &str) -> Result<Duration, String> {
    let window = parse_duration(text)?;
    if window.subsec_nanos() != 0 || !(1..=86_400).contains(&window.as_secs()) {
        return Err("a window is 1 s to 1 day wide, in whole seconds".to_owned());
    }
    Ok(window)
}

impl Kafka {
    fn broker(&self) -> Broker {
        Broker {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// Interval of reports.
const REPORT: u32 = 5;

/// A line to print now, or figures for the next report.
enum News {
    Line(&'static str, String),
    Figures(Figures),
}

/// Runs a part of the stream.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        StreamCommand::Relay(options) => run_relay(options),
        StreamCommand::Run(options) => run_aggregator(options),
        StreamCommand::Pause(options) => pause::run(options, true),
        StreamCommand::Resume(options) => pause::run(options, false),
        StreamCommand::Replay(options) => replay::run(options),
        StreamCommand::Slot(options) => slot::run(options),
        StreamCommand::Broker(options) => broker::run(options),
    }
}

fn run_relay(options: &Relay) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top stream relay")?;
    let plan = relay::Plan {
        name: instance("relay"),
        broker: options.kafka.broker(),
        partitions: options.partitions,
        replication: options.replication,
    };
    block_on(async {
        let (tell, told) = mpsc::channel(1_000);
        let relaying = relay::relay(&target, &plan, |event| {
            // Far more than arrive between two turns; what is beyond that is only missing in a report.
            let _ = tell.try_send(of_relay(event));
        });
        // One that cannot go on leaves its last word for the panel.
        attend(relaying, told, &options.kafka).await?;
        retire(&target, &plan.name).await;
        Ok(())
    })
}

fn run_aggregator(options: &Run) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top stream run")?;
    let plan = aggregator::Plan {
        name: instance("aggregator"),
        broker: options.kafka.broker(),
        window: options.window,
        lateness: options.lateness,
        delay: options.delay,
        idle: options.idle,
        future: options.future,
        new_topic: options.new_topic,
    };
    block_on(async {
        let (tell, told) = mpsc::channel(1_000);
        let aggregating = aggregator::aggregate(&target, &plan, |event| {
            let _ = tell.try_send(of_aggregator(event));
        });
        attend(aggregating, told, &options.kafka).await?;
        retire(&target, &plan.name).await;
        Ok(())
    })
}

/// Prints news and reports until the work ends or is interrupted.
async fn attend(
    work: impl Future<Output = Result<std::convert::Infallible, StreamError>>,
    mut told: mpsc::Receiver<News>,
    kafka: &Kafka,
) -> Result<(), Failure> {
    let mut stop = std::pin::pin!(interrupted()?);
    let mut work = std::pin::pin!(work);
    let json = kafka.format == "json";
    let mut seconds = 0;
    let mut last = None;
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            ended = &mut work => {
                let Err(error) = ended;
                return Err(failure(error));
            }
            Some(news) = told.recv() => match news {
                News::Line(kind, text) if last.as_deref() != Some(&*text) => {
                    print(format!("{}\n", line(kind, &text, json)).as_bytes())?;
                    last = Some(text);
                }
                News::Line(..) => {}
                News::Figures(figures) => {
                    last = None;
                    seconds += 1;
                    if seconds % REPORT == 0 {
                        print(format!("{}\n", report(&figures, json)).as_bytes())?;
                    }
                }
            }
        }
    }
}

fn line(kind: &str, text: &str, json: bool) -> String {
    if json {
        json!({"event": kind, "message": text}).to_string()
    } else {
        text.to_owned()
    }
}

fn report(figures: &Figures, json: bool) -> String {
    if json {
        return json!({"records": figures.records, "rate": figures.rate, "lag_rows": figures.lag_rows,
                      "lag_ms": figures.lag_ms, "lag_bytes": figures.lag_bytes, "dead_letters": figures.dead_letters,
                      "late_events": figures.late_events, "duplicates": figures.duplicates,
                      "fresh_p50_ms": figures.fresh_ms.map(|(p50, _)| p50), "fresh_p99_ms": figures.fresh_ms.map(|(_, p99)| p99)})
        .to_string();
    }
    let known =
        |value: Option<f64>, shown: fn(f64) -> String| value.map_or_else(|| "?".to_owned(), shown);
    let rows = known(figures.lag_rows.map(|rows| rows as f64), format::count);
    let bytes = known(figures.lag_bytes.map(|bytes| bytes as f64), format::bytes);
    format!(
        "{} records, {}/s; behind by {rows} ({bytes}), {}; {} dead letters, {} late, {} duplicates",
        format::count(figures.records as f64),
        format::count(figures.rate),
        known(figures.lag_ms, format::ms),
        format::count(figures.dead_letters as f64),
        format::count(figures.late_events as f64),
        format::count(figures.duplicates as f64),
    )
}

fn waiting(what: &str, leader: Option<i64>) -> News {
    let who = leader.map_or_else(String::new, |pid| format!(" (backend {pid})"));
    News::Line(
        "waiting",
        format!("another {what} leads{who}: waiting to take over"),
    )
}

fn of_relay(event: relay::Event) -> News {
    match event {
        relay::Event::Waiting(leader) => waiting("relay", leader),
        relay::Event::Leading => News::Line("leading", "leading: sending from now on".to_owned()),
        relay::Event::Paused => News::Line(
            "paused",
            "paused: nothing is sent until htap-top stream resume".to_owned(),
        ),
        relay::Event::Resumed => News::Line("resumed", "resumed: sending again".to_owned()),
        relay::Event::Slot(name) => News::Line(
            "slot",
            format!("replication slot {name}: reading it from now on, beside the outbox"),
        ),
        relay::Event::Created => News::Line(
            "created",
            "the topic was missing and was created".to_owned(),
        ),
        relay::Event::Figures(figures) => News::Figures(figures),
        relay::Event::Unreachable(why) => News::Line(
            "unreachable",
            format!("the broker does not answer: {why}; trying again"),
        ),
        relay::Event::DeadLetter { event_id, reason } => News::Line(
            "dead_letter",
            format!("event {event_id} cannot be sent: {reason}. It is in htap.dead_letter now"),
        ),
        relay::Event::Lost(why) => News::Line("lost", format!("interrupted: {why}; trying again")),
    }
}

fn of_aggregator(event: aggregator::Event) -> News {
    match event {
        aggregator::Event::Waiting(leader) => waiting("aggregator", leader),
        aggregator::Event::Leading(epoch) => News::Line(
            "leading",
            format!("leading: reading from now on, epoch {epoch}"),
        ),
        aggregator::Event::Fenced => News::Line(
            "fenced",
            "fenced: a later aggregator has taken over. The last batch was not counted here"
                .to_owned(),
        ),
        aggregator::Event::Figures(figures) => News::Figures(figures),
        aggregator::Event::Unreachable(why) => {
            News::Line("unreachable", format!("{why}; trying again"))
        }
        aggregator::Event::Lost(why) => {
            News::Line("lost", format!("interrupted: {why}; trying again"))
        }
    }
}

fn failure(error: StreamError) -> Failure {
    let StreamError::Server(error) = error else {
        return Failure::new(FAILURE, error);
    };
    refused(&error, "")
}
