//! The admin console of a real PgBouncer: the panel, the gauge, the cause line, and who is behind which backend.

use super::SIZE;
use super::bouncer::Bouncer;
use crate::it::facts::{feed, until, watch, watch_both};
use crate::it::server::{Database, block_on, shared};
use htap_top::dashboard::diagnosis::{Gauge, Health};
use htap_top::dashboard::model::{Link, Model};
use htap_top::dashboard::output::{self, prometheus};
use htap_top::pg::{Client, Target, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

const CLIENTS: usize = 40;
/// Users of the console; `hostile` is none.
const USERS: &str = "admin_users = postgres\nstats_users = htap_monitor";

fn gauge(model: &Model) -> Option<&Gauge> {
    model.gauges.iter().find(|gauge| gauge.label == "maxwait")
}

fn missed(model: &Model, rule: &str) -> bool {
    gauge(model).is_some_and(|gauge| gauge.health == Health::Danger) && model.cause.rule == rule
}

/// A database, and a pooler with [`SIZE`] connections to its server.
async fn pooled() -> (Database<'static>, Bouncer) {
    let database = shared().database("pooled").await;
    let bouncer = Bouncer::start(database.server, "transaction", SIZE, USERS).await;
    (database, bouncer)
}

/// Clients that hold no connection for long, until they are stopped.
struct Crowd {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(target: &Target, clients: usize, sql: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |number: usize| {
            let target = target.with_application_name(&format!("crowd {number}"));
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let client = Client::connect(&target).await.unwrap();
                while !stop.load(Ordering::Relaxed) && client.batch(sql).await.is_ok() {}
            })
        };
        let tasks = (0..clients).map(one).collect();
        Self { stop, tasks }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// The application behind each backend, as the panel of queries tells it.
fn behind(model: &Model) -> BTreeMap<i64, String> {
    let table = &feed(model, "activity").table;
    let rows = (0..table.rows.len()).filter_map(|row| {
        let client = table.get(row, "pooler_client").text()?;
        let (_, application) = client.split_once(' ')?;
        Some((table.get(row, "pid").int()?, application.to_owned()))
    });
    rows.collect()
}

fn row_of(model: &Model, database: &str, column: &str) -> Value {
    let table = &feed(model, "pooler").table;
    let row =
        (0..table.rows.len()).find(|row| table.get(*row, "database").text() == Some(database));
    table.get(row.unwrap(), column).clone()
}

#[test]
fn forty_clients_over_four_connections() {
    block_on(async {
        let (database, bouncer) = pooled().await;
        let console = bouncer.target("pgbouncer", "htap_monitor");
        let through = bouncer.target(&database.name, "postgres");
        let mut headless = watch_both(&database.target(), Some(console), &["pooler"]);
        until(&mut headless, "the pooler answers", |model| {
            gauge(model).is_some_and(|gauge| gauge.health == Health::Good)
        })
        .await;
        let crowd = Crowd::start(&through, CLIENTS, "SELECT pg_sleep(0.2)");
        until(&mut headless, "the pool is too small", |model| {
            missed(model, "pool_small")
        })
        .await;
        let said = headless.model.cause.sentence.clone();
        assert!(
            said.contains(&format!("{}/postgres", database.name)),
            "{said}"
        );
        assert!(said.contains("size of 4 is too small"), "{said}");
        assert!(headless.model.cause.cure.contains("pool_size"));
        until(&mut headless, "all wait, and the size is known", |model| {
            row_of(model, &database.name, "cl_waiting") == Value::Int(36)
                && row_of(model, &database.name, "pool_size") == Value::Int(4)
        })
        .await;
        until(&mut headless, "rates", |model| {
            let rate = row_of(model, &database.name, "xacts_per_s").number();
            let wait = row_of(model, &database.name, "mean_wait_ms").number();
            rate > Some(5.0) && wait > Some(300.0)
        })
        .await;
        let sheets = output::default_sheets(&headless.model);
        let text = prometheus::text(&headless.model, &sheets).unwrap();
        assert!(
            text.contains("htap_top_target_missed{gauge=\"maxwait\"} 1"),
            "{text}"
        );
        assert!(text.contains("htap_top_pooler_"), "{text}");
        crowd.end().await;
        until(&mut headless, "nobody waits", |model| {
            gauge(model).is_some_and(|gauge| gauge.health == Health::Good)
        })
        .await;
        headless.end().await;
    });
}

/// Each of four clients keeps a connection: whose is whose is known, and the line names the oldest.
#[test]
fn who_holds_which_connection_is_told() {
    block_on(async {
        let (database, bouncer) = pooled().await;
        let console = bouncer.target("pgbouncer", "htap_monitor");
        let through = bouncer.target(&database.name, "postgres");
        let mut headless = watch_both(&database.target(), Some(console), &["pooler"]);
        let (mut held, mut expected) = (Vec::new(), BTreeMap::new());
        for number in 0..SIZE {
            let name = format!("holder {number}; --");
            let client = Client::connect(&through.with_application_name(&name))
                .await
                .unwrap();
            client.batch("BEGIN").await.unwrap();
            let told = client
                .query("SELECT pg_backend_pid()::bigint AS pid", &[])
                .await;
            expected.insert(told.unwrap().first("pid").int().unwrap(), name);
            held.push(client);
        }
        let crowd = Crowd::start(&through, CLIENTS - usize::from(SIZE), "SELECT 1");
        until(&mut headless, "the pool is held", |model| {
            let all = model.cause.sentence.contains("hold 4 of its 4");
            missed(model, "pool_held") && all && behind(model) == expected
        })
        .await;
        let cause = headless.model.cause.clone();
        assert!(
            cause.sentence.contains("for client 127.0.0.1:"),
            "{cause:?}"
        );
        assert!(cause.sentence.contains("idle in tx"), "{cause:?}");
        for client in held {
            client.batch("ROLLBACK").await.unwrap();
        }
        crowd.end().await;
        // Whose connection stands idle has no client.
        until(&mut headless, "nobody is behind", |model| {
            behind(model).is_empty()
        })
        .await;
        headless.end().await;
    });
}

/// All server connections wait for a lock that a session outside of the pool holds.
#[test]
fn a_lock_behind_the_pool_is_told_instead_of_the_pool() {
    block_on(async {
        let (database, bouncer) = pooled().await;
        let console = bouncer.target("pgbouncer", "htap_monitor");
        let through = bouncer.target(&database.name, "postgres");
        let admin = database.connect().await;
        admin.batch("CREATE TABLE wanted (n int)").await.unwrap();
        admin.batch("BEGIN; LOCK TABLE wanted").await.unwrap();
        let crowd = Crowd::start(&through, CLIENTS, "SELECT count(*) FROM wanted");
        let mut headless = watch_both(&database.target(), Some(console), &["pooler"]);
        until(&mut headless, "the pool waits", |model| {
            let mut findings = model.findings.iter();
            let waits = findings.find(|finding| finding.rule == "pool_waits");
            let told =
                waits.is_some_and(|finding| finding.sentence.contains("wait for locks behind pid"));
            told && gauge(model).is_some_and(|gauge| gauge.health == Health::Danger)
        })
        .await;
        until(&mut headless, "the lock itself is the cause", |model| {
            model.cause.rule == "lock_queue"
        })
        .await;
        admin.batch("ROLLBACK").await.unwrap();
        crowd.end().await;
        headless.end().await;
    });
}

#[test]
fn a_pooler_that_is_killed_disturbs_nothing_and_comes_back() {
    block_on(async {
        let (database, mut bouncer) = pooled().await;
        let console = bouncer.target("pgbouncer", "postgres");
        let mut headless = watch_both(&database.target(), Some(console), &["pooler"]);
        let good = |model: &Model| gauge(model).is_some_and(|gauge| gauge.health == Health::Good);
        until(&mut headless, "the pooler answers", good).await;
        bouncer.kill();
        until(&mut headless, "the pooler is lost", |model| {
            matches!(model.pooler, Link::Lost { .. })
                && gauge(model).is_some_and(|gauge| gauge.health == Health::Unknown)
        })
        .await;
        let unknown = output::unknown(&headless.model);
        let about = |what: &&String| what.contains("pooler") || what.starts_with("maxwait");
        let about: Vec<&String> = unknown.iter().filter(about).collect();
        assert_eq!(about.len(), 1, "said once: {unknown:?}");
        assert!(about[0].contains("not connected"), "{about:?}");
        let before = feed(&headless.model, "activity").sampling.at;
        until(&mut headless, "the others go on", |model| {
            let feed = feed(model, "activity");
            feed.sampling.at > before
                && !model.is_stale(feed)
                && matches!(model.fast, Link::Live(_))
        })
        .await;
        until(&mut headless, "the cause line tells of it", |model| {
            model.cause.rule == "pooler_lost"
        })
        .await;
        let said = headless.model.cause.sentence.clone();
        assert!(
            said.contains("clients may have lost the database"),
            "{said}"
        );
        bouncer.start_again().await;
        until(&mut headless, "it is back", |model| {
            good(model) && model.cause.rule != "pooler_lost"
        })
        .await;
        headless.end().await;
    });
}

/// What the panel says of a console that cannot be opened.
async fn refused(database: &Database<'_>, console: Target) -> String {
    let mut headless = watch_both(&database.target(), Some(console), &["pooler"]);
    until(
        &mut headless,
        "the pooler is refused, the server is not",
        |model| matches!(model.pooler, Link::Lost { given_up: true, .. }) && model.facts.is_some(),
    )
    .await;
    let Link::Lost { error, .. } = headless.model.pooler.clone() else {
        return String::new();
    };
    headless.end().await;
    error.to_string()
}

#[test]
fn a_console_that_is_refused_says_what_to_do() {
    block_on(async {
        let (database, bouncer) = pooled().await;
        let said = Box::pin(refused(&database, bouncer.target("pgbouncer", "hostile"))).await;
        assert!(said.contains("add hostile to stats_users"), "{said}");
        let said = Box::pin(refused(&database, bouncer.target("pgbouncer", "nobody;"))).await;
        assert!(said.contains("must be in auth_file"), "{said}");
        let said = Box::pin(refused(
            &database,
            bouncer.target(&database.name, "postgres"),
        ))
        .await;
        assert!(said.contains("not PgBouncer's admin console"), "{said}");
        let said = Box::pin(refused(&database, database.target())).await;
        assert!(said.contains("not PgBouncer's admin console"), "{said}");
        let said = Box::pin(refused(
            &database,
            database.target().with_dbname("pgbouncer"),
        ))
        .await;
        assert!(said.contains("seems to be PostgreSQL"), "{said}");
    });
}

#[test]
fn without_the_option_nothing_of_a_pooler_exists() {
    block_on(async {
        let database = shared().database("pooled").await;
        let mut headless = watch(&database.target(), &["activity"]);
        until(&mut headless, "sessions", |model| {
            feed(model, "activity").sampling.at.is_some()
        })
        .await;
        let model = &headless.model;
        let of_it = model
            .feeds
            .iter()
            .filter(|feed| feed.spec.name.starts_with("pooler"));
        assert_eq!(of_it.count(), 0);
        assert!(gauge(model).is_none());
        assert_eq!(feed(model, "activity").table.column("pooler_client"), None);
        assert_eq!(model.pooler, Link::Idle);
        headless.end().await;
    });
}
