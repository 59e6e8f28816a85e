//! Measures the cost of change capture for the shop.

use super::closed::{Shopper, closed};
use super::{BenchError, Experiment, Figures, Lab, orders};
use crate::system::orders::{Commit, Orders, Step, Strategy};
use std::sync::Arc;

const NOW: &str = "SELECT extract(epoch FROM clock_timestamp())::float8";

/// The experiment `capture`.
pub(super) const CAPTURE: Experiment = Experiment {
    name: "capture",
    about: "whole lives of orders, 16 clients in a closed loop, with and without changes logged",
    section: "2.2",
    variants: &["off", "on"],
    run: |lab, variant| Box::pin(capture(lab, variant)),
};

/// Measures whole order lives: created, paid, shipped, completed.
async fn capture(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let switch = if variant == "on" { "ENABLE" } else { "DISABLE" };
    switch_triggers(lab, switch).await?;
    // The number of full-page writes depends on the last checkpoint, not on the capture.
    full_page_writes(lab, "off").await?;
    let shopper = Shopper::of(lab, 0.5).await?;
    let pool = orders::pool(lab, 16).await?;
    let desk = Arc::new(Orders::new(pool, Strategy::Function));
    let begun = lab.number(NOW).await?;
    let wal = lab.wal_bytes().await?;
    let meter = lab.meter();
    // A small difference needs a long measurement.
    let did = closed(16, lab.window * 3, move |_| {
        let (desk, order) = (Arc::clone(&desk), shopper.order());
        async move {
            let commit = Commit::Asynchronous;
            let Ok(id) = desk.create(&order, commit).await else {
                return false;
            };
            for step in [Step::Pay, Step::Ship, Step::Complete] {
                if desk.step(id, step, commit).await.is_err() {
                    return false;
                }
            }
            true
        }
    })
    .await;
    let mut figures = did.figures("lives_per_s");
    let used = meter.stop();
    if let Some(used) = used {
        let lives = did.done.max(1) as f64 / did.seconds;
        figures.insert("server_cpu_us_per_life".into(), used.server * 1e6 / lives);
    }
    Lab::used(&mut figures, used);
    // Ten percent more work was done than measured.
    let lives = did.done.max(1) as f64 * 1.1;
    let wal = lab.wal_bytes().await? - wal;
    figures.insert("wal_bytes_per_life".into(), (wal / lives).round());
    full_page_writes(lab, "on").await?;
    switch_triggers(lab, "ENABLE").await?;
    if variant != "on" {
        // The triggers missed these changes: log them now.
        lab.batch(&format!(
            "INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign)
             SELECT order_id, user_id, completed_at, total_amount, 1 FROM shop.orders
             WHERE status = 3 AND completed_at >= to_timestamp({begun})"
        ))
        .await?;
    }
    Ok(figures)
}

async fn full_page_writes(lab: &Lab, switch: &str) -> Result<(), BenchError> {
    lab.batch(&format!("ALTER SYSTEM SET full_page_writes = {switch}"))
        .await?;
    lab.batch("SELECT pg_reload_conf()").await
}

async fn switch_triggers(lab: &Lab, switch: &str) -> Result<(), BenchError> {
    lab.batch(&format!(
        "DO $$ DECLARE t record; BEGIN
             FOR t IN SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger
                      WHERE tgname LIKE 'capture_%' AND NOT tgisinternal LOOP
                 EXECUTE format('ALTER TABLE %s {switch} TRIGGER %I', t.relation, t.tgname);
             END LOOP; END $$"
    ))
    .await
}
