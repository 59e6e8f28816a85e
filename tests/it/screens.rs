//! The appearance of screens: the real view on prepared samples, compared with accepted snapshots.
//!
//! To accept changes: `INSTA_UPDATE=always cargo test --test it screens`, then review the differences in
//! tests/it/snapshots before committing them.

mod states;

use super::board::Board;
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use std::collections::BTreeSet;
use std::path::Path;

/// Part of a screen that a picture holds, so that a word in the header or the footer changes one picture alone.
#[derive(Clone, Copy)]
enum Region {
    /// All lines.
    Whole,
    /// The panels: neither header, strip and cause line nor footer.
    Body,
    /// A popup over the panels, which reaches up to the strip.
    Popup,
}

impl Region {
    #[expect(clippy::indexing_slicing, reason = "screens have more lines")]
    fn of(self, screen: &str) -> String {
        let lines: Vec<&str> = screen.lines().collect();
        let lines = match self {
            Self::Whole => &lines[..],
            Self::Body => &lines[3..lines.len() - 1],
            Self::Popup => &lines[1..lines.len() - 1],
        };
        lines.join("\n")
    }
}

macro_rules! screens {
    ($($name:ident: $state:expr, $width:literal x $height:literal, $region:ident;)+) => {
        /// All pictures but those of the lines around the panels, for the search for files that belong to none.
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                let mut board: Board = $state;
                let screen = board.screen($width, $height);
                insta::assert_snapshot!(stringify!($name), Region::$region.of(&screen));
            }
        )+
    };
}

use states::{
    all_nodes, asked, changes, columnar, empty, errors, eventful, help, locks, log, many, nodes,
    nulls, opened, pooler, pooler_lost, stale, starting, stream, trouble, usual,
};

screens! {
    usual_80x24: usual(), 80 x 24, Body;
    usual_120x40: usual(), 120 x 40, Body;
    usual_200x60: usual(), 200 x 60, Body;
    too_small_40x10: usual(), 40 x 10, Whole;
    trouble_80x24: trouble(), 80 x 24, Body;
    trouble_120x40: trouble(), 120 x 40, Body;
    trouble_200x60: trouble(), 200 x 60, Body;
    starting_120x40: starting(), 120 x 40, Body;
    empty_80x24: empty(), 80 x 24, Body;
    empty_120x40: empty(), 120 x 40, Body;
    nulls_120x40: nulls(), 120 x 40, Body;
    errors_120x40: errors(), 120 x 40, Body;
    stale_80x24: stale(), 80 x 24, Body;
    stale_120x40: stale(), 120 x 40, Body;
    many_rows_80x24: many(), 80 x 24, Body;
    many_rows_120x40: many(), 120 x 40, Body;
    full_sales_120x40: opened(usual(), "1"), 120 x 40, Body;
    full_oltp_120x40: opened(usual(), "4"), 120 x 40, Body;
    timeline_120x40: opened(eventful(), "H"), 120 x 40, Body;
    timeline_200x60: opened(eventful(), "Hvz"), 200 x 60, Body;
    timeline_80x24: opened(eventful(), "Hzz"), 80 x 24, Body;
    timeline_overview_120x40: eventful(), 120 x 40, Body;
    timeline_ascii_120x40: opened(states::in_ascii(), "Hzz"), 120 x 40, Body;
    full_bloat_120x40: opened(trouble(), "5"), 120 x 40, Body;
    full_snapshots_120x40: opened(trouble(), "6"), 120 x 40, Body;
    full_views_120x40: opened(trouble(), "7"), 120 x 40, Body;
    full_queries_120x40: opened(trouble(), "8"), 120 x 40, Body;
    full_queries_80x24: opened(trouble(), "8"), 80 x 24, Body;
    detail_120x40: opened(trouble(), "8\n"), 120 x 40, Popup;
    page_9_120x40: opened(usual(), "9"), 120 x 40, Body;
    help_120x40: help(), 120 x 40, Popup;
    confirm_120x40: asked(), 120 x 40, Popup;
    why_120x40: opened(trouble(), "e"), 120 x 40, Popup;
    changes_120x40: changes(), 120 x 40, Popup;
    changes_80x24: changes(), 80 x 24, Whole;
    changed_bloat_120x40: states::changed("5"), 120 x 40, Whole;
    changed_statements_120x40: states::changed("ps"), 120 x 40, Whole;
    columns_120x40: opened(trouble(), "8fjj"), 120 x 40, Popup;
    columns_80x24: opened(trouble(), "fjjjj "), 80 x 24, Whole;
    panels_120x40: opened(usual(), "p"), 120 x 40, Popup;
    locks_120x40: locks(), 120 x 40, Body;
    locks_80x24: locks(), 80 x 24, Body;
    filter_120x40: opened(trouble(), "8/check"), 120 x 40, Body;
    log_120x40: log(), 120 x 40, Popup;
    pooler_160x48: opened(pooler(), "pb"), 160 x 48, Body;
    pooler_80x24: opened(pooler(), "pb"), 80 x 24, Body;
    pooler_lost_120x40: pooler_lost(), 120 x 40, Body;
    pooler_queries_160x48: opened(pooler(), "8"), 160 x 48, Body;
    pooler_detail_120x40: opened(pooler(), "8\n"), 120 x 40, Popup;
    nodes_80x24: all_nodes(), 80 x 24, Body;
    nodes_120x40: all_nodes(), 120 x 40, Body;
    nodes_200x60: all_nodes(), 200 x 60, Body;
    nodes_detail_120x40: opened(nodes(), "pcj\n"), 120 x 40, Popup;
    columnar_80x24: columnar(), 80 x 24, Body;
    columnar_160x48: columnar(), 160 x 48, Body;
    stream_80x24: stream(), 80 x 24, Body;
    stream_120x40: stream(), 120 x 40, Body;
    stream_200x60: stream(), 200 x 60, Body;
    servers_120x40: opened(states::several(3), "s"), 120 x 40, Whole;
    servers_80x24: states::several(3), 80 x 24, Whole;
}

/// The sentence names the culprit: a long cure gives way before the sentence is cut.
#[test]
fn no_sentence_is_cut_for_its_cure() {
    let sentence = "36 clients wait up to 1.3s for pool shop/app: its size of 4 is too small";
    let cures = [
        "raise pool_size of shop or default_pool_size, then RELOAD",
        "C cancels it",
        "",
    ];
    for cure in cures {
        let mut board = Board::live(Config::default());
        board.model.cause.health = Health::Danger;
        board.model.cause.sentence = sentence.to_owned();
        board.model.cause.cure = cure.to_owned();
        for width in 80..=160 {
            let screen = board.screen(width, 40);
            let line = screen.lines().nth(2).unwrap_or_default().trim_end();
            let whole = line.contains(sentence);
            assert!(whole || width < 92, "{width} columns: {line}");
            let by_key = ["e the cure", "C cancels it", "e why"];
            let by_key = by_key.iter().any(|key| line.ends_with(key));
            let shown = line.contains(cure);
            assert!(shown || by_key, "{width} columns: {line}");
            let beside = sentence.len() + cure.len() + 14;
            assert!(
                shown || usize::from(width) < beside,
                "{width} columns: {line}"
            );
        }
    }
}

/// The lines around the panels in every state that changes them.
#[test]
fn lines_around_the_panels() {
    type Sizes = &'static [(u16, u16)];
    let states: Vec<(&str, Board, Sizes)> = vec![
        ("usual", usual(), &[(80, 24), (120, 40), (200, 60)]),
        ("trouble", trouble(), &[(80, 24), (120, 40), (200, 60)]),
        ("starting", starting(), &[(120, 40)]),
        ("empty", empty(), &[(80, 24), (120, 40)]),
        ("nulls", nulls(), &[(120, 40)]),
        ("errors", errors(), &[(120, 40)]),
        ("stale", stale(), &[(80, 24), (120, 40)]),
        ("filter", opened(trouble(), "8/check"), &[(120, 40)]),
        ("log", log(), &[(120, 40)]),
        ("pooler", pooler(), &[(80, 24), (160, 48)]),
        ("pooler lost", pooler_lost(), &[(120, 40)]),
        ("nodes", nodes(), &[(80, 24), (120, 40), (200, 60)]),
    ];
    let (mut tops, mut footers) = (String::new(), String::new());
    for (state, mut board, sizes) in states {
        for (width, height) in sizes {
            let screen = board.screen(*width, *height);
            let lines: Vec<&str> = screen.lines().collect();
            let head = format!("{state} {width}x{height}\n");
            tops += &(head.clone() + &lines[..3].join("\n") + "\n");
            footers += &(head + lines[lines.len() - 1] + "\n");
        }
    }
    insta::assert_snapshot!("tops", tops);
    insta::assert_snapshot!("footers", footers);
}

/// The row of tabs, from wide to narrow, and of more servers than fit.
#[test]
fn the_row_of_tabs() {
    let mut rows = String::new();
    for (count, widths) in [(3, &[200, 120, 80, 60][..]), (9, &[200, 120, 80])] {
        let mut board = states::several(count);
        for width in widths {
            let screen = board.screen(*width, 40);
            let lines: Vec<&str> = screen.lines().take(2).collect();
            let head = format!("{count} servers, {width} columns\n");
            rows += &(head + &lines.join("\n") + "\n");
        }
    }
    insta::assert_snapshot!("tabs", rows);
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots")
}

/// Snapshots without a screen, and screens without a snapshot.
fn strays(files: &BTreeSet<String>, names: &[&str]) -> Vec<String> {
    let wanted: BTreeSet<String> = names
        .iter()
        .map(|name| format!("it__it__screens__{name}.snap"))
        .collect();
    files.symmetric_difference(&wanted).cloned().collect()
}

#[test]
fn every_snapshot_belongs_to_a_screen() {
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let files: BTreeSet<String> = files.filter(|name| !name.ends_with(".snap.new")).collect();
    assert_eq!(
        strays(&files, &[NAMES, &["footers", "tabs", "tops"]].concat()),
        Vec::<String>::new(),
        "in {}",
        folder().display()
    );
    let some = BTreeSet::from(["it__it__screens__a.snap".to_owned(), "old.snap".to_owned()]);
    assert_eq!(
        strays(&some, &["a", "b"]),
        ["it__it__screens__b.snap", "old.snap"]
    );
}

/// No line may be wider than the terminal or contain anything that moves its cursor.
#[test]
fn hostile_text_stays_text() {
    let mut board = states::hostile();
    for keys in ["", "8", "\n"] {
        let _ = board.keys(keys);
        for (width, height) in [(60, 15), (80, 24), (120, 40), (200, 60)] {
            let screen = board.screen(width, height);
            for bad in ['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}', '\u{200b}', '\r'] {
                assert!(!screen.contains(bad), "{bad:?} at {width}x{height}");
            }
            assert!(screen.contains("htap-top"));
        }
    }
}
