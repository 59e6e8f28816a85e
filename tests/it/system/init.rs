//! `init`: what it installs, what it refuses, and what it never touches.

use super::{catalogue, number, sqlstate};
use crate::it::server::{Order, Server, block_on};
use htap_top::demo::cluster::SUPERUSER;
use htap_top::system::init::{Done, InitError, init};
use htap_top::system::schema::VIEWS;
use std::process::Command;

fn refused(outcome: Result<Done, InitError>) -> String {
    match outcome {
        Err(InitError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn init_never_touches_what_is_not_its_own() {
    // Of its own, because roles are the whole cluster's.
    let server = Server::start(&Order::default());
    block_on(async {
        let database = server.database("foreign").await;
        let client = database.connect().await;
        client
            .batch("CREATE SCHEMA shop; CREATE TABLE shop.orders (note text); CREATE ROLE htap_olap NOLOGIN; CREATE ROLE plain LOGIN")
            .await
            .unwrap();
        let before = catalogue(&client).await;
        let why = refused(init(&database.target(), 1_000, |_| panic!("nothing is done")).await);
        assert!(
            why.contains("schema shop") && why.contains("role htap_olap"),
            "{why}"
        );
        client.batch("DROP SCHEMA shop CASCADE").await.unwrap();
        let why = refused(init(&database.target(), 0, |_| {}).await);
        assert!(
            why.contains("role htap_olap") && !why.contains("schema"),
            "{why}"
        );
        client.batch("DROP ROLE htap_olap").await.unwrap();
        let plain = init(&database.target_of("plain"), 0, |_| {})
            .await
            .unwrap_err();
        let lacks = matches!(&plain, InitError::Privilege(why) if why.contains("CREATEROLE") && why.contains("CREATE on database"));
        assert!(lacks, "{plain}");
        let why = refused(init(&server.target("template1", SUPERUSER), 0, |_| {}).await);
        assert!(why.contains("template"), "{why}");
        // An obstacle met halfway undoes everything.
        client.batch("CREATE SCHEMA htap; COMMENT ON SCHEMA htap IS 'htap-top: x'; CREATE TYPE htap.partitioned AS (x int)").await.unwrap();
        let before_failure = catalogue(&client).await;
        let error = init(&database.target(), 0, |_| {}).await.unwrap_err();
        assert!(matches!(error, InitError::Server { .. }), "{error}");
        assert_eq!(before_failure, catalogue(&client).await);
        client
            .batch("DROP SCHEMA htap CASCADE; DROP ROLE plain")
            .await
            .unwrap();
        let roles = |lines: &[String]| lines.iter().filter(|line| line.contains("htap_")).count();
        assert_eq!(roles(&before), 1, "the foreign one");
        assert_eq!(roles(&catalogue(&client).await), 0);
    });
}

#[test]
fn init_completes_and_keeps_what_was_set() {
    let server = Server::start(&Order::default());
    block_on(async {
        let first = server.database("first").await;
        let admin = first.connect().await;
        let done = init(&first.target(), 1_000, |_| {}).await.unwrap();
        assert!(!done.was_there && done.new_roles.len() == 4);
        assert_eq!(done.loaded.map(|loaded| loaded.orders), Some(1_000));
        assert!(done.to_string().contains("\\password htap_"), "{done}");
        let why = refused(init(&first.target(), 1_000, |_| {}).await);
        assert!(why.contains("holds rows already"), "{why}");
        admin
            .batch("ALTER ROLE htap_oltp SET work_mem = '8MB'; ALTER ROLE htap_olap PASSWORD 'x';
                    DROP MATERIALIZED VIEW mart.daily_sales_summary; CREATE TABLE shop.foreign_one ()")
            .await
            .unwrap();
        let second = server.database("second").await;
        let done = init(&second.target(), 0, |_| {}).await.unwrap();
        assert!(!done.was_there && done.new_roles.is_empty() && done.loaded.is_none());
        let kept = "SELECT count(*) FROM pg_authid WHERE (rolname = 'htap_oltp' AND rolconfig_has) OR (rolname = 'htap_olap' AND rolpassword IS NOT NULL)"
            .replace("rolconfig_has", "'work_mem=8MB' = ANY ((SELECT rolconfig FROM pg_roles AS r WHERE r.oid = pg_authid.oid)::text[])");
        assert_eq!(
            number(&admin, &kept).await,
            2,
            "limits and passwords survive another database"
        );
        let done = init(&first.target(), 0, |_| {}).await.unwrap();
        assert!(
            done.was_there
                && done
                    .created
                    .iter()
                    .any(|name| name == "mart.daily_sales_summary"),
            "{done:?}"
        );
        assert_eq!(done.refreshed, ["mart.daily_sales_summary"]);
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
                    .batch(&format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {view}"))
                    .await
                    .unwrap();
            }
        }
    });
}

#[test]
fn init_says_how_it_went_and_ends_with_its_code() {
    let server = Server::start(&Order::default());
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
            .arg("init")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
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
    let (code, stdout, stderr) = run(&[&database.conninfo("plain")]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(stderr.contains("role plain lacks"), "{stderr}");
    let (code, stdout, stderr) = run(&[&database.conninfo("maker"), "--orders", "500"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("loaded 500 orders") && stdout.contains("without passwords"),
        "{stdout}"
    );
    assert!(
        stderr.contains("creating the schema\n") && stderr.contains("loading orders"),
        "{stderr}"
    );
    let (folder, port) = (
        server.socket_dir().display().to_string(),
        server.port().to_string(),
    );
    let (code, stdout, _) = run(&[
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
    assert!(stdout.contains("already, and complete"), "{stdout}");
    let (code, _, stderr) = run(&[&database.conninfo(SUPERUSER), "--orders", "500"]);
    assert_eq!(code, 1, "{stderr}");
    let (code, _, stderr) = run(&["host=/nowhere dbname=x"]);
    assert_eq!(code, 3, "{stderr}");
    assert_eq!(run(&["hots=x"]).0, 2);
    assert_eq!(run(&["--orders", "many"]).0, 2);
}
