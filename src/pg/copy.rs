//! Makes statements safe to copy from the screen, with any characters in their names.

use crate::text::Clean;
use std::fmt::Write as _;

/// Rewrites `sql` in characters that the screen shows unchanged: quoted tokens with other characters are written with
/// PostgreSQL's Unicode escapes, `U&"..."`.
pub fn to_copy(sql: &str) -> String {
    let mut copy = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        copy.push_str(before);
        let end = end(quoted);
        let (token, after) = quoted.split_at(end);
        if Clean::new(token).as_str() == token {
            copy.push_str(token);
        } else {
            // E'...' already has its backslashes doubled.
            let escapes = token.starts_with('\'') && copy.ends_with('E');
            if escapes {
                copy.pop();
            }
            copy.push_str("U&");
            push_escaped(&mut copy, token, escapes);
        }
        rest = after;
    }
    copy + rest
}

/// Returns the length in bytes of a quoted name or literal; a doubled quote is part of it.
fn end(quoted: &str) -> usize {
    let mut chars = quoted.char_indices().peekable();
    let Some((_, quote)) = chars.next() else {
        return 0;
    };
    while let Some((at, c)) = chars.next() {
        if c != quote {
            continue;
        }
        if chars.peek().is_none_or(|(_, next)| *next != quote) {
            return at + c.len_utf8();
        }
        chars.next();
    }
    quoted.len()
}

fn push_escaped(copy: &mut String, token: &str, escapes: bool) {
    for c in token.chars() {
        let _ = match c {
            '\\' if escapes => write!(copy, "\\"),
            '\\' => write!(copy, "\\\\"),
            ' '..='~' => write!(copy, "{c}"),
            c => write!(copy, "\\+{:06X}", u32::from(c)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_as_it_is_is_escaped() {
        for (sql, copy) in [
            ("REINDEX INDEX a.\"b c\"", "REINDEX INDEX a.\"b c\""),
            ("DROP INDEX \"a\nb\".c", "DROP INDEX U&\"a\\+00000Ab\".c"),
            ("X \"a\"\"\u{200b}\\\"", "X U&\"a\"\"\\+00200B\\\\\""),
            (
                "ROLLBACK PREPARED 'it''s\t'",
                "ROLLBACK PREPARED U&'it''s\\+000009'",
            ),
            ("X  E'a\\\\b\n'", "X  U&'a\\\\b\\+00000A'"),
            ("GRANT \"\u{202e}x", "GRANT U&\"\\+00202Ex"),
            ("no quotes …", "no quotes …"),
        ] {
            assert_eq!(to_copy(sql), copy, "{sql}");
        }
    }
}
