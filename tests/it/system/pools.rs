//! Pools of sessions on a real server: their limits, and the handling of lost sessions.

use super::{number, shop};
use crate::it::server::{Database, block_on, pid, until};
use htap_top::pg::{Call, Param, Pool, PoolError, PoolSize, Settings, Statement};
use htap_top::system::pools::{AdmissionLimits, Limits, OlapError, Pools, Rejected};
use std::time::Duration;
use tokio::task::JoinSet;

fn pool(database: &Database<'_>, max: usize, wait: Duration) -> Pool {
    Pool::new(
        database.target(),
        Settings::of_application(),
        PoolSize { min: 1, max, wait },
    )
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_pool_never_opens_more_than_its_limit() {
    block_on(async {
        let database = shop().await;
        let pool = pool(&database, 3, LONG);
        let mut tasks = JoinSet::new();
        for _ in 0..30 {
            let pool = pool.clone();
            tasks.spawn(async move { pid(&pool.get().await.unwrap()).await });
        }
        let mut pids = tasks.join_all().await;
        pids.sort_unstable();
        pids.dedup();
        assert!((1..=3).contains(&pids.len()), "{pids:?}");
        assert!(pool.in_use().open <= 3 && pool.in_use().busy == 0);
        let busy = [
            pool.get().await.unwrap(),
            pool.get().await.unwrap(),
            pool.get().await.unwrap(),
        ];
        assert_eq!(pool.in_use().open, 3);
        assert_eq!(pool.in_use().busy, 3);
        drop(busy);
        pool.trim(Duration::ZERO);
        assert_eq!(pool.in_use().open, 1, "down to the least number");
    });
}

#[test]
fn who_waits_too_long_for_a_session_is_told() {
    block_on(async {
        let database = shop().await;
        let wait = Duration::from_millis(50);
        let pool = pool(&database, 1, wait);
        let _held = pool.get().await.unwrap();
        let error = pool.get().await.unwrap_err();
        assert_eq!(
            error,
            PoolError::Busy {
                max: 1,
                waited: wait
            }
        );
        assert!(error.to_string().contains("all 1 sessions"), "{error}");
        let nowhere = database.target().with_user("nobody_of_that_name");
        let nowhere = Pool::new(
            nowhere,
            Settings::of_application(),
            PoolSize {
                min: 1,
                max: 1,
                wait,
            },
        );
        let error = nowhere.warm().await.unwrap_err();
        assert!(
            matches!(&error, PoolError::Connect(error) if error.code() == "28000"),
            "{error}"
        );
        nowhere.close();
        assert_eq!(nowhere.get().await.unwrap_err(), PoolError::Closed);
    });
}

#[test]
fn a_session_that_is_lost_or_in_a_transaction_is_not_given_out_again() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        let pool = pool(&database, 1, LONG);
        let session = pool.get().await.unwrap();
        let first = pid(&session).await;
        drop(session);
        let session = pool.get().await.unwrap();
        assert_eq!(pid(&session).await, first);
        session.begin("SET LOCAL lock_timeout = 0").await.unwrap();
        drop(session);
        let session = pool.get().await.unwrap();
        let second = pid(&session).await;
        assert_ne!(second, first);
        session.begin("").await.unwrap();
        session.rollback().await.unwrap();
        drop(session);
        assert_eq!(pid(&pool.get().await.unwrap()).await, second);
        number(
            &client,
            &format!("SELECT pg_terminate_backend({second})::int"),
        )
        .await;
        let gone = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = $1";
        until(
            &client,
            "it is gone",
            gone,
            &[Param::Int(second)],
            |table| table.first("n").int() == Some(0),
        )
        .await;
        // The end of the connection may not have been noticed yet.
        let session = pool.get().await.unwrap();
        if session.query("SELECT 1", &[]).await.is_ok() {
            assert_ne!(pid(&session).await, second);
        }
        drop(session);
        assert_ne!(pid(&pool.get().await.unwrap()).await, second);
    });
}

/// Waits for a lock that a test holds.
const HELD: Statement = Statement {
    name: "held",
    types: &[],
    sql: "SELECT pg_advisory_xact_lock_shared(4711)",
};

#[test]
fn more_reports_than_may_run_wait_or_are_rejected() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client.batch("SELECT pg_advisory_lock(4711)").await.unwrap();
        let limits = Limits {
            admission: AdmissionLimits {
                running: 2,
                queue: 1,
                deadline: LONG,
            },
            ..Limits::default()
        };
        let pools = Pools::new(&database.target(), limits);
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let pools = pools.clone();
            tasks.spawn(async move {
                let session = pools.ask().await?;
                session.run(&HELD, &[]).await?;
                Ok::<_, OlapError>(())
            });
        }
        // The fourth is not even queued.
        let first = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(first, Err(OlapError::Rejected(Rejected::QueueFull(1))));
        let held = "SELECT count(*) AS n FROM pg_stat_activity
                    WHERE usename = 'htap_olap' AND wait_event = 'advisory' AND datname = current_database()";
        until(&client, "two run", held, &[], |table| {
            table.first("n").int() == Some(2)
        })
        .await;
        let counts = pools.admission().counts();
        assert_eq!(
            (counts.running, counts.waiting, counts.rejected_full),
            (2, 1, 1)
        );
        client
            .batch("SELECT pg_advisory_unlock(4711)")
            .await
            .unwrap();
        assert_eq!(tasks.join_all().await, [Ok(()), Ok(()), Ok(())]);
        let counts = pools.admission().counts();
        assert_eq!((counts.admitted, counts.queued, counts.running), (3, 1, 0));
    });
}

const LOOK: Statement = Statement {
    name: "look",
    types: &["bigint", "text", "text[]", "bigint[]"],
    sql: "SELECT $1 + 1 AS n, $2 AS t, $3 AS a, $4 AS b, w.* FROM widget AS w",
};

#[test]
fn statements_outlive_what_happens_to_their_names() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client
            .batch("CREATE TEMPORARY TABLE widget AS SELECT 1 AS x")
            .await
            .unwrap();
        let texts = ["a\"b'c\\".to_owned(), String::new()];
        let params = [
            Param::Int(-5),
            Param::Text("it's \\ $1"),
            Param::Texts(&texts),
            Param::Ints(&[1, -2]),
        ];
        let look = async || client.run(&LOOK, &params).await.unwrap();
        let names = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'look%'";
        let first = look().await;
        assert_eq!(first.int(0, "n"), Some(-4));
        assert_eq!(first.text(0, "t"), Some("it's \\ $1"));
        assert_eq!(first.text(0, "a"), Some("{\"a\\\"b'c\\\\\",\"\"}"));
        assert_eq!(first.text(0, "b"), Some("{1,-2}"));
        let prepared = client.query(names, &[]).await.unwrap();
        assert_eq!(prepared.rows.len(), 1);
        assert_eq!(look().await, first);
        assert_eq!(client.query(names, &[]).await.unwrap(), prepared);
        // Its columns have changed: it is prepared again.
        client
            .batch("ALTER TABLE widget ADD COLUMN y int")
            .await
            .unwrap();
        assert_eq!(look().await.table.columns.len(), 6);
        assert_eq!(look().await.table.columns.len(), 6);
        assert_eq!(client.query(names, &[]).await.unwrap().rows.len(), 2);
        // As behind a pooler: the name belongs to another session. From now on no name is used.
        client.batch("DEALLOCATE ALL").await.unwrap();
        assert_eq!(look().await.int(0, "n"), Some(-4));
        assert_eq!(look().await.text(0, "t"), Some("it's \\ $1"));
        assert_eq!(client.query(names, &[]).await.unwrap().rows.len(), 0);
    });
}

#[test]
fn a_message_is_done_all_or_not_at_all() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        let put = Statement {
            name: "put",
            types: &["bigint"],
            sql: "INSERT INTO box VALUES ($1)",
        };
        client
            .batch("CREATE TEMPORARY TABLE box (n bigint PRIMARY KEY)")
            .await
            .unwrap();
        let [one, two] = [[Param::Int(1)], [Param::Int(2)]];
        let plain = |name, sql| Statement {
            name,
            types: &[],
            sql,
        };
        let count = plain("count", "SELECT count(*) AS n FROM box");
        let empty = plain("empty", "DELETE FROM box");
        let calls = [Call(&put, &one), Call(&put, &two), Call(&count, &[])];
        let answers = client.run_all(&calls).await.unwrap();
        assert_eq!(answers.len(), 3);
        assert_eq!((answers[0].rows, answers[2].int(0, "n")), (1, Some(2)));
        let error = client
            .run_all(&[Call(&empty, &[]), Call(&put, &one), Call(&put, &one)])
            .await
            .unwrap_err();
        assert_eq!(error.code(), "23505");
        assert_eq!(number(&client, "SELECT count(*) FROM box").await, 2);
        client.batch("INSERT INTO box VALUES (3)").await.unwrap();
    });
}
