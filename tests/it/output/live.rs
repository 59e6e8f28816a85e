//! `GET /live` and the page of `htap-top serve`, over sockets.

use super::Program;
use super::served::Served;
use crate::it::server::{Database, PATIENCE, Patience, block_on, shared, until};
use htap_top::pg::{Client, Param};
use htap_top::system::{fill, schema};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use tokio::net::TcpSocket;

/// Text of a database that would be an element of the page if it were not escaped.
pub(super) const HOSTILE: &str = "</script><img src=x onerror=\"window.hurt=1\">'&amp;";

/// The table of the stream, without the shop.
const STREAM: &str = "
    CREATE TABLE mart.realtime_stream (
        window_start timestamptz, category text, segment text, amount numeric NOT NULL, quantity bigint NOT NULL,
        orders bigint NOT NULL, revised boolean NOT NULL DEFAULT false, final boolean NOT NULL DEFAULT false,
        changed_at timestamptz NOT NULL DEFAULT now(), change bigint NOT NULL,
        PRIMARY KEY (window_start, category, segment));
    GRANT SELECT ON mart.realtime_stream TO PUBLIC";

/// The shop with some orders.
pub(super) async fn shop() -> Database<'static> {
    let database = shared().database("live").await;
    let client = database.connect().await;
    schema::create(&client).await.unwrap();
    let fill = fill::Fill {
        orders: 1_000,
        seed: 1,
        end_ms: now_ms(),
    };
    fill::fill(&database.target(), fill, |_, _| {})
        .await
        .unwrap();
    schema::fill_all(&client, |_, _| {}).await.unwrap();
    database
}

#[expect(clippy::disallowed_methods, reason = "the made-up history ends now")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Commits sales of the current minute.
pub(in crate::it) async fn sell(client: &Client, category: &str, amount: i64) {
    let sql = "
        INSERT INTO mart.realtime_stream (window_start, category, segment, amount, quantity, orders, change)
        VALUES (date_trunc('minute', now()), $1, 'gold', $2, 1, 1, 1)
        ON CONFLICT (window_start, category, segment)
        DO UPDATE SET amount = excluded.amount, change = realtime_stream.change + 1, changed_at = now()";
    let params = [Param::Text(category), Param::Int(amount)];
    client.query(sql, &params).await.unwrap();
}

/// An event as it arrived.
#[derive(Debug)]
struct Told {
    event: String,
    data: Value,
}

/// A client of `/live`.
pub(super) struct Reader {
    lines: BufReader<TcpStream>,
    status: u16,
    last_id: String,
}

impl Reader {
    /// Connects; `headers` are further lines.
    pub(super) fn open(served: &Served, headers: &str) -> Self {
        Self::over(TcpStream::connect(&served.address).unwrap(), headers)
    }

    /// Connects with little room for what has not been read.
    async fn with_little_room(served: &Served) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(served.address.parse().unwrap()).await;
        let stream = stream.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        Self::over(stream, "")
    }

    fn over(mut stream: TcpStream, headers: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        while line != "\r\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "no head");
        }
        Self {
            lines,
            status,
            last_id: String::new(),
        }
    }

    /// Returns the next event.
    fn next(&mut self) -> Told {
        let (mut id, mut event, mut data) = (String::new(), String::new(), None);
        loop {
            let mut line = String::new();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "the stream ended"
            );
            match line.trim_end().split_once(": ") {
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("event", text)) => text.clone_into(&mut event),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                // Sizes of chunks, comments, blank lines.
                _ => {}
            }
            if let Some(data) = data.take_if(|_| line.starts_with("data")) {
                if !id.is_empty() {
                    self.last_id = id;
                }
                return Told { event, data };
            }
        }
    }

    /// Reads until an event of this name has these data.
    pub(super) fn until(&mut self, name: &str, good: impl Fn(&Value) -> bool) -> Value {
        let patience = Patience::begin();
        loop {
            let told = self.next();
            if told.event == name && good(&told.data) {
                return told.data;
            }
            assert!(patience.lasts(), "no such {name}: {told:?}");
        }
    }

    /// The number in the id of the last event.
    fn number(&self) -> u64 {
        self.last_id.rsplit('-').next().unwrap().parse().unwrap()
    }
}

/// Returns true if a window has a category with this amount.
fn sold(window: &Value, category: &str, amount: i64) -> bool {
    let categories = window["categories"].as_array().unwrap();
    categories
        .iter()
        .any(|one| one["category"] == category && one["amount"].as_f64() == Some(amount as f64))
}

#[test]
fn readers_are_told_what_changes_and_cost_no_statement_each() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let program = Program::new();
        let served = Served::start(&program, &database.conninfo("postgres"), &[]);
        served.until_health(200);
        let mine = "FROM pg_stat_activity WHERE application_name = 'htap-top' AND datname = current_database()";
        let sampled =
            format!("SELECT count(*) AS n {mine} AND query LIKE '%mart.realtime_stream AS s%'");
        let one =
            |wanted: i64| move |table: &htap_top::pg::Table| table.first("n").int() == Some(wanted);
        let before = admin.query(&sampled, &[]).await.unwrap();
        assert_eq!(before.first("n").int(), Some(0), "nobody reads the windows");
        let mut reader = Reader::open(&served, "");
        assert_eq!(reader.status, 200);
        reader.until("state", |state| {
            state["server"]["database"] == database.name.as_str()
        });
        reader.until("gauges", |told| {
            let gauges = told["gauges"].as_array().unwrap();
            gauges
                .iter()
                .any(|gauge| gauge["name"] == "p99" && gauge["health"] != "unknown")
        });
        reader.until("cause", |cause| cause["sentence"].is_string());
        for (name, rows) in [
            ("hourly_sales", 24),
            ("top_categories", 1),
            ("rfm_segments", 1),
        ] {
            let has = |told: &Value| told["rows"].as_array().is_some_and(|all| all.len() >= rows);
            // A new reader gets what is known already.
            Reader::open(&served, "").until("panel", |told| told["name"] == name && has(told));
        }
        until(&admin, "the windows are read", &sampled, &[], one(1)).await;
        sell(&admin, HOSTILE, 7).await;
        reader.until("window", |window| sold(window, HOSTILE, 7));
        sell(&admin, HOSTILE, 8).await;
        let window = reader.until("window", |window| sold(window, HOSTILE, 8));
        assert_eq!(
            (&window["final"], &window["amount"]),
            (&false.into(), &8.0.into())
        );
        // More readers share the sessions.
        let sessions = format!("SELECT count(*) AS n {mine}");
        let alone = admin.query(&sessions, &[]).await.unwrap();
        let mut others: Vec<Reader> = (0..10).map(|_| Reader::open(&served, "")).collect();
        for other in &mut others {
            other.until("window", |window| sold(window, HOSTILE, 8));
        }
        assert_eq!(admin.query(&sessions, &[]).await.unwrap(), alone);
        // Who comes back gets what is new; who has not been there, or not lately, all.
        let (id, number) = (reader.last_id.clone(), reader.number());
        drop(reader);
        sell(&admin, "Books", 9).await;
        others[0].until("window", |window| sold(window, "Books", 9));
        let mut back = Reader::open(&served, &format!("Last-Event-ID: {id}\r\n"));
        back.until("window", |window| sold(window, "Books", 9));
        let mut first = Reader::open(&served, &format!("Last-Event-ID: {id}\r\n"));
        let next = first.next();
        assert_eq!(first.number(), number + 1, "{next:?}");
        for strange in ["1-1", "x", "", &format!("{id}000")] {
            let mut anew = Reader::open(&served, &format!("Last-Event-ID: {strange}\r\n"));
            anew.until("state", |state| state["why"].is_null());
            anew.until("window", |window| sold(window, "Books", 9));
        }
        served.end(Signal::SIGTERM);
    });
}

#[test]
fn a_reader_that_does_not_read_is_disconnected_and_no_other_notices() {
    block_on(async {
        let database = shared().database("slow_reader").await;
        let admin = database.connect().await;
        admin.batch("CREATE SCHEMA mart").await.unwrap();
        admin.batch(STREAM).await.unwrap();
        let program = Program::new();
        let log = program.path("log");
        let arguments = ["--log", log.to_str().unwrap()];
        let served = Served::start(&program, &database.conninfo("postgres"), &arguments);
        served.until_health(200);
        let mut all: Vec<Reader> = (0..32).map(|_| Reader::open(&served, "")).collect();
        assert!(all.iter().all(|reader| reader.status == 200));
        assert_eq!(Reader::open(&served, "").status, 503);
        assert_eq!(served.get("/metrics").0, 200, "they leave room for others");
        all.truncate(1);
        let patience = Patience::begin();
        let slow = loop {
            let reader = Reader::with_little_room(&served).await;
            if reader.status == 200 {
                break reader;
            }
            assert!(patience.lasts(), "nobody left");
        };
        // Many events: 30 windows with 20 long names each change at once.
        let change = "
            INSERT INTO mart.realtime_stream (window_start, category, segment, amount, quantity, orders, change)
            SELECT date_trunc('minute', now()) - make_interval(mins => w), repeat('\"', 99) || chr(64 + c), 's', 1, 1, 1, 1
            FROM generate_series(0, 29) AS w, generate_series(1, 20) AS c
            ON CONFLICT (window_start, category, segment)
            DO UPDATE SET amount = realtime_stream.amount + 1, change = realtime_stream.change + 1";
        let patience = Patience::begin();
        for round in 1.. {
            admin.batch(change).await.unwrap();
            let amount = f64::from(round) * 20.0;
            all[0].until("window", |window| window["amount"].as_f64() == Some(amount));
            let log = std::fs::read_to_string(&log).unwrap();
            if log.contains("a reader of /live was disconnected: it reads too slowly") {
                break;
            }
            assert!(patience.lasts(), "it is still there after {round} rounds");
        }
        let mut rest = Vec::new();
        // The connection is closed, whatever was under way.
        let _ = slow.lines.into_inner().read_to_end(&mut rest);
        assert!(rest.len() < 4 << 20, "{}", rest.len());
        all[0].until("time", |_| true);
        served.end(Signal::SIGTERM);
    });
}

/// Status and head of the answer to a GET with these headers.
fn ask(served: &Served, path: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
    let (status, head, _) = served.raw(request.as_bytes());
    (status, head.to_ascii_lowercase())
}

#[test]
fn the_page_is_of_this_machine() {
    let program = Program::new();
    let nobody = tempfile::tempdir().unwrap();
    let nowhere = format!("host={}", nobody.path().display());
    let local = Served::start(&program, &nowhere, &[]);
    let here = "Host: localhost\r\n";
    for path in ["/", "/page.js", "/page.css"] {
        let (status, head) = ask(&local, path, here);
        assert_eq!(status, 200, "{path}");
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(head.contains(line), "{path}: {head}");
        }
    }
    let why = Reader::open(&local, "").until("state", |_| true);
    assert!(why["why"].is_string(), "{why}");
    let (status, _, body) = local.raw(b"HEAD /live HTTP/1.1\r\nHost: [::1]:1\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    for path in ["/", "/live", "/metrics", "/health"] {
        assert_eq!(ask(&local, path, "Host: evil.example\r\n").0, 421, "{path}");
        let (status, head, _) =
            local.raw(format!("DELETE {path} HTTP/1.1\r\n{here}\r\n").as_bytes());
        assert_eq!(status, 405, "{head}");
    }
    local.end(Signal::SIGTERM);
    // Other machines reach it: what was there before there was a page stays as it was.
    let open = Served::start(&program, &nowhere, &["--listen", "0.0.0.0:0"]);
    let other = "Host: db.example\r\n";
    for (path, wanted) in [
        ("/", 403),
        ("/live", 403),
        ("/login", 403),
        ("/metrics", 200),
        ("/health", 503),
    ] {
        assert_eq!(ask(&open, path, other).0, wanted, "{path}");
    }
    open.end(Signal::SIGTERM);
}

#[test]
fn a_token_opens_the_page_to_other_machines() {
    let program = Program::new();
    let nobody = tempfile::tempdir().unwrap();
    let nowhere = format!("host={}", nobody.path().display());
    let other = "Host: db.example\r\n";
    let file = program.path("token");
    let secret = "not-a-word-that-anybody-guesses";
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let file = file.to_str().unwrap();
    let closed = Served::start(
        &program,
        &nowhere,
        &["--listen", "0.0.0.0:0", "--token-file", file],
    );
    let bearer = format!("{other}Authorization: Bearer {secret}\r\n");
    let wrong = format!("{other}Authorization: Bearer {secret}x\r\n");
    for (path, wanted) in [("/live", 200), ("/metrics", 200), ("/health", 503)] {
        assert_eq!(ask(&closed, path, other).0, 401, "{path}");
        assert_eq!(ask(&closed, path, &wrong).0, 401, "{path}");
        if path != "/live" {
            assert_eq!(ask(&closed, path, &bearer).0, wanted, "{path}");
        }
    }
    assert_eq!(ask(&closed, "/", other).0, 200);
    assert_eq!(ask(&closed, "/login", &wrong).0, 401);
    let (status, head) = ask(&closed, "/login", &bearer);
    assert_eq!(status, 204, "{head}");
    let cookie = head.split("set-cookie: ").nth(1).unwrap();
    let cookie = cookie.lines().next().unwrap();
    assert!(
        cookie.contains("httponly; samesite=strict") && !cookie.contains(secret),
        "{cookie}"
    );
    let kept = cookie.split(';').next().unwrap();
    let mut reader = Reader::open(&closed, &format!("Cookie: {kept}\r\n"));
    assert_eq!(reader.status, 200);
    reader.until("gauges", |_| true);
    closed.end(Signal::SIGTERM);
    // From the environment; and a token that can be guessed is none.
    let mut short = program.command(&["serve", &nowhere, "--listen", "0"]);
    let ended = short.env("HTAP_TOP_TOKEN", "short").output().unwrap();
    let why = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{why}");
    assert!(
        why.contains("HTAP_TOP_TOKEN: the token must have 16"),
        "{why}"
    );
    assert!(!why.contains("short"), "{why}");
}
