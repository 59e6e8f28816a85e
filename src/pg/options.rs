//! Typed connection settings: session attributes, network, TLS.

use super::conninfo_error::ConninfoError;
use super::keywords::Settings;
use crate::text::Clean;
use openssl::ssl::SslVersion;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::config::ChannelBinding;

/// A text that `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the text, for sending only, never for display.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Returns the value of `keyword` among `choices`, or the default.
fn choose<T: Copy>(
    settings: &Settings,
    keyword: &str,
    choices: &[(&str, T)],
    default: T,
) -> Result<T, ConninfoError> {
    let Some(value) = settings.filled(keyword) else {
        return Ok(default);
    };
    let choice = choices.iter().find(|(name, _)| *name == value);
    choice.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        ConninfoError::new(format!(
            "invalid {keyword} \"{}\": use one of {}",
            Clean::new(value),
            names.join(", ")
        ))
    })
}

fn integer(settings: &Settings, keyword: &str) -> Result<Option<i32>, ConninfoError> {
    let Some(value) = settings.filled(keyword) else {
        return Ok(None);
    };
    value.trim().parse().map(Some).map_err(|_| {
        ConninfoError::new(format!(
            "invalid {keyword} \"{}\": use a whole number",
            Clean::new(value)
        ))
    })
}

/// Required kind of server (target_session_attrs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionAttrs {
    /// Any server.
    #[default]
    Any,
    /// A server that accepts writes.
    ReadWrite,
    /// A server that does not accept writes.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server in recovery.
    Standby,
    /// A server in recovery if there is one, else any server.
    PreferStandby,
}

impl SessionAttrs {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let choices = [
            ("any", Self::Any),
            ("read-write", Self::ReadWrite),
            ("read-only", Self::ReadOnly),
            ("primary", Self::Primary),
            ("standby", Self::Standby),
            ("prefer-standby", Self::PreferStandby),
        ];
        choose(settings, "target_session_attrs", &choices, Self::Any)
    }
}

/// Timeouts and socket options.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// connect_timeout; `None` if it is absent or 0.
    pub(super) connect_timeout: Option<Duration>,
    /// True if TCP keepalive is on.
    pub(super) keepalives: bool,
    /// Silence before the first probe; `None` for the system's default.
    pub(super) idle: Option<Duration>,
    /// Time between probes; `None` for the system's default.
    pub(super) interval: Option<Duration>,
    /// Number of unanswered probes after which the connection counts as lost; `None` for the system's default.
    pub(super) count: Option<u32>,
    /// Time that sent data may stay unacknowledged; `None` for the system's default.
    pub(super) user_timeout: Option<Duration>,
    /// True for load_balance_hosts=random.
    pub(super) shuffle: bool,
    /// Operating system user that the server must run as, on a Unix-domain socket.
    pub(super) require_peer: Option<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            connect_timeout: None,
            keepalives: true,
            idle: Some(Duration::from_secs(10)),
            interval: Some(Duration::from_secs(5)),
            count: Some(3),
            user_timeout: None,
            shuffle: false,
            require_peer: None,
        }
    }
}

impl Network {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let default = Self::default();
        let positive = |keyword: &str, default: Option<u32>| match integer(settings, keyword)? {
            None => Ok::<_, ConninfoError>(default),
            Some(value) => Ok(u32::try_from(value).ok().filter(|value| *value > 0)),
        };
        let seconds = |keyword: &str, default: Option<Duration>| {
            let default = default.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
            Ok::<_, ConninfoError>(
                positive(keyword, default)?.map(|s| Duration::from_secs(s.into())),
            )
        };
        let shuffles = [("disable", false), ("random", true)];
        Ok(Self {
            connect_timeout: seconds("connect_timeout", None)?
                .map(|timeout| timeout.max(Duration::from_secs(2))),
            keepalives: integer(settings, "keepalives")? != Some(0),
            idle: seconds("keepalives_idle", default.idle)?,
            interval: seconds("keepalives_interval", default.interval)?,
            count: positive("keepalives_count", default.count)?,
            // Milliseconds in libpq, although the driver's own parser reads seconds.
            user_timeout: positive("tcp_user_timeout", None)?
                .map(|ms| Duration::from_millis(ms.into())),
            shuffle: choose(settings, "load_balance_hosts", &shuffles, false)?,
            require_peer: settings.filled("requirepeer").map(str::to_owned),
        })
    }

    /// Returns the time limit for one host: connect, TLS, authentication. 5 s if the user set none.
    pub(super) fn attempt_deadline(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }
}

/// sslmode, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    /// No TLS.
    Disable,
    /// TLS only if the server requires it.
    Allow,
    /// TLS if the server supports it.
    #[default]
    Prefer,
    /// TLS is required; verified if a root certificate file exists.
    Require,
    /// TLS with a certificate signed by a trusted authority.
    VerifyCa,
    /// Like `VerifyCa`, and the certificate must match the host name.
    VerifyFull,
}

/// Location of trusted certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// A file.
    File(PathBuf),
    /// The system's location.
    System,
}

/// All TLS settings.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    /// sslmode
    pub(super) mode: SslMode,
    /// sslnegotiation=direct
    pub(super) direct: bool,
    /// sslrootcert; `None` if it is not set and there is no home folder.
    pub(super) roots: Option<Roots>,
    /// sslcrl, and true if it was given explicitly, in which case it must be readable.
    pub(super) crl: Option<(PathBuf, bool)>,
    /// sslcrldir
    pub(super) crl_folder: Option<String>,
    /// sslcert and sslkey; `None` if no certificate may be sent.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// sslcertmode=require
    pub(super) identity_required: bool,
    /// sslpassword
    pub(super) key_password: Option<Secret>,
    /// sslsni
    pub(super) sni: bool,
    /// ssl_min_protocol_version
    pub(super) min_version: Option<SslVersion>,
    /// ssl_max_protocol_version
    pub(super) max_version: Option<SslVersion>,
    /// channel_binding
    pub(super) channel_binding: ChannelBinding,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            mode: SslMode::default(),
            direct: false,
            roots: None,
            crl: None,
            crl_folder: None,
            identity: None,
            identity_required: false,
            key_password: None,
            sni: true,
            min_version: Some(SslVersion::TLS1_2),
            max_version: None,
            channel_binding: ChannelBinding::Prefer,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum CertMode {
    Disable,
    Allow,
    Require,
}

impl TlsSettings {
    pub(super) fn from_settings(
        settings: &Settings,
        home: Option<&Path>,
    ) -> Result<Self, ConninfoError> {
        let file = |keyword: &str, name: &str| match settings.filled(keyword) {
            Some(path) => Some(PathBuf::from(path)),
            None => home.map(|home| home.join(".postgresql").join(name)),
        };
        let versions = [
            ("TLSv1", Some(SslVersion::TLS1)),
            ("TLSv1.1", Some(SslVersion::TLS1_1)),
            ("TLSv1.2", Some(SslVersion::TLS1_2)),
            ("TLSv1.3", Some(SslVersion::TLS1_3)),
        ];
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let cert_modes = [
            ("disable", CertMode::Disable),
            ("allow", CertMode::Allow),
            ("require", CertMode::Require),
        ];
        let min = Some(SslVersion::TLS1_2);
        let cert_mode = choose(settings, "sslcertmode", &cert_modes, CertMode::Allow)?;
        let system = settings.filled("sslrootcert") == Some("system");
        let mode = ssl_mode(settings, system)?;
        let negotiations = [("postgres", false), ("direct", true)];
        let direct = choose(settings, "sslnegotiation", &negotiations, false)?;
        if direct && mode < SslMode::Require {
            return Err(ConninfoError::new(
                "sslnegotiation=direct needs sslmode=require or stronger",
            ));
        }
        Ok(Self {
            mode,
            direct,
            roots: if system {
                Some(Roots::System)
            } else {
                file("sslrootcert", "root.crt").map(Roots::File)
            },
            crl: file("sslcrl", "root.crl").map(|path| (path, settings.filled("sslcrl").is_some())),
            crl_folder: settings.filled("sslcrldir").map(str::to_owned),
            identity: file("sslcert", "postgresql.crt")
                .zip(file("sslkey", "postgresql.key"))
                .filter(|_| cert_mode != CertMode::Disable),
            identity_required: cert_mode == CertMode::Require,
            key_password: settings.filled("sslpassword").map(Secret::new),
            sni: settings.filled("sslsni") != Some("0"),
            min_version: choose(settings, "ssl_min_protocol_version", &versions, min)?,
            max_version: choose(settings, "ssl_max_protocol_version", &versions, None)?,
            channel_binding: choose(
                settings,
                "channel_binding",
                &bindings,
                ChannelBinding::Prefer,
            )?,
        })
    }
}

fn ssl_mode(settings: &Settings, system_roots: bool) -> Result<SslMode, ConninfoError> {
    let modes = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let default = if system_roots {
        SslMode::VerifyFull
    } else {
        SslMode::Prefer
    };
    let mode = choose(settings, "sslmode", &modes, default)?;
    if system_roots && mode != SslMode::VerifyFull {
        return Err(ConninfoError::new(
            "a weak sslmode may not be used with sslrootcert=system: use sslmode=verify-full",
        ));
    }
    Ok(mode)
}
