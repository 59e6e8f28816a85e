//! Lists the files that the program carries, so that a file added to one of these folders is in the next build.
//! `src/embedded.rs` includes the lists.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

/// Name of the list, folder, and ending of the files.
pub const FOLDERS: [(&str, &str, &str); 5] = [
    ("PANELS", "queries", ".sql"),
    ("CHECKS", "queries/doctor", ".sql"),
    ("SCHEMA", "queries/system", ".sql"),
    ("THEMES", "themes", ".toml"),
    ("PAGES", "docs", ".md"),
];

fn main() -> io::Result<()> {
    let root = env("CARGO_MANIFEST_DIR")?;
    let mut source = String::new();
    let mut out = io::stdout().lock();
    for (list, folder, ending) in FOLDERS {
        // Cargo looks at the folder and at every file in it.
        writeln!(out, "cargo::rerun-if-changed={folder}")?;
        let names = names(&Path::new(&root).join(folder), ending)?;
        source += &listed(&root, list, folder, &names);
    }
    writeln!(out, "cargo::rerun-if-changed=build.rs")?;
    std::fs::write(Path::new(&env("OUT_DIR")?).join("embedded.rs"), source)
}

fn env(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

/// Names of the files of `folder` that end in `ending`, in their order. Hidden files, which editors leave, are no
/// part of it.
pub fn names(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name.ends_with(ending) && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The list as Rust.
fn listed(root: &str, list: &str, folder: &str, names: &[String]) -> String {
    let mut source = format!(
        "/// Name and text of each file of `{folder}/`.\npub const {list}: &[(&str, &str)] = &[\n"
    );
    for name in names {
        let path = Path::new(root).join(folder).join(name);
        let path = path.to_string_lossy();
        let _ = writeln!(source, "    ({name:?}, include_str!({path:?})),");
    }
    source + "];\n"
}
