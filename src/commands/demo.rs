//! The demo's engine without the dashboard.

use super::{FAILURE, Failure};
use htap_top::cli::Demo;
use htap_top::demo;

/// Runs the engine until it is stopped.
pub fn headless(demo: &Demo) -> Result<(), Failure> {
    let options = demo::Options {
        pg_bindir: demo.pg_bindir.clone(),
        pg_major: demo.pg_major,
        calm: demo.calm,
        listen: demo.listen,
        orders: demo.orders,
        seed: demo.seed,
        rate: demo.rate,
        lifeline: demo.lifeline,
    };
    // The load has its own threads, so that its bookkeeping does not delay it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        demo::run(options, &mut std::io::stdout())
            .await
            .map_err(|error| Failure::new(FAILURE, error))
    })
}
