//! A user's own panels: every `*.sql` file in the configuration folder's `queries/`.

use super::spec::{Pool, SamplingRules, SearchPath, Spec};
use std::path::Path;

/// Maximum size of a panel file in bytes.
const FILE_CAP: u64 = 256 * 1024;

/// Returns the panels in `folder` sorted by name, and an error message for each file that was ignored.
pub fn read(folder: &Path) -> (Vec<Spec>, Vec<String>) {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    let (mut panels, mut complaints) = (Vec::new(), Vec::new());
    for path in files {
        match read_file(&path) {
            Ok(spec) => panels.push(spec),
            Err(reason) => complaints.push(format!("panel skipped: {}: {reason}", path.display())),
        }
    }
    (panels, complaints)
}

fn read_file(path: &Path) -> Result<Spec, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if super::variants().any(|(built_in, _)| built_in == name) {
        return Err(format!(
            "{name} is the name of a built-in panel: give the file another one"
        ));
    }
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > FILE_CAP {
        return Err(format!(
            "the file has {size} bytes; a panel may have at most {FILE_CAP}"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut spec = Spec::parse(&name, &text).map_err(|error| error.reason)?;
    let front = &spec.front;
    let opened = front.digit.is_some() || front.opens.is_some() || front.letter.is_some();
    let placed = front.order.is_some() || opened;
    if placed || front.internal || front.sampling != SamplingRules::default() {
        return Err("order, digit, letter, internal and sampling are for built-in panels".into());
    }
    if spec.front.pool == Pool::Columnar {
        if spec.front.search_path == SearchPath::Role {
            return Err(
                "search_path is for pool \"olap\": the column store has one table, fact_sales"
                    .into(),
            );
        }
        // It takes a single SELECT and refuses everything else.
        return Ok(spec);
    }
    // Whatever the file contains runs read-only, with time and memory limits. As a subquery it must be a
    // single query: a second statement, such as `COMMIT` or `SET TRANSACTION READ WRITE`, is a syntax error.
    spec.front.pool = Pool::Olap;
    let sql = spec.sql.trim_end().trim_end_matches(';');
    spec.sql = match spec.front.search_path {
        SearchPath::Catalog => format!("SELECT * FROM (\n{sql}\n) AS panel"),
        SearchPath::Role => {
            format!("SET LOCAL search_path TO DEFAULT; SELECT * FROM (\n{sql}\n) AS panel")
        }
    };
    Ok(spec)
}
