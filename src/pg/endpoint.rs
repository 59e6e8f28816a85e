//! The servers of a target, in the order in which they are tried.

use super::conninfo_error::ConninfoError;
use super::keywords::Settings;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Socket folders: of packages (Debian, Red Hat), then PostgreSQL's own default.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// PostgreSQL's default port.
const DEFAULT_PORT: u16 = 5432;

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Its address.
    pub(super) place: Place,
    /// TCP port, or the number in the socket's name.
    pub(super) port: u16,
}

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The folder of a Unix-domain socket.
    Unix(PathBuf),
    /// A network address.
    Tcp {
        /// The name that certificates are checked against; `None` if only hostaddr was given.
        host: Option<String>,
        /// hostaddr: makes a lookup of the name unnecessary.
        address: Option<IpAddr>,
    },
}

impl Endpoint {
    /// Returns the server with its socket in `folder`.
    pub(super) fn unix(folder: &Path, port: u16) -> Self {
        Self {
            place: Place::Unix(folder.to_owned()),
            port,
        }
    }

    /// Returns the host for display: name, else address, else socket folder.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Unix(folder) => folder.to_string_lossy().into_owned(),
            Place::Tcp {
                host: Some(host), ..
            } => host.clone(),
            Place::Tcp { address, .. } => address.map(|a| a.to_string()).unwrap_or_default(),
        }
    }

    /// Returns the host as written in the password file.
    pub(super) fn passfile_host(&self) -> String {
        match &self.place {
            Place::Unix(folder) if SOCKET_FOLDERS.iter().any(|d| folder == Path::new(d)) => {
                "localhost".to_owned()
            }
            _ => self.host(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        if host.contains(':') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

/// Sets host and port if they are missing.
pub(super) fn add_defaults(settings: &mut Settings) -> Result<(), ConninfoError> {
    if settings.filled("port").is_none() {
        settings.set("port", DEFAULT_PORT.to_string())?;
    }
    if settings.filled("host").is_none() && settings.filled("hostaddr").is_none() {
        let port = port(settings.get("port").unwrap_or_default())?;
        settings.set("host", default_host(port))?;
    }
    Ok(())
}

/// Returns the default socket folder that contains a socket, else the first that exists, else localhost.
fn default_host(port: u16) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let folders = || SOCKET_FOLDERS.iter().map(Path::new);
    folders()
        .find(|folder| folder.join(&socket).exists())
        .or_else(|| folders().find(|folder| folder.is_dir()))
        .map_or_else(
            || "localhost".to_owned(),
            |folder| folder.to_string_lossy().into_owned(),
        )
}

/// Returns the servers that host, hostaddr and port define together.
pub(super) fn list(settings: &Settings) -> Result<Vec<Endpoint>, ConninfoError> {
    let split = |keyword: &str| -> Vec<&str> {
        settings
            .filled(keyword)
            .map(|list| list.split(',').map(str::trim).collect())
            .unwrap_or_default()
    };
    let (hosts, addresses, ports) = (split("host"), split("hostaddr"), split("port"));
    let count = hosts.len().max(addresses.len());
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(ConninfoError::new(format!(
            "{} host names but {} hostaddr values: give one hostaddr for each host",
            hosts.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(ConninfoError::new(format!(
            "{} ports but {count} hosts: give one port for all, or one for each host",
            ports.len()
        )));
    }
    (0..count)
        .map(|position| {
            let item = |list: &[&str]| list.get(position).copied().unwrap_or_default().to_owned();
            let port = port(ports.get(position).or(ports.first()).unwrap_or(&""))?;
            let place = place(item(&hosts), &item(&addresses), port)?;
            Ok(Endpoint { place, port })
        })
        .collect()
}

fn place(host: String, address: &str, port: u16) -> Result<Place, ConninfoError> {
    if !address.is_empty() {
        let address = address.parse().map_err(|_| {
            ConninfoError::new(
                "hostaddr must be a numeric IPv4 or IPv6 address; names go into host",
            )
        })?;
        return Ok(Place::Tcp {
            host: Some(host).filter(|host| !host.is_empty()),
            address: Some(address),
        });
    }
    let host = if host.is_empty() {
        default_host(port)
    } else {
        host
    };
    if host.starts_with('@') {
        return Err(ConninfoError::new(
            "abstract Unix sockets (host=@…) are not supported: use a socket folder",
        ));
    }
    Ok(if host.starts_with('/') {
        Place::Unix(host.into())
    } else {
        Place::Tcp {
            host: Some(host),
            address: None,
        }
    })
}

/// Parses a port. The error does not repeat the value: in a URI it can be part of a wrongly encoded password.
fn port(text: &str) -> Result<u16, ConninfoError> {
    let text = text.split(',').next().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| ConninfoError::new("a port must be a number from 1 to 65535 (in a URI, write / : @ in a password as %2F %3A %40)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(host: &str, hostaddr: &str, port: &str) -> String {
        let mut settings = Settings::default();
        for (keyword, value) in [("host", host), ("hostaddr", hostaddr), ("port", port)] {
            settings.set(keyword, value.into()).unwrap();
        }
        match list(&settings) {
            Ok(all) => all
                .iter()
                .map(|endpoint| match &endpoint.place {
                    Place::Tcp {
                        address: Some(address),
                        ..
                    } => format!("{endpoint}={address}"),
                    _ => endpoint.to_string(),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn hosts_addresses_and_ports_pair_up() {
        assert_eq!(listed("a,b", "", ""), "a:5432 b:5432");
        assert_eq!(listed("a,b", "", "1"), "a:1 b:1");
        assert_eq!(listed("a,/s,::1", "", "1,,3"), "a:1 /s:5432 [::1]:3");
        assert_eq!(listed("a", "10.0.0.1", "1"), "a:1=10.0.0.1");
        assert_eq!(listed("", "::1", ""), "[::1]:5432=::1");
        assert!(listed("a,b", "10.0.0.1", "").contains("one hostaddr for each host"));
        assert!(listed("a,b", "", "1,2,3").contains("3 ports but 2 hosts"));
        assert!(listed("a", "name", "").contains("numeric"));
        assert!(listed("a", "", "0").contains("1 to 65535"));
        assert!(listed("a", "", "canary").contains("1 to 65535"));
        assert!(!listed("a", "", "canary").contains("canary"));
        assert!(listed("@x", "", "").contains("abstract"));
    }

    #[test]
    fn the_password_file_calls_a_default_socket_localhost() {
        let host = |folder: &str| Endpoint::unix(Path::new(folder), 1).passfile_host();
        assert_eq!(host("/var/run/postgresql"), "localhost");
        assert_eq!(host("/run/else"), "/run/else");
    }
}
