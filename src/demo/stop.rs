//! Requests to end a demo: a signal, or the end of standard input.

use crate::cluster::ClusterError;
use std::io::Read;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Listens for requests to end a demo. After the first one, further requests have no effect.
#[derive(Debug)]
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    lifeline: Option<oneshot::Receiver<()>>,
    requested: bool,
}

impl Stop {
    /// Starts to listen; from here on the signals no longer end the process.
    pub(super) fn new(lifeline: bool) -> Result<Self, ClusterError> {
        let listen = |kind| signal(kind).map_err(ClusterError::io("listen for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            lifeline: if lifeline { Some(watch_stdin()?) } else { None },
            requested: false,
        })
    }

    /// Returns when an end is requested.
    pub(super) async fn wait(&mut self) {
        if self.requested {
            return;
        }
        let lifeline = &mut self.lifeline;
        let cut = async {
            match lifeline {
                Some(lifeline) => {
                    let _ = lifeline.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
            () = cut => {}
        }
        self.requested = true;
    }

    /// Returns true if an end was requested.
    pub(super) fn requested(&mut self) -> bool {
        use futures_util::FutureExt;
        self.requested || self.wait().now_or_never().is_some()
    }
}

/// Resolves at the end of standard input. Uses a plain thread, because at shutdown a runtime would wait for its own
/// blocked read.
fn watch_stdin() -> Result<oneshot::Receiver<()>, ClusterError> {
    let (end, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("lifeline".to_owned())
        .spawn(move || {
            let mut buffer = [0; 64];
            let mut stdin = std::io::stdin().lock();
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => break,
                    Err(error) if error.kind() != std::io::ErrorKind::Interrupted => break,
                    _ => {}
                }
            }
            drop(end);
        })
        .map_err(ClusterError::io("watch standard input"))?;
    Ok(ended)
}
