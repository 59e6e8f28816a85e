//! Formats the results of the checks, for people and for programs.

use super::{Examination, Finding, Outcome, Severity, Status};
use crate::text::width;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Maximum width of a line, in columns.
const WIDTH: usize = 100;

/// Number of findings per check that are written; JSON has them all.
const SHOWN: usize = 8;

/// Formats all checks as one JSON object. Names never change; new ones may be added.
pub fn json(examination: &Examination) -> Value {
    let checks = examination.outcomes.iter().map(|outcome| {
        json!({
            "check": outcome.check,
            "title": outcome.title,
            "status": outcome.status(),
            "findings": outcome.findings,
            "reason": outcome.reason,
        })
    });
    let worst = match examination.worst() {
        Some(worst) => json!(worst),
        None => json!(Status::Ok),
    };
    json!({"checks": checks.collect::<Vec<_>>(), "worst": worst})
}

/// Describes the number of dangers and warnings.
pub fn counted(examination: &Examination) -> String {
    let findings = examination
        .outcomes
        .iter()
        .flat_map(|outcome| &outcome.findings);
    let number = |severity| {
        findings
            .clone()
            .filter(|found| found.severity == severity)
            .count()
    };
    let words =
        [(Severity::Danger, "danger"), (Severity::Warning, "warning")].map(|(severity, word)| {
            match number(severity) {
                0 => String::new(),
                1 => format!("1 {word}"),
                more => format!("{more} {word}s"),
            }
        });
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" and ")
}

/// Formats the findings, the worst first, then the checks without findings and those not run.
pub fn table(examination: &Examination) -> String {
    let mut text = String::new();
    for severity in [Severity::Danger, Severity::Warning, Severity::Info] {
        for outcome in &examination.outcomes {
            let of_severity = |found: &&Finding| found.severity == severity;
            let found: Vec<_> = outcome.findings.iter().filter(of_severity).collect();
            for finding in found.iter().take(SHOWN) {
                write_finding(&mut text, outcome, finding);
            }
            if let Some(more) = found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                let name = outcome.check;
                let _ = writeln!(
                    text,
                    "  {name}: {more} more of this kind; --format json lists them all"
                );
            }
        }
    }
    let clean: Vec<&str> = (examination.outcomes.iter())
        .filter(|outcome| outcome.status() == Status::Ok)
        .map(|outcome| outcome.check)
        .collect();
    if !text.is_empty() {
        text.push('\n');
    }
    let summary = if clean.is_empty() {
        format!("{} checks, none clean", examination.outcomes.len())
    } else {
        let sign = if examination.worst().is_none() {
            "✔ "
        } else {
            ""
        };
        let number = examination.outcomes.len();
        format!("{sign}{number} checks, clean: {}", clean.join(", "))
    };
    text.push_str(&wrapped(&summary, 0, 2));
    let unseen = examination.outcomes.iter().filter_map(|outcome| {
        let reason = outcome.reason.as_ref()?;
        let part = if outcome.findings.is_empty() {
            ""
        } else {
            ", in part"
        };
        Some(format!("{}{part} ({reason})", outcome.check))
    });
    let unseen: Vec<String> = unseen.collect();
    if !unseen.is_empty() {
        text.push_str(&wrapped(
            &format!("not checked: {}", unseen.join(", ")),
            0,
            2,
        ));
    }
    text
}

fn write_finding(text: &mut String, outcome: &Outcome, finding: &Finding) {
    let sign = match finding.severity {
        Severity::Danger => '✖',
        Severity::Warning => '▲',
        Severity::Info => '·',
    };
    let line = format!(
        "{sign} {}: {}: {}",
        outcome.check, finding.subject, finding.evidence
    );
    text.push_str(&wrapped(&line, 0, 4));
    if !finding.cure.is_empty() {
        text.push_str(&wrapped(finding.cure.as_str(), 6, 8));
    }
}

/// Wraps a text at blanks to fit [`WIDTH`], never within quotes, so that statements stay intact. A word without blanks
/// is not split.
fn wrapped(text: &str, first: usize, rest: usize) -> String {
    let mut out = " ".repeat(first);
    let (mut column, mut at_start) = (first, true);
    for word in words(text) {
        let wide = width(word);
        if !at_start && column + 1 + wide > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(rest));
            (column, at_start) = (rest, true);
        }
        if !at_start {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += wide;
        at_start = false;
    }
    out.push('\n');
    out
}

/// Splits a text at blanks, except within quotes that are closed again.
fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (' ', None) => {
                found.extend(text.get(start..at));
                start = at + 1;
            }
            ('"' | '\'', None) => {
                let opens = text
                    .get(..at)
                    .is_none_or(|before| !before.ends_with(char::is_alphanumeric));
                let closes = text.get(at + 1..).is_some_and(|rest| rest.contains(c));
                quote = (opens && closes).then_some(c);
            }
            (_, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    found.extend(text.get(start..));
    found.retain(|word| !word.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_but_not_within_quotes() {
        let long = format!(
            "ALTER ROLE \"a b\" SET x = '{}'; it's done",
            "y ".repeat(60)
        );
        let text = wrapped(&long, 2, 4);
        assert!(text.contains("\"a b\"") && text.contains(&"y ".repeat(60)));
        let joined: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(joined.join(" "), long);
        let plain = wrapped(&"word ".repeat(100), 2, 4);
        assert!(plain.lines().all(|line| width(line) <= WIDTH));
    }
}
