//! Writes a recording on a separate thread, so that a slow disk delays neither a key nor a frame.
//!
//! The queue is bounded. When it is full, samples are dropped and counted. The newest dropped answer of each feed and
//! the newest state of each session are written once the disk keeps up again, so that the recording is complete from
//! then on; a line in it tells how much is missing.

use crate::dashboard::encoded::{About, Encoded};
use crate::dashboard::event::{Event, Moment};
use crate::dashboard::recording::Recorder;
use crate::format;
use crate::pg::sampler::SessionId;
use crate::text::Clean;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Maximum number of bytes that wait for the disk; a minute of a busy server takes an eighth of that. A single line may
/// be longer.
pub(super) const BYTES: usize = 8 << 20;
/// Maximum number of batches that wait for the disk. Each second makes one.
pub(super) const BATCHES: usize = 512;
/// Milliseconds between two batches: each wakes the thread, and it writes to the disk once a second.
const APART_MS: u64 = 1_000;
/// Size in bytes at which a batch is queued at once.
const BATCH_BYTES: usize = 256 << 10;
/// Maximum wait for the disk at the end.
const END: Duration = Duration::from_secs(3);

/// Error if there is no thread any more.
const NO_THREAD: &str = "recording stopped: its thread has ended";

/// Destination of a recording's lines.
pub(super) trait Output {
    /// Writes a line.
    fn note(&mut self, line: &Encoded) -> io::Result<()>;
    /// Ends the recording.
    fn end(self) -> io::Result<()>;
}

impl Output for Recorder {
    fn note(&mut self, line: &Encoded) -> io::Result<()> {
        Self::note(self, line)
    }

    fn end(self) -> io::Result<()> {
        Self::end(self)
    }
}

/// Amount that waits for the disk, including the batch that is being written.
#[derive(Debug, Default)]
struct Waiting {
    lines: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    fn add(&self, line: &Encoded) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(line.bytes().len(), Ordering::Relaxed);
    }

    fn remove(&self, batch: &[Encoded]) {
        let bytes = batch.iter().map(|line| line.bytes().len()).sum();
        self.lines.fetch_sub(batch.len(), Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Queues a recording's lines for the thread that writes them.
pub(super) struct RecordingWriter {
    queue: Sender<Vec<Encoded>>,
    /// Lines since the last batch.
    batch: Vec<Encoded>,
    batch_bytes: usize,
    /// Second of the last batch's tick.
    sent_s: u64,
    waiting: Arc<Waiting>,
    /// Result of the thread.
    ended: oneshot::Receiver<Result<(), String>>,
    now: Moment,
    gap: Option<Gap>,
    /// Samples lost in a gap that has ended but was not reported yet, and its length in seconds.
    over: Option<(u64, f64)>,
    /// Number of lost samples as last reported.
    told: u64,
    /// Samples lost in all gaps that have ended.
    lost: u64,
}

/// A period in which the disk does not keep up.
struct Gap {
    begun: Moment,
    /// Samples that a newer one has replaced.
    lost: u64,
    newest: BTreeMap<Subject, Encoded>,
    bytes: usize,
}

/// Subject of a line: a newer line with the same subject replaces it. At the end of a gap they are written in this
/// order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Time,
    Interval,
    Background,
    Session(SessionId),
    Feed(u16),
}

impl Subject {
    fn of(line: &Encoded) -> Option<Self> {
        match line.about() {
            About::Tick(_) => Some(Self::Time),
            About::Paced(_) => Some(Self::Interval),
            About::Background => Some(Self::Background),
            About::Opened(session) | About::Lost(session) => Some(Self::Session(session)),
            About::Answer { id, .. } => Some(Self::Feed(id)),
            About::Timed | About::Other => None,
        }
    }
}

impl Gap {
    fn drop(&mut self, line: Encoded) {
        let length = line.bytes().len();
        let subject = Subject::of(&line).filter(|_| self.bytes + length <= BYTES);
        let lost = match subject {
            Some(subject) => {
                self.bytes += length;
                self.newest.insert(subject, line)
            }
            None => Some(line),
        };
        if let Some(lost) = lost {
            if subject.is_some() {
                self.bytes -= lost.bytes().len();
            }
            self.lost += u64::from(lost.is_sample());
        }
    }
}

impl RecordingWriter {
    /// Starts the thread, which opens the recording with `begin`. Error messages name it `place`.
    pub(super) fn start<O: Output>(
        place: String,
        begin: impl FnOnce() -> io::Result<O> + Send + 'static,
    ) -> Self {
        let (queue, batches) = channel(BATCHES);
        let (tell, ended) = oneshot::channel();
        let waiting: Arc<Waiting> = Arc::default();
        let shared = Arc::clone(&waiting);
        let thread = std::thread::Builder::new().name("recorder".into());
        // If no thread can be started, `ended` is closed.
        let _ = thread.spawn(move || {
            let _ = tell.send(write(&place, begin, batches, &shared));
        });
        Self {
            queue,
            batch: Vec::new(),
            batch_bytes: 0,
            sent_s: 0,
            waiting,
            ended,
            now: Moment::default(),
            gap: None,
            over: None,
            told: 0,
            lost: 0,
        }
    }

    /// Queues a line without waiting.
    pub(super) fn note(&mut self, line: &Encoded) {
        let Some(line) = line.fitting() else {
            return;
        };
        let tick = line.moment();
        self.now = tick.unwrap_or(self.now);
        self.close_gap();
        if let Some(gap) = &mut self.gap {
            gap.drop(line);
            return;
        }
        let length = line.bytes().len();
        let waiting = self.waiting.bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + length > BYTES {
            self.send();
            self.drop([line]);
            return;
        }
        self.waiting.add(&line);
        self.batch.push(line);
        self.batch_bytes += length;
        let second = self.now.mono_ms / APART_MS;
        if (tick.is_some() && second != self.sent_s) || self.batch_bytes >= BATCH_BYTES {
            self.sent_s = second;
            self.send();
        }
    }

    /// Queues the lines since the last batch.
    fn send(&mut self) {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) =
            self.queue.try_send(batch)
        {
            self.waiting.remove(&batch);
            self.drop(batch);
        }
    }

    fn drop(&mut self, lines: impl IntoIterator<Item = Encoded>) {
        let gap = self.gap.get_or_insert_with(|| Gap {
            begun: self.now,
            lost: 0,
            newest: BTreeMap::new(),
            bytes: 0,
        });
        for line in lines {
            gap.drop(line);
        }
    }

    /// Ends a gap once half of the queue is free: the newest line of each subject is queued.
    fn close_gap(&mut self) {
        let free = self.queue.capacity() >= BATCHES / 2
            && self.waiting.bytes.load(Ordering::Relaxed) <= BYTES / 2;
        if !free {
            return;
        }
        let Some(gap) = self.gap.take() else {
            return;
        };
        let (samples, _) = self.over.unwrap_or_default();
        self.over = Some((samples + gap.lost, self.now.since(gap.begun)));
        self.lost += gap.lost;
        self.batch = gap.newest.into_values().collect();
        for line in &self.batch {
            self.waiting.add(line);
        }
        self.send();
    }

    /// Returns events for the model: samples are being dropped, or the recording continues. Returns an error if
    /// recording has ended.
    pub(super) fn news(&mut self) -> Result<Vec<Event>, String> {
        match self.ended.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) | Ok(Ok(())) => {
                return Err(NO_THREAD.into());
            }
            Ok(Err(why)) => return Err(why),
        }
        let mut news = Vec::new();
        if let Some((samples, seconds)) = self.over.take()
            && samples > 0
        {
            let text = format!(
                "{samples} samples within {} are missing from the recording: the disk was too slow",
                format::seconds(seconds)
            );
            news.push(Event::Warned(Clean::from(text)));
        }
        let lost = self.gap.as_ref().map_or(0, |gap| gap.lost);
        if lost != self.told {
            self.told = lost;
            news.push(Event::Unrecorded(lost));
        }
        Ok(news)
    }

    /// Ends the recording. Returns the number of samples missing from it, or an error. Waits at most [`END`] for the
    /// disk.
    pub(super) async fn end(mut self) -> Result<u64, String> {
        self.close_gap();
        self.send();
        let Self {
            queue,
            waiting,
            ended,
            gap,
            mut lost,
            ..
        } = self;
        drop(queue);
        match timeout(END, ended).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_)) => {
                return Err(NO_THREAD.into());
            }
            Err(_) => {
                let lines = waiting.lines.load(Ordering::Relaxed);
                let dropped = gap.map_or(0, |gap| gap.lost as usize + gap.newest.len());
                return Err(format!(
                    "the last {} events were not recorded: the disk did not accept them within {}",
                    lines + dropped,
                    format::seconds(END.as_secs_f64())
                ));
            }
        }
        if let Some(gap) = gap {
            let newest = gap.newest.values().filter(|line| line.is_sample());
            lost += gap.lost + newest.count() as u64;
        }
        Ok(lost)
    }
}

/// Body of the thread: writes batches until the queue is closed.
fn write<O: Output>(
    place: &str,
    begin: impl FnOnce() -> io::Result<O>,
    mut batches: Receiver<Vec<Encoded>>,
    waiting: &Waiting,
) -> Result<(), String> {
    let mut output = begin().map_err(|error| format!("cannot record: {place}: {error}"))?;
    let failed = |error: io::Error| format!("recording stopped: {place}: {error}");
    while let Some(batch) = batches.blocking_recv() {
        for line in &batch {
            output.note(line).map_err(failed)?;
        }
        waiting.remove(&batch);
    }
    output.end().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dashboard::event::OwnCost;
    use crate::dashboard::model::{Model, Start};
    use crate::dashboard::panels;
    use crate::dashboard::recording::{self, Header};
    use crate::pg::Table;
    use crate::pg::sampler::Report;
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    use std::fmt::Write as _;
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    fn start() -> Start {
        Start {
            config: Config::default(),
            built_in: panels::built_in().unwrap(),
            own_panels: Vec::new(),
            own_roles: Vec::new(),
            complaints: Vec::new(),
            utc_offset_s: 0,
            themes: vec!["dark".into()],
            target: "shop".into(),
            olap_target: None,
            olap_server: None,
            pooler: None,
            columnar: None,
            demo: false,
            server: None,
        }
    }

    /// A recording into a pipe. Writes block once the pipe is full, until it is read.
    struct Stalled {
        writer: RecordingWriter,
        second: u64,
        /// Samples queued.
        sent: u64,
        /// Samples reported as dropped.
        dropped: u64,
        /// Warnings.
        said: Vec<String>,
        random: u64,
    }

    impl Stalled {
        fn note(&mut self, event: &Event) {
            let line = Encoded::of(event).unwrap();
            self.sent += u64::from(line.is_sample());
            self.writer.note(&line);
            let waiting = self.writer.waiting.bytes.load(Ordering::Relaxed);
            assert!(waiting <= BYTES, "{waiting} bytes");
            // Each batch is an answer and a tick; one is being written, and one is being made.
            let waiting = self.writer.waiting.lines.load(Ordering::Relaxed);
            assert!(waiting <= 2 * (BATCHES + 2), "{waiting} lines");
            let gap = self.writer.gap.as_ref();
            assert!(gap.is_none_or(|gap| gap.bytes <= BYTES && gap.newest.len() <= 3));
        }

        /// An answer that hardly compresses.
        fn answer(&mut self, feed: u16, length: usize) {
            let mut text = String::new();
            while text.len() < length {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let _ = write!(text, "{:016x}", self.random);
            }
            let table = Table {
                columns: ["text".into()].into(),
                rows: vec![vec![text.as_str().into()]],
            };
            self.note(&Event::Reported(Report::Answered {
                id: feed,
                took_ms: 1.0,
                outcome: Ok(table),
            }));
        }

        fn tick(&mut self) {
            self.second += 1;
            let now = Moment {
                mono_ms: self.second * 1000,
                epoch_ms: self.second as i64 * 1000,
            };
            let cost = OwnCost::default();
            self.note(&Event::Ticked { now, cost });
            for event in self.writer.news().unwrap() {
                match event {
                    Event::Unrecorded(samples) => self.dropped = samples,
                    Event::Warned(text) => {
                        self.said.push(text.to_string());
                        self.note(&Event::Warned(text));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    async fn stalled(length: usize) {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let mut open = OpenOptions::new();
        let open = open.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        // The other end is open but is not read.
        let _end = open.open(&pipe).unwrap();
        let model = Model::new(start());
        let header = Header::of(&model, false, 0);
        let file = File::options().write(true).open(&pipe).unwrap();
        let mut stalled = Stalled {
            writer: RecordingWriter::start("pipe".into(), move || Recorder::begin(file, &header)),
            second: 0,
            sent: 0,
            dropped: 0,
            said: Vec::new(),
            random: 88_172_645_463_325_252,
        };
        let [often, once] = ["progress", "settings"].map(|name| model.feed_named(name).unwrap().0);
        while stalled.dropped == 0 {
            assert!(stalled.second < 5_000, "nothing is dropped");
            stalled.tick();
            stalled.answer(often, length);
        }
        let before = stalled.dropped;
        stalled.answer(once, 10);
        for _ in 0..20 {
            stalled.tick();
            stalled.answer(often, length);
        }
        assert!(stalled.dropped >= before + 19, "{}", stalled.dropped);
        assert!(stalled.writer.waiting.lines.load(Ordering::Relaxed) > 0);
        // The disk works again.
        let path = folder.path().join("a.htap");
        let copy = (File::open(&pipe).unwrap(), File::create(&path).unwrap());
        let reader = std::thread::spawn(move || {
            let (mut from, mut to) = copy;
            std::io::copy(&mut from, &mut to).unwrap();
        });
        while stalled.said.is_empty() {
            assert!(stalled.second < 50_000, "it does not go on");
            stalled.tick();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stalled.dropped, 0, "samples are not dropped any more");
        let (sent, said) = (stalled.sent, stalled.said.remove(0));
        let lost = stalled.writer.lost;
        // The last step is a sync, which a pipe does not support.
        let end = stalled.writer.end().await.unwrap_err();
        assert!(end.contains("Invalid argument"), "{end}");
        reader.join().unwrap();
        assert!(said.contains(&format!("{lost} samples within ")), "{said}");
        let lines = zstd::stream::decode_all(File::open(&path).unwrap()).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!(lines.matches("\"Answered\"").count() as u64 + lost, sent);
        let recording = recording::read(&[path], start()).unwrap();
        assert_eq!(recording.torn, None);
        let model = recording.tape.at(u64::MAX).unwrap().model;
        assert!(model.log.iter().any(|line| line.text.as_str() == said));
        // A feed that was answered only during the gap is there all the same.
        let settings = model.feed(model.feed_named("settings").unwrap()).unwrap();
        assert_eq!(settings.table.rows.len(), 1);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_holds_nobody_and_what_is_lost_is_counted_and_said() {
        // Many small batches, then few large ones.
        for length in [2 << 10, 1 << 20] {
            stalled(length).await;
        }
    }

    #[tokio::test]
    async fn a_recording_that_cannot_be_written_ends_with_the_reason() {
        for (path, why) in [
            ("/dev/full", "cannot record: x: No space"),
            ("/nowhere/x", "cannot record: x: "),
        ] {
            let header = Header::of(&Model::new(start()), false, 0);
            let writer = RecordingWriter::start("x".into(), move || {
                Recorder::begin(File::options().write(true).open(path)?, &header)
            });
            let error = writer.end().await.unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
