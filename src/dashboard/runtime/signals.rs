//! The signals that end or suspend a terminal program, or resize its terminal.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Meaning of a signal.
pub(super) enum SignalEvent {
    End,
    Suspend,
    Resize,
}

/// The signals that a terminal program handles.
pub(super) struct Signals {
    end: [Signal; 3],
    stop: Signal,
    resize: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            end: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::interrupt())?,
            ],
            stop: signal(SignalKind::from_raw(
                nix::sys::signal::Signal::SIGTSTP as i32,
            ))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    pub(super) async fn next(&mut self) -> SignalEvent {
        let [terminate, hangup, interrupt] = &mut self.end;
        tokio::select! {
            _ = terminate.recv() => SignalEvent::End,
            _ = hangup.recv() => SignalEvent::End,
            _ = interrupt.recv() => SignalEvent::End,
            _ = self.stop.recv() => SignalEvent::Suspend,
            _ = self.resize.recv() => SignalEvent::Resize,
        }
    }
}
