//! `htap-top doctor`: what the dashboard, the refresh and the shop need, and what is missing.
//!
//! A check is one SQL file in `queries/doctor/`: a front matter ([`check`]), and a statement whose rows are
//! findings. What is no SQL is in [`session`]. [`report`] writes it for people and for programs.

pub mod check;
mod cure;
mod examine;
pub mod report;
pub mod session;

pub use examine::examine;

use crate::text::Clean;
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; something shows less than it could.
    Info,
    /// It works, and will hurt.
    Warning,
    /// Data may be lost, or the server will come to a halt.
    Danger,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a role, a setting, a relation.
    pub subject: Clean,
    /// What is so, with the figures it rests on.
    pub evidence: Clean,
    /// What mends it: a statement or command where there is one.
    pub cure: Clean,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Checked, and nothing found.
    Ok,
    /// The worst finding is a note.
    Info,
    /// The worst finding is a warning.
    Warning,
    /// The worst finding is a danger.
    Danger,
    /// Nothing found, but not all could be looked at.
    NotChecked,
}

/// A check with its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the check, which is that of its file.
    pub check: &'static str,
    /// Its title.
    pub title: String,
    /// What it found, the worst first.
    pub findings: Vec<Finding>,
    /// Why it was not made, or of what it saw a part only.
    pub reason: Option<Clean>,
}

impl Outcome {
    /// How the check ended.
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

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// In the order of [`check::all`], then of [`session::CHECKS`].
    pub outcomes: Vec<Outcome>,
}

impl Examination {
    /// The worst that was found; `None` where nothing was.
    pub fn worst(&self) -> Option<Severity> {
        let findings = self.outcomes.iter().flat_map(|outcome| &outcome.findings);
        findings.map(|finding| finding.severity).max()
    }
}
