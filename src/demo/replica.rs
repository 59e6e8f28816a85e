//! The demo's streaming replica, which the dashboard's OLAP pool reads from.

use super::blocking;
use crate::cluster::{Cluster, ClusterError, ClusterOptions, Origin};

/// Number in the name of the replica's socket, which tells it from the primary's.
const PORT: u16 = 5433;
/// Name of the replica's slot, and of the replica.
const NAME: &str = "htap_top_replica";
/// The most WAL that the slot keeps while the replica is away: the demo's disk is someone's laptop.
const SLOT_KEEPS: &str = "1GB";

/// Options of the demo's replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    /// True to let the replica report its oldest snapshot to the primary (hot_standby_feedback).
    pub feedback: bool,
}

/// Returns what a primary needs for a replica, in addition to the demo's settings.
pub(super) fn of_primary() -> Vec<(String, String)> {
    vec![("max_slot_wal_keep_size".to_owned(), SLOT_KEEPS.to_owned())]
}

/// Copies the cluster and starts the copy as its replica.
pub(super) async fn build(primary: &Cluster, wanted: Replica) -> Result<Cluster, ClusterError> {
    let origin = Origin {
        socket_dir: primary.socket_dir().to_owned(),
        port: primary.port(),
        slot: Some(NAME.to_owned()),
        feedback: wanted.feedback,
    };
    let options = ClusterOptions {
        socket_port: Some(PORT),
        settings: vec![("cluster_name".to_owned(), NAME.to_owned())],
        ..ClusterOptions::default()
    };
    let binaries = primary.binaries().clone();
    let built = blocking(move || Cluster::standby(&binaries, &origin, &options)).await;
    built.map_err(|error| {
        ClusterError::Missing(format!(
            "the replica could not be built: {error}. Without a replica the demo runs as `htap-top demo`; \
             --pg-major selects another version"
        ))
    })
}
