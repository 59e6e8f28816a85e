//! The first line: the target, the connection and its state.

use super::{beside, sides, whole};
use crate::config::GuardMode;
use crate::dashboard::model::{Link, Model, PlaybackPosition};
use crate::dashboard::rows::{Panel, Row, Rows, read};
use crate::dashboard::theme::{Role, Theme};
use crate::format;
use crate::pg::Protection;
use crate::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Maximum width of the target's name, in columns.
const TARGET: usize = 40;

/// The style of column heads, without the line that monochrome themes draw below those: here it would be below blanks, too.
fn plain(theme: &Theme) -> Style {
    theme
        .style(Role::Header)
        .remove_modifier(Modifier::UNDERLINED)
}

pub(super) fn draw(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let plain = plain(theme);
    let muted = theme.style(Role::Muted);
    let (word, role) = state_word(model);
    let offset = model.start.utc_offset_s;
    let clock = format::time_of_day(model.now.epoch_ms as f64 / 1000.0, offset);
    let interval = format::seconds(model.interval.as_secs_f64());
    let (guard, guard_role) = guard_word(model);
    let marked = model.mark_word();
    let marked = marked.map_or_else(String::new, |word| format!("{word}  "));
    let right = Line::from(vec![
        Span::styled(guard, theme.style(guard_role)),
        Span::styled(marked, muted),
        Span::styled(format!("{interval}  "), muted),
        Span::styled(word, theme.style(role)),
        Span::styled(format!("  {clock} {} ", format::utc_offset(offset)), plain),
    ]);
    let name = if model.start.demo { " demo" } else { "" };
    let target = text::cut(model.start.target.as_str(), TARGET);
    let colour = model.start.server.as_ref().and_then(|place| place.colour);
    let named = colour.map_or(plain, |colour| plain.fg(colour));
    let mut parts = vec![
        vec![
            Span::styled(" htap-top", theme.style(Role::Title)),
            Span::styled(name, muted),
        ],
        vec![Span::styled(format!("  {target}"), named)],
    ];
    if let Some((word, role)) = protection(model) {
        parts.push(vec![Span::styled(word, theme.style(role))]);
    }
    if matches!(&model.fast, Link::Live(peer) if peer.pooled) {
        parts.push(vec![Span::styled(
            " (through a pooler)",
            theme.style(Role::Warning),
        )]);
    }
    // What is wrong with it matters more than this server's version.
    let barred = model.olap_barred();
    if let Some(barred) = barred {
        let word = format!("  olap {}", barred.word());
        parts.push(vec![Span::styled(word, theme.style(Role::Danger))]);
    }
    parts.extend(
        server(model, theme)
            .into_iter()
            .map(|(text, style)| vec![Span::styled(text, style)]),
    );
    if let Some(olap) = &model.start.olap_target {
        let olap = text::cut(olap.as_str(), TARGET);
        parts.push(vec![Span::styled(format!("  olap {olap}"), plain)]);
    }
    if let Some(pooler) = &model.start.pooler {
        let pooler = text::cut(pooler.as_str(), TARGET);
        parts.push(vec![Span::styled(format!("  pooler {pooler}"), muted)]);
    }
    let left = whole(parts, beside(area, &right).saturating_sub(1));
    sides(area, buf, &left, &right);
}

/// Returns how well the connection to a remote server is protected.
fn protection(model: &Model) -> Option<(&'static str, Role)> {
    let Link::Live(peer) = &model.fast else {
        return None;
    };
    match peer.protection {
        Protection::Local => None,
        Protection::Verified => Some((" (TLS verified)", Role::Muted)),
        Protection::Unverified => Some((" (TLS unverified)", Role::Warning)),
        Protection::Plaintext => Some((" (plaintext)", Role::Warning)),
    }
}

/// Version, a standby's lag and uptime, the most important first.
fn server(model: &Model, theme: &Theme) -> Vec<(String, Style)> {
    let Some(facts) = &model.facts else {
        return Vec::new();
    };
    let facts = Rows::<read::Fact>::of(facts).first();
    let version = facts.server_version().shown();
    let version = version.split(' ').next().unwrap_or_default();
    let mut parts = vec![(format!("  PostgreSQL {version}"), plain(theme))];
    let counters = Rows::of(model.rows(Panel::Database)).first();
    if facts.in_recovery() == Some(true) {
        let lag = counters.replay_lag_s();
        let lag = lag.map_or_else(|| format::PENDING.into(), format::seconds);
        parts.push((format!("  standby, lag {lag}"), theme.style(Role::Warning)));
    }
    if let Some(up) = uptime(counters) {
        parts.push((
            format!("  up {}", format::seconds(up)),
            theme.style(Role::Muted),
        ));
    }
    parts
}

/// Seconds since the server started, by the server's clock.
fn uptime(counters: Row<'_, read::Counters>) -> Option<f64> {
    Some(counters.now_epoch()? - counters.postmaster_start()?)
}

/// The guard's mode, as shown in the header; empty if the guard is not in use.
fn guard_word(model: &Model) -> (&'static str, Role) {
    match model.guard_mode() {
        GuardMode::Off if model.guarding.off => ("guard off  ", Role::Muted),
        GuardMode::Off => ("", Role::Muted),
        GuardMode::DryRun => ("GUARD dry run  ", Role::Warning),
        GuardMode::Act if model.guarding.holding.is_some() => {
            ("GUARD holds refreshes  ", Role::Danger)
        }
        GuardMode::Act => ("GUARD acts  ", Role::Danger),
    }
}

/// `PAST -3m12s`, `REPLAY 12m of 1h00m ×4`.
fn then_word(then: &PlaybackPosition) -> String {
    let speed = match then.speed {
        Some(speed) => format!(" ×{speed}"),
        None => " held".into(),
    };
    if then.replay {
        let (at, of) = (
            format::seconds(then.since_first_s),
            format::seconds(then.whole_s),
        );
        format!("REPLAY {at} of {of}{speed}")
    } else {
        format!("PAST -{}{speed}", format::seconds(then.ago_s))
    }
}

fn state_word(model: &Model) -> (String, Role) {
    if let Some(then) = &model.playback {
        let mut word = then_word(then);
        if model.is_in_background() {
            word.push_str(", in the background");
        }
        return (word, Role::Warning);
    }
    match &model.fast {
        Link::Idle => ("connecting".into(), Role::Warning),
        Link::Lost {
            attempt,
            since,
            given_up: false,
            ..
        } => (
            format!(
                "lost {}, {}",
                format::seconds(model.now.since(*since)),
                super::connecting(*attempt)
            ),
            Role::Danger,
        ),
        Link::Lost { .. } => {
            let text = "not connected: {reconnect} tries again";
            (model.config.keys.fill(text), Role::Danger)
        }
        Link::Live(_) if model.paused => ("PAUSED".into(), Role::Warning),
        Link::Live(_) => {
            let silent = model.silent_s();
            if silent >= model.interval.as_secs_f64() * 0.9 {
                (
                    format!("silent for {}", format::seconds(silent)),
                    Role::Danger,
                )
            } else if model.lacks_facts() {
                ("live, facts missing".into(), Role::Warning)
            } else {
                ("live".into(), Role::Ok)
            }
        }
    }
}
