//! PostgreSQL's own lexical rules (src/backend/parser/scan.l): the extent of comments, literals and names. The parser
//! and the caches work on these tokens, never on the text itself, so that nothing can hide in a comment or literal that
//! PostgreSQL reads differently. Ambiguous text is an error, and goes to the primary.

use super::scan::{self, begins_name, continues_name};

/// Maximum length of a name in bytes; PostgreSQL truncates longer ones.
const NAME_BYTES: usize = 63;
/// Characters that operators are made of.
const OPERATOR: &str = "~!@#^&|`?+-*/%<>=";
/// An operator of several characters may end in + or - only if it contains one of these.
const KEEPS_SIGN: &str = "~!@#^&|`?%";

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or an unquoted name, folded to lower case.
    Word,
    /// A quoted name.
    Quoted,
    /// A string literal in any notation.
    Text,
    /// A number.
    Number,
    /// A parameter, `$1`.
    Param,
    /// An operator.
    Operator,
    /// One of `( ) [ ] , ; . :` or `::`, `:=`, `..`.
    Sign,
}

/// A token of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Kind of the token.
    pub kind: Kind,
    /// Folded name, operator, sign or number; for literals the text as written.
    pub text: String,
    /// Byte offset of its start.
    pub start: usize,
    /// Byte offset of its end.
    pub end: usize,
}

impl Token {
    /// Returns true if it is this keyword, or this unquoted name.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// Returns true if it is this sign or operator.
    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.kind, Kind::Sign | Kind::Operator) && self.text == sign
    }

    /// Returns true if it can name something.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Number)
    }
}

/// Splits a text into tokens, without comments. Returns an error if the text is ambiguous or invalid.
pub fn lex(sql: &str) -> Result<Vec<Token>, &'static str> {
    let (tokens, wrong) = lex_from(sql, 0);
    wrong.map_or(Ok(tokens), |(_, why)| Err(why))
}

/// Returns the tokens from offset `from` on, and the offset and reason of the error if there is one.
pub(crate) fn lex_from(sql: &str, from: usize) -> (Vec<Token>, Option<(usize, &'static str)>) {
    let mut lexer = Lexer { sql, at: from };
    let mut tokens = Vec::new();
    loop {
        let at = lexer.at;
        match lexer.next() {
            Ok(Some(token)) => tokens.push(token),
            Ok(None) => return (tokens, None),
            Err(why) => return (tokens, Some((at, why))),
        }
    }
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Advances while `wanted` holds, and returns the text passed.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Token>, &'static str> {
        self.skip_blanks()?;
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let rest = self.rest();
        let second = rest.chars().nth(1);
        let (kind, text) = match first {
            '\'' => self.literal(false)?,
            'e' | 'E' if second == Some('\'') => {
                self.bump();
                self.literal(true)?
            }
            'b' | 'B' | 'x' | 'X' | 'n' | 'N' if second == Some('\'') => {
                self.bump();
                self.literal(false)?
            }
            'u' | 'U' if rest.get(1..3).is_some_and(|q| q == "&'" || q == "&\"") => {
                self.with_unicode()?
            }
            '"' => (Kind::Quoted, self.quoted_name()?),
            '$' => self.dollar()?,
            _ if begins_name(first) => {
                let word = self.take_while(continues_name).to_ascii_lowercase();
                (Kind::Word, cut(word))
            }
            '0'..='9' => (Kind::Number, self.number()?),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => (Kind::Number, self.number()?),
            '(' | ')' | '[' | ']' | ',' | ';' | '.' | ':' => (Kind::Sign, self.sign()),
            _ if OPERATOR.contains(first) => (Kind::Operator, self.operator()),
            _ => return Err("it has a character that PostgreSQL does not allow outside quotes"),
        };
        let end = self.at;
        Ok(Some(Token {
            kind,
            text,
            start,
            end,
        }))
    }

    /// Skips whitespace and comments; returns true if they include a line end.
    fn skip_blanks(&mut self) -> Result<bool, &'static str> {
        let from = self.at;
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'));
            if self.rest().starts_with("--") {
                self.take_while(|c| !matches!(c, '\n' | '\r'));
            } else if self.rest().starts_with("/*") {
                self.at += scan::comment(self.rest()).ok_or("a comment has no end")?;
            } else {
                let passed = self.sql.get(from..self.at).unwrap_or_default();
                return Ok(passed.contains(['\n', '\r']));
            }
        }
    }

    /// Reads a literal in single quotes, with its continuations on the following lines.
    fn literal(&mut self, escapes: bool) -> Result<(Kind, String), &'static str> {
        let start = self.at;
        let mut end;
        loop {
            self.quoted_text(escapes)?;
            end = self.at;
            if !(self.skip_blanks()? && self.peek() == Some('\'')) {
                break;
            }
        }
        self.at = end;
        let text = self.sql.get(start..end).unwrap_or_default();
        // E'\x' and '\x' differ.
        let mark = if escapes { "e" } else { "" };
        Ok((Kind::Text, format!("{mark}{text}")))
    }

    /// Advances past the closing quote.
    fn quoted_text(&mut self, escapes: bool) -> Result<(), &'static str> {
        let rest = self.rest();
        let length = scan::quoted(rest, escapes).ok_or("a literal has no end")?;
        if !escapes && scan::is_ambiguous(rest) {
            return Err("a backslash precedes a quote");
        }
        self.at += length;
        Ok(())
    }

    fn quoted_name(&mut self) -> Result<String, &'static str> {
        self.between_quotes().map(cut)
    }

    /// Reads a name or literal with Unicode escapes, and the UESCAPE clause after it if there is one.
    fn with_unicode(&mut self) -> Result<(Kind, String), &'static str> {
        let start = self.at;
        self.bump();
        self.bump();
        let name = if self.peek() == Some('"') {
            Some(self.between_quotes()?)
        } else {
            self.literal(false)?;
            None
        };
        let escape = self.uescape()?;
        if let Some(name) = name {
            Ok((Kind::Quoted, cut(unescaped(&name, escape)?)))
        } else {
            let text = self.sql.get(start..self.at).unwrap_or_default();
            Ok((Kind::Text, text.to_owned()))
        }
    }

    /// Reads the character of a UESCAPE '!' clause, if one follows.
    fn uescape(&mut self) -> Result<char, &'static str> {
        let before = self.at;
        self.skip_blanks()?;
        let word = self.take_while(continues_name);
        if !word.eq_ignore_ascii_case("uescape") {
            self.at = before;
            return Ok('\\');
        }
        self.skip_blanks()?;
        let mut said = self.rest().chars();
        let said = [said.next(), said.next(), said.next()];
        let [Some('\''), Some(escape), Some('\'')] = said else {
            return Err("UESCAPE is followed by no character in quotes");
        };
        if escape.is_ascii_hexdigit()
            || escape.is_whitespace()
            || matches!(escape, '+' | '\'' | '"')
        {
            return Err("UESCAPE names a character that cannot begin an escape");
        }
        self.at += 2 + escape.len_utf8();
        Ok(escape)
    }

    fn between_quotes(&mut self) -> Result<String, &'static str> {
        let rest = self.rest();
        let length = scan::name(rest).ok_or("a quoted name has no end")?;
        self.at += length;
        let name = rest.get(1..length - 1).unwrap_or_default();
        Ok(name.replace("\"\"", "\""))
    }

    /// Reads a parameter or a dollar-quoted literal.
    fn dollar(&mut self) -> Result<(Kind, String), &'static str> {
        let rest = self.rest();
        if let Some(tag) = scan::dollar_tag(rest) {
            let Some(length) = scan::dollar_quoted(rest, tag) else {
                return Err("a literal in dollar quotes has no end");
            };
            self.at += length;
            let text = rest.get(..length).unwrap_or_default();
            return Ok((Kind::Text, text.to_owned()));
        }
        self.bump();
        let number = self.take_while(|c| c.is_ascii_digit()).to_owned();
        if number.is_empty() {
            return Err("a $ stands alone");
        }
        if self.peek().is_some_and(begins_name) {
            return Err("a parameter is followed by a letter");
        }
        Ok((Kind::Param, number))
    }

    fn number(&mut self) -> Result<String, &'static str> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let rest = self.rest();
        if rest.starts_with('.') && !rest.starts_with("..") {
            self.bump();
            self.take_while(|c| c.is_ascii_digit());
        }
        let mut after = self.rest().chars();
        if matches!(after.next(), Some('e' | 'E')) {
            let sign_or_digit = after.next();
            let digit = match sign_or_digit {
                Some('+' | '-') => after.next(),
                other => other,
            };
            if digit.is_some_and(|c| c.is_ascii_digit()) {
                self.at += 2;
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        if self.peek().is_some_and(begins_name) {
            // 0xFF, 1_000: PostgreSQL 16 and later read these differently from earlier versions.
            return Err("a number is followed by a letter");
        }
        Ok(self.sql.get(start..self.at).unwrap_or_default().to_owned())
    }

    fn sign(&mut self) -> String {
        let double = ["::", ":=", ".."]
            .into_iter()
            .find(|double| self.rest().starts_with(double));
        let length = double.map_or(1, str::len);
        let text = self.rest().get(..length).unwrap_or_default().to_owned();
        self.at += length;
        text
    }

    fn operator(&mut self) -> String {
        let from = self.at;
        let run = self.take_while(|c| OPERATOR.contains(c));
        // A comment may begin directly after an operator.
        let comment = ["--", "/*"].into_iter().filter_map(|mark| run.find(mark));
        let mut operator = run
            .get(..comment.min().unwrap_or(run.len()))
            .unwrap_or_default();
        while operator.len() > 1
            && operator.ends_with(['+', '-'])
            && !operator.contains(|c| KEEPS_SIGN.contains(c))
        {
            operator = operator.get(..operator.len() - 1).unwrap_or_default();
        }
        self.at = from + operator.len();
        operator.to_owned()
    }
}

/// Resolves the Unicode escapes of a name: `escape` followed by four hexadecimal digits, or by a plus sign and six.
fn unescaped(name: &str, escape: char) -> Result<String, &'static str> {
    let wrong = "a Unicode escape is not a character";
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once(escape) {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix(escape) {
            plain.push(escape);
            rest = after;
            continue;
        }
        let (digits, length) = after
            .strip_prefix('+')
            .map_or((after, 4), |digits| (digits, 6));
        let code = digits
            .get(..length)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        // An unpaired surrogate is rejected, too.
        plain.push(
            code.and_then(char::from_u32)
                .filter(|c| *c != '\0')
                .ok_or(wrong)?,
        );
        rest = digits.get(length..).unwrap_or_default();
    }
    Ok(plain + rest)
}

/// Truncates a name that is too long, as PostgreSQL does.
fn cut(mut name: String) -> String {
    if name.len() > NAME_BYTES {
        let end = (0..=NAME_BYTES)
            .rev()
            .find(|&end| name.is_char_boundary(end));
        name.truncate(end.unwrap_or(0));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Mask, canonical, split};
    use super::*;
    use proptest::prelude::*;

    fn words(sql: &str) -> Vec<String> {
        lex(sql)
            .unwrap()
            .into_iter()
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn comments_end_where_postgresql_ends_them() {
        assert_eq!(words("a -- b\n c"), ["a", "c"]);
        assert_eq!(
            words("a -- b\r c"),
            ["a", "c"],
            "a carriage return ends a line"
        );
        assert_eq!(words("a /* /* b */ c */ d"), ["a", "d"], "comments nest");
        assert_eq!(words("a--b"), ["a"]);
        assert_eq!(words("1 */* c */ 2"), ["1", "*", "2"], "behind an operator");
        assert_eq!(words("1 +-- c\n 2"), ["1", "+", "2"]);
        assert!(lex("a /* /* b */ c").is_err());
    }

    #[test]
    fn literals_end_where_postgresql_ends_them() {
        let one = |sql: &str| {
            let tokens = lex(sql).unwrap();
            assert_eq!(tokens.len(), 1, "{sql}: {tokens:?}");
            assert_eq!(tokens[0].kind, Kind::Text, "{sql}");
        };
        for sql in [
            "'a'",
            "'it''s'",
            "e'it\\'s'",
            "E'\\\\'",
            "'a' \n 'b'",
            "'a' -- c\n 'b'",
            "e'a'\n'\\''",
            "$$it's$$",
            "$tag$ $$ $ta$ $tag$",
            "$é$ ' $é$",
            "b'101'",
            "X'ff'",
            "n'a'",
            "u&'a'",
            "U&'\\0061' UESCAPE /* */ '!'",
        ] {
            one(sql);
        }
        assert_eq!(words("U&\"d\\0061t\\+000061\\\\\" x"), ["data\\", "x"]);
        assert_eq!(words("u&\"!0061!!\" uescape '!'"), ["a!"]);
        assert_eq!(words("'a' 'b'").len(), 2, "on one line they are two");
        assert_eq!(words("a$b$c"), ["a$b$c"], "a dollar inside of a name");
        for sql in [
            "'a",
            "$$a",
            "\"a",
            "$a b$",
            "e'\\'",
            "u&'a",
            "U&\"a",
            "U&\"\\00zz\"",
            "U&\"\\0000\"",
            "U&\"\\d800\"",
            "U&'a' uescape '+'",
            "U&'a' uescape x",
            "1a",
            "0xff",
            "'\\'",
            "a \\ b",
            "a \u{1} b",
        ] {
            assert!(lex(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn names_fold_and_are_cut_as_in_postgresql() {
        assert_eq!(
            words("SeLeCt \"SeLeCt\" \"a\"\"b\" ÄB"),
            ["select", "SeLeCt", "a\"b", "Äb"]
        );
        assert_eq!(words("a\u{a0}b"), ["a\u{a0}b"], "no blank to PostgreSQL");
        let long = "a".repeat(70);
        assert_eq!(words(&long), ["a".repeat(63)]);
        assert_eq!(words(&format!("\"{}é\"", "a".repeat(62))), ["a".repeat(62)]);
    }

    #[test]
    fn operators_and_numbers_end_where_postgresql_ends_them() {
        assert_eq!(words("a<-b"), ["a", "<", "-", "b"]);
        assert_eq!(words("a@-b"), ["a", "@-", "b"]);
        assert_eq!(words("a::int"), ["a", "::", "int"]);
        assert_eq!(words("a ->> b #>> c"), ["a", "->>", "b", "#>>", "c"]);
        assert_eq!(
            words("1.5e-3 .5 1. 2..3 $12"),
            ["1.5e-3", ".5", "1.", "2", "..", "3", "12"]
        );
        assert!(lex("1e").is_err() && lex("1e+").is_err());
    }

    #[test]
    fn statements_are_split_at_their_own_semicolons() {
        let parts = |sql: &str| split(sql).len();
        assert_eq!(parts("select 1; select ';'; -- ;\n"), 2);
        assert_eq!(
            parts("create rule r as on insert to t do also (select 1; select 2)"),
            1
        );
        assert_eq!(
            parts("create function f() returns int begin atomic select 1; select 2; end"),
            1
        );
        assert_eq!(parts(" ;; "), 0);
    }

    #[test]
    fn the_canonical_text_keeps_what_decides() {
        let shape = |sql: &str| canonical(&lex(sql).unwrap(), Mask::All);
        let key = |sql: &str| canonical(&lex(sql).unwrap(), Mask::Equality);
        assert_eq!(
            shape("SELECT  a/* x */FROM t WHERE b='x' LIMIT 5"),
            "select a from t where b = '' limit 0"
        );
        assert_eq!(shape("select 1 in (1,2,3,4)"), shape("select 1 in (1)"));
        assert_eq!(shape("select f('a', b)"), "select f ( '' , b )");
        assert_eq!(
            key("select * from t where a = 5"),
            key("select * from t where a = 6")
        );
        assert_eq!(key("select 1 in (1, 2)"), key("select 1 in (3, 4)"));
        assert_ne!(
            key("select * from t where a > 5"),
            key("select * from t where a > 6")
        );
        assert_ne!(
            key("select * from t limit 5"),
            key("select * from t limit 6")
        );
        assert_ne!(key("select e'\\n'"), key("select '\\n'"));
        assert_ne!(shape("select a"), shape("select \"A\""));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(sql in "[a-zé0-9 '\"$/*;()\\\\e.\n\r+:@-]{0,60}") {
            if let Ok(tokens) = lex(&sql) {
                let text = canonical(&tokens, Mask::All);
                // The canonical text reads the same as the original, except for the literals left out.
                let again = canonical(&lex(&text).unwrap(), Mask::All);
                prop_assert_eq!(text, again);
                for token in &tokens {
                    prop_assert!(sql.get(token.start..token.end).is_some_and(|text| !text.is_empty()));
                }
            }
        }
    }
}
