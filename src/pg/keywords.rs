//! The connection keywords of libpq 9.5 to 18, and a map of their values.

use super::conninfo_error::ConninfoError;
use crate::text::Clean;
use std::collections::BTreeMap;

/// Every keyword with its environment variable (empty if there is none).
///
/// Accepted but without effect: `authtype`, `client_encoding` (always UTF8),
/// `gssdelegation`, `gssencmode` other than `require` (no GSSAPI), `gsslib`, `krbsrvname`,
/// `max_protocol_version`, `min_protocol_version`, `oauth_*`, `replication`, `scram_client_key`,
/// `scram_server_key`, `sslcompression`, `sslkeylogfile`, `tty`.
const KEYWORDS: &[(&str, &str)] = &[
    ("application_name", "PGAPPNAME"),
    ("authtype", ""),
    ("channel_binding", "PGCHANNELBINDING"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("fallback_application_name", ""),
    ("gssdelegation", "PGGSSDELEGATION"),
    ("gssencmode", "PGGSSENCMODE"),
    ("gsslib", "PGGSSLIB"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("max_protocol_version", ""),
    ("min_protocol_version", ""),
    ("oauth_client_id", ""),
    ("oauth_client_secret", ""),
    ("oauth_issuer", ""),
    ("oauth_scope", ""),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("replication", ""),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("scram_client_key", ""),
    ("scram_server_key", ""),
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("sslcert", "PGSSLCERT"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslkey", "PGSSLKEY"),
    ("sslkeylogfile", ""),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslpassword", ""),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("tcp_user_timeout", ""),
    ("tty", ""),
    ("user", "PGUSER"),
];

/// Keywords whose values are never shown, logged or passed on.
const SECRETS: &[&str] = &[
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
];

/// Values by keyword. `Debug` hides secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// Sets `keyword`, which must be a known one.
    pub(super) fn set(&mut self, keyword: &str, value: String) -> Result<(), ConninfoError> {
        let Some((known, _)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else {
            return Err(unknown(keyword));
        };
        self.0.insert(known, value);
        Ok(())
    }

    /// Returns the value if one was given, even an empty one.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str)
    }

    /// Returns the value if one was given that is not empty.
    pub(super) fn filled(&self, keyword: &str) -> Option<&str> {
        self.get(keyword).filter(|value| !value.is_empty())
    }

    /// Takes all values from `other`, which override those here.
    pub(super) fn overlay(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Takes from `other` the values that are not set here.
    pub(super) fn fill(&mut self, other: Self) {
        for (keyword, value) in other.0 {
            self.0.entry(keyword).or_insert(value);
        }
    }

    /// Takes from the environment the values that are not set here.
    pub(super) fn fill_from_env(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for (keyword, variable) in KEYWORDS {
            if !variable.is_empty()
                && !self.0.contains_key(keyword)
                && let Some(value) = env(variable)
            {
                self.0.insert(keyword, value);
            }
        }
    }

    /// Removes the secrets.
    pub(super) fn without_secrets(mut self) -> Self {
        self.0.retain(|keyword, _| !SECRETS.contains(keyword));
        self
    }

    /// Returns keywords and values in alphabetical order, without secrets.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .iter()
            .filter(|(keyword, _)| !SECRETS.contains(keyword))
            .map(|(keyword, value)| (*keyword, value.as_str()))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(keyword, value)| {
                let secret = SECRETS.contains(keyword);
                (keyword, if secret { "***" } else { value.as_str() })
            }))
            .finish()
    }
}

fn unknown(keyword: &str) -> ConninfoError {
    // A word this long is not a mistyped keyword, and may be part of a wrongly quoted password.
    if keyword.chars().count() > 30 {
        return ConninfoError::new("unknown connection keyword; a value with blanks needs quotes");
    }
    let shown = Clean::new(keyword);
    let nearest = KEYWORDS
        .iter()
        .map(|(known, _)| (strsim::levenshtein(keyword, known), *known))
        .min()
        .filter(|(edits, known)| *edits <= 1 + known.len() / 4);
    ConninfoError::new(match nearest {
        Some((_, known)) => {
            format!("unknown connection keyword \"{shown}\": did you mean \"{known}\"?")
        }
        None => format!(
            "unknown connection keyword \"{shown}\": host, port, user, dbname, sslmode are some of them"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_keyword_names_the_nearest_known_one() {
        let said = |keyword: &str| {
            let mut settings = Settings::default();
            settings
                .set(keyword, String::new())
                .unwrap_err()
                .to_string()
        };
        assert!(said("hots").contains("\"host\""), "{}", said("hots"));
        assert!(said("ssl_mode").contains("\"sslmode\""));
        assert!(said("aplication_name").contains("\"application_name\""));
        assert!(!said("zzz").contains("did you mean"));
    }

    #[test]
    fn secrets_are_neither_debugged_nor_shown() {
        let mut settings = Settings::default();
        for keyword in SECRETS {
            settings.set(keyword, "canary".into()).unwrap();
        }
        settings.set("host", "h".into()).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        assert_eq!(settings.shown().collect::<Vec<_>>(), [("host", "h")]);
    }
}
