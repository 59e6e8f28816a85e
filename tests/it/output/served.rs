//! `htap-top serve` over HTTP.

use super::exposition::Exposition;
use super::live::Reader;
use super::{Program, bank};
use crate::it::server::{Patience, Server, block_on, shared};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr};
use std::time::Duration;

/// A running `serve`.
pub(super) struct Served {
    process: Child,
    pub(super) address: String,
    _stderr: BufReader<ChildStderr>,
}

impl Served {
    pub(super) fn start(program: &Program, conninfo: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["serve", conninfo];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "0"]);
        }
        all.extend(arguments);
        let mut process = program.command(&all).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        // Warnings come first.
        while stderr.read_line(&mut line).unwrap() > 0 && !line.contains("http://") {}
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self {
            process,
            address,
            _stderr: stderr,
        }
    }

    /// Sends these bytes; returns status, head and body of the answer.
    pub(super) fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // It may have answered before it read all.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or(0), head.to_owned(), body.to_owned())
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) =
            self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        (status, body)
    }

    pub(super) fn until_health(&self, wanted: u16) -> String {
        let patience = Patience::begin();
        loop {
            let (status, body) = self.get("/health");
            if status == wanted {
                return body;
            }
            assert!(patience.lasts(), "{status}: {body}");
        }
    }

    fn up(&self) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Exposition::parse(&text).value("htap_top_up", &[])
    }

    pub(super) fn end(mut self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

#[test]
fn a_scrape_tells_the_newest_samples_and_nothing_else_is_there() {
    block_on(async {
        let database = bank(shared()).await;
        let program = Program::new();
        let served = Served::start(&program, &database.conninfo("postgres"), &[]);
        served.until_health(200);
        let patience = Patience::begin();
        let told = loop {
            let (_, head, text) = served.raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert!(head.contains("text/plain; version=0.0.4"), "{head}");
            let told = Exposition::parse(&text);
            if told.value("htap_top_oltp_p99_seconds", &[]).is_some()
                && told
                    .value("htap_top_views_size_bytes", &[("view", "public.totals")])
                    .is_some()
            {
                break told;
            }
            assert!(patience.lasts(), "{text}");
        };
        assert_eq!(told.value("htap_top_up", &[]), Some(1.0));
        told.assert_bounded();
        // A scrape runs no statement: figures are updated at the pace of the samples.
        let admin = database.connect().await;
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'htap-top' AND datname = current_database()";
        let before = admin.query(sql, &[]).await.unwrap();
        for _ in 0..200 {
            assert_eq!(served.get("/metrics").0, 200);
        }
        assert_eq!(admin.query(sql, &[]).await.unwrap(), before);
        for (request, wanted) in [
            ("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            (
                "GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
                404,
            ),
            (
                "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
                405,
            ),
            ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
            ("nonsense\r\n\r\n", 400),
        ] {
            let (status, head, body) = served.raw(request.as_bytes());
            assert_eq!(status, wanted, "{request}: {head}");
            assert!(!request.starts_with("HEAD") || body.is_empty());
        }
        let long = format!(
            "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
            "a".repeat(100_000)
        );
        assert_ne!(served.raw(long.as_bytes()).0, 200);
        served.end(Signal::SIGTERM);
    });
}

#[test]
fn clients_that_say_nothing_hold_up_nobody() {
    block_on(async {
        let database = bank(shared()).await;
        let program = Program::new();
        let served = Served::start(&program, &database.conninfo("postgres"), &[]);
        served.until_health(200);
        // More than are served at once. They stay: waiting for their timeout would take minutes.
        let silent: Vec<TcpStream> = (0..200)
            .map(|_| {
                let mut stream = TcpStream::connect(&served.address).unwrap();
                let _ = stream.write_all(b"GET /met");
                stream
            })
            .collect();
        assert_eq!(
            served.get("/health").0,
            200,
            "they are thrown out, and it is sampled meanwhile"
        );
        // Clients that send a request and do not read the answer do not block it, either.
        let slow: Vec<TcpStream> = (0..200)
            .map(|_| {
                let mut stream = TcpStream::connect(&served.address).unwrap();
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream
            })
            .collect();
        assert_eq!(served.get("/health").0, 200);
        drop(slow);
        drop(silent);
        served.end(Signal::SIGINT);
    });
}

#[test]
fn a_server_that_is_killed_is_told_and_found_again() {
    block_on(async {
        let server: &'static Server = Box::leak(Box::new(Server::alone()));
        let database = bank(server).await;
        let program = Program::new();
        let figures = Served::start(&program, &database.conninfo("postgres"), &[]);
        figures.until_health(200);
        assert_eq!(figures.up(), Some(1.0));
        let mut reader = Reader::open(&figures, "");
        reader.until("state", |state| state["why"].is_null());
        server.signal(Signal::SIGKILL);
        reader.until("state", |state| state["why"].is_string());
        let why = figures.until_health(503);
        assert!(
            why.contains("not connected") || why.contains("no answer"),
            "{why}"
        );
        assert_eq!(figures.up(), Some(0.0));
        let (_, text) = figures.get("/metrics");
        assert!(
            !text.contains("htap_top_database"),
            "what nobody measures is not told: {text}"
        );
        server.start_again();
        // On the same connection.
        reader.until("state", |state| state["why"].is_null());
        figures.until_health(200);
        assert_eq!(figures.up(), Some(1.0));
        figures.end(Signal::SIGTERM);
        server.signal(Signal::SIGQUIT);
    });
}

#[test]
fn it_serves_before_there_is_a_server_and_says_what_it_cannot() {
    let program = Program::new();
    let nobody = tempfile::tempdir().unwrap();
    let nowhere = format!("host={}", nobody.path().display());
    let served = Served::start(&program, &nowhere, &[]);
    let why = served.until_health(503);
    assert!(why.contains("connect"), "{why}");
    assert_eq!(served.up(), Some(0.0));
    let second = program
        .command(&["serve", &nowhere, "--listen", &served.address])
        .output();
    let second = second.unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&served.address), "{stderr}");
    for (arguments, code) in [(["--listen", "db:1"], 2), (["--panel", "nope"], 2)] {
        let mut all = vec!["serve", &nowhere];
        all.extend(arguments);
        if arguments[0] == "--panel" {
            all.extend(["--listen", "0"]);
        }
        let ended = program.command(&all).output().unwrap();
        assert_eq!(ended.status.code(), Some(code));
    }
    served.end(Signal::SIGHUP);
}
