//! Connection settings as types: what the session must be, the network, TLS.

use super::conninfo_error::ConninfoError;
use super::keywords::Settings;
use crate::text::Clean;
use openssl::ssl::SslVersion;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::config::ChannelBinding;

/// Text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, to be sent and never shown.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The value of `keyword` among `choices`, whose first is the default.
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

/// Which of the servers will do (target_session_attrs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionAttrs {
    /// Every one.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One in recovery.
    Standby,
    /// One in recovery, else every one.
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
    /// connect_timeout; none where it is absent or 0.
    pub(super) connect_timeout: Option<Duration>,
    /// True if TCP keepalive is on.
    pub(super) keepalives: bool,
    /// Silence before the first probe; none is the system's.
    pub(super) idle: Option<Duration>,
    /// Time between probes; none is the system's.
    pub(super) interval: Option<Duration>,
    /// Unanswered probes before the connection counts as lost; none is the system's.
    pub(super) count: Option<u32>,
    /// How long sent data may stay unacknowledged; none is the system's.
    pub(super) user_timeout: Option<Duration>,
    /// load_balance_hosts=random
    pub(super) shuffle: bool,
    /// The operating system's user the server must run as, on a Unix-domain socket.
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

    /// How long one host may take: connect, TLS, authentication. 5 s where the user said nothing.
    pub(super) fn attempt_deadline(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }
}

/// sslmode, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only where the server insists.
    Allow,
    /// TLS unless the server has none.
    #[default]
    Prefer,
    /// TLS or nothing; verified where a root certificate file is there.
    Require,
    /// TLS by a certificate that a trusted authority signed.
    VerifyCa,
    /// The same, and it names the host.
    VerifyFull,
}

/// Where trusted certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// In a file.
    File(PathBuf),
    /// Where the system keeps them.
    System,
}

/// Everything about TLS.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    /// sslmode
    pub(super) mode: SslMode,
    /// sslnegotiation=direct
    pub(super) direct: bool,
    /// sslrootcert; none where there is no home folder either.
    pub(super) roots: Option<Roots>,
    /// sslcrl and whether it was given, in which case it must be readable.
    pub(super) crl: Option<(PathBuf, bool)>,
    /// sslcrldir
    pub(super) crl_folder: Option<String>,
    /// sslcert and sslkey; none where no certificate may be sent.
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
