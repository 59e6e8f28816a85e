//! Measures the effect of a long snapshot on frequently updated tables.

use super::closed::closed;
use super::figures::Figures;
use super::{BenchError, Experiment, Lab, orders};
use crate::pg::{Client, Param, Settings, Statement};
use rand::RngExt;
use std::time::Duration;

const TAKE: Statement = Statement {
    name: "bench_take",
    types: &["bigint"],
    sql: "UPDATE shop.inventory SET quantity = quantity - 1 WHERE product_id = $1",
};

const TOUCH: Statement = Statement {
    name: "bench_touch",
    types: &["bigint"],
    sql: "UPDATE shop.orders SET updated_at = now() WHERE order_id = $1 AND created_at = shop.order_time($1)",
};

/// Length of the run in windows: the effect, dead rows that cannot be removed, grows with time.
const WINDOWS: u32 = 6;

/// Number of popular products that are updated repeatedly, together with recent orders.
const PRODUCTS: i64 = 2_000;

/// Rewrites the stock in the same way as a first load.
pub(super) async fn lay_down_stock(lab: &Lab) -> Result<(), BenchError> {
    for statement in [
        "ALTER TABLE shop.inventory SET (fillfactor = 60)",
        "VACUUM FULL shop.inventory",
        "ALTER TABLE shop.inventory SET (fillfactor = 90)",
    ] {
        lab.batch(statement).await?;
    }
    Ok(())
}

/// The experiment `snapshot`.
pub(super) const SNAPSHOT: Experiment = Experiment {
    name: "snapshot",
    about: "updates of stock and orders while a REPEATABLE READ snapshot is held",
    section: "2.1",
    variants: &["no snapshot", "snapshot held"],
    run: |lab, variant| Box::pin(snapshot(lab, variant)),
};

async fn snapshot(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    lay_down_stock(lab).await?;
    let table = lab
        .query("SELECT order_id FROM shop.orders ORDER BY created_at DESC LIMIT 5000")
        .await?;
    let ids: std::sync::Arc<[i64]> = table
        .rows
        .iter()
        .filter_map(|row| row.first()?.int())
        .collect();
    let holder = if variant == "snapshot held" {
        Some(hold(lab).await?)
    } else {
        None
    };
    let pool = orders::pool(lab, 16).await?;
    let counts =
        "SELECT n_tup_upd::float8 AS updated, n_tup_hot_upd::float8 AS hot FROM pg_stat_user_tables
                  WHERE relid = 'shop.inventory'::regclass";
    let before = lab.query(counts).await?;
    let wal = lab.wal_bytes().await?;
    let meter = lab.meter();
    let did = closed(16, lab.window * WINDOWS, move |_| {
        let (pool, ids) = (pool.clone(), std::sync::Arc::clone(&ids));
        async move {
            let (product, order) = {
                let mut rng = rand::rng();
                let at = rng.random_range(0..ids.len().max(1));
                let share: f64 = rng.random();
                (
                    1 + (share * share * PRODUCTS as f64) as i64,
                    ids.get(at).copied().unwrap_or(0),
                )
            };
            let Ok(client) = pool.get().await else {
                return false;
            };
            let taken = client.run(&TAKE, &[Param::Int(product)]).await;
            let touched = client.run(&TOUCH, &[Param::Int(order)]).await;
            taken.is_ok() && touched.is_ok()
        }
    })
    .await;
    let mut figures = did.figures("pairs_per_s");
    Lab::used(&mut figures, meter.stop());
    let wal = lab.wal_bytes().await? - wal;
    figures.insert(
        "wal_bytes_per_pair".into(),
        (wal / (did.done.max(1) as f64 * 1.1)).round(),
    );
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let now = lab.query(counts).await?;
    let change =
        |name| now.first(name).number().unwrap_or(0.0) - before.first(name).number().unwrap_or(0.0);
    figures.insert(
        "hot_percent".into(),
        100.0 * change("hot") / change("updated").max(1.0),
    );
    let size = lab
        .number("SELECT pg_relation_size('shop.inventory')::float8")
        .await?;
    figures.insert("inventory_bytes".into(), size);
    let dead = "SELECT n_dead_tup::float8 FROM pg_stat_user_tables WHERE relid = 'shop.inventory'::regclass";
    figures.insert("inventory_dead".into(), lab.number(dead).await?);
    drop(holder);
    Ok(figures)
}

/// Opens a session that holds a snapshot until it is dropped.
async fn hold(lab: &Lab) -> Result<Client, BenchError> {
    let doing = BenchError::doing;
    let client = Client::open(lab.target(), &Settings::of_work(Duration::ZERO))
        .await
        .map_err(doing("connect"))?;
    client
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.users")
        .await
        .map_err(doing("take a snapshot"))?;
    Ok(client)
}
