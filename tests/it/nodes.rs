//! Nodes on real servers: a standby that the OLAP pool reads is paused, killed, started again and promoted.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

use super::board::{Board, requests, table};
use super::facts::until;
use super::host::{busy, end};
use super::server::{Database, Order, Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::diagnosis::finding::Finding;
use htap_top::dashboard::event::Effect;
use htap_top::dashboard::model::{Model, Start};
use htap_top::dashboard::output;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Spec;
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::runtime::Targets;
use htap_top::dashboard::runtime::headless::{Headless, Settled};
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Client, Table, Target, Value};
use htap_top::system::schema;
use std::time::Duration;

const SLOT: &str = "reader";
/// A business panel: the number of heartbeats on the server that is read.
const BEATS: &str = "-- title = \"Beats\"\n-- pool = \"olap\"\n-- interval = \"1s\"\n-- about = \"x\"\n\
                     SELECT pg_catalog.count(*) AS n FROM htap.heartbeat";
const BEAT: &str = "INSERT INTO htap.heartbeat DEFAULT VALUES";
/// A router's first report.
const ROUTED: &str = "
    INSERT INTO htap.routing (instance, program, routed, fallbacks, misroutes, reruns, waits, wait_ms_sum, wait_ms_p50,
                              wait_ms_p99, breaker, opened)
    VALUES ('r', 'r', '{\"replica olap read\": 10, \"primary oltp write\": 5}', '{}', 0, 0, 0, 0, 0, 0, 'closed', 0)";
/// Its report two seconds later.
const ROUTED_MORE: &str = "
    UPDATE htap.routing
    SET reported_at = reported_at + interval '2 s', misroutes = 3, fallbacks = '{\"paused\": 4}',
        routed = '{\"replica olap read\": 30, \"primary oltp write\": 7}'";

fn watch(primary: Target, replica: Target, panels: &[&str], only: bool) -> Headless {
    let start = Start {
        config: Config::default(),
        built_in: panels::built_in().unwrap(),
        own_panels: vec![Spec::parse("beats", BEATS).unwrap()],
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Vec::new(),
        target: "shop @ primary".into(),
        olap_target: Some("shop @ replica".into()),
        olap_server: Some("replica".into()),
        pooler: None,
        columnar: None,
        own_roles: Vec::new(),
        demo: false,
        server: None,
    };
    let panels: Vec<String> = panels.iter().map(|name| (*name).to_owned()).collect();
    let targets = Targets::new(primary, Some(replica), None);
    Headless::start(start, targets, &panels, only)
}

/// The cells of a column, from the first node on.
fn cells(model: &Model, column: &str) -> Vec<String> {
    let table = model.rows(Panel::Nodes);
    let rows = 0..table.rows.len();
    rows.map(|row| table.get(row, column).text().unwrap_or("-").to_owned())
        .collect()
}

/// Whether the standby's row is in this state, and the only one besides this server's.
fn is(model: &Model, state: &str) -> bool {
    cells(model, "state") == ["running", state] && cells(model, "name") == ["primary", SLOT]
}

fn finding<'m>(model: &'m Model, rule: &str) -> Option<&'m Finding> {
    model.findings.iter().find(|finding| finding.rule == rule)
}

fn says(model: &Model, what: &str) -> bool {
    finding(model, "nodes").is_some_and(|finding| finding.sentence.contains(what))
}

/// What the business panel counts, and whether the primary was asked.
fn beats(model: &Model) -> (Option<i64>, bool) {
    let feed = model.feed(model.feed_named("beats").unwrap()).unwrap();
    (feed.table.first("n").int(), feed.sampling.from_here)
}

/// The primary and its standby are shown with what routers send there; `once` has the same.
async fn both_are_shown(headless: &mut Headless, admin: &Client, targets: [Target; 2]) {
    until(headless, "both nodes", |model| is(model, "streaming")).await;
    admin.batch(ROUTED).await.unwrap();
    until(headless, "the router reports", |model| {
        !model.rows(Panel::Routing).rows.is_empty()
    })
    .await;
    admin.batch(BEAT).await.unwrap();
    admin.batch(ROUTED_MORE).await.unwrap();
    until(
        headless,
        "what is routed, and the lag by heartbeat",
        |model| {
            let table = model.rows(Panel::Nodes);
            let routed = |row| table.get(row, "routed_per_s").number();
            (routed(0), routed(1)) == (Some(1.0), Some(10.0))
                && table.get(1, "lag_by").text() == Some("heartbeat")
        },
    )
    .await;
    let model = &headless.model;
    assert_eq!(cells(model, "role"), ["primary", "standby"]);
    assert_eq!(cells(model, "why"), ["write 1", "read 10"]);
    assert_eq!(cells(model, "fallback_reasons"), ["-", "paused 2"]);
    assert_eq!(cells(model, "known_by"), ["-", "slot"]);
    assert_eq!(cells(model, "slot"), ["-", SLOT]);
    assert_eq!(cells(model, "breaker"), ["-", "closed"]);
    let table = model.rows(Panel::Nodes);
    assert_eq!(table.get(1, "misroutes"), &Value::Int(3));
    assert_eq!(table.get(1, "conflicts"), &Value::Int(0));
    assert!(table.get(1, "sessions").number() >= Some(1.0), "{table:?}");
    assert!(table.get(1, "retained_bytes").is_known(), "{table:?}");
    assert_eq!(
        model
            .findings
            .iter()
            .find(|finding| finding.rule == "nodes"),
        None
    );
    admin.batch("DELETE FROM htap.routing").await.unwrap();
    let [primary, replica] = targets;
    let mut once = watch(primary, replica, &["nodes"], true);
    assert_eq!(
        Box::pin(once.settle(Duration::from_secs(60))).await,
        Settled::All
    );
    let sheets = output::sheets(&once.model, &["nodes".to_owned()]);
    let rows = sheets[0].rows.as_ref().unwrap();
    let state = sheets[0].column("state").unwrap();
    assert_eq!(
        [&rows[0][state], &rows[1][state]],
        [&Value::from("running"), &Value::from("streaming")]
    );
    once.end().await;
}

/// What a report on the standby takes of the machine is in the standby's row, while the panel is looked at.
async fn use_of_the_machine_is_shown(there: &Database<'_>, [primary, replica]: [Target; 2]) {
    let (pid, work) = busy(there).await;
    let mut once = watch(primary, replica, &["nodes"], true);
    until(&mut once, "the standby's use of the machine", |model| {
        let table = model.rows(Panel::Nodes);
        let by = table.get(1, "cpu_by").text().unwrap_or_default();
        table.get(1, "cpu_pct").number() > Some(1.0) && by.contains("olap ")
    })
    .await;
    once.end().await;
    end(there, pid, work).await;
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[test]
fn a_standby_is_shown_paused_lost_back_and_promoted() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("nodes").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        admin.batch(BEAT).await.unwrap();
        let standby = Server::start(&Order {
            major: Some(server.major()),
            replica_of: Some((server.socket_dir().to_owned(), server.port())),
            slot: Some(SLOT.to_owned()),
            ..Order::default()
        });
        let there = Database {
            server: &standby,
            name: database.name.clone(),
        };
        let replica = there.target_of("htap_olap");
        let mut headless = watch(database.target(), replica.clone(), &[], false);
        Box::pin(both_are_shown(
            &mut headless,
            &admin,
            [database.target(), replica],
        ))
        .await;
        until(&mut headless, "business panels are read there", |model| {
            beats(model) == (Some(2), false)
        })
        .await;

        until(&mut headless, "the primary's use of the machine", |model| {
            model.rows(Panel::Nodes).get(0, "cpu_pct").is_known()
        })
        .await;
        Box::pin(use_of_the_machine_is_shown(
            &there,
            [database.target(), there.target_of("htap_olap")],
        ))
        .await;

        let client = Client::connect(&standby.target("postgres", SUPERUSER))
            .await
            .unwrap();
        client.batch("SELECT pg_wal_replay_pause()").await.unwrap();
        admin.batch(BEAT).await.unwrap();
        until(
            &mut headless,
            "the pause is named, and the primary is read",
            |model| {
                is(model, "paused")
                    && says(model, "replay is paused on reader for")
                    && beats(model) == (Some(3), true)
            },
        )
        .await;
        let told = finding(&headless.model, "nodes").unwrap();
        assert_eq!(told.cure, "SELECT pg_wal_replay_resume() there");
        let read = (
            "business panels".to_owned(),
            "read from the primary".to_owned(),
        );
        assert!(told.evidence.contains(&read), "{told:?}");
        // The disk of the machine that runs the tests may be nearly full.
        let cause = &headless.model.cause;
        assert!(["nodes", "disk_space"].contains(&cause.rule), "{cause:?}");

        client.batch("SELECT pg_wal_replay_resume()").await.unwrap();
        until(&mut headless, "the standby is read again", |model| {
            is(model, "streaming")
                && finding(model, "nodes").is_none()
                && beats(model) == (Some(3), false)
        })
        .await;

        drop(client);
        standby.kill_all();
        admin.batch(BEAT).await.unwrap();
        until(
            &mut headless,
            "the loss is named, and the primary is read",
            |model| {
                is(model, "lost")
                    && says(model, "reader lost for")
                    && beats(model) == (Some(4), true)
            },
        )
        .await;
        let model = &headless.model;
        assert!(says(model, "its slot retains "), "{:?}", model.findings);
        assert_eq!(finding(model, "replication"), None, "said once");

        standby.start_again();
        until(&mut headless, "it is back", |model| {
            is(model, "streaming")
                && finding(model, "nodes").is_none()
                && beats(model) == (Some(4), false)
        })
        .await;

        let client = Client::connect(&standby.target("postgres", SUPERUSER))
            .await
            .unwrap();
        client.batch("SELECT pg_promote()").await.unwrap();
        until(&mut headless, "the promotion is named", |model| {
            is(model, "promoted") && says(model, "reader was promoted") && beats(model).1
        })
        .await;
        let told = finding(&headless.model, "nodes").unwrap();
        assert_eq!(told.health, Health::Danger);
        assert_eq!(cells(&headless.model, "role"), ["primary", "primary"]);
        headless.end().await;
    });
}

/// A board with a standby that the OLAP pool reads, and a router that reports.
fn pair() -> Board {
    let mut board = Board::beside_replica(Config::default(), |start| {
        start.own_panels = vec![Spec::parse("beats", BEATS).unwrap()];
    });
    let _ = board.answer("beats", table("n", &["7"]));
    board
}

/// The standby's row: bytes that it lacks. The slot's: what can still be written before it is lost.
fn replication(lag: i64, safe: i64) -> Table {
    table(
        "kind|name|pid|client|state|active|lasting|lag_bytes|lag_s|retained_bytes|wal_status|safe_wal_bytes|xmin_age|restricted|\
         head_bytes|wanted|replay_paused|restores|replayed_s",
        &[
            &format!(
                "replica|walreceiver|901|10.0.0.2|streaming|true|true|{lag}|80.0||||0|false|900000000||||"
            ),
            &format!(
                "slot|{SLOT}|901||physical|true|true|||{lag}|extended|{safe}||false|900000000||||"
            ),
        ],
    )
}

/// Where the business panel is read by these effects; it is answered.
fn read(board: &mut Board, effects: &[Effect]) -> Vec<bool> {
    let id = board.id("beats");
    let asked = requests(effects);
    let asked = asked.iter().filter(|request| request.feed == id);
    let asked: Vec<bool> = asked.map(|request| request.here).collect();
    for _ in &asked {
        let _ = board.answer("beats", table("n", &["7"]));
    }
    asked
}

/// Answers what is asked about nodes; returns where the business panel is read meanwhile.
fn tell(board: &mut Board, paused: bool, replication: Table, router: &str) -> Vec<bool> {
    let effects = board.tick(1_000);
    let mut places = read(board, &effects);
    let here = table(
        "in_recovery|version|started_us|head_bytes|sessions",
        &["false|'17.5|1|900000000|62"],
    );
    let routing = table(
        "instance|reported_epoch|routed|fallbacks|misroutes|breaker|barred|breaker_s",
        &[router],
    );
    let replica = format!(
        "true|'17.5|2|'7500000000000000001|{paused}|600000000|false|80.0|true||{SLOT}|false|true||14|0|0|0|0|0"
    );
    let replica = table(
        "in_recovery|version|started_us|system|paused|replayed_bytes|caught_up|replay_age_s|receives|slot_name|set_slot_name|\
         restores|feedback|address|sessions|by_snapshot|by_lock|by_bufferpin|by_deadlock|by_tablespace",
        &[&replica],
    );
    for (feed, table) in [
        ("routing", routing),
        ("replication", replication),
        ("nodes", here),
        ("node_replica", replica),
    ] {
        let _ = board.answer(feed, table);
    }
    let effects = board.tick(250);
    places.extend(read(board, &effects));
    places
}

/// The panel's rows.
pub(super) fn shown() -> Table {
    let mut board = pair();
    let _ = tell(
        &mut board,
        false,
        replication(0, 1_000_000_000),
        "r|1.0|{}|{}|0|none||",
    );
    board.model.rows(Panel::Nodes).clone()
}

#[test]
fn business_panels_are_asked_elsewhere_once_the_standby_is_paused_and_return_at_once() {
    let mut board = pair();
    let calm = "r|1.0|{}|{}|0|closed||1.0";
    assert_eq!(
        tell(&mut board, false, replication(0, 1_000_000_000), calm),
        [false]
    );
    let asked = tell(&mut board, true, replication(0, 1_000_000_000), calm);
    assert_eq!(asked.last(), Some(&true), "{asked:?}");
    assert!(beats(&board.model).1);
    let before = board.model.log.len();
    let asked = tell(&mut board, true, replication(0, 1_000_000_000), calm);
    assert_eq!(asked, [true], "as often as otherwise");
    assert_eq!(board.model.log.len(), before, "said once");
    let asked = tell(&mut board, false, replication(0, 1_000_000_000), calm);
    assert_eq!(asked.last(), Some(&false), "{asked:?}");
    let _ = board.lose(SessionId::Replica, 1);
    let effects = board.tick(1_000);
    assert_eq!(read(&mut board, &effects), [true]);
    let mut config = Config::default();
    config.olap.fall_back = false;
    board.model.config = config.into();
    let asked = tell(&mut board, true, replication(0, 1_000_000_000), calm);
    assert_eq!(asked.last(), Some(&false), "it is not wanted: {asked:?}");
    assert_eq!(board.faults(), Vec::<String>::new());
}

#[test]
fn a_standby_that_routers_no_longer_read_is_named_once_and_a_slot_near_its_limit_besides() {
    let mut board = pair();
    let open = "r|1.0|{}|{}|0|open|lagging|1.0";
    for _ in 0..3 {
        let _ = tell(
            &mut board,
            false,
            replication(300_000_000, 1_000_000_000),
            open,
        );
    }
    let told = board.finding("nodes").unwrap();
    assert!(
        told.sentence.starts_with("reader is 286 MB, ")
            && told
                .sentence
                .ends_with("behind: a router sends its reads to the primary"),
        "{told:?}"
    );
    assert_eq!(board.finding("replication"), None, "said once");
    let _ = tell(
        &mut board,
        false,
        replication(300_000_000, 50_000_000),
        open,
    );
    let told = board.finding("replication").unwrap();
    assert!(
        told.sentence.contains(": it may be lost after 48 MB more"),
        "{told:?}"
    );
}
