//! Writes reports of incidents, each on a thread of its own, so that neither the disk nor the drawing of a picture delays
//! a key.

use crate::dashboard::event::Event;
use crate::dashboard::incident::{Incident, Place};
use crate::dashboard::theme::Theme;
use crate::format;
use crate::text::Clean;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::timeout;

/// Maximum number of reports that wait for the disk.
const WAITING: usize = 2;
/// Maximum wait for the disk at the end.
const END: Duration = Duration::from_secs(3);

/// Starts the threads that write reports.
pub(super) struct Reporter {
    place: Arc<Place>,
    themes: Vec<Theme>,
    /// Number of reports in progress.
    waiting: watch::Sender<usize>,
    tell: Sender<(usize, Event)>,
}

impl Reporter {
    /// Returns a reporter; `tell` gets each result with the number of its server.
    pub(super) fn new(place: Place, themes: Vec<Theme>, tell: Sender<(usize, Event)>) -> Self {
        Self {
            place: Arc::new(place),
            themes,
            waiting: watch::Sender::new(0),
            tell,
        }
    }

    /// Writes a report without waiting for it. `theme` is the number of the one on the screen.
    pub(super) fn write(&self, server: usize, incident: Incident, theme: usize) {
        if *self.waiting.borrow() >= WAITING {
            let why = format!("{WAITING} others wait for the disk");
            self.refuse(server, &why);
            return;
        }
        let theme = self.themes.get(theme).or(self.themes.first());
        let theme = theme.cloned().unwrap_or_default();
        self.waiting.send_modify(|waiting| *waiting += 1);
        let (place, tell) = (Arc::clone(&self.place), self.tell.clone());
        let waiting = self.waiting.clone();
        let thread = std::thread::Builder::new().name("report".into());
        let begun = thread.spawn(move || {
            let outcome = incident.write(&place, &theme);
            let outcome = outcome.map(|path| path.display().to_string());
            let outcome = outcome.map(Clean::from).map_err(Clean::from);
            waiting.send_modify(|waiting| *waiting -= 1);
            // The program may have ended.
            let _ = tell.blocking_send((server, Event::ReportWritten(outcome)));
        });
        if let Err(error) = begun {
            self.waiting.send_modify(|waiting| *waiting -= 1);
            self.refuse(server, &error.to_string());
        }
    }

    fn refuse(&self, server: usize, why: &str) {
        let refused = Event::ReportWritten(Err(Clean::from(why)));
        let _ = self.tell.try_send((server, refused));
    }

    /// Waits until all reports are written, at most [`END`]. Returns a sentence about those that are not.
    pub(super) async fn end(self) -> Option<String> {
        let mut waiting = self.waiting.subscribe();
        let ended = timeout(END, waiting.wait_for(|waiting| *waiting == 0)).await;
        ended.is_err().then(|| {
            format!(
                "a report may be missing in {}: the disk did not accept it within {}",
                self.place.folder.display(),
                format::seconds(END.as_secs_f64())
            )
        })
    }
}
