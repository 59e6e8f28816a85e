use super::super::*;
use super::{buffer, dark, looks};
use crate::dashboard::panels::spec::Spec;
use crate::pg::table::{Table, Value};
use ratatui::buffer::Buffer;

const FRONT: &str = r#"-- title = "Queries"
-- pool = "oltp"
-- interval = "1s"
-- about = "x"
-- [columns.age]
-- unit = "seconds"
-- warn = 10.0
-- danger = 30.0
-- [columns.xmin_age]
-- title = "xmin age"
-- unit = "count"
SELECT 1"#;

/// pid, class, role, age, xmin age, wait, query
type Row = (
    i64,
    &'static str,
    &'static str,
    f64,
    Option<i64>,
    &'static str,
    &'static str,
);

const ROWS: [Row; 4] = [
    (
        812,
        "olap",
        "reports",
        50.2,
        Some(91_204),
        "",
        "SELECT category, sum(sales_amount) FROM fact_sales",
    ),
    (
        4711,
        "refresh",
        "refresh",
        14.1,
        Some(25_310),
        "IO DataFileRead",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY fact_sales_mv",
    ),
    (
        1033,
        "oltp",
        "app",
        8.0,
        None,
        "Client",
        "UPDATE inventory SET quantity = quantity - 1",
    ),
    (
        1040,
        "oltp",
        "app",
        3.1,
        None,
        "Lock ← 1033",
        "UPDATE inventory SET quantity = quantity - 2",
    ),
];

fn queries() -> Table {
    let calm = (2_000..2_031).map(|pid| (pid, "oltp", "app", 0.01, None, "", "COMMIT"));
    let rows = ROWS.into_iter().chain(calm);
    let text = |text: &str| {
        if text.is_empty() {
            Value::Null
        } else {
            text.into()
        }
    };
    let cells = rows.map(|(pid, class, role, age, xmin, wait, query)| {
        vec![
            Value::Int(pid),
            class.into(),
            role.into(),
            Value::Float(age),
            xmin.map_or(Value::Null, Value::Int),
            text(wait),
            query.into(),
        ]
    });
    let columns = ["pid", "class", "role", "age", "xmin_age", "wait", "query"];
    Table {
        columns: columns.map(Box::from).into(),
        rows: cells.collect(),
    }
}

fn draw(edit: impl Fn(&mut DataTable<'_>), width: u16, height: u16) -> Buffer {
    draw_as(FRONT, edit, width, height)
}

fn draw_as(front: &str, edit: impl Fn(&mut DataTable<'_>), width: u16, height: u16) -> Buffer {
    let (spec, table, theme) = (Spec::parse("activity", front).unwrap(), queries(), dark());
    let order: Vec<usize> = (0..table.rows.len()).collect();
    let columns: Vec<String> = table.columns.iter().map(ToString::to_string).collect();
    let mut widget = DataTable {
        spec: &spec,
        table: &table,
        order: &order,
        columns: &columns,
        selected: Some(0),
        tagged: &|_| false,
        offset: 0,
        column_offset: 0,
        sort: Some(("age", true)),
        rest: Some(", all under 50 ms"),
        compact: false,
        chosen: false,
        theme: &theme,
        focused: true,
        utc_offset_s: 0,
    };
    edit(&mut widget);
    buffer(widget, width, height)
}

#[test]
fn the_last_text_takes_the_rest_and_the_calm_rows_are_counted() {
    looks(&draw(|_| {}, 110, 6), "
  pid  class    role     age▼  xmin age  wait             query
▌ 812  olap     reports   50s     91.2k  —                SELECT category, sum(sales_amount) FROM fact_sales
 4711  refresh  refresh   14s     25.3k  IO DataFileRead  REFRESH MATERIALIZED VIEW CONCURRENTLY fact_sales_mv
 1033  oltp     app        8s         —  Client           UPDATE inventory SET quantity = quantity - 1
 1040  oltp     app      3.1s         —  Lock ← 1033      UPDATE inventory SET quantity = quantity - 2
 … 31 more, all under 50 ms
");
}

#[test]
fn narrow_tables_give_up_gaps_then_texts_then_columns() {
    looks(
        &draw(|_| {}, 66, 6),
        "
  pid class   role    age▼ xmin age wait          query
▌ 812 olap    reports  50s    91.2k —             SELECT category…
 4711 refresh refresh  14s    25.3k IO DataFileR… REFRESH MATERIA…
 1033 oltp    app       8s        — Client        UPDATE inventor…
 1040 oltp    app     3.1s        — Lock ← 1033   UPDATE inventor…
 … 31 more, all under 50 ms
",
    );
    looks(
        &draw(|_| {}, 40, 6),
        "
  pid class   role    age▼ xmin age    ›
▌ 812 olap    reports  50s    91.2k
 4711 refresh refresh  14s    25.3k
 1033 oltp    app       8s        —
 1040 oltp    app     3.1s        —
 … 31 more, all under 50 ms
",
    );
}

/// Whoever puts the statement first wants the figures behind it, too.
#[test]
fn chosen_columns_behind_the_text_are_shown_and_so_are_figures_behind_a_name() {
    let heads = |table: &Table, names: &[&str], chosen: bool, width: u16| {
        let columns: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let theme = dark();
        let spec = Spec::parse("activity", FRONT).unwrap();
        let order: Vec<usize> = (0..table.rows.len()).collect();
        let widget = DataTable {
            spec: &spec,
            table,
            order: &order,
            columns: &columns,
            selected: None,
            tagged: &|_| false,
            offset: 0,
            column_offset: 0,
            sort: None,
            rest: None,
            compact: true,
            chosen,
            theme: &theme,
            focused: false,
            utc_offset_s: 0,
        };
        let lines = buffer(widget, width, 2);
        let head: String = (0..width).map(|x| lines[(x, 0)].symbol()).collect();
        head.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let statement_first = ["query", "pid", "age"];
    let table = queries();
    assert_eq!(heads(&table, &statement_first, false, 40), "query ›");
    assert_eq!(heads(&table, &statement_first, true, 40), "query pid age");
    let names = ["product", "orders", "alerts", "refund"];
    let name = "Espresso machine, large, red";
    let table = Table {
        columns: names.map(Box::from).into(),
        rows: vec![vec![
            name.into(),
            Value::Int(1),
            Value::Int(2),
            Value::Int(3),
        ]],
    };
    let all = names.join(" ");
    assert_eq!(heads(&table, &names, false, 40), all);
}

/// The most recent past matters most.
#[test]
fn a_timeline_is_cut_at_its_beginning() {
    let front = FRONT.replace(
        "SELECT 1",
        "-- [columns.wait]\n-- timeline = true\nSELECT 1",
    );
    looks(
        &draw_as(&front, |_| {}, 62, 4),
        "
  pid class   role    age▼ xmin age wait      query
▌ 812 olap    reports  50s    91.2k —         SELECT category…
 4711 refresh refresh  14s    25.3k …FileRead REFRESH MATERIA…
 … 33 more, all under 50 ms
",
    );
}

#[test]
fn the_first_column_stays_when_the_others_scroll() {
    let edit = |table: &mut DataTable<'_>| {
        table.tagged = &|row| row == 1;
        table.column_offset = 2;
        table.rest = None;
    };
    looks(
        &draw(edit, 60, 5),
        "
‹  pid  age▼  xmin age  wait             query
▌  812   50s     91.2k  —                SELECT category, s…
 ●4711   14s     25.3k  IO DataFileRead  REFRESH MATERIALIZ…
  1033    8s         —  Client           UPDATE inventory S…
  1040  3.1s         —  Lock ← 1033      UPDATE inventory S…
",
    );
}

#[test]
fn what_rows_are_sorted_by_is_on_the_screen() {
    let scrolled = |table: &mut DataTable<'_>| {
        table.column_offset = 5;
        table.rest = None;
    };
    looks(
        &draw(scrolled, 60, 3),
        "
‹ pid  age▼  query
▌ 812   50s  SELECT category, sum(sales_amount) FROM fact_s…
 4711   14s  REFRESH MATERIALIZED VIEW CONCURRENTLY fact_sa…
",
    );
    let last = |table: &mut DataTable<'_>| {
        table.sort = Some(("wait", false));
        table.rest = None;
    };
    looks(
        &draw(last, 30, 3),
        "
  pid wait▲           class  ›
▌ 812 —               olap
 4711 IO DataFileRead refresh
",
    );
}

#[test]
fn an_offset_skips_rows_and_no_rows_are_said_to_be_none() {
    looks(
        &draw(|table| table.offset = 2, 60, 4),
        "
  pid class role age▼ xmin age wait        query
 1033 oltp  app    8s        — Client      UPDATE inventory…
 1040 oltp  app  3.1s        — Lock ← 1033 UPDATE inventory…
 … 31 more, all under 50 ms
",
    );
    looks(
        &draw(|table| table.order = &[], 50, 3),
        "
 pid  class  role  age▼  xmin age  wait  query
 no rows
",
    );
}

#[test]
fn colours_repeat_what_the_words_say() {
    let (theme, drawn) = (dark(), draw(|_| {}, 110, 6));
    let style = |x, y| drawn.cell((x, y)).unwrap().style();
    let fg = |role| theme.style(role).fg;
    let selection = theme.style(Role::Selection);
    // Row 812 is selected: its class and its age keep their colours on the selection's background.
    assert_eq!(style(40, 1).bg, selection.bg);
    assert_eq!(
        (style(7, 1).fg, style(7, 1).bg),
        (fg(Role::ClassOlap), selection.bg)
    );
    assert_eq!(style(26, 1).fg, fg(Role::Danger));
    assert_eq!(style(7, 2).fg, fg(Role::ClassRefresh));
    assert_eq!(style(26, 2).fg, fg(Role::Warning));
    assert_eq!(style(27, 3).fg, fg(Role::Text));
    // Without the focus, only the bar sign is left.
    let drawn = draw(|table| table.focused = false, 110, 6);
    assert_eq!(drawn.cell((0, 1)).unwrap().symbol(), "▌");
    assert_ne!(drawn.cell((40, 1)).unwrap().style().bg, selection.bg);
}
