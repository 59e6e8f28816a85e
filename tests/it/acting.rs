//! Actions on real sessions: the right one is hit, no other is, and the result is known.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Patience, block_on, pid, shared, until, until_waiting};
use htap_top::dashboard::action::{Action, ActionId, Outcome};
use htap_top::dashboard::audit::Audit;
use htap_top::pg::admin::{Exclusions, Identity, Signal, Verdict, signal};
use htap_top::pg::measure::{self, Measured, measure};
use htap_top::pg::{Class, Client, Param, Value};
use htap_top::system::refresh::{Mode, Refresh, View};

/// The current identity of a session, as in the activity panel.
async fn identity(admin: &Client, pid: i64, wanted: Signal) -> Identity {
    admin
        .batch("SET timezone = 'UTC'; SET datestyle = 'ISO'")
        .await
        .unwrap();
    let since = match wanted {
        Signal::Cancel => "query_start",
        Signal::Terminate => "xact_start",
    };
    let sql = format!(
        "SELECT backend_start::text AS start, {since}::text AS since FROM pg_stat_activity WHERE pid = $1"
    );
    let table = admin.query(&sql, &[Param::Int(pid)]).await.unwrap();
    let text = |name| table.first(name).text().map(str::to_owned);
    Identity {
        pid,
        backend_start: text("start").unwrap(),
        since: text("since"),
    }
}

/// Signals these sessions as a key does: nobody is excluded.
async fn send(database: &Database<'_>, wanted: Signal, whom: &[Identity]) -> Vec<Verdict> {
    signal(&database.target(), wanted, whom, Exclusions::default()).await
}

/// The instant one microsecond later.
async fn later(admin: &Client, instant: &str) -> String {
    let sql = "SELECT ($1::text::timestamptz + interval '1 microsecond')::text AS later";
    let table = admin.query(sql, &[Param::Text(instant)]).await.unwrap();
    table.first("later").text().unwrap().to_owned()
}

async fn is_there(admin: &Client, pid: i64) -> bool {
    let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = $1";
    admin
        .query(sql, &[Param::Int(pid)])
        .await
        .unwrap()
        .first("n")
        .int()
        == Some(1)
}

/// A session that sleeps until it is signalled.
async fn sleeper(
    database: &Database<'_>,
    user: &str,
) -> (
    i64,
    tokio::task::JoinHandle<Result<(), htap_top::pg::PgError>>,
) {
    let (client, admin) = (database.connect_as(user).await, database.connect().await);
    let pid = pid(&client).await;
    let running = tokio::spawn(async move {
        let ended = client.batch("SELECT pg_sleep(600)").await;
        if ended.as_ref().is_err_and(|error| error.code() == "57014") {
            // The session survives a cancel: it shows that by staying until the test ends.
            client.batch("SELECT 1").await?;
            std::future::pending::<()>().await;
        }
        ended
    });
    let sql = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    until(&admin, "sleeps", sql, &[Param::Int(pid)], |table| {
        !table.rows.is_empty()
    })
    .await;
    (pid, running)
}

#[test]
fn a_cancelled_statement_is_gone_and_its_session_lives() {
    block_on(async {
        let database = shared().database("cancel").await;
        let admin = database.connect().await;
        let (pid, running) = sleeper(&database, "postgres").await;
        let who = identity(&admin, pid, Signal::Cancel).await;
        let verdicts = send(&database, Signal::Cancel, std::slice::from_ref(&who)).await;
        assert_eq!(verdicts, [Verdict::Gone]);
        assert!(is_there(&admin, pid).await);
        // The same statement again is another one by now.
        let verdicts = send(&database, Signal::Cancel, &[who]).await;
        assert_eq!(verdicts, [Verdict::Changed]);
        running.abort();
    });
}

#[test]
fn a_terminated_session_is_gone() {
    block_on(async {
        let database = shared().database("terminate").await;
        let admin = database.connect().await;
        let (pid, running) = sleeper(&database, "postgres").await;
        let who = identity(&admin, pid, Signal::Terminate).await;
        let verdicts = send(&database, Signal::Terminate, std::slice::from_ref(&who)).await;
        assert_eq!(verdicts, [Verdict::Gone]);
        assert!(!is_there(&admin, pid).await);
        assert!(running.await.unwrap().is_err());
        let verdicts = send(&database, Signal::Terminate, &[who]).await;
        assert_eq!(verdicts, [Verdict::Changed], "nobody is there any more");
    });
}

#[test]
fn another_session_with_the_same_pid_is_never_hit() {
    block_on(async {
        let database = shared().database("reused").await;
        let admin = database.connect().await;
        let (pid, running) = sleeper(&database, "postgres").await;
        for wanted in [Signal::Cancel, Signal::Terminate] {
            let who = identity(&admin, pid, wanted).await;
            let backend_start = later(&admin, &who.backend_start).await;
            let since = later(&admin, who.since.as_deref().unwrap()).await;
            let others = [
                Identity {
                    backend_start,
                    ..who.clone()
                },
                Identity {
                    since: Some(since),
                    ..who.clone()
                },
            ];
            let verdicts = send(&database, wanted, &others).await;
            assert_eq!(verdicts, [Verdict::Changed, Verdict::Changed], "{wanted:?}");
        }
        let unknown = Identity {
            since: None,
            ..identity(&admin, pid, Signal::Cancel).await
        };
        let verdicts = send(&database, Signal::Cancel, &[unknown]).await;
        assert_eq!(
            verdicts,
            [Verdict::Changed],
            "a statement without its start"
        );
        assert!(is_there(&admin, pid).await && !running.is_finished());
        running.abort();
    });
}

/// A busy session is in another transaction at every look: it is hit nevertheless.
#[test]
fn a_session_between_transactions_is_terminated() {
    block_on(async {
        let database = shared().database("between").await;
        let (admin, busy) = (database.connect().await, database.connect().await);
        let pid = pid(&busy).await;
        busy.batch("BEGIN; SELECT 1").await.unwrap();
        let long = identity(&admin, pid, Signal::Terminate).await;
        let any = Identity {
            since: None,
            ..long.clone()
        };
        busy.batch("COMMIT; BEGIN; SELECT 1").await.unwrap();
        let verdicts = send(&database, Signal::Terminate, &[long]).await;
        assert_eq!(verdicts, [Verdict::Changed], "its transaction has ended");
        assert!(is_there(&admin, pid).await);
        busy.batch("COMMIT").await.unwrap();
        let verdicts = send(&database, Signal::Terminate, &[any]).await;
        assert_eq!(verdicts, [Verdict::Gone]);
        assert!(!is_there(&admin, pid).await);
    });
}

/// The session may have changed since the guard's sample.
#[test]
fn who_is_to_be_spared_is_seen_by_the_statement_that_signals() {
    block_on(async {
        let database = shared().database("spared").await;
        let admin = database.connect().await;
        let role = format!("spared_{}", database.name);
        let create = format!("CREATE ROLE {role} LOGIN");
        admin.batch(&create).await.unwrap();
        let (idle, superuser) = (database.connect_as(&role).await, database.connect().await);
        let long_idle = Exclusions {
            superusers: true,
            unless_idle_s: Some(3_600),
        };
        let now_idle = Exclusions {
            unless_idle_s: Some(0),
            ..long_idle
        };
        for (client, spare, spared) in [
            (&superuser, now_idle, true),
            (&idle, long_idle, true),
            (&idle, now_idle, false),
        ] {
            let pid = pid(client).await;
            // If it was spared, its transaction continues.
            client.batch("BEGIN; SELECT 1").await.unwrap();
            let who = [identity(&admin, pid, Signal::Terminate).await];
            let verdicts = signal(&database.target(), Signal::Terminate, &who, spare).await;
            let expected = if spared {
                Verdict::Changed
            } else {
                Verdict::Gone
            };
            assert_eq!(verdicts, [expected]);
            assert_eq!(is_there(&admin, pid).await, spared);
        }
    });
}

/// pg_cancel_backend accepts an idle session and does nothing: that is no success.
#[test]
fn nothing_is_cancelled_where_no_statement_runs() {
    block_on(async {
        let database = shared().database("idle").await;
        let (admin, holder) = (database.connect().await, database.connect().await);
        let pid = pid(&holder).await;
        holder.batch("BEGIN; SELECT 1").await.unwrap();
        let who = identity(&admin, pid, Signal::Cancel).await;
        let verdicts = send(&database, Signal::Cancel, &[who]).await;
        assert_eq!(verdicts, [Verdict::Changed]);
        holder.batch("COMMIT").await.unwrap();
    });
}

#[test]
fn a_plain_role_is_refused() {
    block_on(async {
        let database = shared().database("refused").await;
        let admin = database.connect().await;
        admin.batch("CREATE ROLE acting_plain LOGIN").await.unwrap();
        let (pid, running) = sleeper(&database, "postgres").await;
        let who = identity(&admin, pid, Signal::Terminate).await;
        // A plain role does not see the start of a superuser's transaction, so its guard does not match; with
        // the values it can see, the server refuses.
        let seen = Identity { since: None, ..who };
        let verdicts = signal(
            &database.target_of("acting_plain"),
            Signal::Terminate,
            &[seen],
            Exclusions::default(),
        )
        .await;
        match &verdicts[..] {
            [Verdict::Refused(error)] => assert_eq!(error.code(), "42501", "{error}"),
            // Hidden details include backend_start: then no session matches, and nothing was sent.
            other => assert_eq!(other, [Verdict::Changed]),
        }
        admin
            .batch("GRANT pg_read_all_stats TO acting_plain")
            .await
            .unwrap();
        let who = identity(&admin, pid, Signal::Terminate).await;
        let verdicts = signal(
            &database.target_of("acting_plain"),
            Signal::Terminate,
            &[who],
            Exclusions::default(),
        )
        .await;
        let [Verdict::Refused(error)] = &verdicts[..] else {
            panic!("{verdicts:?}")
        };
        assert_eq!(error.code(), "42501", "{error}");
        assert!(is_there(&admin, pid).await && !running.is_finished());
        running.abort();
        admin.batch("DROP ROLE acting_plain").await.unwrap();
    });
}

#[test]
fn several_get_a_verdict_each() {
    block_on(async {
        let database = shared().database("several").await;
        let admin = database.connect().await;
        let (first, one) = sleeper(&database, "postgres").await;
        let (second, two) = sleeper(&database, "postgres").await;
        let who = [
            identity(&admin, first, Signal::Cancel).await,
            Identity {
                pid: 2_000_000_000,
                ..identity(&admin, first, Signal::Cancel).await
            },
            identity(&admin, second, Signal::Cancel).await,
        ];
        let verdicts = send(&database, Signal::Cancel, &who).await;
        assert_eq!(verdicts, [Verdict::Gone, Verdict::Changed, Verdict::Gone]);
        one.abort();
        two.abort();
    });
}

#[test]
fn a_server_that_is_away_gets_no_signal() {
    block_on(async {
        let nowhere = htap_top::pg::Target::local(
            std::path::Path::new("/nonexistent"),
            5432,
            "postgres",
            "postgres",
        );
        let who = Identity {
            pid: 1,
            backend_start: "2026-01-01 00:00:00+00".into(),
            since: None,
        };
        let verdicts = signal(
            &nowhere,
            Signal::Terminate,
            &[who.clone(), who],
            Exclusions::default(),
        )
        .await;
        assert!(
            matches!(&verdicts[..], [Verdict::Refused(_), Verdict::Refused(_)]),
            "{verdicts:?}"
        );
    });
}

async fn viewed() -> Database<'static> {
    let database = shared().database("refresh").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE SCHEMA \"S s\"; CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) AS g;
             CREATE MATERIALIZED VIEW \"S s\".\"V\"\"v\" AS SELECT id FROM public.t;
             CREATE UNIQUE INDEX ON \"S s\".\"V\"\"v\" (id);
             CREATE MATERIALIZED VIEW gated AS SELECT id FROM t, pg_advisory_xact_lock_shared(9) WHERE id < 3;
             CREATE UNIQUE INDEX ON gated (id); INSERT INTO t VALUES (101)",
        )
        .await
        .unwrap();
    database
}

fn view(schema: &str, name: &str) -> View {
    View::new(schema, name)
}

#[test]
fn views_are_refreshed_in_both_ways() {
    block_on(async {
        let database = viewed().await;
        let admin = database.connect().await;
        for (mode, rows) in [(Mode::Full, 101), (Mode::Concurrent, 102)] {
            let refresh = Refresh::prepare(&database.target(), &view("S s", "V\"v"), mode)
                .await
                .unwrap();
            let took_ms = refresh.run().await.unwrap().took_ms;
            assert!(took_ms > 0.0 && took_ms < 600_000.0, "{took_ms}");
            let table = admin
                .query("SELECT count(*) AS n FROM \"S s\".\"V\"\"v\"", &[])
                .await
                .unwrap();
            assert_eq!(table.first("n"), &Value::Int(rows));
            admin
                .batch("INSERT INTO t SELECT max(id) + 1 FROM t")
                .await
                .unwrap();
        }
        let missing = Refresh::prepare(&database.target(), &view("S s", "none"), Mode::Concurrent)
            .await
            .unwrap();
        assert_eq!(missing.run().await.unwrap_err().code(), "42P01");
    });
}

#[test]
fn a_running_refresh_is_cancelled() {
    block_on(async {
        let database = viewed().await;
        let (admin, gate) = (database.connect().await, database.connect().await);
        gate.batch("SELECT pg_advisory_lock(9)").await.unwrap();
        let target = database.target();
        let refresh = Refresh::prepare(&target, &view("public", "gated"), Mode::Concurrent)
            .await
            .unwrap();
        let canceller = refresh.canceller(&target);
        let running = tokio::spawn(refresh.run());
        let sql = "SELECT pid::int8 AS pid FROM pg_stat_activity WHERE query LIKE 'REFRESH%' AND datname = current_database() \
                   AND state = 'active'";
        let table = until(&admin, "runs", sql, &[], |table| !table.rows.is_empty()).await;
        until_waiting(&admin, table.first("pid").int().unwrap()).await;
        canceller.cancel().await.unwrap();
        let error = running.await.unwrap().unwrap_err();
        assert_eq!((error.class, error.code()), (Class::Timeout, "57014"));
        let rows = admin
            .query("SELECT count(*) AS n FROM gated", &[])
            .await
            .unwrap();
        assert_eq!(rows.first("n"), &Value::Int(2), "the view is as it was");
    });
}

/// A lock that is held on a view does not make its refresh wait forever.
#[test]
fn a_refresh_gives_up_waiting_for_a_lock() {
    block_on(async {
        let database = viewed().await;
        let holder = database.connect().await;
        holder
            .batch("BEGIN; SELECT count(*) FROM gated")
            .await
            .unwrap();
        let patience = Patience::begin();
        let refresh = Refresh::prepare(&database.target(), &view("public", "gated"), Mode::Full)
            .await
            .unwrap();
        assert_eq!(refresh.run().await.unwrap_err().code(), "55P03");
        assert!(patience.lasts());
    });
}

#[test]
fn the_audit_file_tells_intent_and_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/audit.jsonl");
    let audit = Audit {
        path: path.clone(),
        target: "postgres@x:5432/y".into(),
        actor: "me".into(),
    };
    let action = Action::Refresh {
        view: view("mart", "a\u{1b}[31m"),
        mode: Mode::Concurrent,
    };
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains('\u{1b}'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    audit
        .intent("2026-01-01T00:00:00Z", ActionId(3), &action)
        .unwrap();
    assert_eq!(lines().len(), 1, "before anything is done");
    assert_eq!(lines()[0]["intent"]["refresh"]["view"]["schema"], "mart");
    audit
        .outcome("2026-01-01T00:00:01Z", ActionId(3), &Outcome::Cancelled)
        .unwrap();
    let lines = lines();
    assert_eq!(
        (&lines[0]["action_id"], &lines[1]["action_id"]),
        (&3.into(), &3.into())
    );
    assert_eq!(lines[1]["outcome"], "cancelled");
    assert!(
        lines
            .iter()
            .all(|line| line["actor"] == "me" && line["target"] == "postgres@x:5432/y")
    );
}

#[test]
fn a_table_and_an_index_are_measured_exactly() {
    block_on(async {
        let database = shared().database("measure").await;
        let admin = database.connect().await;
        let relid = async |name: &str| {
            let sql = "SELECT $1::text::regclass::oid::int8 AS relid";
            let table = admin.query(sql, &[Param::Text(name)]).await.unwrap();
            table.first("relid").int().unwrap()
        };
        // Dead rows stay: autovacuum is off.
        let made =
            "CREATE TABLE heap (id int PRIMARY KEY, n text) WITH (autovacuum_enabled = false);
                    INSERT INTO heap SELECT g, repeat('x', 100) FROM generate_series(1, 5000) AS g;
                    DELETE FROM heap WHERE id <= 1000; CREATE INDEX hashed ON heap USING hash (n)";
        admin.batch(made).await.unwrap();
        let client = measure::open(&database.target()).await.unwrap();
        let heap = relid("heap").await;
        let missing = measure(&client, heap).await.unwrap_err();
        assert!(
            missing.to_string().contains("CREATE EXTENSION pgstattuple"),
            "{missing}"
        );
        admin
            .batch("CREATE SCHEMA \"Too\nls\"; CREATE EXTENSION pgstattuple SCHEMA \"Too\nls\"")
            .await
            .unwrap();
        let Measured::Table {
            bytes,
            rows,
            dead_rows,
            dead_bytes,
            ..
        } = measure(&client, heap).await.unwrap()
        else {
            unreachable!()
        };
        assert_eq!((rows, dead_rows), (4000, 1000));
        assert!(
            bytes > 600_000 && dead_bytes > 100_000,
            "{bytes} {dead_bytes}"
        );
        let Measured::Index { density_pct, .. } =
            measure(&client, relid("heap_pkey").await).await.unwrap()
        else {
            unreachable!()
        };
        assert!((50.0..=100.0).contains(&density_pct), "{density_pct}");
        let hashed = measure(&client, relid("hashed").await).await.unwrap_err();
        assert!(hashed.to_string().contains("B-tree"), "{hashed}");
        let gone = measure(&client, 4_000_000_000).await.unwrap_err();
        assert!(gone.to_string().contains("gone"), "{gone}");
    });
}

/// Names that look alike on a screen, and names that no screen shows unchanged.
#[test]
fn the_view_that_was_chosen_is_refreshed_whatever_its_name_looks_like() {
    block_on(async {
        let database = shared().database("alike").await;
        let admin = database.connect().await;
        admin
            .batch("CREATE SCHEMA \"s\u{200b}\"; CREATE TABLE source (n int); INSERT INTO source VALUES (1)")
            .await
            .unwrap();
        let names = [
            ("public", "mvn\nl\tt\rr"),
            ("public", "mvn l t r"),
            ("public", "mvn\u{202e}\u{200b}\"x"),
            ("s\u{200b}", "mvn l t r"),
        ];
        let mut views = Vec::new();
        for (schema, name) in names {
            let quoted = View::new(schema, name).quoted();
            let made = format!(
                "CREATE MATERIALIZED VIEW {quoted} AS SELECT n FROM public.source; CREATE UNIQUE INDEX ON {quoted} (n)"
            );
            admin.batch(&made).await.unwrap();
            let relid = "SELECT $1::text::regclass::oid::int8 AS relid";
            let relid = admin.query(relid, &[Param::Text(&quoted)]).await.unwrap();
            views.push((quoted, relid.first("relid").int().unwrap()));
        }
        for (chosen, mode) in [
            (0, Mode::Full),
            (1, Mode::Concurrent),
            (2, Mode::Concurrent),
            (3, Mode::Full),
        ] {
            admin.batch("UPDATE source SET n = n + 1").await.unwrap();
            let before = held(&admin, &views).await;
            // As listed by the panel: its text cannot be told from another one's.
            let view = View {
                relid: Some(views[chosen].1),
                ..View::new("public", "mvn l t r")
            };
            let refresh = Refresh::prepare(&database.target(), &view, mode).await;
            refresh.unwrap().run().await.unwrap();
            let after = held(&admin, &views).await;
            for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(at == chosen, before != after, "{at}: {before} {after}");
            }
        }
        let gone = View {
            relid: Some(1),
            ..View::new("public", "mvn l t r")
        };
        let refresh = Refresh::prepare(&database.target(), &gone, Mode::Full).await;
        let error = refresh.unwrap().run().await.unwrap_err();
        assert_eq!(error.code(), "42P01", "{error}");
    });
}

/// The contents of each view.
async fn held(admin: &Client, views: &[(String, i64)]) -> Vec<i64> {
    let mut held = Vec::new();
    for (quoted, _) in views {
        let table = admin.query(&format!("SELECT n FROM {quoted}"), &[]).await;
        held.push(table.unwrap().first("n").int().unwrap());
    }
    held
}
