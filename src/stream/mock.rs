//! librdkafka's mock broker, which runs in this process: for a demo where Apache Kafka cannot run. It keeps the last 5 MB of
//! each partition in memory, and nothing on disk.

use super::StreamError;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A mock broker. It ends when this is dropped.
pub struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Mock {
    /// Starts it with a topic, which its clients cannot create.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, StreamError> {
        let failed = |error: KafkaError| StreamError::Client(error.to_string());
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster.create_topic(topic, partitions, 1).map_err(failed)?;
        Ok(Self { cluster })
    }

    /// Returns its host and port.
    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
