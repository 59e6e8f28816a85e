//! The last minute of a recording as text, for a report: the same lines without what may be somebody's own. It is a
//! recording again once it is compressed.

use super::{Header, RecordingError, begin, event};
use crate::dashboard::action;
use crate::dashboard::encoded::Encoded;
use crate::dashboard::event::{Event, Moment};
use crate::pg::sampler::Report;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// Window of an excerpt, milliseconds; if that is too long, the next of these.
const SPANS_MS: [u64; 3] = [60_000, 20_000, 5_000];
/// The longest excerpt, bytes: a file that can be attached to an issue.
const LONGEST: usize = 8 << 20;

/// The end of the recording `path`, as lines of JSON. Answers of feeds that `keep` does not know by name are left out;
/// literals in statements are masked, whether the recording masked them or not.
pub(crate) fn excerpt(path: &Path, keep: impl Fn(&str) -> bool) -> Result<String, RecordingError> {
    let (header, mut lines) = begin(path)?;
    let kept: Vec<bool> = header.feeds.iter().map(|name| keep(name)).collect();
    let mut end = End::default();
    // The rest of a file that is torn is not missed.
    while let Ok(Some(line)) = lines.next() {
        let Ok(event) = event(&line) else { break };
        if let Some(event) = harmless(event, &kept) {
            end.tell(event);
        }
    }
    let mut text = Vec::new();
    for span_ms in SPANS_MS {
        end.shorten(span_ms);
        text = end.text(&header)?;
        if text.len() <= LONGEST {
            break;
        }
    }
    if text.len() > LONGEST {
        let why = "its last seconds are too long for a report";
        return Err(std::io::Error::other(why).into());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The event without others' errors and rows, whose literals are masked when it is written; `None` if it does not belong in a report.
fn harmless(event: Event, kept: &[bool]) -> Option<Event> {
    let is_kept = |id: u16| kept.get(usize::from(id)).copied().unwrap_or(false);
    match event {
        Event::Reported(Report::Answered { id, .. }) if !is_kept(id) => None,
        Event::Reported(Report::Answered {
            id,
            took_ms,
            outcome: Err(error),
        }) => Some(Event::Reported(Report::Answered {
            id,
            took_ms,
            outcome: Err(action::masked(&error)),
        })),
        Event::Reported(Report::Lost {
            session,
            error,
            attempt,
            retry_in_ms,
        }) => Some(Event::Reported(Report::Lost {
            session,
            error: action::masked(&error),
            attempt,
            retry_in_ms,
        })),
        Event::Reported(_) | Event::Ticked { .. } | Event::CanaryTimed { .. } | Event::Paced(_) => {
            Some(event)
        }
        _ => None,
    }
}

/// The state at the beginning of a window, and the events in it.
#[derive(Default)]
struct End {
    now: Moment,
    tick: Option<Event>,
    paced: Option<Event>,
    sessions: BTreeMap<String, Event>,
    answers: BTreeMap<u16, Event>,
    window: VecDeque<(u64, Event)>,
}

impl End {
    fn tell(&mut self, event: Event) {
        if let Event::Ticked { now, .. } = &event {
            self.now = *now;
            self.shorten(SPANS_MS.into_iter().max().unwrap_or_default());
        }
        self.window.push_back((self.now.mono_ms, event));
    }

    /// Lets the window begin no earlier than `span_ms` before its end.
    fn shorten(&mut self, span_ms: u64) {
        let from = self.now.mono_ms.saturating_sub(span_ms);
        while self.window.front().is_some_and(|(at, _)| *at < from) {
            if let Some((_, event)) = self.window.pop_front() {
                self.settle(event);
            }
        }
    }

    fn settle(&mut self, event: Event) {
        match &event {
            Event::Ticked { .. } => self.tick = Some(event),
            Event::Paced(_) => self.paced = Some(event),
            Event::Reported(Report::Opened { session, .. }) => {
                self.sessions.insert(format!("{session:?}"), event);
            }
            Event::Reported(Report::Lost { session, .. }) => {
                self.sessions.remove(&format!("{session:?}"));
            }
            Event::Reported(Report::Answered {
                id, outcome: Ok(_), ..
            }) => {
                self.answers.insert(*id, event);
            }
            _ => {}
        }
    }

    fn text(&self, header: &Header) -> std::io::Result<Vec<u8>> {
        let header = Header {
            masked: true,
            ..header.clone()
        };
        let facts = header.feeds.iter().position(|name| name == "facts");
        let facts = facts.and_then(|id| self.answers.get(&u16::try_from(id).ok()?));
        let known = self.tick.iter().chain(&self.paced);
        let known = known.chain(self.sessions.values()).chain(facts);
        let known = known.chain(self.answers.values());
        let mut text = serde_json::to_vec(&header)?;
        text.push(b'\n');
        let events = known.chain(self.window.iter().map(|(_, event)| event));
        for line in events.filter_map(Encoded::of) {
            text.extend_from_slice(&line.masked());
        }
        Ok(text)
    }
}
