//! Layers: the modules directly inside a module, each with everything below it, must not import each other in
//! a cycle of any length.

use super::{File, code, expand, imports, module, resolve, sources};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static HANDED_ON: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*pub(?:\([^)]*\))?\s+use\s+([\w:{},*\s]+);").unwrap());

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Re-exported names, with the names they stand for: `pg::Client` is `pg::client::Client`.
fn handed_on(files: &[File]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in files {
        let within = module(&file.path);
        let text = code(&file.text);
        for uses in HANDED_ON.captures_iter(&text) {
            for path in expand(&uses[1]) {
                let Some(name) = path.rsplit("::").next().map(str::to_owned) else {
                    continue;
                };
                let whole = resolve(&path, &within)
                    .unwrap_or_else(|| format!("{}::{path}", within.join("::")));
                found.insert(format!("{}::{name}", within.join("::")), whole);
            }
        }
    }
    found
}

/// The module that a path leads into.
fn home(
    path: &str,
    modules: &BTreeSet<String>,
    names: &BTreeMap<String, String>,
) -> Option<String> {
    let mut path = path.to_owned();
    // A name may be re-exported several times.
    for _ in 0..8 {
        let ends = path.match_indices("::").map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let known = ends.iter().find_map(|end| {
            let (stem, rest) = path.split_at(*end);
            let whole = names.get(stem).filter(|_| !modules.contains(stem))?;
            Some(format!("{whole}{rest}"))
        });
        match known {
            Some(whole) if whole != path => path = whole,
            _ => break,
        }
    }
    while !modules.contains(&path) {
        path.truncate(path.rfind("::")?);
    }
    Some(path)
}

/// For each module, the imports between the modules directly below it.
fn siblings(files: &[File]) -> BTreeMap<String, Graph> {
    let names = handed_on(files);
    let modules: BTreeSet<String> = files
        .iter()
        .map(|file| module(&file.path).join("::"))
        .collect();
    let mut found: BTreeMap<String, Graph> = BTreeMap::new();
    for file in files {
        let from = module(&file.path);
        for path in imports(file) {
            let Some(to) = home(&path, &modules, &names) else {
                continue;
            };
            let to: Vec<String> = to.split("::").map(str::to_owned).collect();
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                let within = from.iter().take(shared).cloned().collect::<Vec<_>>();
                let graph = found.entry(within.join("::")).or_default();
                graph.entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    found
}

fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut open: Vec<&String> = graph.get(from).into_iter().flatten().collect();
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if seen.insert(next.clone()) {
            open.extend(graph.get(next).into_iter().flatten());
        }
    }
    seen
}

/// Groups of modules that import themselves through each other.
fn circles(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (within, graph) in siblings(files) {
        let reach: Graph = graph
            .keys()
            .map(|name| (name.clone(), reached(&graph, name)))
            .collect();
        for (name, seen) in &reach {
            let back = |other: &&String| reach.get(*other).is_some_and(|of| of.contains(name));
            let circle: Vec<&str> = seen.iter().filter(back).map(String::as_str).collect();
            if seen.contains(name) {
                found.insert(format!("in {within:?}: {}", circle.join(", ")));
            }
        }
    }
    found
}

#[test]
fn modules_import_each_other_in_no_circle() {
    assert_eq!(circles(&sources()), BTreeSet::new());
}

#[test]
fn a_circle_is_found_however_long_it_is() {
    let at = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let long = [
        at("src/one.rs", "use crate::two::below::Thing;"),
        at("src/two.rs", ""),
        at("src/two/below.rs", "use super::super::three;"),
        at("src/three.rs", "fn f() { crate::four::g() }"),
        at("src/four.rs", "use crate::one;"),
        at("src/five.rs", "use crate::{one, four};"),
    ];
    let expected = |circle: &str| BTreeSet::from([circle.to_owned()]);
    assert_eq!(
        circles(&long),
        expected(r#"in "": four, one, three, two"#),
        "five is not part of it"
    );
    let handed_on = [
        at("src/a.rs", "pub use b::B;\npub use c::{C, D};"),
        at("src/a/b.rs", "use super::C;"),
        at("src/a/c.rs", "use crate::a::B;"),
    ];
    assert_eq!(circles(&handed_on), expected(r#"in "a": b, c"#));
    let none = [
        at("src/a.rs", "pub use b::B;\nuse b::c;"),
        at("src/a/b.rs", "use super::Parent;"),
        at("src/d.rs", "use crate::a::B;"),
        at("src/e.rs", "use crate::{a, d};"),
    ];
    assert_eq!(circles(&none), BTreeSet::new(), "parent and child may");
}
