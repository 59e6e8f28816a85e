//! `htap-top bench`.

use super::{FAILURE, Failure, USAGE, print};
use htap_top::bench::store::Store;
use htap_top::bench::{self, BenchError, EXPERIMENTS, report};
use htap_top::cli::Bench;
use htap_top::cluster::Wanted;
use std::fmt::Write as _;
use std::io::Write as _;

/// Runs experiments and reports.
pub fn bench(options: &Bench) -> Result<(), Failure> {
    if options.list {
        let lines = EXPERIMENTS.iter().map(|experiment| {
            format!(
                "{:<12} §{:<4} {}\n{:18} {}\n",
                experiment.name,
                experiment.section,
                experiment.about,
                "",
                experiment.variants.join(" | ")
            )
        });
        return print(lines.collect::<String>().as_bytes());
    }
    if options.report {
        let store = Store::read(&options.results).map_err(failed)?;
        let beside = options.beside.as_deref().map(Store::read);
        let beside = beside.transpose().map_err(failed)?;
        return show(&store, beside.as_ref(), &options.format);
    }
    let wanted = bench::Options {
        experiments: options.experiments.clone(),
        orders: (options.scale * 100_000.0).round() as u64,
        repeats: options.repeats,
        window: options.window,
        results: options.results.clone(),
        binaries: Wanted {
            bindir: options.pg_bindir.clone(),
            major: options.pg_major,
        },
    };
    // Clients run on all processors, like those of a real shop.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let store = runtime.block_on(async {
        let work = bench::run(&wanted, |doing| {
            let _ = writeln!(std::io::stderr(), "{doing}");
        });
        tokio::select! {
            done = work => done.map_err(failed).map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    })?;
    match store {
        Some(store) => show(&store, None, &options.format),
        None => Err(Failure::new(
            FAILURE,
            format!(
                "stopped; the results so far are in {}; run the same command to continue",
                options.results.display()
            ),
        )),
    }
}

fn failed(error: BenchError) -> Failure {
    let code = match &error {
        BenchError::Unknown(_) | BenchError::Results(_) => USAGE,
        _ => FAILURE,
    };
    Failure::new(code, error)
}

fn show(store: &Store, beside: Option<&Store>, format: &str) -> Result<(), Failure> {
    let text = match format {
        "json" => {
            let text = serde_json::to_string_pretty(store.runs());
            text.map_err(|error| Failure::new(FAILURE, error))? + "\n"
        }
        "markdown" => report::beside_claims(store, beside),
        _ => {
            let mut text = report::beside_claims(store, beside);
            for line in report::verdicts(store) {
                let _ = write!(text, "\n{line}");
            }
            text.push('\n');
            text.push_str(&report::figures(store));
            let doubtful = report::doubtful(store);
            if !doubtful.is_empty() {
                let all = doubtful.join(", ");
                let _ = writeln!(
                    text,
                    "
Not safe to judge, because other processes used the processors: {all}"
                );
            }
            text
        }
    };
    print(text.as_bytes())
}
