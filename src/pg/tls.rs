//! Opens connections: chooses the server, and TLS or no TLS, in libpq's order.
//!
//! Each attempt has its own driver configuration, which names one address and either requires TLS or excludes it, so
//! that a session and its cancel requests never have less protection than [`Peer::protection`] says.

use super::certificate::{self, Connector};
use super::conninfo::Target;
use super::endpoint::{Endpoint, Place};
use super::error::{Class, PgError};
use super::failure::{Failure, Kind, combine, explain};
use super::logged;
use super::messages::Seen;
use super::options::{SessionAttrs, SslMode, TlsSettings};
use super::peer::{Peer, Protection};
use super::stream::{Bounding, Plain};
use crate::text::Clean;
use postgres_openssl::TlsStream;
use rand::seq::SliceRandom;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, SimpleQueryMessage};

/// An open session.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) peer: Peer,
    pub(super) ended: Ended,
    /// Facts from its messages.
    pub(super) seen: Arc<Seen>,
    pub(super) way: Way,
}

/// Transport of a session to its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The Unix-domain socket at this path.
    Unix(PathBuf),
    /// TCP without TLS.
    Tcp,
    /// TCP with TLS.
    Tls,
}

/// Connects to the first suitable server. The limit per host is the user's connect_timeout, or 5 s.
pub(super) async fn connect(target: &Target) -> Result<Link, PgError> {
    let passes: &[SessionAttrs] = match target.session {
        SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
        ref other => std::slice::from_ref(other),
    };
    let mut endpoints: Vec<&Endpoint> = target.endpoints.iter().collect();
    if target.network.shuffle {
        endpoints.shuffle(&mut rand::rng());
    }
    let mut failures: Vec<PgError> = Vec::new();
    for wanted in passes {
        failures.clear();
        for endpoint in &endpoints {
            match connect_endpoint(target, endpoint, *wanted).await {
                Ok(connected) => {
                    logged::opened(endpoint, &connected.peer, &connected.seen);
                    return Ok(connected);
                }
                Err(failure) => {
                    logged::refused(endpoint, &failure.error);
                    if !failure.tries_next_host() {
                        return Err(failure.error);
                    }
                    failures.push(failure.error);
                }
            }
        }
    }
    Err(combine(failures))
}

/// Sends the cancel request with the same protection as the session. Waits as long as for a connection.
pub(super) async fn cancel(target: &Target, token: &CancelToken, way: &Way) -> Result<(), PgError> {
    let deadline = target.network.attempt_deadline();
    let send = async {
        match way {
            Way::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket)
                    .await
                    .map_err(|error| PgError::new(Class::Reconnect, error.to_string()))?;
                Ok(token.cancel_query_raw(stream, Plain).await?)
            }
            Way::Tcp => Ok(token.cancel_query(Plain).await?),
            Way::Tls => {
                let tls = certificate::connector(&target.tls)?.tls;
                Ok(token.cancel_query(tls).await?)
            }
        }
    };
    timeout(deadline, send)
        .await
        .unwrap_or_else(|_| Err(PgError::deadline(deadline.as_secs_f64())))
}

async fn connect_endpoint(
    target: &Target,
    endpoint: &Endpoint,
    wanted: SessionAttrs,
) -> Result<Link, Failure> {
    let deadline = target.network.attempt_deadline();
    let late = |_| {
        let seconds = deadline.as_secs_f64();
        Failure::unreachable(format!("{endpoint}: no answer within {seconds:.1} s"))
    };
    let mut addresses = match &endpoint.place {
        Place::Unix(_) => vec![None],
        Place::Tcp {
            address: Some(address),
            ..
        } => vec![Some(*address)],
        Place::Tcp { host, .. } => {
            let name = host.as_deref().unwrap_or_default();
            let found = timeout(deadline, tokio::net::lookup_host((name, endpoint.port)))
                .await
                .map_err(late)?
                .map_err(|error| Failure::unreachable(format!("{endpoint}: {error}")))?;
            found.map(|address| Some(address.ip())).collect()
        }
    };
    if target.network.shuffle {
        addresses.shuffle(&mut rand::rng());
    }
    let mut last = Failure::unreachable(format!("{endpoint}: the name resolves to no address"));
    let mut messages = Vec::new();
    for address in addresses {
        let attempt = connect_address(target, endpoint, address, wanted);
        match timeout(deadline, attempt)
            .await
            .unwrap_or_else(|e| Err(late(e)))
        {
            Ok(connected) => return Ok(connected),
            Err(failure) if failure.tries_next_host() => {
                messages.push(failure.error.clone());
                last = failure;
            }
            Err(failure) => return Err(failure),
        }
    }
    if messages.len() > 1 {
        last.error = combine(messages);
    }
    Err(last)
}

/// Connects to one address: first with the protection that sslmode prefers, then with the other if it allows that.
async fn connect_address(
    target: &Target,
    endpoint: &Endpoint,
    address: Option<IpAddr>,
    wanted: SessionAttrs,
) -> Result<Link, Failure> {
    if let Place::Unix(folder) = &endpoint.place {
        require_peer(target, folder, endpoint.port).await?;
    }
    // Attempts in order; true means with TLS.
    let ways: &[bool] = match target.tls.mode {
        _ if address.is_none() => &[false],
        SslMode::Disable => &[false],
        SslMode::Allow => &[false, true],
        SslMode::Prefer => &[true, false],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[true],
    };
    let mut first: Option<Failure> = None;
    for tls in ways {
        let failure = match open(target, endpoint, address, *tls).await {
            Ok(link) => {
                check_session(&link.client, endpoint, wanted).await?;
                return Ok(link);
            }
            Err(failure) => failure,
        };
        match first.take() {
            // The first refusal says more than the lack of TLS.
            Some(refusal) if failure.kind == Kind::TlsMissing => return Err(refusal),
            Some(_) => return Err(failure),
            None if !failure.tries_other_protection() => return Err(failure),
            None => first = Some(failure),
        }
    }
    Err(first.unwrap_or_else(|| Failure::unreachable("no way to connect")))
}

/// Checks requirepeer: the server's process must run as the given operating system user.
async fn require_peer(target: &Target, folder: &Path, port: u16) -> Result<(), Failure> {
    let Some(required) = &target.network.require_peer else {
        return Ok(());
    };
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    let unreachable =
        |error: std::io::Error| Failure::unreachable(format!("{}: {error}", socket.display()));
    let stream = tokio::net::UnixStream::connect(&socket)
        .await
        .map_err(unreachable)?;
    let uid = stream.peer_cred().map_err(unreachable)?.uid();
    let account = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    let name = account.ok().flatten().map(|account| account.name);
    if name.as_ref() == Some(required) {
        return Ok(());
    }
    let name = name.unwrap_or_else(|| format!("user id {uid}"));
    Err(Failure {
        kind: Kind::Final,
        error: PgError::new(
            Class::Configuration,
            format!("requirepeer is \"{required}\", but the server runs as \"{name}\""),
        ),
    })
}

fn config(target: &Target, endpoint: &Endpoint, address: Option<IpAddr>, tls: bool) -> Config {
    let network = &target.network;
    let mut config = Config::new();
    match (&endpoint.place, address) {
        (Place::Unix(folder), _) => config.host_path(folder),
        (_, None) => config.host(endpoint.host()),
        (_, Some(address)) => config.host(endpoint.host()).hostaddr(address),
    };
    config
        .port(endpoint.port)
        .user(target.user())
        .dbname(target.dbname())
        .application_name(&target.application_name)
        .channel_binding(target.tls.channel_binding)
        .keepalives(network.keepalives)
        // Also without TLS: see `Plain`.
        .ssl_mode(tokio_postgres::config::SslMode::Require);
    if target.tls.direct || !tls {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    if let Some((password, _)) = target.password(endpoint) {
        config.password(password);
    }
    if let Some(options) = target.options() {
        config.options(options);
    }
    if let Some(idle) = network.idle {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = network.interval {
        config.keepalives_interval(interval);
    }
    if let Some(count) = network.count {
        config.keepalives_retries(count);
    }
    if let Some(user_timeout) = network.user_timeout {
        config.tcp_user_timeout(user_timeout);
    }
    config
}

/// Changes, by the end of its sender, when the connection is gone.
pub(super) type Ended = watch::Receiver<()>;

/// Runs a connection in a task of its own. Errors are seen through [`Ended`], `Client::is_closed`, the next statement's
/// error, and in the log.
fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    endpoint: &Endpoint,
    seen: &Arc<Seen>,
) -> Ended {
    let (alive, ended) = watch::channel(());
    let (server, seen) = (endpoint.to_string(), Arc::clone(seen));
    tokio::spawn(async move {
        let ending = connection.await;
        logged::ended(&server, seen.backend(), ending);
        drop(alive);
    });
    ended
}

/// Opens a connection and authenticates.
async fn open(
    target: &Target,
    endpoint: &Endpoint,
    address: Option<IpAddr>,
    tls: bool,
) -> Result<Link, Failure> {
    let config = config(target, endpoint, address, tls);
    let explain = |error| explain(error, target, endpoint);
    let seen = Arc::new(Seen::default());
    let link = |client, ended, way, protection| Link {
        client,
        peer: Peer {
            host: Clean::new(&endpoint.host()).as_str().to_owned(),
            port: endpoint.port,
            protection,
            pooled: false,
        },
        ended,
        seen: Arc::clone(&seen),
        way,
    };
    if let Place::Unix(folder) = &endpoint.place {
        let socket = folder.join(format!(".s.PGSQL.{}", endpoint.port));
        let stream = tokio::net::UnixStream::connect(&socket)
            .await
            .map_err(|error| Failure::unreachable(format!("{endpoint}: {error}")))?;
        let opened = config.connect_raw(stream, bounding(target, &seen, Plain));
        let (client, connection) = opened.await.map_err(explain)?;
        let way = Way::Unix(socket);
        let ended = drive(connection, endpoint, &seen);
        return Ok(link(client, ended, way, Protection::Local));
    }
    if !tls {
        let opened = config.connect(bounding(target, &seen, Plain));
        let (client, connection) = opened.await.map_err(explain)?;
        let protection = match address {
            Some(address) if !address.to_canonical().is_loopback() => Protection::Plaintext,
            _ => Protection::Local,
        };
        let ended = drive(connection, endpoint, &seen);
        return Ok(link(client, ended, Way::Tcp, protection));
    }
    if target.tls.mode < SslMode::Require && !target.tls.direct {
        let tls = LazyTls(target.tls.clone());
        let opened = config.connect(bounding(target, &seen, tls));
        let (client, connection) = opened.await.map_err(explain)?;
        let protection = Protection::Unverified;
        let ended = drive(connection, endpoint, &seen);
        return Ok(link(client, ended, Way::Tls, protection));
    }
    let Connector { tls, verifies } = connector(target, endpoint)?;
    let opened = config.connect(bounding(target, &seen, tls));
    let (client, connection) = opened.await.map_err(explain)?;
    let protection = if verifies {
        Protection::Verified
    } else {
        Protection::Unverified
    };
    let ended = drive(connection, endpoint, &seen);
    Ok(link(client, ended, Way::Tls, protection))
}

fn bounding<M>(target: &Target, seen: &Arc<Seen>, inner: M) -> Bounding<M> {
    Bounding {
        inner,
        limits: target.limits,
        seen: Arc::clone(seen),
    }
}

/// TLS for sslmodes that only prefer it. Reads the certificates only after the server has offered TLS: most local
/// servers do not, and reading them takes longer than the rest of connecting.
struct LazyTls(TlsSettings);

/// [`LazyTls`] for one host.
struct LazyConnect {
    settings: TlsSettings,
    host: String,
}

impl<S> MakeTlsConnect<S> for LazyTls
where
    S: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync + 'static,
{
    type Stream = TlsStream<S>;
    type TlsConnect = LazyConnect;
    type Error = std::convert::Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<LazyConnect, Self::Error> {
        Ok(LazyConnect {
            settings: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

impl<S> TlsConnect<S> for LazyConnect
where
    S: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync + 'static,
{
    type Stream = TlsStream<S>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream<S>, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let mut connector = certificate::connector(&self.settings)?;
            let tls = MakeTlsConnect::<S>::make_tls_connect(&mut connector.tls, &self.host)?;
            tls.connect(stream).await
        })
    }
}

fn connector(target: &Target, endpoint: &Endpoint) -> Result<Connector, Failure> {
    let nameless = matches!(&endpoint.place, Place::Tcp { host: None, .. });
    let made = if nameless && target.tls.mode == SslMode::VerifyFull {
        Err(PgError::new(
            Class::Configuration,
            "sslmode=verify-full needs a host name: set host besides hostaddr",
        ))
    } else {
        certificate::connector(&target.tls)
    };
    made.map_err(|error| Failure {
        kind: Kind::Tls,
        error,
    })
}

/// Checks target_session_attrs by asking the server for its state.
async fn check_session(
    client: &Client,
    endpoint: &Endpoint,
    wanted: SessionAttrs,
) -> Result<(), Failure> {
    let (sql, expected, what) = match wanted {
        SessionAttrs::Any | SessionAttrs::PreferStandby => return Ok(()),
        SessionAttrs::ReadWrite => ("SHOW transaction_read_only", "off", "read-only"),
        SessionAttrs::ReadOnly => ("SHOW transaction_read_only", "on", "not read-only"),
        SessionAttrs::Primary => (
            "SELECT pg_catalog.pg_is_in_recovery()",
            "f",
            "not the primary",
        ),
        SessionAttrs::Standby => (
            "SELECT pg_catalog.pg_is_in_recovery()",
            "t",
            "not a standby",
        ),
    };
    let answer = client.simple_query(sql).await.map_err(|error| {
        let error = PgError::from(error);
        Failure::unreachable(format!("{endpoint}: {error}"))
    })?;
    let holds = answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten() == Some(expected),
        _ => false,
    });
    if holds {
        return Ok(());
    }
    Err(Failure::unreachable(format!(
        "{endpoint}: server is {what}, but target_session_attrs requires otherwise"
    )))
}
