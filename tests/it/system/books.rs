//! Invariants of the shop, regardless of what was ordered, cancelled, killed or lost.

use super::{ask, number};
use htap_top::pg::Client;

/// The shop's books at one moment.
pub struct Books {
    stock: i64,
    last_order: i64,
}

impl Books {
    pub async fn open(client: &Client) -> Self {
        Self {
            stock: number(client, "SELECT sum(quantity) FROM shop.inventory").await,
            last_order: number(client, "SELECT max(order_id) FROM shop.orders").await,
        }
    }

    /// Checks everything since then, with `delivered` pieces delivered meanwhile; returns the number of
    /// orders created.
    pub async fn close(&self, client: &Client, delivered: i64) -> i64 {
        let new = format!("order_id > {}", self.last_order);
        let stock = number(client, "SELECT sum(quantity) FROM shop.inventory").await;
        let sold = format!(
            "SELECT coalesce(sum(i.quantity), 0) FROM shop.order_items AS i JOIN shop.orders AS o
             USING (order_id, created_at) WHERE status <> 4 AND o.{new}"
        );
        let sold = number(client, &sold).await;
        assert_eq!(
            self.stock + delivered,
            stock + sold,
            "stock was lost or sold twice"
        );
        let wrong = format!(
            "SELECT o.order_id FROM shop.orders AS o LEFT JOIN LATERAL (
                 SELECT sum(price * quantity) AS total, count(*) AS lines, max(line_no) AS last
                 FROM shop.order_items AS i WHERE i.order_id = o.order_id AND i.created_at = o.created_at) AS l ON true
             WHERE o.{new} AND ((total_amount, lines) IS DISTINCT FROM (total, last) OR lines = 0)"
        );
        assert!(
            ask(client, &wrong).await.rows.is_empty(),
            "an order is not the sum of its lines"
        );
        let strays = "SELECT count(*) FROM shop.order_requests AS r
                      WHERE NOT EXISTS (SELECT FROM shop.orders AS o WHERE o.order_id = r.order_id AND o.user_id = r.user_id)";
        assert_eq!(number(client, strays).await, 0, "a key without its order");
        number(
            client,
            &format!("SELECT count(*) FROM shop.orders WHERE {new}"),
        )
        .await
    }
}
