//! The documentation: short pages are short, links work, generated parts are the program's, and commands are valid.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

use super::server::{Server, block_on};
use clap::{CommandFactory, Parser};
use htap_top::commands::Cli;
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::rules;
use htap_top::dashboard::panels::own;
use htap_top::dashboard::{output, panels};
use htap_top::docs;
use htap_top::doctor::check;
use htap_top::keys::{self, Command as Bound};
use htap_top::system::schema;
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
fn every_page_is_in_the_program_and_in_the_list_of_pages() {
    let contents = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let pages = docs::pages();
    for (path, text) in pages_of_docs() {
        let name = path.file_stem().unwrap().to_string_lossy();
        let page = pages.iter().find(|page| page.name == name);
        let page = page.unwrap_or_else(|| panic!("{name} is not in the program"));
        assert!(text.ends_with(page.text), "{name}");
        assert!(
            contents.contains(&format!("]({name}.md)")),
            "{name} is not in docs/README.md"
        );
    }
    assert_eq!(pages.len(), pages_of_docs().count());
}

/// Words that stand twice in a row in sentences; not those of blocks of code, figures or signs.
fn doubled(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let words: Vec<&str> = prose.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == pair[1]);
    let pairs = pairs.filter(|pair| pair[0].chars().all(char::is_alphabetic));
    pairs.map(|pair| pair[0].to_owned()).collect()
}

#[test]
fn no_word_stands_twice() {
    let none = Vec::<String>::new();
    for (path, text) in pages() {
        assert_eq!(doubled(&text), none, "{}", path.display());
    }
    for panel in panels::built_in().unwrap() {
        assert_eq!(doubled(&panel.front.about), none, "{}", panel.name);
    }
    assert_eq!(doubled("reads\nreads its size, 1 1"), ["reads"]);
}

/// The pages that `htap-top help` shows.
fn pages_of_docs() -> impl Iterator<Item = (PathBuf, String)> {
    let docs = pages().into_iter();
    docs.filter(|(path, _)| path.starts_with(root().join("docs")) && !path.ends_with("README.md"))
}

/// Parts of the pages that the program writes: the page, the mark around the part, and what stands there.
fn generated() -> Vec<(&'static str, &'static str, String)> {
    let built_in = panels::built_in().unwrap();
    vec![
        ("keys", "keys", keys::markdown()),
        ("screen", "panels", panels::markdown(built_in)),
        ("diagnosis", "rules", rules::markdown()),
        ("scripts", "fields", output::markdown(built_in)),
        ("doctor", "doctor", check::markdown(&check::all(0).unwrap())),
        ("commands", "commands", options()),
    ]
}

/// Every command with its options, as `--help` tells them.
fn options() -> String {
    let mut cli = Cli::command();
    cli.build();
    options_of(&cli)
}

fn options_of(command: &clap::Command) -> String {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let help = command.clone().term_width(100).render_long_help();
    let help = help.to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    let subcommands = command.get_subcommands();
    let shown = |command: &&clap::Command| command.get_name() != "help" && !command.is_hide_set();
    let subcommands = subcommands.filter(shown);
    let subcommands: String = subcommands.map(options_of).collect();
    format!(
        "\n## {name}\n\n```text\n{}\n```\n{subcommands}",
        help.trim_end()
    )
}

/// The page with `part` between its marks.
fn with_part(page: &str, mark: &str, part: &str) -> Result<String, String> {
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = page
        .split_once(&open)
        .ok_or(format!("there is no {open:?}"))?;
    let (_, after) = rest
        .split_once(&close)
        .ok_or(format!("there is no {close:?}"))?;
    Ok(format!("{before}{open}{part}{close}{after}"))
}

/// Rewrites them with `UPDATE_DOCS=1`.
#[test]
fn generated_parts_of_the_pages_are_the_program_s() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    for (name, mark, part) in generated() {
        let path = root().join(format!("docs/{name}.md"));
        let page = std::fs::read_to_string(&path).unwrap();
        let wanted = with_part(&page, mark, &part);
        let wanted = wanted.unwrap_or_else(|why| panic!("docs/{name}.md: {why}"));
        if update && wanted != page {
            std::fs::write(&path, wanted).unwrap();
            continue;
        }
        assert!(
            wanted == page,
            "the part {mark} of docs/{name}.md is not the program's: run UPDATE_DOCS=1 cargo test --test it docs"
        );
    }
    let page = "# x\n<!-- a -->\nold\n<!-- /a -->\nend";
    assert_eq!(
        with_part(page, "a", "new\n").unwrap(),
        "# x\n<!-- a -->\nnew\n<!-- /a -->\nend"
    );
    assert!(with_part(page, "b", "new").is_err());
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
        let named = command.rsplit_once("/bin/");
        Some(named.map_or(command, |(_, command)| command).to_owned())
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

/// Blocks of code of a page: the word after the fence, and the text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Runs the SQL of a page where its reader would: statements as a superuser, panels as a user's own.
async fn run(server: &Server, path: &Path, sql: &[String]) {
    let database = server.database("page").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE SCHEMA mart; CREATE MATERIALIZED VIEW mart.sales_hourly_mv AS SELECT 1 AS n;
             CREATE ROLE owner_of_the_views; ALTER MATERIALIZED VIEW mart.sales_hourly_mv OWNER TO owner_of_the_views",
        )
        .await
        .unwrap();
    for block in sql {
        if !block.starts_with("-- title = ") {
            let done = admin.batch(block).await;
            done.unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("panel.sql"), block).unwrap();
        let (panels, complaints) = own::read(folder.path());
        assert_eq!(complaints, Vec::<String>::new(), "{}", path.display());
        let shop = server.database("page_shop").await;
        let client = shop.connect().await;
        schema::create(&client).await.unwrap();
        let read_only =
            "SET default_transaction_read_only = on; SET search_path = pg_catalog, pg_temp";
        client.batch(read_only).await.unwrap();
        let shown = client.query_text(&panels[0].sql, 100).await;
        let shown = shown.unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
        for column in panels[0].front.columns.keys() {
            assert!(
                shown.column(column).is_some(),
                "{}: {column}",
                path.display()
            );
        }
        drop(client);
        let gone = format!("DROP DATABASE {} WITH (FORCE)", shop.name);
        admin.batch(&gone).await.unwrap();
    }
    let roles = "DO $$ DECLARE r name; BEGIN
                     FOR r IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP
                         EXECUTE format('DROP OWNED BY %I CASCADE; DROP ROLE %I', r, r);
                     END LOOP; END $$";
    admin.batch(roles).await.unwrap();
}

/// All of it on one server, the oldest that has all that the pages name.
#[test]
fn every_sql_of_the_documentation_runs() {
    let server = Server::of_major(17);
    block_on(async {
        let mut ran = 0;
        for (path, text) in pages() {
            let blocks = blocks(&text);
            let marked = blocks
                .iter()
                .filter(|(language, _)| language.starts_with("sql,"));
            assert_eq!(marked.count(), 0, "{}: SQL that is not run", path.display());
            let sql = blocks.into_iter().filter(|(language, _)| language == "sql");
            let sql: Vec<String> = sql.map(|(_, block)| block).collect();
            ran += sql.len();
            if !sql.is_empty() {
                run(&server, &path, &sql).await;
            }
        }
        assert!(ran >= 3, "{ran}");
    });
    let some = blocks("x\n```sql\nSELECT 1;\n```\n   ```sql,example\n   y\n   ```\n```\nz\n```\n");
    let languages: Vec<&str> = some.iter().map(|(language, _)| language.as_str()).collect();
    assert_eq!(languages, ["sql", "sql,example", ""]);
    assert_eq!(some[0].1, "SELECT 1;\n");
}

/// Configuration in the pages is read as the configuration file is.
#[test]
fn every_configuration_of_the_documentation_is_valid() {
    let mut read = 0;
    for (path, text) in pages() {
        for (_, block) in blocks(&text)
            .iter()
            .filter(|(language, _)| language == "toml")
        {
            let config = Config::parse(&path, block);
            assert!(config.is_ok(), "{}: {config:?}", path.display());
            read += 1;
        }
    }
    assert!(read > 0);
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
fn a_command_behind_options_is_no_database() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
            .args(["-h", "127.0.0.1", "-p", "1"])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, why) = run(&["once"]);
    assert_eq!(code, Some(2), "{why}");
    assert!(
        why.contains("once is a command, and commands come first"),
        "{why}"
    );
    // With -d it is a database: the dashboard only lacks a terminal here.
    let (_, why) = run(&["-d", "once"]);
    assert!(!why.contains("is a command"), "{why}");
    assert!(why.contains("terminal"), "{why}");
}

#[test]
fn the_keys_that_the_page_binds_can_be_bound() {
    let page = docs::find("keys").unwrap().text;
    let (_, block) = page.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let config = Config::parse(Path::new("docs/keys.md"), block).unwrap();
    assert_eq!(
        config
            .keys
            .check_panels(&panels::keys(panels::built_in().unwrap(), &[])),
        Ok(())
    );
    assert_eq!(config.keys.shown(Bound::Refresh), "F5");
}
