//! Clients of Kafka: their settings, what they report, and the topic.

use super::StreamError;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the topic is.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Host and port of brokers, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Further settings of librdkafka, such as `security.protocol`.
    pub settings: Vec<(String, String)>,
}

/// Longest time to wait for an answer about the topic.
const ANSWER: Duration = Duration::from_secs(5);

/// What a client has reported.
#[derive(Clone, Debug, Default)]
struct Reported {
    error: Option<String>,
    /// True after an error of a connection.
    disturbed: bool,
    /// Ends of the partitions.
    ends: BTreeMap<i32, i64>,
}

/// Receives what a client reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    reported: Arc<Mutex<Reported>>,
}

impl Context {
    fn with<T>(&self, look: impl FnOnce(&mut Reported) -> T) -> T {
        look(&mut self.reported.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last error, if nothing has succeeded since.
    pub(super) fn error(&self) -> Option<String> {
        self.with(|reported| reported.error.clone())
    }

    /// Forgets the error, because something has succeeded.
    pub(super) fn note_success(&self) {
        self.with(|reported| reported.error = None);
    }

    /// Returns true if a connection failed since the last call.
    pub(super) fn was_disturbed(&self) -> bool {
        self.with(|reported| std::mem::take(&mut reported.disturbed))
    }

    /// Notes an error that a call returned.
    pub(super) fn note_error(&self, error: &KafkaError) {
        self.with(|reported| {
            reported.error = Some(error.to_string());
            reported.disturbed = true;
        });
    }

    /// Offset after the last record of a partition, as of the last answer.
    pub(super) fn end(&self, partition: i32) -> Option<i64> {
        self.with(|reported| reported.ends.get(&partition).copied())
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // No error: reported here, too, besides to whoever polls.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::info!(reason, "Kafka: {error}");
        self.with(|reported| {
            reported.error = Some(reason.to_owned());
            reported.disturbed = true;
        });
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics
            .topics
            .values()
            .flat_map(|topic| &topic.partitions);
        let ends: Vec<(i32, i64)> = partitions
            .map(|(partition, known)| (*partition, known.hi_offset))
            .filter(|(partition, end)| *partition >= 0 && *end >= 0)
            .collect();
        self.with(|reported| reported.ends.extend(ends));
    }
}

impl ConsumerContext for Context {}

impl Broker {
    /// Makes a client with these settings; those of the user come last.
    pub(super) fn client<T: FromClientConfigAndContext<Context>>(
        &self,
        settings: &[(&str, &str)],
        context: Context,
    ) -> Result<T, StreamError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "htap-top");
        // After a broker's restart the next attempt is soon.
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        for (key, value) in &self.settings {
            config.set(key, value);
        }
        let made = config.create_with_context(context);
        made.map_err(|error: KafkaError| StreamError::Client(error.to_string()))
    }

    /// Returns the number of the topic's partitions, and the id of the cluster; `None` if there is no such topic.
    pub(super) async fn partitions(&self) -> Result<Option<(i32, String)>, StreamError> {
        // A consumer, because a producer's question can make the broker create the topic.
        let consumer: BaseConsumer<Context> =
            self.client(&[("allow.auto.create.topics", "false")], Context::default())?;
        let topic = self.topic.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let cluster = consumer.client().fetch_cluster_id(ANSWER);
            let known = metadata.topics().iter().find(|known| known.name() == topic);
            // While a topic is created its partitions have no leader yet, which does not concern us.
            let count = known.map_or(0, |known| known.partitions().len());
            Ok((
                i32::try_from(count).unwrap_or(i32::MAX),
                cluster.unwrap_or_default(),
            ))
        });
        let asked = asked.await.unwrap_or_else(|_| Err(KafkaError::Canceled));
        match asked {
            Ok((0, _))
            | Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(None),
            Ok(known) => Ok(Some(known)),
            Err(error) => Err(StreamError::Broker(format!("{}: {error}", self.brokers))),
        }
    }

    /// Creates the topic.
    pub(super) async fn create_topic(
        &self,
        partitions: i32,
        replication: i32,
    ) -> Result<(), StreamError> {
        let admin: AdminClient<Context> = self.client(&[], Context::default())?;
        let replication = TopicReplication::Fixed(replication);
        let topic = NewTopic::new(&self.topic, partitions, replication);
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let made = admin.create_topics([&topic], &options).await;
        let failed = |why: String| {
            StreamError::Refused(format!(
                "failed to create topic {}: {why}. Create it with {partitions} partitions, then start again",
                self.topic
            ))
        };
        let made = made.map_err(|error| failed(error.to_string()))?;
        for (_, code) in made.into_iter().filter_map(Result::err) {
            if code != RDKafkaErrorCode::TopicAlreadyExists {
                return Err(failed(code.to_string()));
            }
        }
        Ok(())
    }
}
