//! `htap-top order`.

use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, print, target};
use htap_top::cli::load::{Deed, Format};
use htap_top::pg::{Pool, PoolError, PoolSize, Settings, owners};
use htap_top::system::orders::{Order, OrderError, Orders, Strategy};
use serde_json::json;
use std::time::Duration;

/// Runs a command of `order` and prints the result.
pub fn run(deed: &Deed) -> Result<(), Failure> {
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
        let trusted = owners::trust_the_shop(&first).await;
        trusted.map_err(|error| failure(deed, &error.into()))?;
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
            let order = Order {
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
    Failure::new(code, format!("failed to {what}: {error}"))
}
