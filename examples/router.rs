//! Routes a program's statements to a primary and a streaming replica.
//!
//! ```sh
//! cargo run --example router -- "host=/tmp user=app dbname=app" "host=/tmp port=5433 user=report dbname=app"
//! ```
//!
//! The first connection is the primary's, with a role that writes. The second is the replica's, with a role that reads:
//! `ALTER ROLE report SET default_transaction_read_only = on`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use htap_top::pg::{Flags, Pool, PoolError, PoolSize, Pooled, Settings, Target};
use htap_top::pg::{Param, PgError, Statement};
use htap_top::router::catalogue::Catalogue;
use htap_top::router::executor::{Executor, Lanes, Policy, Refusal};
use htap_top::router::{Lane, Node, Router};
use std::error::Error;
use std::time::Duration;

/// The program's pools: here one per server and class.
struct Pools {
    primary: [Pool; 2],
    replica: [Pool; 2],
}

/// Reason why there is no answer.
#[derive(Debug)]
enum Failure {
    /// All sessions of the pool were in use.
    Busy(PoolError),
    /// The server's error, or the loss of the connection.
    Server(PgError),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Self::Server(error)
    }
}

impl Refusal for Failure {
    /// A replica whose pool is full is no reason to flood the primary.
    fn stays(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

impl Lanes for Pools {
    type Held = Pooled;
    type Error = Failure;

    async fn take(&self, lane: Lane) -> Result<Pooled, Failure> {
        let [short, long] = match lane.node {
            Node::Primary => &self.primary,
            Node::Replica => &self.replica,
        };
        let pool = match lane.pool {
            htap_top::router::Pool::Oltp => short,
            htap_top::router::Pool::Olap => long,
        };
        pool.get().await.map_err(|error| match error {
            PoolError::Connect(error) => Failure::Server(error),
            busy => Failure::Busy(busy),
        })
    }

    /// A session in an unknown state must not go back to its pool.
    fn discard(&self, held: Pooled) {
        drop(Pooled::take(held));
    }

    fn has_replica(&self) -> bool {
        true
    }
}

fn pool(target: &Target, max: usize) -> Pool {
    let size = PoolSize {
        min: 1,
        max,
        wait: Duration::from_secs(5),
    };
    Pool::new(target.clone(), Settings::of_application(), size)
}

fn target(conninfo: &str) -> Result<Target, Box<dyn Error>> {
    let flags = Flags {
        conninfo: Some(conninfo.to_owned()),
        ..Flags::default()
    };
    let environment = |name: &str| std::env::var(name).ok();
    Ok(Target::resolve(&flags, &environment)?)
}

const WRITE: &str = "INSERT INTO public.router_example (note) VALUES ('written') RETURNING id";
const READ: Statement = Statement {
    name: "notes",
    types: &["text"],
    sql: "SELECT count(*) AS notes FROM public.router_example WHERE note = $1",
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(primary), Some(replica)) = (arguments.next(), arguments.next()) else {
        return Err("pass the conninfo of the primary and of the replica".into());
    };
    let (primary, replica) = (target(&primary)?, target(&replica)?);
    let pools = Pools {
        primary: [pool(&primary, 20), pool(&primary, 4)],
        replica: [pool(&replica, 20), pool(&replica, 4)],
    };
    // The catalogue answers as the role that reads: names resolve as they do for it.
    let router = Router::new(Catalogue::connect(replica.clone()).await?);
    let policy = Policy {
        lag: Duration::from_secs(2),
        ..Policy::default()
    };
    let executor = Executor::with_policy(router, pools, policy);
    println!("replica: {:?}", executor.ready().await);

    // One conversation per client: it reads what it wrote.
    let mut client = executor.conversation();
    let table = "CREATE TABLE IF NOT EXISTS public.router_example (id bigint GENERATED ALWAYS AS IDENTITY, note text)";
    client.run(table, &[]).await?;
    for _ in 0..3 {
        client.run(WRITE, &[]).await?;
        let ran = client.call(&READ, &[Param::Text("written")]).await?;
        println!(
            "{:?} notes, read on the {}: {}",
            ran.table.first("notes").text(),
            ran.decision.lane(),
            ran.decision.reason
        );
    }
    let counts = executor.counts();
    for ((rule, lane), count) in &counts.decisions {
        println!("{count} on {lane} by {}", rule.name());
    }
    println!("waits {:?}, fallbacks {:?}", counts.waits, counts.fallbacks);
    Ok(())
}
