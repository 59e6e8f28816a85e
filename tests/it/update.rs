//! Events and effects: the queries sent, the actions of keys, and the actions never taken.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod anything;
mod background;
mod column_store;
mod columns;
mod layout;
mod pace;

use super::board::{Board, activity, facts, requests, table, trouble, views};
use htap_top::config::Config;
use htap_top::dashboard::action::{Action, ActionId, Outcome};
use htap_top::dashboard::diagnosis::{Gauge, Health};
use htap_top::dashboard::encoded::is_recorded;
use htap_top::dashboard::event::{Effect, Event, FeedId, Key};
use htap_top::dashboard::model::{Link, Popup, Screen};
use htap_top::explain::{Explained, Whose};
use htap_top::pg::admin::{Signal, Verdict};
use htap_top::pg::measure::Measured;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Class, PgError, Table, Value};
use htap_top::stream::pause;
use htap_top::system::refresh::Mode;
use std::time::Duration;

fn names(board: &Board, effects: &[Effect]) -> Vec<String> {
    requests(effects)
        .iter()
        .map(|request| board.model.feed(request.feed).unwrap().spec.name.clone())
        .collect()
}

/// A live board in trouble, with the sessions in full screen.
fn queries() -> Board {
    let mut board = Board::live(Config::default());
    let _ = board.answer("activity", trouble());
    let _ = board.keys("8");
    assert_eq!(board.model.screen, Screen::Full(board.id("activity")));
    board
}

/// A live board with four views and the focus on them.
fn four_views() -> Board {
    let mut board = Board::live(Config::default());
    let _ = board.answer("views", views());
    let _ = board.keys("7");
    board
}

fn acts(effects: &[Effect]) -> Vec<&Action> {
    effects
        .iter()
        .filter_map(|effect| {
            if let Effect::Act { action, .. } = effect {
                Some(action)
            } else {
                None
            }
        })
        .collect()
}

fn refreshed(effects: &[Effect]) -> Vec<(ActionId, String)> {
    let one = |effect: &Effect| match effect {
        Effect::Act {
            id,
            action:
                Action::Refresh {
                    view,
                    mode: Mode::Concurrent,
                },
        } => Some((*id, view.name.clone())),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

/// Known figures are shown nevertheless.
#[test]
fn the_header_says_that_facts_are_missing_and_no_more_once_they_came() {
    let mut board = Board::live(Config::default());
    assert!(!board.screen(160, 48).contains("facts missing"));
    let locked = PgError {
        sqlstate: Some("55P03".into()),
        ..PgError::new(Class::Statement, "canceling statement due to lock timeout")
    };
    let _ = board.outcome("extensions", Err(locked));
    assert!(board.screen(160, 48).contains("live, facts missing"));
    let _ = board.answer("extensions", table("pgss_version|pgss_schema", &["|"]));
    assert!(!board.screen(160, 48).contains("facts missing"));
}

#[test]
fn nothing_is_asked_before_the_facts_are_known() {
    let mut board = Board::new(Config::default());
    assert_eq!(board.tick(1000), []);
    let asked = board.open(SessionId::Fast);
    assert_eq!(names(&board, &asked), ["extensions", "facts"]);
    assert_eq!(board.open(SessionId::Slow), []);
    let asked = board.tick(5000);
    assert_eq!(
        names(&board, &asked),
        ["extensions"],
        "the facts are still under way"
    );
    let effects = board.answer("facts", facts());
    let asked = names(&board, &effects);
    for name in [
        "database",
        "activity",
        "snapshots",
        "sessions",
        "views",
        "bloat",
        "needs",
    ] {
        assert!(
            asked.iter().any(|asked| asked == name),
            "{name} is not among {asked:?}"
        );
    }
    assert!(
        !asked.contains(&"hourly_sales".to_owned()),
        "it needs a relation that may not exist"
    );
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Canary(Some(sql)) if sql.contains("pg_class")))
    );
    assert_eq!(board.asked_twice, Vec::<String>::new());
}

#[test]
fn each_feed_has_one_statement_under_way_and_is_due_again_after_the_interval() {
    let mut board = Board::new(Config::default());
    board.mute = true;
    let _ = board.connect();
    let again = board.tick(60_000);
    assert_eq!(
        names(&board, &again),
        ["facts"],
        "nothing else was answered"
    );
    let _ = board.answer("activity", trouble());
    let asked = board.tick(1);
    assert_eq!(names(&board, &asked), ["activity"], "overdue, so at once");
    let _ = board.answer("activity", trouble());
    let early = board.tick(900);
    assert_eq!(requests(&early).len(), 0);
    let due = board.tick(100);
    assert_eq!(names(&board, &due), ["activity"]);
    assert_eq!(board.asked_twice, Vec::<String>::new());
}

/// A pass over pg_stat_activity reads the full texts of all sessions: if that is slow, it is done rarely.
#[test]
fn a_fast_statement_that_takes_long_is_asked_less_often() {
    let mut board = Board::new(Config::default());
    board.mute = true;
    let _ = board.connect();
    let answer = |board: &mut Board, took_ms: f64| {
        let id = board.id("activity").0;
        let _ = board.event(Event::Reported(Report::Answered {
            id,
            took_ms,
            outcome: Ok(trouble()),
        }));
    };
    let asked = |board: &mut Board, ms: u64| {
        let due = board.tick(ms);
        names(board, &due).contains(&"activity".to_owned())
    };
    answer(&mut board, 200.0);
    assert!(asked(&mut board, 60_000), "overdue");
    answer(&mut board, 200.0);
    assert!(!asked(&mut board, 3_000));
    assert!(asked(&mut board, 1_000));
    // However long it takes, because rules depend on it.
    answer(&mut board, 60_000.0);
    assert!(asked(&mut board, 60_000));
    answer(&mut board, 60_000.0);
    assert!(asked(&mut board, 5_000));
}

/// A panel holds the beginning of a statement; the detail of a backend holds all of it that is known.
#[test]
fn a_backend_in_full_has_the_whole_text_of_its_statement() {
    let mut board = queries();
    let mut begun = trouble();
    for row in 0..begun.rows.len() {
        begun.set(row, "query", Value::from("UPDATE inventory SET …"));
    }
    let _ = board.answer("activity", begun);
    let asked = board.keys("j\n");
    let about = |sql: &str| sql.contains("pg_stat_get_activity(901)");
    assert!(requests(&asked).iter().any(|request| about(&request.sql)));
    let whole = "901|UPDATE inventory SET stock = 1 WHERE id = 4711";
    let _ = board.answer("backend_query", table("pid|query", &[whole]));
    let screen = board.screen(120, 60);
    assert!(screen.contains("WHERE id = 4711"), "{screen}");
}

#[test]
fn what_a_database_lacks_is_not_asked_and_is_named() {
    let mut board = Board::live(Config::default());
    let lacking = table(
        "name|found",
        &[
            "mart.sales_hourly|false",
            "shop.products|false",
            "mart.fact_sales|true",
        ],
    );
    let _ = board.answer("needs", lacking);
    let asked = board.tick(250);
    assert!(!names(&board, &asked).contains(&"hourly_sales".to_owned()));
    assert!(names(&board, &asked).contains(&"top_categories".to_owned()));
    let hourly = board.model.feed(board.id("hourly_sales")).unwrap();
    assert_eq!(hourly.sampling.missing.len(), 1);
    assert!(board.screen(140, 50).contains("needs mart.sales_hourly"));
    let _ = board.answer(
        "needs",
        table(
            "name|found",
            &[
                "mart.sales_hourly|true",
                "shop.products|true",
                "mart.fact_sales|true",
            ],
        ),
    );
    let asked = board.tick(250);
    assert!(
        names(&board, &asked).contains(&"hourly_sales".to_owned()),
        "created meanwhile"
    );
}

#[test]
fn a_lost_session_takes_its_statements_along() {
    let mut board = Board::live(Config::default());
    let _ = board.lose(SessionId::Fast, 1);
    let fast = |board: &Board| {
        let fast = ["activity", "snapshots", "database", "sessions"];
        fast.iter().all(|name| {
            board
                .model
                .feed(board.id(name))
                .unwrap()
                .sampling
                .in_flight
                .is_none()
        })
    };
    assert!(fast(&board));
    let asked = board.tick(5000);
    assert!(
        !names(&board, &asked).contains(&"activity".to_owned()),
        "asked on a lost session"
    );
    assert!(matches!(board.model.fast, Link::Lost { .. }));
    assert!(board.said().contains("connection lost"), "{}", board.said());
    let _ = board.lose(SessionId::Fast, 2);
    assert_eq!(
        board.model.log.len(),
        1,
        "each attempt is a line of the log"
    );
    let asked = board.open(SessionId::Fast);
    assert_eq!(
        names(&board, &asked),
        ["extensions", "facts"],
        "it may be another server now"
    );
    assert!(board.said().contains("connected again"));
    let asked = board.answer("facts", facts());
    assert!(names(&board, &asked).contains(&"activity".to_owned()));
}

#[test]
fn a_lost_olap_session_is_asked_for_again() {
    let mut board = Board::live(Config::default());
    let _ = board.answer("needs", table("name|found", &["mart.sales_hourly|true"]));
    let asked = board.tick(250);
    assert!(names(&board, &asked).contains(&"hourly_sales".to_owned()));
    let _ = board.answer("hourly_sales", table("hour|sales", &[]));
    // The server restarted: all idle sessions of the pool are closed. They reconnect only when a statement is
    // sent.
    for session in 0..3 {
        let _ = board.lose(SessionId::Olap(session), 0);
    }
    assert_eq!(board.model.log.len(), 1, "a line for each session");
    let asked = board.tick(60_000);
    assert!(
        names(&board, &asked).contains(&"hourly_sales".to_owned()),
        "the pool waits for a statement, the model for the pool"
    );
}

/// Each session of the pool opens when a statement is sent, while the others are working.
#[test]
fn an_opening_olap_session_does_not_ask_again_what_is_under_way() {
    let mut board = Board::live(Config::default());
    let _ = board.answer("needs", table("name|found", &["mart.sales_hourly|true"]));
    let asked = board.tick(250);
    assert!(names(&board, &asked).contains(&"hourly_sales".to_owned()));
    for session in 0..3 {
        let asked = board.open(SessionId::Olap(session));
        assert_eq!(requests(&asked).len(), 0, "{:?}", names(&board, &asked));
    }
    let _ = board.lose(SessionId::Olap(1), 0);
    let asked = board.tick(60_000);
    assert!(
        !names(&board, &asked).contains(&"hourly_sales".to_owned()),
        "another session still works on it"
    );
}

#[test]
fn data_are_marked_old_within_two_intervals_of_silence() {
    let mut board = queries();
    let old = |board: &Board| {
        board
            .model
            .is_stale(board.model.feed(board.id("activity")).unwrap())
    };
    for name in ["database", "snapshots", "sessions"] {
        let _ = board.answer(name, table("x", &[]));
    }
    let _ = board.tick(1000);
    assert!(!old(&board), "just asked");
    let _ = board.tick(500);
    assert!(!old(&board) || board.model.silent_s() > 0.9);
    let _ = board.tick(500);
    assert!(old(&board), "silent for {} s", board.model.silent_s());
    assert!(board.screen(120, 40).contains("silent for"));
    let _ = board.answer("activity", trouble());
    for name in ["database", "snapshots", "sessions"] {
        let _ = board.answer(name, table("x", &[]));
    }
    assert!(!old(&board));
}

fn gauge(board: &Board, label: &str) -> (String, Health) {
    let gauge = board.model.gauges.iter().find(|gauge| gauge.label == label);
    gauge.map_or_else(Default::default, |gauge| {
        (gauge.value.clone(), gauge.health)
    })
}

/// The point query's session may be lost alone if the server has no connection slot left.
#[test]
fn a_percentile_that_nobody_measures_any_more_goes() {
    let mut board = Board::live(Config::default());
    let _ = board.event(Event::CanaryTimed {
        latencies_ms: vec![4.0; 99],
        failed: 0,
    });
    let _ = board.answer("activity", trouble());
    let few = gauge(&board, "p99");
    assert_eq!(
        few,
        ("4.0ms".into(), Health::Unknown),
        "the highest of a few is no percentile"
    );
    let _ = board.event(Event::CanaryTimed {
        latencies_ms: vec![4.0],
        failed: 0,
    });
    let _ = board.answer("activity", trouble());
    assert_eq!(gauge(&board, "p99").1, Health::Good);
    let _ = board.tick(31_000);
    let _ = board.answer("activity", trouble());
    assert_eq!(gauge(&board, "p99"), ("?".into(), Health::Unknown));
}

/// Where somebody locks what the point query reads, it fails at its lock_timeout and has no latency.
#[test]
fn a_point_query_that_fails_is_no_calm_line() {
    let mut board = Board::live(Config::default());
    let mut p99_ms = |latencies_ms, failed| {
        let timed = Event::CanaryTimed {
            latencies_ms,
            failed,
        };
        let _ = board.event(timed);
        let _ = board.tick(1_000);
        let _ = board.answer("activity", trouble());
        board.model.history.course.loads.last().unwrap().p99_ms
    };
    let calm = p99_ms(vec![4.0; 100], 0);
    assert!((calm - 4.0).abs() < 0.5, "{calm}");
    let failing = p99_ms(Vec::new(), 5);
    assert!((failing - 100.0).abs() < 0.5, "twice the target: {failing}");
}

#[test]
fn a_gauge_does_not_live_on_old_figures() {
    let mut board = four_views();
    let _ = board.answer("activity", trouble());
    assert_eq!(gauge(&board, "fresh").1, Health::Danger);
    let _ = board.lose(SessionId::Slow, 1);
    let _ = board.answer("activity", trouble());
    assert_eq!(gauge(&board, "fresh"), ("?".into(), Health::Unknown));
}

#[test]
fn a_target_that_is_not_known_is_not_zero() {
    let mut board = Board::with(Config::default(), |_| {});
    let _ = board.answer("activity", trouble());
    let fresh = |gauge: &&Gauge| gauge.label == "fresh";
    let fresh = board.model.gauges.iter().find(fresh);
    let told = fresh.map(|gauge| (gauge.value.as_str(), gauge.target.as_str()));
    assert_eq!(told, Some(("?", "")), "of views that were not seen yet");
}

/// An error comes quickly: its duration is not that of an answer.
#[test]
fn a_panel_that_fails_is_not_a_fast_one() {
    let mut board = Board::live(Config::default());
    let _ = board.answer("needs", table("name|found", &["mart.sales_hourly|true"]));
    let _ = board.tick(250);
    let _ = board.answer("hourly_sales", table("hour|sales", &[]));
    let _ = board.answer("activity", activity(&[]));
    assert_eq!(gauge(&board, "olap").1, Health::Good);
    let denied = PgError::new(Class::Statement, "permission denied");
    let _ = board.outcome("hourly_sales", Err(denied));
    let _ = board.answer("activity", activity(&[]));
    assert_eq!(gauge(&board, "olap"), ("?".into(), Health::Unknown));
}

/// Behind a pooler, the session outlives the server, which may be another version then.
#[test]
fn a_restart_and_a_promotion_ask_for_the_facts_at_once() {
    let mut board = Board::live(Config::default());
    let mut counters = |started: &str, standby: &str| {
        let _ = board.tick(1000);
        let row = format!("100.0|{started}|{standby}|1000");
        let told = table(
            "now_epoch|postmaster_start|in_recovery|xact_commit",
            &[&row],
        );
        let effects = board.answer("database", told);
        let asked = names(&board, &effects).contains(&"facts".to_owned());
        let mut known = facts();
        known.set(0, "in_recovery", Value::Bool(standby == "true"));
        let _ = board.answer("facts", known);
        asked
    };
    assert!(!counters("1.0", "false"), "nothing has changed");
    assert!(!counters("1.0", "false"));
    assert!(counters("2.0", "false"), "restarted");
    assert!(!counters("2.0", "false"));
    assert!(counters("2.0", "true"), "a standby now");
    assert!(!counters("2.0", "true"));
    assert!(counters("2.0", "false"), "promoted");
}

/// A failed statement leaves no figure behind, and an unknown figure does not count as within its target.
#[test]
fn a_figure_whose_statement_fails_is_not_known() {
    let mut board = Board::live(Config::default());
    let counters = |at: &str, commits: &str| {
        let row = format!("{at}|{commits}|0|30|100|40");
        table(
            "now_epoch|xact_commit|xact_rollback|numbackends_all|max_connections|usable_connections",
            &[&row],
        )
    };
    let _ = board.answer("database", counters("100.0", "1000"));
    let _ = board.answer("sessions", table("usename|n", &[]));
    let _ = board.tick(1000);
    let _ = board.answer("database", counters("101.0", "1100"));
    assert_eq!(gauge(&board, "tps").1, Health::Unknown, "a second is short");
    let _ = board.tick(4000);
    let _ = board.answer("sessions", table("usename|n", &[]));
    let _ = board.answer("database", counters("105.0", "1500"));
    assert_eq!(gauge(&board, "tps"), ("100".into(), Health::Good));
    assert_eq!(gauge(&board, "oltp pool"), ("0".into(), Health::Good));
    let server = board
        .model
        .gauges
        .iter()
        .find(|gauge| gauge.label == "server");
    assert_eq!(
        server.unwrap().target,
        "40",
        "the others are kept for superusers"
    );
    let sentence = &board.model.cause.sentence;
    assert!(
        sentence.contains("p99") && !sentence.contains("all targets held"),
        "{sentence}"
    );
    let slow = PgError::new(Class::Timeout, "canceled by statement_timeout");
    for name in ["database", "sessions"] {
        let _ = board.outcome(name, Err(slow.clone()));
    }
    let _ = board.answer("activity", activity(&[]));
    assert_eq!(gauge(&board, "tps"), ("?".into(), Health::Unknown));
    assert_eq!(gauge(&board, "oltp pool"), ("?".into(), Health::Unknown));
}

/// An abandoned slot is older than the program: its age is unknown, but not 0.
#[test]
fn the_oldest_snapshot_of_unknown_age_is_not_young() {
    let mut board = Board::live(Config::default());
    let slot = || {
        table(
            "kind|holder|age_xids|age_s|own_database|xmin",
            &["slot|old|5000||true|1000"],
        )
    };
    for (at, health) in [("1000.0", Health::Unknown), ("1060.0", Health::Danger)] {
        let _ = board.answer(
            "database",
            table("xmin|xmax|now_epoch", &[&format!("6000|6000|{at}")]),
        );
        let _ = board.answer("snapshots", slot());
        // A vacuum that ended while it held has left these.
        let columns = "relid|relation|n_dead|dead_pct|vacuums|deaths|last_vacuum_s";
        let _ = board.answer("bloat", table(columns, &["7|t|90000|30.0|5|90000|20.0"]));
        let _ = board.answer("snapshots", slot());
        let _ = board.answer("activity", trouble());
        let (shown, judged) = gauge(&board, "snapshot");
        assert!(
            shown.starts_with('≥') && judged == health,
            "{shown} {judged:?}"
        );
    }
}

#[test]
fn a_statement_that_fails_is_asked_rarely() {
    let mut board = Board::live(Config::default());
    let denied = PgError {
        sqlstate: Some("42501".into()),
        ..PgError::new(Class::Statement, "permission denied")
    };
    let asked = board.outcome("snapshots", Err(denied.clone()));
    assert_eq!(
        names(&board, &asked),
        ["snapshots"],
        "once without what some servers forbid"
    );
    let _ = board.outcome("snapshots", Err(denied));
    let asked = board.tick(10_000);
    assert!(!names(&board, &asked).contains(&"snapshots".to_owned()));
    let asked = board.tick(25_000);
    assert!(names(&board, &asked).contains(&"snapshots".to_owned()));
}

#[test]
fn a_filter_keeps_matching_rows_and_escape_takes_it_away() {
    let mut board = queries();
    let _ = board.keys("/CHECK");
    assert_eq!(
        board.shown("activity", "pid").len(),
        0,
        "an upper-case letter makes case count"
    );
    let _ = board.key(Key::Ctrl('u'));
    let _ = board.keys("check");
    assert_eq!(board.shown("activity", "pid").len(), 3);
    let _ = board.keys("\n");
    assert_eq!(board.model.prompt, None);
    let _ = board.keys("/");
    assert_eq!(board.model.prompt.as_ref().unwrap().0, "check");
    let _ = board.key(Key::Ctrl('u'));
    let _ = board.keys("!check\n");
    assert_eq!(
        board.shown("activity", "usename"),
        ["billing".into(), "reports".into()]
    );
    let _ = board.key(Key::Esc);
    assert_eq!(board.shown("activity", "pid").len(), 5);
    assert!(
        matches!(board.model.screen, Screen::Full(_)),
        "the filter goes first"
    );
    let _ = board.keys("/(");
    let (typed, complaint) = board.model.prompt.clone().unwrap();
    assert_eq!(typed, "(");
    assert!(complaint.is_some_and(|why| !why.is_empty()));
    let _ = board.keys("\n");
    assert!(
        board.model.prompt.is_some(),
        "what is no expression cannot be entered"
    );
}

#[test]
fn letters_typed_into_a_filter_do_nothing_else() {
    let mut board = queries();
    let effects = board.keys("/CKXRrqyC ");
    assert_eq!(effects, []);
    assert_eq!(board.model.popup, None);
    assert_eq!(board.model.prompt.as_ref().unwrap().0, "CKXRrqyC ");
    assert_eq!(
        board.key(Key::Ctrl('c')),
        [Effect::Quit],
        "the way out is always open"
    );
}

#[test]
fn rows_are_sorted_by_a_chosen_column_and_back() {
    let mut board = queries();
    let worst_first = board.shown("activity", "pid");
    assert_eq!(worst_first.first(), Some(&Value::Int(812)));
    let _ = board.keys(">");
    let (column, _) = board
        .model
        .feed(board.id("activity"))
        .unwrap()
        .cursor
        .sort
        .clone()
        .unwrap();
    let sorted = board.shown("activity", &column);
    let numbers: Vec<f64> = sorted.iter().filter_map(Value::number).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] >= pair[1]),
        "{sorted:?}"
    );
    let _ = board.keys("I");
    assert_ne!(board.shown("activity", &column), sorted);
    let _ = board.keys("I");
    assert_eq!(board.shown("activity", "pid"), worst_first);
}

#[test]
fn the_selection_follows_its_row() {
    let mut board = queries();
    let _ = board.keys("jj");
    let selected = |board: &Board| {
        board
            .model
            .feed(board.id("activity"))
            .unwrap()
            .selected("pid")
            .clone()
    };
    let chosen = selected(&board);
    let mut moved = trouble();
    moved.rows.reverse();
    // Another one became the worst.
    moved
        .rows
        .retain(|row| row.first() != Some(&Value::Int(812)));
    let _ = board.answer("activity", moved);
    assert_eq!(selected(&board), chosen);
    let _ = board.answer("activity", activity(&[]));
    assert_eq!(
        board
            .model
            .feed(board.id("activity"))
            .unwrap()
            .cursor
            .selected,
        0
    );
    assert_eq!(board.keys("CK"), [], "there is nobody to hit");
    assert_eq!(board.model.popup, None);
}

#[test]
fn only_y_confirms() {
    for key in [
        Key::Enter,
        Key::Esc,
        Key::Char('Y'),
        Key::Char('n'),
        Key::Char(' '),
        Key::Char('K'),
        Key::Tab,
    ] {
        let mut board = queries();
        assert_eq!(board.keys("K"), []);
        assert!(matches!(board.model.popup, Some(Popup::Confirm(_))));
        assert_eq!(board.key(key), [], "{key:?}");
        assert_eq!(board.model.popup, None, "{key:?}");
        assert_eq!(board.said(), "nothing was sent");
    }
    for (keys, wanted, pid, since) in [
        ("jCy", Signal::Cancel, 901, "2026-01-02 03:03:53+00"),
        ("Ky", Signal::Terminate, 812, "2026-01-02 03:03:15+00"),
    ] {
        let mut board = queries();
        let effects = board.keys(keys);
        let [
            Action::Signal {
                signal, backends, ..
            },
        ] = acts(&effects)[..]
        else {
            panic!("{effects:?}")
        };
        assert_eq!((*signal, backends.len()), (wanted, 1));
        assert_eq!(backends[0].identity.pid, pid);
        assert!(
            backends[0]
                .identity
                .backend_start
                .ends_with(":00.000001+00")
        );
        assert_eq!(backends[0].identity.since.as_deref(), Some(since));
    }
}

#[test]
fn the_question_says_who_and_what_it_frees() {
    let mut board = queries();
    let _ = board.keys("K");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!()
    };
    let text = confirm.lines.join("\n");
    for word in [
        "812",
        "billing",
        "billing-job",
        "UPDATE shop.inventory",
        "rolled back",
        "2 waiting sessions",
    ] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

/// 902 waits for 901, and both for 812: if 812 and 901 are ended, only 902 is released.
#[test]
fn a_waiter_is_freed_once_and_not_where_it_is_hit_itself() {
    let mut board = queries();
    let _ = board.keys("TTK");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!()
    };
    let text = confirm.lines.join("\n");
    assert!(
        text.contains("pid 812") && text.contains("pid 901"),
        "{text}"
    );
    assert!(text.contains("Frees 1 waiting session"), "{text}");
}

/// A signal to an idle session does nothing, and must not look like a cure.
#[test]
fn only_a_running_statement_can_be_cancelled() {
    let mut board = queries();
    assert_eq!(board.keys("C"), []);
    assert_eq!(board.model.popup, None);
    assert!(
        board.said().contains("812; K terminates"),
        "{}",
        board.said()
    );
    let _ = board.keys("TTC");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!("{}", board.said())
    };
    assert!(confirm.lines[0].contains("pid 901"), "{:?}", confirm.lines);
}

/// The waits of a backend are sampled while its detail is open; those of other backends are not shown.
#[test]
fn a_backend_in_full_shows_what_it_does_meanwhile() {
    let mut board = queries();
    let asked = board.keys("j\n");
    let wanted: Vec<_> = requests(&asked)
        .iter()
        .map(|request| request.sql.to_string())
        .collect();
    let about = |sql: &&String| sql.contains("l.pid = 901") || sql.contains("a.pid = 901");
    assert_eq!(wanted.iter().filter(about).count(), 2, "{wanted:?}");
    let locks = |pid: i64| {
        table(
            "pid|granted|mode|locktype|target|wait_s|n",
            &[
                &format!("{pid}|false|ShareLock|transactionid|transaction 771|11.9|1"),
                &format!("{pid}|true|RowExclusiveLock|relation|shop.inventory||3"),
            ],
        )
    };
    let _ = board.answer("backend_locks", locks(812));
    let screen = board.screen(120, 60);
    assert!(
        screen.contains("Backend 901") && screen.contains("holds none, waits for none"),
        "{screen}"
    );
    let _ = board.answer("backend_locks", locks(901));
    let _ = board.answer(
        "backend_statement",
        table(
            "pid|calls|mean_ms|stddev_ms|max_ms|rows_per_call|read_pct|temp_bytes|wal_bytes",
            &["901|1200|2.5|0.5|90.0|1.0|0.0|0.0|410.0"],
        ),
    );
    let share_of_the_work = table(
        "pid|command|relation|phase|pct|extra",
        &["901|COPY|shop.orders|'COPY FROM|40.0|"],
    );
    let _ = board.answer("progress", share_of_the_work);
    let mut worker = trouble();
    worker.ensure_column("leader_pid");
    worker.set(3, "leader_pid", Value::Int(901));
    let _ = board.answer("activity", worker);
    let screen = board.screen(120, 90);
    let on_a_line = |screen: &str, share: &str, wait: &str| {
        screen
            .lines()
            .any(|line| line.contains(share) && line.contains(wait))
    };
    assert!(
        on_a_line(&screen, "100 %", "Lock transactionid"),
        "{screen}"
    );
    for word in [
        "in 2 samples since",
        "waits 12s",
        "ShareLock on transaction 771",
        "RowExclusiveLock on shop.inventory (3 of them)",
        "Parallel workers",
        "COPY, shop.orders",
        "40 %",
        "deviation",
        "E asks for it",
    ] {
        assert!(screen.contains(word), "{word} is not in:\n{screen}");
    }
    let _ = board.answer("activity", activity(&[]));
    let screen = board.screen(120, 90);
    assert!(
        screen.contains("No longer in the panel since 03:04:0"),
        "{screen}"
    );
    assert!(on_a_line(&screen, "33 %", "idle"), "{screen}");
}

/// A plan belongs to the last request.
#[test]
fn a_plan_is_shown_where_it_was_asked_for() {
    let mut board = queries();
    let effects = board.keys("jE");
    let [Effect::Explain { id, whose }] = &effects[effects.len() - 1..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        whose,
        &Whose::Backend {
            pid: 901,
            backend_start: board.shown("activity", "backend_start")[1]
                .text()
                .unwrap()
                .to_owned(),
            query_start: "2026-01-02 03:03:53+00".into(),
        }
    );
    let explained = |id, outcome| Event::Explained { id, outcome };
    let plan = |line: &str| Explained {
        how: "EXPLAIN, not run".into(),
        lines: vec![line.into(), "  ->  Index Scan".into()],
    };
    let _ = board.event(explained(ActionId(id.0 + 9), Ok(plan("of another"))));
    assert!(board.screen(120, 60).contains("writing the audit record …"));
    let _ = board.event(Event::ActionStarted(*id));
    assert!(board.screen(120, 60).contains("asked for …"));
    let _ = board.event(explained(*id, Ok(plan("Nested Loop"))));
    let screen = board.screen(120, 60);
    assert!(
        screen.contains("Nested Loop") && screen.contains("  ->  Index Scan"),
        "{screen}"
    );
    let effects = board.keys("E");
    let Some(Effect::Explain { id, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    let _ = board.event(explained(*id, Err("it writes".into())));
    assert!(board.screen(120, 60).contains("no plan: it writes"));
    // If there is no statement, it says so.
    let _ = board.key(Key::Esc);
    let _ = board.keys("7E");
    assert!(
        board.said().starts_with("no statement is selected"),
        "{}",
        board.said()
    );
}

/// The cost is stated before anything is read, and the result after.
#[test]
fn measuring_is_asked_for_told_and_cancelled() {
    let mut board = Board::live(Config::default());
    let _ = board.keys("8m");
    assert!(
        board.said().starts_with("select a table or an index"),
        "{}",
        board.said()
    );
    let bloat = table(
        "relid|relation|relkind|n_live|n_dead|dead_pct|size_bytes",
        &["16500|shop.orders|r|900|100|10.0|73400320"],
    );
    let _ = board.answer("bloat", bloat);
    assert_eq!(acts(&board.keys("5m")), Vec::<&Action>::new());
    let screen = board.screen(120, 40);
    assert!(
        screen.contains("Measure shop.orders exactly (70 MB)?"),
        "{screen}"
    );
    let effects = board.keys("y");
    let [
        Effect::Act {
            id,
            action: Action::Measure { relid: 16500, .. },
        },
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(board.keys("C").is_empty());
    assert_eq!(board.keys("y"), [Effect::CancelAction(id)]);
    let _ = board.event(Event::ActionEnded {
        id,
        outcome: Outcome::Measured(Measured::Table {
            bytes: 1_000_000,
            rows: 900,
            dead_rows: 100,
            dead_bytes: 100_000,
            free_bytes: 50_000,
        }),
    });
    let said = board.said();
    assert!(
        said.starts_with("measure shop.orders: ") && said.contains("100 dead"),
        "{said}"
    );
    assert!(
        said.contains("(10.0 %)") && said.contains("(5.0 %)"),
        "{said}"
    );
}

/// The question says which way it goes, and what it means for those who read.
#[test]
fn pausing_the_relay_is_asked_for_and_told() {
    let mut board = Board::live(Config::default());
    assert_eq!(acts(&board.keys("P")), Vec::<&Action>::new());
    assert!(
        board.said().starts_with("the stream's state is not known"),
        "{}",
        board.said()
    );
    let stages = |state: &str, by: &str| {
        table(
            "stage|name|state|since_s|lag_rows|lag_ms|error",
            &[
                &format!("outbox||{state}|90.0|7|2000.0|{by}"),
                &format!("relay|r 1|{state}|90.0|7|2000.0|{by}"),
            ],
        )
    };
    let _ = board.answer("stream", Table::default());
    assert_eq!(acts(&board.keys("Py")), Vec::<&Action>::new());
    assert!(
        board.said().starts_with("nothing is streamed"),
        "{}",
        board.said()
    );
    let _ = board.tick(11_000);
    let _ = board.answer("stream", stages("on", ""));
    let _ = board.keys("P");
    let screen = board.screen(120, 40);
    assert!(
        screen.contains("Pause the relay?") && screen.contains("Events stay in the outbox"),
        "{screen}"
    );
    let effects = board.keys("y");
    let [
        Effect::Act {
            id,
            action: Action::PauseRelay,
        },
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
    let verdict = pause::Verdict::Pending("broker".to_owned());
    let switched = pause::Switched {
        changed: true,
        verdict,
    };
    let _ = board.event(Event::ActionEnded {
        id,
        outcome: Outcome::Switched(switched),
    });
    assert_eq!(
        board.said(),
        "pause the relay: the relay still says broker: it finishes its batch first"
    );
    let _ = board.answer("stream", stages("paused", "by htap_monitor (ada)"));
    let _ = board.keys("P");
    let screen = board.screen(120, 40);
    assert!(
        screen.contains("Resume the relay, paused for 1m30s by htap_monitor (ada)?"),
        "{screen}"
    );
    assert_eq!(acts(&board.keys("y")), [&Action::ResumeRelay]);
    std::sync::Arc::make_mut(&mut board.model.config).read_only = true;
    let _ = board.keys("P");
    assert!(board.said().starts_with("read-only"), "{}", board.said());
}

/// By the time the user confirms, session 655 is between transactions or in another one.
#[test]
fn a_busy_session_is_terminated_whatever_its_transaction() {
    let mut board = queries();
    let effects = board.keys("/checkout\nGKy");
    let [Action::Signal { backends, .. }] = acts(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(backends[0].identity.pid, 655);
    assert_eq!(backends[0].identity.since, None);
}

/// Rows below an open detail come and go; keys act on the row it shows.
#[test]
fn keys_mean_the_row_whose_detail_is_open() {
    let mut board = queries();
    let _ = board.keys("\n");
    assert!(matches!(board.model.popup, Some(Popup::Detail(_))));
    let mut moved = trouble();
    moved.rows.push(moved.rows[3].clone());
    moved.rows[3][0] = Value::Int(111);
    for (name, value) in [
        ("blocked_by", Value::Null),
        ("xact_age_s", Value::Float(9_000.0)),
    ] {
        moved.set(3, name, value);
    }
    moved.rows[1..3]
        .iter_mut()
        .for_each(|row| row[12] = Value::Null);
    let _ = board.answer("activity", moved);
    assert_eq!(board.shown("activity", "pid")[0], Value::Int(111));
    let _ = board.keys("K");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!("{}", board.said())
    };
    assert!(confirm.lines[0].contains("pid 812"), "{:?}", confirm.lines);
    let _ = board.keys("n\n");
    let _ = board.answer("activity", activity(&[]));
    let _ = board.keys("K");
    assert!(board.said().contains("has exited"), "{}", board.said());
}

#[test]
fn a_lost_standby_gets_no_action() {
    let mut board = queries();
    let mut standby = facts();
    standby.set(0, "in_recovery", Value::Bool(true));
    let _ = board.answer("facts", standby);
    let _ = board.lose(SessionId::Fast, 1);
    assert_eq!(board.keys("K"), []);
    assert!(
        board.said().starts_with("not connected"),
        "{}",
        board.said()
    );
}

#[test]
fn a_refresh_that_ended_while_the_question_was_open_is_not_cancelled() {
    let mut board = four_views();
    let _ = board.keys("/hourly\nr");
    let effects = board.keys("y");
    let (id, _) = refreshed(&effects)[0].clone();
    let _ = board.keys("C");
    let outcome = Outcome::Refreshed(20.0);
    let _ = board.event(Event::ActionEnded { id, outcome });
    assert_eq!(board.keys("y"), []);
    assert!(board.said().contains("already ended"), "{}", board.said());
}

/// The dialog acts on the row selected when it opened, whatever arrives meanwhile.
#[test]
fn the_target_stays_while_the_dialog_is_open() {
    let mut board = queries();
    let _ = board.keys("K");
    let _ = board.answer("activity", activity(&[]));
    let effects = board.keys("y");
    let [Action::Signal { backends, .. }] = acts(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(backends[0].identity.pid, 812);
}

#[test]
fn several_need_their_number_typed() {
    let mut board = queries();
    assert_eq!(board.keys("jTTT"), []);
    assert_eq!(board.keys("C2\n"), [], "the number is 3");
    assert!(matches!(board.model.popup, Some(Popup::Confirm(_))));
    assert_eq!(board.keys("y"), []);
    assert_eq!(board.model.popup, None, "y is no for several");
    let _ = board.keys("C2");
    let _ = board.key(Key::Backspace);
    let effects = board.keys("3\n");
    let [
        Action::Signal {
            signal: Signal::Cancel,
            backends,
            ..
        },
    ] = acts(&effects)[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(backends.len(), 3);
    assert!(
        board
            .model
            .feed(board.id("activity"))
            .unwrap()
            .cursor
            .tagged
            .is_empty(),
        "tags stay for the next one"
    );
}

#[test]
fn read_only_refuses_every_action() {
    let mut board = Board::live(Config {
        read_only: true,
        ..Config::default()
    });
    let _ = board.answer("activity", trouble());
    let _ = board.answer("views", views());
    for keys in ["8C", "K", "X", "7r", "R"] {
        assert_eq!(acts(&board.keys(keys)), Vec::<&Action>::new(), "{keys}");
        assert_eq!(board.model.popup, None, "{keys}");
        assert!(
            board.said().starts_with("read-only"),
            "{keys}: {}",
            board.said()
        );
    }
}

#[test]
fn x_hits_only_old_olap_statements() {
    let mut board = queries();
    assert_eq!(board.keys("X"), []);
    let effects = board.keys("y");
    let [
        Action::Signal {
            signal: Signal::Cancel,
            backends,
            ..
        },
    ] = acts(&effects)[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(
        backends
            .iter()
            .map(|backend| backend.identity.pid)
            .collect::<Vec<_>>(),
        [777]
    );
    let mut config = Config::default();
    config.targets.olap_limit = Duration::from_secs(76);
    let mut board = Board::live(config);
    let _ = board.answer("activity", trouble());
    assert_eq!(board.keys("X"), []);
    assert_eq!(board.model.popup, None);
    assert!(
        board.said().contains("no OLAP statement"),
        "{}",
        board.said()
    );
}

#[test]
fn all_views_are_refreshed_one_at_a_time_in_order() {
    let mut board = four_views();
    assert_eq!(board.keys("R"), [], "it asks first");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!("no question: {:?}", board.model.popup);
    };
    let left_out = "Left out: mart.plain: not CONCURRENTLY (no unique index)";
    assert!(
        confirm.lines.iter().any(|line| line == left_out),
        "{:?}",
        confirm.lines
    );
    let effects = board.keys("y");
    let (first, view) = refreshed(&effects)[0].clone();
    assert_eq!(
        (refreshed(&effects).len(), view.as_str()),
        (1, "fact"),
        "the others read it"
    );
    assert_eq!(board.model.queue.len(), 2);
    let effects = board.keys("Ry");
    assert_eq!(
        refreshed(&effects),
        [],
        "they are running or waiting already"
    );
    assert_eq!(board.model.queue.len(), 2);
    let waiting = "writing the audit record …";
    assert!(board.screen(120, 40).contains(waiting));
    let _ = board.event(Event::ActionStarted(first));
    assert!(!board.screen(120, 40).contains(waiting));
    let failed = Outcome::Failed(PgError::new(Class::Statement, "out of space"));
    let effects = board.event(Event::ActionEnded {
        id: first,
        outcome: failed,
    });
    let (second, view) = refreshed(&effects)[0].clone();
    assert_eq!(view, "hourly", "one that failed does not stop the others");
    let effects = board.event(Event::ActionEnded {
        id: second,
        outcome: Outcome::Refreshed(20.0),
    });
    let (third, view) = refreshed(&effects)[0].clone();
    assert_eq!(view, "daily");
    let effects = board.event(Event::ActionEnded {
        id: third,
        outcome: Outcome::Refreshed(20.0),
    });
    assert_eq!(refreshed(&effects), []);
    assert!(board.model.running.is_empty());
}

#[test]
fn cancelling_the_running_refresh_drops_those_behind_it() {
    let mut board = four_views();
    let (id, _) = refreshed(&board.keys("Ry"))[0].clone();
    assert_eq!(board.keys("C"), []);
    assert_eq!(board.keys("y"), [Effect::CancelAction(id)]);
    let effects = board.event(Event::ActionEnded {
        id,
        outcome: Outcome::Cancelled,
    });
    assert_eq!(acts(&effects), Vec::<&Action>::new());
    assert!(board.model.queue.is_empty() && board.model.running.is_empty());
    assert_eq!(board.keys("C"), []);
    assert_eq!(board.model.popup, None, "there is none to cancel");
}

#[test]
fn a_view_that_cannot_be_refreshed_concurrently_is_offered_the_plain_form() {
    let mut board = four_views();
    let _ = board.keys("/plain\nr");
    let Some(Popup::Confirm(confirm)) = &board.model.popup else {
        panic!("{}", board.said())
    };
    let text = confirm.lines.join("\n");
    assert!(
        text.contains("no unique index") && text.contains("ACCESS EXCLUSIVE"),
        "{text}"
    );
    let effects = board.keys("y");
    assert!(
        matches!(
            acts(&effects)[..],
            [Action::Refresh {
                mode: Mode::Full,
                ..
            }]
        ),
        "{effects:?}"
    );
}

#[test]
fn somebody_else_s_view_and_a_standby_s_are_refused() {
    for (column, value, word) in [
        ("may_refresh", Value::Bool(false), "owner"),
        ("on_standby", Value::Bool(true), "standby"),
    ] {
        let mut table = views();
        for row in 0..table.rows.len() {
            table.set(row, column, value.clone());
        }
        let mut board = Board::live(Config::default());
        let _ = board.answer("views", table);
        let _ = board.keys("7");
        assert_eq!(acts(&board.keys("ry")), Vec::<&Action>::new());
        assert_eq!(acts(&board.keys("R")), Vec::<&Action>::new());
        assert!(
            board
                .model
                .log
                .iter()
                .any(|line| line.text.as_str().contains(word)),
            "{word}"
        );
    }
}

#[test]
fn a_paused_board_asks_nothing_and_goes_on_afterwards() {
    let mut board = queries();
    let _ = board.keys(" ");
    assert!(board.model.paused);
    for _ in 0..20 {
        let asked = board.tick(5000);
        assert_eq!(requests(&asked).len(), 0);
    }
    assert!(board.screen(120, 40).contains("PAUSED"));
    let _ = board.keys(" ");
    let asked = board.tick(250);
    assert!(names(&board, &asked).contains(&"activity".to_owned()));
}

#[test]
fn pasted_text_never_acts() {
    let mut board = queries();
    for text in ["q", "Cy", "K\ny\n", "R", "X\ry", "\u{3}"] {
        assert_eq!(board.event(Event::Pasted(text.into())), []);
        assert_eq!(board.model.popup, None);
    }
    let _ = board.keys("K");
    assert_eq!(
        board.event(Event::Pasted("y".into())),
        [],
        "a question is answered by a key only"
    );
    assert!(matches!(board.model.popup, Some(Popup::Confirm(_))));
    let _ = board.key(Key::Esc);
    let _ = board.keys("/");
    assert_eq!(board.event(Event::Pasted("che\nck\u{1b}".into())), []);
    assert_eq!(board.model.prompt.as_ref().unwrap().0, "check");
    assert!(matches!(board.model.screen, Screen::Full(_)));
}

#[test]
fn every_outcome_is_said_as_it_is() {
    let refused = PgError::new(Class::Statement, "must be a superuser");
    let lost = PgError::new(Class::Reconnect, "connection lost");
    for (verdict, word) in [
        (Verdict::Gone, "gone (read back"),
        (Verdict::Changed, "nothing was sent"),
        (Verdict::StillRunning, "still running"),
        (Verdict::Refused(refused), "must be a superuser"),
        (Verdict::Unknown(lost), "outcome unknown"),
    ] {
        let mut board = queries();
        let effects = board.keys("jCy");
        let Some(Effect::Act { id, .. }) = effects.first() else {
            panic!("{effects:?}")
        };
        let effects = board.event(Event::ActionEnded {
            id: *id,
            outcome: Outcome::Signalled(vec![verdict]),
        });
        assert!(board.said().contains(word), "{word}: {}", board.said());
        assert!(board.model.running.is_empty());
        assert_eq!(acts(&effects), Vec::<&Action>::new());
    }
    let mut board = queries();
    assert_eq!(
        board.event(Event::ActionEnded {
            id: ActionId(99),
            outcome: Outcome::Cancelled
        }),
        [],
        "nobody asked for it"
    );
}

#[test]
fn pages_open_and_close_and_escape_never_quits() {
    let mut board = queries();
    assert_eq!(board.keys("8"), []);
    assert_eq!(board.model.screen, Screen::Overview, "again to come back");
    for digit in "1234567".chars() {
        let _ = board.keys(&digit.to_string());
        let Screen::Full(FeedId(id)) = board.model.screen else {
            panic!("{digit}")
        };
        assert_eq!(
            board.model.feeds[usize::from(id)].spec.front.digit,
            digit.to_digit(10).map(|d| d as u8)
        );
        assert_eq!(board.model.focus, FeedId(id));
    }
    let _ = board.keys("9");
    assert_eq!(board.model.screen, Screen::More);
    for _ in 0..5 {
        assert_eq!(board.key(Key::Esc), []);
    }
    assert_eq!(board.model.screen, Screen::Overview);
    assert_eq!(board.keys("q"), [Effect::Quit]);
    assert_eq!(board.keys("?"), []);
    assert!(matches!(board.model.popup, Some(Popup::Help { .. })));
    let _ = board.keys("L");
    assert!(matches!(board.model.popup, Some(Popup::Log { .. })));
    let _ = board.key(Key::Esc);
    assert_eq!(board.model.popup, None);
}

/// Checks that the screen shows these words.
fn says(board: &mut Board, words: &[&str]) {
    let screen = board.screen(200, 60);
    for word in words {
        assert!(screen.contains(word), "{word:?} is not in\n{screen}");
    }
}

#[test]
fn the_key_that_the_cause_line_names_works_in_every_panel() {
    let asked = |board: &Board| match &board.model.popup {
        Some(Popup::Confirm(confirm)) => confirm.lines.first().cloned(),
        other => panic!("{other:?}"),
    };
    let ends = "Terminate the session of pid 812";
    let mut board = Board::live(Config::default());
    let _ = board.answer("activity", trouble());
    let cause = &board.model.cause;
    assert_eq!((cause.rule, cause.ends), ("lock_queue", Some(812)));
    assert!(cause.cure.starts_with("K "), "{}", cause.cure);
    // The timeline lists no backends.
    let _ = board.keys("HK");
    assert!(asked(&board).unwrap().starts_with(ends));
    let _ = board.key(Key::Esc);
    // Another one is selected, and the evidence is open.
    let _ = board.keys("8gjK");
    assert!(!asked(&board).unwrap().starts_with(ends));
    let _ = board.key(Key::Esc);
    let _ = board.keys("eK");
    assert!(asked(&board).unwrap().starts_with(ends));
}

#[test]
fn keys_are_those_that_are_bound() {
    let text = "[keys]\nterminate = \"k\"\nprevious_row = \"up\"\nconfirm = \"f10\"\nfilter = \"alt-f\"\naccept = \"tab\"\n\
                quit = \"ctrl-q\"\nlist_panels = \"f4\"\nhelp = \"f1\"\nreconnect = \"ctrl-r\"\n\
                [keys.panels]\nactivity = \"f8\"\n[keys.list]\nlocks = \"K\"\n";
    let mut board = Board::live(Config::parse("config.toml".as_ref(), text).unwrap());
    let _ = board.answer("activity", trouble());
    says(
        &mut board,
        &[
            "╭ F8 Queries",
            " k terminate ",
            " Alt-f filter ",
            " F1 help ",
        ],
    );
    // The default keys do nothing any more.
    let before = (board.model.screen, board.model.focus);
    assert_eq!(board.keys("8K?p/q"), []);
    assert_eq!(board.key(Key::Ctrl('c')), []);
    assert_eq!(
        (board.model.popup.take(), board.model.prompt.take()),
        (None, None)
    );
    assert_eq!((board.model.screen, board.model.focus), before);

    let _ = board.key(Key::F(8));
    assert_eq!(board.model.screen, Screen::Full(board.id("activity")));
    let _ = board.key(Key::Alt('f'));
    let _ = board.keys("k");
    assert_eq!(board.model.prompt.as_ref().unwrap().0, "k", "it is typed");
    let _ = board.key(Key::Enter);
    assert!(board.model.prompt.is_some());
    let _ = board.key(Key::Backspace);
    let _ = board.key(Key::Tab);
    assert_eq!(board.model.prompt, None);

    assert_eq!(board.keys("k"), []);
    says(&mut board, &["F10 yes    any other key: no"]);
    assert_eq!(board.keys("y"), []);
    assert_eq!(
        (board.model.popup.clone(), board.said().as_str()),
        (None, "nothing was sent")
    );
    let _ = board.keys("k");
    assert_eq!(acts(&board.key(Key::F(10))).len(), 1);

    let _ = board.key(Key::F(4));
    says(&mut board, &["F8  Queries", "K   Locks"]);
    let _ = board.keys("K");
    assert_eq!(board.model.screen, Screen::Full(board.id("locks")));
    let _ = board.answer("activity", activity(&[]));
    let _ = board.keys("k");
    assert_eq!(
        board.said(),
        "select a backend first: F8 lists queries, 6 snapshots; Tab moves there"
    );
    let _ = board.key(Key::F(1));
    says(
        &mut board,
        &["Alt-f", "filter rows by a regular expression"],
    );
    let _ = board.key(Key::Esc);
    board.lose(SessionId::Fast, 1);
    let _ = board.key(Key::Alt('f'));
    assert_eq!(
        board.key(Key::Ctrl('q')),
        [Effect::Quit],
        "also while typing"
    );
    // No recording depends on keys.
    assert!(!is_recorded(&Event::KeyPressed(Key::F(8))));
}

/// The facts may arrive before the session for slow statements is open: it answers statements sent earlier.
#[test]
fn what_is_asked_of_a_session_before_it_is_open_is_asked_once() {
    let mut board = Board::new(Config::default());
    let _ = board.open(SessionId::Fast);
    let slow = |effects: &[Effect], board: &Board| {
        let requests = requests(effects).into_iter();
        let name = |request: &htap_top::dashboard::event::Request| {
            board.model.feed(request.feed).unwrap().spec.name.clone()
        };
        let names: Vec<String> = requests.map(name).collect();
        names.iter().any(|name| name == "bloat")
    };
    let asked = board.answer("facts", facts());
    assert!(slow(&asked, &board), "{asked:?}");
    let again = board.open(SessionId::Slow);
    assert!(!slow(&again, &board), "{again:?}");
    // A lost session has forgotten its statements.
    let _ = board.lose(SessionId::Slow, 1);
    let again = board.open(SessionId::Slow);
    assert!(slow(&again, &board), "{again:?}");
}

#[test]
fn a_recording_that_falls_behind_is_said_until_it_goes_on() {
    let mut board = Board::new(Config::default());
    let _ = board.event(Event::Unrecorded(3));
    assert!(board.screen(120, 40).contains("samples are being dropped"));
    for _ in 0..10 {
        let _ = board.tick(1_000);
    }
    let _ = board.event(Event::Unrecorded(312));
    let count = "recording: 312 samples dropped";
    assert!(board.screen(120, 40).contains(count));
    assert!(board.screen(80, 24).contains(count));
    let _ = board.event(Event::Unrecorded(0));
    assert!(!board.screen(120, 40).contains("dropped"));
    let said = board.model.log.iter();
    let said = said.filter(|line| line.text.as_str().contains("samples are being dropped"));
    assert_eq!(said.count(), 1);
}

/// Feeds of the pooler among those asked.
fn of_pooler(board: &Board, effects: &[Effect]) -> Vec<String> {
    let mut names = names(board, effects);
    names.retain(|name| name.starts_with("pooler"));
    names.sort();
    names
}

#[test]
fn a_pooler_is_asked_only_if_it_is_watched_and_whatever_the_server_does() {
    const EVERY: [&str; 4] = ["pooler", "pooler_clients", "pooler_servers", "pooler_stats"];
    const NONE: [&str; 0] = [];
    let mut board = Board::live(Config::default());
    let asked = board.tick(1000);
    assert_eq!(of_pooler(&board, &asked), NONE);
    assert_eq!(board.model.feed_named("pooler"), None);
    let mut board = Board::with(Config::default(), |start| {
        start.pooler = Some("p:6432".into());
    });
    // No server has been reached yet.
    let feeds = board.model.feeds.iter();
    let asked = feeds.filter(|feed| feed.sampling.in_flight.is_some());
    let asked: Vec<(&str, &str)> = asked
        .map(|feed| (feed.spec.name.as_str(), &*feed.sql))
        .collect();
    assert_eq!(asked.len(), 6, "{asked:?}");
    for (name, sql) in asked {
        assert!(
            name.starts_with("pooler") && sql.starts_with("SHOW "),
            "{name}: {sql}"
        );
    }
    let _ = board.open(SessionId::Pooler);
    let _ = board.connect();
    for feed in ["pooler_version", "pooler_databases"] {
        let _ = board.answer(feed, Table::default());
    }
    for _ in 0..3 {
        for feed in EVERY {
            let _ = board.answer(feed, Table::default());
        }
        let asked = board.tick(1000);
        assert_eq!(of_pooler(&board, &asked), EVERY);
    }
    let _ = board.lose(SessionId::Pooler, 1);
    let asked = board.tick(1000);
    assert_eq!(of_pooler(&board, &asked), NONE, "not while it is lost");
    let asked = board.open(SessionId::Pooler);
    assert_eq!(
        of_pooler(&board, &asked).len(),
        6,
        "at once when it is back"
    );
    assert_eq!(board.faults(), Vec::<String>::new());
}
