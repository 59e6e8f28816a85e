//! `htap-top doctor`: checks that the dashboard, the refresh and the shop have what they need.
//!
//! A check is an SQL file in `queries/doctor/`: a front matter ([`check`]), and a statement whose rows are findings.
//! Checks without SQL are in [`session`]. [`report`] formats the results for people and for programs.

pub mod check;
mod cure;
mod examine;
pub mod report;
pub mod session;

pub use examine::examine;

use crate::text::Clean;
use serde::Serialize;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A note: something shows less than it could.
    Info,
    /// A warning: it works now, but will cause trouble.
    Warning,
    /// A danger: data may be lost, or the server will stop working.
    Danger,
}

/// A finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// The role, setting or relation that it concerns.
    pub subject: Clean,
    /// The observation, with the figures it is based on.
    pub evidence: Clean,
    /// The remedy: a statement or command if there is one.
    pub cure: Clean,
}

/// Status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Checked, and found nothing.
    Ok,
    /// The worst finding is a note.
    Info,
    /// The worst finding is a warning.
    Warning,
    /// The worst finding is a danger.
    Danger,
    /// Found nothing, but could not check everything.
    NotChecked,
}

/// A check with its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the check, which is that of its file.
    pub check: &'static str,
    /// Its title.
    pub title: String,
    /// Its findings, the worst first.
    pub findings: Vec<Finding>,
    /// Reason why it was skipped or is incomplete.
    pub reason: Option<Clean>,
}

impl Outcome {
    /// Returns the status of the check.
    pub fn status(&self) -> Status {
        match self.findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Danger) => Status::Danger,
            Some(Severity::Warning) => Status::Warning,
            Some(Severity::Info) => Status::Info,
            None if self.reason.is_some() => Status::NotChecked,
            None => Status::Ok,
        }
    }
}

/// Results of all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// In the order of [`check::all`], then of [`session::CHECKS`].
    pub outcomes: Vec<Outcome>,
}

impl Examination {
    /// Returns the highest severity found; `None` if nothing was found.
    pub fn worst(&self) -> Option<Severity> {
        let findings = self.outcomes.iter().flat_map(|outcome| &outcome.findings);
        findings.map(|finding| finding.severity).max()
    }
}
