//! Notifications: when somebody is told that a danger has begun or ended.

use super::Model;
use crate::dashboard::diagnosis::Health;
use crate::dashboard::event::{Effect, Moment};
use crate::dashboard::notice::{News, Notice};
use crate::text::Clean;

/// Minimum number of seconds between two notifications.
const APART_S: f64 = 60.0;

/// What was told, and what is the case.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifying {
    /// The danger that was told and whose end was not.
    told: Option<(Moment, String)>,
    /// Time since which there has been a danger, or none.
    turned: Option<(bool, Moment)>,
    last: Option<Moment>,
}

impl Model {
    /// Returns the notification that is due, if any is wanted: a danger has begun, or the one that was told has ended.
    pub(super) fn notify(&mut self) -> Option<Effect> {
        if !self.guarding.armed || !self.config.notify.is_wanted() {
            return None;
        }
        let danger = self.danger();
        let now = self.now;
        let notifying = &mut self.memory.notifying;
        let turned = notifying.turned.filter(|(is, _)| *is == danger.is_some());
        let (_, since) = *notifying
            .turned
            .insert(turned.unwrap_or((danger.is_some(), now)));
        let too_soon = notifying.last.is_some_and(|last| now.since(last) < APART_S);
        let (news, began, sentence) = match (danger, &notifying.told) {
            _ if too_soon => return None,
            (Some(sentence), None) => {
                notifying.told = Some((since, sentence.clone()));
                (News::Begun, since, sentence)
            }
            (None, Some((began, sentence))) => {
                let told = (News::Ended(since.since(*began)), *began, sentence.clone());
                notifying.told = None;
                told
            }
            _ => return None,
        };
        notifying.last = Some(now);
        let ago_ms = now.mono_ms.saturating_sub(began.mono_ms) as i64;
        Some(Effect::Notify(Notice {
            news,
            server: self.start.target.clone(),
            sentence: Clean::from(sentence),
            since_epoch_ms: now.epoch_ms - ago_ms,
        }))
    }

    /// The sentence of the danger that there is.
    fn danger(&self) -> Option<String> {
        let unreachable = self.unreachable();
        unreachable.or_else(|| {
            let danger = self.cause.health == Health::Danger;
            danger.then(|| self.cause.sentence.clone())
        })
    }
}
