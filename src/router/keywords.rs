//! The case study's router, kept for comparison: it looks for keywords in the text.

use super::{Lane, Node, Pool};

/// The keywords that it takes for signs of analytics.
pub(crate) const KEYWORDS: [&str; 5] = ["sum(", "avg(", "group by", "having", "count(*)"];

/// Returns its decision: analytics to the replica, everything else to the primary.
pub(crate) fn route(sql: &str) -> Lane {
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
