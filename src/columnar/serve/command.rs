//! What a statement asks for.

use super::fault::{Fault, fault, unsupported};
use crate::columnar::engine::{self, Mode, failed};
use crate::sql::lex::{Kind, Token, lex};
use datafusion::sql::sqlparser::ast::Statement as Ast;

/// A statement.
#[derive(Debug)]
pub(super) enum Command {
    /// Nothing but blanks and comments.
    Empty,
    /// A SELECT for the column store, or an EXPLAIN of one.
    Select(Box<Ast>, Mode),
    /// A SELECT of constants and of facts about the session, which PostgreSQL answers: its text.
    Constants(String),
    Begin(Isolation),
    Commit,
    Rollback,
    /// SET TRANSACTION, perhaps with a level.
    Isolate(Option<Isolation>),
    Set {
        name: String,
        /// `None`: the default.
        value: Option<String>,
        local: bool,
    },
    ResetAll,
    Show(String),
    DiscardAll,
    /// DEALLOCATE of one statement or of all.
    Deallocate(Option<String>),
}

/// How many snapshots a transaction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// The default: one for each statement.
    ReadCommitted,
    /// One.
    RepeatableRead,
}

/// Statements that write.
const WRITES: [&str; 22] = [
    "alter", "analyze", "call", "cluster", "comment", "create", "delete", "do", "drop", "grant",
    "import", "insert", "lock", "merge", "reassign", "refresh", "reindex", "revoke", "security",
    "truncate", "update", "vacuum",
];

impl Command {
    /// Reads a statement.
    pub(super) fn read(sql: &str) -> Result<Self, Fault> {
        let syntax = |why: &str| fault("42601", format!("the statement cannot be read: {why}"));
        let mut tokens = lex(sql).map_err(syntax)?;
        while tokens.pop_if(|last| last.is_sign(";")).is_some() {}
        let words = Words(&tokens);
        let Some(first) = words.word(0) else {
            if tokens.is_empty() {
                return Ok(Self::Empty);
            }
            // A SELECT in parentheses.
            return select(sql);
        };
        let several = tokens.iter().any(|token| token.is_sign(";"));
        if several {
            return Err(unsupported(
                "a request can only hold a single SQL statement",
            ));
        }
        if let Some(text) = constants(sql, &tokens) {
            return Ok(Self::Constants(text));
        }
        match first {
            "select" | "with" | "values" | "explain" | "table" => select(sql),
            "begin" | "start" => {
                let isolation = words.isolation(1)?;
                Ok(Self::Begin(isolation.unwrap_or(Isolation::ReadCommitted)))
            }
            "commit" | "end" => words.ends().map(|()| Self::Commit),
            "rollback" | "abort" => words.ends().map(|()| Self::Rollback),
            "set" => words.set(),
            "reset" => match words.word(1) {
                Some("all") => Ok(Self::ResetAll),
                _ => Ok(Self::Set {
                    name: words.name(1)?.0,
                    value: None,
                    local: false,
                }),
            },
            "show" => Ok(Self::Show(words.name(1)?.0)),
            "discard" if words.word(1) == Some("all") => Ok(Self::DiscardAll),
            "deallocate" => {
                let at = if words.word(1) == Some("prepare") {
                    2
                } else {
                    1
                };
                let name = words.0.get(at).filter(|token| token.is_name());
                let name = name.ok_or_else(|| syntax("DEALLOCATE names no statement"))?;
                Ok(Self::Deallocate(
                    Some(name.text.clone()).filter(|_| !name.is_word("all")),
                ))
            }
            word if WRITES.contains(&word) => Err(fault(
                "25006",
                format!(
                    "cannot execute {} in a read-only transaction",
                    word.to_uppercase()
                ),
            )),
            word => Err(unsupported(format!(
                "{} is not supported: the column store only answers SELECT",
                word.to_uppercase()
            ))),
        }
    }

    /// Whether it can run in a transaction that has failed.
    pub(super) fn ends_transaction(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback)
    }
}

fn select(sql: &str) -> Result<Command, Fault> {
    let (ast, mode) = engine::read(sql).map_err(failed)?;
    Ok(Command::Select(Box::new(ast), mode))
}

/// The words of a statement.
struct Words<'a>(&'a [Token]);

impl Words<'_> {
    fn word(&self, at: usize) -> Option<&str> {
        let token = self.0.get(at)?;
        (token.kind == Kind::Word).then_some(token.text.as_str())
    }

    fn wrong(&self, at: usize) -> Fault {
        let near = self.0.get(at).map_or("end of input", |token| &token.text);
        fault("42601", format!("syntax error at or near \"{near}\""))
    }

    /// COMMIT and ROLLBACK.
    fn ends(&self) -> Result<(), Fault> {
        match (self.word(1), self.0.len()) {
            (None, 1) | (Some("transaction" | "work"), 2) => Ok(()),
            _ => Err(unsupported(
                "savepoints and prepared transactions are not supported",
            )),
        }
    }

    /// The modes of a transaction.
    fn isolation(&self, from: usize) -> Result<Option<Isolation>, Fault> {
        let rest = self.0.get(from..).unwrap_or_default();
        let words: Vec<&str> = rest.iter().map(|token| token.text.as_str()).collect();
        let words = words.join(" ").replace(',', " ");
        let words = words.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let mut isolation = None;
        let mut rest = words.as_str();
        for word in ["transaction", "work"] {
            rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
        }
        while !rest.is_empty() {
            let next = [
                (
                    "isolation level read committed",
                    Some(Isolation::ReadCommitted),
                ),
                (
                    "isolation level read uncommitted",
                    Some(Isolation::ReadCommitted),
                ),
                (
                    "isolation level repeatable read",
                    Some(Isolation::RepeatableRead),
                ),
                (
                    "isolation level serializable",
                    Some(Isolation::RepeatableRead),
                ),
                ("read only", None),
                ("not deferrable", None),
                ("deferrable", None),
            ];
            let next = next
                .into_iter()
                .find_map(|(mode, means)| Some((rest.strip_prefix(mode)?, means)));
            let Some((after, means)) = next else {
                return Err(if rest.starts_with("read write") {
                    fault(
                        "25006",
                        "cannot set transaction read-write mode: the column store only reads",
                    )
                } else {
                    self.wrong(from)
                });
            };
            isolation = means.or(isolation);
            rest = after.trim_start();
        }
        Ok(isolation)
    }

    /// The name of a setting, and the place behind it.
    fn name(&self, at: usize) -> Result<(String, usize), Fault> {
        match (self.word(at), self.word(at + 1), self.word(at + 2)) {
            (Some("time"), Some("zone"), _) => Ok(("timezone".to_owned(), at + 2)),
            (Some("transaction"), Some("isolation"), Some("level")) => {
                Ok(("transaction_isolation".to_owned(), at + 3))
            }
            (Some("names"), _, _) => Ok(("client_encoding".to_owned(), at + 1)),
            (Some(name), _, _) => Ok((name.to_owned(), at + 1)),
            _ => match self.0.get(at) {
                Some(token) if token.is_name() => Ok((token.text.to_lowercase(), at + 1)),
                _ => Err(self.wrong(at)),
            },
        }
    }

    fn set(&self) -> Result<Command, Fault> {
        let (local, at) = match (self.word(1), self.word(2)) {
            (Some("session"), Some("characteristics")) => {
                // It would hold for the transactions to come.
                return match self.isolation(5)? {
                    None | Some(Isolation::ReadCommitted) => Ok(Command::Isolate(None)),
                    Some(Isolation::RepeatableRead) => Err(unsupported(
                        "a default for transactions is not supported: use BEGIN ISOLATION LEVEL REPEATABLE READ",
                    )),
                };
            }
            (Some("transaction"), _) => return self.isolation(2).map(Command::Isolate),
            (Some("local"), _) => (true, 2),
            (Some("session"), _) => (false, 2),
            _ => (false, 1),
        };
        let (name, mut at) = self.name(at)?;
        let equals = self
            .0
            .get(at)
            .is_some_and(|token| token.is_sign("=") || token.is_word("to"));
        if equals {
            at += 1;
        }
        let mut values = Vec::new();
        for token in self.0.get(at..).unwrap_or_default() {
            match token.kind {
                Kind::Word | Kind::Number | Kind::Quoted => values.push(token.text.clone()),
                Kind::Text => values.push(unquoted(&token.text).ok_or_else(|| self.wrong(at))?),
                _ if token.is_sign(",") => {}
                _ if token.is_sign("-") => values.push("-".to_owned()),
                _ => return Err(self.wrong(at)),
            }
        }
        let value = values.join(", ").replace("-, ", "-");
        if value.is_empty() && values.is_empty() {
            return Err(self.wrong(at));
        }
        let default = matches!(self.word(at), Some("default"))
            || name == "timezone" && matches!(self.word(at), Some("local"));
        Ok(Command::Set {
            name,
            value: Some(value).filter(|_| !default),
            local,
        })
    }
}

/// The text of a plain literal.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    // Neither an escape nor a literal in two parts.
    let plain = !inner.contains('\\') && !inner.replace("''", "").contains('\'');
    plain.then(|| inner.replace("''", "'"))
}

/// Functions and words that tell of the session and the server, and change nothing.
const FACTS: [&str; 13] = [
    "current_catalog",
    "current_database",
    "current_role",
    "current_schema",
    "current_user",
    "false",
    "null",
    "pg_backend_pid",
    "pg_is_in_recovery",
    "session_user",
    "true",
    "user",
    "version",
];
/// Types that these are cast to.
const KINDS: [&str; 12] = [
    "bigint", "bool", "boolean", "float8", "int", "int2", "int4", "int8", "integer", "name",
    "numeric", "text",
];

/// The text of a SELECT that holds nothing but literals, names for them and [`FACTS`].
fn constants(sql: &str, tokens: &[Token]) -> Option<String> {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let second = tokens.get(at + 1);
        let follows =
            |word: &str| before.is_some_and(|before| before.is_word(word) || before.is_sign(word));
        let is = |token: Option<&Token>, sign: &str| token.is_some_and(|token| token.is_sign(sign));
        let known = match token.kind {
            _ if at == 0 => token.is_word("select"),
            Kind::Word | Kind::Quoted if follows("as") => true,
            Kind::Word if follows("::") => KINDS.contains(&token.text.as_str()),
            Kind::Word => {
                let called = !token.is_word("pg_catalog") || is(second, ".");
                let text = token.text.as_str();
                called && (FACTS.contains(&text) || matches!(text, "as" | "pg_catalog"))
            }
            Kind::Number => true,
            Kind::Text => unquoted(&token.text).is_some(),
            Kind::Sign | Kind::Operator => match token.text.as_str() {
                "," | "::" => true,
                "." => follows("pg_catalog"),
                "-" => second.is_some_and(|next| next.kind == Kind::Number),
                "(" => {
                    before.is_some_and(|before| FACTS.contains(&before.text.as_str()))
                        && is(second, ")")
                }
                ")" => follows("("),
                _ => false,
            },
            Kind::Quoted | Kind::Param => false,
        };
        if !known {
            return None;
        }
        text += sql.get(token.start..token.end)?;
        text.push(' ');
    }
    (tokens.len() > 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(sql: &str) -> bool {
        constants(sql, &lex(sql).unwrap()).is_some()
    }

    #[test]
    fn only_facts_are_handed_on_to_postgresql() {
        for sql in [
            "SELECT 1",
            "select version(), current_user AS \"who\", -5 AS n, 'it''s'::text",
            "SELECT pg_catalog.pg_backend_pid()::int8 AS pid, NULL::float8",
        ] {
            assert!(constant(sql), "{sql}");
        }
        for sql in [
            "SELECT pg_sleep(1)",
            "SELECT 1 FROM fact_sales",
            "SELECT 1) TO PROGRAM 'id'",
            "SELECT version(), pg_read_file('/etc/passwd')",
            "SELECT 'x'::regclass",
            "SELECT public.version()",
            "SELECT current_setting('a')",
            "SELECT set_config('a', 'b', false)",
            "SELECT (SELECT 1)",
            "SELECT 1 INTO x",
            "SELECT E'a'",
            "SELECT 1 + 1",
            "SELECT",
        ] {
            assert!(!constant(sql), "{sql}");
        }
    }

    #[test]
    fn commands_are_told_apart() {
        let read = |sql: &str| {
            format!(
                "{:?}",
                Command::read(sql).map_err(|fault| match fault {
                    super::super::fault::Fault::Told { code, .. } => code,
                    super::super::fault::Fault::Lost(error) => error.to_string(),
                })
            )
        };
        for (sql, means) in [
            ("", "Ok(Empty)"),
            (" ; -- x", "Ok(Empty)"),
            ("BEGIN", "Ok(Begin(ReadCommitted))"),
            (
                "start transaction isolation level repeatable read, read only;",
                "Ok(Begin(RepeatableRead))",
            ),
            ("BEGIN READ WRITE", "Err(\"25006\")"),
            ("SET TRANSACTION READ ONLY", "Ok(Isolate(None))"),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "Err(\"0A000\")",
            ),
            ("COMMIT WORK", "Ok(Commit)"),
            ("ROLLBACK TO a", "Err(\"0A000\")"),
            (
                "SET TIME ZONE 'Europe/Berlin'",
                "Ok(Set { name: \"timezone\", value: Some(\"Europe/Berlin\"), local: false })",
            ),
            (
                "set local statement_timeout = 5",
                "Ok(Set { name: \"statement_timeout\", value: Some(\"5\"), local: true })",
            ),
            (
                "SET x TO DEFAULT",
                "Ok(Set { name: \"x\", value: None, local: false })",
            ),
            (
                "RESET TimeZone",
                "Ok(Set { name: \"timezone\", value: None, local: false })",
            ),
            (
                "SHOW TRANSACTION ISOLATION LEVEL",
                "Ok(Show(\"transaction_isolation\"))",
            ),
            ("INSERT INTO fact_sales VALUES (1)", "Err(\"25006\")"),
            ("COPY fact_sales TO 'x'", "Err(\"0A000\")"),
            ("SELECT 1; SELECT 2", "Err(\"0A000\")"),
            (
                "SELECT pg_read_file('x') FROM fact_sales; DROP TABLE x",
                "Err(\"0A000\")",
            ),
            (
                "WITH x AS (DELETE FROM fact_sales RETURNING 1) SELECT 1",
                "Err(\"0A000\")",
            ),
            ("SELECT 'x", "Err(\"42601\")"),
            ("SET", "Err(\"42601\")"),
        ] {
            assert_eq!(read(sql), means, "{sql}");
        }
    }
}
