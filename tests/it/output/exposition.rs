//! A strict parser of Prometheus' text exposition format, version 0.0.4, written from its specification.

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$").unwrap());
static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[a-zA-Z_][a-zA-Z0-9_]*$").unwrap());

type Labels = BTreeMap<String, String>;

/// Metrics with their types and samples.
#[derive(Debug, Default)]
pub struct Exposition {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Exposition {
    /// Parses a text; panics if it deviates from the specification.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.contains('\r'), "{text}");
        let mut told = Self::default();
        let mut helps = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    !help.trim().is_empty() && helps.insert(name.to_owned()),
                    "{line}"
                );
                assert!(NAME.is_match(name) && !help.contains('\u{1b}'), "{line}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    name == current && matches!(kind, "gauge" | "counter"),
                    "{line}"
                );
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let before = told.kinds.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{line}");
            } else {
                let (name, labels, value) = sample(line);
                // The samples of a metric are adjacent, after its type.
                assert!(name == current && told.kinds.contains_key(&name), "{line}");
                assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
                told.samples.push((name, labels, value));
            }
        }
        assert!(told.kinds.keys().all(|name| helps.contains(name)));
        told
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut samples = self.samples.iter();
        let found = samples.find(|(other, labels, _)| other == name && *labels == wanted);
        found.map(|sample| sample.2)
    }

    pub fn kind(&self, name: &str) -> &str {
        self.kinds.get(name).map_or("", String::as_str)
    }

    /// Checks that no label has unbounded values: process ids, statements, application names.
    pub fn assert_bounded(&self) {
        let labels = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        for label in labels {
            let bounded = [
                "gauge", "rule", "panel", "class", "kind", "role", "datname", "relation", "view",
                "what", "sqlstate",
            ];
            assert!(bounded.contains(&label.as_str()), "{label}");
        }
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(NAME.is_match(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").unwrap();
            assert!(LABEL.is_match(label) && !label.starts_with("__"), "{line}");
            let (value, behind) = value(behind, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let number = rest.strip_prefix(' ').unwrap();
    (name.to_owned(), labels, number.parse().unwrap())
}

/// Returns an escaped value up to its closing quote, and the text after it.
fn value<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return (value, &text[position + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                other => panic!("\\{other:?} in {line}"),
            },
            c => {
                assert!(!c.is_control(), "{line}");
                value.push(c);
            }
        }
    }
    panic!("no closing quote: {line}");
}
