use super::super::*;
use super::dark;
use crate::dashboard::panels::spec::Spec;
use crate::format::Unit;
use crate::pg::table::{Table, Value};
use crate::text::Clean;
use proptest::collection::vec;
use proptest::prelude::*;
use ratatui::widgets::Widget;

const UNITS: [Unit; 11] = [
    Unit::Plain,
    Unit::Count,
    Unit::Bytes,
    Unit::Seconds,
    Unit::Ms,
    Unit::Percent,
    Unit::Money,
    Unit::PerSecond,
    Unit::Time,
    Unit::Hour,
    Unit::Flag,
];

/// Any area: empty, partly outside the buffer, far outside.
fn area() -> impl Strategy<Value = Rect> {
    let near = (0u16..30, 0u16..15, 0u16..90, 0u16..30);
    let far = (any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    prop_oneof![4 => near, 1 => far]
        .prop_map(|(x, y, width, height)| Rect::new(x, y, width, height))
}

/// A buffer that need not begin at the origin.
fn buffer() -> impl Strategy<Value = Buffer> {
    (0u16..10, 0u16..5, 0u16..80, 0u16..25)
        .prop_map(|(x, y, width, height)| Buffer::empty(Rect::new(x, y, width, height)))
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::num::f64::ANY,
        0.0..1e6f64,
        Just(0.0),
        Just(f64::NAN)
    ]
}

fn words() -> impl Strategy<Value = String> {
    "\\PC{0,12}".prop_map(|text| Clean::new(&text).to_string())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unavailable),
        Just(Value::Pending),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        number().prop_map(Value::Float),
        number().prop_map(|number| Value::Decimal(number.to_string().into(), number)),
        words().prop_map(|text| Value::from(text.as_str())),
    ]
}

fn spec(unit: Unit) -> Spec {
    let text = "-- title = \"x\"\n-- pool = \"oltp\"\n-- interval = \"1s\"\n-- about = \"x\"\n\
                -- [columns.b]\n-- warn = 1.0\n-- danger = 2.0\nSELECT 1";
    let mut spec = Spec::parse("x", text).unwrap();
    spec.front.columns.get_mut("b").unwrap().unit = unit;
    spec
}

proptest! {
    #[test]
    fn charts_draw_anything_anywhere(
        area in area(),
        mut buf in buffer(),
        values in vec(number(), 0..120),
        compare in proptest::option::of(vec(number(), 0..120)),
        partial in vec(any::<bool>(), 0..120),
        labels in vec(words(), 0..120),
        unit in proptest::sample::select(&UNITS[..]),
        behind in vec(number(), 0..120),
        target in proptest::option::of(number()),
    ) {
        let theme = dark();
        BarChart {
            labels: &labels,
            values: &values,
            compare: compare.as_deref(),
            partial: &partial,
            unit,
            theme: &theme,
        }
        .render(area, &mut buf);
        LineChart { labels: &labels, values: &values, behind: &behind, target, unit, theme: &theme }.render(area, &mut buf);
        let items: Vec<_> = labels.iter().map(String::as_str).zip(values.iter().copied()).collect();
        Ranking { items: &items, unit, theme: &theme }.render(area, &mut buf);
        let series: Vec<_> = values.iter().zip(&partial).map(|(v, p)| p.then_some(*v)).collect();
        Spark {
            label: labels.first().map_or("", String::as_str),
            label_width: values.len() as u16,
            value: labels.last().map_or("", String::as_str),
            value_width: partial.len() as u16,
            severity: None,
            series: &series,
            top: None,
            theme: &theme,
        }
        .render(area, &mut buf);
    }

    #[test]
    fn a_table_draws_anything_anywhere(
        area in area(),
        mut buf in buffer(),
        rows in vec(vec(value(), 0..5), 0..40),
        order in vec(0usize..50, 0..60),
        selected in proptest::option::of(0usize..70),
        (offset, column_offset) in (0usize..70, 0usize..7),
        unit in proptest::sample::select(&UNITS[..]),
        flags in any::<[bool; 4]>(),
    ) {
        let theme = dark();
        let table = Table { columns: ["a", "b", "class", "d"].map(Box::from).into(), rows };
        let columns = ["a", "b", "gone", "class", "d"].map(String::from);
        DataTable {
            spec: &spec(unit),
            table: &table,
            order: &order,
            columns: &columns,
            selected,
            tagged: &|row| flags[0] && row % 3 == 0,
            offset,
            column_offset,
            sort: flags[1].then_some(("b", flags[2])),
            rest: flags[3].then_some(", all calm"),
            compact: flags[1],
            chosen: false,
            theme: &theme,
            focused: flags[2],
            utc_offset_s: -3600,
        }
        .render(area, &mut buf);
    }

    #[test]
    fn boxes_draw_anything_anywhere(
        area in area(),
        mut buf in buffer(),
        texts in vec(words(), 0..30),
        scroll in 0usize..100,
        max_width in any::<u16>(),
        flags in any::<[bool; 2]>(),
    ) {
        let theme = dark();
        let first = texts.first().map_or("", String::as_str);
        let inner = Panel {
            key: flags[0].then_some("1"),
            title: first,
            note: texts.last().map(String::as_str),
            focused: flags[0],
            stale: flags[1],
            theme: &theme,
        }
        .render(area, &mut buf);
        prop_assert!(inner.is_empty() || buf.area.intersection(inner) == inner);
        message(area, &mut buf, &texts.join(" "), theme.base());
        // Ranges unrelated to the text must be harmless, too.
        let found = scroll..usize::from(max_width);
        highlight(area, &mut buf, &theme, &|_| vec![found.clone()]);
        grey(area, &mut buf, &theme);
        let entries: Vec<Entry<'_>> = texts
            .iter()
            .enumerate()
            .map(|(position, text)| match position % 4 {
                0 => Entry::Text(text.into()),
                1 => Entry::Head(text.into()),
                2 => Entry::Pair(text.into(), first.into()),
                _ => Entry::Blank,
            })
            .collect();
        let popup = Popup { title: first, entries: &entries, scroll, max_width, theme: &theme };
        prop_assert_eq!(popup.area(area).intersection(area), popup.area(area));
        let _ = popup.max_scroll(area);
        popup.render(area, &mut buf);
        let items: Vec<_> = texts
            .iter()
            .map(|text| StripItem {
                sign: Sign::Danger,
                label: text.clone(),
                value: text.clone(),
                target: flags[1].then(|| text.clone()),
            })
            .collect();
        Strip { items: &items, theme: &theme }.render(area, &mut buf);
        let figures: Vec<_> = texts
            .iter()
            .map(|text| Figure { title: text, text: first, severity: None })
            .collect();
        Stat { items: &figures, theme: &theme }.render(area, &mut buf);
    }
}

#[test]
fn a_long_table_is_as_fast_as_a_short_one() {
    let theme = dark();
    let row = |n: i64| {
        vec![
            Value::Int(n),
            Value::Float(n as f64),
            Value::from("SELECT 1"),
        ]
    };
    let table = Table {
        columns: ["a", "b", "d"].map(Box::from).into(),
        rows: (0..10_000).map(row).collect(),
    };
    let order: Vec<usize> = (0..10_000).collect();
    let spec = spec(Unit::Count);
    let columns = ["a", "b", "d"].map(String::from);
    let looked_at = std::cell::Cell::new(0);
    let area = Rect::new(0, 0, 120, 41);
    DataTable {
        spec: &spec,
        table: &table,
        order: &order,
        columns: &columns,
        selected: Some(3),
        // Counted instead of timed, so that a busy machine cannot fail the test.
        tagged: &|_| {
            looked_at.set(looked_at.get() + 1);
            false
        },
        offset: 5_000,
        column_offset: 0,
        sort: None,
        rest: None,
        compact: false,
        chosen: false,
        theme: &theme,
        focused: true,
        utc_offset_s: 0,
    }
    .render(area, &mut Buffer::empty(area));
    assert_eq!(looked_at.get(), 80);
}
