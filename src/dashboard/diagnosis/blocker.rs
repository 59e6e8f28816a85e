//! Blockers: the key that ends one, the right to use it, and the work lost by it.

use super::{Evidence, waits_for_lock};
use crate::dashboard::panels::classify;
use crate::dashboard::rows::{Row, read};
use crate::keys::{Command, Keymap};
use crate::pg::{quote_literal, to_copy};

/// Kind of a blocker. The cure depends on it, not on the state alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A statement that waits for its lock and has changed nothing.
    Queued,
    /// An open transaction that runs nothing and has written nothing.
    Idle,
    /// An open transaction that runs nothing and has written.
    IdleWriter,
    /// A statement of a transaction that has written nothing.
    Reader,
    /// A statement of a transaction that has written.
    Writer,
    /// REFRESH MATERIALIZED VIEW.
    Refresh,
    /// A VACUUM or ANALYZE that a client sent.
    Vacuum,
    /// An autovacuum worker.
    Autovacuum,
    /// An autovacuum worker that prevents wraparound.
    Wraparound,
    /// CREATE INDEX or REINDEX, CONCURRENTLY.
    ConcurrentIndex,
    /// pg_dump.
    Dump,
    /// A base backup.
    BaseBackup,
    /// The initial copy of a table for a subscription.
    InitialCopy,
    /// A walsender: it serves a standby, a subscriber or a decoder.
    Walsender,
    /// Logical replication's own worker.
    Apply,
    /// A prepared transaction.
    Prepared,
    /// Another process of the server.
    Process,
    /// A session whose state the server hides from the current role.
    Hidden,
}

/// The way to end a blocker, and its consequences.
struct End {
    /// The greater, the more work is lost.
    harm: u8,
    /// The command that ends it; `None` if no key is a cure.
    by: Option<Command>,
    /// The cure, in few words, with commands in braces in place of their keys.
    cure: &'static str,
    /// The loss if its statement is cancelled or its session terminated.
    loss: &'static str,
}

const fn end(harm: u8, by: Option<Command>, cure: &'static str, loss: &'static str) -> End {
    End {
        harm,
        by,
        cure,
        loss,
    }
}

/// The application name of this program's refreshes.
const OUR_REFRESH: &str = "htap-top refresh";
const CANCEL: &str = "{cancel} cancels it";
const TERMINATE: &str = "{terminate} terminates it";
const WAIT: &str = "let it finish";

impl Kind {
    #[rustfmt::skip]
    const fn end(self) -> End {
        match self {
            Self::Queued => end(0, Some(Command::Cancel), CANCEL, "Nothing is lost: it waits for its lock and has changed nothing."),
            Self::Idle => end(1, Some(Command::Terminate), TERMINATE, "It has written nothing; its client loses the connection."),
            Self::Reader => end(2, Some(Command::Cancel), CANCEL, "It has written nothing; its work so far is lost."),
            Self::Refresh => end(2, Some(Command::Cancel), CANCEL, "The view keeps its present data."),
            Self::Vacuum => end(2, Some(Command::Cancel), CANCEL, "The next vacuum does the remaining work."),
            Self::Autovacuum => end(2, Some(Command::Cancel), CANCEL, "It gives way by itself after blocking somebody for deadlock_timeout, and returns within autovacuum_naptime."),
            Self::IdleWriter => end(3, Some(Command::Terminate), TERMINATE, "Everything its transaction wrote is rolled back."),
            Self::Writer => end(3, Some(Command::Cancel), CANCEL, "Everything its transaction wrote is rolled back."),
            Self::ConcurrentIndex => end(5, None, WAIT, "An invalid index is left behind: drop it (DROP INDEX CONCURRENTLY) before the next attempt."),
            Self::Dump => end(5, None, WAIT, "The dump is lost: pg_dump has to start over."),
            Self::BaseBackup => end(5, None, WAIT, "The base backup is lost: it has to start over."),
            Self::InitialCopy => end(5, None, WAIT, "The subscription's copy of the table starts over."),
            Self::Wraparound => end(6, None, WAIT, "It does not help: autovacuum restarts it at once, to prevent wraparound."),
            Self::Walsender => end(6, None, "check the server it sends to", "It does not help: the standby or subscriber reconnects at once."),
            Self::Apply => end(6, None, "ALTER SUBSCRIPTION … DISABLE", "Nothing is lost, but it does not help: it restarts with the same transaction unless its subscription is disabled first."),
            Self::Prepared => end(7, None, "COMMIT or ROLLBACK PREPARED, see {why}", "Its transaction manager may already have promised its outcome."),
            Self::Hidden => end(4, Some(Command::Terminate), TERMINATE, "The server hides its activity from our role."),
            Self::Process => end(6, None, "", "The server restarts such a process."),
        }
    }

    /// Returns the kind of a backend.
    pub(crate) fn of(row: Row<'_, read::Backend>) -> Self {
        let (state, query) = (row.state().shown(), row.query().shown());
        let application = classify::base_name(row.application_name().shown());
        match row.backend_type().shown() {
            _ if state == "prepared" => return Self::Prepared,
            "autovacuum worker" if query.contains("to prevent wraparound") => {
                return Self::Wraparound;
            }
            "autovacuum worker" => return Self::Autovacuum,
            worker if worker.starts_with("logical replication") => return Self::Apply,
            "walsender" => return Self::of_walsender(application, query),
            _ if row.restricted() == Some(true) => return Self::Hidden,
            "" | "client backend" | "parallel worker" => {}
            _ => return Self::Process,
        }
        let wrote = row.xid_age().is_some();
        // A dump writes nothing. Any client can use its application name.
        if matches!(application, "pg_dump" | "pg_dumpall") && !wrote {
            return Self::Dump;
        }
        if state != "active" {
            return if wrote { Self::IdleWriter } else { Self::Idle };
        }
        if is_concurrent_index(query) {
            return Self::ConcurrentIndex;
        }
        if waits_for_lock(row) && (!wrote || is_first_definition(row)) {
            return Self::Queued;
        }
        if classify::is_refresh(query) || application == OUR_REFRESH {
            return Self::Refresh;
        }
        if begins(query, &["vacuum"]) || begins(query, &["analyze"]) {
            return Self::Vacuum;
        }
        if wrote { Self::Writer } else { Self::Reader }
    }

    /// Returns the kind of a walsender.
    pub(crate) fn of_walsender(application: &str, query: &str) -> Self {
        if is_initial_copy(application) {
            Self::InitialCopy
        } else if begins(query, &["base_backup"]) || application == "pg_basebackup" {
            Self::BaseBackup
        } else {
            Self::Walsender
        }
    }

    /// The cure in few words, if nothing prevents it.
    pub(crate) fn cure(self, keys: &Keymap) -> String {
        keys.fill(self.end().cure)
    }

    /// Harm of ending it: the greater, the more work is lost.
    pub(crate) fn harm(self) -> u8 {
        self.end().harm
    }

    /// The command that ends it, if that is a cure.
    pub(crate) fn ended_by(self) -> Option<Command> {
        self.end().by
    }

    /// Returns the SQL that its key would send: `: SELECT pg_cancel_backend(812)`.
    fn sent(self, pid: i64) -> String {
        match self.ended_by() {
            Some(Command::Cancel) => format!(": SELECT pg_cancel_backend({pid})"),
            Some(_) => format!(": SELECT pg_terminate_backend({pid})"),
            None => String::new(),
        }
    }

    /// The loss if it is ended, as a sentence.
    pub(crate) fn loss(self) -> &'static str {
        self.end().loss
    }

    /// Returns true if it ends by itself, and ending it earlier would lose its work.
    pub(crate) fn is_to_finish(self) -> bool {
        self.end().cure == WAIT
    }

    /// Returns true if no key is a cure: ending it costs so much that its loss is always stated first.
    pub(crate) fn is_costly(self) -> bool {
        self.ended_by().is_none()
    }
}

/// A blocker, and the actions available against it.
#[derive(Clone, Debug)]
pub(crate) struct Blocker {
    /// Kind of the blocker.
    pub kind: Kind,
    pid: Option<i64>,
    /// The cure, if nothing prevents it.
    cure: String,
    /// The SQL statement that cures it, if there is one.
    statement: Option<String>,
    /// The reason why no key ends it, in few words that name who may.
    barred: Option<String>,
}

impl Blocker {
    /// Returns the blocker in a row of any panel; anything the row lacks is taken from the activity panel.
    pub(crate) fn of(evidence: &Evidence<'_>, row: Row<'_, read::Backend>) -> Self {
        let pid = row.pid().filter(|pid| *pid > 0);
        let mut backends = evidence.activity.iter();
        let known = backends.find(|row| pid.is_some() && row.pid() == pid);
        let kind = match known {
            Some(known) if known.state().is_known() => Kind::of(known),
            _ => Kind::of(row),
        };
        let may = known.and_then(|known| known.may_signal());
        let superuser = known.is_some_and(|known| known.superuser() == Some(true));
        let role = row.usename().text().or(row.role().text());
        let role = role.unwrap_or_default();
        let sent = kind.sent(pid.unwrap_or(0));
        let barred = if kind == Kind::Prepared {
            None
        } else if may == Some(false) {
            Some(if superuser || role.is_empty() {
                format!("a superuser may end it{sent}")
            } else {
                format!("{role} or pg_signal_backend may end it{sent}")
            })
        } else {
            (evidence.config.read_only && kind.ended_by().is_some())
                .then(|| format!("read-only here: end it elsewhere{sent}"))
        };
        let statement = known
            .filter(|_| kind == Kind::Apply)
            .and_then(|known| disable(evidence, known));
        Self {
            kind,
            pid,
            cure: kind.cure(&evidence.config.keys),
            statement,
            barred,
        }
    }

    /// The cure, in few words.
    pub(crate) fn cure(&self) -> String {
        match &self.barred {
            Some(why) if self.kind.ended_by().is_some() => why.clone(),
            _ => self.statement.as_ref().unwrap_or(&self.cure).clone(),
        }
    }

    /// The command that ends it, if one does.
    pub(crate) fn ended_by(&self) -> Option<Command> {
        self.kind.ended_by().filter(|_| self.barred.is_none())
    }

    /// Its process id, if a command ends it.
    pub(crate) fn ends(&self) -> Option<i64> {
        self.pid.filter(|_| self.ended_by().is_some())
    }
}

/// Returns the statements that end a prepared transaction, quoted for any name.
pub(crate) fn end_prepared(gid: &str, database: &str) -> String {
    let end = |verb: &str| {
        to_copy(&format!(
            "{verb} PREPARED {}",
            quote_literal(gid).trim_start()
        ))
    };
    format!(
        "in database {database}: {} or {}. Only the application's transaction manager knows which: the wrong one \
         loses or corrupts its data",
        end("COMMIT"),
        end("ROLLBACK")
    )
}

/// Returns the statement that disables the subscription of a worker. The server reports the name quoted for use
/// in a statement.
fn disable(evidence: &Evidence<'_>, row: Row<'_, read::Backend>) -> Option<String> {
    let name = row.application_name().text();
    let name = name.filter(|name| !name.is_empty())?;
    let ours = evidence.facts.current_database().text();
    let place = row
        .datname()
        .text()
        .filter(|database| ours.is_some_and(|ours| ours != *database))
        .map_or_else(String::new, |database| format!("in database {database}: "));
    let pid = row.pid()?;
    Some(format!(
        "{place}ALTER SUBSCRIPTION {name} DISABLE; SELECT pg_terminate_backend({pid})"
    ))
}

/// Returns true if it is the first statement of its transaction and a definition that waits for its lock
/// before it changes anything: a strong lock takes a transaction id before it is granted.
fn is_first_definition(row: Row<'_, read::Backend>) -> bool {
    const DEFINITIONS: [&str; 9] = [
        "alter", "create", "drop", "lock", "truncate", "refresh", "reindex", "cluster", "vacuum",
    ];
    let query = row.query().shown().trim().trim_end_matches(';');
    row.wait_event().is("relation")
        && row.xact_start().is_known()
        && row.xact_start().text() == row.query_start().text()
        && !query.contains(';')
        && DEFINITIONS.iter().any(|word| begins(query, &[word]))
}

/// Returns true for walsenders of table synchronisation, named `pg_16396_sync_16389_…` (`…_sync_…` before 14)
/// or after the subscription's slot.
fn is_initial_copy(application: &str) -> bool {
    application.starts_with("pg_") && application.contains("_sync_")
}

fn is_concurrent_index(query: &str) -> bool {
    let index = [
        &["create", "index", "concurrently"][..],
        &["create", "unique", "index", "concurrently"],
    ];
    let has = |wanted: &str| {
        let mut words = query.split(|c: char| !c.is_ascii_alphabetic());
        words.any(|word| word.eq_ignore_ascii_case(wanted))
    };
    index.iter().any(|words| begins(query, words))
        || (begins(query, &["reindex"]) && has("concurrently"))
        // A line comment at the start hides the statement, as the text has lost its line breaks.
        || (query.trim_start().starts_with("--")
            && (has("create") || has("reindex"))
            && has("concurrently"))
}

/// Returns true if a statement begins with these words, ignoring leading comments.
fn begins(query: &str, words: &[&str]) -> bool {
    let mut found = classify::without_comments(query)
        .split(|c: char| c.is_whitespace() || c == '(')
        .filter(|word| !word.is_empty());
    words.iter().all(|wanted| {
        found
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(wanted))
    })
}

/// Returns the kind of a statement in one or two words: `ALTER TABLE`.
pub(crate) fn statement(query: &str) -> String {
    let mut words = query.split_whitespace().map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    match first.as_str() {
        "ALTER" | "CREATE" | "DROP" | "LOCK" | "REFRESH" => {
            let second = words.next().unwrap_or_default();
            let second: String = second.chars().filter(char::is_ascii_alphabetic).collect();
            format!("{first} {second}").trim_end().to_owned()
        }
        word => word.chars().take_while(char::is_ascii_alphabetic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::rows::Rows;
    use crate::pg::{Table, Value};

    fn kind(cells: &[(&str, &str)]) -> Kind {
        let columns: Vec<Box<str>> = cells.iter().map(|(name, _)| (*name).into()).collect();
        let row = cells.iter().map(|(_, text)| Value::from(*text)).collect();
        let table = Table {
            columns: columns.into(),
            rows: vec![row],
        };
        Kind::of(Rows::of(&table).first())
    }

    #[test]
    fn what_stands_in_the_way_is_told_by_what_it_is() {
        let client = |state, query| {
            kind(&[
                ("backend_type", "client backend"),
                ("state", state),
                ("query", query),
            ])
        };
        assert_eq!(client("active", "SELECT 1"), Kind::Reader);
        assert_eq!(client("idle in transaction", "SELECT 1"), Kind::Idle);
        assert_eq!(
            client("active", "create UNIQUE index  concurrently on t (a)"),
            Kind::ConcurrentIndex
        );
        assert_eq!(
            client("active", "REINDEX (VERBOSE, CONCURRENTLY) TABLE t"),
            Kind::ConcurrentIndex
        );
        for commented in [
            "/* job 7 */ CREATE INDEX CONCURRENTLY ON t (a)",
            "-- job 7 CREATE INDEX CONCURRENTLY ON t (a)",
        ] {
            assert_eq!(client("active", commented), Kind::ConcurrentIndex);
        }
        assert_eq!(client("active", "vacuum(full) t"), Kind::Vacuum);
        let process = |backend_type, application, query| {
            kind(&[
                ("backend_type", backend_type),
                ("state", "active"),
                ("application_name", application),
                ("query", query),
            ])
        };
        let worker = |query| process("autovacuum worker", "", query);
        assert_eq!(worker("autovacuum: VACUUM public.t"), Kind::Autovacuum);
        assert_eq!(
            worker("autovacuum: VACUUM public.t (to prevent wraparound)"),
            Kind::Wraparound
        );
        assert_eq!(
            process("walsender", "pg_16396_sync_16389_75", "COPY"),
            Kind::InitialCopy
        );
        assert_eq!(
            process("walsender", "x", "BASE_BACKUP ( LABEL 'x' )"),
            Kind::BaseBackup
        );
        assert_eq!(process("walsender", "replica", "START_"), Kind::Walsender);
        assert_eq!(
            process("logical replication apply worker", "", ""),
            Kind::Apply
        );
        for dump in ["pg_dump", "pg_dump - 10.0.0.7:41234"] {
            assert_eq!(process("client backend", dump, "COPY"), Kind::Dump);
        }
    }

    #[test]
    fn a_statement_is_named_by_its_first_words() {
        assert_eq!(statement("alter  table t add c int"), "ALTER TABLE");
        assert_eq!(statement("lock \"t\""), "LOCK T");
        assert_eq!(statement("TRUNCATE t"), "TRUNCATE");
        assert_eq!(statement(""), "");
    }
}
