//! The documentation: short pages are short, links work, and commands are valid.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use clap::Parser;
use htap_top::cli::Cli;
use htap_top::config::Config;
use htap_top::dashboard::panels;
use htap_top::docs::PAGES;
use htap_top::keys::Command as Bound;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path and text of every page for people.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.is_file());
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let all = docs.chain(top);
    all.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        found.insert(kept.collect::<String>().replace(' ', "-"));
    }
    found
}

/// Broken links of a page.
fn broken(path: &Path, text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let targets = link.captures_iter(text).map(|found| found[1].to_owned());
    let ours = targets.filter(|target| !target.contains("://"));
    ours.filter(|target| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() {
            path.to_owned()
        } else {
            path.parent().unwrap().join(file)
        };
        let there = file.is_file()
            && (anchor.is_empty()
                || anchors(&std::fs::read_to_string(&file).unwrap()).contains(anchor));
        !there
    })
    .collect()
}

#[test]
fn the_readme_is_short_and_every_link_leads_somewhere() {
    for (path, text) in pages() {
        assert_eq!(
            broken(&path, &text),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
        if path.ends_with("README.md") && path.parent() == Some(root()) {
            assert!(text.lines().count() <= 150, "README.md is a manual");
        }
    }
    let page = root().join("README.md");
    let bad = "[a](docs/none.md) [b](#none) [c](docs/screen.md#none) [d](docs/screen.md#keys) [e](https://x)";
    assert_eq!(broken(&page, bad).len(), 3);
}

#[test]
fn every_page_is_in_the_program() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let files = docs.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let names = files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned());
    let names: BTreeSet<String> = names.filter(|name| name != "README").collect();
    let known: BTreeSet<String> = PAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, known);
}

/// The words of a shell line up to a comment, a pipe or a redirection; `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#' | '|' | '>' | '&' | ';') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Lines of code that run the program.
fn commands(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            let line = line.trim_start();
            let line = line
                .strip_prefix("cargo run --release -- ")
                .map_or_else(|| line.to_owned(), |rest| format!("htap-top {rest}"));
            if line.starts_with("htap-top ") {
                found.push(line);
            }
        }
    }
    found
}

/// The command that a systemd unit or a Dockerfile starts.
fn started(text: &str) -> Option<String> {
    let unit = text.lines().find_map(|line| {
        let command = line.strip_prefix("ExecStart=")?;
        command
            .rsplit_once("/bin/")
            .map(|(_, command)| command.to_owned())
    });
    let list = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        serde_json::from_str::<Vec<String>>(line).ok()
    };
    unit.or_else(|| Some([list("ENTRYPOINT ")?, list("CMD ")?].concat().join(" ")))
}

#[test]
fn every_command_of_the_documentation_can_be_typed() {
    let refused = |line: &str| match words(line) {
        None => Some("a quote that does not end".to_owned()),
        Some(words) => Cli::try_parse_from(words)
            .err()
            .map(|error| error.to_string()),
    };
    let mut tried = 0;
    for (path, text) in pages() {
        for line in commands(&text) {
            assert_eq!(refused(&line), None, "{}: {line}", path.display());
            tried += 1;
        }
    }
    for entry in std::fs::read_dir(root().join("docs/deploy")).unwrap() {
        let path = entry.unwrap().path();
        let line = started(&std::fs::read_to_string(&path).unwrap());
        let line = line.unwrap_or_else(|| panic!("{} starts nothing", path.display()));
        assert_eq!(refused(&line), None, "{}: {line}", path.display());
    }
    assert!(tried > 20, "{tried}");
    assert!(refused("htap-top once --no-such-option").is_some());
    assert_eq!(started("ExecStart=/usr/bin/a b").as_deref(), Some("a b"));
    assert!(refused("htap-top 'host=a").is_some());
}

fn help(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .arg("help")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn help_shows_options_and_pages() {
    let (code, all, _) = help(&[]);
    assert_eq!(code, Some(0));
    assert!(
        all.contains("Usage: htap-top") && all.contains("troubleshooting"),
        "{all}"
    );
    let (code, page, _) = help(&["privileges"]);
    assert_eq!(code, Some(0));
    assert!(
        page.starts_with("# Connection and privileges") && page.contains("GRANT pg_monitor"),
        "{page}"
    );
    let (_, both, _) = help(&["doctor"]);
    assert!(
        both.contains("Usage: htap-top doctor") && both.contains("# Doctor"),
        "{both}"
    );
    let (_, panel, _) = help(&["locks"]);
    assert!(
        panel.starts_with("# Panel locks: Locks") && panel.contains("| pid | "),
        "{panel}"
    );
    let (code, nothing, why) = help(&["nonsense"]);
    assert_eq!((code, nothing.as_str()), (Some(2), ""));
    assert!(
        why.contains("unknown command, page or panel \"nonsense\"; the pages are install, screen"),
        "{why}"
    );
}

#[test]
fn the_keys_that_the_page_binds_can_be_bound() {
    let (_, page) = PAGES.iter().find(|(name, _)| *name == "keys").unwrap();
    let (_, block) = page.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let config = Config::parse(Path::new("docs/keys.md"), block).unwrap();
    assert_eq!(config.keys.check_panels(&panels::keys(&[])), Ok(()));
    assert_eq!(config.keys.shown(Bound::Refresh), "F5");
}
