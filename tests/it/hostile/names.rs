//! The names in this program's SQL: functions, types, operators and relations without a schema.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// Unqualified names, each with a place where it was found.
#[derive(Default)]
pub struct Names {
    pub functions: BTreeSet<String>,
    pub types: BTreeSet<String>,
    /// Every word: a type may be in a declaration, a list of columns or arguments, a result or a constant.
    pub words: BTreeSet<String>,
    pub operators: BTreeSet<String>,
    pub relations: BTreeSet<String>,
}

/// Words of the grammar in the position of names, which are not looked up.
const GRAMMAR: [&str; 30] = [
    "int",
    "integer",
    "bigint",
    "smallint",
    "boolean",
    "numeric",
    "decimal",
    "real",
    "float",
    "double",
    "varchar",
    "char",
    "character",
    "bit",
    "interval",
    "time",
    "timestamp",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "extract",
    "row",
    "exists",
    "cast",
    "grouping",
    "xmlelement",
    "overlay",
    "position",
    "trim",
];

static BEGINS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*(SELECT\s|WITH\s+\w+.* AS|INSERT INTO|UPDATE\s+\w+.*SET|DELETE FROM|CREATE\s+[A-Z]|ALTER\s+[A-Z]|DROP\s+[A-Z]|REFRESH MATER|EXPLAIN\s|VACUUM\s|ANALYZE\s|LOCK TABLE|COPY\s|BEGIN;|SET LOCAL|DO \$)").unwrap()
});
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|'(?:\\.[^']*|[^'\\\n])'|b?r"([^"]*)"|b?r#"(.*?)"#|b?"((?:\\.|[^"\\])*)""##).unwrap()
});
static JOINED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\\n\s*").unwrap());
static TOKEN_: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)--[^\n]*|/\*.*?\*/|(?i:\bE)?'(?:''|[^'])*'|\{[^{}]*\}").unwrap()
});
static CALLED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:^|[^\w.$])([a-z_][a-z0-9_]*)\(").unwrap());
static CAST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"::\s*([a-z_][a-z0-9_]*)(\.?)").unwrap());
static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:^|[^\w.$])([a-z_][a-z0-9_]*)").unwrap());
static OPERATOR: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[-+*/<>=~!@#%^&|`?]+").unwrap());
static RELATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ONLY|USING)\s+(?:ONLY\s+)?([a-z_][a-z0-9_]*)(\.?)",
    )
    .unwrap()
});

/// All SQL texts: the files of `queries`, and the string literals in `src` that begin like a statement.
pub fn texts(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.join("queries"), root.join("src")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => open.push(path),
                Some("sql") => found.push((name, std::fs::read_to_string(&path).unwrap())),
                Some("rs") => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    // Tests of a room are not sent; sentences of the diagnosis are for people.
                    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
                    if name.contains("src/dashboard/diagnosis") {
                        continue;
                    }
                    let literals = literals(text).into_iter().filter(|text| is_sql(text));
                    found.extend(literals.map(|text| (name.clone(), text)));
                }
                _ => {}
            }
        }
    }
    found
}

/// Returns true if a literal is a statement or the beginning of one.
fn is_sql(text: &str) -> bool {
    let begins = &*BEGINS;
    begins.is_match(text)
}

/// The string literals of a Rust source, outside of comments and character literals.
pub fn literals(source: &str) -> Vec<String> {
    let token = &*TOKEN;
    let found = token.captures_iter(source).filter_map(|found| {
        let raw = found.get(1).or_else(|| found.get(2));
        let escaped = found.get(3);
        raw.map(|raw| raw.as_str().to_owned()).or_else(|| {
            escaped.map(|text| {
                let joined = &*JOINED;
                let joined = joined.replace_all(text.as_str(), "");
                joined
                    .replace("\\n", "\n")
                    .replace("\\\"", "\"")
                    .replace("\\\\", "\\")
            })
        })
    });
    found.collect()
}

/// A statement without comments and constants; the templates of `format()` are kept in place of its
/// constants.
fn bare(sql: &str) -> String {
    let token = &*TOKEN_;
    let bare = token.replace_all(sql, |found: &regex::Captures<'_>| {
        let found = &found[0];
        // Statements inside a statement.
        let within = found
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''));
        match within.filter(|within| is_sql(within.trim())) {
            Some(within) => within.replace("''", " "),
            None => " 0 ".to_owned(),
        }
    });
    // Qualified names and quoted names are removed.
    let qualified =
        Regex::new(r#"OPERATOR\([a-z_.]+[^)]*\)|"(?:""|[^"])*"|\$[a-z]*\$|%[0-9]*\$?[sIL]"#)
            .unwrap();
    qualified.replace_all(&bare, " 0 ").into_owned()
}

/// The names that a statement looks up in its search path.
pub fn of(sql: &str, names: &mut Names) {
    let words = WORD.captures_iter(sql).map(|found| found[1].to_owned());
    names.words.extend(words);
    let sql = bare(sql);
    let called = &*CALLED;
    let cast = &*CAST;
    let operator = &*OPERATOR;
    let relation = &*RELATION;
    let ours = |name: &str| !GRAMMAR.contains(&name);
    names.functions.extend(
        called
            .captures_iter(&sql)
            .map(|found| found[1].to_owned())
            .filter(|name| ours(name)),
    );
    let casts = cast.captures_iter(&sql).filter(|found| found[2].is_empty());
    names.types.extend(
        casts
            .map(|found| found[1].to_owned())
            .filter(|name| ours(name)),
    );
    let relations = relation
        .captures_iter(&sql)
        .filter(|found| found[2].is_empty());
    names
        .relations
        .extend(relations.map(|found| found[1].to_owned()));
    // A star for all columns, and the signs of PL/pgSQL assignments or named arguments, are no operators.
    let signs = sql.replace(":=", " ").replace("=>", " ");
    names.operators.extend(
        operator
            .find_iter(&signs)
            .map(|found| found.as_str().to_owned()),
    );
}
