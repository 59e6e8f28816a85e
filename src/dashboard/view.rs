//! Drawing of the screen: reads the model and writes cells, never changes the model.

mod chooser;
mod dense;
mod header;
mod panel;
pub(crate) mod picture;
mod tabs;

pub use panel::{COLUMN_STORE, placeholder};

use super::action::{Grade, WRITING_AUDIT};
use super::diagnosis::{Cause, Health};
use super::model::layout::{self, MIN_SIZE};
use super::model::popups;
use super::model::{Link, Model, Popup, Running, Screen};
use super::theme::{Role, Theme};
use super::widgets::{self, Sign, Strip, StripItem};
use crate::format;
use crate::keys::{Command, Keymap};
use crate::text::{self, Clean};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

/// Draws one frame.
pub fn view(model: &Model, theme: &Theme, frame: &mut Frame<'_>) {
    draw(model, theme, frame.buffer_mut());
}

/// Draws the screen into an empty `buf`.
pub fn draw(model: &Model, theme: &Theme, buf: &mut Buffer) {
    let area = buf.area;
    let base = theme.base();
    for cell in &mut buf.content {
        cell.set_style(base);
    }
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let text = format!(
            "needs {}x{}, has {}x{}",
            MIN_SIZE.0, MIN_SIZE.1, area.width, area.height
        );
        if !area.is_empty() {
            let style = theme.style(Role::Warning);
            buf.set_stringn(area.x, area.y, text, usize::from(area.width), style);
        }
        return;
    }
    let regions = layout::regions(model);
    tabs::draw(model, theme, regions.tabs, buf);
    header::draw(model, theme, regions.header, buf);
    strip(model, theme, regions.strip, buf);
    cause(model, theme, regions.cause, buf);
    for (id, place) in &regions.panels {
        if let Some(feed) = model.feed(*id) {
            let focused = model.focus == *id;
            if regions.dense {
                dense::draw(model, theme, feed, focused, *place, buf);
            } else {
                let full = matches!(model.screen, Screen::Full(_));
                panel::draw(model, theme, feed, focused, full, *place, buf);
            }
        }
    }
    if regions.panels.is_empty() {
        let body = Rect {
            y: regions.cause.bottom() + 1,
            height: 1,
            ..area
        };
        line(
            body,
            buf,
            "no further panels: to add one, put a file such as my_panel.sql into queries/ of the configuration folder",
            theme.style(Role::Muted),
        );
    }
    footer(model, theme, regions.footer, buf);
    if let Some((title, entries)) = popups::content(model) {
        let scroll = model.popup.as_ref().and_then(Popup::scroll).unwrap_or(0);
        let popup = widgets::Popup {
            title: &title,
            entries: &entries,
            scroll,
            max_width: 110,
            theme,
        };
        let scroll = scroll.min(popup.max_scroll(area));
        widgets::Popup { scroll, ..popup }.render(area, buf);
    }
    chooser::draw(model, theme, buf);
}

/// Draws the start screen of the demo: the engine's progress before there is any data.
pub fn starting(
    (share, doing, elapsed_s): &(f64, Clean, f64),
    keys: &Keymap,
    theme: &Theme,
    buf: &mut Buffer,
) {
    let area = buf.area;
    buf.set_style(area, theme.base());
    let width = area.width.saturating_sub(8).min(60);
    let x = area.x + (area.width - width) / 2;
    let top = area.height.saturating_sub(7) / 2;
    let filled = (share.clamp(0.0, 1.0) * f64::from(width)).round() as usize;
    let bar = format!(
        "{}{}",
        "█".repeat(filled),
        "░".repeat(usize::from(width) - filled)
    );
    let lines = [
        ("htap-top demo".to_owned(), Role::Title),
        (
            "a throw-away PostgreSQL with a shop in it, under mixed load".to_owned(),
            Role::Muted,
        ),
        (String::new(), Role::Text),
        (bar, Role::Chart),
        (format!("{elapsed_s:.1} s  {doing}"), Role::Text),
        (String::new(), Role::Text),
        (
            keys.fill("{quit} ends it and leaves nothing behind"),
            Role::Muted,
        ),
    ];
    for (y, (text, role)) in (top..area.bottom()).zip(lines) {
        let place = Rect {
            x,
            y,
            width,
            height: 1,
        };
        line(place, buf, &text, theme.style(role));
    }
}

/// Returns `connecting (3)`, or `connecting` before an attempt has failed.
fn connecting(attempt: u32) -> String {
    if attempt == 0 {
        "connecting".into()
    } else {
        format!("connecting ({attempt})")
    }
}

/// Returns why a session that is lost is not connected.
fn unconnected(link: &Link) -> String {
    match link {
        Link::Lost { error, .. } => format!(", not connected: {error}"),
        Link::Idle | Link::Live(_) => ", no answer".into(),
    }
}

/// Writes `text`, cut to the width of `area`.
fn line(area: Rect, buf: &mut Buffer, text: &str, style: Style) {
    if area.height > 0 {
        buf.set_stringn(
            area.x,
            area.y,
            text::cut(text, usize::from(area.width)),
            usize::from(area.width),
            style,
        );
    }
}

/// Writes figures separated by two blanks, as many as fit whole: half a number would be a wrong one.
fn figures(area: Rect, buf: &mut Buffer, parts: &[String], style: Style) {
    let mut text = String::new();
    for part in parts {
        let gap = if text.is_empty() { "" } else { "  " };
        if text::width(&text) + gap.len() + text::width(part) > usize::from(area.width) {
            break;
        }
        text.push_str(gap);
        text.push_str(part);
    }
    line(area, buf, &text, style);
}

/// Writes `left` and a right-aligned `right` on one line; `left` is shortened if both do not fit.
fn sides(area: Rect, buf: &mut Buffer, left: &Line<'_>, right: &Line<'_>) {
    let right_width = (right.width() as u16).min(area.width);
    buf.set_line(area.x, area.y, left, beside(area, right));
    buf.set_line(area.right() - right_width, area.y, right, right_width);
}

/// Columns left on a line beside its right part.
fn beside(area: Rect, right: &Line<'_>) -> u16 {
    let taken = (right.width() as u16).min(area.width);
    area.width.saturating_sub(taken + u16::from(taken > 0))
}

/// Returns as many of `parts` as fit whole into `room` columns, in their order: half a word is worse than
/// none.
fn whole<'a>(parts: impl IntoIterator<Item = Vec<Span<'a>>>, room: u16) -> Line<'a> {
    let mut line = Line::default();
    for part in parts {
        let width: usize = part.iter().map(Span::width).sum();
        if line.width() + width > usize::from(room) {
            break;
        }
        line.spans.extend(part);
    }
    line
}

fn sign(health: Health) -> Sign {
    match health {
        Health::Unknown => Sign::Unknown,
        Health::Good => Sign::Ok,
        Health::Warning => Sign::Warning,
        Health::Danger => Sign::Danger,
    }
}

fn strip(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let items: Vec<StripItem> = model
        .gauges
        .iter()
        .map(|gauge| StripItem {
            sign: sign(gauge.health),
            label: gauge.label.to_owned(),
            value: gauge.value.clone(),
            target: (!gauge.target.is_empty()).then(|| gauge.target.clone()),
        })
        .collect();
    let inner = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(2),
        ..area
    };
    Strip {
        items: &items,
        theme,
    }
    .render(inner, buf);
    if !model.fast.usable() || model.silent_s() >= model.interval.as_secs_f64() * 0.9 {
        widgets::grey(area, buf, theme);
    }
}

fn cause(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let inner = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(2),
        ..area
    };
    if let (
        Link::Lost {
            error, given_up, ..
        },
        Some(sentence),
    ) = (&model.fast, model.unreachable())
    {
        let hint = error
            .hint
            .as_ref()
            .map(|hint| format!(" — {hint}"))
            .unwrap_or_default();
        let ends = if *given_up {
            model.config.keys.fill("; fix it, then press {reconnect}")
        } else {
            "; trying again".to_owned()
        };
        line(
            inner,
            buf,
            &format!("✖ {sentence}{hint}{ends}"),
            theme.style(Role::Danger),
        );
        return;
    }
    // The sessions named by an old cause may be gone.
    if let Some(silent) = model.silence_s() {
        let text = format!(
            "✖ the server has not answered for {}: all figures are older",
            format::seconds(silent)
        );
        line(inner, buf, &text, theme.style(Role::Danger));
        return;
    }
    let sign = sign(model.cause.health);
    let role = if model.cause.health == Health::Good {
        Role::Muted
    } else {
        sign.role()
    };
    let Cause { sentence, cure, .. } = &model.cause;
    let others = match model.cause.more {
        // The start of the sentence, which names the session, must stay readable.
        more @ 1.. if area.width < 100 => format!("+{more}"),
        _ => model.cause.others(),
    };
    let width = usize::from(inner.width);
    let room = |cure: &str| width.saturating_sub(text::width(cure) + 4 + others.len());
    let why = model.config.keys.shown(Command::Why);
    // A narrow screen has no room for a second key beside the sentence.
    let second = model.cause.health >= Health::Warning && area.width >= 100;
    let words = [cure.clone(), format!("{why} why")];
    let words = words.into_iter().take(if second { 2 } else { 1 });
    let whole = words.filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let whole = whole.join("   ");
    // The sentence comes first: a long cure that would cut it is replaced by the key that shows it.
    let cure = if text::width(sentence) <= room(&whole) || text::width(cure) <= width / 5 {
        whole
    } else {
        format!("{why} the cure")
    };
    let sentence = text::cut(sentence, room(&cure)).into_owned() + &others;
    let cure = Line::styled(cure, theme.style(Role::Key));
    let left = Line::styled(format!("{} {sentence}", sign.symbol()), theme.style(role));
    sides(inner, buf, &left, &cure);
}

fn footer(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    // A message takes the whole line; the keys share the line with the tool's own cost.
    let spoken = model.prompt.is_some() || model.notice.is_some() || !model.running.is_empty();
    let right = if spoken {
        Line::default()
    } else if model.unrecorded > 0 {
        let samples = format::count(model.unrecorded as f64);
        let behind = format!("recording: {samples} samples dropped ");
        Line::styled(behind, theme.style(Role::Danger))
    } else {
        Line::styled(own_cost(model, area.width), theme.style(Role::Muted))
    };
    let left = if let Some((typed, complaint)) = &model.prompt {
        let complaint = complaint
            .as_ref()
            .map(|why| format!("   {why}"))
            .unwrap_or_default();
        Line::from(vec![
            Span::styled(" filter: ", theme.style(Role::Key)),
            Span::styled(format!("{typed}▏"), theme.style(Role::Text)),
            Span::styled(complaint, theme.style(Role::Danger)),
        ])
    } else if let Some((said, _)) = &model.notice {
        let (symbol, role) = grade(said.grade);
        let said = format!(" {symbol} {}", said.text);
        let room = usize::from(area.width);
        if text::width(&said) <= room {
            Line::styled(said, theme.style(role))
        } else {
            let all = model.config.keys.fill("  {log} all");
            let said = text::cut(&said, room.saturating_sub(all.len())).into_owned();
            Line::from(vec![
                Span::styled(said, theme.style(role)),
                Span::styled(all, theme.style(Role::Key)),
            ])
        }
    } else if let Some(running) = model.running.first() {
        Line::styled(progress(model, running), theme.style(Role::Text))
    } else {
        keys(model, theme, beside(area, &right))
    };
    sides(area, buf, &left, &right);
}

/// Returns what this program costs: its processor time and the time of its queries, or their sum.
fn own_cost(model: &Model, width: u16) -> String {
    let (client, server) = model.cost;
    if client > 0.0 {
        // The keys need the room unless the line is wide.
        if width < 150 {
            format!("cost {:.0} ms/s ", client + server)
        } else {
            format!("htap-top costs {client:.1} ms/s, its queries {server:.1} ms/s ")
        }
    } else {
        String::new()
    }
}

/// Returns the text about an action in progress.
fn progress(model: &Model, running: &Running) -> String {
    let what = running.action.describe();
    let since = format::seconds(model.now.since(running.since));
    if !running.audited {
        return format!(" … {what}, {since}: {WRITING_AUDIT}");
    }
    let waiting = if model.queue.is_empty() {
        String::new()
    } else {
        format!(", {} more wait", model.queue.len())
    };
    let cancel = running.action.how_to_cancel(&model.config.keys);
    format!(" … {what}, {since}{waiting}{cancel}")
}

/// Returns the keys of the footer, as many as fit. Keys that act are left out if actions are blocked. The
/// help key is always shown because help lists all the others.
fn keys<'a>(model: &Model, theme: &Theme, room: u16) -> Line<'a> {
    let barred = model.blocked_reason().is_some();
    let bound = model.config.keys.footer();
    let alone = model.tabs.is_empty();
    let parts = bound
        .filter(|(command, ..)| !(barred && command.acts() || alone && command.is_of_several()));
    let part = |(command, key, word): (Command, String, &str)| {
        let key = Span::styled(format!(" {key}"), theme.style(Role::Key));
        let word = Span::styled(format!(" {word} "), theme.style(Role::Muted));
        (command == Command::Help, vec![key, word])
    };
    // The way to the other servers first: whatever is wrong there, it is not on this screen.
    let (mut bound, others): (Vec<_>, Vec<_>) =
        parts.partition(|(command, ..)| command.is_of_several());
    bound.extend(others);
    let parts: Vec<(bool, Vec<Span<'_>>)> = bound.into_iter().map(part).collect();
    let all = parts.iter().flat_map(|(_, spans)| spans).map(Span::width);
    if all.sum::<usize>() <= usize::from(room) {
        return whole(parts.into_iter().map(|(_, spans)| spans), room);
    }
    let (help, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(is_help, _)| *is_help);
    let help: Vec<Span<'_>> = help.into_iter().flat_map(|(_, spans)| spans).collect();
    let taken: usize = help.iter().map(Span::width).sum();
    let others = others.into_iter().map(|(_, spans)| spans);
    let mut line = whole(others, room.saturating_sub(taken as u16));
    line.spans.extend(help);
    line
}

/// Symbol and role for an outcome.
fn grade(grade: Grade) -> (&'static str, Role) {
    match grade {
        Grade::Running => ("…", Role::Text),
        Grade::Good => (Sign::Ok.symbol(), Role::Ok),
        Grade::Doubtful => (Sign::Warning.symbol(), Role::Warning),
        Grade::Bad => (Sign::Danger.symbol(), Role::Danger),
    }
}
