//! The parts of a load: the rows of each table, loaded in one transaction together with the record of the part.

use super::rows::Rows;
use super::{Loaded, Way};
use crate::pg::{Client, PgError};
use crate::system::generate::{Order, World};
use std::ops::Range;

/// The rows of a part, by table; each table comes after those it refers to.
pub(super) struct Part {
    tables: Vec<(&'static str, Rows)>,
    /// Number of orders and order lines in the part.
    pub loaded: Loaded,
}

impl Part {
    /// Generates the rows that do not belong to an order: categories, products, stock and users.
    pub(super) fn dimensions(world: &World) -> Self {
        let mut categories = Rows::default();
        for (name, id) in world.categories().zip(1_u32..) {
            categories.plain(id).plain(name).end();
        }
        let (mut products, mut stock) = (Rows::default(), Rows::default());
        for (product, id) in world.products().iter().zip(1_u32..) {
            products.plain(id).plain(product.category);
            products.plain(&product.name).cents(product.cents).end();
            stock.plain(id).plain(product.quantity);
            stock.plain(product.reorder_point).end();
        }
        let mut users = Rows::default();
        for (user, id) in world.users().zip(1_u64..) {
            users.plain(id).plain(format_args!("user{id}"));
            users.plain(user.segment).time(user.registered_ms).end();
        }
        Self {
            tables: vec![
                ("shop.categories (category_id, category_name)", categories),
                (
                    "shop.products (product_id, category_id, product_name, price)",
                    products,
                ),
                (
                    "shop.inventory (product_id, quantity, reorder_point)",
                    stock,
                ),
                (
                    "shop.users (user_id, user_name, user_segment, registered_at)",
                    users,
                ),
            ],
            loaded: Loaded::default(),
        }
    }

    /// Generates the rows of a range of hours.
    pub(super) fn orders(world: &World, hours: Range<usize>) -> Self {
        let mut tables = OrderRows::default();
        for order in world.orders(hours) {
            tables.add(&order);
        }
        let OrderRows {
            orders,
            items,
            payments,
            shipments,
            logins,
        } = tables;
        Self {
            loaded: Loaded {
                orders: orders.count,
                items: items.count,
                rows: [&orders, &items, &payments, &shipments, &logins]
                    .iter()
                    .map(|rows| rows.count)
                    .sum(),
            },
            tables: vec![
                (
                    "shop.orders (order_id, user_id, status, total_amount, created_at, updated_at, completed_at)",
                    orders,
                ),
                (
                    "shop.order_items (order_id, created_at, line_no, product_id, quantity, price)",
                    items,
                ),
                (
                    "shop.payments (order_id, created_at, amount, method, paid_at)",
                    payments,
                ),
                (
                    "shop.shipments (order_id, created_at, carrier, shipped_at)",
                    shipments,
                ),
                ("shop.user_events (user_id, occurred_at)", logins),
            ],
        }
    }

    /// Loads the part, all or nothing, as number `number` of load `load_id`.
    pub(super) async fn load(
        &self,
        client: &Client,
        way: &Way,
        load_id: i64,
        number: usize,
    ) -> Result<(), PgError> {
        client.batch(&format!("BEGIN; {}", way.before)).await?;
        for (table, rows) in &self.tables {
            client
                .copy_in(&format!("COPY {table} FROM STDIN"), rows.bytes())
                .await?;
        }
        let Loaded { orders, items, .. } = self.loaded;
        client
            .batch(&format!(
                "INSERT INTO htap.load_part (load_id, part, orders, items)
                 VALUES ({load_id}, {number}, {orders}, {items}); {}; COMMIT",
                way.after
            ))
            .await
    }
}

#[derive(Default)]
struct OrderRows {
    orders: Rows,
    items: Rows,
    payments: Rows,
    shipments: Rows,
    logins: Rows,
}

impl OrderRows {
    fn add(&mut self, order: &Order) {
        self.orders.plain(order.id).plain(order.user);
        self.orders.plain(order.status).cents(order.cents());
        self.orders.time(order.created_ms).time(order.updated_ms);
        self.orders.time(order.completed_ms).end();
        for (line, number) in order.lines.iter().zip(1_u8..) {
            self.items.plain(order.id).time(order.created_ms);
            self.items.plain(number).plain(line.product);
            self.items.plain(line.quantity).cents(line.cents).end();
        }
        if let Some(paid_ms) = order.paid_ms {
            self.payments.plain(order.id).time(order.created_ms);
            self.payments.cents(order.cents()).plain(order.method);
            self.payments.time(paid_ms).end();
        }
        if let Some(shipped_ms) = order.shipped_ms {
            self.shipments.plain(order.id).time(order.created_ms);
            self.shipments.plain(order.carrier).time(shipped_ms).end();
        }
        if let Some(login_ms) = order.login_ms {
            self.logins.plain(order.user).time(login_ms).end();
        }
    }
}
