//! Finds the ends of the parts of a statement, by PostgreSQL's lexical rules (src/backend/parser/scan.l). Each function
//! takes a text that begins with the part and returns the length of the part in bytes, or `None` if it has no end.

/// Returns true if an unquoted name may begin with this character.
pub(super) fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// Returns true if an unquoted name may continue with this character.
pub(super) fn continues_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '$'
}

/// Measures a block comment, including nested ones.
pub(super) fn comment(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next()?.len_utf8();
        }
    }
}

/// Measures a string in single quotes. With `escapes` a backslash escapes the next character, as in `E'…'`.
pub(super) fn quoted(text: &str, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => {
                chars.next();
            }
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            '\'' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns true if a string in single quotes, read without escapes, has another end with `standard_conforming_strings`
/// off.
pub(super) fn is_ambiguous(text: &str) -> bool {
    quoted(text, true) != quoted(text, false)
}

/// Measures a name in double quotes.
pub(super) fn name(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the tag that begins a string in dollar quotes, `$$` or `$tag$`; `None` if the dollar begins something else,
/// as in `$1`.
pub(super) fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let name = inner.split('$').next()?;
    let is_tag = name.chars().all(continues_name) && !name.starts_with(|c| !begins_name(c));
    // `None` if the dollar that ends the tag is missing.
    text.get(..name.len() + 2).filter(|_| is_tag)
}

/// Measures a string in dollar quotes that begins with this tag.
pub(super) fn dollar_quoted(text: &str, tag: &str) -> Option<usize> {
    let body = text.get(tag.len()..)?;
    body.find(tag).map(|end| end + 2 * tag.len())
}
