//! SQL files of this program: a front matter, written as SQL comments, followed by a statement.

/// Returns the front matter of a file, without comment markers, and the statement after it.
pub fn split(text: &str) -> (String, String) {
    let text = text.trim_start_matches('\u{feff}');
    let front_lines = text.lines().take_while(|line| line.starts_with("--"));
    let front = front_lines
        .flat_map(|line| [uncomment(line), "\n"])
        .collect();
    let sql: Vec<&str> = text
        .lines()
        .skip_while(|line| line.starts_with("--"))
        .collect();
    (front, sql.join("\n").trim().to_owned())
}

fn uncomment(line: &str) -> &str {
    let rest = line.trim_start_matches('-');
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// A file, and the files beside it that hold its statement from later major versions on, or for the column store:
/// `activity.sql` and `activity.14.sql`, `rfm_segments.columnar.sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// File name without ending.
    pub name: &'a str,
    /// Front matter and the statement of the oldest supported version.
    pub base: &'a str,
    /// Later versions, ascending.
    pub later: Vec<(i64, &'a str)>,
    /// For the column store.
    pub columnar: Option<&'a str>,
}

/// Ending of the name of a file for the column store.
const COLUMNAR: &str = "columnar";

impl<'a> File<'a> {
    /// Sorts files into statements and their versions. An error names the file.
    pub fn sort(files: &[(&'a str, &'a str)]) -> Result<Vec<Self>, String> {
        let mut sorted: Vec<Self> = Vec::new();
        let mut later = Vec::new();
        for (file, text) in files {
            let stem = file.strip_suffix(".sql").unwrap_or(file);
            match stem.split_once('.') {
                None => sorted.push(File {
                    name: stem,
                    base: text,
                    later: Vec::new(),
                    columnar: None,
                }),
                Some((name, major)) => later.push((name, major, *file, *text)),
            }
        }
        for (name, major, file, text) in later {
            let base = sorted.iter_mut().find(|file| file.name == name);
            let base = base.ok_or_else(|| format!("{file}: there is no {name}.sql beside it"))?;
            if major == COLUMNAR {
                base.columnar = Some(text);
                continue;
            }
            let major = major.parse().map_err(|_| {
                format!(
                    "{file}: {major:?} is no major version; name the file {name}.17.sql, or {name}.{COLUMNAR}.sql for the \
                     column store"
                )
            })?;
            base.later.push((major, text));
            base.later.sort_unstable_by_key(|(major, _)| *major);
        }
        Ok(sorted)
    }

    /// Front matter, and the statement for a server of this major version; an unknown newer one gets the newest.
    pub fn parts(&self, major: i64) -> (String, String) {
        let (front, base) = split(self.base);
        let later = self.later.iter().rev().find(|(from, _)| *from <= major);
        (front, later.map_or(base, |(_, text)| split(text).1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_the_file_of_their_name() {
        let base = "-- a = 1\nSELECT 1";
        let files = [
            ("x.17.sql", "-- why\nSELECT 17"),
            ("x.9.sql", "SELECT 9"),
            ("x.sql", base),
            ("y.columnar.sql", "SELECT 1"),
            ("y.sql", base),
        ];
        let sorted = File::sort(&files).unwrap();
        let names: Vec<_> = sorted.iter().map(|file| file.name).collect();
        assert_eq!(names, ["x", "y"]);
        let statement = |major| sorted[0].parts(major).1;
        assert_eq!(
            [8, 9, 16, 17, 99].map(statement),
            ["SELECT 1", "SELECT 9", "SELECT 9", "SELECT 17", "SELECT 17"]
        );
        assert_eq!(sorted[0].parts(17).0, "a = 1\n");
        assert_eq!(sorted[0].columnar, None);
        assert_eq!(sorted[1].columnar, Some("SELECT 1"));
        let lonely = File::sort(&[("x.17.sql", base)]).unwrap_err();
        assert!(lonely.starts_with("x.17.sql: there is no x.sql"));
        let odd = File::sort(&[("x.sql", base), ("x.new.sql", base)]).unwrap_err();
        assert!(odd.starts_with("x.new.sql: "), "{odd}");
    }
}
