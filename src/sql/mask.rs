//! Masks the literals of statements in files that outlive the session, so that others' data stays out of them.

use super::scan::{self, continues_name};

/// Replaces the literals of a statement (strings, numbers, dollar quotes) by `?`. If a literal or comment has no end,
/// as in a truncated text, or its end is ambiguous, everything from its start on is replaced: a quote after `--` in a
/// text that has lost its line ends may or may not belong to the comment, and a backslash before a quote ends the
/// string or not, depending on `standard_conforming_strings`.
pub(crate) fn mask(sql: &str) -> String {
    let mut masked = String::with_capacity(sql.len());
    let mut rest = sql;
    // The previous two characters.
    let (mut earlier, mut before) = (' ', ' ');
    let mut commented = false;
    while let Some(c) = rest.chars().next() {
        let word = continues_name(before) || before == '"';
        let literal = match c {
            // E'...' supports a backslash before the quote.
            '\'' => Some(strings(
                rest,
                matches!(before, 'e' | 'E') && !continues_name(earlier),
            )),
            '$' if !word => scan::dollar_tag(rest)
                .map(|tag| scan::dollar_quoted(rest, tag).unwrap_or(rest.len())),
            _ => None,
        };
        let literal = match literal {
            Some(_) if commented => Some(rest.len()),
            None if c.is_ascii_digit() && !word => Some(number(rest)),
            literal => literal,
        };
        let mut kept = c.len_utf8();
        if let Some(length) = literal {
            masked.push('?');
            kept = length;
        } else if c == '"' {
            kept = scan::name(rest).unwrap_or(rest.len());
            masked.push_str(rest.get(..kept).unwrap_or_default());
        } else if rest.starts_with("/*") {
            kept = scan::comment(rest).unwrap_or(rest.len());
            let text = rest.get(2..kept).unwrap_or_default();
            let (inner, end) = text.strip_suffix("*/").map_or((text, ""), |it| (it, "*/"));
            masked.extend(["/*", &mask(inner), end]);
        } else {
            commented |= rest.starts_with("--");
            masked.push(c);
        }
        let taken = rest.get(..kept).unwrap_or(rest);
        (earlier, before) = match taken.chars().next_back() {
            _ if literal.is_some() => (' ', '?'),
            last => (before, last.unwrap_or(' ')),
        };
        rest = rest.get(kept..).unwrap_or_default();
    }
    masked
}

/// Returns the length of a string in single quotes, including the strings that continue it, which have the same
/// escapes. In PostgreSQL adjacent strings are one only across a line end, and an error elsewhere; here they always are
/// one.
fn strings(text: &str, escapes: bool) -> usize {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let Some(length) = scan::quoted(rest, escapes) else {
            return text.len();
        };
        if !escapes && scan::is_ambiguous(rest) {
            return text.len();
        }
        end += length;
        let behind = text.get(end..).unwrap_or_default();
        let next = behind.trim_start();
        if !next.starts_with('\'') {
            return end;
        }
        end += behind.len() - next.len();
    }
}

/// Returns the length of a number: digits, a point, an exponent, hexadecimal digits; and letters after it, which are
/// ambiguous.
fn number(text: &str) -> usize {
    let of_number = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    text.find(|c: char| !of_number(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_masked_and_names_are_not() {
        for (sql, wanted) in [
            (
                "SELECT 1, 'a''b', x1 FROM t2 WHERE c > -1.5e3",
                "SELECT ?, ?, x1 FROM t2 WHERE c > -?",
            ),
            ("WHERE p = $1 AND q = $2", "WHERE p = $1 AND q = $2"),
            (
                "SELECT $$secret$$, $tag$ a $$ b $tag$, 0x1F",
                "SELECT ?, ?, ?",
            ),
            ("SELECT E'a\\'b', 'c\\\\' FROM t", "SELECT E?, ? FROM t"),
            // Continued strings escape as the first one does.
            ("SELECT E'a'\n'b\\' secret' FROM t", "SELECT E? FROM t"),
            ("SELECT E'a' 'b\\' secret' FROM t", "SELECT E? FROM t"),
            // The string ends at the second quote or, without standard_conforming_strings, at the third.
            ("SELECT 'a\\' secret', 1 FROM t", "SELECT ?"),
            ("SELECT 'cut in the mid", "SELECT ?"),
            (
                "SELECT \"1\", a.\"b2\", '日本' || 'x'",
                "SELECT \"1\", a.\"b2\", ? || ?",
            ),
            ("SELECT $$cut", "SELECT ?"),
            ("/* don't log */ select 'secret'", "/* don?*/ select ?"),
            (
                "/* a /* b's */ c */ select 'secret', 7 /* x",
                "/* a /* b?*/ c */ select ?, ? /* x",
            ),
            (
                "select 'x' as \"it's\", 'secret' as \"cut",
                "select ? as \"it's\", ? as \"cut",
            ),
            (
                "where a like'a\\b' and b = 'secret'",
                "where a like? and b = ?",
            ),
            (
                "-- name: all of 7 select a from t where b = 'secret' and c = 'x'",
                "-- name: all of ? select a from t where b = ?",
            ),
            ("select 1 -- don't , 'secret'", "select ? -- don?"),
            ("select a --1", "select a --?"),
        ] {
            assert_eq!(mask(sql), wanted, "{sql}");
        }
    }
}
