//! The events of `GET /live`. All readers are served from one model, so that a reader costs no statement; nothing is
//! rendered while nobody reads.

use super::Connection;
use crate::dashboard::model::Model;
use crate::dashboard::output::live;
use crate::dashboard::rows::Panel;
use hyper::body::{Body, Bytes, Frame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{info, warn};

/// Maximum number of readers.
pub(super) const READERS: usize = 32;
/// Events kept for readers that come back, and their bytes.
const KEPT: usize = 512;
const KEPT_BYTES: usize = 512 * 1024;
/// Events, and bytes of events, that may wait for a reader: more than the whole state and all that is kept.
const QUEUED: usize = 1024;
const QUEUED_BYTES: usize = 1024 * 1024;
/// Milliseconds for which a reader may take nothing of what waits for it.
const STALLED_MS: u64 = 30_000;
/// Milliseconds between two events of the time, which keep connections alive, too.
const TIME_MS: u64 = 5_000;
/// First bytes of a stream: the time after which a browser connects again, in milliseconds.
const PREAMBLE: &str = ": figures of htap-top\nretry: 2000\n\n";

/// The readers, and what they were told.
pub(super) struct Readers {
    /// Part of each event's id: after a restart, numbers begin anew.
    began: i64,
    number: u64,
    /// What was sent last, by key.
    told: BTreeMap<String, Told>,
    kept: VecDeque<Event>,
    kept_bytes: usize,
    all: Vec<Reader>,
    /// Times of the last look and of the last event of the time.
    looked_ms: Option<u64>,
    timed_ms: u64,
    /// Time of the sample of the stream's windows that was looked at.
    windows_ms: Option<u64>,
}

struct Told {
    same: String,
    event: Event,
}

#[derive(Clone)]
struct Event {
    number: u64,
    text: Bytes,
}

struct Reader {
    queue: Sender<Bytes>,
    taken: Arc<Taken>,
    connection: Arc<Connection>,
    /// Number of events taken when it was last seen to read, and that time.
    progress: (u64, u64),
}

/// What waits for a reader, and what it has taken.
#[derive(Default)]
struct Taken {
    waiting_bytes: AtomicUsize,
    events: AtomicU64,
}

/// The answer to a reader: events as they come.
pub(super) struct Stream {
    queue: Receiver<Bytes>,
    taken: Arc<Taken>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.queue.poll_recv(context);
        next.map(|text| {
            let text = text?;
            self.taken
                .waiting_bytes
                .fetch_sub(text.len(), Ordering::Relaxed);
            self.taken.events.fetch_add(1, Ordering::Relaxed);
            Some(Ok(Frame::data(text)))
        })
    }
}

impl Reader {
    /// Queues an event; returns false if the reader does not keep up.
    fn tell(&self, text: &Bytes) -> bool {
        let waiting = &self.taken.waiting_bytes;
        let before = waiting.fetch_add(text.len(), Ordering::Relaxed);
        before + text.len() <= QUEUED_BYTES && self.queue.try_send(text.clone()).is_ok()
    }

    /// Returns true if it has taken nothing for long, although something waits for it.
    fn is_stalled(&mut self, now_ms: u64) -> bool {
        let events = self.taken.events.load(Ordering::Relaxed);
        let waits = self.taken.waiting_bytes.load(Ordering::Relaxed) > 0;
        if !waits || events != self.progress.0 {
            self.progress = (events, now_ms);
        }
        now_ms.saturating_sub(self.progress.1) > STALLED_MS
    }
}

impl Readers {
    pub(super) fn new(began: i64) -> Self {
        Self {
            began,
            number: 0,
            told: BTreeMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            all: Vec::new(),
            looked_ms: None,
            timed_ms: 0,
            windows_ms: None,
        }
    }

    /// Returns true if somebody reads.
    pub(super) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// Adds a reader, which has read the event with the id `after`, if any. It gets what it has missed, or the whole
    /// state if that is not kept any more. Returns `None` if there are too many.
    pub(super) fn join(
        &mut self,
        model: &Model,
        after: Option<&str>,
        connection: Arc<Connection>,
    ) -> Option<Stream> {
        self.leave_gone();
        if self.all.len() >= READERS {
            return None;
        }
        self.tell_changes(model);
        let (queue, receiver) = channel(QUEUED);
        let now_ms = model.now.mono_ms;
        let reader = Reader {
            queue,
            taken: Arc::default(),
            connection,
            progress: (0, now_ms),
        };
        let missed = after.and_then(|id| self.missed(id));
        let events = missed.unwrap_or_else(|| self.state());
        let texts = events.into_iter().map(|event| event.text);
        let time = time(model);
        for text in [Bytes::from(PREAMBLE)]
            .into_iter()
            .chain(texts)
            .chain([time])
        {
            reader.tell(&text);
        }
        let stream = Stream {
            queue: receiver,
            taken: Arc::clone(&reader.taken),
        };
        self.all.push(reader);
        info!(count = self.all.len(), "a reader of /live came");
        Some(stream)
    }

    /// Events after the one with this id; `None` if some of them are not kept any more, or it is not one of ours.
    fn missed(&self, id: &str) -> Option<Vec<Event>> {
        let (began, number) = id.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let oldest = self
            .kept
            .front()
            .map_or(self.number, |event| event.number - 1);
        if began.parse() != Ok(self.began) || number > self.number || number < oldest {
            return None;
        }
        let kept = self.kept.iter();
        Some(
            kept.filter(|event| event.number > number)
                .cloned()
                .collect(),
        )
    }

    /// The last event of each part, in their order.
    fn state(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.told.values().map(|told| told.event.clone()).collect();
        events.sort_by_key(|event| event.number);
        events
    }

    /// Tells the readers what has changed, at each tick and with each sample of the stream's windows.
    pub(super) fn look(&mut self, model: &Model) {
        if self.all.is_empty() {
            return;
        }
        let now_ms = model.now.mono_ms;
        let windows = model.feed_of(Panel::StreamWindows);
        let windows_ms = windows
            .and_then(|feed| feed.sampling.at)
            .map(|at| at.mono_ms);
        if self.looked_ms == Some(now_ms) && self.windows_ms == windows_ms {
            return;
        }
        (self.looked_ms, self.windows_ms) = (Some(now_ms), windows_ms);
        self.leave_gone();
        self.tell_changes(model);
        if now_ms.saturating_sub(self.timed_ms) >= TIME_MS {
            self.timed_ms = now_ms;
            self.tell(&time(model));
            self.end(|reader| !reader.is_stalled(now_ms));
        }
    }

    fn tell_changes(&mut self, model: &Model) {
        let parts = live::parts(model);
        let keys: BTreeSet<&str> = parts.iter().map(|part| part.key.as_str()).collect();
        // A window that is not in the table any more.
        self.told.retain(|key, _| keys.contains(key.as_str()));
        let changed = parts.iter().filter(|part| {
            let told = self.told.get(&part.key);
            told.is_none_or(|told| told.same != part.same)
        });
        let changed: Vec<_> = changed.cloned().collect();
        for part in changed {
            self.number += 1;
            let (began, number) = (self.began, self.number);
            let text = format!(
                "id: {began}-{number}\nevent: {}\ndata: {}\n\n",
                part.event, part.data
            );
            let event = Event {
                number,
                text: Bytes::from(text),
            };
            self.tell(&event.text);
            self.keep(event.clone());
            let same = part.same;
            self.told.insert(part.key, Told { same, event });
        }
    }

    fn keep(&mut self, event: Event) {
        self.kept_bytes += event.text.len();
        self.kept.push_back(event);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.text.len();
        }
    }

    fn tell(&mut self, text: &Bytes) {
        self.end(|reader| reader.tell(text));
    }

    /// Ends the connections of readers for which `keeps_up` is false.
    fn end(&mut self, mut keeps_up: impl FnMut(&mut Reader) -> bool) {
        self.all.retain_mut(|reader| {
            let kept = keeps_up(reader) || reader.queue.is_closed();
            if !kept {
                reader.connection.hang_up.notify_one();
                let bytes = reader.taken.waiting_bytes.load(Ordering::Relaxed);
                warn!(
                    bytes,
                    "a reader of /live was disconnected: it reads too slowly"
                );
            }
            kept
        });
    }

    fn leave_gone(&mut self) {
        self.all.retain(|reader| !reader.queue.is_closed());
    }
}

/// An event without an id: it is of no use to who comes back.
fn time(model: &Model) -> Bytes {
    Bytes::from(format!("event: time\ndata: {}\n\n", live::time(model)))
}
