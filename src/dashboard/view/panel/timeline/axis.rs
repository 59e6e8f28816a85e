//! The axis of time: which column stands for which moment.

use crate::dashboard::load::{Load, Loads};
use crate::dashboard::model::Model;
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::{GUTTER, PARTS};
use crate::format;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Milliseconds for which a sample stands if none follows: two of those in the background.
const HOLDS_MS: i64 = 11_000;
/// Seconds between two labels.
const STEPS_S: [i64; 9] = [5, 10, 15, 30, 60, 120, 300, 600, 900];
/// Columns that a label needs.
const LABEL: f64 = 11.0;
/// The part of the width by which the axis moves at a time: in between, only the newest columns are written anew.
const MOVES: u16 = 12;

/// The time shown, in steps of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from_ms: i64,
    step_ms: f64,
    width: u16,
    /// The newest moment known.
    now_ms: i64,
    /// The moment looked at, in the past.
    cursor_ms: Option<i64>,
}

/// What a column shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    samples: f32,
    parts: [f32; PARTS],
    p99_ms: f32,
    tps: f32,
    olap_ms: f32,
}

impl Column {
    const NONE: Self = Self {
        samples: 0.0,
        parts: [0.0; PARTS],
        p99_ms: f32::NAN,
        tps: f32::NAN,
        olap_ms: f32::NAN,
    };

    /// Adds a sample: amounts are averaged, of latencies the worst counts.
    fn add(&mut self, load: &Load, by_wait: bool) {
        let amounts: &[u16] = if by_wait { &load.waits } else { &load.classes };
        for (part, amount) in self.parts.iter_mut().zip(amounts) {
            *part += f32::from(*amount);
        }
        self.samples += 1.0;
        // A number is greater than none.
        self.p99_ms = self.p99_ms.max(load.p99_ms);
        self.olap_ms = self.olap_ms.max(load.olap_ms);
        self.tps = self.tps.max(load.tps);
    }

    /// The mean amounts; `None` without a sample.
    pub(super) fn parts(&self) -> Option<[f32; PARTS]> {
        (self.samples > 0.0).then(|| self.parts.map(|part| part / self.samples))
    }

    /// The figure of this name; NaN without one.
    pub(super) fn figure(&self, name: &str) -> f64 {
        f64::from(match name {
            "p99" => self.p99_ms,
            "olap" => self.olap_ms,
            _ => self.tps,
        })
    }
}

impl Axis {
    /// The time up to the newest moment known, in `width` columns; in the past, the page of that size with the moment
    /// looked at.
    pub(super) fn of(model: &Model, width: u16) -> Self {
        let span_ms = i64::try_from(model.timeline_ms()).unwrap_or(i64::MAX);
        let step_ms = span_ms as f64 / f64::from(width.max(1));
        let shown_ms = model.now_ms();
        let newest_ms = shown_ms.max(model.history.course.latest().now_ms);
        // Whole steps: a column keeps its samples while time goes on. What is to come has some columns at the right.
        let move_ms = step_ms * f64::from((width / MOVES).max(1));
        let end_ms = (newest_ms as f64 / move_ms).ceil() * move_ms;
        let pages = (newest_ms - shown_ms) / span_ms;
        let end_ms = end_ms - (pages * span_ms) as f64;
        Self {
            from_ms: (end_ms - step_ms * f64::from(width)) as i64,
            step_ms,
            width,
            now_ms: newest_ms,
            cursor_ms: model.playback.map(|_| shown_ms),
        }
    }

    pub(super) fn begins_ms(&self) -> i64 {
        self.from_ms
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The column of a moment, which may lie beside the plot.
    fn at(&self, ms: i64) -> i64 {
        ((ms - self.from_ms) as f64 / self.step_ms).floor() as i64
    }

    /// The first and the last column of some time, as far as it is shown.
    pub(super) fn span(&self, start_ms: i64, end_ms: i64) -> Option<(u16, u16)> {
        let last = i64::from(self.width) - 1;
        let (from, to) = (self.at(start_ms), self.at(end_ms));
        if to < 0 || from > last {
            return None;
        }
        let column = |at: i64| at.clamp(0, last) as u16;
        Some((column(from), column(to)))
    }

    /// The column of the moment looked at.
    pub(super) fn cursor(&self) -> Option<u16> {
        let (column, _) = self.span(self.cursor_ms?, self.cursor_ms?)?;
        Some(column)
    }

    /// Sums up the samples of each column.
    pub(super) fn columns(&self, loads: &Loads, by_wait: bool) -> Vec<Column> {
        let mut columns = vec![Column::NONE; usize::from(self.width)];
        let mut before: Option<Load> = None;
        let mut hold = |before: Option<Load>, until_ms: i64| {
            let Some(load) = before.filter(|load| until_ms - load.at_ms <= HOLDS_MS) else {
                return;
            };
            for at in self.at(load.at_ms) + 1..self.at(until_ms) {
                let column = usize::try_from(at).ok().and_then(|at| columns.get_mut(at));
                if let Some(column) = column {
                    column.add(&load, by_wait);
                }
            }
        };
        for load in loads.since(self.from_ms - HOLDS_MS) {
            hold(before, load.at_ms);
            before = Some(load);
        }
        hold(before, self.now_ms);
        for load in loads.since(self.from_ms) {
            let at = usize::try_from(self.at(load.at_ms)).ok();
            if let Some(column) = at.and_then(|at| columns.get_mut(at)) {
                column.add(&load, by_wait);
            }
        }
        columns
    }

    /// Draws the line and the times of day below it.
    pub(super) fn draw(&self, model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
        let line = theme.style(Role::Border);
        let muted = theme.style(Role::Muted);
        let x = area.x + GUTTER;
        if area.height > 1 {
            crate::dashboard::view::line(
                Rect {
                    x: x - 1,
                    width: self.width + 1,
                    height: 1,
                    ..area
                },
                buf,
                &format!("┴{}", "─".repeat(usize::from(self.width))),
                line,
            );
        }
        let y = area.bottom().saturating_sub(1);
        let wanted_s = self.step_ms / 1000.0 * LABEL;
        let step_s = STEPS_S.into_iter().find(|step| *step as f64 >= wanted_s);
        let step_s = step_s.unwrap_or(1_800);
        let epoch_s = (model.now.epoch_ms - model.now.mono_ms as i64) as f64 / 1000.0;
        let first_s = (self.from_ms as f64 / 1000.0 + epoch_s) as i64;
        let end_ms = self.from_ms + (self.step_ms * f64::from(self.width)) as i64;
        let mut tick_s = first_s - first_s.rem_euclid(step_s) + step_s;
        loop {
            let ms = ((tick_s as f64 - epoch_s) * 1000.0) as i64;
            if ms >= end_ms {
                break;
            }
            let text = format::time_of_day(tick_s as f64, model.start.utc_offset_s);
            let text = if step_s % 60 == 0 {
                text.get(..5).unwrap_or(&text)
            } else {
                &text
            };
            if let Some((column, _)) = self.span(ms, ms)
                && column + text.len() as u16 <= self.width
            {
                buf.set_string(x + column, y, text, muted);
                if area.height > 1 {
                    buf.set_string(x + column, area.y, "┬", line);
                }
            }
            tick_s += step_s;
        }
        if let Some(column) = self.cursor() {
            let time =
                format::time_of_day(model.now.epoch_ms as f64 / 1000.0, model.start.utc_offset_s);
            let text = format!("▲{time}");
            let at = column.min(self.width.saturating_sub(9));
            buf.set_stringn(x + at, y, &text, 9, theme.style(Role::Key));
        }
    }
}
