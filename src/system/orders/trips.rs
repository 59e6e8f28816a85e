//! The naive order creation of the case study's section 4.1, kept for comparison.
//!
//! An order of three lines takes nine round trips, during which the first product stays locked. Lines are processed in
//! the order of the request, so two customers who order the same two products in opposite order deadlock. Prices are
//! those the client knows. Only the tables are those of this project.

use super::{Commit, Order, OrderError};
use crate::pg::{Client, Param, Pool, Statement};
use std::collections::HashMap;
use tokio::sync::OnceCell;

const INSERT_ORDER: Statement = Statement {
    name: "insert_order",
    types: &["bigint", "numeric"],
    sql: "INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
          SELECT n.id, shop.order_time(n.id), $1, $2 FROM (SELECT shop.new_order_id() AS id) AS n
          RETURNING order_id",
};

const INSERT_ITEM: Statement = Statement {
    name: "insert_item",
    types: &["bigint", "smallint", "bigint", "integer", "numeric"],
    sql: "INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
          VALUES ($1, shop.order_time($1), $2, $3, $4, $5)",
};

const TAKE_STOCK: Statement = Statement {
    name: "take_stock_if_enough",
    types: &["bigint", "bigint"],
    sql: "UPDATE shop.inventory SET quantity = quantity - $2 WHERE product_id = $1 AND quantity >= $2",
};

/// Prices in cents as the client knows them: read once and never updated.
#[derive(Debug, Default)]
pub(super) struct Prices(OnceCell<HashMap<i64, i64>>);

impl Prices {
    async fn known(&self, client: &Client) -> Result<&HashMap<i64, i64>, OrderError> {
        let read = async {
            let sql = "SELECT product_id, (price * 100)::bigint AS cents FROM shop.products";
            let table = client.query(sql, &[]).await?;
            let rows = (0..table.rows.len()).filter_map(|row| {
                let cell = |name| table.get(row, name).int();
                Some((cell("product_id")?, cell("cents")?))
            });
            Ok(rows.collect())
        };
        self.0.get_or_try_init(|| read).await
    }
}

pub(super) async fn create(
    pool: &Pool,
    prices: &Prices,
    order: &Order,
    commit: Commit,
) -> Result<i64, OrderError> {
    let client = pool.get().await?;
    let prices = prices.known(&client).await?;
    let setting = format!("SET LOCAL synchronous_commit = {}", commit.setting());
    client.begin(&setting).await?;
    match fill(&client, prices, order).await {
        Ok(id) => {
            client.commit().await?;
            Ok(id)
        }
        Err(error) => {
            // A lost session has no transaction to roll back.
            let _ = client.rollback().await;
            Err(error)
        }
    }
}

async fn fill(
    client: &Client,
    prices: &HashMap<i64, i64>,
    order: &Order,
) -> Result<i64, OrderError> {
    let price = |product: i64| {
        let known = prices.get(&product).copied();
        known.ok_or(OrderError::UnknownProduct(product))
    };
    let mut total = 0;
    for line in &order.lines {
        total += price(line.product)? * line.quantity;
    }
    let params = [Param::Int(order.user), Param::Text(&decimal(total))];
    let placed = client
        .run(&INSERT_ORDER, &params)
        .await
        .map_err(|error| super::refusal(error, order.user, None))?;
    let id = super::number(&placed, "order_id")?;
    for (line, number) in order.lines.iter().zip(1..) {
        let cents = decimal(price(line.product)?);
        let params = [
            Param::Int(id),
            Param::Int(number),
            Param::Int(line.product),
            Param::Int(line.quantity),
            Param::Text(&cents),
        ];
        client.run(&INSERT_ITEM, &params).await?;
        let params = [Param::Int(line.product), Param::Int(line.quantity)];
        if client.run(&TAKE_STOCK, &params).await?.rows == 0 {
            return Err(OrderError::InsufficientInventory {
                product: line.product,
                wanted: line.quantity,
                available: stock(client, line.product).await?,
            });
        }
    }
    Ok(id)
}

async fn stock(client: &Client, product: i64) -> Result<i64, OrderError> {
    let sql = "SELECT quantity FROM shop.inventory WHERE product_id = $1";
    let table = client.query(sql, &[Param::Int(product)]).await?;
    Ok(table.first("quantity").int().unwrap_or_default())
}

/// Formats cents as an amount.
fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
