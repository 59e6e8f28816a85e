//! Orders by the library: all strategies give the same result, under concurrency, with keys, and when
//! sessions and servers die.

use super::books::Books;
use super::{fill_one, number, shop};
use crate::it::server::{Database, Patience, block_on, pid, until, until_waiting};
use htap_top::pg::{Client, Pool, PoolSize, Settings};
use htap_top::system::generate::product_of_rank;
use htap_top::system::orders::{Commit, Line, Order, OrderError, Orders, Step, Strategy};
use nix::sys::signal::Signal;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const GOOD: [Strategy; 3] = [
    Strategy::Function,
    Strategy::Pipelined,
    Strategy::GroupCommit,
];
const ALL: [Strategy; 4] = [
    Strategy::Function,
    Strategy::Pipelined,
    Strategy::GroupCommit,
    Strategy::RoundTrips,
];

fn pool(database: &Database<'_>, max: usize) -> Pool {
    let wait = Duration::from_secs(60);
    // Concurrent sessions on a busy machine wait longer for each other than customers would.
    let settings = Settings::of_application()
        .with("lock_timeout", "0")
        .with("statement_timeout", "0");
    Pool::new(
        database.target_of("htap_oltp"),
        settings,
        PoolSize { min: 0, max, wait },
    )
}

fn orders(database: &Database<'_>, strategy: Strategy) -> Orders {
    Orders::new(pool(database, 8), strategy)
}

fn order(lines: &[(i64, i64)], key: Option<&str>) -> Order {
    Order {
        user: 7,
        lines: lines
            .iter()
            .map(|(product, quantity)| Line {
                product: *product,
                quantity: *quantity,
            })
            .collect(),
        request_key: key.map(str::to_owned),
    }
}

async fn stock_up(client: &Client, quantity: i64) {
    let sql = format!("UPDATE shop.inventory SET quantity = {quantity}");
    client.batch(&sql).await.unwrap();
}

#[test]
fn every_strategy_creates_the_same_order() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 100).await;
        for strategy in ALL {
            let books = Books::open(&client).await;
            let orders = orders(&database, strategy);
            let lines: &[_] = if strategy == Strategy::RoundTrips {
                &[(17, 5), (4, 1)]
            } else {
                &[(17, 3), (4, 1), (17, 2)]
            };
            let id = orders
                .create(&order(lines, None), Commit::Asynchronous)
                .await
                .unwrap();
            let found = format!(
                "SELECT string_agg(format('%s x %s', product_id, quantity), ', ' ORDER BY product_id)
                        || ' for ' || min(user_id) || ' ' || min(status) AS found
                 FROM shop.orders JOIN shop.order_items USING (order_id, created_at) WHERE order_id = {id}"
            );
            let found = super::ask(&client, &found).await;
            assert_eq!(
                found.first("found").text(),
                Some("4 x 1, 17 x 5 for 7 0"),
                "{strategy:?}"
            );
            assert_eq!(books.close(&client, 0).await, 1);
        }
    });
}

#[test]
fn every_refusal_is_clear_and_changes_nothing() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 100).await;
        let books = Books::open(&client).await;
        let short = OrderError::InsufficientInventory {
            product: 17,
            wanted: 101,
            available: 100,
        };
        for strategy in ALL {
            let orders = orders(&database, strategy);
            let refused =
                async |order: &Order| orders.create(order, Commit::Synchronous).await.unwrap_err();
            assert_eq!(
                refused(&order(&[(4, 1), (17, 101)], None)).await,
                short,
                "{strategy:?}"
            );
            let unknown = refused(&order(&[(4, 1), (98_765, 1)], None)).await;
            assert_eq!(unknown, OrderError::UnknownProduct(98_765), "{strategy:?}");
            let nobody = Order {
                user: 9_876_543,
                ..order(&[(4, 1)], None)
            };
            assert_eq!(
                refused(&nobody).await,
                OrderError::UnknownUser(9_876_543),
                "{strategy:?}"
            );
            assert_eq!(refused(&order(&[], None)).await.code(), "22023");
            assert_eq!(refused(&order(&[(4, -1)], None)).await.code(), "22023");
        }
        assert_eq!(books.close(&client, 0).await, 0);
        for strategy in GOOD {
            let orders = orders(&database, strategy);
            let key = format!("it's {}", strategy.name());
            let first = order(&[(4, 1)], Some(&key));
            // After a refusal the key can be used again.
            let much = order(&[(4, 1_000)], Some(&key));
            assert_eq!(
                orders
                    .create(&much, Commit::Asynchronous)
                    .await
                    .unwrap_err()
                    .code(),
                "HT001"
            );
            let id = orders.create(&first, Commit::Asynchronous).await.unwrap();
            assert_eq!(orders.create(&first, Commit::Asynchronous).await, Ok(id));
            let other = orders
                .create(&order(&[(4, 2)], Some(&key)), Commit::Asynchronous)
                .await;
            assert_eq!(
                other,
                Err(OrderError::KeyReused { key, user: 7 }),
                "{strategy:?}"
            );
        }
        assert_eq!(books.close(&client, 0).await, 3);
    });
}

#[test]
fn one_key_is_one_order_for_all_who_come_at_once() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 1_000).await;
        let books = Books::open(&client).await;
        let all = GOOD.map(|strategy| Arc::new(orders(&database, strategy)));
        for round in 0..10 {
            let mut tasks = JoinSet::new();
            for number in 0..24 {
                let orders = Arc::clone(&all[number % 3]);
                let order = order(&[(17, 1), (4, 2)], Some(&format!("round {round}")));
                tasks.spawn(
                    async move { orders.create(&order, Commit::Asynchronous).await.unwrap() },
                );
            }
            let ids: BTreeSet<i64> = tasks.join_all().await.into_iter().collect();
            assert_eq!(ids.len(), 1, "{ids:?}");
        }
        assert_eq!(books.close(&client, 0).await, 10);
    });
}

/// A customer's order of popular products, in random order.
fn basket(rng: &mut Xoshiro256PlusPlus, popularity: &Zipf<f64>) -> Order {
    let lines: Vec<_> = (0..rng.random_range(1..=5))
        .map(|_| {
            let rank: f64 = popularity.sample(rng);
            (
                product_of_rank(rank as usize) as i64,
                rng.random_range(1..=2),
            )
        })
        .collect();
    Order {
        user: rng.random_range(1..=1_000),
        ..order(&lines, None)
    }
}

#[test]
fn a_crowd_of_all_strategies_neither_oversells_nor_deadlocks() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 150).await;
        let books = Books::open(&client).await;
        let all = GOOD.map(|strategy| Arc::new(Orders::new(pool(&database, 12), strategy)));
        let mut tasks = JoinSet::new();
        for number in 0..32 {
            let orders = Arc::clone(&all[number % 3]);
            tasks.spawn(async move {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(number as u64);
                let popularity = Zipf::new(400.0, 1.1).unwrap();
                let mut counts = [0; 3];
                for round in 0..40 {
                    match orders
                        .create(&basket(&mut rng, &popularity), Commit::Asynchronous)
                        .await
                    {
                        Ok(id) => {
                            counts[0] += 1;
                            if round % 5 == 0 {
                                orders
                                    .step(id, Step::Cancel, Commit::Asynchronous)
                                    .await
                                    .unwrap();
                                counts[1] += 1;
                            }
                        }
                        Err(OrderError::InsufficientInventory { .. }) => counts[2] += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                counts
            });
        }
        let counts = tasks.join_all().await.into_iter().fold([0; 3], |sum, one| {
            [0, 1, 2].map(|place| sum[place] + one[place])
        });
        let [created, cancelled, refused] = counts;
        assert!(
            created > 200 && cancelled > 20 && refused > 50,
            "{counts:?}"
        );
        assert_eq!(books.close(&client, 0).await, created);
        assert_eq!(all.map(|orders| orders.deadlocks()), [0; 3]);
        drop(client);
        let elsewhere = database.connect().await;
        let deadlocks =
            "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(number(&elsewhere, deadlocks).await, 0);
    });
}

#[test]
fn products_in_any_order_deadlock_and_are_tried_again() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 10_000).await;
        let books = Books::open(&client).await;
        let orders = Arc::new(orders(&database, Strategy::RoundTrips));
        let patience = Patience::begin();
        let mut created = 0;
        while orders.deadlocks() == 0 {
            assert!(patience.lasts(), "no deadlock");
            let mut tasks = JoinSet::new();
            for lines in [[(17, 1), (4, 1)], [(4, 1), (17, 1)]] {
                let orders = Arc::clone(&orders);
                tasks.spawn(async move {
                    orders
                        .create(&order(&lines, None), Commit::Asynchronous)
                        .await
                        .unwrap()
                });
            }
            created += tasks.join_all().await.len() as i64;
        }
        assert!(orders.retries() > 0);
        assert_eq!(books.close(&client, 0).await, created);
    });
}

#[test]
fn an_order_goes_through_its_life_once() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 100).await;
        let orders = orders(&database, Strategy::Function);
        let books = Books::open(&client).await;
        let create = async || {
            orders
                .create(&order(&[(4, 2)], None), Commit::Synchronous)
                .await
                .unwrap()
        };
        let step = async |id, step| orders.step(id, step, Commit::Synchronous).await;
        let id = create().await;
        assert!(matches!(
            step(id, Step::Ship).await,
            Err(OrderError::OutOfTurn(_))
        ));
        for next in [Step::Pay, Step::Ship, Step::Complete] {
            assert_eq!(step(id, next).await, Ok(()));
            let again = step(id, next).await.unwrap_err();
            assert!(again.to_string().contains("already"), "{again}");
        }
        assert_eq!(step(id, Step::Cancel).await.unwrap_err().code(), "23514");
        let other = create().await;
        assert_eq!(step(other, Step::Cancel).await, Ok(()));
        assert_eq!(step(99, Step::Pay).await, Err(OrderError::UnknownOrder(99)));
        assert!(orders.log_in(7, Commit::Synchronous).await.unwrap() > 0);
        let nobody = orders.log_in(98_765_432, Commit::Synchronous).await;
        assert_eq!(nobody, Err(OrderError::UnknownUser(98_765_432)));
        let (third, spend) = orders
            .create_knowing_spend(&order(&[(4, 1)], None), Commit::Synchronous)
            .await
            .unwrap();
        let earlier = format!(
            "SELECT sum(total_amount)::text AS spend FROM shop.orders
             WHERE user_id = 7 AND status <> 4 AND created_at >= now() - interval '30 days' AND order_id <> {third}"
        );
        assert_eq!(
            super::ask(&client, &earlier).await.first("spend").text(),
            Some(spend.as_str())
        );
        assert_eq!(books.close(&client, 0).await, 3);
    });
}

#[test]
fn a_call_leaves_no_setting_behind() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 100).await;
        let pool = pool(&database, 1);
        let before = pool
            .get()
            .await
            .unwrap()
            .query("SHOW synchronous_commit", &[])
            .await
            .unwrap();
        for strategy in ALL {
            for commit in [Commit::Asynchronous, Commit::Synchronous] {
                let orders = Orders::new(pool.clone(), strategy);
                orders
                    .create(&order(&[(4, 1)], None), commit)
                    .await
                    .unwrap();
                let _ = orders
                    .create(&order(&[(4, 1_000)], None), commit)
                    .await
                    .unwrap_err();
                let after = pool
                    .get()
                    .await
                    .unwrap()
                    .query("SHOW synchronous_commit", &[])
                    .await;
                assert_eq!(after.unwrap(), before, "{strategy:?} {commit:?}");
            }
        }
        assert_eq!(pool.in_use().open, 1);
    });
}

/// Sessions that wait for a lock, with their number after termination.
const WAITING: &str = "SELECT count(*) AS n FROM pg_stat_activity
                       WHERE wait_event_type = 'Lock' AND datname = current_database()";
const TERMINATED: &str = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity
                          WHERE wait_event_type = 'Lock' AND datname = current_database()";

async fn until_one(watch: &Client, sql: &str) {
    until(watch, sql, sql, &[], |table| {
        table.first("n").int() == Some(1)
    })
    .await;
}

#[test]
fn only_an_order_with_a_key_is_sent_again_after_its_session_was_lost() {
    block_on(async {
        let database = shop().await;
        // A transaction keeps seeing the list of sessions as of its first read.
        let (client, watch) = (database.connect().await, database.connect().await);
        stock_up(&client, 100).await;
        for strategy in GOOD {
            for key in [None, Some(strategy.name())] {
                let books = Books::open(&client).await;
                let orders = Arc::new(orders(&database, strategy));
                let lock = "SELECT FROM shop.inventory WHERE product_id = 17 FOR UPDATE";
                client.begin(lock).await.unwrap();
                let created = tokio::spawn({
                    let (orders, order) = (Arc::clone(&orders), order(&[(17, 1)], key));
                    async move { orders.create(&order, Commit::Synchronous).await }
                });
                until_one(&watch, TERMINATED).await;
                if key.is_some() {
                    until_one(&watch, WAITING).await;
                    client.rollback().await.unwrap();
                    assert!(created.await.unwrap().is_ok());
                    assert!(orders.retries() > 0);
                } else {
                    let lost = created.await.unwrap().unwrap_err();
                    assert!(lost.is_of_session(), "{lost}");
                    client.rollback().await.unwrap();
                    assert_eq!(orders.retries(), 0);
                }
                let expected = i64::from(key.is_some());
                assert_eq!(books.close(&client, 0).await, expected, "{strategy:?}");
            }
        }
    });
}

#[test]
fn a_step_whose_answer_was_lost_is_done_if_the_order_has_its_status() {
    block_on(async {
        let database = shop().await;
        let (client, watch) = (database.connect().await, database.connect().await);
        stock_up(&client, 100).await;
        let orders = Arc::new(orders(&database, Strategy::Function));
        let created = orders
            .create(&order(&[(4, 1)], None), Commit::Synchronous)
            .await;
        let id = created.unwrap();
        let lock = format!("SELECT FROM shop.orders WHERE order_id = {id} FOR UPDATE");
        client.begin(&lock).await.unwrap();
        let paid = tokio::spawn({
            let orders = Arc::clone(&orders);
            async move { orders.step(id, Step::Pay, Commit::Synchronous).await }
        });
        until_one(&watch, TERMINATED).await;
        // As if the first attempt had done it.
        let pay = format!("SELECT shop.pay_order({id})");
        client.batch(&pay).await.unwrap();
        client.commit().await.unwrap();
        assert_eq!(paid.await.unwrap(), Ok(()));
        let again = orders.step(id, Step::Pay, Commit::Synchronous).await;
        assert!(matches!(again, Err(OrderError::OutOfTurn(_))));
    });
}

/// Stock that is gone when it is taken: the order that wanted it fails, the others of its group succeed.
#[test]
fn a_group_that_somebody_was_quicker_than_looks_again() {
    block_on(async {
        let database = shop().await;
        let (client, quick, late) = (
            database.connect().await,
            database.connect().await,
            database.connect().await,
        );
        stock_up(&client, 1).await;
        let take = "BEGIN; UPDATE shop.inventory SET quantity = 0 WHERE product_id = 1";
        quick.batch(take).await.unwrap();
        let waiter = pid(&late).await;
        let group = tokio::spawn(async move {
            let sql = "SELECT sqlstate, order_id FROM shop.create_orders('{1,2}', '{1,2}', '{1,2}', '{1,1}')";
            late.query(sql, &[]).await.unwrap()
        });
        until_waiting(&client, waiter).await;
        quick.batch("COMMIT").await.unwrap();
        let outcomes = group.await.unwrap();
        assert_eq!(outcomes.rows.len(), 2);
        assert_eq!(outcomes.get(0, "sqlstate").text(), Some("HT001"));
        assert_eq!(outcomes.get(0, "order_id").int(), None);
        assert_eq!(outcomes.get(1, "sqlstate").text(), None);
        let id = outcomes.get(1, "order_id").int().unwrap();
        let one = format!(
            "SELECT (SELECT count(*) FROM shop.order_items WHERE order_id = {id} AND product_id = 2)
                  + 10 * (SELECT count(*) FROM shop.orders WHERE order_id >= {id})
                  + 100 * (SELECT sum(quantity) FROM shop.inventory WHERE product_id IN (1, 2))"
        );
        assert_eq!(number(&client, &one).await, 11);
    });
}

/// Customers who resend each of their orders, with its key, until they get a number; `true` if they may see
/// errors meanwhile.
fn stubborn(
    tasks: &mut JoinSet<BTreeMap<String, i64>>,
    orders: &Arc<Orders>,
    customers: usize,
    each: usize,
    sees_errors: bool,
) {
    for customer in 0..customers {
        let orders = Arc::clone(orders);
        tasks.spawn(async move {
            let mut numbers = BTreeMap::new();
            for count in 0..each {
                let key = format!("{customer}-{count}");
                let wanted = order(&[(count as i64 % 9 + 1, 1), (17, 1)], Some(&key));
                let patience = Patience::begin();
                let id = loop {
                    match orders.create(&wanted, Commit::Synchronous).await {
                        Ok(id) => break id,
                        Err(error) => {
                            assert!(
                                sees_errors && error.is_of_session() && patience.lasts(),
                                "{error}"
                            );
                        }
                    }
                };
                numbers.insert(key, id);
            }
            numbers
        });
    }
}

/// Every key has the order that its customer was told, and there are no others.
async fn every_key_has_its_order(client: &Client, told: Vec<BTreeMap<String, i64>>) -> i64 {
    let told: BTreeMap<String, i64> = told.into_iter().flatten().collect();
    let table = super::ask(
        client,
        "SELECT request_key, order_id FROM shop.order_requests",
    )
    .await;
    let found: BTreeMap<String, i64> = table
        .rows
        .iter()
        .map(|row| (row[0].text().unwrap().to_owned(), row[1].int().unwrap()))
        .collect();
    assert_eq!(told, found);
    told.len() as i64
}

#[test]
fn sessions_that_are_terminated_lose_and_double_nothing() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        stock_up(&client, 100_000).await;
        let books = Books::open(&client).await;
        for (round, strategy) in GOOD.into_iter().enumerate() {
            let orders = Arc::new(orders(&database, strategy));
            let mut tasks = JoinSet::new();
            stubborn(&mut tasks, &orders, 8, 25, false);
            let terminate = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity
                          WHERE usename = 'htap_oltp' AND datname = current_database() AND random() < 0.3";
            let (mut killed, mut told) = (0, Vec::new());
            while !tasks.is_empty() {
                if killed < 10 {
                    killed += number(&client, terminate).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                while let Some(done) = tasks.try_join_next() {
                    told.push(done.unwrap());
                }
            }
            assert!(
                killed > 0,
                "{strategy:?}: no session was terminated in time"
            );
            let count = every_key_has_its_order(&client, told).await;
            assert_eq!(count, books.close(&client, 0).await - 200 * round as i64);
            client
                .batch("DELETE FROM shop.order_requests")
                .await
                .unwrap();
        }
    });
}

#[test]
fn who_and_what_is_deleted_at_that_moment_fails_its_own_order_only() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        stock_up(&admin, 1_000).await;
        let remover = database.connect().await;
        for (what, gone) in [
            ("user", "DELETE FROM shop.users WHERE user_id = $"),
            (
                "product",
                "DELETE FROM shop.inventory WHERE product_id = $; DELETE FROM shop.products WHERE product_id = $",
            ),
        ] {
            let made = match what {
                "user" => "INSERT INTO shop.users (user_name) VALUES ('brief') RETURNING user_id AS id",
                _ => {
                    "WITH p AS (INSERT INTO shop.products (category_id, product_name, price) VALUES (1, 'brief', 1) RETURNING product_id)
                     INSERT INTO shop.inventory (product_id, quantity) SELECT product_id, 100 FROM p RETURNING product_id AS id"
                }
            };
            let brief = number(&admin, made).await;
            let gone = gone.replace('$', &brief.to_string());
            remover.batch(&format!("BEGIN; {gone}")).await.unwrap();
            let buyer = database.connect_as("htap_oltp").await;
            let backend = pid(&buyer).await;
            let (user, product) = if what == "user" {
                (brief, 1)
            } else {
                (3, brief)
            };
            let group = format!(
                "SELECT order_id, sqlstate, message FROM shop.create_orders(ARRAY[{user}, 2], ARRAY[1, 2], ARRAY[{product}, 2], ARRAY[1, 1], ARRAY['a{what}', 'b{what}'])"
            );
            let bought = tokio::spawn(async move { buyer.query(&group, &[]).await });
            until_waiting(&admin, backend).await;
            remover.batch("COMMIT").await.unwrap();
            let bought = bought.await.unwrap().unwrap();
            assert_eq!(bought.get(0, "sqlstate").text(), Some("23503"), "{what}");
            assert_eq!(
                bought.get(0, "message").text(),
                Some(format!("there is no {what} {brief}").as_str())
            );
            assert!(bought.get(1, "order_id").int().is_some(), "{what}");
            let kept = format!(
                "SELECT count(*) FROM shop.order_requests WHERE request_key IN ('a{what}', 'b{what}')"
            );
            assert_eq!(
                number(&admin, &kept).await,
                1,
                "the other's key is free again"
            );
        }
    });
}

#[test]
fn a_server_that_crashes_loses_and_doubles_nothing() {
    block_on(async {
        let server = fill_one().await;
        let database = Database {
            server: &server,
            name: "filled".to_owned(),
        };
        let client = database.connect().await;
        stock_up(&client, 100_000).await;
        let books = Books::open(&client).await;
        let all = GOOD.map(|strategy| Arc::new(orders(&database, strategy)));
        let mut tasks = JoinSet::new();
        stubborn(&mut tasks, &all[0], 4, 60, true);
        let sql = "SELECT count(*) AS n FROM shop.order_requests";
        until(&client, "orders are created", sql, &[], |table| {
            table.first("n").int().unwrap() > 20
        })
        .await;
        drop(client);
        server.signal(Signal::SIGKILL);
        server.start_again();
        let told = tasks.join_all().await;
        let client = database.connect().await;
        let count = every_key_has_its_order(&client, told).await;
        assert_eq!((count, books.close(&client, 0).await), (240, 240));
    });
}
