//! Writes the audit file on a separate thread: an action waits until its intent is on disk, the screen does not.

use crate::dashboard::audit::Audit;
use crate::format;
use crate::text::Clean;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// Maximum number of lines that wait for the disk.
const LINES: usize = 64;
/// Time after which a line counts as not written.
const LIMIT: Duration = Duration::from_secs(5);
/// Maximum wait for the disk at the end.
const END: Duration = Duration::from_secs(3);

/// Writes one line.
type Entry = Box<dyn FnOnce(&Audit) -> io::Result<()> + Send>;

/// A line to write, and the channel for the result.
struct Job {
    entry: Entry,
    reply: oneshot::Sender<io::Result<()>>,
}

/// Queues lines of the audit file for the thread that writes them in order.
pub(super) struct AuditWriter {
    audit: Arc<Audit>,
    /// Queue of the thread, which is started with the first line.
    jobs: OnceLock<Sender<Job>>,
    /// Number of lines that wait for the disk.
    waiting: watch::Sender<usize>,
}

/// Reason why a line is not known to be on disk.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// It was not queued and will never be written.
    Refused(Clean),
    /// Writing it failed.
    Failed(Clean),
    /// It is queued and may be written later.
    Late(Clean),
}

impl Unwritten {
    pub(super) fn why(&self) -> &Clean {
        match self {
            Self::Refused(why) | Self::Failed(why) | Self::Late(why) => why,
        }
    }
}

/// The pending result of a line.
#[must_use]
pub(super) struct Written {
    handed_over: Result<oneshot::Receiver<io::Result<()>>, Clean>,
    path: String,
}

impl Written {
    /// Waits until the line is on disk, at most [`LIMIT`].
    pub(super) async fn wait(self) -> Result<(), Unwritten> {
        let path = self.path;
        let clean = |why: String| Clean::from(format!("{path}: {why}"));
        let reply = self.handed_over.map_err(Unwritten::Refused)?;
        match timeout(LIMIT, reply).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Unwritten::Failed(clean(error.to_string()))),
            Ok(Err(_)) => Err(Unwritten::Failed(clean("its thread has ended".into()))),
            Err(_) => {
                let limit = format::seconds(LIMIT.as_secs_f64());
                let why = format!("the disk did not accept the line within {limit}");
                Err(Unwritten::Late(clean(why)))
            }
        }
    }
}

impl AuditWriter {
    pub(super) fn new(audit: Audit) -> Self {
        Self {
            audit: Arc::new(audit),
            jobs: OnceLock::new(),
            waiting: watch::Sender::new(0),
        }
    }

    /// The operating system's user who acts.
    pub(super) fn actor(&self) -> &str {
        &self.audit.actor
    }

    /// Queues a line without waiting. Lines are written in the order in which they are queued.
    pub(super) fn write(
        &self,
        entry: impl FnOnce(&Audit) -> io::Result<()> + Send + 'static,
    ) -> Written {
        let path = self.audit.path.display().to_string();
        let (reply, receiver) = oneshot::channel();
        let entry = Box::new(entry);
        let jobs = self.jobs.get_or_init(|| self.start());
        self.waiting.send_modify(|waiting| *waiting += 1);
        let handed_over = match jobs.try_send(Job { entry, reply }) {
            Ok(()) => Ok(receiver),
            Err(error) => {
                self.waiting.send_modify(|waiting| *waiting -= 1);
                Err(Clean::from(match error {
                    TrySendError::Full(_) => format!("{path}: {LINES} lines wait for the disk"),
                    TrySendError::Closed(_) => format!("{path}: its thread has ended"),
                }))
            }
        };
        Written { handed_over, path }
    }

    fn start(&self) -> Sender<Job> {
        let (jobs, mut receiver) = channel::<Job>(LINES);
        let (audit, waiting) = (Arc::clone(&self.audit), self.waiting.clone());
        let thread = std::thread::Builder::new().name("audit".into());
        // If no thread can be started, the queue is closed and every line is refused.
        let _ = thread.spawn(move || {
            while let Some(Job { entry, reply }) = receiver.blocking_recv() {
                let written = entry(&audit);
                waiting.send_modify(|waiting| *waiting -= 1);
                // The caller may have stopped waiting.
                let _ = reply.send(written);
            }
        });
        jobs
    }

    /// Waits until all lines are written, at most [`END`]. Returns a sentence about lines that are not.
    pub(super) async fn end(&self) -> Option<String> {
        let mut waiting = self.waiting.subscribe();
        if timeout(END, waiting.wait_for(|waiting| *waiting == 0))
            .await
            .is_ok()
        {
            return None;
        }
        let lines = *self.waiting.borrow();
        let plural = if lines == 1 { "" } else { "s" };
        Some(format!(
            "{lines} line{plural} not written to the audit file {}: the disk did not accept them within {}",
            self.audit.path.display(),
            format::seconds(END.as_secs_f64())
        ))
    }
}
