//! The stream of `demo --stream`: a broker, and relay and aggregator in the engine's process. Whatever fails here ends the
//! stream, not the demo.

use super::DBNAME;
use super::report::{Report, Streamed};
use crate::cluster::{Cluster, ClusterError, SUPERUSER};
use crate::pg::{Client, PgError, Target};
use crate::stream::broker::{Plan, Running, VERSION, Wish};
use crate::stream::mock::Mock;
use crate::stream::{Broker, StreamError, aggregator, instance, relay};
use std::io::Write;
use tokio::task::JoinSet;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
/// Maximum size of the heap of the broker's Java, in MiB.
const HEAP: u32 = 256;

/// Where the topic is.
enum Source {
    Kafka(Box<Running>),
    Mock(Mock),
}

/// The stream.
pub(super) struct Stream {
    /// `None` if it could not be started, or has ended.
    source: Option<Source>,
    /// Why it is not on Apache Kafka, or not at all, and what to do.
    note: Option<String>,
    /// Relay and aggregator, by name.
    parts: JoinSet<(&'static str, StreamError)>,
}

/// Looks for Java, and fetches Kafka if it is missing.
pub(super) async fn plan<W: Write>(report: &mut Report<'_, W>) -> Result<Plan, ClusterError> {
    report.progress(0.02, "looking for Java and Apache Kafka");
    let wish = Wish {
        port: 0,
        data: None,
        java: None,
        heap: HEAP,
    };
    Plan::new(wish, |doing| report.progress(0.03, doing)).await
}

impl Stream {
    /// Starts the broker, which takes requests later; without one, the mock broker.
    pub(super) async fn start(plan: Result<Plan, ClusterError>) -> Self {
        let started = match plan {
            Ok(plan) => plan.start().await,
            Err(error) => Err(error),
        };
        match started {
            Ok(running) => Self {
                source: Some(Source::Kafka(Box::new(running))),
                note: None,
                parts: JoinSet::new(),
            },
            Err(error) => Self::on_mock(&error),
        }
    }

    fn on_mock(why: &ClusterError) -> Self {
        // The lines after the first one are commands that install something.
        let why = why.to_string();
        let why = why.lines().next().unwrap_or_default().trim_end_matches(':');
        let (source, note) = match Mock::start(TOPIC, PARTITIONS) {
            Ok(mock) => (
                Some(Source::Mock(mock)),
                format!(
                    "the stream runs on a mock broker inside the demo, not on Apache Kafka: {why}"
                ),
            ),
            Err(error) => (
                None,
                format!("the demo runs without the stream: {why}; and no mock broker: {error}"),
            ),
        };
        Self {
            source,
            note: Some(note),
            parts: JoinSet::new(),
        }
    }

    /// Waits until the broker takes requests. One that does not is replaced by the mock broker.
    pub(super) async fn ready(&mut self) {
        if let Some(Source::Kafka(running)) = &mut self.source
            && let Err(error) = running.ready().await
        {
            let failed = std::mem::replace(self, Self::on_mock(&error));
            let _ = failed.stop().await;
        }
    }

    /// Lets the shop write events, and starts relay and aggregator.
    pub(super) async fn run(&mut self, cluster: &Cluster) {
        let Some(source) = &self.source else { return };
        let broker = Broker {
            brokers: source.address(),
            topic: TOPIC.to_owned(),
            settings: Vec::new(),
        };
        if let Err(error) = switch_outbox(&cluster.target(DBNAME, SUPERUSER)).await {
            self.note = Some(format!(
                "the demo runs without the stream: the outbox could not be switched on: {error}"
            ));
            return;
        }
        let target = |program| {
            let target = cluster.target(DBNAME, "htap_refresh");
            target.with_application_name(program)
        };
        let plan = relay::Plan {
            name: instance("relay"),
            broker: broker.clone(),
            partitions: PARTITIONS,
            replication: 1,
        };
        let server = target("htap-top stream relay");
        self.parts.spawn(async move {
            let Err(error) = relay::relay(&server, &plan, |_| {}).await;
            ("relay", error)
        });
        let plan = aggregator::Plan::new(instance("aggregator"), broker);
        let server = target("htap-top stream run");
        self.parts.spawn(async move {
            let Err(error) = aggregator::aggregate(&server, &plan, |_| {}).await;
            ("aggregator", error)
        });
    }

    /// What the demo reports about it when it is ready.
    pub(super) fn told(&self) -> Streamed {
        Streamed {
            broker: self.source.as_ref().map(|source| match source {
                Source::Kafka(running) => {
                    format!("Apache Kafka {VERSION} on 127.0.0.1:{}", running.port())
                }
                Source::Mock(mock) => format!("a mock broker on {}", mock.address()),
            }),
            topic: TOPIC,
            note: self.note.clone(),
        }
    }

    /// Waits until a part of it ends by itself; returns a sentence about that.
    pub(super) async fn broken(&mut self) -> String {
        let source = &mut self.source;
        let broker = async {
            match source {
                Some(Source::Kafka(running)) => running.ended().await,
                _ => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            error = broker => {
                let rest = std::mem::take(&mut self.source);
                if let Some(rest) = rest {
                    let _ = rest.stop().await;
                }
                format!("the stream has lost its broker: {error}")
            }
            Some(ended) = self.parts.join_next() => match ended {
                Ok((part, error)) => format!("the stream's {part} has ended: {error}"),
                Err(error) => format!("a part of the stream has ended: {error}"),
            },
        };
        format!("{why}. The demo goes on without it; start the demo again for a new stream")
    }

    /// Ends all of it, and removes the broker's folder.
    pub(super) async fn stop(mut self) -> Result<(), ClusterError> {
        self.parts.shutdown().await;
        match self.source {
            Some(source) => source.stop().await,
            None => Ok(()),
        }
    }
}

impl Source {
    fn address(&self) -> String {
        match self {
            Self::Kafka(running) => format!("127.0.0.1:{}", running.port()),
            Self::Mock(mock) => mock.address(),
        }
    }

    async fn stop(self) -> Result<(), ClusterError> {
        match self {
            Self::Kafka(running) => running.stop().await,
            Self::Mock(_) => Ok(()),
        }
    }
}

async fn switch_outbox(target: &Target) -> Result<(), PgError> {
    let client = Client::connect(target).await?;
    client.batch("SELECT htap.switch_outbox(true)").await
}
