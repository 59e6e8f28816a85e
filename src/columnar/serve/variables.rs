//! The settings of a client's session: few have a meaning here, and their values are those that PostgreSQL accepts.

use super::fault::{Fault, fault, unsupported};
use crate::columnar::error::ColumnarError;
use crate::columnar::session::Session;
use crate::format::duration;
use crate::pg::Param;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings whose values PostgreSQL reads.
const CHECKED: [&str; 8] = [
    "bytea_output",
    "client_min_messages",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "statement_timeout",
    "timezone",
];
/// Settings that can only have these values.
const FIXED: [(&str, &[&str]); 5] = [
    (
        "client_encoding",
        &["utf8", "utf-8", "unicode", "sql_ascii"],
    ),
    ("datestyle", &["iso", "iso, mdy", "iso,mdy"]),
    ("default_transaction_read_only", &["on", "true", "yes", "1"]),
    ("standard_conforming_strings", &["on", "true", "yes", "1"]),
    ("transaction_read_only", &["on", "true", "yes", "1"]),
];
/// Names that clients know some settings by.
const NAMES: [(&str, &str); 4] = [
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("timezone", "TimeZone"),
    ("client_encoding", "client_encoding"),
];

/// The values that were set.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// For the session.
    session: BTreeMap<String, String>,
    /// For the transaction.
    local: BTreeMap<String, String>,
    /// Those of the session before the transaction.
    before: Option<BTreeMap<String, String>>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.local.get(name).or_else(|| self.session.get(name));
        value.map(String::as_str)
    }

    /// The time zone, if one was set.
    pub(super) fn time_zone(&self) -> Option<&str> {
        self.get("timezone")
    }

    /// The time that a statement may take, if there is a limit: the shorter of the client's and this one.
    pub(super) fn timeout(&self, most: Option<Duration>) -> Option<Duration> {
        let set = self.get("statement_timeout");
        let set = set.and_then(|text| duration::parse(text).ok());
        let set = set.filter(|time| !time.is_zero());
        match (set, most) {
            (Some(set), Some(most)) => Some(set.min(most)),
            (set, most) => set.or(most),
        }
    }

    /// Sets a value, and returns what the client is to be told of: a name and its value. `None` is the default.
    pub(super) async fn set(
        &mut self,
        session: &mut Session,
        name: &str,
        value: Option<&str>,
        local: bool,
    ) -> Result<Option<(&'static str, String)>, Fault> {
        let value = match value {
            None => None,
            Some(value) => Some(accepted(session, name, value).await?),
        };
        let of_transaction = local && self.before.is_some();
        // SET LOCAL outside of a transaction has no effect, as in PostgreSQL.
        if of_transaction || !local {
            self.local.remove(name);
            let settings = if local {
                &mut self.local
            } else {
                &mut self.session
            };
            match &value {
                Some(value) => _ = settings.insert(name.to_owned(), value.clone()),
                None => _ = settings.remove(name),
            }
        }
        self.reported(session, name).await
    }

    /// What the client is to be told of a setting that may have changed.
    async fn reported(
        &self,
        session: &mut Session,
        name: &str,
    ) -> Result<Option<(&'static str, String)>, Fault> {
        let reported = NAMES.into_iter().find(|(known, _)| *known == name);
        let Some((_, reported)) = reported else {
            return Ok(None);
        };
        Ok(Some((reported, self.show(session, name).await?)))
    }

    /// RESET ALL
    pub(super) fn reset(&mut self) {
        self.session.clear();
        self.local.clear();
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        self.before = Some(self.session.clone());
    }

    /// A transaction ends; what was set in one that is rolled back is as before.
    pub(super) fn end(&mut self, commits: bool) {
        self.local.clear();
        if let Some(before) = self.before.take().filter(|_| !commits) {
            self.session = before;
        }
    }

    /// The value of a setting.
    pub(super) async fn show(&self, session: &mut Session, name: &str) -> Result<String, Fault> {
        if let Some(value) = self.get(name) {
            return Ok(value.to_owned());
        }
        match name {
            "client_encoding" | "server_encoding" => return Ok("UTF8".to_owned()),
            "transaction_read_only" | "default_transaction_read_only" => return Ok("on".to_owned()),
            "statement_timeout" => return Ok("0".to_owned()),
            _ => {}
        }
        // What this program sets for itself is not the client's.
        let sql = "SELECT CASE WHEN s.name = 'TimeZone' THEN s.reset_val ELSE pg_catalog.current_setting(s.name) END AS value
                   FROM pg_catalog.pg_settings AS s WHERE pg_catalog.lower(s.name) = $1";
        let client = session.lend().await?;
        let found = client.query(sql, &[Param::Text(name)]).await;
        session.give_back(client);
        let found = found.map_err(ColumnarError::server("read the setting"))?;
        let value = found.first("value").raw().map(str::to_owned);
        value.ok_or_else(|| {
            let why = format!("unrecognized configuration parameter \"{name}\"");
            fault("42704", why)
        })
    }
}

/// A value as PostgreSQL writes it, if it is one.
async fn accepted(session: &mut Session, name: &str, value: &str) -> Result<String, Fault> {
    if name == "application_name" {
        return Ok(value.chars().take(63).collect());
    }
    if let Some((_, values)) = FIXED.iter().find(|(known, _)| *known == name) {
        if !values.contains(&value.to_lowercase().as_str()) {
            let why = format!("{name} can only be {} here", values.first().unwrap_or(&""));
            return Err(unsupported(why));
        }
        return Ok(match name {
            "client_encoding" => "UTF8",
            "datestyle" => "ISO, MDY",
            _ => "on",
        }
        .to_owned());
    }
    if !CHECKED.contains(&name) {
        return Err(unsupported(format!("{name} cannot be set here")));
    }
    let client = session.lend().await?;
    // For its own transaction alone.
    let sql = "SELECT pg_catalog.set_config($1, $2, true) AS value";
    let params = [Param::Text(name), Param::Text(value)];
    let set = client.query(sql, &params).await;
    session.give_back(client);
    let set = set.map_err(ColumnarError::server("set a value"))?;
    Ok(set.first("value").raw().unwrap_or_default().to_owned())
}
