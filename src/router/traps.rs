//! Sixteen statements for a shop, with their right destinations. A keyword router sends fourteen of them to the wrong
//! one, and six of these would harm data or other sessions.

use super::{Decision, Lane, Node, Pool, Rule, keywords};

/// A statement and its right destination, in a shop that has orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The statement, for the schema of `htap-top init`.
    pub sql: &'static str,
    /// The right destination.
    pub right: Lane,
    /// Description of the trap.
    pub why: &'static str,
}

const WRITE: Lane = Lane {
    node: Node::Primary,
    pool: Pool::Oltp,
};
const POINT: Lane = Lane {
    node: Node::Replica,
    pool: Pool::Oltp,
};
const REPORT: Lane = Lane {
    node: Node::Replica,
    pool: Pool::Olap,
};

/// The sixteen statements.
pub const TRAPS: [Trap; 16] = [
    Trap {
        sql: "INSERT INTO shop.user_events (user_id) SELECT user_id FROM shop.orders GROUP BY user_id HAVING sum(total_amount) > 1000",
        right: WRITE,
        why: "a write that aggregates",
    },
    Trap {
        sql: "UPDATE shop.products SET price = (SELECT avg(price) FROM shop.products) WHERE product_id = 1",
        right: WRITE,
        why: "a write with an aggregate in a subquery",
    },
    Trap {
        sql: "WITH old AS (DELETE FROM shop.user_events WHERE occurred_at < now() - interval '1 year' RETURNING user_id) SELECT count(*) FROM old",
        right: WRITE,
        why: "a SELECT that also deletes",
    },
    Trap {
        sql: "SELECT sum(shop.log_in(user_id)) FROM shop.users WHERE user_id <= 3",
        right: WRITE,
        why: "a function that writes, inside an aggregate",
    },
    Trap {
        sql: "EXPLAIN ANALYZE DELETE FROM shop.user_events WHERE user_id IN (SELECT user_id FROM shop.orders GROUP BY user_id)",
        right: WRITE,
        why: "EXPLAIN ANALYZE runs what it explains",
    },
    Trap {
        sql: "SELECT product_id, quantity FROM shop.inventory WHERE product_id IN (SELECT product_id FROM shop.order_items GROUP BY product_id) FOR UPDATE",
        right: WRITE,
        why: "row locks under an aggregate",
    },
    Trap {
        sql: "SELECT DISTINCT user_id FROM shop.orders WHERE status = 3",
        right: REPORT,
        why: "DISTINCT aggregates without a keyword",
    },
    Trap {
        sql: "SELECT max(total_amount) FROM shop.orders",
        right: REPORT,
        why: "an aggregate that is not on the list",
    },
    Trap {
        sql: "SELECT sum (quantity) FROM shop.order_items",
        right: REPORT,
        why: "a blank before the parenthesis",
    },
    Trap {
        sql: "SELECT order_id, row_number() OVER (ORDER BY total_amount DESC) FROM shop.orders",
        right: REPORT,
        why: "a window over the whole table",
    },
    Trap {
        sql: "SELECT u.user_name, o.order_id, i.product_id FROM shop.users AS u JOIN shop.orders AS o USING (user_id) JOIN shop.order_items AS i USING (order_id)",
        right: REPORT,
        why: "a big join without any aggregate",
    },
    Trap {
        sql: "SELECT user_name FROM shop.users WHERE user_id = 7 AND user_segment <> 'group by'",
        right: POINT,
        why: "the keywords are in a literal",
    },
    Trap {
        sql: "SELECT user_name FROM shop.users WHERE user_id = 7 -- once a count(*)",
        right: POINT,
        why: "the keywords are in a comment",
    },
    Trap {
        sql: "SELECT count(*) FROM shop.users WHERE user_id = 7",
        right: POINT,
        why: "an aggregate of one row by its primary key",
    },
    Trap {
        sql: "SELECT nextval(pg_get_serial_sequence('shop.users', 'user_id'))",
        right: WRITE,
        why: "a SELECT that writes a sequence",
    },
    Trap {
        sql: "SELECT status, sum(total_amount) FROM shop.orders GROUP BY status",
        right: REPORT,
        why: "a report that keywords get right",
    },
];

impl Trap {
    /// Returns true if a decision is right. If the planner finds a report cheap because the shop is small, the OLTP
    /// pool is right, too.
    pub fn is_right(&self, decision: &Decision) -> bool {
        let cheap = self.right.pool == Pool::Olap
            && decision.rule == Rule::Read
            && decision.cost.is_some_and(|cost| cost < decision.olap_cost);
        decision.node == self.right.node && (decision.pool == self.right.pool || cheap)
    }

    /// Returns the decision of the case study's router.
    pub fn by_keywords(&self) -> Lane {
        keywords::route(self.sql)
    }

    /// Returns true if the case study's router is wrong.
    pub fn misleads_keywords(&self) -> bool {
        self.by_keywords() != self.right
    }

    /// Returns true if the case study's router sends a write, a side effect or a row lock to the replica.
    pub fn endangers(&self) -> bool {
        self.by_keywords().node == Node::Replica && self.right.node == Node::Primary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_err_on_fourteen_and_harm_by_six() {
        assert_eq!(
            TRAPS.iter().filter(|trap| trap.misleads_keywords()).count(),
            14
        );
        assert_eq!(TRAPS.iter().filter(|trap| trap.endangers()).count(), 6);
    }
}
