//! The panels: their files, and the derivations of those that compute columns.

pub mod activity;
pub mod bloat;
pub mod classify;
pub(crate) mod host;
pub mod locks;
pub(crate) mod nodes;
pub mod own;
pub(crate) mod parts;
pub(crate) mod point_locks;
pub(crate) mod pooler;
pub(crate) mod rates;
pub mod replication;
pub mod scans;
pub mod snapshots;
pub mod spec;
pub mod statements;
pub(crate) mod times;
pub mod views;
pub mod waits;
pub mod wal;

use crate::config::{Config, PanelPool};
use crate::embedded;
use crate::keys::{Key, PanelKeys};
use crate::sqlfile::File;
use crate::text;
use spec::{Pool, Spec};
use std::sync::{Arc, LazyLock};

/// Digits that open panels; 9 opens the page of the others, 0 the Overview.
const DIGITS: std::ops::RangeInclusive<u8> = 1..=8;
/// Letters with a meaning of their own in the list of panels: move in it, leave it, or quit.
pub const TAKEN_LETTERS: [char; 5] = ['g', 'j', 'k', 'p', 'q'];

/// The files of `queries/`.
static FILES: LazyLock<Result<Vec<File<'static>>, String>> =
    LazyLock::new(|| File::sort(embedded::PANELS).map_err(|why| format!("queries/{why}")));

/// Their contents, in the order of [`read`].
static SPECS: LazyLock<Result<Vec<Arc<Spec>>, String>> = LazyLock::new(|| read(files()?));

fn files() -> Result<&'static [File<'static>], String> {
    FILES.as_deref().map_err(Clone::clone)
}

/// Reads built-in panels: those that are shown, by their `order`, then what only feeds others, then point queries. An
/// error names the file.
pub fn read(files: &[File<'_>]) -> Result<Vec<Arc<Spec>>, String> {
    let specs = files.iter().map(|file| Spec::of_file(file).map(Arc::new));
    let specs: Result<Vec<_>, _> = specs.collect();
    let mut specs = specs.map_err(|why| format!("queries/{why}"))?;
    let there: Vec<_> = specs
        .iter()
        .filter_map(|spec| on_olap_server(spec))
        .collect();
    specs.extend(there);
    for spec in &specs {
        check(spec, &specs).map_err(|why| format!("queries/{}.sql: {why}", spec.name))?;
    }
    specs.sort_by(|a, b| {
        let place = |spec: &Spec| (spec.front.sampling.point_query, spec.front.internal);
        let order = |spec: &Spec| spec.front.order.unwrap_or_default();
        let one = (place(a), order(a), &a.name);
        one.cmp(&(place(b), order(b), &b.name))
    });
    Ok(specs)
}

/// Returns the feed that runs a panel's statement on the OLAP pool's own server, if the panel has one.
fn on_olap_server(spec: &Spec) -> Option<Arc<Spec>> {
    let mut there = spec.clone();
    let front = &mut there.front;
    there.name = front.sampling.on_olap_server.take()?;
    there.columnar = None;
    front.pool = Pool::Replica;
    front.internal = true;
    front.only_shown = true;
    (front.order, front.digit, front.letter) = (None, None, None);
    front.opens = None;
    front.sampling.rests_on.clear();
    Some(Arc::new(there))
}

/// Returns the fault of a built-in panel among `all`, if it has one.
fn check(spec: &Spec, all: &[Arc<Spec>]) -> Result<(), String> {
    let front = &spec.front;
    let other = |same: &dyn Fn(&Spec) -> bool| {
        let found = all
            .iter()
            .find(|other| other.name != spec.name && same(other));
        found.map(|other| format!("{}.sql", other.name))
    };
    if front.internal {
        let shown = front.order.is_some() || front.digit.is_some() || front.letter.is_some();
        return if shown {
            Err("order, digit and letter are for panels that are shown; internal is not".into())
        } else {
            Ok(())
        };
    }
    if front.order.is_none() {
        return Err(
            "order is missing: a number between those of the panels before and after it; or internal = true".into(),
        );
    }
    if let Some(other) = other(&|other| other.front.order == front.order) {
        return Err(format!("order is that of {other}"));
    }
    if let Some(digit) = front.digit {
        if !DIGITS.contains(&digit) {
            return Err(format!("digit {digit} is not one of 1 to 8"));
        }
        if let Some(other) = other(&|other| other.front.digit == front.digit) {
            return Err(format!("digit {digit} opens {other} already"));
        }
    }
    if let Some(letter) = front.letter {
        if !letter.is_ascii_lowercase() || TAKEN_LETTERS.contains(&letter) {
            let taken = TAKEN_LETTERS.map(String::from).join(", ");
            return Err(format!(
                "letter {letter:?} cannot open a panel: take one of a to z but {taken}, which move in the list of panels \
                 or leave it"
            ));
        }
        if let Some(other) = other(&|other| other.front.letter == front.letter) {
            return Err(format!("letter {letter:?} opens {other} already"));
        }
    }
    let unknown = front.sampling.rests_on.iter();
    let mut unknown = unknown.filter(|name| !all.iter().any(|spec| spec.name == **name));
    match unknown.next() {
        Some(name) => Err(format!("sampling.rests_on: there is no {name}.sql")),
        None => Ok(()),
    }
}

/// All built-in panels and feeds. A file that is wrong is an error that names it.
pub fn built_in() -> Result<&'static [Arc<Spec>], String> {
    let specs = SPECS.as_deref().map_err(Clone::clone)?;
    let feeds = specs.partition_point(|spec| !spec.front.sampling.point_query);
    Ok(specs.get(..feeds).unwrap_or_default())
}

/// Returns a built-in panel as the configuration wants it asked: in its own pool, or in the column store.
pub fn of_pool(spec: &Arc<Spec>, config: &Config) -> Arc<Spec> {
    let panel = config.panels.get(&spec.name);
    let moved = panel.is_some_and(|panel| panel.pool == Some(PanelPool::Columnar));
    let moved = moved.then(|| spec.in_column_store()).flatten();
    moved.map_or_else(|| Arc::clone(spec), Arc::new)
}

/// Returns the statement of a built-in file for a server of this major version; an unknown newer version gets
/// the newest one.
pub fn statement(name: &str, major: i64) -> Option<&'static str> {
    let specs = SPECS.as_deref().unwrap_or_default();
    let spec = specs.iter().find(|spec| spec.name == name)?;
    Some(spec.statement(major))
}

/// Names of all built-in panels and feeds, with the major versions of their variants.
pub fn variants() -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    let specs = SPECS.as_deref().unwrap_or_default();
    specs.iter().map(|spec| {
        let majors = spec.later.iter().map(|(major, _)| *major).collect();
        (spec.name.as_str(), majors)
    })
}

/// Returns an error message for each panel that the configuration names but nobody defines, and for each column that a
/// built-in panel lacks.
pub fn unknown(config: &Config, built_in: &[Arc<Spec>], own: &[Spec]) -> Vec<String> {
    let specs: Vec<&Spec> = built_in.iter().map(Arc::as_ref).chain(own).collect();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let (mut complaints, mut refused) = (Vec::new(), Vec::new());
    let mut complain = |kind: &str, name: &str, place: &str, known: &[&str]| {
        let meant = text::nearest(name, known);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        complaints.push(format!(
            "configuration: unknown {kind} {name:?} in [{place}]{meant}"
        ));
    };
    for (name, panel) in &config.panels {
        let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
            complain("panel", name, "panels", &names);
            continue;
        };
        if panel.pool.is_some() && spec.columnar.is_none() {
            refused.push(not_moved(name, &specs, own));
        }
        // A panel of one's own need not describe its columns.
        let is_own = own.iter().any(|own| own.name == *name);
        let columns: Vec<&str> = spec.order.iter().map(String::as_str).collect();
        let sort = panel.sort.strip_prefix('-').unwrap_or(&panel.sort);
        let sort = Some(sort).filter(|sort| !sort.is_empty());
        let wanted = panel.columns.iter().chain(&panel.hide).map(String::as_str);
        for column in wanted.chain(sort) {
            if !is_own && !columns.contains(&column) {
                complain("column", column, &format!("panels.{name}"), &columns);
            }
        }
    }
    complaints.extend(refused);
    complaints
}

/// Returns the error message for a panel that the configuration wants asked in the column store, which it cannot be.
fn not_moved(name: &str, specs: &[&Spec], own: &[Spec]) -> String {
    let place = format!("configuration: pool in [panels.{name}]");
    if own.iter().any(|own| own.name == name) {
        return format!("{place}: a panel of your own names its pool in its file");
    }
    let known = specs.iter().filter(|spec| spec.columnar.is_some());
    let known: Vec<&str> = known.map(|spec| spec.name.as_str()).collect();
    let known = known.join(", ");
    format!("{place}: it has no statement for the column store; these panels have one: {known}")
}

/// Returns the default keys of all visible panels.
pub fn keys(built_in: &[Arc<Spec>], own: &[Spec]) -> Vec<PanelKeys> {
    let built_in = built_in.iter().map(Arc::as_ref);
    let shown = built_in.filter(|spec| !spec.front.internal).chain(own);
    let keys = shown.map(|spec| PanelKeys {
        name: spec.name.clone(),
        direct: spec.front.direct_key(),
        listed: spec.front.letter.map(Key::Char),
    });
    keys.collect()
}

/// Returns the page of a built-in panel as Markdown: its description, and the meaning of each of its figures.
pub fn page(name: &str) -> Option<String> {
    let mut shown = built_in().ok()?.iter().filter(|spec| !spec.front.internal);
    let spec = shown.find(|spec| spec.name == name)?;
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

/// Returns the table of panels in docs/screen.md, as Markdown.
pub fn markdown(panels: &[Arc<Spec>]) -> String {
    let shown = panels.iter().filter(|spec| !spec.front.internal);
    let rows = shown.map(|spec| {
        let key = match (spec.front.direct_key(), spec.front.letter) {
            (Some(key), _) => key.shown(),
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

    const FRONT: &str =
        "-- title = \"x\"\n-- pool = \"oltp\"\n-- interval = \"1s\"\n-- about = \"x\"\n";

    /// Returns the error for a built-in file of this front matter beside the existing ones.
    fn refused(front: &str) -> String {
        let text = format!("{FRONT}{front}SELECT 1 AS x");
        let mut files = files().unwrap().to_vec();
        files.push(File {
            name: "mine",
            base: &text,
            later: Vec::new(),
            columnar: None,
        });
        read(&files).err().unwrap_or_default()
    }

    #[test]
    fn the_configuration_names_panels_and_columns_that_exist() {
        let text = "[panels.bloat]\ncolumns = [\"relation\", \"ndead\"]\nhide = [\"held_by\"]\nsort = \"-dead_pct\"\n\
                    [panels.bloatt]\noff = true\n[panels.locks]\npool = \"columnar\"\n\
                    [panels.rfm_segments]\npool = \"columnar\"\n";
        let config = Config::parse(std::path::Path::new("config.toml"), text).unwrap();
        let told = unknown(&config, built_in().unwrap(), &[]);
        assert_eq!(
            told,
            [
                "configuration: unknown column \"ndead\" in [panels.bloat]; did you mean n_dead?",
                "configuration: unknown panel \"bloatt\" in [panels]; did you mean bloat?",
                "configuration: pool in [panels.locks]: it has no statement for the column store; these panels have one: \
                 hourly_sales, top_categories, rfm_segments",
            ]
        );
    }

    #[test]
    fn a_built_in_panel_has_a_place_and_a_key_of_its_own() {
        assert_eq!(refused("-- order = 115\n-- letter = \"z\"\n"), "");
        assert_eq!(refused("-- internal = true\n"), "");
        for (front, why) in [
            ("", "order is missing"),
            ("-- order = 1\n-- digit = 9\n", "digit 9 is not"),
            ("-- order = 1\n-- letter = \"q\"\n", "letter 'q' cannot"),
            ("-- order = 1\n-- letter = \"Z\"\n", "letter 'Z' cannot"),
            (
                "-- internal = true\n-- letter = \"z\"\n",
                "order, digit and letter",
            ),
            ("-- internal = true\n-- colour = 1\n", ""),
            (
                "-- order = 1\n-- sampling = { rests_on = [\"none\"] }\n",
                "sampling.rests_on: there is no none.sql",
            ),
        ] {
            let said = refused(front);
            let why = format!("queries/mine.sql: {why}");
            assert!(said.starts_with(&why), "{front}: {said}");
        }
        // If two panels want the same, either of them may be named.
        for (front, what, other) in [
            ("-- order = 110\n", "order is that of", "locks.sql"),
            (
                "-- order = 1\n-- digit = 4\n",
                "digit 4 opens",
                "database.sql",
            ),
            (
                "-- order = 1\n-- letter = \"l\"\n",
                "letter 'l' opens",
                "locks.sql",
            ),
        ] {
            let said = refused(front);
            let both = said.contains("mine.sql") && said.contains(other);
            assert!(both && said.contains(what), "{front}: {said}");
        }
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
