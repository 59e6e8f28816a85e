//! Rules on answers as a server gives them: from which figures on they speak, and in which words, where a
//! real server comes to those figures slowly.

use crate::it::board::{Board, activity, table};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::diagnosis::finding::Finding;

fn board() -> Board {
    let mut board = Board::live(Config::default());
    let _ = board.answer("needs", table("name|found", &[]));
    board
}

/// What a rule finds once the activity is answered, which is when all are asked.
fn found(board: &mut Board, rule: &str, backends: &[&str]) -> Option<Finding> {
    let _ = board.answer("activity", activity(backends));
    board.finding(rule).cloned()
}

/// A report that sorts for twenty seconds.
const REPORT: &str =
    "777|shop|reports|metabase|client backend|active|||20.0|20.0|||||SELECT 1|b|x|q|false";

#[test]
fn ids_that_run_out_are_told_by_database_and_kind() {
    let mut board = board();
    let columns = "datname|frozen_age|mxid_age|xid_left";
    let mut ages = |rows: &[&str]| {
        let _ = board.answer("wraparound", table(columns, rows));
        found(&mut board, "wraparound", &[])
    };
    assert_eq!(ages(&["shop|199000000|5|1900000000"]), None);
    let finding = ages(&["shop|700000000|5|1444483648", "other|3|9|2144483645"]).unwrap();
    assert_eq!(
        (finding.health, finding.subject.as_str()),
        (Health::Warning, "shop")
    );
    assert!(
        finding
            .sentence
            .contains("transaction ids of shop are 700M old: 1.44G are left"),
        "{}",
        finding.sentence
    );
    let finding = ages(&["shop|700000000|1600000000|1444483648"]).unwrap();
    assert_eq!(finding.health, Health::Danger);
    assert!(
        finding.sentence.contains("multixacts of shop"),
        "{}",
        finding.sentence
    );
    assert_eq!(
        board.model.cause.rule, "wraparound",
        "it is told though no gauge is missed"
    );
}

#[test]
fn large_temporary_files_are_told_with_their_backend() {
    let mut board = board();
    let mut files = |bytes: &str| {
        let _ = board.answer(
            "temp_files",
            table("pid|files|bytes", &[&format!("777|3|{bytes}")]),
        );
        found(&mut board, "temp_files", &[REPORT])
    };
    assert_eq!(files("1048576"), None);
    let finding = files("5368709120").unwrap();
    assert!(
        finding
            .sentence
            .starts_with("pid 777 (metabase, reports, olap) has 5.0 GB"),
        "{}",
        finding.sentence
    );
    assert_eq!(
        (finding.health, finding.cure.as_str()),
        (Health::Unknown, "C cancels it")
    );
}

#[test]
fn whose_reads_replace_the_cache_is_told_from_two_samples() {
    let mut board = board();
    let columns = "now_epoch|backend_type|object|context|evictions";
    let mut sample = |at: i64, bulk: i64, normal: i64| {
        let rows = [
            format!("{at}.0|client backend|relation|bulkread|{bulk}"),
            format!("{at}.0|client backend|relation|normal|{normal}"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let _ = board.answer("io", table(columns, &rows));
        found(&mut board, "cache", &[])
    };
    assert_eq!(
        sample(100, 5_000_000, 9_000_000),
        None,
        "sums since the start say nothing"
    );
    assert_eq!(sample(110, 5_000_100, 9_000_100), None);
    let finding = sample(120, 5_050_100, 9_001_100).unwrap();
    assert!(
        finding
            .sentence
            .contains("5,000 pages/s, most by client backend, bulkread"),
        "{}",
        finding.sentence
    );
}

#[test]
fn a_view_that_is_always_being_refreshed_starves_autovacuum() {
    let mut board = board();
    let columns = "relid|view|populated|xmin|refreshing|refresh_waiting|refresh_running_s|concurrent_ok|def_has_now";
    let bloat = table(
        "relid|relation|n_dead|dead_pct|vacuums|autovacuum_due",
        &["7|mart.fact|90000|30.0|0|4.5"],
    );
    for second in 0..100 {
        let _ = board.tick(1_000);
        let row = format!(
            "7|mart.fact|true|{}|concurrent|false|3.0|true|false",
            100 + second / 5
        );
        let _ = board.answer("views", table(columns, &[&row]));
        let _ = board.answer("bloat", bloat.clone());
        let finding = found(&mut board, "starved_vacuum", &[]);
        assert_eq!(
            finding.is_some(),
            second >= 60,
            "second {second}: a minute is watched first"
        );
    }
    let finding = found(&mut board, "starved_vacuum", &[]).unwrap();
    assert!(
        finding.sentence.contains("90k dead rows") && finding.sentence.contains("100% of the time"),
        "{}",
        finding.sentence
    );
}
