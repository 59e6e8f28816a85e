use super::super::*;
use super::{buffer, dark, lines, looks};
use ratatui::style::{Color, Modifier};

fn panel(width: u16, height: u16) -> Buffer {
    let theme = dark();
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    let panel = Panel {
        key: Some("4"),
        title: "OLTP · 24 h",
        note: Some("12s old, connecting (3)"),
        focused: false,
        stale: true,
        theme: &theme,
    };
    let inner = panel.render(area, &mut buf);
    let text = "needs pg_monitor: GRANT pg_monitor TO app;";
    message(inner, &mut buf, text, theme.base());
    buf
}

#[test]
fn a_panel_has_a_title_and_says_what_it_needs() {
    looks(
        &panel(50, 4),
        "
╭ 4 OLTP · 24 h ──────── 12s old, connecting (3) ╮
│ needs pg_monitor: GRANT pg_monitor TO app;     │
│                                                │
╰────────────────────────────────────────────────╯
",
    );
    looks(
        &panel(34, 4),
        "
╭ 4 OLTP ────── 12s old, connec… ╮
│ needs pg_monitor: GRANT        │
│ pg_monitor TO app;             │
╰────────────────────────────────╯
",
    );
    looks(
        &panel(16, 3),
        "
╭ 4 OLTP ──────╮
│ needs…       │
╰──────────────╯
",
    );
    looks(
        &panel(8, 3),
        "
╭ 4 O… ╮
│ nee… │
╰──────╯
",
    );
    looks(&panel(8, 1), "OLTP · …");
}

#[test]
fn old_data_lose_their_colours() {
    let theme = dark();
    let mut buf = panel(20, 4);
    let area = buf.area;
    buf.set_style(area, Style::new().fg(Color::Red).bold().reversed());
    grey(Rect::new(1, 1, 18, 2), &mut buf, &theme);
    let inside = buf.cell((2, 1)).unwrap();
    assert_eq!(Some(inside.fg), theme.style(Role::Stale).fg);
    assert_eq!(inside.modifier, Modifier::empty());
    assert_eq!(buf.cell((0, 0)).unwrap().fg, Color::Red);
    let mono = theme.adapt(crate::dashboard::theme::Depth::Mono);
    grey(area, &mut buf, &mono);
    let inside = buf.cell((2, 1)).unwrap();
    assert_eq!(inside.modifier, Modifier::DIM | Modifier::ITALIC);
}

#[test]
fn the_strip_counts_what_does_not_fit() {
    let theme = dark();
    let item = |sign, label: &str, value: &str, target: &str| StripItem {
        sign,
        label: label.into(),
        value: value.into(),
        target: (!target.is_empty()).then(|| target.into()),
    };
    let items = [
        item(Sign::Danger, "p99", "31ms", "50"),
        item(Sign::Danger, "snapshot", "50s", "30"),
        item(Sign::Warning, "fresh", "6.2s", "5"),
        item(Sign::Ok, "tps", "2.1k", ""),
        item(Sign::Unknown, "lag", "?", ""),
    ];
    let strip = Strip {
        items: &items,
        theme: &theme,
    };
    looks(
        &buffer(strip, 71, 1),
        " ✖ p99 31ms/50  ✖ snapshot 50s/30  ▲ fresh 6.2s/5  ✔ tps 2.1k  · lag ?",
    );
    looks(
        &buffer(strip, 70, 1),
        " ✖ p99 31ms/50  ✖ snapshot 50s/30  ▲ fresh 6.2s/5  ✔ tps 2.1k  · lag ?",
    );
    looks(
        &buffer(strip, 45, 1),
        " ✖ p99 31ms/50  ✖ snapshot 50s/30  +3",
    );
    looks(&buffer(strip, 10, 1), " ✖ p99 31…");
}

#[test]
fn every_sign_is_one_column_wide() {
    for sign in [Sign::Unknown, Sign::Ok, Sign::Warning, Sign::Danger] {
        assert_eq!(columns_of(sign.symbol()), 1);
    }
    for sign in "▌●▼▲─▒█▏▁╭┼┤…‹›⣿".chars() {
        assert_eq!(columns_of(&sign.to_string()), 1, "{sign}");
    }
}

#[test]
fn a_popup_is_centred_wraps_and_scrolls() {
    let theme = dark();
    let question = "Cancel the statement of pid 812 (reports, olap, 50 s)? Frees 182k dead rows.";
    let entries = [
        Entry::Head("Acting on a backend".into()),
        Entry::Pair("C".into(), "cancel the selected backend's statement".into()),
        Entry::Pair("K, Del".into(), "terminate it".into()),
        Entry::Blank,
        Entry::Text(question.into()),
        Entry::Pair("y".into(), "yes".into()),
    ];
    let mut popup = Popup {
        title: "Help",
        entries: &entries,
        scroll: 0,
        max_width: 60,
        theme: &theme,
    };
    looks(
        &buffer(popup, 74, 11),
        "
     ╭ Help ────────────────────────────────────────────────────────╮
     │ Acting on a backend                                          │
     │ C       cancel the selected backend's statement              │
     │ K, Del  terminate it                                         │
     │                                                              │
     │ Cancel the statement of pid 812 (reports, olap, 50 s)? Frees │
     │ 182k dead rows.                                              │
     │ y       yes                                                  │
     ╰──────────────────────────────────────────────────────────────╯
",
    );
    popup.scroll = 1;
    looks(
        &buffer(popup, 36, 9),
        "
  ╭ Help ────────────────────────╮
  │ C       cancel the selected  │
  │         backend's statement  │
  │ K, Del  terminate it         │
  │                              │
  │ Cancel the statement of pid  │
  ╰──────────────────── ▼ 3 more ╯
",
    );
    popup.scroll = usize::MAX;
    looks(
        &buffer(popup, 36, 9),
        "
  ╭ Help ────────────────────────╮
  │                              │
  │ Cancel the statement of pid  │
  │ 812 (reports, olap, 50 s)?   │
  │ Frees 182k dead rows.        │
  │ y       yes                  │
  ╰─────────────────── ▲ 4 above ╯
",
    );
    let screen = Rect::new(0, 0, 36, 9);
    assert_eq!(popup.max_scroll(screen), 4);
    assert_eq!(popup.area(screen), Rect::new(2, 1, 32, 7));
    assert!(lines(&buffer(popup, 5, 2)).trim().is_empty());
}

#[test]
fn a_match_is_marked_where_it_is_seen() {
    let theme = dark();
    let area = Rect::new(0, 0, 20, 2);
    let mut buf = Buffer::empty(area);
    message(area, &mut buf, "日本語 orders, orders", theme.base());
    let marked = |needle: &str| {
        let mut buf = buf.clone();
        let find = |text: &str| {
            let found = text.match_indices(needle);
            found.map(|(at, word)| at..at + word.len()).collect()
        };
        highlight(area, &mut buf, &theme, &find);
        let bg = theme.style(Role::Match).bg;
        let cells = area.positions().zip(&buf.content);
        let cells = cells.filter(|(_, cell)| Some(cell.bg) == bg);
        cells
            .map(|(place, _)| (place.x, place.y))
            .collect::<Vec<_>>()
    };
    looks(&buf, " 日 本 語  orders,\n orders");
    assert_eq!(marked("本語"), [(3, 0), (4, 0), (5, 0), (6, 0)]);
    assert_eq!(marked("rd"), [(9, 0), (10, 0), (2, 1), (3, 1)]);
    assert!(marked("absent").is_empty());
}
