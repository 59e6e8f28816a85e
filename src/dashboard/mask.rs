//! Statements without the data in their literals.

/// Returns a statement without its literals: strings, numbers and dollar-quoted text become `?`. If a literal
/// has no end, as in a truncated text, everything after its start is masked. So is everything after a quote
/// that follows `--`: the text has lost its line breaks, so the end of that comment is unknown.
pub fn mask(sql: &str) -> String {
    let mut masked = String::with_capacity(sql.len());
    let mut rest = sql;
    // The two previous characters.
    let (mut earlier, mut before) = (' ', ' ');
    let mut commented = false;
    while let Some(c) = rest.chars().next() {
        let word = is_of_word(before) || before == '"';
        let quotes = match c {
            '\'' => true,
            '$' if !word => dollar_quoted(rest).is_some(),
            _ => false,
        };
        let literal = match c {
            _ if quotes && commented => Some(rest.len()),
            // In E'...' a backslash can escape the quote.
            '\'' => Some(quoted(
                rest,
                matches!(before, 'e' | 'E') && !is_of_word(earlier),
            )),
            '$' if !word => dollar_quoted(rest),
            '0'..='9' if !word => Some(number(rest)),
            _ => None,
        };
        let mut kept = c.len_utf8();
        if let Some(length) = literal {
            masked.push('?');
            kept = length;
        } else if c == '"' {
            kept = name(rest);
            masked.push_str(rest.get(..kept).unwrap_or_default());
        } else if rest.starts_with("/*") {
            kept = comment(rest);
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

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Length of a name in double quotes, in bytes.
fn name(text: &str) -> usize {
    let end = text.get(1..).and_then(|rest| rest.find('"'));
    end.map_or(text.len(), |end| end + 2)
}

/// Length of a comment, including nested comments, in bytes.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a string in single quotes, in bytes.
fn quoted(text: &str, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => {
                chars.next();
            }
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `$tag$…$tag$` in bytes; `None` for a parameter such as `$1`.
fn dollar_quoted(text: &str) -> Option<usize> {
    let inner = text.get(1..)?;
    let tag = inner.find('$')?;
    let name = inner.get(..tag)?;
    let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_tag {
        return None;
    }
    let fence = text.get(..tag + 2)?;
    let body = text.get(tag + 2..)?;
    Some(
        body.find(fence)
            .map_or(text.len(), |end| tag + 2 + end + fence.len()),
    )
}

/// Length of a number in bytes: digits, a point, an exponent, hexadecimal digits.
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
            ("SELECT E'a\\'b', 'c\\' FROM t", "SELECT E?, ? FROM t"),
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
                "where a like'a\\' and b = 'secret'",
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
