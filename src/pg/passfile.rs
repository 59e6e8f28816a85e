//! The password file: `host:port:database:user:password` lines, first match wins.

use crate::text::Clean;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Connection that a password is needed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Host name, address or socket folder; `localhost` for a default socket folder.
    pub(super) host: &'a str,
    /// TCP port.
    pub(super) port: u16,
    /// Database.
    pub(super) dbname: &'a str,
    /// Role.
    pub(super) user: &'a str,
}

/// Looks up the password for `wanted` in the file at `path`. A missing file is not an error.
pub(super) fn lookup(path: &Path, wanted: Wanted<'_>) -> Option<String> {
    if complaint(path).is_some() {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    find(&String::from_utf8_lossy(&bytes), wanted)
}

/// Explains why the file at `path` is ignored, if it exists and is: libpq's two rules.
pub(super) fn complaint(path: &Path) -> Option<String> {
    let shown = || Clean::new(&path.to_string_lossy());
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return Some(format!(
            "password file \"{}\" is not a plain file: it is ignored",
            shown()
        ));
    }
    (metadata.mode() & 0o077 != 0).then(|| {
        format!(
            "password file \"{0}\" has group or world access: it is ignored until you run chmod 0600 {0}",
            shown()
        )
    })
}

fn find(text: &str, wanted: Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let line = line.strip_suffix('\r').unwrap_or(line);
            [wanted.host, &port, wanted.dbname, wanted.user]
                .into_iter()
                .try_fold(line, |rest, value| {
                    let (field, rest) = split_field(rest)?;
                    (field == "*" || unescape(field) == value).then_some(rest)
                })
                .map(unescape)
        })
}

/// Splits a line at the first colon that is not escaped by a backslash.
fn split_field(line: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let position = line.bytes().position(|byte| {
        let here = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        here
    })?;
    Some((line.get(..position)?, line.get(position + 1..)?))
}

fn unescape(field: &str) -> String {
    let mut chars = field.chars();
    let mut out = String::with_capacity(field.len());
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const WANTED: Wanted<'_> = Wanted {
        host: "h",
        port: 5432,
        dbname: "d",
        user: "u",
    };

    #[test]
    fn the_first_matching_line_counts() {
        for (text, password) in [
            ("h:5432:d:u:pw", Some("pw")),
            ("*:*:*:*:any", Some("any")),
            ("other:*:*:*:no\n*:*:d:u:yes\n*:*:*:*:late", Some("yes")),
            ("#h:5432:d:u:pw", None),
            ("h:5433:d:u:pw", None),
            ("h:5432:d:u", None),
            ("h:5432:d:u:a\\:b\\\\c\r\n", Some("a:b\\c")),
            ("h:5432:d:u:a:b", Some("a:b")),
            ("\\h:5432:d:u:pw", Some("pw")),
            ("\\*:*:*:*:pw", None),
            ("", None),
        ] {
            assert_eq!(find(text, WANTED).as_deref(), password, "{text:?}");
        }
        let colon = Wanted {
            host: "::1",
            dbname: "a\\b",
            ..WANTED
        };
        assert_eq!(find("\\:\\:1:*:a\\\\b:u:pw", colon).as_deref(), Some("pw"));
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        assert_eq!(complaint(&path), None);
        assert_eq!(lookup(&path, WANTED), None);
        std::fs::write(&path, "*:*:*:*:pw\n").unwrap();
        for (mode, password) in [
            (0o600, Some("pw")),
            (0o400, Some("pw")),
            (0o640, None),
            (0o604, None),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(lookup(&path, WANTED).as_deref(), password, "{mode:o}");
            assert_eq!(complaint(&path).is_none(), password.is_some());
        }
        assert!(complaint(folder.path()).unwrap().contains("plain file"));
    }
}
