//! Parses connection service files: `[name]` sections of `keyword=value` lines.

use super::account::home;
use super::conninfo_error::ConninfoError;
use super::keywords::Settings;
use crate::text::Clean;
use std::path::{Path, PathBuf};

/// Folders of the system-wide file: Debian, Red Hat, source builds, BSD and Homebrew.
const SYSTEM_FOLDERS: &[&str] = &[
    "/etc/postgresql-common",
    "/etc/sysconfig/pgsql",
    "/usr/local/pgsql/etc",
    "/usr/local/etc/postgresql",
    "/opt/homebrew/etc/postgresql",
];

/// Returns the settings of `service`: from `file` (servicefile, PGSERVICEFILE) or ~/.pg_service.conf, else from the
/// system's pg_service.conf. A file given explicitly must exist.
pub(super) fn lookup(
    service: &str,
    file: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConninfoError> {
    let own = match file {
        Some(file) => Some(PathBuf::from(file)),
        None => home(env)
            .map(|home| home.join(".pg_service.conf"))
            .filter(|path| path.exists()),
    };
    let system = match env("PGSYSCONFDIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => SYSTEM_FOLDERS.iter().map(PathBuf::from).collect(),
    };
    let system = system
        .into_iter()
        .map(|folder| folder.join("pg_service.conf"))
        .find(|path| path.exists());
    for path in own.into_iter().chain(system) {
        let text = std::fs::read(&path).map_err(|error| {
            ConninfoError::new(format!(
                "cannot read service file \"{}\": {error}",
                shown(&path)
            ))
        })?;
        if let Some(settings) = parse(&String::from_utf8_lossy(&text), service, &path)? {
            return Ok(settings);
        }
    }
    Err(ConninfoError::new(format!(
        "definition of service \"{}\" not found: add a [section] of that name to ~/.pg_service.conf or set PGSERVICEFILE",
        Clean::new(service)
    )))
}

fn shown(path: &Path) -> Clean {
    Clean::new(&path.to_string_lossy())
}

/// Parses the first section called `service`; within it the first value of a keyword counts, as in libpq.
fn parse(text: &str, service: &str, path: &Path) -> Result<Option<Settings>, ConninfoError> {
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let wrong = |what: &str| {
            let number = number + 1;
            ConninfoError::new(format!(
                "service file \"{}\", line {number}: {what}",
                shown(path)
            ))
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if section.strip_suffix(']') == Some(service) {
                found = Some(Settings::default());
            }
            continue;
        }
        let Some(settings) = &mut found else {
            continue;
        };
        let Some((keyword, value)) = line.split_once('=') else {
            return Err(wrong("write keyword=value (LDAP look-up is not supported)"));
        };
        if matches!(keyword, "service" | "servicefile") {
            return Err(wrong("a service cannot name another service"));
        }
        let mut one = Settings::default();
        one.set(keyword, value.to_owned())
            .map_err(|error| wrong(&error.to_string()))?;
        settings.fill(one);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[a]\nhost=h1\n port=1\nhost=h2\n\n[b]\nhost=other\n[c]\nhots=x\n[d]\nservice=a\n[e]\nldap://x\n";

    fn section(name: &str) -> Result<Option<Settings>, ConninfoError> {
        parse(FILE, name, Path::new("svc"))
    }

    #[test]
    fn a_section_gives_its_first_values() {
        let settings = section("a").unwrap().unwrap();
        let shown: Vec<_> = settings.shown().collect();
        assert_eq!(shown, [("host", "h1"), ("port", "1")]);
        assert_eq!(section("nothing").unwrap(), None);
    }

    #[test]
    fn mistakes_name_file_and_line() {
        for (name, part) in [
            ("c", "line 10: unknown connection keyword"),
            ("d", "line 12: a service cannot name"),
            ("e", "line 14: write keyword=value"),
        ] {
            let said = section(name).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn own_file_first_then_the_system_wide_one() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        std::fs::write(&own, "[x]\nhost=own\n").unwrap();
        std::fs::write(
            folder.path().join("pg_service.conf"),
            "[x]\nhost=system\n[y]\nhost=system\n",
        )
        .unwrap();
        let system = folder.path().to_string_lossy().into_owned();
        let env = move |name: &str| (name == "PGSYSCONFDIR").then(|| system.clone());
        let host = |service: &str, file: &str| {
            lookup(service, Some(file), &env).map(|s| s.get("host").map(str::to_owned))
        };
        let own = own.to_string_lossy();
        assert_eq!(host("x", &own).unwrap().as_deref(), Some("own"));
        assert_eq!(host("y", &own).unwrap().as_deref(), Some("system"));
        assert!(host("z", &own).is_err());
        assert!(host("x", "/nonexistent/file").is_err());
    }
}
