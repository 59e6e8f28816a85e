//! `htap-top once` and `htap-top serve`: their output, for different roles, and their exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "helpers of a test"
)]

mod browser;
mod encodings;
mod exposition;
mod live;
mod served;

use super::server::{
    ANY_DISK, Database, Patience, Server, block_on, pid, role, shared, until, until_waiting,
};
use super::system;
use exposition::Exposition;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Pool;
use htap_top::pg::Client;
pub(super) use live::sell;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The panels that can be asked for without a pooler: those that docs/screen.md lists.
fn panels() -> impl Iterator<Item = &'static str> {
    let shown = panels::built_in().unwrap().iter();
    shown
        .filter(|spec| !spec.front.internal && spec.front.pool != Pool::Pooler)
        .map(|spec| spec.name.as_str())
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    fn exposition(&self) -> Exposition {
        Exposition::parse(&self.stdout)
    }
}

/// The program with its own configuration folder.
pub(super) struct Program {
    home: tempfile::TempDir,
}

impl Program {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("htap-top/queries")).unwrap();
        Self { home }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Returns the program with this configuration file.
    fn configured(config: &str) -> Self {
        let program = Self::new();
        std::fs::write(program.path("htap-top/config.toml"), config).unwrap();
        program
    }

    pub(super) fn own_panel(&self, name: &str, front: &str, sql: &str) {
        let path = self.path("htap-top/queries").join(format!("{name}.sql"));
        let text = format!(
            "-- title = \"Mine\"\n-- pool = \"olap\"\n-- interval = \"1s\"\n-- about = \"a\"\n{front}{sql}\n"
        );
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
        command
            .args(arguments)
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("XDG_STATE_HOME", self.home.path())
            .env_remove("HTAP_TOP_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn once(&self, conninfo: &str, arguments: &[&str]) -> Ended {
        let mut all = vec!["once", conninfo, "--wait", "30s"];
        all.extend(arguments);
        let output = self.command(&all).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }
}

/// A database like pgbench's, with hostile names in it.
async fn bank(server: &Server) -> Database<'_> {
    let database = server.database("bank").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE TABLE accounts (aid int PRIMARY KEY, abalance int);
             CREATE TABLE \"a\"\"b,\\c\nd\u{1b}{x=\"\"1\"\"}\" AS SELECT g FROM generate_series(1, 100) AS g;
             INSERT INTO accounts SELECT g, 0 FROM generate_series(1, 1000) AS g;
             CREATE MATERIALIZED VIEW totals AS SELECT sum(abalance) AS total FROM accounts; ANALYZE",
        )
        .await
        .unwrap();
    database
}

/// Roles with the privileges of pg_monitor, and with none.
async fn roles(admin: &Client) {
    role(admin, "output_monitor", "IN ROLE pg_monitor").await;
    role(admin, "output_plain", "").await;
}

fn gauge<'a>(told: &'a Value, name: &str) -> &'a Value {
    let gauges = told["gauges"].as_array().unwrap();
    let found = gauges.iter().find(|gauge| gauge["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[test]
fn all_formats_tell_the_same_of_any_database() {
    block_on(async {
        let database = bank(shared()).await;
        let conninfo = database.conninfo("postgres");
        let program = Program::new();
        let json = program.once(&conninfo, &["--format", "json"]);
        assert_eq!(json.code, 0, "{}", json.stderr);
        let told = json.json();
        assert_eq!(told["server"]["database"], database.name.as_str());
        assert!(told["at"].as_str().unwrap().ends_with('Z'));
        for name in ["p99", "snapshot", "locks", "tps", "server", "dead"] {
            let gauge = gauge(&told, name);
            assert!(gauge["value"].is_number(), "{gauge}");
            assert!(
                gauge["target"].is_number() && gauge["unit"].is_string(),
                "{gauge}"
            );
            assert_ne!(gauge["health"], "unknown", "{gauge}");
        }
        assert!(told["cause"]["sentence"].is_string(), "{told}");
        assert!(told["oltp"]["timed"].as_i64().unwrap() >= 10, "{told}");
        let table = program.once(&conninfo, &[]);
        assert_eq!(table.code, 0, "{}", table.stderr);
        for word in ["figure", "p99", "cause", "oltp: OLTP", "cache_hit_pct"] {
            assert!(table.stdout.contains(word), "{word}: {}", table.stdout);
        }
        assert!(!table.stdout.contains('\u{1b}'), "{}", table.stdout);
        let prometheus = program.once(&conninfo, &["--format", "prometheus"]);
        assert_eq!(prometheus.code, 0, "{}", prometheus.stderr);
        let told = prometheus.exposition();
        assert_eq!(told.value("htap_top_up", &[]), Some(1.0));
        assert!(
            told.value("htap_top_target_ratio", &[("gauge", "p99")])
                .is_some()
        );
        assert!(
            told.value("htap_top_cause", &[("rule", "lock_queue")])
                .is_some()
        );
        assert!(
            told.value("htap_top_database_xact_commit_total", &[])
                .unwrap()
                > 0.0
        );
        assert_eq!(told.kind("htap_top_database_xact_commit_total"), "counter");
        assert!(told.value("htap_top_oltp_p99_seconds", &[]).unwrap() < 30.0);
        let hostile = "a\"b,\\c d␛{x=\"1\"}";
        assert!(
            told.value("htap_top_bloat_n_live", &[("relation", hostile)])
                .is_some(),
            "{}",
            prometheus.stdout
        );
        told.assert_bounded();
        let csv = program.once(&conninfo, &["--panel", "bloat", "--format", "csv"]);
        assert_eq!(csv.code, 0, "{}", csv.stderr);
        assert!(csv.stdout.starts_with("relid,relation,"), "{}", csv.stdout);
        let quoted = "\"a\"\"b,\\c d␛{x=\"\"1\"\"}\"";
        assert!(csv.stdout.contains(quoted), "{}", csv.stdout);
        assert!(csv.stdout.split("\r\n").all(|line| !line.contains('\n')));
        let json = program
            .once(&conninfo, &["--panel", "bloat", "--format", "json"])
            .json();
        let rows = json["panels"]["bloat"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["relation"] == hostile), "{json}");
    });
}

#[test]
fn every_panel_is_told_on_the_shop() {
    block_on(async {
        let database = system::shop().await;
        let conninfo = database.conninfo("postgres");
        let program = Program::new();
        let mut arguments = vec!["--format", "json"];
        for panel in panels() {
            arguments.extend(["--panel", panel]);
        }
        let json = program.once(&conninfo, &arguments);
        assert_eq!(json.code, 0, "{}", json.stderr);
        let told = json.json();
        let major = database.server.major();
        for panel in panels() {
            let rows = &told["panels"][panel];
            let lacks = match panel {
                "io" if major < 16 => "PostgreSQL 16",
                // The shop's server does not load it.
                "statements" => "pg_stat_statements",
                _ => {
                    assert!(rows.is_array(), "{panel}: {}", told["reasons"]);
                    continue;
                }
            };
            let reason = told["reasons"][panel].as_str().unwrap();
            assert!(rows.is_null() && reason.contains(lacks), "{reason}");
        }
        let rate = &told["panels"]["databases"][0]["xact_commit"];
        assert!(rate.is_number(), "rates are made of two samples: {rate}");
        assert_eq!(
            told["panels"]["views"].as_array().unwrap().len(),
            7,
            "views and summaries"
        );
        arguments[1] = "prometheus";
        let all = program.once(&conninfo, &arguments);
        let all = all.exposition();
        assert!(
            all.value("htap_top_rfm_segments_users", &[("segment", "New")])
                .is_some()
        );
        let view = [("view", "mart.sales_hourly_mv")];
        assert!(all.value("htap_top_views_size_bytes", &view).is_some());
        arguments[1] = "table";
        let table = program.once(&conninfo, &arguments);
        for panel in panels() {
            assert!(table.stdout.contains(&format!("{panel}: ")), "{panel}");
        }
        let stocks = program.once(&conninfo, &["--panel", "rfm_segments", "--format", "csv"]);
        assert!(
            stocks.stdout.starts_with("segment,users,"),
            "{}",
            stocks.stdout
        );
    });
}

#[test]
fn roles_see_what_they_may() {
    block_on(async {
        let server = Server::alone();
        let database = bank(&server).await;
        let admin = database.connect().await;
        roles(&admin).await;
        let program = Program::new();
        let monitor = program.once(&database.conninfo("output_monitor"), &["--format", "json"]);
        assert_eq!(monitor.code, 0, "{}", monitor.stderr);
        let told = monitor.json();
        assert_eq!(told["oltp"]["restricted"], 0, "{told}");
        assert!(gauge(&told, "locks")["value"].is_number());
        // A session whose state is hidden from it.
        let other = database.connect().await;
        let plain = program.once(&database.conninfo("output_plain"), &["--format", "json"]);
        assert_eq!(plain.code, 0, "{}", plain.stderr);
        let told = plain.json();
        assert!(told["oltp"]["restricted"].as_i64().unwrap() > 0, "{told}");
        assert!(told["oltp"]["waiting"].is_null(), "{told}");
        assert_eq!(told["oltp"]["_unknown"]["waiting"], "unavailable");
        // Every role may read the lock table.
        assert_eq!(gauge(&told, "locks")["value"], 0.0, "{told}");
        let text = program.once(
            &database.conninfo("output_plain"),
            &["--format", "prometheus"],
        );
        let text = text.exposition();
        assert_eq!(
            text.value("htap_top_target_ratio", &[("gauge", "locks")]),
            Some(0.0)
        );
        let (holder, waiter) = (database.connect().await, database.connect().await);
        let update = "UPDATE accounts SET abalance = abalance + 1 WHERE aid = 1";
        holder.batch(&format!("BEGIN; {update}")).await.unwrap();
        let (held_by, waits) = (pid(&holder).await, pid(&waiter).await);
        let queue = tokio::spawn(async move { waiter.batch(update).await });
        until_waiting(&admin, waits).await;
        let patience = Patience::begin();
        loop {
            let plain = program.once(&database.conninfo("output_plain"), &["--check"]);
            let named = plain.stdout.contains(&format!("for pid {held_by} "));
            if plain.code == 5 && named {
                break;
            }
            assert!(patience.lasts(), "{}{}", plain.stdout, plain.stderr);
        }
        drop(holder);
        queue.await.unwrap().unwrap();
        assert_eq!(text.value("htap_top_oltp_waiting", &[]), None);
        drop(other);
        // Business panels have no relations to read in this database.
        let nothing = program.once(
            &database.conninfo("output_plain"),
            &["--panel", "hourly_sales", "--format", "json"],
        );
        assert_eq!(nothing.code, 1, "{}", nothing.stderr);
        let told = nothing.json();
        assert!(told["panels"]["hourly_sales"].is_null());
        let why = told["reasons"]["hourly_sales"].as_str().unwrap();
        assert!(why.contains("mart.sales_hourly"), "{why}");
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_check_tells_a_missed_target_from_one_that_is_held() {
    block_on(async {
        let server = Server::alone();
        let database = bank(&server).await;
        let conninfo = database.conninfo("postgres");
        let calm = format!(
            "{ANY_DISK}oltp_p99_ms = 30000\nsnapshot_age = \"1h\"\ndead_pct = 100\nfreshness = \"10d\"\n"
        );
        let program = Program::configured(&calm);
        let good = program.once(&conninfo, &["--check"]);
        assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
        assert!(good.stdout.starts_with("good: "), "{}", good.stdout);
        assert_eq!(good.stdout.lines().count(), 1);
        // A queue behind a lock.
        let (holder, waiter, admin) = (
            database.connect().await,
            database.connect().await,
            database.connect().await,
        );
        let update = "UPDATE accounts SET abalance = abalance + 1 WHERE aid = 1";
        holder.batch(&format!("BEGIN; {update}")).await.unwrap();
        let (held_by, waits) = (pid(&holder).await, pid(&waiter).await);
        let queue = tokio::spawn(async move {
            let _ = waiter.batch(update).await;
        });
        until_waiting(&admin, waits).await;
        let patience = Patience::begin();
        let missed = loop {
            let ended = program.once(&conninfo, &["--check"]);
            if ended.code == 5 {
                break ended;
            }
            assert!(patience.lasts(), "{}{}", ended.stdout, ended.stderr);
        };
        assert!(missed.stdout.starts_with("danger: "), "{}", missed.stdout);
        assert!(
            missed.stdout.contains(&held_by.to_string()),
            "{}",
            missed.stdout
        );
        assert!(missed.stderr.contains("locks"), "{}", missed.stderr);
        // What is not known is told besides.
        let lacking = Program::configured(&calm);
        lacking.own_panel("bad", "", "SELECT 1/0 AS x");
        let both = lacking.once(&conninfo, &["--check"]);
        assert_eq!(both.code, 5, "{}{}", both.stdout, both.stderr);
        for fault in [
            "targets missed: locks; not known: ",
            "bad: division by zero",
        ] {
            assert!(both.stderr.contains(fault), "{}", both.stderr);
        }
        let json = program.once(&conninfo, &["--check", "--format", "json"]);
        assert_eq!(json.code, 5, "{}", json.stderr);
        let told = json.json();
        assert_eq!(told["cause"]["rule"], "lock_queue", "{told}");
        assert!(!told["cause"]["evidence"].as_array().unwrap().is_empty());
        assert_eq!(gauge(&told, "locks")["health"], "danger");
        let text = program.once(&conninfo, &["--check", "--format", "prometheus"]);
        assert_eq!(text.code, 5);
        let text = text.exposition();
        assert_eq!(
            text.value("htap_top_target_missed", &[("gauge", "locks")]),
            Some(1.0)
        );
        assert_eq!(
            text.value("htap_top_cause", &[("rule", "lock_queue")]),
            Some(1.0)
        );
        holder.batch("ROLLBACK").await.unwrap();
        queue.await.unwrap();
        // A snapshot old enough for a lower target.
        let old = Program::configured(&calm.replace("\"1h\"", "\"1ms\""));
        holder
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM accounts")
            .await
            .unwrap();
        // Age alone does no harm: a vacuum has to leave rows that it needs.
        for statement in [
            "UPDATE accounts SET abalance = abalance + 1",
            "UPDATE accounts SET abalance = abalance + 1",
            "VACUUM accounts",
        ] {
            admin.batch(statement).await.unwrap();
        }
        let missed = old.once(&conninfo, &["--check"]);
        assert_eq!(missed.code, 5, "{}", missed.stdout);
        assert!(missed.stderr.contains("snapshot"), "{}", missed.stderr);
    });
}

#[test]
fn what_is_wrong_is_said() {
    block_on(async {
        let database = bank(shared()).await;
        let conninfo = database.conninfo("postgres");
        let program = Program::new();
        let unknown = program.once(&conninfo, &["--panel", "blaot"]);
        assert_eq!(unknown.code, 2);
        for panel in panels() {
            assert!(
                unknown.stderr.contains(panel),
                "{panel}: {}",
                unknown.stderr
            );
        }
        assert_eq!(program.once(&conninfo, &["--format", "xml"]).code, 2);
        assert_eq!(program.once(&conninfo, &["--wait", "soon"]).code, 2);
        for panels in [&[][..], &["--panel", "bloat", "--panel", "views"]] {
            let mut arguments = vec!["--format", "csv"];
            arguments.extend(panels);
            let ended = program.once(&conninfo, &arguments);
            assert!(
                ended.code == 2 && ended.stderr.contains("one panel"),
                "{}",
                ended.stderr
            );
        }
        let nobody = tempfile::tempdir().unwrap();
        let nowhere = format!("host={}", nobody.path().display());
        for arguments in [&[][..], &["--check"], &["--format", "json"]] {
            let ended = program.once(&nowhere, arguments);
            assert_eq!(ended.code, 3, "{}", ended.stderr);
            assert!(ended.stdout.is_empty() && ended.stderr.contains("failed to connect"));
        }
        let missing = program.once(&conninfo.replace(&database.name, "no_such_db"), &[]);
        assert!(
            missing.code == 3 && missing.stderr.contains("no_such_db"),
            "{}",
            missing.stderr
        );
    });
}

#[test]
fn hostile_panels_are_told_correctly() {
    block_on(async {
        let database = bank(shared()).await;
        let conninfo = database.conninfo("postgres");
        let program = Program::new();
        program.own_panel(
            "my-panel",
            "-- key = [\"a \\\"b\\\"\"]\n",
            "SELECT E'x\"y\\\\z\\n\\u001b[31m,€' AS \"a \"\"b\"\"\", 1 AS \"n{},=\", 2 AS \"n[].-\", \
             'NaN'::float8 AS nan, NULL AS nothing, '' AS empty, 3 AS \"7up\", 4 AS same, 5 AS same",
        );
        let panel = ["--panel", "my-panel", "--format"];
        let csv = program.once(&conninfo, &[&panel[..], &["csv"]].concat());
        assert_eq!(csv.code, 0, "{}", csv.stderr);
        let lines: Vec<&str> = csv.stdout.split("\r\n").collect();
        assert_eq!(lines.len(), 3, "{}", csv.stdout);
        assert!(
            lines[0]
                .starts_with("\"a \"\"b\"\"\",\"n{},=\",n[].-,nan,nothing,empty,7up,same,same_2")
        );
        assert!(
            lines[1].starts_with("\"x\"\"y\\z ␛[31m,€\",1,2,NaN,,\"\",3,4,"),
            "{}",
            lines[1]
        );
        let json = program
            .once(&conninfo, &[&panel[..], &["json"]].concat())
            .json();
        let row = &json["panels"]["my-panel"][0];
        assert_eq!(row["a \"b\""], "x\"y\\z ␛[31m,€", "{json}");
        assert!(
            row["nan"].is_null() && row["_unknown"]["nan"] == "NaN",
            "{json}"
        );
        assert!(row["nothing"].is_null() && row["_unknown"]["nothing"].is_null());
        let text = program.once(&conninfo, &[&panel[..], &["prometheus"]].concat());
        let text = text.exposition();
        let label = [("a__b_", "x\"y\\z ␛[31m,€")];
        for name in ["htap_top_my_panel_nan", "htap_top_panel_age_seconds"] {
            assert!(text.kind(name) == "gauge", "{name}");
        }
        assert!(
            text.value("htap_top_my_panel_nan", &label)
                .unwrap()
                .is_nan()
        );
        let table = program.once(&conninfo, &[&panel[..], &["table"]].concat());
        assert!(!table.stdout.contains('\u{1b}') && table.stdout.contains("same_2"));
    });
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    block_on(async {
        let database = bank(shared()).await;
        let program = Program::new();
        let mut child = program
            .command(&[
                "once",
                &database.conninfo("postgres"),
                "--format",
                "prometheus",
            ])
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    });
}

#[test]
fn a_panel_that_nobody_has_is_told() {
    block_on(async {
        let database = bank(shared()).await;
        let program = Program::configured("[panels]\nbloatt = { off = true }\n");
        let told = program.once(&database.conninfo("postgres"), &["--panel", "bloat"]);
        assert_eq!(told.code, 0, "{}", told.stderr);
        let complaint = "unknown panel \"bloatt\" in [panels]; did you mean bloat?";
        assert!(told.stderr.contains(complaint), "{}", told.stderr);
    });
}

/// Its statements do not continue on the server after the program has ended.
#[test]
fn its_statements_end_with_it() {
    block_on(async {
        let database = shared().database("ended").await;
        let admin = database.connect().await;
        let program = Program::new();
        program.own_panel("slow", "", "SELECT pg_sleep(55)::text AS x");
        let ended = program
            .command(&[
                "once",
                &database.conninfo("postgres"),
                "--panel",
                "slow",
                "--wait",
                "2s",
            ])
            .output()
            .unwrap();
        assert!(!ended.status.success());
        let running = format!(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%pg_sleep(55)%' AND pid <> pg_backend_pid()",
            database.name
        );
        until(&admin, "it has ended there, too", &running, &[], |table| {
            table.first("n").int() == Some(0)
        })
        .await;
    });
}

/// Two seconds are too short for a 99th percentile: the reason is given, with the number of queries timed.
#[test]
fn what_the_time_does_not_carry_is_not_told() {
    block_on(async {
        let database = bank(shared()).await;
        let program = Program::new();
        let conninfo = database.conninfo("postgres");
        let words = ["once", &conninfo, "--wait", "2s", "--format", "json"];
        let output = program.command(&words).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let oltp = &told["oltp"];
        assert!(oltp["p99_ms"].is_null(), "{told}");
        let timed = oltp["timed"].as_i64().unwrap_or(0);
        assert!(timed < 100, "{told}");
        let why = told["reasons"]["oltp.p99_ms"].as_str().unwrap();
        assert!(why.contains("of 100 point queries"), "{why}");
    });
}

/// A custom panel that fails is reported as unknown, by its name.
#[test]
fn a_panel_of_one_s_own_that_fails_is_named_as_not_known() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("own_fails").await;
        let program = Program::configured(ANY_DISK);
        program.own_panel("bad", "", "SELECT 1/0 AS x");
        let ended = program.once(&database.conninfo("postgres"), &["--check"]);
        assert!(
            ended.stdout.contains("not known: ") && ended.stdout.contains("bad (division by zero"),
            "{}",
            ended.stdout
        );
        assert_ne!(ended.code, 0);
    });
}
