//! The report of an incident: Markdown of one moment and its trouble, with the Overview and a chart as pictures beside it.
//!
//! It is made from a copy of the model in which statements have no literals, so nothing in it quotes data, and is written
//! by a thread of its own or by a command: nothing here runs on the loop but the copy.

mod actions;
mod chart;
mod files;
mod meaning;
mod panels;
mod text;

use super::event::Moment;
use super::model::{Model, Screen};
use super::tape::Trouble;
use super::theme::Theme;
use super::timeline::Timeline;
use super::view::picture;
use files::Files;
use std::path::PathBuf;

/// Seconds after which a danger that is no longer shown has ended: the cause line is made anew at least once per second.
const ENDED_S: f64 = 1.5;
/// Seconds before the moment, or before the trouble, that a report looks back on.
const BEFORE_S: f64 = 900.0;
/// Smallest and largest size of the Overview's picture, in columns and rows.
const SMALLEST: (u16, u16) = (80, 24);
const LARGEST: (u16, u16) = (240, 80);
/// Size of the picture if the terminal is smaller.
const USUAL: (u16, u16) = (120, 40);

/// Where reports are written, and what they read.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder of the reports; created if it is missing.
    pub folder: PathBuf,
    /// The audit file, for the actions.
    pub audit: PathBuf,
}

/// A moment to report.
pub struct Incident {
    model: Model,
    /// The trouble that lasts at this moment.
    trouble: Option<Trouble>,
    /// All troubles that are known, oldest first.
    troubles: Vec<Trouble>,
    /// The last moment that is known.
    last: Moment,
    origin: Origin,
}

/// Where the figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The server, at this moment.
    Live,
    /// The last hour of a dashboard.
    Past,
    /// A recording.
    Recording,
}

impl Incident {
    /// Copies the moment shown, or that of now if `past` is false.
    pub fn of(timeline: &Timeline, past: bool) -> Self {
        let shown = if past {
            timeline.shown()
        } else {
            timeline.main()
        };
        let model = shown.clone();
        let replayed = model.playback.map(|position| position.replay);
        let origin = match replayed {
            None => Origin::Live,
            Some(false) => Origin::Past,
            Some(true) => Origin::Recording,
        };
        let now = model.now;
        let lasts = |trouble: &&Trouble| trouble.at <= now && now.since(trouble.until) <= ENDED_S;
        let troubles: Vec<Trouble> = timeline.tape().troubles().cloned().collect();
        let ends = timeline.tape().ends();
        Self {
            trouble: troubles.iter().rev().find(lasts).cloned(),
            troubles,
            last: ends.map_or(now, |(_, last)| last.max(now)),
            origin,
            model,
        }
    }

    /// Writes the report and its pictures, and returns the path of the report, or a sentence that says what failed.
    pub fn write(mut self, place: &Place, theme: &Theme) -> Result<PathBuf, String> {
        self.prepare();
        let failed = |error: files::Failed| {
            format!(
                "{}: {}; set XDG_STATE_HOME to a folder that can be written",
                error.path.display(),
                error.why
            )
        };
        let mut files = Files::begin(&place.folder, self.model.now.epoch_ms).map_err(failed)?;
        let title = format!("{}, {}", self.model.start.target, self.time(self.model.now));
        let overview = picture::of(&self.model, theme, self.model.size, &title);
        let overview = files.add("overview.svg", overview.as_bytes());
        let overview = overview.map_err(failed)?;
        let chart = match chart::svg(&self.model, &title) {
            Some(svg) => Some(files.add("chart.svg", svg.as_bytes()).map_err(failed)?),
            None => None,
        };
        let text = self.text(place, &overview, chart.as_deref());
        files.end(text.as_bytes()).map_err(failed)
    }

    /// Removes from the model what belongs to the user's screen, and what must not be in a file.
    fn prepare(&mut self) {
        let model = &mut self.model;
        model.become_past();
        model.mask();
        model.screen = Screen::Overview;
        model.list_bars_of((BEFORE_S * 1000.0) as i64);
        for feed in &mut model.feeds {
            feed.cursor.filter = None;
            feed.arrange();
        }
        let (width, height) = model.size;
        model.size = if width < SMALLEST.0 || height < SMALLEST.1 {
            USUAL
        } else {
            (width.min(LARGEST.0), height.min(LARGEST.1))
        };
    }
}
