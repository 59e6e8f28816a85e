//! A primary and its streaming replica.

use crate::it::server::{Database, Order, PATIENCE, Patience, Server, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, PgError, Pool, PoolError, PoolSize, Pooled, Settings, Target};
use htap_top::router::executor::{Executor, Lanes, Policy, Targets};
use htap_top::router::{Lane, Node};
use htap_top::system::schema;
use std::time::Duration;
use tokio::sync::OnceCell;

pub struct Pair {
    pub primary: Server,
    pub standby: Server,
}

impl Pair {
    /// Starts a primary, prepares its database `postgres` by these statements, and starts a replica of it.
    pub async fn start(settings: &[(&str, &str)], setup: &str) -> Self {
        let settings = settings.iter();
        let primary = Server::start(&Order {
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Order::default()
        });
        let admin = Client::connect(&primary.target("postgres", SUPERUSER))
            .await
            .unwrap();
        admin.batch(setup).await.unwrap();
        let standby = primary.replica();
        Self { primary, standby }
    }

    /// Lanes that open a connection for each statement.
    pub fn targets(&self, dbname: &str, writer: &str, reader: &str) -> Targets {
        let there = self.standby.target(dbname, reader);
        Targets {
            oltp: self.primary.target(dbname, writer),
            olap: self.primary.target(dbname, reader),
            replica: Some((there.clone(), there)),
        }
    }

    pub async fn admin(&self) -> Client {
        connect(&self.primary).await
    }

    pub async fn standby_admin(&self) -> Client {
        connect(&self.standby).await
    }

    /// Waits until the replica has replayed everything.
    pub async fn caught_up(&self) {
        let admin = self.admin().await;
        let now = admin
            .query("SELECT pg_current_wal_insert_lsn()::text AS lsn", &[])
            .await
            .unwrap();
        let now = now.first("lsn").text().unwrap().to_owned();
        // With synchronous_commit = off the last commits are flushed within some hundred milliseconds.
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{now}'::pg_lsn AS reached");
        until(
            &self.standby_admin().await,
            "the replica catches up",
            &reached,
            &[],
            |table| table.first("reached").is_true(),
        )
        .await;
    }
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.target("postgres", SUPERUSER))
        .await
        .unwrap()
}

/// A pair with the shop's schema and three products, for the tests that do no harm to it.
pub async fn shop_pair() -> &'static Pair {
    static PAIR: OnceCell<Pair> = OnceCell::const_new();
    PAIR.get_or_init(|| async {
        let pair = Pair::start(&[], "CREATE DATABASE filled TEMPLATE template0").await;
        let target = pair.primary.target("filled", SUPERUSER);
        let client = Client::connect(&target).await.unwrap();
        schema::create(&client).await.unwrap();
        let products = "
            INSERT INTO shop.categories (category_name) VALUES ('a');
            INSERT INTO shop.products (category_id, product_name, price) SELECT 1, 'p' || g, g FROM generate_series(1, 3) AS g";
        client.batch(products).await.unwrap();
        pair
    })
    .await
}

/// A copy of the shop pair's database, which the replica has, too.
pub async fn shop_copy(setup: &str) -> (&'static Pair, Database<'static>) {
    let pair = shop_pair().await;
    let database = pair.primary.copy("filled", "copy").await;
    database.connect().await.batch(setup).await.unwrap();
    pair.caught_up().await;
    (pair, database)
}

/// Lanes over pools, as a program would have them.
pub struct Pools {
    primary: [Pool; 2],
    replica: Option<[Pool; 2]>,
}

impl Pools {
    /// `targets` are those of OLTP and OLAP.
    pub fn new(primary: [Target; 2], replica: Option<[Target; 2]>) -> Self {
        let pools = |targets: [Target; 2]| {
            targets.map(|target| {
                let size = PoolSize {
                    min: 1,
                    max: 50,
                    wait: Duration::from_secs(60),
                };
                Pool::new(target, Settings::of_application(), size)
            })
        };
        Self {
            primary: pools(primary),
            replica: replica.map(pools),
        }
    }
}

impl Lanes for Pools {
    type Held = Pooled;
    type Error = PgError;

    async fn take(&self, lane: Lane) -> Result<Pooled, PgError> {
        let [short, long] = match lane.node {
            Node::Primary => &self.primary,
            Node::Replica => self.replica.as_ref().unwrap(),
        };
        let pool = match lane.pool {
            htap_top::router::Pool::Oltp => short,
            htap_top::router::Pool::Olap => long,
        };
        pool.get().await.map_err(|error| match error {
            PoolError::Connect(error) => error,
            other => panic!("{other}"),
        })
    }

    fn discard(&self, held: Pooled) {
        drop(Pooled::take(held));
    }

    fn has_replica(&self) -> bool {
        self.replica.is_some()
    }
}

/// A policy that looks often, so that a test need not wait for long.
pub fn quick() -> Policy {
    Policy {
        look: Duration::from_millis(100),
        probe_first: Duration::from_millis(20),
        probe_last: Duration::from_millis(200),
        ..Policy::default()
    }
}

/// Waits until the executor's replica is in this state.
pub async fn until_barred<L: Lanes>(
    executor: &Executor<L>,
    barred: Option<htap_top::router::Barred>,
) {
    let patience = Patience::begin();
    loop {
        let status = executor.replica_status().unwrap();
        if status.barred == barred {
            return;
        }
        assert!(
            patience.lasts(),
            "not within {PATIENCE:?}: {status:?}, not {barred:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
