//! What the timeline shows: the load of each moment and the bars of its lanes, from the samples of other panels.

use super::{Model, SampleScope, Screen};
use crate::dashboard::diagnosis::Health;
use crate::dashboard::lanes::Bar;
use crate::dashboard::load::Load;
use crate::dashboard::rows::{Panel, Rows, added};
use crate::pg::{Table, Value};
use std::cmp::Reverse;

/// Minutes that the timeline can show.
const SPANS: [u16; 3] = [2, 15, 60];

impl Model {
    /// Time of the last tick, as bars have it.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.now.mono_ms).unwrap_or(i64::MAX)
    }

    /// Takes in the sessions of a sample, and the latencies of the moment.
    pub(super) fn note_sessions(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.lanes);
        let views = self.feed_of(Panel::Views);
        let views_at = views.and_then(|feed| feed.sampling.at);
        let views_ms = views_at.map_or(0, |at| at.mono_ms as i64);
        let views = Rows::of(self.rows(Panel::Views));
        let rows = Rows::of(self.rows(Panel::Activity));
        lanes.backends(rows, (views, views_ms), now_ms);
        let olap = self.gauges.iter().find(|gauge| gauge.label == "olap");
        let mut load = Load::of(rows, &self.history.oltp, now_ms);
        load.olap_ms = olap.and_then(|gauge| gauge.figure).unwrap_or(f64::NAN) as f32;
        self.history.lanes = lanes;
        self.history.loads.push(load);
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
            let table = self.bars();
            self.put(id, table);
        }
    }

    /// Returns a row for each bar of the time shown, the newest first.
    fn bars(&self) -> Table {
        let now_ms = self.now_ms();
        let from_ms = now_ms - self.timeline.millis();
        let mut bars: Vec<&Bar> = self.history.lanes.since(from_ms).collect();
        bars.sort_by_key(|bar| Reverse(bar.start_ms));
        let mut table = Table::default();
        let added = added::Bars::to(&mut table);
        for bar in bars {
            let ago_s = (now_ms - bar.start_ms) as f64 / 1000.0;
            let lasted_s = (bar.until_ms(now_ms) - bar.start_ms) as f64 / 1000.0;
            let class = bar.class.map_or(Value::Null, |class| class.name().into());
            let pid = (bar.pid > 0).then_some(bar.pid);
            let pid = pid.map_or(Value::Null, Value::Int);
            table.push([
                (added.lane, bar.lane.name().into()),
                (added.class, class),
                (
                    added.began,
                    Value::Float(self.now.epoch_ms as f64 / 1000.0 - ago_s),
                ),
                (added.lasted_s, Value::Float(lasted_s)),
                (added.goes_on, Value::Bool(bar.end_ms.is_none())),
                (added.pid, pid),
                (added.name, Value::Text(bar.name.clone())),
            ]);
        }
        table
    }

    /// Shows the next longer time on the timeline, or the shortest again.
    pub(super) fn widen_timeline(&mut self) {
        let minutes = &mut self.timeline.minutes;
        let longer = SPANS.iter().find(|span| *span > minutes);
        *minutes = longer.or(SPANS.first()).copied().unwrap_or(*minutes);
    }

    /// Splits the timeline's active sessions by class, or by what they wait for.
    pub(super) fn split_timeline(&mut self) {
        self.timeline.by_wait = !self.timeline.by_wait;
    }

    /// Takes in the views that are being refreshed.
    pub(super) fn note_refreshes(&mut self) {
        let mut lanes = std::mem::take(&mut self.history.lanes);
        lanes.views(Rows::of(self.rows(Panel::Views)));
        self.history.lanes = lanes;
    }

    /// Takes in the counters of checkpoints.
    pub(super) fn note_checkpoints(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.lanes);
        lanes.checkpoints(Rows::of(self.rows(Panel::Wal)).first(), now_ms);
        self.history.lanes = lanes;
    }

    /// Takes in what is judged a danger.
    pub(super) fn note_troubles(&mut self) {
        let now_ms = self.now_ms();
        let mut lanes = std::mem::take(&mut self.history.lanes);
        let found = self.findings.iter();
        let found = found.filter(|finding| finding.health >= Health::Danger);
        let found = found.map(|finding| {
            let about = format!("{} {}", finding.rule, finding.subject);
            (about, finding.sentence.as_str())
        });
        // A missed target that no rule explains.
        let cause = &self.cause;
        let bare = cause.health >= Health::Danger && cause.rule.is_empty();
        let bare = bare.then(|| (cause.label.to_string(), cause.sentence.as_str()));
        lanes.troubles(found.chain(bare), now_ms);
        self.history.lanes = lanes;
    }
}
