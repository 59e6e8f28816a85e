//! Keeps columns chosen on the screen, on a thread of its own, so that no disk delays a key. Without a choice there is no
//! thread.

use crate::dashboard::choices::{Choice, keep};
use crate::dashboard::event::Event;
use crate::format;
use crate::text::Clean;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Maximum wait for the disk at the end.
const END: Duration = Duration::from_secs(3);

/// A choice for a panel, and the number of the server that is told if it cannot be kept.
type Change = (usize, String, Option<Choice>);

/// Starts the thread with the first choice.
pub(super) struct Keeper {
    /// The file; without one nothing is kept, as in the demo.
    path: Option<PathBuf>,
    tell: Sender<(usize, Event)>,
    thread: Option<(mpsc::Sender<Change>, oneshot::Receiver<()>)>,
}

impl Keeper {
    /// Returns a keeper; `tell` gets a sentence about each choice that cannot be kept.
    pub(super) fn new(path: Option<PathBuf>, tell: Sender<(usize, Event)>) -> Self {
        Self {
            path,
            tell,
            thread: None,
        }
    }

    /// Keeps a choice without waiting for it.
    pub(super) fn keep(&mut self, server: usize, panel: String, choice: Option<Choice>) {
        let Some(path) = &self.path else { return };
        if self.thread.is_none() {
            let (changes, wanted) = mpsc::channel();
            let (ended, end) = oneshot::channel();
            let (path, tell) = (path.clone(), self.tell.clone());
            let thread = std::thread::Builder::new().name("columns".into());
            let begun = thread.spawn(move || {
                write_all(&path, &wanted, &tell);
                let _ = ended.send(());
            });
            match begun {
                Ok(_) => self.thread = Some((changes, end)),
                Err(error) => {
                    let why = Clean::from(format!("chosen columns are not kept: {error}"));
                    let _ = self.tell.try_send((server, Event::Warned(why)));
                }
            }
        }
        if let Some((changes, _)) = &self.thread {
            let _ = changes.send((server, panel, choice));
        }
    }

    /// Waits until all choices are kept, at most [`END`]. Returns a sentence if some may be missing.
    pub(super) async fn end(self) -> Option<String> {
        let (changes, end) = self.thread?;
        drop(changes);
        let ended = timeout(END, end).await;
        ended.is_err().then(|| {
            format!(
                "chosen columns may be missing in {}: the disk did not accept them within {}",
                self.path.unwrap_or_default().display(),
                format::seconds(END.as_secs_f64())
            )
        })
    }
}

/// Writes choices until no more can come; those that wait are written together.
fn write_all(path: &Path, wanted: &mpsc::Receiver<Change>, tell: &Sender<(usize, Event)>) {
    while let Ok((server, panel, choice)) = wanted.recv() {
        let mut changes = BTreeMap::from([(panel, choice)]);
        changes.extend(wanted.try_iter().map(|(_, panel, choice)| (panel, choice)));
        if let Err(why) = keep(path, changes) {
            let why = Event::Warned(Clean::from(why));
            let _ = tell.blocking_send((server, why));
        }
    }
}
