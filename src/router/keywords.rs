//! The case study's router, kept as the counter-example: it looks for words in the text.

use super::{Lane, Node, Pool};

/// What it takes for the mark of analytics.
pub const KEYWORDS: [&str; 5] = ["sum(", "avg(", "group by", "having", "count(*)"];

/// Where it sends a statement: analytics to the replica, all else to the primary.
pub fn route(sql: &str) -> Lane {
    let lower = sql.to_lowercase();
    if KEYWORDS.iter().any(|keyword| lower.contains(keyword)) {
        Lane {
            node: Node::Replica,
            pool: Pool::Olap,
        }
    } else {
        Lane {
            node: Node::Primary,
            pool: Pool::Oltp,
        }
    }
}
