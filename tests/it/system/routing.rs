//! `htap.routing`: what a router publishes, and who may write it; and a load whose reports run on a real replica.

use super::workload::{number_of, program, report};
use super::{ask, fill_one, number, shop, sqlstate};
use crate::it::server::{Patience, Server, block_on, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param, Pool, PoolSize, Settings, Statement, Table};
use htap_top::router::catalogue::Catalogue;
use htap_top::router::executor::Executor;
use htap_top::router::{Pool as Class, Router, Rule, Session};
use htap_top::system::nodes::Nodes;
use htap_top::system::pools::{AdmissionLimits, Limits, OlapError, Rejected};
use htap_top::system::routing::{instance, publish, retire};
use nix::sys::signal::Signal;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

const REPORT: Statement = Statement {
    name: "report",
    types: &["bigint"],
    sql: "SELECT count(*) AS n FROM shop.products WHERE product_id <= $1",
};

fn small(target: htap_top::pg::Target) -> Pool {
    let size = PoolSize {
        min: 1,
        max: 1,
        wait: Duration::from_secs(30),
    };
    Pool::new(target, Settings::of_application(), size)
}

/// Waits until the router knows the report: on a busy machine its first question may take too long.
async fn until_known(executor: &Executor<Nodes>) {
    let patience = Patience::begin();
    loop {
        let (router, session) = (executor.router(), Session::default());
        let known = router.assess(&session, REPORT.sql, REPORT.types).await;
        if known.rule == Rule::Read {
            return;
        }
        assert!(patience.lasts(), "the catalogue does not answer");
    }
}

#[test]
fn a_router_publishes_what_it_does_and_takes_it_back() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let nodes = Nodes::new(&database.target(), None, Limits::default());
        let router = Router::new(Catalogue::new(database.target_of("htap_olap")));
        let executor = Arc::new(Executor::new(router, nodes));
        until_known(&executor).await;
        let mut client = executor.conversation().reading_in(Class::Olap);
        for _ in 0..3 {
            client.call(&REPORT, &[Param::Int(5)]).await.unwrap();
        }
        // Of one that died long ago.
        let dead = "INSERT INTO htap.routing (instance, program, reported_at, routed, fallbacks, misroutes, reruns, waits,
                        wait_ms_sum, wait_ms_p50, wait_ms_p99, breaker, opened)
                    VALUES ('dead', 'x', now() - interval '11 minutes', '{}', '{}', 0, 0, 0, 0, 0, 0, 'none', 0)";
        admin.batch(dead).await.unwrap();
        let pool = small(database.target_of("htap_oltp"));
        let name = instance("test");
        let publishing = tokio::spawn({
            let (executor, pool, name) = (Arc::clone(&executor), pool.clone(), name.clone());
            async move { publish(&executor, &pool, &name, "a test").await }
        });
        let row = "SELECT instance, program, routed::text AS routed, breaker, reported_at > started AS again,
                          breaker_since IS NULL AS no_breaker FROM htap.routing";
        let rows = until(&admin, "it reports twice", row, &[], |table| {
            table.first("again").is_true()
        })
        .await;
        assert_eq!(rows.rows.len(), 1, "{rows:?}");
        assert_eq!(rows.first("instance").text(), Some(name.as_str()));
        assert_eq!(
            rows.first("routed").text(),
            Some(r#"{"primary olap no_replica": 3}"#)
        );
        assert_eq!(rows.first("breaker").text(), Some("none"));
        assert!(rows.first("no_breaker").is_true());
        publishing.abort();
        assert!(publishing.await.is_err());
        retire(&pool, &name).await;
        assert_eq!(number(&admin, "SELECT count(*) FROM htap.routing").await, 0);

        // An older schema lacks the table: nothing is published, and no error is left in the log.
        admin.batch("DROP TABLE htap.routing").await.unwrap();
        publish(&executor, &pool, &name, "a test").await;
        retire(&pool, &name).await;
    });
}

#[test]
fn what_a_router_may_write_has_bounds() {
    block_on(async {
        let database = shop().await;
        let columns = "instance, program, routed, fallbacks, misroutes, reruns, waits, wait_ms_sum, wait_ms_p50, wait_ms_p99, breaker, opened";
        let insert =
            |values: &str| format!("INSERT INTO htap.routing ({columns}) VALUES ({values})");
        let good = insert("'a', 'x', '{}', '{}', 0, 0, 0, 0, 0, 0, 'closed', 0");
        let writer = database.connect_as("htap_oltp").await;
        assert_eq!(sqlstate(&writer, &good).await, "00000");
        for bad in [
            "repeat('a', 201), 'x', '{}', '{}', 0, 0, 0, 0, 0, 0, 'closed', 0",
            "'b', 'x', jsonb_build_object('a', repeat('a', 20000)), '{}', 0, 0, 0, 0, 0, 0, 'closed', 0",
            "'b', 'x', '[]', '{}', 0, 0, 0, 0, 0, 0, 'closed', 0",
            "'b', 'x', '{}', '{}', -1, 0, 0, 0, 0, 0, 'closed', 0",
            "'b', 'x', '{}', '{}', 0, 0, 0, 'NaN', 0, 0, 'closed', 0",
            "'b', 'x', '{}', '{}', 0, 0, 0, 0, 0, 'infinity', 'closed', 0",
            "'b', 'x', '{}', '{}', 0, 0, 0, 0, 0, 0, 'ajar', 0",
        ] {
            assert_eq!(sqlstate(&writer, &insert(bad)).await, "23514", "{bad}");
        }
        let late = "UPDATE htap.routing SET reported_at = 'infinity'";
        assert_eq!(sqlstate(&writer, late).await, "23514");
        let begun = "UPDATE htap.routing SET started = now()";
        assert_eq!(sqlstate(&writer, begun).await, "42501");
        let read = "SELECT count(*) FROM htap.routing";
        for role in ["htap_olap", "htap_refresh", "htap_monitor"] {
            let client = database.connect_as(role).await;
            assert_eq!(number(&client, read).await, 1, "{role}");
            let write = good.replace("'a'", "'b'");
            let refused = sqlstate(&client, &write).await;
            assert!(
                ["42501", "25006"].contains(&refused.as_str()),
                "{role}: {refused}"
            );
        }
        // A refresher tidies up.
        let admin = database.connect().await;
        admin
            .batch("UPDATE htap.routing SET reported_at = now() - interval '1 hour'")
            .await
            .unwrap();
        let refresher = database.connect_as("htap_refresh").await;
        refresher.batch("SELECT htap.tidy()").await.unwrap();
        assert_eq!(number(&admin, read).await, 0);
    });
}

#[test]
fn a_report_that_is_not_admitted_is_not_sent_to_the_other_server() {
    block_on(async {
        let pair = Replicated::start().await;
        let limits = Limits {
            admission: AdmissionLimits {
                running: 1,
                queue: 0,
                deadline: Duration::from_secs(1),
            },
            ..Limits::default()
        };
        let primary = pair.primary.target("filled", SUPERUSER);
        let replica = pair.standby.target("filled", SUPERUSER);
        let nodes = Nodes::new(&primary, Some(&replica), limits);
        let reader = pair.primary.target("filled", "htap_olap");
        let executor = Executor::new(Router::new(Catalogue::new(reader)), nodes);
        let status = executor.ready().await.unwrap();
        assert_eq!(status.barred, None, "{status:?}");
        until_known(&executor).await;
        let _turn = executor.lanes().replica().unwrap().ask().await.unwrap();
        let mut client = executor.conversation().reading_in(Class::Olap);
        let refused = client.call(&REPORT, &[Param::Int(5)]).await.unwrap_err();
        assert_eq!(refused, OlapError::Rejected(Rejected::QueueFull(0)));
        assert_eq!(executor.lanes().primary().admission().counts().admitted, 0);
    });
}

/// A filled server and its replica.
struct Replicated {
    primary: Server,
    standby: Server,
}

impl Replicated {
    async fn start() -> Self {
        let primary = fill_one().await;
        let standby = primary.replica();
        Self { primary, standby }
    }

    fn load(&self, arguments: &str) -> Child {
        let conninfo = |server: &Server| {
            let folder = server.socket_dir().display();
            format!(
                "host={folder} port={} user={SUPERUSER} dbname=filled",
                server.port()
            )
        };
        let (primary, replica) = (conninfo(&self.primary), conninfo(&self.standby));
        program(&["workload", &primary, "--replica", &replica])
            .args(["--format", "json", "--warm-up", "0s"])
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Number of statements of this kind, as routers have published it.
fn routed(key: &str) -> String {
    format!("SELECT coalesce(sum((routed->>'{key}')::bigint), 0)::bigint AS n FROM htap.routing")
}

fn at_least(n: i64) -> impl Fn(&Table) -> bool {
    move |table| table.first("n").int() >= Some(n)
}

/// Within two intervals the primary serves the reports; and then the replica again.
async fn paused_and_back(client: &Client, standby: &Client) {
    let state = "SELECT (breaker = 'open' AND barred = 'paused')::int AS n FROM htap.routing";
    standby.batch("SELECT pg_wal_replay_pause()").await.unwrap();
    let patience = Patience::begin();
    until(client, "paused", state, &[], at_least(1)).await;
    assert!(patience.seconds() <= 10, "{}", patience.seconds());
    until(
        client,
        "reports on the primary",
        &routed("primary olap replica_lags"),
        &[],
        at_least(5),
    )
    .await;
    standby
        .batch("SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    let closed = "SELECT (breaker = 'closed')::int AS n FROM htap.routing";
    until(client, "closed", closed, &[], at_least(1)).await;
}

#[test]
fn reports_run_on_the_replica_and_none_is_lost_with_it() {
    block_on(async {
        let pair = Replicated::start().await;
        let client = Client::connect(&pair.primary.target("filled", SUPERUSER))
            .await
            .unwrap();
        let standby = Client::connect(&pair.standby.target("filled", SUPERUSER))
            .await
            .unwrap();
        let load = pair.load("--oltp 60 --olap 40 --duration 60s --clients 4 --reports base");
        let routed = |key: &str| {
            format!("SELECT coalesce(sum((routed->>'{key}')::bigint), 0) AS n FROM htap.routing")
        };
        let at_least =
            |n: i64| move |table: &htap_top::pg::Table| table.first("n").number() >= Some(n as f64);
        for (what, sql) in [
            ("reports", routed("replica olap read")),
            ("looks", routed("replica oltp read")),
        ] {
            until(&client, what, &sql, &[], at_least(20)).await;
        }
        paused_and_back(&client, &standby).await;
        drop(standby);
        pair.standby.signal(Signal::SIGQUIT);
        until(
            &client,
            "reports on the primary",
            &routed("primary olap no_replica"),
            &[],
            at_least(20),
        )
        .await;
        let rows = ask(&client, "SELECT barred, reruns FROM htap.routing").await;
        assert_eq!(rows.first("barred").text(), Some("lost"), "{rows:?}");
        super::workload::signal(&load, Signal::SIGINT);
        let report = report(&load.wait_with_output().unwrap());
        assert_eq!(number_of(&report, "/olap/failed"), 0, "{report}");
        assert_eq!(number_of(&report, "/oltp/failed"), 0, "{report}");
        assert!(number_of(&report, "/routed/statements/replica olap read") > 20);
        assert!(number_of(&report, "/routed/fallbacks/lost") > 0, "{report}");
        assert_eq!(
            number(&client, "SELECT count(*) FROM htap.routing").await,
            0
        );
    });
}
