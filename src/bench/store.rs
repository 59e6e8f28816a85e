//! The file of results, with every run.

use super::BenchError;
use super::figures::{Figures, median};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Conditions common to all runs of a file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// Number of orders in the history.
    pub orders: u64,
    /// Duration of each measurement in seconds.
    pub window_s: f64,
}

/// A run and its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the variant.
    pub variant: String,
    /// Number of the round, from 0.
    pub repeat: u32,
    /// Time of the run's end, by the server's clock, in ISO 8601.
    pub at: String,
    /// server_version.
    pub server: String,
    /// Results; each name ends with the unit.
    pub figures: Figures,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    conditions: Conditions,
    runs: Vec<Run>,
}

/// The results, saved to disk after each run.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
}

impl Store {
    /// Opens or creates a file. Rejects a file with other conditions, because its runs are not comparable.
    pub(crate) fn open(path: &Path, conditions: Conditions) -> Result<Self, BenchError> {
        let file = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice::<File>(&text).map_err(|error| {
                BenchError::Results(format!(
                    "{} is not a results file: {error}. Name another one with --results",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => File {
                conditions,
                runs: Vec::new(),
            },
            Err(error) => {
                return Err(BenchError::Results(format!(
                    "failed to read {}: {error}",
                    path.display()
                )));
            }
        };
        if file.conditions != conditions {
            return Err(BenchError::Results(format!(
                "{} holds runs with {} orders and windows of {} s, which cannot be compared with {} orders and {} \
                 s. Name another file with --results, or remove it",
                path.display(),
                file.conditions.orders,
                file.conditions.window_s,
                conditions.orders,
                conditions.window_s
            )));
        }
        let store = Self {
            path: path.to_owned(),
            file,
        };
        // Detect an unwritable file now, not after the first hour.
        store.save()?;
        Ok(store)
    }

    /// Opens a file for reading only.
    pub(crate) fn read(path: &Path) -> Result<Self, BenchError> {
        let wrong = |error: &dyn std::fmt::Display| {
            BenchError::Results(format!("failed to read {}: {error}", path.display()))
        };
        let text = std::fs::read(path).map_err(|error| wrong(&error))?;
        Ok(Self {
            path: path.to_owned(),
            file: serde_json::from_slice(&text).map_err(|error| wrong(&error))?,
        })
    }

    /// Returns true if the file has this run.
    pub(crate) fn has(&self, experiment: &str, variant: &str, repeat: u32) -> bool {
        self.file.runs.iter().any(|run| {
            run.experiment == experiment && run.variant == variant && run.repeat == repeat
        })
    }

    /// Returns all runs, in the order in which they ended.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.file.runs
    }

    /// Returns the conditions of all runs.
    pub(crate) fn conditions(&self) -> Conditions {
        self.file.conditions
    }

    /// Returns a figure from all runs of a variant.
    pub(crate) fn figure(&self, experiment: &str, variant: &str, name: &str) -> Vec<f64> {
        self.file
            .runs
            .iter()
            .filter(|run| run.experiment == experiment && run.variant == variant)
            .filter_map(|run| run.figures.get(name).copied())
            .collect()
    }

    /// Returns the ratio of a figure between two variants: the median of the ratios of each round, because changes on
    /// the machine from round to round affect both alike.
    pub(crate) fn ratio(
        &self,
        experiment: &str,
        variant: &str,
        other: &str,
        name: &str,
    ) -> Option<f64> {
        let figure = |variant: &str, repeat: u32| {
            let mut runs = self.file.runs.iter();
            let run = runs.find(|run| {
                run.experiment == experiment && run.variant == variant && run.repeat == repeat
            })?;
            run.figures.get(name).copied()
        };
        let rounds = self.file.runs.iter().map(|run| run.repeat + 1).max()?;
        let ratios: Vec<f64> = (0..rounds)
            .filter_map(|round| Some((figure(variant, round)?, figure(other, round)?)))
            .filter(|(_, other)| *other != 0.0)
            .map(|(one, other)| one / other)
            .collect();
        median(&ratios)
    }

    /// Adds a run and saves the file.
    pub(crate) fn add(&mut self, run: Run) -> Result<(), BenchError> {
        self.file.runs.push(run);
        self.save()
    }

    /// Writes a temporary file beside it and renames that, so that the file is always complete.
    fn save(&self) -> Result<(), BenchError> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, &self.file)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| {
            BenchError::Results(format!("failed to write {}: {error}", self.path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::figures;

    const CONDITIONS: Conditions = Conditions {
        orders: 10,
        window_s: 1.0,
    };

    #[test]
    fn a_file_goes_on_where_it_stopped_and_refuses_other_conditions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut store = Store::open(&path, CONDITIONS).unwrap();
        let run = run("b", 1, figures([("x_ms", 2.5)]));
        store.add(run.clone()).unwrap();
        let again = Store::open(&path, CONDITIONS).unwrap();
        assert_eq!(again.runs(), [run]);
        assert!(again.has("a", "b", 1) && !again.has("a", "b", 2));
        assert_eq!(again.figure("a", "b", "x_ms"), [2.5]);
        let other = Conditions {
            orders: 11,
            ..CONDITIONS
        };
        let why = Store::open(&path, other).unwrap_err().to_string();
        assert!(why.contains("cannot be compared"), "{why}");
        std::fs::write(&path, "x").unwrap();
        let why = Store::open(&path, CONDITIONS).unwrap_err().to_string();
        assert!(why.contains("not a results file"), "{why}");
        let nowhere = Store::open(Path::new("/nonexistent/x.json"), CONDITIONS);
        assert!(nowhere.unwrap_err().to_string().contains("failed to"));
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("results.json"), CONDITIONS).unwrap();
        assert_eq!(store.ratio("a", "new", "old", "per_s"), None);
        // The machine is slower in each round; a round that lacks one of the two does not count.
        for (repeat, old, new) in [(0, 100.0, 200.0), (1, 10.0, 30.0), (2, 1.0, 4.0)] {
            for (variant, value) in [("old", old), ("new", new)] {
                let figures = figures([("per_s", value)]);
                store.add(run(variant, repeat, figures)).unwrap();
            }
        }
        let lone = figures([("per_s", 1e6)]);
        store.add(run("new", 3, lone)).unwrap();
        assert_eq!(store.ratio("a", "new", "old", "per_s"), Some(3.0));
    }

    fn run(variant: &str, repeat: u32, figures: Figures) -> Run {
        Run {
            experiment: "a".into(),
            variant: variant.into(),
            repeat,
            at: String::new(),
            server: String::new(),
            figures,
        }
    }
}
