//! Effects of a statement on its session: transactions, and state that lives in one connection. They are read from the
//! tokens alone, so that statements unknown to the parser are covered too.

use crate::sql::lex::Token;

/// Effects of a statement on its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own, and none excludes another"
)]
pub struct Effects {
    /// Effect on the transaction.
    pub step: Option<Step>,
    /// Description of the state it creates that only this connection has.
    pub pins: Option<&'static str>,
    /// True if it clears all such state (DISCARD ALL).
    pub clears: bool,
    /// True if it changes the catalogue for other sessions, or the planner's statistics.
    pub ddl: bool,
    /// True if it lets a READ ONLY transaction write.
    pub upgrades: bool,
    /// True if it takes no snapshot, so that an upgrade may still follow.
    pub quiet: bool,
}

impl Effects {
    /// Returns true if it opens a transaction.
    pub fn begins(&self) -> bool {
        matches!(self.step, Some(Step::Begin(_)))
    }

    /// Returns true if it ends the transaction.
    pub fn ends(&self) -> bool {
        matches!(self.step, Some(Step::Commit | Step::End))
    }
}

/// Effect of a statement on its session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens a transaction.
    Begin(Begin),
    /// Ends it and makes its writes visible (COMMIT).
    Commit,
    /// Makes writes visible, while a transaction remains open or was never open (COMMIT AND CHAIN, COMMIT PREPARED).
    Publish,
    /// Ends it and makes nothing visible (ROLLBACK, PREPARE TRANSACTION).
    End,
}

/// Options of a BEGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// True if it is READ ONLY.
    pub read_only: bool,
    /// True if it is SERIALIZABLE, which no standby offers.
    pub serializable: bool,
}

/// Functions that change session state.
const PINNING: [(&str, &str); 12] = [
    ("set_config", "a setting"),
    ("setseed", "a seed"),
    ("pg_advisory_lock", "an advisory lock"),
    ("pg_advisory_lock_shared", "an advisory lock"),
    ("pg_try_advisory_lock", "an advisory lock"),
    ("pg_try_advisory_lock_shared", "an advisory lock"),
    (
        "pg_replication_origin_session_setup",
        "a replication origin",
    ),
    // From extensions: dblink, isn, pg_trgm.
    ("dblink_connect", "a connection of dblink"),
    ("dblink_connect_u", "a connection of dblink"),
    ("dblink_open", "a cursor of dblink"),
    ("isn_weak", "a setting"),
    ("set_limit", "a setting"),
];

/// Returns the effects of one statement.
pub(super) fn effects(statement: &[Token]) -> Effects {
    let word = |position: usize| {
        let token = statement.get(position).filter(|token| token.is_name());
        token.map_or("", |token| token.text.as_str())
    };
    let mut effects = Effects {
        pins: pinning_call(statement),
        ..Effects::default()
    };
    effects.step = step(statement, word(0), word(1));
    effects.quiet = effects.step.is_some() || matches!(word(0), "set" | "reset" | "show");
    if effects.step.is_some() {
        return effects;
    }
    effects.upgrades = upgrades(statement);
    match (word(0), word(1)) {
        ("prepare", _) => effects.pins = Some("a prepared statement"),
        ("set", "local" | "transaction" | "constraints") => {}
        ("set", _) => effects.pins = Some("a setting"),
        ("listen", _) => effects.pins = Some("LISTEN"),
        ("load", _) => effects.pins = Some("a loaded library"),
        // Their content is unknown.
        ("call", _) => effects.pins = Some("what CALL may have left"),
        ("do", _) => effects.pins = Some("what DO may have left"),
        ("declare", _) if has(statement, &["with", "hold"]) => effects.pins = Some("a cursor"),
        ("discard", "all") => effects.clears = true,
        ("create", _) => {
            let head = statement.get(1..5).unwrap_or(statement);
            if is_temporary(head) || statement.iter().any(of_temp_schema) {
                effects.pins = Some("a temporary object");
            } else {
                effects.ddl = true;
            }
        }
        ("alter" | "drop" | "import" | "analyze" | "vacuum", _) => effects.ddl = true,
        // INTO may name a schema of temporary objects in many ways, also within parentheses.
        (_, _)
            if has(statement, &["into"])
                && (is_temporary(statement) || statement.iter().any(of_temp_schema)) =>
        {
            effects.pins = Some("a temporary object");
        }
        _ => {}
    }
    effects
}

fn step(statement: &[Token], first: &str, second: &str) -> Option<Step> {
    Some(match (first, second) {
        ("begin", _) | ("start", "transaction") => Step::Begin(begin(statement)),
        ("commit", "prepared") => Step::Publish,
        ("commit" | "end", _) if has(statement, &["and", "chain"]) => Step::Publish,
        ("commit" | "end", _) => Step::Commit,
        ("rollback", "prepared") => return None,
        ("rollback" | "abort", _)
            if has(statement, &["to"]) || has(statement, &["and", "chain"]) =>
        {
            return None;
        }
        ("rollback" | "abort", _) | ("prepare", "transaction") => Step::End,
        _ => return None,
    })
}

/// Returns true if it is SET TRANSACTION READ WRITE, in any of its forms.
fn upgrades(statement: &[Token]) -> bool {
    let mut words = statement.iter().map(|token| token.text.as_str());
    if words.next() != Some("set") {
        return false;
    }
    let mut words = words.skip_while(|word| matches!(*word, "local" | "session"));
    match words.next() {
        Some("transaction") => has(statement, &["read", "write"]),
        Some("transaction_read_only") => {
            let value = words.nth(1).unwrap_or_default();
            let value = value.trim_matches('\'').to_ascii_lowercase();
            !matches!(value.as_str(), "on" | "true" | "yes" | "1" | "t" | "y")
        }
        _ => false,
    }
}

fn is_temporary(tokens: &[Token]) -> bool {
    let temporary = |token: &Token| token.is_word("temp") || token.is_word("temporary");
    tokens.iter().any(temporary)
}

/// Returns true if a token names a schema of temporary objects.
pub(super) fn of_temp_schema(token: &Token) -> bool {
    token.is_name() && token.text.starts_with("pg_temp")
}

/// Returns true if these words occur in sequence.
pub(super) fn has(tokens: &[Token], words: &[&str]) -> bool {
    tokens.windows(words.len()).any(|window| {
        let mut pairs = window.iter().zip(words);
        pairs.all(|(token, word)| token.is_word(word))
    })
}

fn begin(statement: &[Token]) -> Begin {
    let last = |words: &[&str]| {
        let mut windows = statement.windows(2);
        windows.rposition(|pair| has(pair, words))
    };
    // If repeated, the last one applies.
    Begin {
        read_only: last(&["read", "only"]) > last(&["read", "write"]),
        serializable: has(statement, &["serializable"]),
    }
}

/// Returns the state that a function call in the statement leaves in the session.
fn pinning_call(statement: &[Token]) -> Option<&'static str> {
    statement.windows(2).zip(2..).find_map(|(pair, inside)| {
        let [name, open] = pair else { return None };
        if !(name.is_name() && open.is_sign("(")) {
            return None;
        }
        let (function, what) = PINNING.iter().find(|(known, _)| *known == name.text)?;
        let to_the_end_of_the_transaction =
            *function == "set_config" && statement.get(inside..).is_some_and(last_argument_is_true);
        (!to_the_end_of_the_transaction).then_some(*what)
    })
}

/// Returns true if the argument list that begins here ends with `true )`.
fn last_argument_is_true(arguments: &[Token]) -> bool {
    let mut depth = 1;
    let mut before = None;
    for token in arguments {
        depth += i32::from(token.is_sign("(")) - i32::from(token.is_sign(")"));
        if depth == 0 {
            return before.is_some_and(|token: &Token| token.is_word("true"));
        }
        before = Some(token);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::lex;

    fn of(sql: &str) -> Effects {
        effects(&lex(sql).unwrap())
    }

    #[test]
    fn transactions_begin_and_end() {
        let begin = |sql: &str| match of(sql).step {
            Some(Step::Begin(begin)) => begin,
            other => panic!("{sql}: {other:?}"),
        };
        for sql in [
            "BEGIN",
            "begin work",
            "START TRANSACTION",
            "BEGIN READ ONLY, READ WRITE",
        ] {
            assert!(!begin(sql).read_only, "{sql}");
        }
        for sql in [
            "begin /**/ read\nonly",
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        ] {
            assert!(begin(sql).read_only, "{sql}");
        }
        assert!(begin("begin transaction isolation level serializable read only").serializable);
        for (step, statements) in [
            (
                Some(Step::Commit),
                &["commit", "END", "commit and no chain"][..],
            ),
            (
                Some(Step::Publish),
                &["commit and chain", "commit prepared 'x'"],
            ),
            (
                Some(Step::End),
                &["rollback work", "ABORT", "prepare transaction 'x'"],
            ),
            (
                None,
                &[
                    "rollback to savepoint a",
                    "rollback work to a",
                    "rollback and chain",
                    "release a",
                    "select 1 as commit",
                ],
            ),
        ] {
            for sql in statements {
                assert_eq!(of(sql).step, step, "{sql}");
            }
        }
    }

    #[test]
    fn what_lets_a_reader_write_is_seen() {
        for sql in [
            "set transaction read write",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
            "set local transaction_read_only = off",
            "set transaction_read_only to 'off'",
            "set session transaction_read_only = 0",
            "set transaction_read_only = default",
        ] {
            assert!(of(sql).upgrades, "{sql}");
        }
        for sql in [
            "set transaction read only",
            "set local transaction_read_only = on",
            "set local transaction_read_only to 'true'",
            "set work_mem = '1MB'",
            "select 'set transaction read write'",
        ] {
            assert!(!of(sql).upgrades, "{sql}");
        }
    }

    #[test]
    fn state_of_the_session_is_seen() {
        for sql in [
            "set work_mem = '1MB'",
            "set session x = 1",
            "SET ROLE a",
            "prepare p as select 1",
            "listen x",
            "load 'x'",
            "declare c cursor with hold for select 1",
            "create temp table x (a int)",
            "create unlogged table pg_temp.x (a int)",
            "create local temporary view x as select 1",
            "select 1 into temp x",
            "select 77 as user_id into pg_temp.users",
            "select 77 as user_id into pg_temp_3.users",
            "with a as (select 1) select * into \"pg_temp\".x from a",
            "select 1 into U&\"pg\\005ftemp\".x",
            "select 1 into U&\"pg!005ftemp\" uescape '!' . x",
            "call f()",
            "do $$begin end$$",
            "with a as (select 1) select * into temporary x from a",
            "select pg_advisory_lock(1)",
            "select pg_catalog . pg_try_advisory_lock_shared (1, 2)",
            "select set_config('a', 'b', false)",
            "select set_config('a', (select true), false)",
        ] {
            assert!(of(sql).pins.is_some(), "{sql}");
        }
        for sql in [
            "set local work_mem = '1MB'",
            "set transaction isolation level serializable",
            "set constraints all deferred",
            "declare c cursor for select 1",
            "create table x (a int)",
            "select pg_advisory_xact_lock(1)",
            "select set_config('a', 'b', true)",
            "select 'set work_mem'",
            "reset all",
            "unlisten *",
        ] {
            assert_eq!(of(sql).pins, None, "{sql}");
        }
        assert!(of("discard all").clears && !of("discard temp").clears);
        for sql in [
            "alter table x add y int",
            "create table x (a int)",
            "analyze",
        ] {
            assert!(of(sql).ddl, "{sql}");
        }
        for sql in [
            "insert into x values (1)",
            "create temp table x (a int)",
            "call f()",
        ] {
            assert!(!of(sql).ddl, "{sql}");
        }
    }
}
