//! The report of an incident: complete, private, without others' data; and notifications of dangers.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{Board, activity, requests, trouble};
use super::server::{ANY_DISK, Database, Server, block_on, on_any_disk, pid, until_waiting};
use super::terminal::tmux::Terminal;
use htap_top::config::{Config, Notify};
use htap_top::dashboard::event::Effect;
use htap_top::dashboard::notice::{News, Notice};
use htap_top::pg::{Client, PgError, Table};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio::task::JoinHandle;

/// Names of the files in a folder that end like this, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten();
    let found = found.map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> = found
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
}

/// Runs the program on a recording, with this folder for its state.
fn replay(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.arg("replay").args(arguments);
    command
        .env("XDG_STATE_HOME", state)
        .env("XDG_CONFIG_HOME", "/nowhere");
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A part of a report, from its title to the next one.
fn section<'a>(report: &'a str, title: &str) -> &'a str {
    let (_, rest) = report.split_once(&format!("\n## {title}")).unwrap();
    rest.split("\n## ").next().unwrap_or_default()
}

/// Checks that a report tells this queue: two sessions that wait, one behind the other, for the first one.
fn assert_told(report: &str, pids: [i64; 3]) {
    let [holder, first, second] = pids;
    let head = report.split("\n## ").next().unwrap();
    assert!(head.contains("**danger: 2 sessions wait"), "{head}");
    assert!(head.contains(&format!("pid {holder}")), "{head}");
    assert!(head.contains("- When: from 20"), "{head}");
    let locks = section(report, "Locks");
    for line in [
        format!("\n{holder} "),
        format!("\n└ {first} "),
        format!("\n  └ {second} "),
    ] {
        assert!(locks.contains(&line), "{line:?} is not in:{locks}");
    }
    assert!(locks.contains("row of accounts"), "{locks}");
    let sessions = section(report, "Sessions");
    for word in [
        "checkout",
        "idle in transaction",
        "UPDATE accounts SET abalance = ? WHERE aid = ?",
    ] {
        assert!(sessions.contains(word), "{word} is not in:{sessions}");
    }
    assert!(section(report, "Settings").contains("idle_in_transaction_session_timeout"));
    assert!(section(report, "Meaning").contains("locks.wait_s [s]: "));
    assert!(!report.contains("= 4711"), "{report}");
}

/// A database with accounts.
async fn bank(server: &Server) -> Database<'_> {
    let database = server.database("incident").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE TABLE accounts (aid int PRIMARY KEY, abalance int);
             INSERT INTO accounts SELECT g, 0 FROM generate_series(1, 100) AS g; ANALYZE",
        )
        .await
        .unwrap();
    database
}

/// A session of an application of this name that holds a row, and two sessions that wait for it, one behind the other:
/// the holder, the process ids, and the work of those that wait.
async fn queue(
    database: &Database<'_>,
    application: &str,
) -> (Client, [i64; 3], Vec<JoinHandle<Result<(), PgError>>>) {
    let (admin, holder) = (database.connect().await, database.connect().await);
    // At most so many bytes of a name are kept.
    let application = application.get(..60).unwrap();
    let named = format!("SET application_name = $x${application}$x$");
    holder.batch(&named).await.unwrap();
    let change = "UPDATE accounts SET abalance = 4711 WHERE aid = 7";
    holder.batch(&format!("BEGIN; {change}")).await.unwrap();
    let mut pids = [pid(&holder).await; 3];
    let mut waiting = Vec::new();
    for place in &mut pids[1..] {
        let waiter = database.connect().await;
        waiter
            .batch("SET application_name = 'checkout'")
            .await
            .unwrap();
        *place = pid(&waiter).await;
        waiting.push(tokio::spawn(async move { waiter.batch(change).await }));
        until_waiting(&admin, *place).await;
    }
    (holder, pids, waiting)
}

/// Checks that the files of a report are for their owner alone, and that its pictures are whole and quote no data.
fn assert_private(reports: &Path) {
    for path in files(reports, "") {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let pictures = files(reports, ".svg");
    assert_eq!(pictures.len(), 2, "{pictures:?}");
    for path in &pictures {
        let picture = fs::read_to_string(path).unwrap();
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(!picture.contains("= 4711"), "{}", path.display());
    }
}

#[test]
fn one_key_reports_a_lock_queue_and_a_replay_reports_the_same() {
    block_on(async {
        let server = Server::alone();
        let database = bank(&server).await;
        let terminal = Terminal::open(120, 40);
        let folder = terminal.state();
        let (told, planted) = (folder.join("told"), folder.join("planted"));
        fs::create_dir_all(&folder).unwrap();
        // On a machine that is busy with other tests only the queue is a danger.
        let config = format!(
            "{ANY_DISK}oltp_p99_ms = 60000\nolap_latency = \"1h\"\nsnapshot_age = \"1h\"\n[notify]\ncommand = 'printf \"%s %s\\n\" \"$HTAP_TOP_EVENT\" \"$HTAP_TOP_SENTENCE\" >> {}'\n",
            told.display()
        );
        terminal.config_file("config.toml", &config);
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", |screen| screen.contains("  live  "));
        let hostile = format!("x'\"; touch {0}; $(touch {0})", planted.display());
        let (holder, pids, waiting) = queue(&database, &hostile).await;
        terminal.until("the trouble", |screen| screen.contains("✖ 2 sessions wait"));
        terminal.until("the notification", |_| told.is_file());
        terminal.keys("w");
        let screen = terminal.until("the report", |screen| screen.contains("✔ report: "));
        let reports = folder.join("htap-top/reports");
        let found = files(&reports, ".md");
        assert_eq!(found.len(), 1, "{screen}");
        let report = fs::read_to_string(&found[0]).unwrap();
        assert_told(&report, pids);
        let major = server.major().to_string();
        assert!(section(&report, "Versions").contains(&major));
        assert_private(&reports);
        terminal.until("a longer wait", |screen| {
            (4..60).any(|seconds| screen.contains(&format!("wait up to {seconds}")))
        });
        terminal.keys("q");
        terminal.until("the prompt", |screen| screen.contains("exit=0"));
        let sentence = fs::read_to_string(&told).unwrap();
        assert!(
            sentence.starts_with("begin ") && sentence.lines().count() == 1,
            "{sentence}"
        );
        assert!(sentence.contains("x'\"; touch "), "{sentence}");
        assert!(!planted.exists());
        assert_replayed(&folder, pids);
        holder.batch("ROLLBACK").await.unwrap();
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
    });
}

/// Checks the reports of what the dashboard has recorded in this folder.
fn assert_replayed(state: &Path, pids: [i64; 3]) {
    // A replay judges by the targets of whoever watches it.
    let home = on_any_disk();
    let replay = |arguments: &[&str]| {
        let mut command = replay(state, arguments);
        command.env("XDG_CONFIG_HOME", home.path());
        command
    };
    let (path, error) = text(&replay(&["--report"]).output().unwrap());
    assert!(path.contains("/reports/20"), "{path}{error}");
    let report = fs::read_to_string(&path).unwrap();
    assert_told(&report, pids);
    let went_on = section(&report, "What went on");
    for words in ["lock queue", "2 wait for pid ", "trouble"] {
        assert!(went_on.contains(words), "{words} is not in:{went_on}");
    }
    let troubles = text(&replay(&["--troubles"]).output().unwrap()).0;
    let began = troubles.get(..26).unwrap();
    let at = replay(&["--report", "--at", began]).output().unwrap();
    let report = fs::read_to_string(text(&at).0).unwrap();
    let head = format!("- When: from {began}");
    assert!(report.contains(&head), "{head}:\n{report}");
    for (at, why) in [
        ("noon", "is no time: write 14:02:11"),
        ("1999-01-01 00:00:00", "nothing was recorded at"),
    ] {
        let refused = replay(&["--report", "--at", at]).output().unwrap();
        let (_, error) = text(&refused);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            error.contains(why) && error.contains("the recording is from "),
            "{error}"
        );
    }
    assert_refused(state);
}

/// Checks what is said if a report cannot be written.
fn assert_refused(state: &Path) {
    let recording = files(&state.join("htap-top/recordings"), ".htap").remove(0);
    let recording = recording.to_str().unwrap();
    let nowhere = Path::new("/dev/null/state");
    let refused = replay(nowhere, &[recording, "--report"]).output().unwrap();
    let (_, error) = text(&refused);
    let advice = "set XDG_STATE_HOME to a folder that can be written";
    assert!(
        error.contains("Not a directory") && error.contains(advice),
        "{error}"
    );
    // Nobody may write there, the superuser excepted.
    let barred = tempfile::tempdir().unwrap();
    let copy = barred.path().join("copy.htap");
    fs::copy(recording, &copy).unwrap();
    for (path, mode) in [(copy.as_path(), 0o444), (barred.path(), 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = replay(barred.path(), &[copy.to_str().unwrap(), "--report"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let (_, error) = text(&command.output().unwrap());
    assert!(
        error.contains("Permission denied") && error.contains(advice),
        "{error}"
    );
    // No file may grow beyond 8 kB, as on a disk that is full.
    let full = tempfile::tempdir().unwrap();
    let limited = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{}' replay '{recording}' --report",
        env!("CARGO_BIN_EXE_htap-top")
    );
    let refused = Command::new("bash")
        .args(["-c", &limited])
        .env("XDG_STATE_HOME", full.path())
        .env("XDG_CONFIG_HOME", "/nowhere")
        .output()
        .unwrap();
    let (_, error) = text(&refused);
    assert!(
        error.contains("File too large") && error.contains(advice),
        "{error}"
    );
    assert_eq!(
        files(&full.path().join("htap-top/reports"), ""),
        Vec::<PathBuf>::new()
    );
}

/// The names of the feeds that these effects ask for.
fn asked(board: &Board, effects: &[Effect]) -> Vec<String> {
    let requests = requests(effects).into_iter();
    requests.map(|request| board.name_of(request)).collect()
}

fn is_report(effect: &Effect) -> bool {
    matches!(effect, Effect::WriteReport { .. })
}

#[test]
fn a_report_waits_for_what_it_reads_but_not_for_long() {
    let mut board = Board::live(Config::default());
    let effects = board.keys("w");
    let names = asked(&board, &effects);
    assert!(names.contains(&"locks".to_owned()), "{names:?}");
    assert!(names.contains(&"settings".to_owned()), "{names:?}");
    assert!(!effects.iter().any(is_report), "{effects:?}");
    assert!(board.keys("w").is_empty(), "one report at a time");
    for name in &names {
        assert!(!board.tick(250).iter().any(is_report), "before {name}");
        let _ = board.answer(name, Table::default());
    }
    let past = Effect::WriteReport { past: false };
    assert!(board.tick(250).contains(&past));
    // Nothing answers.
    let _ = board.tick(10_000);
    let _ = board.keys("w");
    assert!(!board.tick(1_900).iter().any(is_report));
    assert!(board.tick(200).contains(&past));
    // A paused screen is reported as it stands.
    let _ = board.keys(" ");
    assert!(board.keys("w").contains(&past));
    assert_eq!(board.faults(), Vec::<String>::new());
}

/// The notification among effects.
fn notice(effects: Vec<Effect>) -> Option<Notice> {
    let mut notices = effects.into_iter().filter_map(|effect| match effect {
        Effect::Notify(notice) => Some(notice),
        _ => None,
    });
    let first = notices.next();
    assert_eq!(notices.next(), None, "two at once");
    first
}

/// Lets seconds pass, with the backends sampled in each; returns the notifications and the seconds at which they came.
fn seconds(board: &mut Board, count: u64, danger: bool) -> Vec<(u64, Notice)> {
    let mut told = Vec::new();
    for second in 1..=count {
        let backends = if danger { trouble() } else { activity(&[]) };
        let _ = board.answer("activity", backends);
        let due = notice(board.tick(1_000));
        told.extend(due.map(|notice| (second, notice)));
    }
    told
}

#[test]
fn somebody_is_told_once_when_a_danger_begins_and_once_when_it_ends() {
    let config = Config {
        notify: Notify {
            bell: true,
            ..Notify::default()
        },
        ..Config::default()
    };
    let mut board = Board::live(config.clone());
    board.model.guarding.armed = true;
    assert_eq!(seconds(&mut board, 5, false), []);
    let told = seconds(&mut board, 30, true);
    let [(1, begun)] = told.as_slice() else {
        unreachable!("{told:?}");
    };
    assert_eq!(begun.news, News::Begun);
    assert_eq!(begun.sentence.as_str(), board.model.cause.sentence);
    // It ends, begins and ends again within the minute: only the last end counts.
    assert_eq!(seconds(&mut board, 5, false), []);
    assert_eq!(seconds(&mut board, 10, true), []);
    let told = seconds(&mut board, 60, false);
    let [(16, ended)] = told.as_slice() else {
        unreachable!("{told:?}");
    };
    assert_eq!(ended.sentence, begun.sentence);
    assert_eq!(ended.since_epoch_ms, begun.since_epoch_ms);
    assert!(matches!(ended.news, News::Ended(seconds) if (40.0..=50.0).contains(&seconds)));
    // The next one is told a minute after the last notification.
    let told = seconds(&mut board, 30, true);
    assert!(matches!(told.as_slice(), [(16, notice)] if notice.news == News::Begun));
    // Not without a wish, and not in a model that only shows the past or a recording.
    for (config, armed) in [(Config::default(), true), (config, false)] {
        let mut board = Board::live(config);
        board.model.guarding.armed = armed;
        assert_eq!(seconds(&mut board, 5, true), []);
    }
}
