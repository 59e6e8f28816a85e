//! Rules on prepared answers: the thresholds from which they report, and their wording, for figures that a
//! real server reaches slowly.

use crate::it::board::{Board, activity, table};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::diagnosis::finding::Finding;

fn board() -> Board {
    let mut board = Board::live(Config::default());
    let _ = board.answer("needs", table("name|found", &[]));
    board
}

/// Returns a rule's finding after answering the activity panel, when all rules are evaluated.
fn found(board: &mut Board, rule: &str, backends: &[&str]) -> Option<Finding> {
    let _ = board.answer("activity", activity(backends));
    board.finding(rule).cloned()
}

/// A report that has sorted for twenty seconds.
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
            .contains("transaction ids of shop are 700M old: 1.44G left"),
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
            .contains("5,000 pages/s, mostly by client backend, bulkread"),
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

/// A view that is a second late must not hide that the server will soon refuse writes.
#[test]
fn what_does_most_damage_is_told_first_and_the_others_are_counted() {
    let mut board = board();
    let columns =
        "relid|view|populated|refreshed_s|concurrent_ok|may_refresh|on_standby|refresh_waiting";
    let view = table(columns, &["7|mart.nightly|true|6.0|true|true|false|false"]);
    let _ = board.answer("views", view);
    assert_eq!(board.model.cause.rule, "", "{:?}", board.model.cause);
    let _ = found(&mut board, "late_view", &[]).unwrap();
    assert_eq!(board.model.cause.rule, "late_view");
    assert_eq!(board.model.cause.more, 0);
    let ages = table(
        "datname|frozen_age|mxid_age|xid_left",
        &["shop|1550000000|5|594483648"],
    );
    let _ = board.answer("wraparound", ages);
    let slot = table(
        "kind|name|wal_status|active|retained_bytes",
        &["slot|cdc|lost|false|"],
    );
    let _ = board.answer("replication", slot);
    let lost = found(&mut board, "replication", &[]).unwrap();
    assert_eq!(
        lost.cure,
        "SELECT pg_drop_replication_slot('cdc'); its reader has to start over"
    );
    let cause = &board.model.cause;
    assert_eq!((cause.rule, cause.more), ("wraparound", 2));
    for (width, others) in [(80, "…+2  "), (120, "; and 2 more")] {
        let screen = board.screen(width, 24);
        let line = screen.lines().nth(2).unwrap();
        assert!(line.contains(others), "{line}");
        assert!(line.contains("the oldest transaction ids of"), "{line}");
    }
    let _ = board.keys("e");
    let why = board.screen(120, 40);
    for told in ["fresh", "late_view", "replication", "slot cdc"] {
        assert!(why.contains(told), "{told}: {why}");
    }
}

/// None of them waits, holds or uses anything: they make no other session slow.
const BYSTANDERS: [&str; 3] = [
    "11|shop|job|cron|client backend|active|Timeout|PgSleep|500.0|500.0|||||SELECT pg_sleep(600)|b|x|q|false",
    "12|shop|app|checkout|client backend|idle|Client|ClientRead|900.0||||||SELECT 1|b||q|false",
    "13|shop|app|checkout|client backend|idle in transaction|Client|ClientRead|800.0|800.0|||||SELECT 1|b|x|q|false",
];

#[test]
fn bystanders_do_not_explain_a_missed_target() {
    let mut board = board();
    assert_eq!(found(&mut board, "busy_backend", &BYSTANDERS), None);
    assert_eq!(found(&mut board, "processors", &BYSTANDERS), None);
    let mut with_report = BYSTANDERS.to_vec();
    with_report.push(REPORT);
    let finding = found(&mut board, "busy_backend", &with_report).unwrap();
    assert_eq!(finding.subject, "pid 777");
    assert!(
        finding.sentence.ends_with("active for 20s, on a processor"),
        "{}",
        finding.sentence
    );
    // Many that compute at once, also on average over the minute.
    let scan = |pid: i64| {
        format!(
            "{pid}|shop|shop_app|web|client backend|active|||0.3|0.3|||||SELECT * FROM noidx WHERE k = 7|b|x|q|false"
        )
    };
    let scans: Vec<String> = (100..106).map(scan).collect();
    let scans: Vec<&str> = BYSTANDERS
        .into_iter()
        .chain(scans.iter().map(String::as_str))
        .collect();
    assert_eq!(
        found(&mut board, "processors", &scans),
        None,
        "one instant is chance"
    );
    let waits = "usename|application_name|datname|backend_type|wait_event_type|wait_event|query|n";
    let working = "shop_app|web|shop|client backend|||SELECT * FROM noidx WHERE k = 7|6";
    let _ = board.answer("waits", table(waits, &[working]));
    let finding = found(&mut board, "processors", &scans).unwrap();
    assert_eq!(
        finding.sentence,
        "6 sessions of shop_app compute at once: SELECT * FROM noidx WHERE k = ?"
    );
}

#[test]
fn what_is_well_is_not_called_a_danger() {
    let mut config = Config::default();
    config.targets.tps = 10.0;
    let mut board = Board::with(config, |start| start.own_roles = vec!["monitor".into()]);
    board.connect();
    let _ = board.answer("needs", table("name|found", &[]));
    let gauge = |board: &Board, label: &str| {
        let mut gauges = board.model.gauges.iter();
        gauges
            .find(|gauge| gauge.label == label)
            .map(|gauge| gauge.health)
    };
    let counters = |at: i64, commits: i64| {
        table(
            "now_epoch|xmax|stats_reset|xact_commit|xact_rollback|numbackends_all|max_connections|usable_connections",
            &[&format!("{at}.0|{commits}|1.0|{commits}|0|302|500|497")],
        )
    };
    for second in 0..10 {
        let _ = board.tick(1_000);
        let _ = board.answer("database", counters(1_000 + second, second * 500));
    }
    // Three hundred idle sessions of one application, on a server that allows more.
    let sessions = table(
        "datname|usename|application_name|state|waiting|n",
        &[
            "shop|app|greedy|idle|false|300",
            "shop|app|greedy|active|false|2",
        ],
    );
    let _ = board.answer("sessions", sessions);
    let finding = found(&mut board, "connections", &[]).unwrap();
    assert_eq!(
        finding.sentence,
        "302 of 497 connections are taken, 302 by greedy (app), 300 of them idle"
    );
    assert_eq!(
        gauge(&board, "tps"),
        Some(Health::Good),
        "{:?}",
        board.model.gauges
    );
    assert_eq!(gauge(&board, "oltp pool"), Some(Health::Warning));
    assert_eq!(board.model.cause.rule, "connections");
    // A view without a target is never late.
    let columns =
        "relid|view|populated|refreshed_s|concurrent_ok|may_refresh|on_standby|refresh_waiting";
    let view = table(
        columns,
        &["7|mart.nightly|true|90000.0|true|true|false|false"],
    );
    let _ = board.answer("views", view);
    assert_eq!(found(&mut board, "late_view", &[]), None);
    assert_eq!(gauge(&board, "fresh"), None);
}

/// A cure that would be refused here is replaced by the server or role that can do it.
#[test]
fn a_view_that_we_cannot_refresh_is_told_with_where_or_who() {
    let columns = "relid|view|owner|populated|refreshed_s|concurrent_ok|may_refresh|on_standby|refresh_waiting";
    let told = |may: bool, standby: bool| {
        let mut board = board();
        let row = format!("7|mart.a|keeper|true|60.0|true|{may}|{standby}|false");
        let _ = board.answer("views", table(columns, &[&row]));
        found(&mut board, "late_view", &[]).unwrap().cure
    };
    assert_eq!(told(true, false), "r refreshes it");
    assert_eq!(told(true, true), "refresh it on the primary");
    assert_eq!(told(false, false), "keeper may refresh it");
}

#[test]
fn waits_for_subtransactions_are_told_with_what_causes_them() {
    let mut board = board();
    let columns =
        "usename|application_name|datname|backend_type|wait_event_type|wait_event|query|n";
    let mut waits = |slru: i64, cpu: i64| {
        let rows = [
            format!("app|checkout|shop|client backend|LWLock|SubtransSLRU|SELECT 1|{slru}"),
            format!("app|checkout|shop|client backend|||SELECT 2|{cpu}"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let _ = board.answer("waits", table(columns, &rows));
        found(&mut board, "slru", &[])
    };
    assert_eq!(waits(0, 40), None);
    let finding = waits(30, 10).unwrap();
    assert!(
        finding
            .sentence
            .starts_with("oltp spends 38% of its time waiting for Subtrans buffers"),
        "{}",
        finding.sentence
    );
    assert!(finding.cure.contains("savepoints"), "{}", finding.cure);
}
