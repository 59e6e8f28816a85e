//! `htap-top stream broker`.

use crate::cluster::{ClusterError, sweep};
use crate::commands::{FAILURE, Failure, block_on, interrupted, print};
use crate::stream::broker::{Plan, Running, VERSION, Wish};
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `stream broker`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Options {
    /// Port on 127.0.0.1; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 9092)]
    port: u16,
    /// Folder of the data, which is kept; default: a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Program java, version 17 or later; default: $JAVA_HOME/bin/java, else java in PATH
    #[arg(long, value_name = "PATH")]
    java: Option<PathBuf>,
    /// Maximum size of Java's heap, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    heap: u32,
}

fn failed(error: ClusterError) -> Failure {
    Failure::new(FAILURE, error)
}

/// Runs a broker until it is interrupted.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let wish = Wish {
        port: options.port,
        data: options.data.clone(),
        java: options.java.clone(),
        heap: options.heap,
    };
    // Folders of brokers that were killed.
    sweep();
    block_on(async {
        let mut stop = std::pin::pin!(interrupted()?);
        let starting = async {
            let plan = Plan::new(wish, |doing| {
                let _ = writeln!(std::io::stderr(), "{doing}");
            });
            plan.await?.start().await
        };
        let started = tokio::select! {
            started = starting => started,
            () = &mut stop => return Ok(()),
        };
        let mut broker = started.map_err(failed)?;
        let ended = tokio::select! {
            ended = attend(&mut broker, options.data.is_some()) => ended,
            () = &mut stop => Ok(()),
        };
        let stopped = broker.stop().await.map_err(failed);
        ended.and(stopped)
    })
}

/// Reports that the broker is ready, and waits until it ends by itself.
async fn attend(broker: &mut Running, kept: bool) -> Result<(), Failure> {
    broker.ready().await.map_err(failed)?;
    let until = if kept { "kept" } else { "removed at the end" };
    let line = format!(
        "Apache Kafka {VERSION} listens on 127.0.0.1:{}; data and broker.log are in {} ({until})\n",
        broker.port(),
        broker.folder().display()
    );
    print(line.as_bytes())?;
    Err(failed(broker.ended().await))
}
