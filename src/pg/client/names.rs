//! The names of a session's prepared statements.
//!
//! Statements are PREPAREd in SQL, under names with random digits. The driver's own prepared statements are named `s0`,
//! `s1`, …, and behind a pooler such a name may denote another session's statement. If a pooler is known to be in
//! between, no names are used; if one goes undetected, a name that does not exist ends their use in this session.

use super::Client;
use crate::pg::error::PgError;
use std::collections::HashMap;
use std::sync::Arc;

/// invalid_sql_statement_name: the server knows no statement of that name.
const NO_SUCH_STATEMENT: &str = "26000";
/// feature_not_supported: "cached plan must not change result type", if an extension was updated or a view recreated.
const RESULT_CHANGED: &str = "0A000";

/// Names of the statements of a session.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Name by text; `None` if the statement was run once, without a name.
    known: HashMap<Arc<str>, Option<Arc<str>>>,
    /// True if names do not last, as behind a pooler.
    useless: bool,
}

/// Name of a statement.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Arc<str>,
    /// True if the statement must be prepared first.
    pub(super) is_new: bool,
}

impl Names {
    /// Returns the name of the statement `sql`; a new name begins with `prefix`.
    pub(super) fn name(&mut self, sql: &str, prefix: &str) -> Name {
        if let Some(Some(name)) = self.known.get(sql) {
            return Name {
                text: Arc::clone(name),
                is_new: false,
            };
        }
        let text: Arc<str> = format!("{prefix}_{:016x}", rand::random::<u64>()).into();
        self.known.insert(sql.into(), Some(Arc::clone(&text)));
        Name { text, is_new: true }
    }

    /// Returns true if the statement `sql` was run in this session before; from now on it was.
    pub(super) fn note_run(&mut self, sql: &str) -> bool {
        if self.known.contains_key(sql) {
            return true;
        }
        self.known.insert(sql.into(), None);
        false
    }
}

impl Client {
    /// Calls `with` with the names of this session; returns `None` if none are used.
    pub(super) fn with_names<T>(&self, with: impl FnOnce(&mut Names) -> T) -> Option<T> {
        let mut names = self.names.lock().ok()?;
        let used = !names.useless && self.lent.is_none();
        used.then(|| with(&mut names))
    }

    /// Forgets the names of the statements `sql`, which could not be prepared.
    pub(super) fn forget_names<'a>(&self, sql: impl Iterator<Item = &'a str>) {
        if let Ok(mut names) = self.names.lock() {
            for sql in sql {
                names.known.remove(sql);
            }
        }
    }

    /// Returns true if a statement failed only because of its name, and forgets the names concerned: nothing was done,
    /// and the statements `sql` can be run again without names.
    pub(super) fn is_name_at_fault<'a>(
        &self,
        error: &PgError,
        sql: impl Iterator<Item = &'a str>,
    ) -> bool {
        if error.code() == NO_SUCH_STATEMENT {
            if let Ok(mut names) = self.names.lock() {
                names.useless = true;
                names.known.clear();
            }
        } else if error.is_name_at_fault() {
            self.forget_names(sql);
        }
        error.is_name_at_fault()
    }
}

impl PgError {
    /// Returns true if a statement failed only because the server has forgotten its name, or what the name stands for is
    /// outdated. Repeated, it runs without that name.
    pub(crate) fn is_name_at_fault(&self) -> bool {
        matches!(self.code(), NO_SUCH_STATEMENT | RESULT_CHANGED)
    }
}
