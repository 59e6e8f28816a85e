//! `init`: what it installs, what it refuses, and what it leaves alone.

use super::{catalogue, number, sqlstate};
use crate::it::server::{Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::system::definition::VIEWS;
use htap_top::system::generate::Shape;
use htap_top::system::init::{InitError, Load, Step, init};
use std::process::Command;

pub(super) fn refused<T: std::fmt::Debug>(outcome: Result<T, InitError>) -> String {
    match outcome {
        Err(InitError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A history of 60 days.
pub(super) fn load(orders: u64, seed: u64) -> Load {
    Load {
        shape: Shape::of(orders, 60),
        seed,
        jobs: 2,
    }
}

/// Runs the program; returns exit code, output and errors.
pub(super) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn init_never_touches_what_is_not_its_own() {
    // A separate server, because roles belong to the whole cluster.
    let server = Server::alone();
    block_on(async {
        let database = server.database("foreign").await;
        let client = database.connect().await;
        client
            .batch("CREATE SCHEMA shop; CREATE TABLE shop.orders (note text); CREATE ROLE htap_olap NOLOGIN; CREATE ROLE plain LOGIN")
            .await
            .unwrap();
        let before = catalogue(&client).await;
        let nothing = |step: Step<'_>| panic!("{step:?}");
        let why = refused(init(&database.target(), Some(load(1_000, 1)), nothing).await);
        assert!(
            why.contains("schema shop") && why.contains("role htap_olap"),
            "{why}"
        );
        client.batch("DROP SCHEMA shop CASCADE").await.unwrap();
        let why = refused(init(&database.target(), None, nothing).await);
        assert!(
            why.contains("role htap_olap") && !why.contains("schema"),
            "{why}"
        );
        client.batch("DROP ROLE htap_olap").await.unwrap();
        let plain = init(&database.target_of("plain"), None, nothing)
            .await
            .unwrap_err();
        let InitError::Privilege(why) = &plain else {
            panic!("{plain}")
        };
        for part in [
            "CREATEROLE",
            "CREATE on database",
            "ALTER ROLE \"plain\" CREATEROLE",
            "GRANT CREATE ON DATABASE",
        ] {
            assert!(why.contains(part), "{why}");
        }
        let template = server.target("template1", SUPERUSER);
        let why = refused(init(&template, None, nothing).await);
        assert!(why.contains("template"), "{why}");
        an_obstacle_met_halfway_undoes_everything(&database.target(), &client).await;
        client.batch("DROP ROLE plain").await.unwrap();
        let roles = |lines: &[String]| lines.iter().filter(|line| line.contains("htap_")).count();
        assert_eq!(roles(&before), 1, "the foreign one");
        assert_eq!(roles(&catalogue(&client).await), 0);
    });
}

async fn an_obstacle_met_halfway_undoes_everything(target: &htap_top::pg::Target, client: &Client) {
    client
        .batch(
            "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no views'; END$$;
             CREATE EVENT TRIGGER no ON ddl_command_end WHEN TAG IN ('CREATE MATERIALIZED VIEW') EXECUTE FUNCTION public.no()",
        )
        .await
        .unwrap();
    let before = catalogue(client).await;
    let error = init(target, None, |_| {}).await.unwrap_err();
    assert!(matches!(&error, InitError::Server { .. }), "{error}");
    assert!(error.to_string().contains("no views"), "{error}");
    assert_eq!(before, catalogue(client).await);
    let drop = "DROP EVENT TRIGGER no; DROP FUNCTION public.no()";
    client.batch(drop).await.unwrap();
}

#[test]
fn a_foreign_object_in_a_schema_of_ours_is_in_the_way_only_where_it_has_our_name() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("inside").await;
        let client = database.connect().await;
        client
            .batch(
                "CREATE SCHEMA shop; COMMENT ON SCHEMA shop IS 'htap-top: the shop';
                 CREATE SCHEMA htap; COMMENT ON SCHEMA htap IS 'htap-top: control';
                 CREATE TABLE shop.orders (note text); CREATE VIEW shop.orders_2026_05 AS SELECT 1 AS x;
                 CREATE TYPE htap.partitioned AS ENUM ('x');
                 CREATE FUNCTION shop.create_order(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
                 CREATE TABLE shop.mine (x int); CREATE FUNCTION shop.orders() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            )
            .await
            .unwrap();
        let before = catalogue(&client).await;
        let nothing = |step: Step<'_>| panic!("{step:?}");
        let why = refused(init(&database.target(), None, nothing).await);
        assert!(
            why.contains(
                "function shop.create_order(integer), table shop.orders, type htap.partitioned, view shop.orders_2026_05. "
            ),
            "{why}"
        );
        assert_eq!(before, catalogue(&client).await);
        client
            .batch(
                "DROP TABLE shop.orders; DROP VIEW shop.orders_2026_05; DROP TYPE htap.partitioned;
                 DROP FUNCTION shop.create_order(integer)",
            )
            .await
            .unwrap();
        init(&database.target(), None, |_| {}).await.unwrap();
        init(&database.target(), None, |_| {}).await.unwrap();
        client
            .batch("SELECT shop.orders(); INSERT INTO shop.mine VALUES (1)")
            .await
            .unwrap();
        // A user's partition of the month after those created in advance.
        let month =
            "SELECT to_char(now() + interval '4 months', '\"shop.orders_\"YYYY_MM') AS name";
        let month = client.query(month, &[]).await.unwrap();
        let name = month.first("name").text().unwrap();
        client
            .batch(&format!("CREATE TABLE {name} ()"))
            .await
            .unwrap();
        let code = sqlstate(&client, "SELECT htap.make_months(now(), 4)").await;
        assert_eq!(code, "42P07");
    });
}

#[test]
fn who_comes_second_waits_and_finds_it_done() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("two").await;
        let first = database.connect().await;
        first
            .batch("BEGIN; SELECT pg_advisory_xact_lock(hashtext('htap.init'), 0)")
            .await
            .unwrap();
        let target = database.target();
        let (say, hear) = tokio::sync::oneshot::channel();
        let mut say = Some(say);
        let second = tokio::spawn(async move {
            init(&target, None, |step| {
                if matches!(step, Step::Doing(doing) if doing.starts_with("waiting")) {
                    say.take().unwrap().send(()).unwrap();
                }
            })
            .await
        });
        hear.await.unwrap();
        first.batch("ROLLBACK").await.unwrap();
        assert_eq!(second.await.unwrap().unwrap().was, None);
        let target = database.target();
        let (one, two) = tokio::join!(init(&target, None, |_| {}), init(&target, None, |_| {}));
        assert_eq!((one.unwrap().was, two.unwrap().was), (Some(3), Some(3)));
        let empty = server.database("both").await.target();
        let (one, two) = tokio::join!(init(&empty, None, |_| {}), init(&empty, None, |_| {}));
        let mut were = [one.unwrap().was, two.unwrap().was];
        were.sort();
        assert_eq!(were, [None, Some(3)]);
    });
}

#[test]
fn a_schema_from_the_future_is_refused() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("future").await;
        init(&database.target(), None, |_| {}).await.unwrap();
        let client = database.connect().await;
        client
            .batch(
                "INSERT INTO htap.schema_version (version, program) VALUES (4, 'htap-top 9.9.9')",
            )
            .await
            .unwrap();
        let before = catalogue(&client).await;
        let why = refused(init(&database.target(), None, |_| {}).await);
        assert!(
            why.contains("version 4") && why.contains("htap-top 9.9.9"),
            "{why}"
        );
        assert_eq!(before, catalogue(&client).await);
    });
}

#[test]
fn init_completes_and_keeps_what_was_set() {
    let server = Server::alone();
    block_on(async {
        let first = server.database("first").await;
        let admin = first.connect().await;
        let done = init(&first.target(), Some(load(1_000, 1)), |_| {})
            .await
            .unwrap();
        assert!(done.was.is_none() && done.new_roles.len() == 4);
        assert_eq!(done.loaded.map(|loaded| loaded.orders), Some(1_000));
        assert!(done.to_string().contains("\\password htap_"), "{done}");
        let done = init(&first.target(), Some(load(1_000, 1)), |_| {})
            .await
            .unwrap();
        assert!(done.loaded_before && done.loaded.is_none() && done.filled.is_empty());
        for other in [load(2_000, 1), load(1_000, 2)].map(Some) {
            let why = refused(init(&first.target(), other, |_| {}).await);
            assert!(
                why.contains("already filled with --scale 0.01 --days 60 --seed 1"),
                "{why}"
            );
        }
        admin
            .batch("ALTER ROLE htap_oltp SET work_mem = '8MB'; ALTER ROLE htap_olap PASSWORD 'x';
                    DROP MATERIALIZED VIEW mart.daily_sales_summary; CREATE TABLE shop.foreign_one ()")
            .await
            .unwrap();
        let second = server.database("second").await;
        let done = init(&second.target(), None, |_| {}).await.unwrap();
        assert!(done.was.is_none() && done.new_roles.is_empty() && done.loaded.is_none());
        let kept = "SELECT count(*) FROM pg_authid WHERE (rolname = 'htap_oltp' AND rolconfig_has) OR (rolname = 'htap_olap' AND rolpassword IS NOT NULL)"
            .replace("rolconfig_has", "'work_mem=8MB' = ANY ((SELECT rolconfig FROM pg_roles AS r WHERE r.oid = pg_authid.oid)::text[])");
        assert_eq!(
            number(&admin, &kept).await,
            2,
            "limits and passwords survive another database"
        );
        let done = init(&first.target(), None, |_| {}).await.unwrap();
        assert!(
            done.was == Some(3) && done.created == ["materialized view mart.daily_sales_summary"],
            "{done:?}"
        );
        assert_eq!(done.filled, ["mart.daily_sales_summary"]);
        assert_eq!(
            sqlstate(
                &first.connect_as("htap_oltp").await,
                "SELECT FROM shop.foreign_one"
            )
            .await,
            "42501"
        );
        for view in VIEWS {
            for database in [&first, &second] {
                let client = database.connect_as("htap_monitor").await;
                client
                    .batch(&format!("SELECT htap.refresh_view('{view}', true)"))
                    .await
                    .unwrap();
            }
        }
    });
}

#[test]
fn init_says_how_it_went_and_ends_with_its_code() {
    let server = Server::alone();
    let (database, other) = block_on(async {
        let database = server.database("cli").await;
        let maker = "CREATE ROLE maker LOGIN CREATEROLE; CREATE ROLE plain LOGIN";
        let client = database.connect().await;
        client.batch(maker).await.unwrap();
        if server.major() >= 16 {
            client
                .batch("GRANT pg_monitor, pg_signal_backend TO maker WITH ADMIN OPTION")
                .await
                .unwrap();
        }
        client
            .batch(&format!(
                "GRANT CREATE ON DATABASE {} TO maker",
                database.name
            ))
            .await
            .unwrap();
        (database, server.target("postgres", "plain"))
    });
    assert_eq!(other.user(), "plain");
    let (code, stdout, stderr) = run(&["init", &database.conninfo("plain")]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(stderr.contains("role plain lacks"), "{stderr}");
    let (code, stdout, stderr) = run(&["init", &database.conninfo("maker"), "--scale", "0.005"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("loaded 500 orders") && stdout.contains("without passwords"),
        "{stdout}"
    );
    assert!(
        stderr.contains("creating the schema\n")
            && stderr.contains("loading: 500 of 500 orders (100%)"),
        "{stderr}"
    );
    let (folder, port) = (
        server.socket_dir().display().to_string(),
        server.port().to_string(),
    );
    let (code, stdout, _) = run(&[
        "init",
        "-h",
        &folder,
        "-p",
        &port,
        "-U",
        SUPERUSER,
        "-d",
        &database.name,
    ]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("already exist and are complete"),
        "{stdout}"
    );
    let (code, _, stderr) = run(&["init", &database.conninfo(SUPERUSER), "--scale", "0.006"]);
    assert_eq!(code, 1, "{stderr}");
    let (code, _, stderr) = run(&["init", "host=/nowhere dbname=x"]);
    assert_eq!(code, 3, "{stderr}");
    assert_eq!(run(&["init", "hots=x"]).0, 2);
    assert_eq!(run(&["init", "--scale", "many"]).0, 2);
    let (code, sql, _) = run(&["init", "host=/nowhere", "--dry-run"]);
    assert_eq!(code, 0);
    assert!(sql.contains("\nBEGIN;\n") && sql.ends_with("COMMIT;\n"));
    block_on(async {
        let by_hand = server.database("by_hand").await;
        by_hand.connect().await.batch(&sql).await.unwrap();
    });
}
