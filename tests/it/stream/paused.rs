//! Pausing and resuming the relay: it obeys, and says so; who may, and what is told if nobody is there to obey.

use super::{Kafka, number, relay, relay_plan, streaming_shop, trade, until_relayed};
use crate::it::server::{Database, block_on, until};
use htap_top::stream::pause::{Switched, Verdict, open, switch};
use htap_top::stream::relay::Event;
use std::path::Path;
use std::process::{Command, Output};

const WAITING: &str = "SELECT count(*) FROM htap.outbox";

async fn switched(database: &Database<'_>, paused: bool) -> Switched {
    let client = open(&database.target_of("htap_monitor")).await.unwrap();
    switch(&client, paused, "ada").await.unwrap()
}

#[test]
fn a_paused_relay_sends_nothing_until_it_is_resumed() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let done = |changed, verdict| Switched { changed, verdict };
        assert_eq!(switched(&database, true).await, done(true, Verdict::Unled));
        let kafka = Kafka::start();
        let running = relay(&database, relay_plan(&kafka));
        // It holds for a relay that starts later.
        running.tells(|event| *event == Event::Paused).await;
        trade(&client, 4).await;
        assert_eq!(
            switched(&database, true).await,
            done(false, Verdict::Obeyed)
        );
        // The relay has looked at the outbox since: it counts the rows, and leaves them.
        let counted = "SELECT lag_rows AS n FROM htap.stream_state WHERE state = 'paused'";
        until(&client, "it counts what waits", counted, &[], |table| {
            table.first("n").int() == Some(15)
        })
        .await;
        assert_eq!(number(&client, WAITING).await, 15);
        assert_eq!(kafka.records(), []);
        let who = "SELECT count(*) FROM htap.stream_pause WHERE paused_by = 'htap_monitor (ada)'";
        assert_eq!(number(&client, who).await, 1);

        assert_eq!(
            switched(&database, false).await,
            done(true, Verdict::Obeyed)
        );
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 15);
        running.tells(|event| *event == Event::Resumed).await;
        // While it runs, too, and before the next batch.
        assert_eq!(switched(&database, true).await, done(true, Verdict::Obeyed));
        trade(&client, 4).await;
        assert_eq!(
            switched(&database, false).await,
            done(true, Verdict::Obeyed)
        );
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 30);

        let stranger = open(&database.target_of("htap_oltp")).await.unwrap();
        let refused = switch(&stranger, true, "").await.unwrap_err();
        assert_eq!(refused.code(), "42501");
        let direct = stranger.batch("DELETE FROM htap.stream_pause").await;
        assert_eq!(direct.unwrap_err().code(), "42501");
        // Not even htap_refresh writes it but by the function, which notes who it was.
        let refresh = database.target_of("htap_refresh");
        let refresh = open(&refresh).await.unwrap();
        let direct = "INSERT INTO htap.stream_pause (component, paused_by) VALUES ('relay', 'x')";
        assert_eq!(refresh.batch(direct).await.unwrap_err().code(), "42501");
    });
}

/// Runs a command of the stream, with its state in this folder.
async fn run(database: &Database<'_>, user: &str, args: &[&str], state: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command
        .arg("stream")
        .args(args)
        .arg(database.conninfo(user));
    command
        .env("XDG_STATE_HOME", state)
        .env_remove("PGPASSWORD");
    let ended = tokio::task::spawn_blocking(move || command.output());
    ended.await.unwrap().unwrap()
}

#[test]
fn scripts_pause_and_resume_and_the_audit_file_keeps_it() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let state = tempfile::tempdir().unwrap();
        let kafka = Kafka::start();
        let _running = relay(&database, relay_plan(&kafka));
        // It leads a moment before it says so where the command looks.
        let leads = "SELECT count(*) AS n FROM htap.stream_state WHERE component = 'relay' AND state <> 'waiting'";
        until(&client, "the relay reports", leads, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        let run = async |user, args: &[&str]| run(&database, user, args, state.path()).await;
        let paused = run("htap_refresh", &["pause"]).await;
        let resumed = run("htap_refresh", &["resume", "--format", "json"]).await;
        let told = [paused, resumed];
        let texts = told.map(|output| {
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        let [paused, resumed] = texts;
        assert_eq!(
            paused,
            "pause the relay: done (read back from the relay's state)\n"
        );
        let resumed: serde_json::Value = serde_json::from_str(&resumed).unwrap();
        let expected = serde_json::json!({"paused": false, "changed": true, "relay": "obeyed"});
        assert_eq!(resumed, expected);
        let refused = run("htap_oltp", &["pause"]).await;
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        // As on a standby.
        let reader = "CREATE ROLE stream_reader LOGIN IN ROLE htap_refresh;
                      ALTER ROLE stream_reader SET default_transaction_read_only = on";
        client.batch(reader).await.unwrap();
        let refused = run("stream_reader", &["pause"]).await;
        client.batch("DROP ROLE stream_reader").await.unwrap();
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(why.contains("connect to its primary"), "{why}");
        let nobody = "SELECT count(*) FROM htap.stream_pause";
        assert_eq!(number(&client, nobody).await, 0);
        let audit = std::fs::read_to_string(state.path().join("htap-top/audit.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = audit
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let what = lines
            .iter()
            .map(|line| line.get("intent").or(line.get("outcome")).unwrap());
        let what: Vec<String> = what
            .map(|what| match what.as_object() {
                Some(object) => object.keys().cloned().collect(),
                None => what.as_str().unwrap().to_owned(),
            })
            .collect();
        let all = [
            "pause_relay",
            "switched",
            "resume_relay",
            "switched",
            "pause_relay",
            "failed",
            "pause_relay",
            "failed",
        ];
        assert_eq!(what, all, "{audit}");
    });
}
