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
