//! Splits a text into statements, and writes their canonical form.

use super::lex::{Kind, Token, lex_from};
use std::fmt::Write as _;

/// Returns the statements of a text, without the semicolons between them and without empty ones.
pub(crate) fn statements(tokens: &[Token]) -> Vec<&[Token]> {
    let body = tokens
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.is_word("begin") && b.is_word("atomic")));
    if body {
        // A function body in standard SQL contains semicolons; no statement that reads has one.
        return vec![tokens];
    }
    let mut depth = 0_i32;
    let parts = tokens.split(|token| {
        depth += i32::from(token.is_sign("(")) - i32::from(token.is_sign(")"));
        depth <= 0 && token.is_sign(";")
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Splits a text into its statements, as written. One that cannot be read is assumed to end with the next semicolon.
pub(crate) fn split(sql: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let (tokens, wrong) = lex_from(sql, from);
        let mut whole = statements(&tokens);
        let mut bad = None;
        if let Some((at, _)) = wrong {
            let open = whole.pop_if(|_| tokens.last().is_some_and(|last| !last.is_sign(";")));
            let start = open
                .and_then(|open| open.first())
                .map_or(at, |first| first.start);
            let rest = sql.get(at..).unwrap_or_default();
            let end = rest.find(';').map_or(sql.len(), |length| at + length);
            bad = Some((start, end));
        }
        let text = |statement: &[Token]| {
            let (first, last) = (statement.first()?, statement.last()?);
            sql.get(first.start..last.end)
        };
        found.extend(whole.into_iter().filter_map(text));
        let Some((start, end)) = bad else {
            return found;
        };
        found.push(sql.get(start..end).unwrap_or_default().trim());
        from = end + 1;
        if from >= sql.len() {
            return found;
        }
    }
}

/// Literals of a statement that are left out of its canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// All literals; only the structure remains.
    All,
    /// Literals compared for equality. Their values hardly change the cost of a plan, while the bounds of a range or a
    /// LIMIT determine it.
    Equality,
}

/// Maximum number of parameters in the protocol.
const PARAMS: usize = 65_535;

/// Returns the number of a statement's parameters: the highest parameter number.
pub(crate) fn params(tokens: &[Token]) -> Result<usize, String> {
    let params = tokens.iter().filter(|token| token.kind == Kind::Param);
    let number = |token: &Token| token.text.parse().unwrap_or(usize::MAX);
    let params = params.map(number).max().unwrap_or(0);
    if params > PARAMS {
        return Err(format!("it has more than {PARAMS} parameters"));
    }
    Ok(params)
}

/// Returns the statement on one line, without comments, in a uniform notation. Masked literals become `''` or 0. With
/// [`Mask::All`] the text is also for the parser, which does not support ONLY before a name, so ONLY is left out.
pub(crate) fn canonical(tokens: &[Token], mask: Mask) -> String {
    let mut text = String::new();
    let mut lists = Vec::new();
    let mut before: [Option<&Token>; 2] = [None, None];
    for (position, token) in tokens.iter().enumerate() {
        let after_equals = before[1].is_some_and(|token| token.is_sign("="));
        let masked = token.is_literal()
            && (mask == Mask::All || after_equals || lists.last() == Some(&true));
        if token.is_sign("(") {
            lists.push(before[1].is_some_and(|token| token.is_word("in")));
        } else if token.is_sign(")") {
            lists.pop();
        }
        let of_rows = before[1].is_some_and(|token| token.is_word("row") || token.is_word("rows"));
        let named = tokens.get(position + 1).is_some_and(Token::is_name);
        if mask == Mask::All && token.is_word("only") && named && !of_rows {
            continue;
        }
        // One literal stands for a list of literals.
        let repeated = mask == Mask::All
            && token.is_literal()
            && matches!(before, [Some(one), Some(comma)] if one.is_literal() && comma.is_sign(","));
        if repeated {
            text.truncate(text.len().saturating_sub(2));
        } else {
            if !text.is_empty() {
                text.push(' ');
            }
            write(token, masked, &mut text);
        }
        before = [before[1], Some(token)];
    }
    text
}

fn write(token: &Token, masked: bool, text: &mut String) {
    let _ = match (token.kind, masked) {
        (Kind::Quoted, _) => write!(text, "\"{}\"", token.text.replace('"', "\"\"")),
        (Kind::Param, _) => write!(text, "${}", token.text),
        (Kind::Text, true) => text.write_str("''"),
        (Kind::Number, true) => text.write_str("0"),
        _ => text.write_str(&token.text),
    };
}
