//! The configuration file without secrets.

use super::Section;
use crate::text::Clean;
use std::fmt::Write as _;
use std::path::Path;
use toml::{Table, Value};

/// Words in the name of a key whose value is not shown.
const SECRET: [&str; 9] = [
    "password", "passwd", "secret", "token", "conninfo", "dsn", "url", "uri", "pooler",
];

/// The configuration file in `folder`, or `file`, and the names of the user's own panels and themes.
pub(crate) fn section(file: &Path, folder: &Path, mask: fn(&str) -> String) -> Section {
    let mut body = match std::fs::read_to_string(file) {
        Ok(text) => masked(&text, mask),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "no configuration file: all keys have their defaults\n".to_owned()
        }
        Err(error) => format!("cannot be read: {error}\n"),
    };
    for below in ["queries", "themes"] {
        for name in names(&folder.join(below)) {
            let _ = writeln!(body, "# file: {below}/{name}");
        }
    }
    Section {
        title: "Configuration",
        about: "the configuration file without comments, with literals and secrets masked; names of your own panels and themes",
        body,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| {
        let name = file.file_name();
        Clean::new(&name.to_string_lossy()).as_str().to_owned()
    };
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}

/// The file's keys with their values. Comments can hold anything and are left out.
pub(crate) fn masked(text: &str, mask: fn(&str) -> String) -> String {
    let mut table: Table = match toml::from_str(text) {
        Ok(table) => table,
        // Its message would show the line, in which a secret can stand.
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |text| text.matches('\n').count() + 1);
            return format!("not valid TOML: line {line}\n");
        }
    };
    for (key, value) in &mut table {
        hide(key, value, mask);
    }
    table.to_string()
}

fn hide(key: &str, value: &mut Value, mask: fn(&str) -> String) {
    let key = key.to_ascii_lowercase();
    match value {
        _ if SECRET.iter().any(|word| key.contains(word)) => *value = Value::String("?".into()),
        // A command line may hold a token; the other is a connection string, and the name of a panel, too.
        Value::String(text) if key == "command" || key == "columnar" => "?".clone_into(text),
        Value::String(text) if key == "sql" || key == "query" => *text = mask(text),
        Value::String(text) if text.contains("://") || text.contains("password") => {
            "?".clone_into(text);
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(&key, value, mask)),
        Value::Table(table) => {
            for (key, value) in table {
                hide(key, value, mask);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::mask::mask;

    #[test]
    fn a_configuration_keeps_its_keys_and_loses_its_secrets() {
        let text = "# password: planted\ninterval = \"2s\"\ncolumnar = \"user=planted\"\n[panels.columnar]\noff = true\n[canary]\nsql = \"SELECT x FROM t WHERE k = 'planted'\"\n\
            [[guard.rule]]\nname = \"old\"\nquery = \"^SELECT 'planted'\"\n[notify]\ncommand = \"send planted\"\n[new]\napi_token = \"planted\"\n\
            [[new.list]]\nat = \"postgresql://me:planted@db\"\nPASSWORDS = [\"planted\"]\n";
        let told = masked(text, mask);
        for kept in [
            "interval = \"2s\"",
            "WHERE k = ?",
            "name = \"old\"",
            "off = true",
            "api_token = \"?\"",
        ] {
            assert!(told.contains(kept), "{kept}:\n{told}");
        }
        assert!(!told.contains("planted"), "{told}");
        let broken = masked("interval = \"1s\"\nx = planted planted\n", mask);
        assert_eq!(broken, "not valid TOML: line 2\n");
    }
}
