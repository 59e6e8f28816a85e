//! `htap-top bench`: the case study's experiments as repeatable runs on a private server.
//!
//! Each experiment has variants. Each round runs all of them and starts with a different one, so that changes on the
//! machine affect all alike. Every run is saved when it ends: started again, the benchmark continues where it stopped.
//! Reports give medians and ranges, and say if other processes used so much of the machine that a verdict is not safe.

mod analytic;
mod capture;
mod claims;
mod closed;
mod columnar;
mod error;
mod figures;
mod hogs;
mod isolation;
mod lab;
mod meter;
mod mixed;
mod orders;
mod process;
mod refresh;
mod replica;
pub(crate) mod report;
mod router;
mod snapshot;
pub(crate) mod store;
mod stream;

pub(crate) use error::BenchError;

use figures::Figures;
use futures_util::future::BoxFuture;
use lab::Lab;
use std::path::PathBuf;
use std::time::Duration;
use store::{Conditions, Run, Store};
use tokio::time::Instant;

/// Options of a benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Names of experiments; if empty, all of them.
    pub experiments: Vec<String>,
    /// Number of orders in the history that is loaded first.
    pub orders: u64,
    /// Number of rounds.
    pub repeats: u32,
    /// Duration of each measurement.
    pub window: Duration,
    /// File of results.
    pub results: PathBuf,
    /// Folder of this program's state.
    pub state_folder: PathBuf,
    /// Location of PostgreSQL's programs.
    pub binaries: crate::cluster::Wanted,
}

/// Runs an experiment with one of its variants, and returns the figures.
type Measuring = for<'a> fn(&'a Lab, &'static str) -> BoxFuture<'a, Result<Figures, BenchError>>;

/// An experiment: its name, its question, the section of the case study it examines, and its variants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experiment {
    /// Name on the command line and in the results.
    pub name: &'static str,
    /// The question that it answers.
    pub about: &'static str,
    /// Section of the case study.
    pub section: &'static str,
    /// Names of the variants.
    pub variants: &'static [&'static str],
    /// Measures a variant.
    run: Measuring,
}

/// All experiments, in the order in which they are run.
pub(crate) const EXPERIMENTS: &[Experiment] = &[
    analytic::QUESTIONS,
    analytic::REWRITING,
    analytic::PARTITIONS,
    analytic::PARALLEL,
    analytic::BRIN,
    columnar::COLUMNAR,
    orders::ORDERS,
    orders::SKEW,
    capture::CAPTURE,
    refresh::REFRESH,
    refresh::FRESH,
    snapshot::SNAPSHOT,
    mixed::MIXED,
    mixed::FRONTIER,
    isolation::ISOLATION,
    replica::REPLICA,
    router::ROUTER,
    stream::STREAM,
];

/// Returns the experiments with these names; all of them if there are none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Experiment>, BenchError> {
    if names.is_empty() {
        return Ok(EXPERIMENTS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            EXPERIMENTS
                .iter()
                .find(|experiment| experiment.name == name)
                .ok_or_else(|| BenchError::Unknown(name.clone()))
        })
        .collect()
}

/// Runs the experiments that are missing in the file of results. Calls `tell` for each step.
pub(crate) async fn run(
    options: &Options,
    mut tell: impl FnMut(&str),
) -> Result<Store, BenchError> {
    let experiments = chosen(&options.experiments)?;
    let conditions = Conditions {
        orders: options.orders,
        window_s: options.window.as_secs_f64(),
    };
    let mut store = Store::open(&options.results, conditions)?;
    let missing: Vec<(&Experiment, u32, &'static str)> = experiments
        .iter()
        .flat_map(|experiment| rounds(experiment, options.repeats))
        .filter(|(experiment, repeat, variant)| !store.has(experiment.name, variant, *repeat))
        .collect();
    if missing.is_empty() {
        return Ok(store);
    }
    tell(&format!(
        "{} runs left, {} saved in {}",
        missing.len(),
        store.runs().len(),
        options.results.display()
    ));
    let lab = Lab::open(options, &mut tell).await?;
    let begun = Instant::now();
    for (number, (experiment, repeat, variant)) in missing.iter().enumerate() {
        let per_run = begun.elapsed().as_secs_f64() / number.max(1) as f64;
        let left = match number {
            0 => String::new(),
            _ => format!(
                ", about {} left",
                crate::format::seconds(per_run * (missing.len() - number) as f64)
            ),
        };
        tell(&format!(
            "{} of {}: {} · {variant} · round {}{left}",
            number + 1,
            missing.len(),
            experiment.name,
            repeat + 1
        ));
        let figures = match (experiment.run)(&lab, variant).await {
            Ok(figures) => figures,
            Err(BenchError::Unavailable(why)) => {
                tell(&format!("not measured: {why}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        store.add(Run {
            experiment: experiment.name.to_owned(),
            variant: (*variant).to_owned(),
            repeat: *repeat,
            at: lab.now().await?,
            server: lab.version().to_owned(),
            figures,
        })?;
    }
    lab.close().await?;
    Ok(store)
}

/// Returns the runs of an experiment: each round begins with another variant.
fn rounds(
    experiment: &'static Experiment,
    repeats: u32,
) -> impl Iterator<Item = (&'static Experiment, u32, &'static str)> {
    (0..repeats).flat_map(move |repeat| {
        let first = repeat as usize % experiment.variants.len().max(1);
        let (late, early) = experiment.variants.split_at(first);
        early
            .iter()
            .chain(late)
            .map(move |variant| (experiment, repeat, *variant))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_runs_every_variant_and_begins_with_another() {
        let experiment = &EXPERIMENTS[0];
        let order: Vec<_> = rounds(experiment, 3)
            .map(|(_, _, variant)| variant)
            .collect();
        assert_eq!(
            order,
            [
                "base", "mv", "rollup", "mv", "rollup", "base", "rollup", "base", "mv"
            ]
        );
    }

    #[test]
    fn an_unknown_experiment_is_named() {
        let error = chosen(&["nonesuch".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("nonesuch"));
        assert_eq!(chosen(&[]).unwrap().len(), EXPERIMENTS.len());
    }
}
