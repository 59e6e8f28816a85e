//! The log and the report of the real program on a real server: what is in them, and what must never be.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::output::Program;
use super::server::{Database, Order, Patience, Server, block_on, pid, shared, until};
use htap_top::pg::Param;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Secrets that no log or report may contain: a password, literals of others' statements, what an error says.
const SECRETS: [&str; 6] = [
    "planted-password",
    "planted-literal",
    "planted-message",
    "planted-detail",
    "planted-hint",
    "planted-row",
];

/// The program in its own folder, with a password in its environment.
fn command(program: &Program, arguments: &[&str]) -> Command {
    let mut command = program.command(arguments);
    command
        .current_dir(program.path(""))
        .env("PGPASSWORD", "planted-password");
    command
}

/// A function that fails with words that are somebody's, and a session that runs a literal.
async fn planted(database: &Database<'_>) -> tokio::task::JoinHandle<()> {
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE FUNCTION public.boom() RETURNS text LANGUAGE plpgsql AS $$BEGIN
             RAISE EXCEPTION 'planted-message' USING DETAIL = 'planted-detail', HINT = 'planted-hint', ERRCODE = 'HTAP1'; END$$",
        )
        .await
        .unwrap();
    let busy = database.connect().await;
    let busy_pid = pid(&busy).await;
    let running = tokio::spawn(async move {
        let _ = busy.batch("SELECT 'planted-literal', pg_sleep(600)").await;
    });
    let sql = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    until(&admin, "sleeps", sql, &[Param::Int(busy_pid)], |table| {
        !table.rows.is_empty()
    })
    .await;
    running
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Waits until a line of the log has all of `words`.
fn until_logged(log: &Path, words: &[&str]) {
    let patience = Patience::begin();
    loop {
        let text = text(log);
        if text
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
        {
            return;
        }
        assert!(patience.lasts(), "no line with {words:?}:\n{text}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
}

#[test]
fn a_log_tells_what_happened_and_nothing_of_what_is_in_the_database() {
    block_on(async {
        let database = shared().database("logged").await;
        let running = planted(&database).await;
        let admin = database.connect().await;
        let program = Program::new();
        program.own_panel("boom", "", "SELECT public.boom()");
        program.own_panel("slow", "", "SELECT pg_sleep(0.4), 'planted-row' AS x");
        let log = program.path("log");
        let name = log.to_string_lossy().into_owned();
        let conninfo = format!(
            "{} password=planted-password application_name=watched",
            database.conninfo("postgres")
        );
        let mut arguments = vec!["serve", &conninfo, "--listen", "0"];
        for panel in ["boom", "slow", "activity"] {
            arguments.extend(["--panel", panel]);
        }
        arguments.extend(["--log", &name, "--log-level", "debug"]);
        let mut served = command(&program, &arguments).spawn().unwrap();
        until_logged(&log, &[" started ", "command=serve"]);
        let version = format!("version={}", shared().major());
        let port = format!(":{} ", shared().port());
        until_logged(&log, &["connection opened", &port, &version]);
        until_logged(
            &log,
            &["statement failed", "error=HTAP1", "src/pg/sampler.rs:"],
        );
        until_logged(&log, &["sample failed", "panel=boom", "error=HTAP1"]);
        until_logged(&log, &["slow sample", "panel=slow", "rows=1"]);
        until_logged(&log, &["DEBUG sample", "panel=activity"]);
        let sql = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE application_name = 'watched'
                   OR application_name = 'htap-top' AND datname = current_database()";
        let ended = admin.query(sql, &[]).await.unwrap();
        assert!(ended.first("n").int().unwrap() > 0);
        until_logged(&log, &["connection lost", &port, "error=57P01"]);
        until_logged(&log, &["session lost", "session=Fast"]);
        kill(Pid::from_raw(served.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert_eq!(served.wait().unwrap().code(), Some(0));
        assert!(text(&log).lines().last().unwrap().ends_with("ended code=0"));
        // Another command, by the environment, in the same file; a database that is not there.
        let nowhere = format!("{} dbname=planted-row", database.conninfo("postgres"));
        let refused = command(&program, &["doctor", &nowhere])
            .env("HTAP_TOP_LOG", &log)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(3));
        until_logged(&log, &["connection refused", &port, "error=3D000"]);
        until_logged(&log, &["ended code=3"]);
        let all = text(&log);
        assert_no_secret(&all);
        assert!(!all.contains("SELECT") && !all.contains("boom()"), "{all}");
        let mode = std::fs::metadata(&log).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A file that is not ours to write.
        let link = program.path("link");
        std::os::unix::fs::symlink(program.path("elsewhere"), &link).unwrap();
        let refused = command(&program, &["config", "--log", "link"])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            why.contains("cannot write the log link: it is a symbolic link"),
            "{why}"
        );
        assert!(!program.path("elsewhere").exists());
        running.abort();
    });
}

/// Standard output, standard error and exit code of `report`.
fn report(program: &Program, arguments: &[&str]) -> (Option<i32>, String, String) {
    let all = [&["report"], arguments].concat();
    let output = command(program, &all).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story: recorded, reported, replayed"
)]
fn a_report_has_the_facts_and_no_secrets() {
    block_on(async {
        let server = Server::start(&Order {
            settings: vec![
                ("archive_mode".into(), "on".into()),
                ("archive_command".into(), "true planted-literal".into()),
                ("work_mem".into(), "5MB".into()),
            ],
            ..Order::default()
        });
        let database = server.database("reported").await;
        let running = planted(&database).await;
        let admin = database.connect().await;
        admin.batch("CREATE ROLE reporter LOGIN").await.unwrap();
        let program = Program::new();
        program.own_panel("boom", "", "SELECT public.boom()");
        program.own_panel("mine", "", "SELECT 'planted-row' AS x");
        let config = "# planted-hint\n[record]\nliterals = true\n[canary]\nsql = \"SELECT 1 AS x WHERE '' <> 'planted-message'\"\n";
        std::fs::write(program.path("htap-top/config.toml"), config).unwrap();
        let conninfo =
            |role: &str| format!("{} password=planted-password", database.conninfo(role));
        // A recording as a dashboard leaves it, with its literals, and a log of the command that made it.
        let recordings = program.path("htap-top/recordings");
        std::fs::create_dir_all(&recordings).unwrap();
        let recording = recordings.join("20260301T140211-4711-0000.htap");
        let recording = recording.to_string_lossy().into_owned();
        let recorded = command(
            &program,
            &[
                "record",
                &recording,
                &conninfo("postgres"),
                "--duration",
                "4s",
                "--literals",
                "--log",
                "log",
            ],
        )
        .output()
        .unwrap();
        let told = String::from_utf8_lossy(&recorded.stderr).into_owned();
        assert_eq!(recorded.status.code(), Some(0), "{told}");
        for role in ["postgres", "reporter"] {
            let log = ["--log", "log", "--yes", "--output", role];
            let (code, path, contents) =
                report(&program, &[&[conninfo(role).as_str()], &log[..]].concat());
            assert_eq!((code, path.trim()), (Some(0), role), "{contents}");
            assert!(
                contents.contains("Settings") && contents.contains("Recording"),
                "{contents}"
            );
            let file = program.path(role);
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let all = text(&file);
            assert_no_secret(&all);
            let superuser = format!("superuser           {}", role == "postgres");
            for fact in [
                env!("CARGO_PKG_VERSION"),
                &format!("PostgreSQL {}", server.major()),
                "work_mem  ",
                "5120 kB",
                &superuser,
                "plpgsql",
                "checks, ",
                "[canary]\nsql = \"SELECT ? AS x WHERE ? <> ?\"",
                "# file: queries/mine.sql",
                "INFO  started version=",
                "command=record",
                "error=HTAP1",
                "SELECT ?, pg_sleep(?)",
            ] {
                assert!(all.contains(fact), "{fact}:\n{all}");
            }
            if role == "postgres" {
                assert!(all.contains("archive_command  "), "{all}");
            }
            // What is recorded in it can be replayed.
            let lines = all.lines().filter(|line| line.starts_with("{\""));
            let lines = lines.fold(String::new(), |all, line| all + line + "\n");
            let excerpt = program.path(&format!("{role}.htap"));
            let packed = zstd::encode_all(lines.as_bytes(), 1).unwrap();
            std::fs::write(&excerpt, packed).unwrap();
            let excerpt = excerpt.to_string_lossy().into_owned();
            let replayed = command(&program, &["replay", &excerpt, "--troubles"]).output();
            let replayed = replayed.unwrap();
            let why = String::from_utf8_lossy(&replayed.stderr).into_owned();
            assert_eq!(replayed.status.code(), Some(0), "{why}");
            assert!(!String::from_utf8_lossy(&replayed.stdout).contains("cannot be read"));
            // It is not written over.
            let again = report(&program, &[&conninfo(role), "--yes", "--output", role]);
            assert_eq!(again.0, Some(2), "{}", again.2);
            assert!(again.2.contains("already exists"), "{}", again.2);
        }
        running.abort();
    });
}

#[test]
fn a_report_needs_no_server_and_asks_before_it_writes() {
    let program = Program::new();
    let nowhere = "host=/nowhere password=planted-password";
    let (code, text, why) = report(&program, &[nowhere, "--output", "-"]);
    assert_eq!(code, Some(0), "{why}");
    assert!(
        text.contains("no connection: /nowhere:5432: ") && text.contains("no recording: "),
        "{text}"
    );
    assert!(
        text.contains("no log: run the command again with --log FILE"),
        "{text}"
    );
    assert_no_secret(&text);
    // Nobody can be asked here.
    let (code, _, why) = report(
        &program,
        &[nowhere, "--without", "doctor", "--output", "it"],
    );
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("Pass --yes to proceed"), "{why}");
    assert!(
        why.contains("Machine  ") && !why.contains("Doctor"),
        "{why}"
    );
    assert!(!program.path("it").exists());
}
