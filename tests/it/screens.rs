//! The appearance of screens: the real view on prepared samples, compared with accepted snapshots.
//!
//! To accept changes: `INSTA_UPDATE=always cargo test --test it screens`, then review the differences in
//! tests/it/snapshots before committing them.

mod states;

use super::board::Board;
use std::collections::BTreeSet;
use std::path::Path;

macro_rules! screens {
    ($($name:ident: $state:expr, $width:literal x $height:literal;)+) => {
        /// The names of all screens, used to find snapshots without one.
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                let mut board: Board = $state;
                insta::assert_snapshot!(stringify!($name), board.screen($width, $height));
            }
        )+
    };
}

use states::{
    asked, empty, errors, help, locks, log, many, nulls, opened, stale, starting, trouble, usual,
};

screens! {
    usual_80x24: usual(), 80 x 24;
    usual_120x40: usual(), 120 x 40;
    usual_200x60: usual(), 200 x 60;
    too_small_40x10: usual(), 40 x 10;
    trouble_80x24: trouble(), 80 x 24;
    trouble_120x40: trouble(), 120 x 40;
    trouble_200x60: trouble(), 200 x 60;
    starting_120x40: starting(), 120 x 40;
    empty_80x24: empty(), 80 x 24;
    empty_120x40: empty(), 120 x 40;
    nulls_120x40: nulls(), 120 x 40;
    errors_120x40: errors(), 120 x 40;
    stale_80x24: stale(), 80 x 24;
    stale_120x40: stale(), 120 x 40;
    many_rows_80x24: many(), 80 x 24;
    many_rows_120x40: many(), 120 x 40;
    full_sales_120x40: opened(usual(), "1"), 120 x 40;
    full_oltp_120x40: opened(usual(), "4"), 120 x 40;
    full_bloat_120x40: opened(trouble(), "5"), 120 x 40;
    full_snapshots_120x40: opened(trouble(), "6"), 120 x 40;
    full_views_120x40: opened(trouble(), "7"), 120 x 40;
    full_queries_120x40: opened(trouble(), "8"), 120 x 40;
    full_queries_80x24: opened(trouble(), "8"), 80 x 24;
    detail_120x40: opened(trouble(), "8\n"), 120 x 40;
    page_9_120x40: opened(usual(), "9"), 120 x 40;
    help_120x40: help(), 120 x 40;
    confirm_120x40: asked(), 120 x 40;
    why_120x40: opened(trouble(), "e"), 120 x 40;
    panels_120x40: opened(usual(), "p"), 120 x 40;
    locks_120x40: locks(), 120 x 40;
    locks_80x24: locks(), 80 x 24;
    filter_120x40: opened(trouble(), "8/check"), 120 x 40;
    log_120x40: log(), 120 x 40;
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
        strays(&files, NAMES),
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
