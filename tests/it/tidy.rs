//! The order of the project: permitted imports, files of a readable size, queries that are used, complete
//! themes, documentation that agrees with the program.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod layers;

use htap_top::dashboard::panels;
use htap_top::dashboard::theme::{Role, Theme};
use htap_top::doctor::check;
use htap_top::embedded;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// A file of the project: its path relative to the project's folder, and its text.
struct File {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose names end in one of `endings`.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    let mut open = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if endings
                .iter()
                .any(|ending| path.to_string_lossy().ends_with(ending))
            {
                found.push(file(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no {endings:?} in {folder}");
    found
}

fn file(path: &Path) -> File {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    File {
        path: path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        text,
    }
}

fn sources() -> Vec<File> {
    files("src", &[".rs"])
}

static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)(^|\s)//.*$").unwrap());
static USES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)(?:^|[;{])\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([\w:{},*\s]+);").unwrap()
});
static INLINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:crate|htap_top|super)(?:::\w+)+").unwrap());

/// The code of a source file: without line comments and without the tests at its end.
fn code(text: &str) -> String {
    let product = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    COMMENT.replace_all(product, "").into_owned()
}

/// A word, and the only places where it may occur: files, or folders with everything below.
struct Word {
    pattern: &'static str,
    allowed: &'static [&'static str],
}

const WORDS: &[Word] = &[
    Word {
        pattern: r"\btokio_postgres\b",
        allowed: &["src/pg"],
    },
    Word {
        pattern: r"\bopenssl\b",
        allowed: &[
            "src/pg",
            "src/system/archive",
            // Checksums of column files.
            "src/columnar",
            "src/stream/broker",
            // Tokens are compared as digests, in constant time.
            "src/dashboard/runtime/http/access.rs",
        ],
    },
    Word {
        pattern: r"\brdkafka\b",
        allowed: &["src/stream"],
    },
    // The engine is optional: all that knows it is behind one feature.
    Word {
        pattern: r"\b(datafusion|arrow)\b",
        allowed: &["src/columnar"],
    },
    Word {
        pattern: r"\bcrossterm\b",
        allowed: &["src/dashboard/terminal.rs"],
    },
    Word {
        pattern: r"\bratatui\b",
        allowed: &[
            "src/dashboard/view",
            "src/dashboard/model/layout.rs",
            "src/dashboard/model/layout",
            "src/dashboard/theme.rs",
            "src/dashboard/theme",
            "src/dashboard/widgets",
            "src/dashboard/panels",
            "src/dashboard/runtime",
            "src/dashboard/terminal",
            "src/dashboard/terminal.rs",
        ],
    },
    Word {
        pattern: r"\b(Instant|SystemTime|Utc|Local)::now\b",
        allowed: &[
            "src/dashboard/runtime",
            // When a line was written.
            "src/log.rs",
            // The client's own timeouts and durations, on the monotonic clock.
            "src/pg/sampler",
            "src/pg/client/session.rs",
            "src/pg/canary.rs",
            "src/pg/admin.rs",
            "src/workload",
            "src/demo",
            // How long a read waits, and when the replica is looked at again.
            "src/router/breaker.rs",
            "src/router/watch.rs",
            "src/router/executor",
            // Pacing, and the duration of a refresh.
            "src/system/refresh",
            // Pacing, rates, and idle partitions.
            "src/stream",
            // The duration of a round, and pacing.
            "src/columnar/files.rs",
            "src/columnar/report.rs",
            "src/bench",
            // The clock itself is checked, and the time to connect.
            "src/doctor/session.rs",
            // The offset from UTC, read once.
            "src/commands/dashboard.rs",
            // When a report was made.
            "src/commands/report.rs",
            // When processes were moved.
            "src/commands/isolate.rs",
            // When a command was carried out.
            "src/commands/stream/trail.rs",
            // Rows per second, shown to a person.
            "src/commands/meter.rs",
        ],
    },
    Word {
        pattern: r"\bhyper(_util)?::",
        allowed: &["src/dashboard/runtime/http", "src/columnar/bucket.rs"],
    },
    Word {
        pattern: r"\bprometheus_client\b",
        allowed: &["src/dashboard/output/prometheus.rs"],
    },
    Word {
        pattern: r"\bunbounded_channel\b",
        allowed: &[],
    },
    // The dashboard reads columns by the structures of src/dashboard/rows, and calls panels by `Panel`.
    Word {
        pattern: r#"\.(get|first|column|set|ensure_column|find)\([^()"]*"[a-z_0-9]+""#,
        allowed: &[
            "src/bench",
            "src/cluster",
            "src/columnar",
            "src/doctor",
            "src/explain",
            "src/explain.rs",
            "src/isolate",
            "src/pg",
            "src/replica",
            "src/router",
            "src/stream",
            "src/system",
            "src/workload",
            // Whatever panel has a column of this name: its texts are masked.
            "src/dashboard/recording.rs",
            "src/dashboard/panels/snapshots/tests.rs",
        ],
    },
    Word {
        pattern: r#"\b(feed_named|feed_of|id_of|rows|current)\("|\bspec\.name(\.as_str\(\))? [!=]= ""#,
        allowed: &[],
    },
    Word {
        pattern: r"\bcfg\(test\)",
        allowed: &[],
    },
];

/// Lines with a word in a place where it may not occur.
fn misplaced(word: &Word, files: &[File]) -> Vec<String> {
    let pattern = Regex::new(word.pattern).unwrap();
    let strangers = files.iter().filter(|file| {
        !word
            .allowed
            .iter()
            .any(|allowed| file.path.starts_with(allowed))
    });
    let lines = strangers.flat_map(|file| {
        let code = code(&file.text);
        let hits = code
            .lines()
            .filter(|line| pattern.is_match(line))
            .map(str::trim)
            .map(str::to_owned);
        hits.map(|line| format!("{}: {line}", file.path))
            .collect::<Vec<_>>()
    });
    // A module of tests is not a branch in the product.
    lines
        .filter(|line| !line.ends_with("#[cfg(test)]"))
        .collect()
}

#[test]
fn words_stand_where_they_may() {
    for word in WORDS {
        assert_eq!(
            misplaced(word, &sources()),
            Vec::<String>::new(),
            "{} is not for these files",
            word.pattern
        );
    }
}

#[test]
fn a_misplaced_word_is_found() {
    let at = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let bad = [
        at("src/system/x.rs", "use tokio_postgres::Client;"),
        at("src/dashboard/model.rs", "let now = Instant::now();"),
        at(
            "src/dashboard/keys.rs",
            "fn f(k: crossterm::event::KeyEvent) {}",
        ),
        at("src/format.rs", "use ratatui::text::Line;"),
        at("src/system/x.rs", "use hyper::Uri;"),
        at("src/system/x.rs", "use prometheus_client::registry;"),
        at("src/demo/x.rs", "if cfg!(test) || cfg(test) {}"),
        at("src/demo/x.rs", "unbounded_channel()"),
        at("src/demo/x.rs", "use openssl::x;"),
        at("src/demo/x.rs", "use rdkafka::x;"),
        at("src/system/x.rs", "use datafusion::x;"),
        at("src/dashboard/guard.rs", "table.get(row, \"pid\")"),
        at("src/dashboard/view.rs", "model.rows(\"activity\")"),
    ];
    for word in WORDS {
        assert_eq!(misplaced(word, &bad).len(), 1, "{}", word.pattern);
    }
    let good = [
        at("src/pg/x.rs", "use tokio_postgres::Client;"),
        at(
            "src/system/x.rs",
            "// as tokio_postgres does\nfn f() {} // Instant::now\n#[cfg(test)]\nmod tests {\nuse ratatui::x;\n}",
        ),
    ];
    for word in WORDS {
        assert_eq!(
            misplaced(word, &good),
            Vec::<String>::new(),
            "{}",
            word.pattern
        );
    }
}

/// The module of a source file: `src/dashboard/model.rs` is `dashboard::model`.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    if matches!(path, "lib" | "main") {
        vec![path.to_owned()]
    } else {
        path.split('/').map(str::to_owned).collect()
    }
}

/// The modules of this crate that a file names, as `dashboard::model::Model`.
fn imports(file: &File) -> BTreeSet<String> {
    let code = code(&file.text);
    let mut paths: Vec<String> = USES
        .captures_iter(&code)
        .flat_map(|found| expand(&found[1]))
        .collect();
    paths.extend(
        INLINE
            .find_iter(&USES.replace_all(&code, ""))
            .map(|found| found.as_str().to_owned()),
    );
    paths
        .iter()
        .filter_map(|path| resolve(path, &module(&file.path)))
        .collect()
}

/// The individual paths of `a::{b, c::{d, e}}`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((stem, rest)) = tree.split_once('{') else {
        return vec![
            tree.split(" as ")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        ];
    };
    let (inner, _) = rest.rsplit_once('}').unwrap();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    let parts = parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(part));
    parts
        .map(|part| format!("{stem}{part}"))
        .map(|path| path.trim_end_matches("::self").to_owned())
        .collect()
}

/// A path from the crate's root; `None` for one of another crate.
fn resolve(path: &str, module: &[String]) -> Option<String> {
    let mut words = path.split("::").peekable();
    let mut from: Vec<String> = match words.peek().copied()? {
        "crate" | "htap_top" => {
            words.next();
            Vec::new()
        }
        "self" => {
            words.next();
            module.to_vec()
        }
        "super" => module.to_vec(),
        _ => return None,
    };
    while words.next_if_eq(&"super").is_some() {
        from.pop();
    }
    from.extend(words.map(str::to_owned));
    Some(from.join("::"))
}

/// A forbidden import; a folder's name stands for everything below it.
struct Ban {
    who: &'static str,
    but: &'static [&'static str],
    what: &'static [&'static str],
    /// Exceptions that may be imported.
    shared: &'static [&'static str],
}

const BANS: &[Ban] = &[
    Ban {
        who: "dashboard::model",
        but: &[],
        what: &[
            "dashboard::view",
            "dashboard::terminal",
            "dashboard::runtime",
        ],
        shared: &[],
    },
    Ban {
        who: "dashboard::panels",
        but: &[],
        what: &[
            "dashboard::model",
            "dashboard::view",
            "dashboard::runtime",
            "dashboard::terminal",
        ],
        shared: &[],
    },
    Ban {
        who: "dashboard::panels",
        but: &["dashboard::panels"],
        what: &["dashboard::panels"],
        shared: &[
            "dashboard::panels::classify",
            "dashboard::panels::spec",
            "dashboard::panels::own",
            "dashboard::panels::variants",
        ],
    },
    Ban {
        who: "dashboard::widgets",
        but: &[],
        what: &["dashboard::model", "dashboard::view", "dashboard::runtime"],
        shared: &[],
    },
    Ban {
        who: "dashboard::output",
        but: &[],
        what: &["dashboard::runtime", "dashboard::terminal"],
        shared: &[],
    },
    Ban {
        who: "dashboard::view",
        but: &[],
        what: &["dashboard::runtime", "dashboard::terminal"],
        shared: &[],
    },
    Ban {
        who: "system",
        but: &[],
        what: &["dashboard"],
        shared: &[],
    },
    Ban {
        who: "stream",
        but: &[],
        what: &["dashboard", "demo", "workload"],
        shared: &[],
    },
    Ban {
        who: "workload",
        but: &[],
        what: &["dashboard"],
        shared: &[],
    },
    Ban {
        who: "pg",
        but: &[],
        what: &[
            "cluster",
            "dashboard",
            "demo",
            "doctor",
            "explain",
            "router",
            "system",
            "workload",
        ],
        shared: &[],
    },
    Ban {
        who: "sql",
        but: &[],
        what: &["dashboard", "explain", "pg", "router", "system", "workload"],
        shared: &[],
    },
    Ban {
        who: "doctor",
        but: &[],
        what: &["dashboard", "workload", "demo"],
        shared: &[],
    },
    Ban {
        who: "",
        but: &[
            "commands::dashboard",
            "commands::demo",
            "commands::replay",
            "commands::headless",
            "commands::record",
            "commands::once",
            "commands::serve",
            "commands::report",
            "commands::servers",
            "dashboard::runtime::*",
        ],
        what: &["dashboard::runtime"],
        shared: &[],
    },
];

fn is_in(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path == folder
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with("::"))
}

/// `room::*` stands for the room and everything in it.
fn is_or_is_in(path: &str, room: &str) -> bool {
    path == room
        || room
            .strip_suffix("::*")
            .is_some_and(|room| is_in(path, room))
}

fn banned(ban: &Ban, files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let who = module(&file.path).join("::");
        if !is_in(&who, ban.who)
            || ban.but.iter().any(|but| is_or_is_in(&who, but))
            || file.path.ends_with("tests.rs")
        {
            continue;
        }
        // A file within another one's folder is a part of it.
        let whole = who.rsplit_once("::").map(|(whole, _)| whole);
        let within = |whole: &&str| {
            ban.what
                .iter()
                .any(|what| whole != what && is_in(whole, what))
        };
        let whole = whole.filter(within);
        let own = whole.unwrap_or(&who);
        for path in imports(file) {
            let wrong = ban.what.iter().any(|what| is_in(&path, what)) && !is_in(&path, own);
            if wrong && !ban.shared.iter().any(|shared| is_in(&path, shared)) {
                found.push(format!("{} imports {path}", file.path));
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_they_may() {
    for ban in BANS {
        assert_eq!(
            banned(ban, &sources()),
            Vec::<String>::new(),
            "{} must not know {:?}",
            ban.who,
            ban.what
        );
    }
}

#[test]
fn a_forbidden_import_is_found() {
    let at = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let bad = [
        at(
            "src/dashboard/model/x.rs",
            "use crate::{text, dashboard::{view::view, event}};",
        ),
        at(
            "src/dashboard/panels/x.rs",
            "use super::super::model::Model;",
        ),
        at(
            "src/dashboard/panels/x.rs",
            "fn f() { super::bloat::derive() }",
        ),
        at(
            "src/dashboard/widgets/x.rs",
            "use crate::dashboard::model::Model;",
        ),
        at(
            "src/dashboard/output/x.rs",
            "use crate::dashboard::runtime::Targets;",
        ),
        at("src/dashboard/view/x.rs", "use crate::dashboard::terminal;"),
        at("src/system/x.rs", "use crate::dashboard::panels;"),
        at("src/stream/x.rs", "use crate::dashboard::panels;"),
        at(
            "src/workload/x.rs",
            "use crate::dashboard::feed::Feed as F;",
        ),
        at("src/pg/x.rs", "use crate::cluster::Cluster;"),
        at("src/sql/x.rs", "use crate::router::Router;"),
        at("src/doctor/x.rs", "use crate::dashboard::model::Model;"),
        at(
            "src/dashboard/keys.rs",
            "use super::runtime::TerminalSession;",
        ),
    ];
    assert_eq!(bad.len(), BANS.len());
    for (ban, file) in BANS.iter().zip(bad) {
        assert_eq!(
            banned(ban, std::slice::from_ref(&file)).len(),
            1,
            "{} {}",
            file.path,
            file.text
        );
    }
    let good = [
        at(
            "src/dashboard/panels/x.rs",
            "use super::classify::Session; use crate::pg::Table; use super::spec;",
        ),
        at(
            "src/dashboard/model/x.rs",
            "use super::Model; use crate::dashboard::panels::bloat;",
        ),
        at("src/doctor/x.rs", "use crate::sqlfile;"),
        at(
            "src/commands/dashboard.rs",
            "use htap_top::dashboard::runtime::{self, TerminalSession};",
        ),
    ];
    for ban in BANS {
        assert_eq!(banned(ban, &good), Vec::<String>::new(), "{}", ban.who);
    }
}

#[test]
fn a_part_of_a_panel_knows_its_panel_and_no_other() {
    let found = |text: &str| {
        let part = File {
            path: "src/dashboard/panels/x/part.rs".into(),
            text: text.into(),
        };
        let found = BANS
            .iter()
            .map(|ban| banned(ban, std::slice::from_ref(&part)).len());
        found.sum::<usize>()
    };
    assert_eq!(
        found("use super::{Whole, other}; use super::other::Thing;"),
        0
    );
    assert_eq!(
        found("use super::super::bloat; use crate::dashboard::panels::waits::part;"),
        2
    );
}

#[test]
fn modules_are_files_of_their_name() {
    let old = |file: &&File| file.path.ends_with("/mod.rs");
    let old: Vec<String> = sources()
        .iter()
        .filter(old)
        .map(|file| file.path.clone())
        .collect();
    assert_eq!(old, Vec::<String>::new(), "write x.rs beside x/");
}

/// Maximum number of lines of a source file that can be read in one go.
const LINES: usize = 450;

fn too_long(files: &[File]) -> Vec<String> {
    let product = files.iter().filter(|file| !file.path.contains("tests"));
    // Without the tests at its end.
    let lines = |file: &File| {
        let product = file.text.split("#[cfg(test)]\nmod tests {").next();
        product.unwrap_or_default().lines().count()
    };
    product
        .filter(|file| lines(file) > LINES)
        .map(|file| format!("{}: {} lines", file.path, lines(file)))
        .collect()
}

#[test]
fn no_source_file_is_too_long() {
    assert_eq!(
        too_long(&sources()),
        Vec::<String>::new(),
        "more than {LINES}"
    );
    let long = File {
        path: "src/x.rs".into(),
        text: "x\n".repeat(LINES + 1),
    };
    assert_eq!(too_long(&[long]).len(), 1);
}

/// Traces of the build machine, and placeholders.
fn leftovers(files: &[File]) -> Vec<String> {
    let traces = Regex::new(
        r"/home/\w|/root/|/work/|/Users/\w|/tmp/\w|\[MISSING\]|\bTODO\b|\bFIXME\b|\bdbg!\(",
    )
    .unwrap();
    let mut found = Vec::new();
    for file in files {
        let lines = file.text.lines().filter(|line| traces.is_match(line));
        found.extend(lines.map(|line| format!("{}: {}", file.path, line.trim())));
    }
    found
}

#[test]
fn nothing_of_the_building_site_is_left() {
    let mut all = sources();
    all.extend(files("queries", &[".sql", ".sh"]));
    all.extend(files("themes", &[".toml"]));
    all.extend(files("docs", &[".md"]));
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "src/config.toml",
    ] {
        let path = root().join(name);
        all.extend(path.is_file().then(|| file(&path)));
    }
    assert_eq!(leftovers(&all), Vec::<String>::new());
    for bad in [
        "/work/main/src",
        "see /root/x",
        "open(\"/tmp/x\")",
        "price: [MISSING]",
        "// TODO",
        "dbg!(x)",
    ] {
        assert_eq!(
            leftovers(&[File {
                path: "x".into(),
                text: bad.into()
            }])
            .len(),
            1,
            "{bad}"
        );
    }
}

/// The files that build.rs finds.
#[path = "../../build.rs"]
#[expect(dead_code, reason = "its main is Cargo's")]
pub mod build;

/// The program embeds exactly the files of each folder: a file that is added needs no list.
#[test]
fn every_file_is_built_in() {
    let lists = [
        ("PANELS", embedded::PANELS),
        ("CHECKS", embedded::CHECKS),
        ("SCHEMA", embedded::SCHEMA),
        ("THEMES", embedded::THEMES),
        ("PAGES", embedded::PAGES),
    ];
    assert_eq!(
        lists.map(|(list, _)| list),
        build::FOLDERS.map(|(list, ..)| list)
    );
    for ((_, files), (_, folder, ending)) in lists.iter().zip(build::FOLDERS) {
        let found = build::names(&root().join(folder), ending).unwrap();
        let built_in: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(built_in, found, "{folder}");
    }
}

/// Files of SQL that no folder's list has are read by name somewhere: in the program, or in a script beside them.
#[test]
fn every_query_is_used() {
    let mut readers = sources();
    readers.extend(files("queries", &[".sh"]));
    let sources: String = readers.iter().map(|file| file.text.as_str()).collect();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for (_, folder, ending) in build::FOLDERS {
        let names = build::names(&root().join(folder), ending).unwrap();
        listed.extend(names.iter().map(|name| format!("{folder}/{name}")));
    }
    let numbered = |path: &str| Regex::new(r"^queries/system/\d").unwrap().is_match(path);
    let by_name = |path: &str| {
        !listed.contains(path) || (path.starts_with("queries/system/") && !numbered(path))
    };
    let word = |path: &str| {
        let report = path.strip_prefix("queries/reports/");
        let word = report.and_then(|name| name.strip_suffix(".sql"));
        word.map(|word| format!("\"{word}\""))
    };
    let unused: Vec<String> = files("queries", &[".sql"])
        .into_iter()
        .map(|file| file.path)
        .filter(|path| by_name(path) && !sources.contains(path))
        .filter(|path| word(path).is_none_or(|word| !sources.contains(&word)))
        .collect();
    assert_eq!(unused, Vec::<String>::new(), "read by nobody");
}

#[test]
fn every_check_says_what_it_finds_and_costs() {
    for check in check::all(0).unwrap() {
        assert!(
            check.front.about.len() > 40 && check.front.about.contains("Cost: "),
            "{}.sql does not say what it finds and costs",
            check.name
        );
    }
}

#[test]
fn every_panel_says_something_about_itself() {
    for spec in panels::built_in().unwrap() {
        assert!(spec.front.about.len() > 40, "{}.sql", spec.name);
    }
}

#[test]
fn every_theme_has_every_role() {
    let names: BTreeSet<&str> = Theme::names().collect();
    assert_eq!(names.len(), embedded::THEMES.len());
    for name in names {
        Theme::built_in(name).unwrap();
        let text = std::fs::read_to_string(root().join(format!("themes/{name}.toml"))).unwrap();
        for role in Role::ALL {
            let line = Regex::new(&format!(r"(?m)^{} *=.*\n", role.name())).unwrap();
            let without = line.replace(&text, "");
            assert_ne!(without, text, "{name} does not give {}", role.name());
            assert!(
                Theme::parse(name, &without).is_err(),
                "{name} is accepted without {}",
                role.name()
            );
        }
    }
}
