//! Simplifies grammar that the parser does not support: drops clauses that only name columns, and rewrites calls with
//! keywords as calls with commas. The result reads and writes the same.

use crate::sql::lex::{Kind, Token};

/// Returns the statement in the form that the parser reads.
pub(super) fn plain(tokens: &[Token]) -> Vec<Token> {
    let mut plain = Vec::with_capacity(tokens.len());
    let mut calls: Vec<Call> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let rest = tokens.get(at..).unwrap_or_default();
        let before = plain.last();
        if let Some(length) = left_out(before, rest) {
            at += length;
            continue;
        }
        if token.is_sign("(") {
            calls.push(before.map_or(Call::Other, Call::of));
        } else if token.is_sign(")") {
            calls.pop();
        }
        match calls
            .last()
            .copied()
            .unwrap_or(Call::Other)
            .word(before, rest)
        {
            Word::Kept => plain.push(token.clone()),
            Word::Comma => plain.push(Token {
                kind: Kind::Sign,
                text: ",".to_owned(),
                ..token.clone()
            }),
            Word::LeftOut(length) => {
                at += length;
                continue;
            }
        }
        at += 1;
        // JOIN ... USING (a, b) AS j
        if token.is_sign(")")
            && closes_using(&plain)
            && let Some([name, alias]) = tokens.get(at..at + 2)
            && name.is_word("as")
            && alias.is_name()
        {
            at += 2;
        }
    }
    plain
}

/// Kind of a call by its separators, which are not only commas.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// OVERLAY (a PLACING b FROM c FOR d)
    Overlay,
    /// XMLELEMENT (NAME a, ...), XMLPI (NAME a, ...)
    XmlName,
    /// XMLATTRIBUTES (a AS b), XMLFOREST (a AS b)
    XmlAliases,
    Other,
}

/// Treatment of a word in a call.
enum Word {
    Kept,
    Comma,
    LeftOut(usize),
}

impl Call {
    fn of(name: &Token) -> Self {
        match name.text.as_str() {
            _ if name.kind != Kind::Word => Self::Other,
            "overlay" => Self::Overlay,
            "xmlelement" | "xmlpi" => Self::XmlName,
            "xmlattributes" | "xmlforest" => Self::XmlAliases,
            _ => Self::Other,
        }
    }

    fn word(self, before: Option<&Token>, rest: &[Token]) -> Word {
        let [first, more @ ..] = rest else {
            return Word::Kept;
        };
        let named = more.first().is_some_and(Token::is_name);
        match self {
            Self::Overlay
                if ["placing", "from", "for"]
                    .iter()
                    .any(|word| first.is_word(word)) =>
            {
                Word::Comma
            }
            Self::XmlName
                if first.is_word("name") && named && before.is_some_and(|b| b.is_sign("(")) =>
            {
                Word::LeftOut(1)
            }
            Self::XmlAliases if first.is_word("as") && named => Word::LeftOut(2),
            _ => Word::Kept,
        }
    }
}

/// Returns the number of tokens of a clause that begins here and only names columns.
fn left_out(before: Option<&Token>, rest: &[Token]) -> Option<usize> {
    let before = before?;
    let words = |wanted: &[&str]| {
        let mut pairs = wanted.iter().enumerate();
        pairs.all(|(at, word)| rest.get(at).is_some_and(|token| token.is_word(word)))
    };
    // The exclusion of a window frame.
    if ["row", "preceding", "following"]
        .iter()
        .any(|word| before.is_word(word))
    {
        for clause in [
            &["exclude", "ties"][..],
            &["exclude", "group"],
            &["exclude", "current", "row"],
            &["exclude", "no", "others"],
        ] {
            if words(clause) {
                return Some(clause.len());
            }
        }
    }
    if before.is_word("by") && (words(&["distinct"]) || words(&["all"])) {
        return Some(1);
    }
    if !before.is_sign(")") {
        return None;
    }
    // A clause after a common table expression.
    let search =
        words(&["search", "depth", "first", "by"]) || words(&["search", "breadth", "first", "by"]);
    if search {
        let end = columns(rest, 4)?;
        return (rest.get(end)?.is_word("set") && rest.get(end + 1)?.is_name()).then_some(end + 2);
    }
    if words(&["cycle"]) {
        let mut end = columns(rest, 1)?;
        if !(rest.get(end)?.is_word("set") && rest.get(end + 1)?.is_name()) {
            return None;
        }
        end += 2;
        if rest.get(end)?.is_word("to") {
            // The constants.
            while !rest.get(end)?.is_word("using") {
                let token = rest.get(end)?;
                let constant = matches!(token.kind, Kind::Text | Kind::Number)
                    || ["to", "default", "true", "false", "null"]
                        .iter()
                        .any(|word| token.is_word(word));
                if !constant {
                    return None;
                }
                end += 1;
            }
        }
        return (rest.get(end)?.is_word("using") && rest.get(end + 1)?.is_name())
            .then_some(end + 2);
    }
    None
}

/// Returns the end of the list of columns that begins here.
fn columns(rest: &[Token], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        if !rest.get(at)?.is_name() {
            return None;
        }
        at += 1;
        if !rest.get(at)?.is_sign(",") {
            return Some(at);
        }
        at += 1;
    }
}

/// Returns true if the tokens so far end with USING and a list of columns.
fn closes_using(plain: &[Token]) -> bool {
    let mut back = plain.iter().rev().skip(1);
    let open = back.find(|token| !(token.is_name() || token.is_sign(",")));
    open.is_some_and(|open| open.is_sign("("))
        && back.next().is_some_and(|token| token.is_word("using"))
}
