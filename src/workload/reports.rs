//! Reports: the case study's three questions, asked again and again by a business intelligence tool.

use super::{Load, Shared, count, next_arrival};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

const SESSIONS: u32 = 2;

/// Hourly sales of a day; sales per category of a week; customers by segment.
const REPORTS: [&str; 3] = [
    "SELECT hour::text, order_count, total_sales, total_sales / order_count AS avg_order_value
     FROM mart.sales_hourly_mv WHERE hour >= date_trunc('hour', now()) - interval '23 hours' ORDER BY hour",
    "SELECT category, sum(total_amount) AS total_sales, sum(total_quantity) AS total_quantity
     FROM mart.daily_sales_summary WHERE sale_date > (now() AT TIME ZONE 'UTC')::date - 7
     GROUP BY category ORDER BY total_sales DESC",
    "SELECT user_segment, count(*) AS user_count, sum(total_amount) / count(*) AS avg_ltv,
            sum(order_count)::float8 / count(*) AS avg_frequency
     FROM mart.user_behavior_mv WHERE last_order_at >= now() - interval '180 days' GROUP BY user_segment",
];

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared, load: Load) {
    for number in 0..SESSIONS {
        tasks.spawn(ask(shared.clone(), load, number));
    }
}

async fn ask(shared: Shared, load: Load, number: u32) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(load.seed.wrapping_add(u64::from(number)));
    let mut session = shared.session("htap_olap", "bi-report");
    loop {
        let wait = next_arrival(rng.random(), load.report_rate / f64::from(SESSIONS));
        tokio::time::sleep(wait).await;
        let report = REPORTS
            .get(rng.random_range(0..REPORTS.len()))
            .unwrap_or(&"SELECT 1");
        count(match session.query(report, &[]).await {
            Ok(_) => &shared.counters.reports,
            Err(_) => &shared.counters.errors,
        });
    }
}
