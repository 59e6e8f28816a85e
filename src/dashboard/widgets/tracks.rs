//! Bars from their start to their end, in lanes on a common axis of time.

use super::stack::{GUTTER, pattern};
use super::{clip, columns_of, put, set};
use crate::config::Charts;
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Rows that the bars of one lane take at most.
const MOST_ROWS: usize = 4;
/// Columns of a name that are worth showing.
const NAMED: u16 = 5;

/// A bar: columns of the plot, the last one included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Track<'a> {
    /// First column.
    pub from: u16,
    /// Last column.
    pub to: u16,
    /// Its name.
    pub name: &'a str,
    /// Role of its colour.
    pub role: Role,
    /// Its pattern, as of the parts of a stack.
    pub part: usize,
    /// True if it is selected.
    pub selected: bool,
}

/// The bars of one kind.
#[derive(Clone, Debug)]
pub(crate) struct TrackLane<'a> {
    /// Label.
    pub label: &'a str,
    /// Sign of a moment, instead of a pattern.
    pub mark: Option<&'a str>,
    /// The bars, by their first columns.
    pub tracks: Vec<Track<'a>>,
}

/// Lanes of bars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracks<'a> {
    /// The lanes, the most important first.
    pub lanes: &'a [TrackLane<'a>],
    /// Characters to draw with.
    pub charts: Charts,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Tracks<'_> {
    /// Draws the lanes, as many as there is room for, and returns the rows taken.
    pub(crate) fn render(&self, area: Rect, buf: &mut Buffer) -> u16 {
        let area = clip(area, buf);
        if area.width <= GUTTER {
            return 0;
        }
        let lanes = self.lanes.get(..usize::from(area.height));
        let lanes = lanes.unwrap_or(self.lanes);
        let mut rows = vec![1; lanes.len()];
        let mut spare = usize::from(area.height).saturating_sub(lanes.len());
        // A second row for each that needs it before a third for any.
        for more in 1..MOST_ROWS {
            for (lane, rows) in lanes.iter().zip(&mut rows) {
                if spare > 0 && *rows == more && placed(&lane.tracks, more).1 {
                    *rows += 1;
                    spare -= 1;
                }
            }
        }
        let mut y = area.y;
        for (lane, rows) in lanes.iter().zip(rows) {
            self.lane(
                lane,
                rows,
                Rect {
                    y,
                    height: rows as u16,
                    ..area
                },
                buf,
            );
            y += rows as u16;
        }
        // The axis goes on where nothing does.
        let border = self.theme.style(Role::Border);
        for y in y..area.bottom() {
            set(buf, area.x + GUTTER - 1, y, "│", border);
        }
        y - area.y
    }

    fn lane(&self, lane: &TrackLane<'_>, rows: usize, area: Rect, buf: &mut Buffer) {
        let title = self.theme.style(Role::Title);
        put(buf, area.x, area.y, GUTTER - 1, lane.label, title);
        let border = self.theme.style(Role::Border);
        for y in area.y..area.bottom() {
            set(buf, area.x + GUTTER - 1, y, "│", border);
        }
        let plot = Rect {
            x: area.x + GUTTER,
            width: area.width - GUTTER,
            ..area
        };
        let (places, _) = placed(&lane.tracks, rows);
        for (track, row) in lane.tracks.iter().zip(&places) {
            self.bar(track, lane.mark, plot, plot.y + *row as u16, buf);
        }
        // Names last: a bar that shares a row must not cover another's.
        let mut free = vec![0; rows];
        for (at, (track, row)) in lane.tracks.iter().zip(&places).enumerate() {
            let later = lane.tracks.iter().zip(&places).skip(at + 1);
            let next = later
                .filter(|(_, other)| *other == row)
                .map(|(next, _)| next.from);
            let end = next.min().unwrap_or(plot.width).min(plot.width);
            if let Some(free) = free.get_mut(*row) {
                let y = plot.y + *row as u16;
                *free = self.name(track, lane.mark, (*free, end), Rect { y, ..plot }, buf);
            }
        }
    }

    fn style(&self, track: &Track<'_>) -> Style {
        let style = self.theme.style(track.role);
        if track.selected {
            style.patch(self.theme.style(Role::Selection))
        } else {
            style
        }
    }

    fn bar(&self, track: &Track<'_>, mark: Option<&str>, plot: Rect, y: u16, buf: &mut Buffer) {
        let style = self.style(track);
        let fill = match (mark, self.charts) {
            (None, charts) => pattern(track.part, charts),
            (Some(_), Charts::Ascii) => "-",
            (Some(_), _) => "─",
        };
        for column in track.from..=track.to.min(plot.width.saturating_sub(1)) {
            let first = mark.filter(|_| column == track.from);
            set(buf, plot.x + column, y, first.unwrap_or(fill), style);
        }
    }

    /// Writes the name into the bar if it fits, else behind or before it if nothing is there: columns from `free` to
    /// `end`. Returns the first column that is free after it.
    fn name(
        &self,
        track: &Track<'_>,
        mark: Option<&str>,
        (free, end): (u16, u16),
        plot: Rect,
        buf: &mut Buffer,
    ) -> u16 {
        let style = self.style(track);
        let wide = columns_of(track.name);
        let inside = (track.to.min(end.saturating_sub(1)) + 1).saturating_sub(track.from + 2);
        // The sentence of a mark may cover its line: it is what matters, not how long it went on.
        let from = mark.map_or(track.to, |_| track.from) + 2;
        // A blank before the next bar, whose name it could be taken for.
        let gap = u16::from(mark.is_some() || end < plot.width);
        let behind = end.saturating_sub(from + gap);
        let before = track.from.saturating_sub(free + 1);
        let needed = mark.map_or(wide.min(NAMED + 3), |_| NAMED * 2);
        let mut put =
            |column: u16, room, style| put(buf, plot.x + column, plot.y, room, track.name, style);
        let outside = behind.max(before);
        let joint =
            if mark.is_none() && (inside >= wide || (inside >= NAMED + 3 && inside >= outside)) {
                put(
                    track.from + 1,
                    inside,
                    style.add_modifier(Modifier::REVERSED),
                );
                return track.to + 1;
            } else if behind >= needed && (behind >= wide || behind >= before) {
                put(from, behind, style);
                from - 1
            } else if before >= needed {
                let width = wide.min(before);
                put(track.from - 1 - width, width, style);
                track.from - 1
            } else {
                return track.to + 1;
            };
        // It joins the name and the bar.
        let symbol = if self.charts == Charts::Ascii {
            "-"
        } else {
            "─"
        };
        set(buf, plot.x + joint, plot.y, symbol, style);
        if joint < track.from {
            track.to + 1
        } else {
            (from + wide.min(behind) + 1).max(track.to + 1)
        }
    }
}

/// Returns the row of each bar, and true if some had to share one.
fn placed(tracks: &[Track<'_>], rows: usize) -> (Vec<usize>, bool) {
    let mut taken: Vec<Option<u16>> = vec![None; rows.max(1)];
    let mut shared = false;
    let mut places = Vec::with_capacity(tracks.len());
    for track in tracks {
        let free = |to: &Option<u16>| to.is_none_or(|to| to < track.from);
        let row = taken.iter().position(free).unwrap_or_else(|| {
            shared = true;
            rows.max(1) - 1
        });
        if let Some(to) = taken.get_mut(row) {
            *to = Some(to.unwrap_or(0).max(track.to));
        }
        places.push(row);
    }
    (places, shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_that_overlap_take_further_rows_and_share_the_last() {
        let track = |from, to| Track {
            from,
            to,
            name: "",
            role: Role::Chart,
            part: 0,
            selected: false,
        };
        let tracks = [track(0, 5), track(3, 4), track(4, 9), track(6, 7)];
        assert_eq!(placed(&tracks, 1), (vec![0, 0, 0, 0], true));
        assert_eq!(placed(&tracks, 2), (vec![0, 1, 1, 0], true));
        assert_eq!(placed(&tracks, 3), (vec![0, 1, 2, 0], false));
    }

    fn drawn(width: u16, mark: Option<&str>, tracks: &[Track<'static>]) -> String {
        let lane = TrackLane {
            label: "",
            mark,
            tracks: tracks.to_vec(),
        };
        let area = Rect::new(0, 0, GUTTER + width, 1);
        let mut buf = Buffer::empty(area);
        let theme = Theme::default();
        Tracks {
            lanes: &[lane],
            charts: Charts::Ascii,
            theme: &theme,
        }
        .render(area, &mut buf);
        let cells = buf.content.iter().skip(usize::from(GUTTER));
        cells.map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn a_name_is_joined_to_its_bar_and_keeps_away_from_the_next() {
        let bar = |from, name| Track {
            from,
            to: from + 1,
            name,
            role: Role::Chart,
            part: 0,
            selected: false,
        };
        let bars = [
            bar(2, "backup of the shop"),
            bar(20, "report"),
            bar(37, "sync"),
        ];
        assert_eq!(
            drawn(40, None, &bars),
            "  ##-backup of the… ##-report   sync-## "
        );
    }

    #[test]
    fn the_sentence_of_a_mark_at_the_edge_stands_before_it() {
        let mark = |from, name| Track {
            from,
            to: from,
            name,
            role: Role::Danger,
            part: 0,
            selected: false,
        };
        let width = 40;
        let drawn = |tracks: &[Track<'static>]| drawn(width, Some("!"), tracks);
        let first = mark(2, "waits");
        let last = mark(36, "archiving fails");
        assert_eq!(drawn(&[first]), format!("{:40}", "  !-waits"));
        assert_eq!(drawn(&[last]), format!("{:>36}!   ", "archiving fails-"));
        assert_eq!(
            drawn(&[first, last]),
            format!("  !-waits{:>27}!   ", "archiving fails-")
        );
        // What is there already is not covered.
        let long = mark(2, "a long sentence that needs room");
        assert_eq!(
            drawn(&[long, last]),
            format!("{:36}!   ", "  !-a long sentence that needs room")
        );
    }
}
