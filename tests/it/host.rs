//! The use of the machine: read here and by the server's function, on a real server.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{Board, requests, table, with_host};
use super::facts::{feed, until, watch_with};
use super::server::{Database, Server, block_on, pid, role};
use htap_top::dashboard::event::Effect;
use htap_top::dashboard::model::Model;
use htap_top::pg::{Client, Table};
use std::fs;
use std::process::Command;

/// Runs `htap-top init --host-figures`; returns its exit code and what it wrote.
fn init(conninfo: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(["init", "--host-figures", conninfo])
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Processor time that a process has used, in seconds.
fn used_s(pid: i64) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let mut ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let mut next = || ticks.next().unwrap().parse::<f64>().unwrap();
    (next() + next()) / 100.0
}

/// The figure of a row in a column.
fn figure(model: &Model, panel: &str, key: (&str, &str), column: &str) -> Option<f64> {
    let table = &feed(model, panel).table;
    let row = (0..table.rows.len()).find(|row| {
        let cell = table.get(*row, key.0);
        cell.text() == Some(key.1) || cell.int().is_some_and(|pid| pid.to_string() == key.1)
    })?;
    table.get(row, column).number()
}

/// A session that computes until it is cancelled, two minutes at most, and writes nothing: a test that fails does not end it.
pub async fn busy(database: &Database<'_>) -> (i64, tokio::task::JoinHandle<()>) {
    let target = database.target().with_application_name("reports");
    let client = Client::open(&target, &htap_top::pg::Settings::default()).await;
    let client = client.unwrap();
    let pid = pid(&client).await;
    let limit = "SET statement_timeout = '2min'";
    client.batch(limit).await.unwrap();
    let work = tokio::spawn(async move {
        let sql = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b, generate_series(1, 100) AS c";
        let _ = client.batch(sql).await;
    });
    (pid, work)
}

pub async fn end(database: &Database<'_>, pid: i64, work: tokio::task::JoinHandle<()>) {
    let admin = database.connect().await;
    let sql = format!("SELECT pg_terminate_backend({pid})");
    admin.batch(&sql).await.unwrap();
    work.await.unwrap();
}

/// Checks the figures of a backend that computes, and of its class: its own processor time lies between what it had used
/// before and after.
fn assert_used(model: &Model, pid: i64, (least, most): (f64, f64)) {
    let cpu = figure(model, "activity", ("pid", &pid.to_string()), "cpu_pct").unwrap();
    assert!(
        cpu >= least && cpu <= most,
        "{cpu} is not within {least} to {most}"
    );
    let olap = figure(model, "host", ("who", "olap"), "cpu_pct").unwrap();
    assert!(olap > 0.0, "{:?}", feed(model, "host").table);
    let memory = figure(model, "activity", ("pid", &pid.to_string()), "memory_bytes");
    assert!(memory > Some(1e6), "{memory:?}");
    for (who, column) in [
        ("machine", "share_pct"),
        ("machine", "memory_bytes"),
        ("machine", "cores"),
        ("others", "cpu_pct"),
        ("server", "processes"),
    ] {
        let found = figure(model, "host", ("who", who), column);
        assert!(found > Some(0.0), "{who} {column}: {found:?}");
    }
}

#[test]
fn this_program_reads_the_processes_of_a_server_on_its_machine() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("host").await;
        let (pid, work) = busy(&database).await;
        let mut headless = watch_with(with_host(), &database.target(), None, &["host", "activity"]);
        let row = pid.to_string();
        let known = |model: &Model| figure(model, "activity", ("pid", &row), "cpu_pct").is_some();
        until(&mut headless, "a first rate", |model| {
            known(model) && figure(model, "host", ("who", "machine"), "share_pct").is_some()
        })
        .await;
        let begun = headless.model.now;
        let before = used_s(pid);
        let mut rates = Vec::new();
        while rates.len() < 4 {
            let at = feed(&headless.model, "host").sampling.at;
            until(&mut headless, "another", |model| {
                feed(model, "host").sampling.at > at && known(model)
            })
            .await;
            rates.push(figure(&headless.model, "activity", ("pid", &row), "cpu_pct").unwrap());
        }
        // The mean over the time since; samples and this test's readings are not at the same instants.
        let mean = (used_s(pid) - before) / headless.model.now.since(begun) * 100.0;
        let found = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!(
            (found - mean).abs() < 25.0,
            "{rates:?} on average {found}, used {mean}"
        );
        assert_used(&headless.model, pid, (1.0, 110.0));
        let left = figure(
            &headless.model,
            "host",
            ("who", "machine"),
            "data_left_bytes",
        );
        assert!(left > Some(0.0), "{left:?}");
        headless.end().await;
        end(&database, pid, work).await;
    });
}

/// A board that is told that the server's processes are not on this machine, and answers to its statements.
struct Remote {
    board: Board,
    client: Client,
}

impl Remote {
    async fn new(database: &Database<'_>, role: &str) -> Self {
        let mut board = Board::new(with_host());
        board.mute = true;
        let asked = board.connect();
        let client = database.connect_as(role).await;
        let mut remote = Self { board, client };
        remote.answer(asked).await;
        remote
    }

    /// Answers what is asked of the host, and what is asked then.
    async fn answer(&mut self, mut asked: Vec<Effect>) {
        while !asked.is_empty() {
            let mut next = Vec::new();
            for effect in &asked {
                if let Effect::ReadHost { .. } = effect {
                    let absent = table(
                        "pid | file | content",
                        &["0 | absent | not on this machine"],
                    );
                    next.extend(self.board.answer("host", absent));
                }
            }
            for request in requests(&asked) {
                let name = self.board.name_of(request);
                if name.starts_with("host") || name == "activity" {
                    let told: Table = self.client.query(&request.sql, &[]).await.unwrap();
                    next.extend(self.board.answer(&name, told));
                }
            }
            asked = next;
        }
    }

    /// Lets some samples be taken.
    async fn sample(&mut self, times: u32) {
        for _ in 0..times {
            let asked = self.board.tick(1_000);
            self.answer(asked).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    fn missing(&self) -> String {
        let sampling = &feed(&self.board.model, "host").sampling;
        let why = sampling.strange.iter().chain(&sampling.missing);
        why.map(ToString::to_string).next().unwrap_or_default()
    }
}

/// A database, with the role that may call the function and one that may not.
async fn database(server: &Server) -> Database<'_> {
    let database = server.database("host").await;
    let admin = database.connect().await;
    role(&admin, "htap_monitor", "IN ROLE pg_monitor").await;
    role(&admin, "host_plain", "").await;
    database
}

#[test]
fn the_function_is_installed_by_a_superuser_who_says_yes() {
    block_on(async {
        let server = Server::alone();
        let database = database(&server).await;
        let admin = database.connect().await;
        let conninfo = |role: &str| database.conninfo(role);
        for (role, arguments, why) in [
            ("host_plain", &["--yes"][..], "only a superuser"),
            ("postgres", &[], "nothing was changed"),
        ] {
            let (code, said) = init(&conninfo(role), arguments);
            assert!(code != Some(0) && said.contains(why), "{said}");
        }
        let (code, said) = init(&conninfo("postgres"), &["--dry-run"]);
        assert!(
            code == Some(0) && said.contains("CREATE FUNCTION htap_host.files"),
            "{said}"
        );
        let count = "SELECT count(*) AS n FROM pg_namespace WHERE nspname = 'htap_host'";
        assert_eq!(
            admin.query(count, &[]).await.unwrap().first("n").int(),
            Some(0)
        );
        for _ in 0..2 {
            // The second time it is replaced.
            let (code, said) = init(&conninfo("postgres"), &["--yes"]);
            assert!(code == Some(0) && said.contains("installed"), "{said}");
        }
        for said in ["removed", "is not installed"] {
            let (code, all) = init(&conninfo("postgres"), &["--uninstall", "--yes"]);
            assert!(code == Some(0) && all.contains(said), "{all}");
        }
        // Of somebody else: left alone, and not called.
        let planted = "CREATE SCHEMA htap_host AUTHORIZATION host_plain; SET ROLE host_plain;
             CREATE FUNCTION htap_host.files(int[]) RETURNS TABLE (pid int, file text, content text) LANGUAGE sql
             AS $$SELECT 0, 'clock'::text, '1'::text$$; RESET ROLE";
        admin.batch(planted).await.unwrap();
        let (code, said) = init(&conninfo("postgres"), &["--yes"]);
        assert!(code != Some(0) && said.contains("left alone"), "{said}");
        let mut remote = Remote::new(&database, "postgres").await;
        remote.sample(2).await;
        let missing = remote.missing();
        assert!(
            missing.contains("belongs to host_plain, who is no superuser: it is not called"),
            "{missing}"
        );
    });
}

#[test]
fn a_server_elsewhere_reads_them_by_its_function() {
    block_on(async {
        let server = Server::alone();
        let database = database(&server).await;
        let mut remote = Remote::new(&database, "htap_monitor").await;
        remote.sample(2).await;
        let without = remote.missing();
        assert_eq!(
            without,
            "htap_host.files(), as the server runs on another machine"
        );
        let _ = remote.board.keys("ph");
        let screen = remote.board.screen(120, 40);
        assert!(screen.contains("init --host-figures"), "{screen}");

        assert_eq!(init(&database.conninfo("postgres"), &["--yes"]).0, Some(0));
        let (pid, work) = busy(&database).await;
        let mut remote = Remote::new(&database, "htap_monitor").await;
        remote.sample(5).await;
        assert_eq!(remote.missing(), "");
        assert_used(&remote.board.model, pid, (1.0, 110.0));
        let left = figure(
            &remote.board.model,
            "host",
            ("who", "machine"),
            "data_left_bytes",
        );
        assert_eq!(left, None, "no function of PostgreSQL tells it");
        end(&database, pid, work).await;

        // A role without the right is told so; nothing is asked in vain.
        let mut plain = Remote::new(&database, "host_plain").await;
        plain.sample(2).await;
        let missing = plain.missing();
        assert!(
            missing.starts_with("our role may not call htap_host.files(): GRANT htap_monitor TO"),
            "{missing}"
        );

        // It reads no other process, however many are wanted.
        let monitor = database.connect_as("htap_monitor").await;
        let own = super::server::pid(&monitor).await;
        let sql = format!(
            "SELECT string_agg(DISTINCT h.pid::text, ',') AS read, count(*) FILTER (WHERE h.pid <> 0) AS files
             FROM htap_host.files(ARRAY[1, {}, {own}] || array_fill(-1, ARRAY[100])) AS h WHERE h.pid = 0 OR h.content IS NOT NULL",
            std::process::id()
        );
        let told = monitor.query(&sql, &[]).await.unwrap();
        assert_eq!(told.first("read").text(), Some(format!("0,{own}").as_str()));
        assert_eq!(told.first("files").int(), Some(2));
    });
}

/// The rows of the panel as of one sample, from files of `/proc`.
fn files(clock: f64, idle: u32, processes: &[(i64, u32, u32)]) -> Table {
    let mut rows = vec![
        format!("0|clock|'{clock}"),
        "0|page|'4096".to_owned(),
        format!("0|stat|'cpu 0 0 0 {idle} 0 0 0 0 0 0 cpu0 cpu1 procs_running 2"),
        "0|meminfo|'MemTotal: 1000 kB MemAvailable: 400 kB".to_owned(),
        "0|data directory|'100000000 2000000".to_owned(),
    ];
    for (pid, ticks, start) in processes {
        let stat = format!(
            "{pid} (postgres) R 1 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} 0 100 0"
        );
        rows.push(format!("{pid}|stat|'{stat}"));
        rows.push(format!(
            "{pid}|io|'read_bytes: {} write_bytes: 0",
            ticks * 1000
        ));
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    table("pid | file | content", &rows)
}

const SERVER: &str = "data_directory | installed | executable | owner";
const LISTED: &str =
    "pid | leader_pid | datname | usename | application_name | backend_type | query | started_s";
const ACTIVITY: &str =
    "pid | leader_pid | usename | application_name | backend_type | state | query";

/// A board that is told these processes with every sample.
struct Local {
    board: Board,
    listed: Table,
    activity: Table,
}

impl Local {
    fn new(listed: &[&str], activity: &[&str]) -> Self {
        let mut board = Board::live(with_host());
        board.mute = true;
        let _ = board.tick(1_000);
        let _ = board.answer("host_server", table(SERVER, &["/d | | | "]));
        Self {
            board,
            listed: table(LISTED, listed),
            activity: table(ACTIVITY, activity),
        }
    }

    fn sample(&mut self, files: Table) {
        let _ = self.board.answer("host_processes", self.listed.clone());
        let _ = self.board.answer("host", files);
        let _ = self.board.answer("activity", self.activity.clone());
        let _ = self.board.tick(1_000);
    }

    fn host(&self, who: &str, column: &str) -> Option<f64> {
        figure(&self.board.model, "host", ("who", who), column)
    }

    fn cpu_of(&self, pid: &str) -> Option<f64> {
        figure(&self.board.model, "activity", ("pid", pid), "cpu_pct")
    }
}

fn assert_near(found: Option<f64>, wanted: f64, what: &str) {
    assert!(
        found.is_some_and(|found| (found - wanted).abs() < 0.01),
        "{what}: {found:?}"
    );
}

/// Processes from pid 11 on that have used so many ticks.
fn used(ticks: &[u32]) -> Vec<(i64, u32, u32)> {
    (11..)
        .zip(ticks)
        .map(|(pid, ticks)| (pid, *ticks, 7))
        .collect()
}

fn office() -> Local {
    Local::new(
        &[
            "11 | | shop | app | web | client backend | SELECT 1 | 1.0",
            "12 | | shop | reports | metabase | client backend | SELECT 2 | 1.0",
            "13 | 12 | shop | reports | metabase | parallel worker | SELECT 2 | 1.0",
            "14 | | | | | checkpointer | | 1.0",
            "15 | | shop | monitor | htap-top | client backend | SELECT 3 | 1.0",
        ],
        &[
            "11 | | app | web | client backend | active | SELECT 1",
            "12 | | reports | metabase | client backend | active | SELECT 2",
            "13 | 12 | reports | metabase | parallel worker | active | SELECT 2",
        ],
    )
}

#[test]
fn use_is_summed_by_class_and_a_leaders_includes_its_workers() {
    let mut local = office();
    local.sample(files(100.0, 1000, &used(&[0, 0, 0, 0, 0])));
    assert_eq!(
        local.host("olap", "cpu_pct"),
        None,
        "one reading is no rate"
    );
    // In one second: two cores, idle all the time; 10, 60, 50, 4 and 1 ticks.
    local.sample(files(101.0, 1200, &used(&[10, 60, 50, 4, 1])));
    for (who, cpu) in [
        ("oltp", 10.0),
        ("olap", 110.0),
        ("server", 4.0),
        ("htap-top", 1.0),
        ("refresh", 0.0),
    ] {
        assert_near(local.host(who, "cpu_pct"), cpu, who);
    }
    assert_near(local.host("olap", "share_pct"), 55.0, "of two cores");
    assert_near(
        local.host("machine", "memory_bytes"),
        600.0 * 1024.0,
        "memory",
    );
    assert_near(local.host("olap", "read_bytes_per_s"), 110_000.0, "read");
    assert_near(local.cpu_of("12"), 110.0, "with its worker");
    assert_near(local.cpu_of("13"), 50.0, "the worker");
    let finding = local.board.finding("disk_space").unwrap();
    let sentence = &finding.sentence;
    assert!(
        sentence.starts_with("1.9 MB left on the disk of the data directory"),
        "{sentence}"
    );
}

#[test]
fn a_pid_that_another_process_has_now_begins_anew() {
    let mut local = office();
    local.sample(files(100.0, 1000, &used(&[0, 0, 0, 0, 0])));
    local.sample(files(101.0, 1200, &used(&[10, 60, 50, 4, 1])));
    let mut next = used(&[20, 5, 50, 8, 2]);
    next.retain(|(pid, ..)| *pid != 12);
    next.push((12, 5, 900));
    local.sample(files(102.0, 1300, &next));
    assert_near(local.host("olap", "cpu_pct"), 0.0, "of the worker");
    assert_eq!(local.cpu_of("12"), None);
}

/// Two cores after two seconds: what OLAP and all together use per second, in ticks.
fn full(olap: u32, machine: u32) -> Board {
    let mut local = Local::new(
        &["12 | | shop | reports | metabase | client backend | SELECT 2 | 1.0"],
        &["12 | | reports | metabase | client backend | active | SELECT 2"],
    );
    for (clock, times) in [(100.0, 0), (101.0, 1), (102.0, 2)] {
        let (busy, idle) = (times * machine, times * (200 - machine));
        let stat = format!("0|stat|'cpu {busy} 0 0 {idle} 0 0 0 0 0 0 cpu0 cpu1 procs_running 2");
        let process = format!(
            "12|stat|'12 (postgres) R 1 0 0 0 0 0 0 0 0 0 {} 0 0 0 20 0 1 0 7 0 100 0",
            times * olap
        );
        let clock = format!("0|clock|'{clock}");
        local.sample(table("pid | file | content", &[&clock, &stat, &process]));
    }
    local.board
}

#[test]
fn a_full_machine_is_explained_by_who_fills_it() {
    let board = full(150, 196);
    assert_eq!(
        board.finding("olap_share").unwrap().sentence,
        "OLAP uses 1.5 of 2 cores, most of it pid 12 (metabase, reports, olap)"
    );
    assert!(board.finding("other_programs").is_none());
    let board = full(20, 196);
    let sentence = &board.finding("other_programs").unwrap().sentence;
    assert!(
        sentence.starts_with("1.8 of 2 cores are used by other programs"),
        "{sentence}"
    );
    assert!(board.finding("olap_share").is_none());
    let board = full(150, 160);
    assert!(board.finding("olap_share").is_none() && board.finding("other_programs").is_none());
    let gauge = |board: &Board| {
        let mut gauges = board.model.gauges.iter();
        gauges
            .find(|gauge| gauge.label == "cpu")
            .map(|gauge| gauge.value.clone())
    };
    assert_eq!(gauge(&board).as_deref(), Some("80% olap 75%"));
    assert_eq!(
        gauge(&Board::live(htap_top::config::Config::default())),
        None
    );
}

#[test]
fn a_standby_reads_by_the_function_of_its_primary_which_is_not_installed_there() {
    block_on(async {
        let primary = Server::alone();
        let replica = primary.replica();
        let conninfo = format!(
            "host={} port={} user=postgres dbname=postgres",
            replica.socket_dir().display(),
            replica.port()
        );
        let (code, said) = init(&conninfo, &["--yes"]);
        assert!(
            code != Some(0) && said.contains("the server is a standby"),
            "{said}"
        );
    });
}
