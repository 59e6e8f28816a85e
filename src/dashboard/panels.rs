//! The panels: their files, and the derivations of those that compute columns.

pub mod activity;
pub mod bloat;
pub mod classify;
pub mod locks;
pub mod own;
pub mod parts;
pub mod point_locks;
pub mod rates;
pub mod replication;
pub mod scans;
pub mod snapshots;
pub mod spec;
pub mod statements;
pub mod views;
pub mod waits;
pub mod wal;

use crate::config::Config;
use crate::keys::{Key, PanelKeys};
use crate::text;
use spec::Spec;

/// A built-in file: its name, and the statement for each major version from which it holds.
struct File {
    name: &'static str,
    /// Oldest supported version, with front matter.
    base: &'static str,
    /// Later versions, ascending.
    later: &'static [(i64, &'static str)],
}

macro_rules! file {
    ($name:literal $(, $major:literal)*) => {
        File {
            name: $name,
            base: include_str!(concat!("../../queries/", $name, ".sql")),
            later: &[$(($major, include_str!(concat!("../../queries/", $name, ".", $major, ".sql")))),*],
        }
    };
}

/// Panels in the order of the focus, then what only feeds others.
static FILES: &[File] = &[
    file!("hourly_sales"),
    file!("top_categories"),
    file!("rfm_segments"),
    file!("database", 14, 15, 17),
    file!("bloat"),
    file!("snapshots"),
    file!("views"),
    file!("activity", 14),
    file!("stock_alerts"),
    file!("active_users"),
    file!("locks", 14),
    file!("io", 18),
    file!("wal", 14, 17),
    file!("replication", 16, 17),
    file!("waits"),
    file!("statements"),
    file!("progress", 14, 17),
    file!("tables", 16),
    file!("indexes", 16),
    file!("vacuum", 18),
    file!("wraparound"),
    file!("databases", 14, 18),
    file!("settings"),
    file!("sessions"),
    file!("facts"),
    file!("extensions"),
    file!("needs"),
    file!("bloat_estimate"),
    file!("index_bloat_estimate"),
    file!("summaries"),
    file!("temp_files"),
    file!("point_locks"),
    file!("sequences"),
    file!("statement_totals"),
    file!("statement_kinds"),
    file!("backend_locks", 14),
    file!("backend_statement"),
    file!("backend_query"),
    file!("canary"),
    file!("canary_shop"),
];

/// Files that are no feed of the model: the point query runs on a session of its own.
const CANARIES: [&str; 2] = ["canary", "canary_shop"];
/// Feeds that no user looks at.
const INTERNAL: &[&str] = &[
    "sessions",
    "facts",
    "extensions",
    "statement_kinds",
    "needs",
    "bloat_estimate",
    "index_bloat_estimate",
    "summaries",
    "statement_totals",
    "temp_files",
    "point_locks",
    "sequences",
    "backend_locks",
    "backend_statement",
    "backend_query",
];
/// Digits that open panels.
const DIGITS: [(&str, u8); 8] = [
    ("hourly_sales", 1),
    ("top_categories", 2),
    ("rfm_segments", 3),
    ("database", 4),
    ("bloat", 5),
    ("snapshots", 6),
    ("views", 7),
    ("activity", 8),
];

/// Letters that open panels from the list of panels, in its order.
pub const LETTERS: &[(&str, char)] = &[
    ("locks", 'l'),
    ("waits", 'e'),
    ("statements", 's'),
    ("progress", 'n'),
    ("io", 'i'),
    ("wal", 'w'),
    ("replication", 'r'),
    ("tables", 't'),
    ("indexes", 'x'),
    ("vacuum", 'v'),
    ("wraparound", 'a'),
    ("databases", 'd'),
    ("settings", 'o'),
];

/// All built-in panels and feeds. A file that does not parse is left out here and fails a test.
pub fn built_in() -> Vec<Spec> {
    let feeds = FILES.iter().filter(|file| !CANARIES.contains(&file.name));
    feeds
        .filter_map(|file| Spec::parse(file.name, file.base).ok())
        .collect()
}

/// Returns the statement of a built-in file for a server of this major version; an unknown newer version gets
/// the newest one.
pub fn statement(name: &str, major: i64) -> Option<&'static str> {
    let file = FILES.iter().find(|file| file.name == name)?;
    let later = file
        .later
        .iter()
        .rev()
        .find(|(from, _)| *from <= major)
        .map(|(_, text)| *text);
    Some(without_front_matter(later.unwrap_or(file.base)))
}

/// The statement alone: comments would be sent and parsed with every sample.
fn without_front_matter(text: &str) -> &str {
    let front: usize = text
        .split_inclusive('\n')
        .take_while(|line| line.starts_with("--"))
        .map(str::len)
        .sum();
    text.get(front..).unwrap_or_default().trim()
}

/// Names of all built-in files, with the major versions of their variants.
pub fn variants() -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    FILES.iter().map(|file| {
        (
            file.name,
            file.later.iter().map(|(major, _)| *major).collect(),
        )
    })
}

/// The digit that opens the panel called `name`.
pub fn digit(name: &str) -> Option<u8> {
    DIGITS
        .iter()
        .find(|(panel, _)| *panel == name)
        .map(|(_, digit)| *digit)
}

/// Panels that the configuration names and nobody has, each as a complaint.
pub fn unknown(config: &Config, own: &[Spec]) -> Vec<String> {
    let built_in = built_in();
    let names: Vec<&str> = (built_in.iter().chain(own))
        .map(|spec| spec.name.as_str())
        .collect();
    let unknown = config
        .panels
        .keys()
        .filter(|name| !names.contains(&name.as_str()));
    let complaint = |name: &String| {
        let meant = text::nearest(name, &names);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        format!("configuration: unknown panel {name:?} in [panels]{meant}")
    };
    unknown.map(complaint).collect()
}

/// Returns the default keys of all visible panels.
pub fn keys(own: &[Spec]) -> Vec<PanelKeys> {
    let built_in = built_in()
        .into_iter()
        .filter(|spec| !is_internal(&spec.name));
    let names = built_in.map(|spec| spec.name);
    let names = names.chain(own.iter().map(|spec| spec.name.clone()));
    let keys = names.map(|name| PanelKeys {
        direct: digit(&name)
            .and_then(|digit| char::from_digit(u32::from(digit), 10))
            .map(Key::Char),
        listed: letter(&name).map(Key::Char),
        name,
    });
    keys.collect()
}

/// The letter that opens the panel called `name` from the list of panels.
pub fn letter(name: &str) -> Option<char> {
    LETTERS
        .iter()
        .find(|(panel, _)| *panel == name)
        .map(|(_, letter)| *letter)
}

/// Returns true if `name` only feeds other panels.
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Returns the page of a built-in panel as Markdown: its description, and the meaning of each of its figures.
pub fn page(name: &str) -> Option<String> {
    let spec = built_in()
        .into_iter()
        .find(|spec| spec.name == name && !is_internal(name))?;
    let paragraphs: Vec<String> = spec.paragraphs().collect();
    let figures = spec.order.iter().filter_map(|name| {
        let column = spec.column(name);
        let heading = column.heading(name);
        (!column.help.is_empty()).then(|| format!("| {heading} | {} |\n", column.help))
    });
    Some(format!(
        "# Panel {name}: {}\n\n{}\n\n| Figure | Meaning |\n| --- | --- |\n{}",
        spec.front.title,
        paragraphs.join("\n\n"),
        figures.collect::<String>()
    ))
}

/// The panels as Markdown, as they stand in docs/screen.md.
pub fn markdown() -> String {
    let shown = built_in()
        .into_iter()
        .filter(|spec| !is_internal(&spec.name));
    let rows = shown.map(|spec| {
        let key = match (digit(&spec.name), letter(&spec.name)) {
            (Some(digit), _) => digit.to_string(),
            (None, Some(letter)) => format!("p {letter}"),
            (None, None) => "9".to_owned(),
        };
        let pool = spec.front.pool.name();
        let interval = crate::format::seconds(spec.front.interval.as_secs_f64());
        format!(
            "| `{key}` | {} | `{}` | {pool} | {interval} |\n",
            spec.front.title, spec.name
        )
    });
    format!(
        "| Key | Panel | File | Pool | Interval |\n| --- | --- | --- | --- | --- |\n{}",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_list_the_panels() {
        let page = include_str!("../../docs/screen.md");
        let listed = page
            .split_once("<!-- panels -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- /panels -->"))
            .map(|(listed, _)| listed);
        assert_eq!(
            listed,
            Some(markdown().as_str()),
            "put the right side between the markers of docs/screen.md"
        );
    }

    #[test]
    fn every_built_in_file_parses() {
        for file in FILES {
            Spec::parse(file.name, file.base).unwrap();
        }
        assert_eq!(built_in().len(), FILES.len() - CANARIES.len());
    }

    #[test]
    fn the_newest_variant_not_above_the_server_is_chosen() {
        assert_ne!(statement("database", 13), statement("database", 14));
        assert_ne!(statement("database", 14), statement("database", 15));
        assert_eq!(statement("database", 15), statement("database", 16));
        assert_ne!(statement("database", 16), statement("database", 17));
        assert_eq!(statement("database", 17), statement("database", 99));
    }
}
