//! The events of the past hour, and the model as it was at any moment of it.
//!
//! Events are kept packed, and at the beginning of every span of them the model as it was then. The model of
//! a moment is that of its span's beginning, told the events since: what it shows is what was shown.

use super::course::Course;
use super::diagnosis::finding::Damage;
use super::diagnosis::{Health, severity};
use super::encoded::Encoded;
use super::event::{Event, Moment};
use super::keyframe::{Keyframe, pack};
use super::model::Model;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// Length of a span in milliseconds: the most that is applied again to reach a moment.
const SPAN_MS: u64 = 60_000;
/// Bytes of lines that are compressed at once: a few milliseconds of work, and some seconds of a busy server.
const OPEN_BYTES: usize = 1 << 20;
/// Maximum bytes of a span; a minute of a busy server has a tenth of that.
const SPAN_BYTES: usize = 16 << 20;
/// Milliseconds that a running dashboard keeps.
pub const HOUR_MS: u64 = 3_600_000;
/// Milliseconds between two moments that a [`Past`] keeps.
const MARK_MS: u64 = 5_000;
/// Name used in place of a rule if the server cannot be reached.
const UNREACHABLE: &str = "unreachable";
/// Seconds after which a recurring danger is another trouble.
const APART_S: f64 = 30.0;

/// Events of some time.
#[derive(Debug)]
pub struct Tape {
    spans: VecDeque<Span>,
    /// Number of spans dropped so far, so that span numbers stay valid.
    dropped: usize,
    keep_ms: u64,
    /// Dangers that the cause line has named lately: rule and subject.
    alarms: BTreeMap<Alarm, Moment>,
    /// Copies of new lines for the recording, if there is one.
    copies: Option<Vec<Encoded>>,
}

/// A minute of events.
#[derive(Debug)]
struct Span {
    begun: Moment,
    last: Moment,
    /// The model before the first event.
    before: Keyframe,
    events: Events,
    troubles: Vec<Trouble>,
}

/// Lines of JSON.
#[derive(Debug, Default)]
struct Events {
    /// Older ones, compressed in pieces.
    packed: Vec<Vec<u8>>,
    /// Newer ones, and their total length.
    open: (Vec<Encoded>, usize),
    /// Length of all.
    all: usize,
}

impl Events {
    fn push(&mut self, line: Encoded) {
        let length = line.bytes().len();
        self.all += length;
        self.open.1 += length;
        self.open.0.push(line);
        if self.open.1 >= OPEN_BYTES {
            self.pack();
        }
    }

    /// Compresses the lines that are not yet.
    fn pack(&mut self) {
        let lines: Vec<&[u8]> = self.open.0.iter().map(Encoded::bytes).collect();
        if !lines.is_empty()
            && let Some(packed) = pack(&lines.concat())
        {
            self.packed.push(packed);
            self.open = (Vec::new(), 0);
        }
    }

    /// Bytes that they take.
    fn len(&self) -> usize {
        self.packed.iter().map(Vec::len).sum::<usize>() + self.open.1
    }

    /// Returns the events after the first `told`.
    fn after(&self, told: usize) -> io::Result<VecDeque<Event>> {
        let event = |line: &[u8]| serde_json::from_slice(line).map_err(io::Error::from);
        let mut unpacked = Vec::new();
        for piece in &self.packed {
            zstd::stream::copy_decode(piece.as_slice(), &mut unpacked)?;
        }
        let lines = unpacked.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let lines = lines.chain(self.open.0.iter().map(Encoded::bytes));
        lines.skip(told).map(event).collect()
    }
}

/// A danger: a rule and its subject.
type Alarm = (&'static str, String);

/// A danger that the cause line showed, from its beginning on.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Time at which the cause line began to show it.
    pub at: Moment,
    /// Time at which the cause line last showed it.
    pub until: Moment,
    /// Time at which it was worst, the last if there are several, and how bad it was then.
    pub worst: (Moment, Damage, f64),
    /// The sentence at the beginning.
    pub sentence: String,
    alarm: Alarm,
}

/// A position on a tape: the model at that time, and the next events. It keeps models of the span at
/// intervals, so that a step back starts from the nearest of them instead of the beginning of the span.
#[derive(Debug)]
pub struct Past {
    /// The model at that time.
    pub model: Model,
    /// Number of the span.
    span: usize,
    /// Number of the span's events applied to the model.
    told: usize,
    /// Events read but not applied yet.
    next: VecDeque<Event>,
    /// Models after given numbers of events of the span, a few seconds apart.
    marks: Vec<(usize, Box<Model>)>,
}

impl Tape {
    /// A tape that forgets what is older than `keep_ms`.
    pub fn new(keep_ms: u64) -> Self {
        Self {
            spans: VecDeque::new(),
            dropped: 0,
            keep_ms,
            alarms: BTreeMap::new(),
            copies: None,
        }
    }

    /// Copies every further line until [`Self::take_copies`] takes it.
    pub fn copy_lines(&mut self) {
        self.copies = Some(Vec::new());
    }

    /// Returns the lines since the last call; none unless they are copied.
    pub fn take_copies(&mut self) -> Vec<Encoded> {
        self.copies.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Tells the model an event, and keeps it.
    pub fn tell(&mut self, model: &mut Model, event: Event) -> Vec<super::event::Effect> {
        if let Some(line) = Encoded::of(&event) {
            if let Some(copies) = &mut self.copies {
                copies.push(line.clone());
            }
            self.note(model, line);
        }
        let effects = model.update(event);
        self.mark(model);
        effects
    }

    fn note(&mut self, model: &Model, line: Encoded) {
        if let Some(now) = line.moment() {
            let full = |span: &Span| now.mono_ms.saturating_sub(span.begun.mono_ms) >= SPAN_MS;
            if self.spans.back().is_none_or(full) {
                self.turn(model, now);
            }
            if let Some(span) = self.spans.back_mut() {
                span.last = now;
            }
        } else if let Some(span) = self.spans.back()
            && span.events.all >= SPAN_BYTES
        {
            let now = span.last;
            self.turn(model, now);
        }
        let Some(span) = self.spans.back_mut() else {
            // Nothing has a time before the first tick.
            return;
        };
        span.events.push(line);
    }

    /// Packs the newest span and begins another; forgets the oldest.
    fn turn(&mut self, model: &Model, now: Moment) {
        if let Some(span) = self.spans.back_mut() {
            span.events.pack();
        }
        self.spans.push_back(Span {
            begun: now,
            last: now,
            before: Keyframe::of(model),
            events: Events::default(),
            troubles: Vec::new(),
        });
        let old = |span: &Span| now.mono_ms.saturating_sub(span.last.mono_ms) > self.keep_ms;
        while self.spans.len() > 1 && self.spans.front().is_some_and(old) {
            self.spans.pop_front();
            self.dropped += 1;
        }
    }

    /// Records the beginning of a danger that was not shown a moment before.
    fn mark(&mut self, model: &Model) {
        let (cause, now) = (&model.cause, model.now);
        self.alarms.retain(|_, seen| now.since(*seen) <= APART_S);
        if let Some(sentence) = model.unreachable() {
            let alarm = (UNREACHABLE, String::new());
            let known = self.alarms.insert(alarm.clone(), now).is_some();
            let worst = (now, Damage::Halt, 1.0);
            self.note_trouble(alarm, worst, &sentence, known);
            return;
        }
        if cause.health < Health::Danger {
            return;
        }
        let subject = model
            .findings
            .iter()
            .find(|finding| finding.rule == cause.rule)
            .map(|finding| finding.subject.clone());
        let alarm = (cause.rule, subject.unwrap_or_default());
        // A danger without a rule is the end of one that a rule explained before.
        let known =
            self.alarms.contains_key(&alarm) || (cause.rule.is_empty() && !self.alarms.is_empty());
        self.alarms.insert(alarm.clone(), now);
        let (damage, ratio) = severity(&model.gauges, &model.findings, cause);
        self.note_trouble(alarm, (now, damage, ratio), &cause.sentence, known);
    }

    /// Begins a trouble, or notes that a known one lasts.
    fn note_trouble(
        &mut self,
        alarm: Alarm,
        worst: (Moment, Damage, f64),
        sentence: &str,
        known: bool,
    ) {
        if known {
            let mut newest = self.spans.iter_mut().rev();
            let trouble = newest.find_map(|span| {
                let mut troubles = span.troubles.iter_mut().rev();
                troubles.find(|trouble| trouble.alarm == alarm || alarm.0.is_empty())
            });
            if let Some(trouble) = trouble {
                let before = std::mem::replace(&mut trouble.until, worst.0);
                let known = (trouble.worst.1, trouble.worst.2);
                match (worst.1, worst.2).partial_cmp(&known) {
                    Some(Ordering::Greater) => trouble.worst = worst,
                    // What was read because of it is there a little later. The tick before this one: the next answer may
                    // show that it has ended.
                    Some(Ordering::Equal) if before < worst.0 => {
                        trouble.worst.0 = trouble.worst.0.max(before);
                    }
                    _ => {}
                }
            }
        } else if let Some(span) = self.spans.back_mut() {
            span.troubles.push(Trouble {
                at: worst.0,
                until: worst.0,
                worst,
                sentence: sentence.to_owned(),
                alarm,
            });
        }
    }

    /// Returns the first and the last moment.
    pub fn ends(&self) -> Option<(Moment, Moment)> {
        Some((self.spans.front()?.begun, self.spans.back()?.last))
    }

    /// Returns all troubles, oldest first.
    pub fn troubles(&self) -> impl DoubleEndedIterator<Item = &Trouble> {
        self.spans.iter().flat_map(|span| &span.troubles)
    }

    /// Bytes used by the compressed events.
    pub fn bytes(&self) -> usize {
        self.spans.iter().map(|span| span.events.len()).sum()
    }

    /// Returns the model at `mono_ms`, or at the end of the tape nearest to it; `None` if the tape is empty.
    pub fn at(&self, mono_ms: u64) -> Option<Past> {
        let after = self
            .spans
            .partition_point(|span| span.begun.mono_ms <= mono_ms);
        let position = after.saturating_sub(1);
        let span = self.spans.get(position)?;
        let mut past = Past {
            model: span.before.model().ok()?,
            span: self.dropped + position,
            told: 0,
            next: VecDeque::new(),
            marks: Vec::new(),
        };
        // A time before the beginning means the first tick of the tape.
        past.advance(self, mono_ms.max(span.begun.mono_ms));
        Some(past)
    }

    /// Returns what was known at the beginning of the last span up to `mono_ms`.
    pub fn after(&self, mono_ms: u64) -> Option<Arc<Course>> {
        let later = self
            .spans
            .partition_point(|span| span.begun.mono_ms <= mono_ms);
        let span = self.spans.get(later.checked_sub(1)?)?;
        Some(span.before.course().shared())
    }

    /// Returns the events of a span after the first `told`.
    fn events(&self, number: usize, told: usize) -> io::Result<VecDeque<Event>> {
        let Some(span) = number
            .checked_sub(self.dropped)
            .and_then(|position| self.spans.get(position))
        else {
            return Ok(VecDeque::new());
        };
        span.events.after(told)
    }
}

impl Past {
    /// Goes back within the span if a moment before `mono_ms` is remembered; returns true if it did.
    pub fn go_back(&mut self, tape: &Tape, mono_ms: u64) -> bool {
        self.marks.retain(|(_, model)| model.now.mono_ms <= mono_ms);
        let Some((told, model)) = self.marks.last() else {
            return false;
        };
        self.model = (**model).clone();
        self.told = *told;
        self.next.clear();
        self.advance(tape, mono_ms);
        true
    }

    /// Keeps a copy of the model if the last one kept is some seconds older.
    fn mark(&mut self) {
        let now_ms = self.model.now.mono_ms;
        let last = self.marks.last().map(|(_, model)| model.now.mono_ms);
        if last.is_none_or(|last| now_ms.saturating_sub(last) >= MARK_MS) {
            let mut model = self.model.clone();
            model.become_past();
            self.marks.push((self.told, Box::new(model)));
        }
    }

    /// Advances to the last tick at or before `mono_ms`.
    pub fn advance(&mut self, tape: &Tape, mono_ms: u64) {
        loop {
            if self.next.is_empty() && !self.read_on(tape) {
                return;
            }
            let Some(event) = self.next.front() else {
                return;
            };
            if matches!(event, Event::Ticked { now, .. } if now.mono_ms > mono_ms) {
                return;
            }
            if let Some(event) = self.next.pop_front() {
                self.told += 1;
                let ticked = matches!(event, Event::Ticked { .. });
                // Its effects were carried out at that time, or were not.
                let _ = self.model.update(event);
                if ticked {
                    self.mark();
                }
            }
        }
    }

    /// Reads the next events; returns true if there are any.
    fn read_on(&mut self, tape: &Tape) -> bool {
        self.next = tape.events(self.span, self.told).unwrap_or_default();
        if self.next.is_empty() && self.span + 1 < tape.dropped + tape.spans.len() {
            self.span += 1;
            self.told = 0;
            self.marks.clear();
            self.next = tape.events(self.span, 0).unwrap_or_default();
        }
        !self.next.is_empty()
    }
}
