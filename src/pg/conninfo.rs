//! Connection settings, with libpq's syntax and meaning.
//!
//! Precedence, as in psql: connection string or URI, then the flags `-h -p -U -d`, then the service file, then the
//! environment, then the password file, then the defaults. Within a connection string the last value of a keyword
//! counts.
//!
//! Differences from libpq:
//! - There is no GSSAPI: `gssencmode=require` is an error, and other GSSAPI keywords have no effect. These have no
//!   effect either: `client_encoding` (always UTF8), `replication`, `sslcompression`, `sslkeylogfile`,
//!   `min_protocol_version`, `max_protocol_version`, `oauth_*`, `scram_*_key`, `authtype`, `tty`.
//! - `require_auth` is an error, because the driver cannot enforce it; so are abstract sockets (`host=@…`).
//! - sslmode allow and prefer never verify: if a root certificate file exists and does not match, libpq continues
//!   without TLS; here TLS is kept and shown as unverified.
//! - prefer tries TLS and then, on a second connection, no TLS; libpq reuses the first connection.
//! - An empty application_name counts as unset.
//! - An `sslcrl` given explicitly must be readable.
//! - Without a host, the socket is looked for in /var/run/postgresql, then in /tmp.
//! - The program never prompts for a password or a pass phrase.
//! - The limit per host is 5 s if no connect_timeout is given; keepalives are 10 s, 5 s, 3 probes.

use super::conninfo_error::ConninfoError;
use super::endpoint::{self, Endpoint};
use super::keywords::Settings;
use super::messages::Limits;
use super::options::{Network, Secret, SessionAttrs, TlsSettings};
use super::peer::Peer;
use super::{account, connstring, passfile, service};
use crate::text::Clean;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Default application_name, unless the user or [`Target::with_application_name`] sets another.
pub(crate) const APPLICATION_NAME: &str = "htap-top";

/// Connection flags of the command line, with psql's meanings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The positional argument: a database name, a connection string or a URI. It overrides the others.
    pub conninfo: Option<String>,
    /// `-h`: host name, address or socket folder; several are separated by commas.
    pub host: Option<String>,
    /// `-p`: port; several are separated by commas.
    pub port: Option<String>,
    /// `-U`: role.
    pub user: Option<String>,
    /// `-d`: the same as the positional argument.
    pub dbname: Option<String>,
}

impl Flags {
    fn settings(&self) -> Result<Settings, ConninfoError> {
        let mut settings = Settings::default();
        for (keyword, value) in [
            ("host", &self.host),
            ("port", &self.port),
            ("user", &self.user),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                settings.set(keyword, value.clone())?;
            }
        }
        for text in [&self.dbname, &self.conninfo].into_iter().flatten() {
            if connstring::is_conninfo(text) {
                settings.overlay(connstring::parse(text)?);
            } else if !text.is_empty() {
                settings.set("dbname", text.clone())?;
            }
        }
        Ok(settings)
    }
}

/// A resolved connection target. Neither `Debug` nor `Display` shows a password.
#[derive(Clone, Debug)]
pub struct Target {
    /// All settings, given or default, for passing on; contains no password.
    settings: Settings,
    user: String,
    dbname: String,
    password: Option<Secret>,
    passfile: Option<PathBuf>,
    warnings: Vec<String>,
    pub(super) application_name: String,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) session: SessionAttrs,
    pub(super) network: Network,
    pub(super) tls: TlsSettings,
    pub(super) limits: Limits,
}

impl Target {
    /// Resolves the flags, the service file and the environment (`env`) into a target. Reads files, but opens no
    /// connection.
    ///
    /// # Errors
    /// Returns an error for an unknown keyword or value, for numbers of hosts and ports that do not match, and for a
    /// missing service.
    pub fn resolve(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConninfoError> {
        let mut settings = flags.settings()?;
        let given = |keyword: &str, variable: &str| {
            let value = settings.get(keyword).map(str::to_owned);
            value
                .or_else(|| env(variable))
                .filter(|value| !value.is_empty())
        };
        if let Some(name) = given("service", "PGSERVICE") {
            let file = given("servicefile", "PGSERVICEFILE");
            settings.fill(service::lookup(&name, file.as_deref(), env)?);
        }
        settings.fill_from_env(env);
        Self::from_settings(settings, account::home(env).as_deref())
    }

    /// Returns the target of a server on this machine by its Unix-domain socket, independent of the environment.
    pub fn local(socket_dir: &Path, port: u16, user: &str, dbname: &str) -> Self {
        let mut settings = Settings::default();
        let host = socket_dir.to_string_lossy().into_owned();
        for (keyword, value) in [("host", host), ("port", port.to_string())] {
            // Both keywords are known, so this cannot fail.
            let _ = settings.set(keyword, value);
        }
        Self {
            settings,
            user: user.to_owned(),
            dbname: dbname.to_owned(),
            password: None,
            passfile: None,
            warnings: Vec::new(),
            application_name: APPLICATION_NAME.to_owned(),
            endpoints: vec![Endpoint::unix(socket_dir, port)],
            session: SessionAttrs::default(),
            network: Network::default(),
            tls: TlsSettings::default(),
            limits: Limits::OURS,
        }
    }

    fn from_settings(mut settings: Settings, home: Option<&Path>) -> Result<Self, ConninfoError> {
        if settings.filled("gssencmode") == Some("require") {
            return Err(ConninfoError::new(
                "gssencmode=require is not supported: use TLS (sslmode=verify-full) instead",
            ));
        }
        if settings.filled("require_auth").is_some() {
            return Err(ConninfoError::new(
                "require_auth is not supported: leave it out, or use channel_binding=require",
            ));
        }
        endpoint::add_defaults(&mut settings)?;
        let user = settings
            .filled("user")
            .map(str::to_owned)
            .or_else(account::user)
            .ok_or_else(|| {
                ConninfoError::new("no user name: this user id has none; set -U or PGUSER")
            })?;
        let passfile = match settings.get("passfile") {
            Some(file) => Some(PathBuf::from(file)).filter(|path| !path.as_os_str().is_empty()),
            None => home.map(|home| home.join(".pgpass")),
        };
        let name = settings
            .filled("application_name")
            .or_else(|| settings.filled("fallback_application_name"))
            .unwrap_or(APPLICATION_NAME);
        let password = settings.filled("password").map(Secret::new);
        let warnings = match (&password, &passfile) {
            (None, Some(path)) => passfile::complaint(path).into_iter().collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            dbname: settings.filled("dbname").unwrap_or(&user).to_owned(),
            application_name: name.to_owned(),
            endpoints: endpoint::list(&settings)?,
            session: SessionAttrs::from_settings(&settings)?,
            network: Network::from_settings(&settings)?,
            tls: TlsSettings::from_settings(&settings, home)?,
            limits: Limits::OURS,
            user,
            password,
            passfile,
            warnings,
            settings: settings.without_secrets(),
        })
    }

    /// Returns the same server with another role. An explicit password stays; one from the password file is looked up
    /// again for the new role.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Self {
        let user = user.to_owned();
        Self {
            user,
            ..self.clone()
        }
    }

    /// Returns the same server with another role and its password. The password file is not looked at.
    #[must_use]
    pub fn with_login(&self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Some(Secret::new(password)),
            passfile: None,
            ..self.clone()
        }
    }

    /// Returns the same server with the role, password and database of another target.
    #[must_use]
    pub fn with_role_of(&self, other: &Self) -> Self {
        Self {
            user: other.user.clone(),
            dbname: other.dbname.clone(),
            password: other.password.clone(),
            passfile: other.passfile.clone(),
            application_name: other.application_name.clone(),
            ..self.clone()
        }
    }

    /// Returns the same server with another database.
    #[must_use]
    pub fn with_dbname(&self, dbname: &str) -> Self {
        let dbname = dbname.to_owned();
        Self {
            dbname,
            ..self.clone()
        }
    }

    /// Returns the same server with limits for statements of a user who wants their complete results.
    #[must_use]
    pub fn for_whole_answers(&self) -> Self {
        Self {
            limits: Limits::OF_A_USER,
            ..self.clone()
        }
    }

    /// Returns the same target with another application_name.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Self {
        let application_name = name.to_owned();
        Self {
            application_name,
            ..self.clone()
        }
    }

    /// Formats the settings as `keyword='value' …` for programs that use libpq, without any password.
    pub fn to_conninfo(&self) -> String {
        let own = [
            ("user", self.user.as_str()),
            ("dbname", &self.dbname),
            ("application_name", &self.application_name),
        ];
        self.format(&own)
    }

    /// Formats the settings for a program that uses libpq, so that it reaches the server of a session of this target;
    /// the password is apart.
    pub(crate) fn for_program(&self, peer: &Peer) -> (String, Option<String>) {
        let port = peer.port.to_string();
        let mut own = vec![
            ("user", self.user.as_str()),
            ("dbname", &self.dbname),
            ("application_name", &self.application_name),
            ("host", &peer.host),
            ("port", &port),
        ];
        if self.endpoints.len() > 1 {
            // An address of another host, perhaps.
            own.push(("hostaddr", ""));
        }
        let at = |endpoint: &&Endpoint| endpoint.host() == peer.host && endpoint.port == peer.port;
        let endpoint = self.endpoints.iter().find(at);
        let password = endpoint.and_then(|endpoint| self.password(endpoint));
        (self.format(&own), password.map(|(text, _)| text))
    }

    /// Formats the settings, with `own` in place of those of the same names; empty ones are left out.
    fn format(&self, own: &[(&'static str, &str)]) -> String {
        let other = self.settings.shown().filter(|(keyword, _)| {
            // The settings of the service are already merged.
            !matches!(*keyword, "service" | "servicefile")
                && !own.iter().any(|(name, _)| name == keyword)
        });
        let own = own.iter().copied();
        other
            .chain(own)
            .filter(|(keyword, value)| *keyword != "hostaddr" || !value.is_empty())
            .map(|(keyword, value)| {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                format!("{keyword}='{value}'")
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Returns the role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the database.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// Returns `host:port` of every server that may be tried, for display.
    pub fn host_display(&self) -> String {
        let hosts: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        Clean::new(&hosts.join(", ")).as_str().to_owned()
    }

    /// Returns warnings about these settings, such as a password file that is ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the user's connect_timeout per host, if one was given: at least 2 s, as in libpq.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.network.connect_timeout
    }

    /// Returns a deadline for the whole of [`super::Client::connect`] that leaves time for every host.
    pub fn connect_deadline(&self) -> Duration {
        let hosts = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
        self.network.attempt_deadline().saturating_mul(hosts)
    }

    /// Returns the command-line options for the server, if there are any.
    pub(super) fn options(&self) -> Option<&str> {
        self.settings.filled("options")
    }

    /// Returns the password for `endpoint`, and true if it came from the password file.
    pub(super) fn password(&self, endpoint: &Endpoint) -> Option<(String, bool)> {
        if let Some(password) = &self.password {
            return Some((password.reveal().to_owned(), false));
        }
        let wanted = passfile::Wanted {
            host: &endpoint.passfile_host(),
            port: endpoint.port,
            dbname: &self.dbname,
            user: &self.user,
        };
        Some((passfile::lookup(self.passfile.as_deref()?, wanted)?, true))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, dbname) = (Clean::new(&self.user), Clean::new(&self.dbname));
        write!(f, "{user}@{}/{dbname}", self.host_display())
    }
}

#[cfg(test)]
#[path = "conninfo_tests.rs"]
mod tests;
