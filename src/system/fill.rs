//! Loading a history by COPY, over two sessions.

use super::generate::{History, Order, history, order_id};
use crate::pg::{Client, Param, PgError, Target, sampler};
use chrono::{DateTime, Local};
use std::sync::Arc;

/// What to fill in.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Number of orders.
    pub orders: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// End of the history, in milliseconds since the epoch.
    pub end_ms: i64,
}

/// How many rows were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Orders.
    pub orders: u64,
    /// Order lines.
    pub items: u64,
}

type Fields = Vec<Option<String>>;

/// Rows sent between two calls of the progress callback.
const CHUNK: usize = 20_000;

/// Fills the empty schema of [`super::schema::create`]. `progress` is told the share that is done, from
/// 0 to 1, and what is being done.
pub async fn fill(
    target: &Target,
    fill: Fill,
    mut progress: impl FnMut(f64, &str),
) -> Result<Loaded, PgError> {
    progress(0.0, "making up orders");
    let data = Arc::new(generate(fill).await?);
    let ((first, unchecked), (second, _)) = (loader(target).await?, loader(target).await?);
    if let Some(oldest) = data.orders.first() {
        let months = "SELECT htap.make_months(to_timestamp($1))";
        let since = Param::Float((oldest.created_ms / 1000) as f64);
        first.query(months, &[since]).await?;
    }
    dimensions(&first, &data).await?;
    // Checked references need the orders to be there first.
    let (start, started) = tokio::sync::oneshot::channel::<()>();
    let start = (!unchecked).then_some(start);
    let lines = {
        let data = Arc::clone(&data);
        tokio::spawn(async move {
            let _ = started.await;
            load_items(&second, &data).await
        })
    };
    let mut orders = 0;
    for (chunk, at) in data.orders.chunks(CHUNK).zip(0_usize..) {
        progress(
            0.1 + 0.5 * orders as f64 / data.orders.len().max(1) as f64,
            "loading orders",
        );
        let rows = chunk.iter().zip(at * CHUNK..).map(order_fields);
        orders += first.copy_in(COPY_ORDERS, rows).await?;
    }
    drop(start);
    first.copy_in(COPY_EVENTS, logins(&data)).await?;
    progress(0.7, "loading order items");
    let items = lines
        .await
        .map_err(|e| PgError::new(crate::pg::Class::Statement, e.to_string()))??;
    progress(0.9, "analyzing");
    first.batch(FINISH).await?;
    progress(1.0, "loaded");
    Ok(Loaded { orders, items })
}

async fn generate(fill: Fill) -> Result<History, PgError> {
    let offset_s = DateTime::from_timestamp_millis(fill.end_ms).map_or(0, |end| {
        end.with_timezone(&Local).offset().local_minus_utc()
    });
    tokio::task::spawn_blocking(move || {
        history(fill.orders, fill.seed, fill.end_ms, offset_s.into())
    })
    .await
    .map_err(|e| PgError::new(crate::pg::Class::Statement, e.to_string()))
}

const COPY_ORDERS: &str = "COPY shop.orders (order_id, user_id, status, total_amount, created_at, updated_at, \
                           completed_at) FROM STDIN";
const COPY_ITEMS: &str =
    "COPY shop.order_items (order_id, created_at, line_no, product_id, quantity, price) FROM STDIN";
const COPY_EVENTS: &str = "COPY shop.user_events (user_id, occurred_at) FROM STDIN";

const FINISH: &str = "
    SELECT setval(pg_get_serial_sequence('shop.users', 'user_id'), (SELECT max(user_id) FROM shop.users));
    SELECT setval(pg_get_serial_sequence('shop.categories', 'category_id'),
                  (SELECT max(category_id) FROM shop.categories));
    SELECT setval(pg_get_serial_sequence('shop.products', 'product_id'),
                  (SELECT max(product_id) FROM shop.products));
    ANALYZE shop.users, shop.categories, shop.products, shop.inventory, shop.orders, shop.order_items,
            shop.user_events";

/// A session for loading. References are right by construction and not checked row by row where the
/// role may turn that off (a superuser); elsewhere (`false`) they are checked and
/// the load takes longer.
async fn loader(target: &Target) -> Result<(Client, bool), PgError> {
    let target = target.with_application_name("htap-top load");
    let client = sampler::connect(&target, "SET statement_timeout = 0").await?;
    match client.batch("SET session_replication_role = replica").await {
        Ok(()) => Ok((client, true)),
        Err(error) if error.session_survives() => Ok((client, false)),
        Err(error) => Err(error),
    }
}

async fn dimensions(client: &Client, data: &History) -> Result<(), PgError> {
    let categories = data
        .categories
        .iter()
        .zip(1_u64..)
        .map(|(name, id)| vec![id.field(), name.field()]);
    client
        .copy_in(
            "COPY shop.categories (category_id, category_name) FROM STDIN",
            categories,
        )
        .await?;
    let products = data.products.iter().zip(1_u64..).map(|(product, id)| {
        vec![
            id.field(),
            product.category.field(),
            product.name.field(),
            Cents(product.cents).field(),
        ]
    });
    client
        .copy_in(
            "COPY shop.products (product_id, category_id, product_name, price) FROM STDIN",
            products,
        )
        .await?;
    let stock = data.products.iter().zip(1_u64..).map(|(product, id)| {
        vec![
            id.field(),
            product.quantity.field(),
            product.reorder_point.field(),
        ]
    });
    client
        .copy_in(
            "COPY shop.inventory (product_id, quantity, reorder_point) FROM STDIN",
            stock,
        )
        .await?;
    let users = data
        .users
        .iter()
        .zip(1_u64..)
        .map(|((segment, registered_ms), id)| {
            vec![
                id.field(),
                Some(format!("user{id}")),
                segment.field(),
                time(*registered_ms),
            ]
        });
    client
        .copy_in(
            "COPY shop.users (user_id, user_name, user_segment, registered_at) FROM STDIN",
            users,
        )
        .await?;
    Ok(())
}

async fn load_items(client: &Client, data: &History) -> Result<u64, PgError> {
    let mut loaded = 0;
    for (chunk, at) in data.orders.chunks(CHUNK).zip(0_usize..) {
        let rows: Vec<Fields> = chunk
            .iter()
            .zip(at * CHUNK..)
            .flat_map(item_fields)
            .collect();
        loaded += client.copy_in(COPY_ITEMS, rows).await?;
    }
    Ok(loaded)
}

fn item_fields((order, at): (&Order, usize)) -> impl Iterator<Item = Fields> + '_ {
    let id = order_id(order.created_ms, 0, at as u64);
    order
        .lines
        .iter()
        .zip(1_u8..)
        .map(move |((product, quantity, cents), line)| {
            vec![
                id.field(),
                time(order.created_ms),
                line.field(),
                product.field(),
                quantity.field(),
                Cents(*cents).field(),
            ]
        })
}

fn order_fields((order, at): (&Order, usize)) -> Fields {
    let id = order_id(order.created_ms, 0, at as u64);
    let total: i64 = order.lines.iter().map(|(_, q, cents)| q * cents).sum();
    let updated = time(order.updated_ms);
    vec![
        id.field(),
        order.user.field(),
        order.status.field(),
        Cents(total).field(),
        time(order.created_ms),
        updated.clone(),
        updated.filter(|_| order.status == 3),
    ]
}

fn logins(data: &History) -> impl Iterator<Item = Fields> + '_ {
    data.logins
        .iter()
        .map(|(user, at_ms)| vec![user.field(), time(*at_ms)])
}

/// A field of COPY's text format.
trait Field {
    fn field(&self) -> Option<String>;
}

impl<T: std::fmt::Display + ?Sized> Field for T {
    fn field(&self) -> Option<String> {
        Some(self.to_string())
    }
}

struct Cents(i64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

fn time(ms: i64) -> Option<String> {
    let at = DateTime::from_timestamp_millis(ms)?;
    Some(at.format("%Y-%m-%d %H:%M:%S%.3f+00").to_string())
}
