//! What the timeline shows: the load of each moment and the bars of its lanes, from the samples of other panels.

use super::{Model, Popup, SampleScope, Screen};
use crate::dashboard::diagnosis::{Gauge, Health};
use crate::dashboard::event::{Effect, Travel};
use crate::dashboard::lanes::{Bar, Lane};
use crate::dashboard::load::Load;
use crate::dashboard::rows::timeline::TimelineBar;
use crate::dashboard::rows::{Panel, Rows, added, read};
use crate::dashboard::trend::{SPANS_MS, span_ms};
use crate::pg::{Table, Value};
use std::cmp::Reverse;

/// The longest time that the timeline shows unless somebody chooses another, in milliseconds.
const USUAL_MS: u64 = 15 * 60_000;

impl Model {
    /// Time of the last tick, as bars have it.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.now.mono_ms).unwrap_or(i64::MAX)
    }

    /// The time that the timeline shows, in milliseconds: as chosen, else the shortest span that holds what is known.
    pub fn timeline_ms(&self) -> u64 {
        let known = || {
            let course = self.history.course.latest();
            let first = course.loads.first()?;
            u64::try_from(course.now_ms - first.at_ms).ok()
        };
        let usual = || span_ms(known().unwrap_or(0)).min(USUAL_MS);
        self.timeline.span_ms.unwrap_or_else(usual)
    }

    /// Takes in the sessions of a sample, and the latencies of the moment.
    pub(super) fn note_sessions(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.course.lanes);
        let views = self.feed_of(Panel::Views);
        let views_at = views.and_then(|feed| feed.sampling.at);
        let views_ms = views_at.map_or(0, |at| at.mono_ms as i64);
        let views = Rows::of(self.rows(Panel::Views));
        let rows = Rows::of(self.rows(Panel::Activity));
        lanes.backends(rows, (views, views_ms), now_ms);
        let oltp = &self.history.oltp;
        let figure = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        let is_olap = |gauge: &&Gauge| gauge.label == "olap";
        let slowest = self.gauges.iter().find(is_olap);
        // A point query that fails has no latency, so the line would stay calm without this.
        let failing = (oltp.failed > 0).then_some(self.config.targets.oltp_p99_ms * 2.0);
        let load = Load {
            p99_ms: figure(oltp.p99_ms).max(figure(failing)),
            tps: figure(oltp.tps),
            olap_ms: figure(slowest.and_then(|gauge| gauge.figure)),
            ..Load::of(rows, &oltp.working, now_ms)
        };
        let course = &mut self.history.course;
        course.lanes = lanes;
        course.loads.push(load);
        course.now_ms = now_ms;
        if let Some(id) = self.id_of(Panel::Timeline) {
            let now = self.now;
            if let Some(feed) = self.feed_mut(id) {
                feed.sampling.at = Some(now);
            }
            self.list_bars();
        }
    }

    /// Makes the rows of the timeline, if somebody looks at them.
    pub(super) fn list_bars(&mut self) {
        let Some(id) = self.id_of(Panel::Timeline) else {
            return;
        };
        let looked_at = match &self.scope {
            SampleScope::Screen => self.screen == Screen::Full(id),
            SampleScope::Background => false,
            SampleScope::These(ids) => ids.contains(&id),
        };
        if looked_at {
            let span_ms = i64::try_from(self.timeline_ms()).unwrap_or(i64::MAX);
            let table = self.bars(span_ms);
            self.put(id, table);
        }
    }

    /// Makes the rows of the timeline for a report, from this many milliseconds before now on.
    pub(in crate::dashboard) fn list_bars_of(&mut self, span_ms: i64) {
        if let Some(id) = self.id_of(Panel::Timeline) {
            let table = self.bars(span_ms);
            self.put(id, table);
        }
    }

    /// Returns a row for each bar of that long before now, the newest first.
    fn bars(&self, span_ms: i64) -> Table {
        let now_ms = self.now_ms();
        let from_ms = now_ms - span_ms;
        let mut bars: Vec<&Bar> = self.history.course.lanes.since(from_ms).collect();
        bars.sort_by_key(|bar| Reverse(bar.start_ms));
        let mut table = Table::default();
        let added = added::Bars::to(&mut table);
        for bar in bars {
            let began_ms = self.now.epoch_ms - (now_ms - bar.start_ms);
            let lasted_s = (bar.until_ms(now_ms) - bar.start_ms) as f64 / 1000.0;
            let class = bar.class.map_or(Value::Null, |class| class.name().into());
            let pid = (bar.pid > 0).then_some(bar.pid);
            let pid = pid.map_or(Value::Null, Value::Int);
            table.push([
                (added.lane, bar.lane.name().into()),
                (added.class, class),
                (added.began, Value::Float(began_ms as f64 / 1000.0)),
                (added.began_ms, Value::Int(began_ms)),
                (added.lasted_s, Value::Float(lasted_s)),
                (added.goes_on, Value::Bool(bar.end_ms.is_none())),
                (added.pid, pid),
                (added.name, Value::Text(bar.name.clone())),
            ]);
        }
        table
    }

    /// Opens the selected bar: the session or panel of what goes on, the moment of what has ended. Returns `None` if the
    /// row has no more to tell than its own detail.
    pub(super) fn open_bar(&mut self) -> Option<Vec<Effect>> {
        let feed = self.feed(self.focus)?;
        if feed.panel != Some(Panel::Timeline) {
            return None;
        }
        let bar = Rows::<TimelineBar>::of(&feed.table).at(feed.selected_row()?);
        if bar.goes_on() != Some(true) {
            let began_s = (bar.began_ms()? - self.now.epoch_ms) as f64 / 1000.0;
            let lasted_s = bar.lasted_s()?;
            // It ended between two samples, so that the last moments may not show it.
            let step_s = began_s + (lasted_s / 2.0).max(lasted_s - 1.0);
            return Some(vec![Effect::Travel(Travel::Step(step_s.ceil() as i64))]);
        }
        let pid = bar.pid();
        let lane = Lane::ALL
            .into_iter()
            .find(|lane| bar.lane().is(lane.name()));
        let panel = match lane? {
            Lane::Trouble => {
                self.popup = Some(Popup::Why { scroll: 0 });
                return Some(Vec::new());
            }
            Lane::Action => return None,
            Lane::Checkpoint => Panel::Wal,
            _ => Panel::Activity,
        };
        let id = self.id_of(panel)?;
        if panel == Panel::Activity {
            let feed = self.feed_mut(id)?;
            let sessions = Rows::<read::Backend>::of(&feed.table);
            let mut rows = feed.cursor.order.iter();
            let found = rows.position(|row| sessions.at(*row).pid() == pid)?;
            feed.select(found);
        }
        self.focus = id;
        self.show_page(Screen::Full(id));
        if panel == Panel::Activity {
            return Some(self.open_detail());
        }
        Some(self.sample_due())
    }

    /// Shows the next longer time on the timeline, or the shortest again.
    pub(super) fn widen_timeline(&mut self) {
        let shown = self.timeline_ms();
        let longer = SPANS_MS.into_iter().find(|span| *span > shown);
        let [shortest, ..] = SPANS_MS;
        self.timeline.span_ms = Some(longer.unwrap_or(shortest));
    }

    /// Splits the timeline's active sessions by class, or by what they wait for.
    pub(super) fn split_timeline(&mut self) {
        self.timeline.by_wait = !self.timeline.by_wait;
    }

    /// Takes in the views that are being refreshed.
    pub(super) fn note_refreshes(&mut self) {
        let mut lanes = std::mem::take(&mut self.history.course.lanes);
        lanes.views(Rows::of(self.rows(Panel::Views)));
        self.history.course.lanes = lanes;
    }

    /// Takes in the counters of checkpoints.
    pub(super) fn note_checkpoints(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.course.lanes);
        lanes.checkpoints(Rows::of(self.rows(Panel::Wal)).first(), now_ms);
        self.history.course.lanes = lanes;
    }

    /// Takes in what is judged a danger.
    pub(super) fn note_troubles(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.course.lanes);
        let danger = Health::Danger;
        let subject = |rule: &str| {
            let found = self.findings.iter().find(|finding| finding.rule == rule);
            found.map_or("", |finding| finding.subject.as_str())
        };
        let cause = &self.cause;
        // A missed target that no rule explains has no rule, but a label.
        let name = if cause.rule.is_empty() {
            cause.label
        } else {
            cause.rule
        };
        let about = |rule: &str| format!("{rule} {}", subject(rule));
        let first = (cause.health >= danger).then(|| (about(name), cause.sentence.as_str()));
        let others = self.findings.iter();
        let others = others.filter(|finding| finding.health >= danger && finding.rule != name);
        let others = others.map(|finding| (about(finding.rule), finding.sentence.as_str()));
        lanes.troubles(first.into_iter().chain(others), now_ms);
        self.history.course.lanes = lanes;
    }
}
