//! `htap-top order`.

use super::options::{self, Connection, Format, Server};
use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, missing, print, target};
use crate::pg::{Pool, PoolError, PoolSize, Settings, owners};
use crate::system::orders::{self, Commit, Line, OrderError, Orders, Step, Strategy};
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;

/// Options of `order`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Give the connection with -h -p -U -d or in the environment, as for psql. The role htap_oltp has the privileges needed.

  htap-top order create -d shop -U htap_oltp --user 7 --line 17x3 --line 4 --key cart-981
  htap-top order pay -d shop -U htap_oltp 867239742423040001")]
pub(super) struct Options {
    /// The command.
    #[command(subcommand)]
    deed: Deed,
}

/// Commands of `order`.
#[derive(Clone, Debug, Subcommand)]
enum Deed {
    /// Create an order, all or nothing, at catalogue prices
    Create {
        /// Connection, durability and output.
        #[command(flatten)]
        way: Way,
        /// User who orders
        #[arg(long = "user", value_name = "ID")]
        buyer: i64,
        /// Product and quantity, such as 17x3, or 17 for one piece; can be repeated
        #[arg(long = "line", value_name = "PRODUCT[xPIECES]", required = true, value_parser = parse_line)]
        lines: Vec<Line>,
        /// Request key: sending the order again with the same key does not create it twice
        #[arg(long)]
        key: Option<String>,
        /// function, pipelined, group or round-trips
        #[arg(long, default_value = "function")]
        strategy: Strategy,
    },
    /// Advance an order.
    #[command(flatten)]
    Step(StepDeed),
    /// Record that a user logged in
    Login {
        /// Connection, durability and output.
        #[command(flatten)]
        way: Way,
        /// User who logged in
        #[arg(value_name = "USER")]
        who: i64,
    },
}

impl Deed {
    /// Returns the connection, durability and output of the command.
    fn way(&self) -> &Way {
        match self {
            Self::Create { way, .. } | Self::Login { way, .. } => way,
            Self::Step(deed) => &deed.which().way,
        }
    }
}

/// A step of an order.
#[derive(Clone, Debug, Subcommand)]
enum StepDeed {
    /// pending to paid
    Pay(Which),
    /// paid to shipped
    Ship(Which),
    /// shipped to completed
    Complete(Which),
    /// pending or paid to cancelled; its goods return to stock
    Cancel(Which),
}

impl StepDeed {
    /// Returns the step.
    fn step(&self) -> Step {
        match self {
            Self::Pay(_) => Step::Pay,
            Self::Ship(_) => Step::Ship,
            Self::Complete(_) => Step::Complete,
            Self::Cancel(_) => Step::Cancel,
        }
    }

    /// Returns the order to advance.
    fn which(&self) -> &Which {
        match self {
            Self::Pay(which) | Self::Ship(which) | Self::Complete(which) | Self::Cancel(which) => {
                which
            }
        }
    }
}

/// An order to advance.
#[derive(Clone, Debug, Args)]
struct Which {
    /// Connection, durability and output.
    #[command(flatten)]
    way: Way,
    /// Order number
    #[arg(value_name = "ORDER")]
    order: i64,
}

/// Options of connection, durability and output.
#[derive(Clone, Debug, Args)]
struct Way {
    /// The server.
    #[command(flatten)]
    connection: Connection,
    /// Commit asynchronously: a server crash may lose the last 0.6 s
    #[arg(long = "async")]
    async_commit: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Way {
    /// Returns the durability of the commit.
    fn commit(&self) -> Commit {
        options::commit(self.async_commit)
    }

    /// Returns the server.
    fn server(&self) -> Server {
        Server {
            conninfo: None,
            connection: self.connection.clone(),
        }
    }
}

fn parse_line(text: &str) -> Result<Line, String> {
    let (product, quantity) = text.split_once('x').unwrap_or((text, "1"));
    match (product.parse(), quantity.parse()) {
        (Ok(product), Ok(quantity)) => Ok(Line { product, quantity }),
        _ => Err("expected a product number and how many pieces, such as 17x3".to_owned()),
    }
}

/// Runs a command of `order` and prints the result.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let deed = &options.deed;
    let way = deed.way();
    let target = target(&way.server(), "htap-top order")?;
    let size = PoolSize {
        min: 0,
        max: 1,
        wait: Duration::from_secs(5),
    };
    let strategy = match deed {
        Deed::Create { strategy, .. } => *strategy,
        _ => Strategy::default(),
    };
    let outcome = block_on(async {
        // Checked first, so that an unreachable server is reported at once.
        let pool = Pool::new(target, Settings::of_application(), size);
        let first = pool.get().await;
        let first = first.map_err(|error| failure(deed, &error.into()))?;
        let needed = owners::need_of_shop(&first, "shop.orders").await;
        needed.map_err(|error| failure(deed, &error.into()))?;
        drop(first);
        Ok(act(&Orders::new(pool, strategy), deed).await)
    })?;
    let (id, text) = match outcome {
        Ok(done) => done,
        Err(error) => {
            if way.format == Format::Json {
                let message = error.to_string();
                let refusal = json!({"error": {"sqlstate": error.code(), "message": message}});
                print(format!("{refusal}\n").as_bytes())?;
            }
            return Err(failure(deed, &error));
        }
    };
    match way.format {
        Format::Text => print(format!("{text}\n").as_bytes()),
        Format::Json => print(format!("{id}\n").as_bytes()),
    }
}

/// Carries it out; returns the result for programs and for people.
async fn act(orders: &Orders, deed: &Deed) -> Result<(serde_json::Value, String), OrderError> {
    let commit = deed.way().commit();
    let (order, status) = match deed {
        Deed::Create {
            buyer, lines, key, ..
        } => {
            let order = orders::Order {
                user: *buyer,
                lines: lines.clone(),
                request_key: key.clone(),
            };
            (orders.create(&order, commit).await?, "pending")
        }
        Deed::Login { who, .. } => {
            let event = orders.log_in(*who, commit).await?;
            let json = json!({"event_id": event, "user_id": who});
            return Ok((json, format!("user {who} has logged in")));
        }
        Deed::Step(deed) => {
            let (order, step) = (deed.which().order, deed.step());
            orders.step(order, step, commit).await?;
            (order, step.status())
        }
    };
    let json = json!({"order_id": order, "status": status});
    Ok((json, format!("order {order} is {status}")))
}

fn failure(deed: &Deed, error: &OrderError) -> Failure {
    let code = match error {
        OrderError::NoSession(PoolError::Connect(_)) => NO_CONNECTION,
        OrderError::Server(error) if error.code() == "42501" => NO_PRIVILEGE,
        _ => FAILURE,
    };
    let what = match deed {
        Deed::Create { .. } => "create the order".to_owned(),
        Deed::Login { .. } => "record the log-in".to_owned(),
        Deed::Step(deed) => format!("{} order {}", deed.step(), deed.which().order),
    };
    let hint = missing(error.code());
    Failure::new(code, format!("failed to {what}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use crate::commands::Cli;
    use clap::Parser;

    #[test]
    fn an_order_has_lines() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["htap-top", "order"], words].concat());
        assert!(
            parse(&[
                "create", "--user", "7", "--line", "17x3", "--line", "4", "--key", "k", "-d",
                "shop"
            ])
            .is_ok()
        );
        assert!(parse(&["pay", "123", "-U", "me", "--async"]).is_ok());
        assert!(parse(&["login", "7", "--format", "json"]).is_ok());
        for wrong in [
            &["create", "--user", "7"][..],
            &["create", "--line", "1"],
            &["create", "--user", "7", "--line", "x"],
            &["create", "--user", "7", "--line", "3x"],
            &["create", "--user", "me", "--line", "3"],
            &["pay"],
            &["return", "1"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
