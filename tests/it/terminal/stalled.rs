//! The real program on a stalled disk: every write and sync below its state folder hangs.

use super::tmux::Terminal;
use super::{assert_given_back, bank, live};
use crate::it::server::{Database, block_on, pid, shared, until};
use htap_top::pg::{Client, Param, Table};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that can be stalled, and a terminal with the program on it.
struct Stalled {
    terminal: Terminal,
    folder: tempfile::TempDir,
}

impl Stalled {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/terminal/stall.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(folder.path().join("stall.so"))
            .args([source, "-ldl"])
            .status()
            .unwrap();
        assert!(built.success());
        let terminal = Terminal::open(140, 40);
        Self { terminal, folder }
    }

    fn gate(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    fn stall(&self) {
        std::fs::write(self.gate(), "").unwrap();
    }

    fn go_on(&self) {
        std::fs::remove_file(self.gate()).unwrap();
    }

    /// Returns true while this thread of the program is stuck in such a call.
    fn holds(&self, thread: &str) -> bool {
        self.gate().with_extension(thread).exists()
    }

    fn run(&self, database: &Database<'_>) {
        let environment = format!(
            "LD_PRELOAD='{}' STALL_GATE='{}' STALL_BELOW='{}'",
            self.folder.path().join("stall.so").display(),
            self.gate().display(),
            self.terminal.state().display()
        );
        let conninfo = database.conninfo("postgres");
        self.terminal
            .run_with(&environment, &format!("'{conninfo}'"));
        self.terminal.until("live", live);
    }

    /// Presses `C` on the row of this backend, and `y`.
    fn cancel(&self, victim: i64) {
        self.terminal.keys("C");
        self.terminal.until("the question", |screen| {
            screen.contains(&format!("pid {victim}")) && screen.contains("Sure?")
        });
        self.terminal.keys("y");
    }
}

async fn sleeps(admin: &Client, victim: i64, there: bool) {
    let sql = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    let good = |table: &Table| table.rows.is_empty() != there;
    until(admin, "the victim", sql, &[Param::Int(victim)], good).await;
}

/// Returns the action and the kind of outcome, if it is one, of each line of the audit file below `state`.
fn audited(state: &Path) -> Vec<(u64, Option<String>)> {
    let trace = std::fs::read_to_string(state.join("audit.jsonl")).unwrap();
    let lines = trace.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let outcome = line.get("outcome").and_then(serde_json::Value::as_object);
        let what = outcome.and_then(|outcome| outcome.keys().next().cloned());
        (line.get("action_id").unwrap().as_u64().unwrap(), what)
    });
    lines.collect()
}

#[test]
fn a_disk_that_takes_nothing_holds_no_key_and_no_action_goes_unaudited() {
    block_on(async {
        let database = bank(shared()).await;
        let (admin, victim) = (database.connect().await, database.connect().await);
        let victim_pid = pid(&victim).await;
        let sleeping = tokio::spawn(async move { victim.batch("SELECT pg_sleep(600)").await });
        sleeps(&admin, victim_pid, true).await;
        let stalled = Stalled::open();
        let terminal = &stalled.terminal;
        stalled.stall();
        stalled.run(&database);
        terminal.until("the recording is held", |_| stalled.holds("recorder"));
        terminal.keys("?");
        terminal.until("help", |screen| screen.contains("Help"));
        assert!(stalled.holds("recorder"), "while a key was answered");
        terminal.escape("Help");
        terminal.keys("8/");
        terminal.line(&format!("^{victim_pid}$"));
        terminal.until("the victim", |screen| {
            screen.contains("PgSleep") && !screen.contains("filter:")
        });
        // The action waits for its record, the keys do not.
        stalled.cancel(victim_pid);
        terminal.until("the wait is said", |screen| {
            screen.contains("writing the audit record …")
        });
        terminal.until("the audit file is held", |_| stalled.holds("audit"));
        terminal.keys("L");
        terminal.until("the log", |screen| {
            screen.contains("Log") && screen.contains(&format!("cancel pid {victim_pid}"))
        });
        assert!(stalled.holds("audit"), "while a key was answered");
        terminal.keys("Escape");
        let refused = terminal.until("refused", |screen| screen.contains("not done: "));
        assert!(
            refused.contains("the audit file cannot be written"),
            "{refused}"
        );
        assert!(stalled.holds("audit") && stalled.holds("recorder"));
        assert!(!sleeping.is_finished());
        sleeps(&admin, victim_pid, true).await;
        // The disk is back: the next action is done.
        stalled.go_on();
        stalled.cancel(victim_pid);
        terminal.until("proof", |screen| screen.contains("gone"));
        let ended = sleeping.await.unwrap();
        assert_eq!(ended.unwrap_err().code(), "57014");
        terminal.keys("q");
        assert!(assert_given_back(terminal).contains("exit=0"));
        let state = terminal.state().join("htap-top");
        let outcome = |what: &str| Some(what.to_owned());
        assert_eq!(
            audited(&state),
            [
                (1, None),
                (1, outcome("unaudited")),
                (2, None),
                (2, outcome("signalled"))
            ]
        );
        // Who quits is not held, either, and is told what is not on the disk.
        terminal.line("clear");
        stalled.stall();
        stalled.run(&database);
        terminal.until("the recording is held", |_| stalled.holds("recorder"));
        terminal.keys("q");
        let screen = assert_given_back(terminal);
        assert!(screen.contains("events were not recorded"), "{screen}");
        let recordings = std::fs::read_dir(state.join("recordings")).unwrap();
        let path = recordings.map(|file| file.unwrap().path()).min().unwrap();
        terminal.run(&format!("replay --troubles '{}'", path.display()));
        terminal.until("it can be read", |screen| screen.contains("exit=0"));
    });
}
