//! Boards in every state that a screen can show.

use crate::it::board::{self, Board, NOTHING_TO_TELL, activity, table, views};
use htap_top::config::{Charts, Config};
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::event::{Event, Key};
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::tabs::{Place, Tab};
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Class, PgError, Table, Value};
use std::time::Duration;

/// Hour of the newest sales: 2026-01-02 03:00 UTC.
const HOUR_S: i64 = 1_767_322_800;

fn all_needed(board: &Board) -> Table {
    let needs = board
        .model
        .feeds
        .iter()
        .flat_map(|feed| feed.spec.front.needs.clone());
    let rows: Vec<String> = needs
        .chain(["shop.products".to_owned()])
        .map(|name| format!("{name}|true"))
        .collect();
    table(
        "name|found",
        &rows.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn config() -> Config {
    let mut config = Config::default();
    config
        .freshness
        .insert("mart.daily".into(), Duration::from_secs(120));
    config
        .freshness
        .insert("mart.fact".into(), Duration::from_secs(120));
    config
}

fn rows(columns: &str, rows: impl Iterator<Item = String>) -> Table {
    let rows: Vec<String> = rows.collect();
    table(
        columns,
        &rows.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// Number of transactions up to this second, at a varying rate.
fn busy(second: i64) -> i64 {
    second * 140 + second * 37 % 60
}

/// Counters `second` seconds after the start, with this many transactions.
fn database(second: i64, transactions: i64) -> Table {
    let commits = 1_000_000 + transactions;
    rows(
        "now_epoch|xmax|postmaster_start|stats_reset|in_recovery|replay_lag_s|xact_commit|xact_rollback|blks_read|blks_hit|\
         tup_inserted|tup_updated|tup_deleted|tup_returned|tup_fetched|temp_files|temp_bytes|deadlocks|conflicts|\
         active_time_ms|numbackends|numbackends_all|max_connections|usable_connections|datfrozen_age|wal_lsn_bytes|checkpoints",
        std::iter::once(format!(
            "{}.0|{}|1767236645.0||false||{commits}|{}|{}|{}|500000|700000|1000|90000000|4000000|3|1048576|0|0|5000.0|31|33|\
             150|147|91000000|{}|12",
            1_767_323_045 + second,
            200_000 + second * 100,
            2_000 + second,
            90_000 + second * 20,
            9_000_000 + second * 5_000,
            900_000_000 + second * 1_300_000,
        )),
    )
}

fn sales() -> Table {
    rows(
        "hour|sales|previous|partial|orders|avg_order|customers",
        (0..24).map(|hour| {
            let wave = 20_000 + (hour * 37 % 24) * 1_100;
            let share = if hour == 23 { 9 } else { 100 };
            format!(
                "{}.0|{}.25|{}.5|{}|{}|52.75|{}",
                HOUR_S - (23 - hour) * 3600,
                wave * share / 100,
                wave + 1_500 - hour * 90,
                hour == 23,
                wave * share / 5_000,
                wave * share / 6_000
            )
        }),
    )
}

fn calm() -> Table {
    activity(&[
        "655|shop|app|checkout|client backend|active|IO|DataFileRead|0.004|0.012||4|||\
         INSERT INTO shop.orders (user_id, status) VALUES ($1, $2) RETURNING order_id|2026-01-02 03:02:00.000001+00|\
         2026-01-02 03:04:05+00|2026-01-02 03:04:05+00|false",
        "777|shop|reports|metabase|client backend|active|||1.4|1.4|30||||\
         SELECT category, sum(amount) FROM mart.fact_sales_mv GROUP BY category ORDER BY 2 DESC|\
         2026-01-02 02:00:00.000001+00|2026-01-02 03:04:03+00|2026-01-02 03:04:03+00|false",
    ])
}

/// Sessions, two of which wait if any backend is blocked.
fn sessions(activity: &Table) -> Table {
    let waiting = (0..activity.rows.len()).any(|row| activity.get(row, "blocked_by").is_known());
    rows(
        "datname|usename|application_name|state|waiting|n",
        [
            "shop|app|checkout|active|false|3".to_owned(),
            "shop|app|checkout|idle|false|21".to_owned(),
            "shop|reports|metabase|active|false|2".to_owned(),
            format!("shop|app|checkout|active|{waiting}|2"),
        ]
        .into_iter(),
    )
}

/// Answers every feed for half a minute.
#[expect(clippy::too_many_lines, reason = "samples of every panel")]
fn fed(
    activity: &Table,
    snapshots: &Table,
    bloat: &Table,
    views: &Table,
    latency_ms: f64,
) -> Board {
    let mut board = Board::live(config());
    let needed = all_needed(&board);
    let _ = board.answer("needs", needed);
    for second in 0..30 {
        let _ = board.tick(1000);
        let _ = board.answer("database", database(second, busy(second)));
        let _ = board.answer("sessions", sessions(activity));
        let _ = board.answer("activity", activity.clone());
        let _ = board.answer("snapshots", snapshots.clone());
        let slower = latency_ms * if second > 20 { 4.0 } else { 1.0 };
        let latencies_ms = (0..5).map(|n| slower + f64::from(n) * 0.1).collect();
        let _ = board.event(Event::CanaryTimed {
            latencies_ms,
            failed: 0,
        });
    }
    let _ = board.answer(
        "bloat_estimate",
        table(
            "relid|bloat_bytes|bloat_pct",
            &["16401|1048576|3.5", "16402||", "16403|73400320|41.2"],
        ),
    );
    let _ = board.answer("bloat", bloat.clone());
    let _ = board.answer("views", views.clone());
    let _ = board.answer("hourly_sales", sales());
    let _ = board.answer(
        "top_categories",
        table(
            "category|amount|quantity|share",
            &[
                "Electronics|412345.5|3210|41.5",
                "Books & Media|201000.0|9100|20.2",
                "Garden|150300.25|2200|15.1",
                "Toys|120100.0|1800|12.1",
                "Ärzte- und Laborbedarf für Großkunden|110000.0|77|11.1",
            ],
        ),
    );
    let _ = board.answer(
        "rfm_segments",
        table(
            "segment|users|value|ltv|freq|recency_s",
            &[
                "VIP|1200|900100.5|750|14.2|86400.0",
                "Loyal|3400|700000.0|205|6.1|172800.0",
                "At risk|900|120000.0|133|5.5|2592000.0",
                "New|410|30500.0|74|1.2|3600.0",
                "Lost|2200|99000.0|45|1.1|7776000.0",
                "Other|5000|410000.0|82|2.4|604800.0",
            ],
        ),
    );
    let _ = board.answer(
        "stock_alerts",
        table(
            "product_id|product|category|quantity|reorder_point|sold_per_hour|left_s",
            &[
                "7|Espresso machine|Kitchen|0|20|3.5|0.0",
                "19|Garden hose 25 m|Garden|4|25|1.5|9600.0",
            ],
        ),
    );
    let slots = rows(
        "at|users|logins|partial",
        (0..12).map(|slot| {
            format!(
                "{}.0|{}|{}|{}",
                HOUR_S - 3300 + slot * 300,
                40 + slot * 7 % 30,
                60 + slot * 9 % 30,
                slot == 11
            )
        }),
    );
    let _ = board.answer("active_users", slots);
    settle(&mut board, 31, activity, snapshots);
    board
}

/// One more second, in which the gauges and derived columns take in the slow answers.
fn settle(board: &mut Board, second: i64, activity: &Table, snapshots: &Table) {
    let _ = board.tick(1000);
    for (name, table) in [
        ("sessions", sessions(activity)),
        ("snapshots", snapshots.clone()),
        ("database", database(second, busy(second))),
        ("activity", activity.clone()),
    ] {
        let _ = board.answer(name, table);
    }
    let _ = board.tick(400);
}

const BLOAT: &str = "relid|relation|relkind|n_live|n_dead|dead_pct|size_bytes|last_vacuum_s|vacuums|autovacuum_due|hot_pct|\
                     mod_since_analyze|seq_scan|frozen_age";
const SNAPSHOTS: &str = "kind|holder|pid|role|datname|application_name|state|age_xids|age_s|own_database|query|backend_start|\
                         query_start|xact_start";

fn calm_bloat() -> Table {
    table(
        BLOAT,
        &[
            "16401|shop.inventory|r|10000|310|3.0|29360128|42.5|120|0.15|97.2|310|12|90000",
            "16402|shop.orders|r|100000|120|0.1|52428800|61.0|33|0.01|3.5|9120|2|90000",
            "16403|mart.fact|m|120000|0|0.0|178257920||0|0.0||0|90|90000",
        ],
    )
}

fn calm_snapshots() -> Table {
    table(
        SNAPSHOTS,
        &[
            "backend|'777|777|reports|shop|metabase|active|30|1.4|true|SELECT category|2026-01-02 02:00:00.000001+00|2026-01-02 03:04:03+00|2026-01-02 03:04:03+00",
        ],
    )
}

fn fresh_views() -> Table {
    let mut table = views();
    for (row, age) in [(0, 31.0), (1, 12.5), (2, 1.5), (3, 2.4)] {
        table.set(row, "refreshed_s", Value::Float(age));
    }
    table
}

/// A healthy system.
pub fn usual() -> Board {
    fed(
        &calm(),
        &calm_snapshots(),
        &calm_bloat(),
        &fresh_views(),
        1.2,
    )
}

/// A lock queue behind an idle transaction, old snapshots, vacuum in vain, a late view being refreshed.
pub fn trouble() -> Board {
    let bloat = |vacuums: i64| {
        rows(
            BLOAT,
            [
                format!("16401|shop.inventory|r|10000|182000|94.8|129360128|3.5|{vacuums}|88.5|97.2|182000|12|90000"),
                "16402|shop.orders|r|100000|12000|10.7|52428800|61.0|33|0.6|3.5|9120|2|90000".to_owned(),
            ]
            .into_iter(),
        )
    };
    let snapshots = table(
        SNAPSHOTS,
        &[
            "backend|'777|777|reports|shop|metabase|active|120000|75.0|true|SELECT category, sum(amount)|2026-01-02 02:00:00.000001+00|2026-01-02 03:02:50+00|2026-01-02 03:02:50+00",
            "backend|'812|812|billing|shop|billing-job|idle in transaction|91000|50.3|true|UPDATE shop.inventory|2026-01-02 03:00:00.000001+00|2026-01-02 03:03:17+00|2026-01-02 03:03:15+00",
            "prepared|tx_payment_17||app|shop||prepared|70000|44.0|true||||",
            "slot|standby_2||||||60000||true||||",
            "slot_catalog|debezium_orders|||shop|pgoutput|inactive|900000||false||||",
        ],
    );
    let mut late = views();
    late.set(0, "refreshing", "concurrent".into());
    late.set(0, "refresh_pid", Value::Int(990));
    late.set(0, "refresh_running_s", Value::Float(12.0));
    late.set(2, "refreshed_s", Value::Float(52.0));
    let mut board = fed(&board::trouble(), &snapshots, &bloat(40), &late, 14.0);
    let _ = board.answer("bloat", bloat(41));
    settle(&mut board, 33, &board::trouble(), &snapshots);
    board
}

/// Statements of the shop, `second` seconds after the start, the first of which becomes slow after the 30th.
fn statements(second: i64) -> Table {
    let slow = (second - 30).max(0);
    let row = |id: &str, calls: i64, ms: f64, blocks: i64, query: &str| {
        format!(
            "{}.0|app|'{id}|true|{calls}|{calls}|0|0.0|0|0.0|{calls}|{ms:?}|0.0|{calls}|{blocks}|1767300000.0|{query}",
            1_767_323_045 + second
        )
    };
    let calls = 9_000 + second * 50;
    rows(
        "now_epoch|usename|queryid|toplevel|calls|rows|blocks_read|read_ms|temp_bytes|wal_bytes|total_calls|total_exec_ms|m2|\
         total_rows|total_blocks|stats_since|query",
        [
            row("11", calls, calls as f64 * 0.12 + (slow * 50) as f64 * 41.0, calls * 4 + slow * 50 * 9_300,
                "SELECT order_id, status, total FROM shop.orders WHERE user_id = $1 ORDER BY order_id DESC LIMIT $2"),
            row("12", 4_000 + second * 20, (4_000 + second * 20) as f64 * 0.5, 8_000 + second * 40,
                "UPDATE shop.inventory SET quantity = quantity - $1 WHERE product_id = $2"),
            row("13", 10 + slow * 2, (10 + slow * 2) as f64 * 90.0, 500_000 + slow * 90_000,
                "SELECT category, sum(amount) FROM mart.fact_sales_mv GROUP BY category"),
        ]
        .into_iter(),
    )
}

/// A minute after a moment was marked; meanwhile an index was dropped and a setting changed. The list is open.
pub fn changes() -> Board {
    let mut board = usual();
    let tell = |board: &mut Board, second: i64, dropped: bool| {
        let index = "shop.orders|orders_user_id_idx|22020096|16500";
        let all = [index, "shop.orders|orders_pkey|11010048|16501"];
        let listed = if dropped { &all[1..] } else { &all[..] };
        let memory = if dropped { "64MB" } else { "4MB" };
        let memory = format!("work_mem|{memory}|warning");
        let told = [
            ("statements", statements(second)),
            ("indexes", table("relation|index|size_bytes|relid", listed)),
            (
                "settings",
                table("name|value|severity", &[&memory, "jit|on|"]),
            ),
        ];
        for (name, table) in told {
            let _ = board.answer(name, table);
        }
    };
    tell(&mut board, 0, false);
    let _ = board.tick(100);
    tell(&mut board, 30, false);
    let _ = board.keys("b");
    for second in 32..100 {
        let _ = board.tick(1000);
        let transactions = busy(32) + (second - 32) * 90;
        let _ = board.answer("database", database(second, transactions));
        let latencies_ms = vec![12.5; 5];
        let _ = board.event(Event::CanaryTimed {
            latencies_ms,
            failed: 0,
        });
    }
    let mut bloat = calm_bloat();
    bloat.set(1, "n_dead", Value::Int(24_000));
    bloat.set(1, "size_bytes", Value::Int(352_428_800));
    let _ = board.answer("bloat", bloat);
    let _ = board.keys("B");
    tell(&mut board, 100, true);
    let _ = board.tick(100);
    board
}

/// The same with the list closed, and another page opened.
pub fn changed(keys: &str) -> Board {
    let mut board = changes();
    let _ = board.key(Key::Esc);
    opened(board, keys)
}

/// Connected, but nothing has been answered yet.
pub fn starting() -> Board {
    let mut board = Board::live(config());
    let _ = board.tick(250);
    board
}

/// An empty database.
pub fn empty() -> Board {
    let mut board = Board::live(config());
    let lacking: Vec<String> = board
        .model
        .feeds
        .iter()
        .flat_map(|feed| feed.spec.front.needs.clone())
        .map(|name| format!("{name}|false"))
        .collect();
    let _ = board.answer(
        "needs",
        table(
            "name|found",
            &lacking.iter().map(String::as_str).collect::<Vec<_>>(),
        ),
    );
    for second in 0..3 {
        let _ = board.tick(1000);
        let _ = board.answer("database", database(second, second));
        for feed in ["sessions", "activity", "snapshots"] {
            let _ = board.answer(feed, Table::default());
        }
    }
    for feed in ["bloat", "bloat_estimate", "views", "statement_totals"] {
        let _ = board.answer(feed, Table::default());
    }
    let _ = board.tick(300);
    board
}

/// Like [`usual`], but every cell that may be missing is.
pub fn nulls() -> Board {
    let keys = [
        "pid",
        "relid",
        "view",
        "relation",
        "kind",
        "holder",
        "schemaname",
        "matviewname",
        "segment",
        "category",
        "hour",
    ];
    let blank = |mut table: Table| {
        for name in table
            .columns
            .clone()
            .iter()
            .filter(|name| !keys.contains(&&***name))
        {
            for row in 0..table.rows.len() {
                table.set(row, name, Value::Null);
            }
        }
        table
    };
    let mut board = fed(
        &blank(calm()),
        &blank(calm_snapshots()),
        &blank(calm_bloat()),
        &blank(views()),
        1.2,
    );
    let _ = board.answer("hourly_sales", blank(sales()));
    for panel in [Panel::TopCategories, Panel::RfmSegments, Panel::Database] {
        let table = board.model.rows(panel).clone();
        let _ = board.answer(panel.name(), blank(table));
    }
    board
}

/// Every statement is refused.
pub fn errors() -> Board {
    let mut board = Board::live(config());
    let needed = all_needed(&board);
    let _ = board.answer("needs", needed);
    let _ = board.tick(1000);
    let denied = PgError {
        sqlstate: Some("42501".into()),
        ..PgError::new(
            Class::Statement,
            "permission denied for materialized view sales_hourly_mv",
        )
    };
    let slow = PgError {
        sqlstate: Some("57014".into()),
        ..PgError::new(
            Class::Timeout,
            "canceling statement due to statement timeout",
        )
    };
    for (position, feed) in [
        "hourly_sales",
        "top_categories",
        "rfm_segments",
        "database",
        "bloat",
        "snapshots",
        "views",
        "activity",
        "sessions",
    ]
    .iter()
    .enumerate()
    {
        let _ = board.outcome(
            feed,
            Err(if position % 3 == 2 {
                slow.clone()
            } else {
                denied.clone()
            }),
        );
    }
    let _ = board.tick(300);
    board
}

/// Like [`trouble`], after the connection was lost.
pub fn stale() -> Board {
    let mut board = trouble();
    for session in [SessionId::Fast, SessionId::Slow] {
        let _ = board.lose(session, 0);
    }
    let _ = board.tick(7_000);
    let _ = board.lose(SessionId::Fast, 12);
    let _ = board.tick(1_000);
    board
}

/// More of everything than fits on a screen.
pub fn many() -> Board {
    let sessions = activity(
        &(1..=5_000)
            .map(|pid| {
                format!(
                    "{pid}|shop|app|checkout|client backend|active|||{pid}.5|{pid}.5|{pid}||||SELECT {pid} FROM shop.orders WHERE order_id = $1|\
                     2026-01-02 03:00:00+00|2026-01-02 03:00:01+00|2026-01-02 03:00:02+00|false"
                )
            })
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    let bloat = rows(
        BLOAT,
        (1..=200).map(|n| {
            format!(
                "{n}|shop.part_{n:03}|r|1000|{}|{}.5|81920|{n}.0|1|0.5|50.0|0|1|900",
                200 - n,
                (200 - n) / 12
            )
        }),
    );
    let mut board = fed(&calm(), &calm_snapshots(), &bloat, &fresh_views(), 1.2);
    let _ = board.answer("activity", sessions);
    let _ = board.keys("jjjj");
    board
}

/// The board after these keys.
pub fn opened(mut board: Board, keys: &str) -> Board {
    let _ = board.keys(keys);
    board
}

/// The help of a full-screen panel.
pub fn help() -> Board {
    let mut board = opened(usual(), "6?");
    let _ = board.key(Key::Down);
    board
}

/// The confirmation before three sessions are terminated.
pub fn asked() -> Board {
    opened(trouble(), "8TTTK3")
}

/// The log after some events.
pub fn log() -> Board {
    let mut board = stale();
    let _ = board.open(SessionId::Fast);
    opened(board, "L")
}

/// Texts that would take over the terminal if they were not cleaned.
pub fn hostile() -> Board {
    let bad = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}evil\u{200b}\r\nx\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}日本語👩‍👩‍👧";
    let mut table = calm();
    for name in [
        "usename",
        "application_name",
        "datname",
        "query",
        "wait_event",
        "wait_event_type",
    ] {
        for row in 0..table.rows.len() {
            table.set(row, name, bad.into());
        }
    }
    let mut board = fed(
        &table,
        &calm_snapshots(),
        &calm_bloat(),
        &fresh_views(),
        1.2,
    );
    let _ = board.outcome("hourly_sales", Err(PgError::new(Class::Statement, bad)));
    board
}

/// The tree of locks: a queue of four behind one session, another behind a prepared transaction.
pub fn locks() -> Board {
    let mut board = opened(trouble(), "pl");
    let wait = |pid: i64, blockers: &str, seconds: f64| {
        format!(
            "{pid}|'{blockers}|shop|app|checkout|active|ExclusiveLock|tuple|row of shop.inventory|{seconds:?}|{seconds:?}|\
             {seconds:?}|UPDATE shop.inventory SET quantity = quantity - 1 WHERE product_id = 7|b{pid}|x|q|false"
        )
    };
    let _ = board.answer(
        "locks",
        rows(
            "pid|blocked_by|datname|usename|application_name|state|mode|locktype|target|wait_s|xact_age_s|query_age_s|\
             query|backend_start|xact_start|query_start|restricted",
            [
                "812||shop|billing|billing-job|idle in transaction|||||50.3|48.2|\
                 UPDATE shop.inventory SET quantity = quantity - 1 WHERE product_id = 7|b|x|q|false"
                    .to_owned(),
                wait(901, "812", 11.9),
                wait(902, "901", 8.9),
                wait(903, "901,902", 4.0),
                wait(904, "901,902,903", 1.25),
                "0||shop|app|gid-7|prepared|||||90.0||||x||false".to_owned(),
                wait(950, "0", 3.0),
            ]
            .into_iter(),
        ),
    );
    board
}

/// Four server connections of a pooler and forty clients; a forgotten transaction holds one of the connections.
pub fn pooler() -> Board {
    let mut board = Board::with(config(), |start| {
        start.pooler = Some("10.0.0.7:6432".into());
    });
    let _ = board.connect();
    let _ = board.open(SessionId::Pooler);
    let databases = table(
        "name|database|force_user|pool_size|reserve_pool|max_connections|current_connections|paused|disabled|now_epoch",
        &[
            "shop|shop||4|0|0|6|0|0|1.0",
            "reports|shop||20|0|0|1|0|0|1.0",
        ],
    );
    let servers = table(
        "database|user|state|addr|port|local_port|ptr|link|remote_pid|now_epoch",
        &[
            "shop|app|active|10.0.0.5|5432|40001|s1|c1|812|1.0",
            "shop|app|active|10.0.0.5|5432|40002|s2|c2|901|1.0",
            "shop|app|active|10.0.0.5|5432|40003|s3|c3|902|1.0",
        ],
    );
    let clients = table(
        "database|user|addr|port|ptr|link|application_name|now_epoch",
        &[
            "shop|app|10.0.3.1|51234|c1|s1|billing-job|1.0",
            "shop|app|10.0.2.1|41234|c2|s2|checkout|1.0",
            "shop|app|10.0.2.2|41235|c3|s3|checkout|1.0",
        ],
    );
    let _ = board.answer("pooler_databases", databases);
    for second in 1..4_i64 {
        let _ = board.tick(1000);
        let stats = format!(
            "shop|{}|{}|{}|{}|{}|{}|{second}.0",
            second * 180,
            second * 540,
            second * 120_000,
            second * 900_000,
            second * 900_000,
            second * 180 * 150_000
        );
        let stats = table(
            "database|total_xact_count|total_query_count|total_received|total_sent|total_query_time|total_wait_time|now_epoch",
            &[&stats],
        );
        let _ = board.answer("pooler_stats", stats);
        let _ = board.answer("pooler_servers", servers.clone());
        let _ = board.answer("pooler_clients", clients.clone());
        let activity = held_pool();
        settle(&mut board, 30 + second, &activity, &calm_snapshots());
        let pools = table(
            "database|user|cl_active|cl_waiting|sv_active|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode|now_epoch",
            &[
                "reports|bi|1|0|0|1|0|0|0|0|0|session|1.0",
                "shop|app|4|36|4|0|0|0|0|2|140000|transaction|1.0",
                "pgbouncer|pgbouncer|1|0|0|0|0|0|0|0|0|statement|1.0",
            ],
        );
        let _ = board.answer("pooler", pools);
    }
    board
}

/// Backends behind a pooler: a forgotten transaction and two at work.
fn held_pool() -> Table {
    activity(&[
        "812|shop|app|billing-job|client backend|idle in transaction|Client|ClientRead|31.2|31.3||9|||\
         UPDATE shop.inventory SET quantity = quantity - 1 WHERE product_id = 7|2026-01-02 03:00:00.000001+00|\
         2026-01-02 03:03:15+00|2026-01-02 03:03:17+00|false",
        "901|shop|app|checkout|client backend|active|||0.012|0.02|||||SELECT price FROM shop.products|\
         2026-01-02 03:01:00.000001+00|2026-01-02 03:04:05+00|2026-01-02 03:04:05+00|false",
        "902|shop|app|checkout|client backend|active|||0.002|0.002|||||INSERT INTO shop.orders VALUES ($1)|\
         2026-01-02 03:02:00.000001+00|2026-01-02 03:04:05+00|2026-01-02 03:04:05+00|false",
    ])
}

/// The pooler is gone, the server is not.
pub fn pooler_lost() -> Board {
    let mut board = opened(pooler(), "pb");
    let _ = board.lose(SessionId::Pooler, 3);
    settle(&mut board, 34, &held_pool(), &calm_snapshots());
    board
}

/// A standby whose replay is paused, another that streams, a slot that nobody reads, and two routers.
#[expect(clippy::too_many_lines, reason = "the answers of six feeds")]
pub fn nodes() -> Board {
    let mut board = Board::beside_replica(config(), |_| {});
    for second in 1..6_i64 {
        let activity = calm();
        settle(&mut board, 30 + second, &activity, &calm_snapshots());
        let quiet = NOTHING_TO_TELL
            .iter()
            .filter(|name| !matches!(**name, "replication" | "routing"));
        for feed in quiet.chain([&"locks"]).copied() {
            if board
                .model
                .feed(board.id(feed))
                .is_some_and(|feed| feed.sampling.in_flight.is_some())
            {
                let _ = board.answer(feed, Table::default());
            }
        }
        let paused = second >= 3;
        let (routed, back) = if paused {
            (4_000, second * 118)
        } else {
            (second * 2_000, 0)
        };
        let report = |instance: &str, why: &str| {
            format!(
                "{instance}|{second}.0|{{\"replica olap read\": {routed}, \"primary oltp write\": {}, \"primary oltp replica_lags\": \
                 {back}}}|{{\"paused\": {back}}}|2|{why}|2.5",
                second * 310
            )
        };
        let why = if paused { "open|paused" } else { "closed|" };
        let replication = table(
            "kind|name|pid|client|state|active|lasting|lag_bytes|lag_s|retained_bytes|wal_status|safe_wal_bytes|xmin_age|\
             restricted|head_bytes|wanted|replay_paused|restores|replayed_s",
            &[
                "replica|htap_top_replica|901|10.0.0.2|streaming|true|true|9100000|12.5||||0|false|50000000||||",
                "replica|walreceiver|902|10.0.0.3|streaming|true|true|0|0.0||||42|false|50000000||||",
                "slot|htap_top_replica|901||physical|true|true|||9300000|reserved|1060000000|812|false|50000000||||",
                "slot|old_standby|||physical|false|true|||830000000|extended|1200000000||false|50000000||||",
            ],
        );
        let replica = table(
            "in_recovery|version|started_us|system|paused|replayed_bytes|caught_up|replay_age_s|receives|slot_name|\
             set_slot_name|restores|feedback|address|sessions|by_snapshot|by_lock|by_bufferpin|by_deadlock|by_tablespace",
            &[&format!(
                "true|'17.5|2|'7500000000000000001|{paused}|40900000|false|12.4|true||htap_top_replica|false|true|10.0.0.2|14|3|1|0|0|0"
            )],
        );
        let here = table(
            "in_recovery|version|started_us|head_bytes|sessions",
            &["false|'17.5|1|50000000|62"],
        );
        let missing = if paused { second * 1_000 - 2_800 } else { 180 };
        for (feed, table) in [
            (
                "routing",
                rows(
                    "instance|reported_epoch|routed|fallbacks|misroutes|breaker|barred|breaker_s",
                    [report("a", why), report("b", why)].into_iter(),
                ),
            ),
            ("replication", replication),
            ("node_replica", replica),
            ("node_beat", table("seq", &["7"])),
            (
                "heartbeat",
                table("newest_ms|missing_ms", &[&format!("40.0|{missing}.0")]),
            ),
            ("nodes", here),
        ] {
            let _ = board.answer(feed, table);
        }
    }
    board
}

/// The same, on the panel of nodes.
pub fn all_nodes() -> Board {
    opened(nodes(), "pc")
}

/// The stream: a relay that leads and one that waits, partitions of which one is idle and one behind, dead letters.
pub fn stream() -> Board {
    let mut board = opened(usual(), "pm");
    let stages = table(
        "stage|name|state|since_s|rate|lag_rows|lag_ms|lag_bytes|watermark_s|next_offset|end_offset|dead_letters|late_events|\
         duplicates|error|last_s|records|topic|partition",
        &[
            "outbox||on|||212|140.0||||||||||||",
            "relay|relay 4711 9f3a11c0|running|7260.0|4021.5|212|140.0|81000||||0|0|0|||9000000|orders|",
            "relay|relay 4712 11c0e1d2|waiting|7250.0|0.0|||||||0|0|0|||0|orders|",
            "partition|orders 0|read|||0|||5.2|2250000|2250000|||||||orders|0",
            "partition|orders 1|behind|||1830|||5.9|2248000|2249830|||||||orders|1",
            "partition|orders 2|idle|||0|||140.0|2251000|2251000|||||||orders|2",
            "partition|orders 3|read|||0|||5.1|2252000|2252000|||||||orders|3",
            "aggregator|aggregator 4720 77aa0b1c|running|7255.0|3990.0|1830|450.0|700000||||12|3|41|||8998000|orders|",
            "table|orders|final||||||65.0|||||||||orders|",
            "dead letters||new|240.0||||||||12|||orders 1, offset 2247910: the value is no JSON|3.0||orders|",
        ],
    );
    let _ = board.answer("stream", stages);
    board
}

/// The column store: a sync at work, files of three tables, one of which is damaged.
pub fn columnar() -> Board {
    let mut board = opened(usual(), "pu");
    let parts = table(
        "part|state|since_s|files|rows|bytes|heap_bytes|ratio|from_epoch|open_s|closed_epoch|dirty_hours|all_dirty|unlogged|log_bytes|last_s|took_ms|\
         wrote_s|wrote_files|wrote_rows|wrote_bytes|pid|queries|bytes_read|rows_read|damaged|damage|error|folder|free_bytes|disk_bytes|\
         fresh_s|on_standby|now_epoch",
        &[
            "store|writing|1.4|52|4260000|46900000|790000000|16.2|1760000400|461.0|1771002000|9|false||8192|2.1|830.0|2.1|2|8100|90000|4711|||\
             |1|file 12 is missing||/var/lib/htap-top/columnar|81000000000|200000000000|1.0|false|1771002461",
            "fact_sales|||17|2400000|24000000|390000000|16.2|1760000400|461.0|1771002000|3|false|||||||||||||||||||||",
            "user_day|||16|930000|5900000|120000000|20.3|1759968000|61661.0|1770940800|0|false|||||||||||||||||||||",
            "orders|||19|930000|17000000|280000000|16.5|1760000400|86861.0|1770915600|6|false|||||||||||||||||||||",
        ],
    );
    let _ = board.answer("columnar", parts);
    board
}

/// The first of several servers, the others well, in trouble and lost by turns.
pub fn several(count: usize) -> Board {
    let mut board = usual();
    let place = |number: usize| Place {
        number,
        name: format!("server-{number}-of-the-shop").as_str().into(),
        colour: None,
    };
    std::sync::Arc::make_mut(&mut board.model.start).server = Some(place(1));
    let own = board.model.tab(true);
    let own = own.unwrap_or_else(|| unreachable!("it is one of several"));
    let tabs = (1..=count).map(|number| {
        let (health, figure, rule, sentence) = match number % 3 {
            1 => {
                return Tab {
                    place: place(number),
                    shown: number == 1,
                    ..own.clone()
                };
            }
            2 => (
                Health::Danger,
                "p99 81ms/50",
                "lock queue",
                "3 sessions queue behind pid 812",
            ),
            _ => (
                Health::Danger,
                "lost 12s",
                "",
                "cannot reach the server: connection refused",
            ),
        };
        Tab {
            place: place(number),
            target: "shop @ replica:5433".into(),
            shown: false,
            health,
            figure: figure.to_owned(),
            rule: rule.to_owned(),
            sentence: sentence.to_owned(),
        }
    });
    board.model.set_tabs(&tabs.collect());
    board
}

/// Ten minutes with OLAP, refreshes, a lock queue and a checkpoint, calm at the end.
pub fn eventful() -> Board {
    eventful_with(config())
}

/// The same for a terminal that has ASCII only.
pub fn in_ascii() -> Board {
    eventful_with(Config {
        charts: Charts::Ascii,
        ..config()
    })
}

fn eventful_with(config: Config) -> Board {
    let mut board = Board::live(config);
    let needed = all_needed(&board);
    let _ = board.answer("needs", needed);
    let _ = board.answer("views", fresh_views());
    board.mute = true;
    for second in 0..600 {
        let _ = board.tick(1000);
        let (backends, latency_ms) = events(second);
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let backends = activity(&backends);
        let _ = board.answer("database", database(second, busy(second)));
        let _ = board.answer("sessions", sessions(&backends));
        let _ = board.answer("activity", backends);
        if second % 5 == 0 {
            let _ = board.answer("wal", checkpoint(second));
        }
        let latencies_ms = (0..5).map(|n| latency_ms + f64::from(n) * 0.1).collect();
        let _ = board.event(Event::CanaryTimed {
            latencies_ms,
            failed: 0,
        });
    }
    board
}

/// A checkpoint that lasts from the 300th second to the 420th.
fn checkpoint(second: i64) -> Table {
    let ended = second >= 420;
    rows(
        "now_epoch|checkpoints_timed|checkpoints_requested|checkpoint_write_ms|checkpoint_sync_ms|buffers_checkpoint|\
         last_checkpoint_s|wal_lsn_bytes",
        std::iter::once(format!(
            "{}.0|{}|1|{}.0|0.0|{}|{}.0|{}",
            1_767_323_045 + second,
            if second >= 300 { 6 } else { 5 },
            if ended { 109_000 } else { 9_000 },
            800 + (second - 300).clamp(0, 120) * 7,
            if ended { second - 301 } else { second + 100 },
            900_000_000 + second * 1_300_000,
        )),
    )
}

/// Sessions of a second, and the latency that the point query has.
fn events(second: i64) -> (Vec<String>, f64) {
    let mut backends = vec![
        "655|shop|app|checkout|client backend|active|||0.004|0.012||4|||UPDATE t|b|x|q|false"
            .to_owned(),
    ];
    let mut latency_ms = 2.0;
    let olap = second - 120;
    if (0..90).contains(&olap) {
        latency_ms = 61.0;
        for (pid, kind) in [
            (777, "client backend"),
            (778, "parallel worker"),
            (779, "parallel worker"),
        ] {
            backends.push(format!(
                "{pid}|shop|reports|metabase|{kind}|active|IO|DataFileRead|{olap}.5|{olap}.5|30||||\
                 SELECT category, sum(amount) FROM mart.fact_sales_mv GROUP BY category|b{pid}|x1|q1|false"
            ));
        }
    }
    let refresh = second % 150;
    if refresh < 12 {
        backends.push(format!(
            "888|shop|htap_refresh|htap-refresh|client backend|active|||{refresh}.5|{refresh}.5|||||\
             REFRESH MATERIALIZED VIEW CONCURRENTLY mart.daily|b|x{0}|q{0}|false",
            second / 150
        ));
    }
    let idle = second - 480;
    if (0..60).contains(&idle) {
        backends.push(format!(
            "812|shop|billing|billing-job|client backend|idle in transaction|Client|ClientRead|{idle}.2|{idle}.3|||||\
             UPDATE shop.inventory SET quantity = 1|b|x2|q2|false"
        ));
        let waiters = (idle / 10).min(4);
        for waiter in 0..waiters {
            let waits = idle - 10 * waiter - 5;
            backends.push(format!(
                "{}|shop|app|checkout|client backend|active|Lock|transactionid|{waits}.0|{waits}.1|||'812|{waits}.0|\
                 UPDATE shop.inventory SET quantity = 3|b|x{waiter}|q{waiter}|false",
                901 + waiter
            ));
            latency_ms = 140.0;
        }
    }
    (backends, latency_ms)
}
