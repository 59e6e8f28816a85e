//! A single attempt to create an order, in one round trip.

use super::error::{CHECK_VIOLATION, UNIQUE_VIOLATION, refusal};
use super::{Commit, Order, OrderError, number};
use crate::pg::{Answer, Call, Param, PgError, Pool, Statement};
use std::collections::BTreeMap;

const CREATE: Statement = Statement {
    name: "create_order",
    types: &["bigint", "bigint[]", "bigint[]", "text", "text"],
    sql: "SELECT shop.create_order($1, $2, $3, $4) AS order_id, set_config('synchronous_commit', $5, true)",
};

const SPEND: Statement = Statement {
    name: "rolling_spend",
    types: &["bigint"],
    sql: include_str!("../../../queries/orders/rolling_spend.sql"),
};

const TAKE_STOCK: Statement = Statement {
    name: "take_stock",
    types: &["bigint", "bigint"],
    sql: "UPDATE shop.inventory SET quantity = quantity - $2 WHERE product_id = $1",
};

const TAKE_KEY: Statement = Statement {
    name: "take_key",
    types: &["bigint", "bigint[]", "bigint[]", "text"],
    sql: "INSERT INTO shop.order_requests (user_id, request_key, request_hash, order_id)
          VALUES ($1, $4, shop.request_hash($2, $3), shop.new_order_id())",
};

const FIND_KEY: Statement = Statement {
    name: "find_key",
    types: &["bigint", "bigint[]", "bigint[]", "text"],
    sql: "SELECT order_id, (request_hash = shop.request_hash($2, $3))::integer AS is_same
          FROM shop.order_requests WHERE user_id = $1 AND request_key = $4",
};

const PLACE: Statement = Statement {
    name: "place_order",
    types: &["bigint", "bigint[]", "bigint[]", "text"],
    sql: include_str!("../../../queries/orders/place_order.sql"),
};

const PLACE_WITH_KEY: Statement = Statement {
    name: "place_order_with_key",
    types: &["bigint", "bigint[]", "bigint[]", "text", "text"],
    sql: include_str!("../../../queries/orders/place_order_with_key.sql"),
};

const SHORTAGE: Statement = Statement {
    name: "shortage",
    types: &["bigint[]", "bigint[]"],
    sql: include_str!("../../../queries/orders/shortage.sql"),
};

/// not_null_violation
const NOT_NULL_VIOLATION: &str = "23502";

/// An order with merged lines, sorted by product.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) user: i64,
    pub(super) products: Vec<i64>,
    pub(super) quantities: Vec<i64>,
    pub(super) key: Option<String>,
}

impl Request {
    pub(super) fn of(order: &Order) -> Result<Self, OrderError> {
        let invalid = |why: &str| Err(OrderError::Invalid(why.to_owned()));
        if order.lines.is_empty() {
            return invalid("an order needs at least one product");
        }
        let good = 1..=1_000_000;
        if !order.lines.iter().all(|line| good.contains(&line.quantity)) {
            return invalid("quantities must be positive, and at most a million");
        }
        if let Some(key) = &order.request_key
            && (!(1..=200).contains(&key.chars().count()) || key.contains('\0'))
        {
            return invalid("a request key has 1 to 200 characters");
        }
        let mut merged = BTreeMap::new();
        for line in &order.lines {
            *merged.entry(line.product).or_insert(0) += line.quantity;
        }
        let (products, quantities): (Vec<_>, Vec<i64>) = merged.into_iter().unzip();
        if !quantities.iter().all(|quantity| good.contains(quantity)) {
            return invalid("at most a million pieces of a product can be ordered at once");
        }
        Ok(Self {
            user: order.user,
            products,
            quantities,
            key: order.request_key.clone(),
        })
    }

    fn key(&self) -> Param<'_> {
        Param::MaybeText(self.key.as_deref())
    }

    /// Returns the parameters user, products, quantities.
    fn content(&self) -> [Param<'_>; 3] {
        [
            Param::Int(self.user),
            Param::Ints(&self.products),
            Param::Ints(&self.quantities),
        ]
    }

    fn refusal(&self, error: PgError) -> OrderError {
        refusal(error, self.user, self.key.as_deref())
    }
}

pub(super) async fn by_function(
    pool: &Pool,
    request: &Request,
    commit: Commit,
) -> Result<i64, OrderError> {
    let session = pool.get().await?;
    let [user, products, quantities] = request.content();
    let params = [user, products, quantities, request.key(), commit.param()];
    let answer = session.run(&CREATE, &params).await;
    number(&answer.map_err(|error| request.refusal(error))?, "order_id")
}

pub(super) async fn knowing_spend(
    pool: &Pool,
    request: &Request,
    commit: Commit,
) -> Result<(i64, String), OrderError> {
    let session = pool.get().await?;
    let [user, products, quantities] = request.content();
    let params = [user, products, quantities, request.key(), commit.param()];
    let calls = [Call(&SPEND, &[user]), Call(&CREATE, &params)];
    let answers = session.run_all(&calls).await;
    let answers = answers.map_err(|error| request.refusal(error))?;
    match answers.as_slice() {
        [spend, created] => Ok((
            number(created, "order_id")?,
            spend.text(0, "spend").unwrap_or("0").to_owned(),
        )),
        _ => Err(OrderError::Invalid(
            "the server's answer has no order_id".to_owned(),
        )),
    }
}

/// Sends all statements of an order at once. The first failure ends the transaction; its cause is looked up afterwards.
pub(super) async fn pipelined(
    pool: &Pool,
    request: &Request,
    commit: Commit,
) -> Result<i64, OrderError> {
    let session = pool.get().await?;
    let [user, products, quantities] = request.content();
    let keyed = [user, products, quantities, request.key()];
    let unkeyed_place = [user, products, quantities, commit.param()];
    let keyed_place = [user, products, quantities, request.key(), commit.param()];
    let lines: Vec<_> = request
        .products
        .iter()
        .zip(&request.quantities)
        .map(|(product, quantity)| [Param::Int(*product), Param::Int(*quantity)])
        .collect();
    let mut calls = Vec::with_capacity(lines.len() + 2);
    if request.key.is_some() {
        calls.push(Call(&TAKE_KEY, &keyed));
    }
    let place = calls.len();
    calls.push(match &request.key {
        Some(_) => Call(&PLACE_WITH_KEY, &keyed_place),
        None => Call(&PLACE, &unkeyed_place),
    });
    // Take stock last: others who want the same product then wait only briefly, not for the whole order.
    calls.extend(lines.iter().map(|line| Call(&TAKE_STOCK, line)));
    let error = match session.run_all(&calls).await {
        Ok(answers) => {
            return number(answers.get(place).unwrap_or(&Answer::default()), "order_id");
        }
        Err(error) => error,
    };
    match error.code() {
        UNIQUE_VIOLATION if request.key.is_some() => {
            let found = session.run(&FIND_KEY, &keyed).await?;
            match (found.int(0, "order_id"), found.int(0, "is_same")) {
                (Some(order), Some(1)) => Ok(order),
                (Some(_), _) => Err(OrderError::KeyReused {
                    key: request.key.clone().unwrap_or_default(),
                    user: request.user,
                }),
                // The key is gone: its transaction was rolled back.
                (None, _) => Err(OrderError::Server(error)),
            }
        }
        CHECK_VIOLATION | NOT_NULL_VIOLATION => {
            let short = session.run(&SHORTAGE, &[products, quantities]).await?;
            match (short.int(0, "product_id"), short.int(0, "available")) {
                (Some(product), None) => Err(OrderError::UnknownProduct(product)),
                (Some(product), Some(available)) => Err(OrderError::InsufficientInventory {
                    product,
                    wanted: short.int(0, "wanted").unwrap_or_default(),
                    available,
                }),
                (None, _) => Err(OrderError::Server(error)),
            }
        }
        _ => Err(request.refusal(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::orders::Line;

    fn request(lines: &[(i64, i64)], key: Option<&str>) -> Result<Request, OrderError> {
        Request::of(&Order {
            user: 7,
            lines: lines
                .iter()
                .map(|(product, quantity)| Line {
                    product: *product,
                    quantity: *quantity,
                })
                .collect(),
            request_key: key.map(str::to_owned),
        })
    }

    #[test]
    fn lines_are_merged_and_in_product_order() {
        let request = request(&[(17, 3), (4, 1), (17, 2)], Some("k")).unwrap();
        assert_eq!(request.products, [4, 17]);
        assert_eq!(request.quantities, [1, 5]);
    }

    #[test]
    fn what_nobody_can_order_is_not_sent() {
        let long = "x".repeat(201);
        for (lines, key) in [
            (&[][..], None),
            (&[(1, 0)], None),
            (&[(1, -1)], None),
            (&[(1, 1_000_001)], None),
            (&[(1, 600_000), (1, 600_000)], None),
            (&[(1, 1)], Some("")),
            (&[(1, 1)], Some(long.as_str())),
            (&[(1, 1)], Some("a\0b")),
        ] {
            assert_eq!(
                request(lines, key).unwrap_err().code(),
                "22023",
                "{lines:?} {key:?}"
            );
        }
    }
}
