//! Errors of orders and their steps, translated from the server's SQLSTATEs.

use crate::pg::{PgError, PoolError};

/// Reason why nothing was done. Its text can follow "failed to …: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// The stock is smaller than the quantity ordered (SQLSTATE HT001).
    #[error("insufficient inventory of product {product}: {wanted} wanted, {available} in stock")]
    InsufficientInventory {
        /// The first product that is short.
        product: i64,
        /// Pieces ordered.
        wanted: i64,
        /// Pieces in stock.
        available: i64,
    },
    /// The catalogue has no such product.
    #[error("there is no product {0}")]
    UnknownProduct(i64),
    /// There is no such user.
    #[error("there is no user {0}")]
    UnknownUser(i64),
    /// The request key was used for an order with other lines (SQLSTATE HT002).
    #[error(
        "request key {key:?} of user {user} was used for another order; a new order needs a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// Id of the user.
        user: i64,
    },
    /// The order is invalid.
    #[error("{0}")]
    Invalid(String),
    /// There is no such order.
    #[error("there is no order {0}")]
    UnknownOrder(i64),
    /// The order's status does not allow this step, or the step was done before.
    #[error("{0}")]
    OutOfTurn(String),
    /// No session was available.
    #[error(transparent)]
    NoSession(#[from] PoolError),
    /// Any other error of the server or the connection.
    #[error(transparent)]
    Server(#[from] PgError),
}

/// check_violation: raised by a step that the status does not allow, and by stock below zero.
pub(super) const CHECK_VIOLATION: &str = "23514";

/// unique_violation
pub(super) const UNIQUE_VIOLATION: &str = "23505";

/// deadlock_detected
pub(super) const DEADLOCK: &str = "40P01";

impl OrderError {
    /// Returns the SQLSTATE, or a keyword if the server sent none.
    pub fn code(&self) -> &str {
        match self {
            Self::InsufficientInventory { .. } => "HT001",
            Self::KeyReused { .. } => "HT002",
            Self::UnknownProduct(_) | Self::UnknownUser(_) => "23503",
            Self::Invalid(_) => "22023",
            Self::UnknownOrder(_) => "unknown order",
            Self::OutOfTurn(_) => CHECK_VIOLATION,
            Self::NoSession(error) => error.kind(),
            Self::Server(error) => error.kind(),
        }
    }

    /// Returns true if a retry may succeed and cannot take effect twice. `repeatable`: the request may be sent again
    /// after its answer was lost.
    pub(super) fn may_pass(&self, repeatable: bool) -> bool {
        match self {
            Self::NoSession(PoolError::Connect(error)) => error.is_of_session(),
            Self::Server(error) => match error.code() {
                // Deadlock, serialization failure: rolled back. Unknown prepared statement, outdated plan: rejected
                // before it ran. Stock or key conflict: no longer there when checked.
                DEADLOCK | "40001" | "26000" | "0A000" | CHECK_VIOLATION | UNIQUE_VIOLATION => true,
                _ => repeatable && error.is_of_session(),
            },
            _ => false,
        }
    }

    /// Returns true if the session or the connection failed, not the request.
    pub fn is_of_session(&self) -> bool {
        match self {
            Self::NoSession(_) => true,
            Self::Server(error) => error.is_of_session(),
            _ => false,
        }
    }
}

/// Translates the server's error about an order of `user` with `key`.
pub(super) fn refusal(error: PgError, user: i64, key: Option<&str>) -> OrderError {
    let detail = error.detail.as_ref().map_or("", |detail| detail.as_str());
    let message = error.message.as_str();
    match error.code() {
        "HT001" => {
            let (Some(product), Some(wanted), Some(available)) = (
                field(detail, "product_id"),
                field(detail, "wanted"),
                field(detail, "available"),
            ) else {
                return OrderError::Server(error);
            };
            OrderError::InsufficientInventory {
                product,
                wanted,
                available,
            }
        }
        "HT002" => OrderError::KeyReused {
            key: key.unwrap_or_default().to_owned(),
            user,
        },
        "23503" => match message.strip_prefix("there is no product ").map(str::parse) {
            Some(Ok(product)) => OrderError::UnknownProduct(product),
            // The products were found before this: the failed reference is the one to the user.
            _ => OrderError::UnknownUser(user),
        },
        "22023" => OrderError::Invalid(message.to_owned()),
        _ => OrderError::Server(error),
    }
}

/// Returns the number after `name=` in a DETAIL of the shop's functions.
fn field(detail: &str, name: &str) -> Option<i64> {
    let mut words = detail.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str, message: &str, detail: &str) -> PgError {
        PgError {
            sqlstate: Some(code.into()),
            detail: Some(detail.into()),
            ..PgError::new(crate::pg::error::classify(code), message)
        }
    }

    #[test]
    fn the_server_s_refusals_become_the_shop_s() {
        let refused = |code, message, detail| refusal(server(code, message, detail), 7, Some("k"));
        assert_eq!(
            refused("HT001", "…", "product_id=17 wanted=3 available=1"),
            OrderError::InsufficientInventory {
                product: 17,
                wanted: 3,
                available: 1
            }
        );
        assert_eq!(
            refused("HT002", "…", "order_id=1").to_string(),
            "request key \"k\" of user 7 was used for another order; a new order needs a new key"
        );
        assert_eq!(
            refused("23503", "there is no product 98", ""),
            OrderError::UnknownProduct(98)
        );
        assert_eq!(
            refused("23503", "insert or update on table …", ""),
            OrderError::UnknownUser(7)
        );
        let strange = refused("HT001", "…", "product_id=x");
        assert_eq!(strange.code(), "HT001");
        assert!(matches!(strange, OrderError::Server(_)));
    }

    #[test]
    fn only_what_cannot_be_done_twice_is_tried_again() {
        let of = |code| OrderError::Server(server(code, "", ""));
        for code in ["40P01", "40001"] {
            assert!(of(code).may_pass(false), "{code}");
        }
        for code in ["08006", "57P01", "57P02"] {
            assert!(
                !of(code).may_pass(false) && of(code).may_pass(true),
                "{code}"
            );
        }
        for code in ["57014", "55P03", "23503", "42501"] {
            assert!(!of(code).may_pass(true), "{code}");
        }
        let full = PoolError::Connect(server("53300", "", ""));
        assert!(OrderError::NoSession(full).may_pass(false));
        let refused = PoolError::Connect(server("28P01", "", ""));
        assert!(!OrderError::NoSession(refused).may_pass(true));
    }
}
