//! The log and the report of the real program on a real server: what is in them, and what must never be.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Patience, block_on, pid, shared, until};
use htap_top::pg::Param;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What nobody may find in a log or a report: a password, literals of others' statements, what an error says.
const SECRETS: [&str; 6] = [
    "planted-password",
    "planted-literal",
    "planted-message",
    "planted-detail",
    "planted-hint",
    "planted-row",
];

/// The program with folders of its own.
struct Program {
    home: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("htap-top/queries")).unwrap();
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn own_panel(&self, name: &str, sql: &str) {
        let front = "-- title = \"Mine\"\n-- pool = \"oltp\"\n-- interval = \"1s\"\n-- about = \"a\"\n";
        let path = self.path("htap-top/queries").join(format!("{name}.sql"));
        std::fs::write(path, format!("{front}{sql}\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("XDG_STATE_HOME", self.home.path())
            .env_remove("HTAP_TOP_LOG")
            .env("PGPASSWORD", "planted-password")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
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
        std::thread::yield_now();
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
        program.own_panel("boom", "SELECT public.boom()");
        program.own_panel("slow", "SELECT pg_sleep(0.4), 'planted-row' AS x");
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
        let mut served = program.command(&arguments).spawn().unwrap();
        until_logged(&log, &[" started ", "command=serve"]);
        let version = format!("version={}", shared().major());
        let port = format!(":{} ", shared().port());
        until_logged(&log, &["connection opened", &port, &version]);
        until_logged(&log, &["statement failed", "error=HTAP1", "src/pg/sampler.rs:"]);
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
        let refused = program
            .command(&["doctor", &nowhere])
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
        let refused = program
            .command(&["config", "--log", "link"])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("cannot write the log link: it is a symbolic link"), "{why}");
        assert!(!program.path("elsewhere").exists());
        running.abort();
    });
}
