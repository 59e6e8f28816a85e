//! Panels as a few lines without a box, for screens as small as 80x24.

use super::panel;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::Model;
use crate::dashboard::panels::spec::Chart;
use crate::dashboard::rows::{Panel, Rows, read};
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::{self, Spark};
use crate::format;
use crate::format::Unit;
use crate::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Columns before the figures: key and name.
const INDENT: u16 = 10;

/// Draws `feed` into the lines of `area`.
pub(super) fn draw(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    focused: bool,
    area: Rect,
    buf: &mut Buffer,
) {
    let name = match feed.panel {
        Some(Panel::HourlySales) => "Sales",
        Some(Panel::Database) => "OLTP",
        Some(Panel::Views) => "Views",
        Some(Panel::Snapshots) => "Snaps",
        Some(Panel::Bloat) => "Bloat",
        Some(Panel::Activity) => "Queries",
        _ => feed.spec.name.as_str(),
    };
    let stale = model.is_stale(feed);
    let key = feed
        .direct
        .first()
        .map_or_else(|| " ".to_owned(), |key| key.shown());
    let bar = if focused { '▌' } else { ' ' };
    let look = theme.style(if focused {
        Role::BorderFocus
    } else {
        Role::Title
    });
    let head = format!("{bar}{key} {name}");
    super::line(area, buf, &text::cut(&head, usize::from(INDENT)), look);
    let inner = Rect {
        x: area.x + INDENT,
        width: area.width.saturating_sub(INDENT),
        ..area
    };
    if let Some(text) = panel::placeholder(model, feed) {
        widgets::message(inner, buf, &text, theme.style(Role::Muted));
        return;
    }
    match feed.panel {
        Some(Panel::HourlySales) => sales(model, theme, feed, inner, buf),
        Some(Panel::Database) => oltp(model, theme, inner, buf),
        Some(Panel::Bloat) if inner.height == 1 => bloat(theme, feed, inner, buf),
        _ => panel::table(model, theme, feed, focused, false, inner, buf),
    }
    let elsewhere = model.olap_note(feed).filter(|_| !stale && area.height > 1);
    if elsewhere.is_some() {
        let tag = Rect {
            y: area.y + 1,
            height: 1,
            width: INDENT - 1,
            ..area
        };
        let text = if feed.sampling.from_here {
            " primary"
        } else {
            " behind"
        };
        super::line(tag, buf, text, theme.style(Role::Warning));
    }
    if stale {
        widgets::grey(inner, buf, theme);
        let age = model.olap_age_s(feed).or(model.age_s(feed));
        let age = age.map(format::seconds).unwrap_or_default();
        let tag = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1).min(1),
            width: INDENT - 1,
            ..area
        };
        super::line(tag, buf, &format!(" {age} old"), theme.style(Role::Danger));
    }
}

fn sales(model: &Model, theme: &Theme, feed: &Feed, area: Rect, buf: &mut Buffer) {
    let Chart::Bars { x, y, compare, .. } = &feed.spec.front.chart else {
        return;
    };
    let series: Vec<Option<f64>> = (0..feed.table.rows.len())
        .map(|row| feed.table.get(row, y).number())
        .collect();
    let total: f64 = series.iter().flatten().sum();
    let value = format!("{} in {} h", format::money(total), series.len());
    let spark = Spark {
        label: "",
        label_width: 0,
        value: &value,
        value_width: 18,
        severity: None,
        series: &series,
        top: None,
        theme,
    };
    spark.render(Rect { height: 1, ..area }, buf);
    let parts = panel::newest(model, feed, x, compare.as_deref());
    super::figures(
        Rect {
            y: area.y + 1,
            height: 1,
            ..area
        },
        buf,
        &parts,
        theme.style(Role::Text),
    );
}

/// Writes the worst table as a sentence: one line has no room for column heads.
fn bloat(theme: &Theme, feed: &Feed, area: Rect, buf: &mut Buffer) {
    let Some(row) = feed.cursor.order.first() else {
        return;
    };
    let worst = Rows::<read::Relation>::of(&feed.table).at(*row);
    let mut parts = vec![worst.relation().shown().to_owned()];
    let dead = worst.n_dead().map(|dead| format::count(dead as f64));
    parts.extend(dead.map(|dead| format!("dead {dead}")));
    parts.extend(worst.dead_pct().map(format::percent));
    let holder = worst.held_by().text();
    parts.extend(holder.map(|holder| format!("held by {holder}")));
    super::figures(area, buf, &parts, theme.style(Role::Text));
}

fn oltp(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let oltp = &model.history.oltp;
    let ms = |value: Option<f64>| value.map_or_else(|| "?".into(), format::ms);
    let tps = oltp.tps.map_or_else(|| "?".into(), format::count);
    let parts = [
        format!("tps {tps}"),
        format!("p50 {}", ms(oltp.p50_ms)),
        format!("p95 {}", ms(oltp.p95_ms)),
        format!("p99 {}", ms(oltp.p99_ms)),
    ];
    let spark_width = area.width.saturating_sub(52).min(30);
    super::figures(
        Rect {
            width: area.width - spark_width,
            ..area
        },
        buf,
        &parts,
        theme.style(Role::Text),
    );
    let series = model.history.p99.drawn(usize::from(spark_width));
    let target = model.config.targets.oltp_p99_ms;
    let limit = format!("≤{}", format::round(target, Unit::Ms));
    let spark = Spark {
        label: "",
        label_width: 0,
        value: "",
        value_width: 0,
        severity: None,
        series: &series,
        top: Some((target, &limit)),
        theme,
    };
    spark.render(
        Rect {
            x: area.right() - spark_width,
            width: spark_width,
            height: 1,
            ..area
        },
        buf,
    );
    let mut parts = super::panel::oltp::sessions(model, area.width);
    parts.extend(model.oltp_changes());
    super::figures(
        Rect {
            y: area.y + 1,
            height: 1,
            ..area
        },
        buf,
        &parts,
        theme.style(Role::Text),
    );
}
