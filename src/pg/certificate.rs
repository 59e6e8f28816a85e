//! TLS by OpenSSL with libpq's rules for trusted authorities, client certificates, and host names.

use super::error::{Class, PgError};
use super::options::{Roots, SslMode, TlsSettings};
use crate::text::Clean;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::{File, HashDir, X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref, X509VerifyResult};
use postgres_openssl::MakeTlsConnector;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Returns the name and version of the TLS library, and where it comes from.
pub fn tls_library() -> String {
    let origin = if cfg!(feature = "vendored-openssl") {
        "built in"
    } else {
        "of the system"
    };
    format!("{} ({origin})", openssl::version::version())
}

/// Locations of the system's trusted certificates; the OpenSSL built into this program does not know them.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/openssl@3/cert.pem",
];

/// Opens TLS connections.
#[derive(Clone)]
pub(super) struct Connector {
    /// Connector for the driver.
    pub(super) tls: MakeTlsConnector,
    /// True if the server's certificate is verified.
    pub(super) verifies: bool,
}

fn refuse(message: impl AsRef<str>) -> PgError {
    PgError::new(Class::Configuration, message)
}

fn broken(what: &str, path: &Path, error: &ErrorStack) -> PgError {
    let path = path.display();
    refuse(format!("cannot read {what} \"{path}\": {}", reason(error)))
}

/// Returns the first reason in a stack of OpenSSL errors, without its code and source line.
pub(super) fn reason(error: &ErrorStack) -> String {
    let first = error
        .errors()
        .iter()
        .find_map(openssl::error::Error::reason);
    first.map_or_else(|| error.to_string(), str::to_owned)
}

/// Builds a connector from the certificates and keys that `settings` name.
pub(super) fn connector(settings: &TlsSettings) -> Result<Connector, PgError> {
    let internal = |error: ErrorStack| refuse(format!("TLS: {}", reason(&error)));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(internal)?;
    builder
        .set_min_proto_version(settings.min_version)
        .and_then(|()| builder.set_max_proto_version(settings.max_version))
        .map_err(internal)?;
    if settings.direct {
        postgres_openssl::set_postgresql_alpn(&mut builder).map_err(internal)?;
    }
    let verifies = trust(&mut builder, settings)?;
    identify(&mut builder, settings)?;
    let mut tls = MakeTlsConnector::new(builder.build());
    let sni = settings.sni;
    let names = settings.mode == SslMode::VerifyFull;
    tls.set_callback(move |ssl, host| {
        ssl.set_use_server_name_indication(sni);
        // libpq's rules for names differ slightly from OpenSSL's: see `names_host`.
        ssl.set_verify_hostname(false);
        if names {
            let host = host.to_owned();
            ssl.set_verify_callback(SslVerifyMode::PEER, move |chain_is_good, context| {
                if !chain_is_good || context.error_depth() != 0 {
                    return chain_is_good;
                }
                let fits = context
                    .current_cert()
                    .is_some_and(|certificate| names_host(certificate, &host));
                if !fits {
                    context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
                }
                fits
            });
        }
        Ok(())
    });
    Ok(Connector { tls, verifies })
}

/// Sets up verification; returns false if sslmode requires none.
fn trust(builder: &mut SslConnectorBuilder, settings: &TlsSettings) -> Result<bool, PgError> {
    let file = match &settings.roots {
        Some(Roots::File(path)) => Some(path.clone()).filter(|path| path.exists()),
        Some(Roots::System) => Some(system_roots()?),
        None => None,
    };
    let file = match file {
        Some(file) if settings.mode >= SslMode::Require => file,
        None if settings.mode >= SslMode::VerifyCa => return Err(no_roots(settings)),
        _ => {
            builder.set_verify(SslVerifyMode::NONE);
            return Ok(false);
        }
    };
    // A separate store: the builder's own trusts the system's authorities, which libpq does not.
    let read = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|error| {
            refuse(format!(
                "cannot read {what} \"{}\": {error}",
                path.display()
            ))
        })
    };
    let bad_root = |error: ErrorStack| broken("root certificate file", &file, &error);
    let mut store = X509StoreBuilder::new().map_err(bad_root)?;
    let roots = X509::stack_from_pem(&read("root certificate file", &file)?).map_err(bad_root)?;
    if roots.is_empty() {
        return Err(refuse(format!(
            "root certificate file \"{}\" holds no certificate in PEM form",
            file.display()
        )));
    }
    for root in roots {
        store.add_cert(root).map_err(bad_root)?;
    }
    let mut revocations = false;
    if let Some((path, given)) = &settings.crl
        && (*given || path.exists())
    {
        read("certificate revocation list", path)?;
        store
            .add_lookup(X509Lookup::<File>::file())
            .and_then(|lookup| lookup.load_crl_file(path, SslFiletype::PEM))
            .map_err(|error| broken("certificate revocation list", path, &error))?;
        revocations = true;
    }
    if let Some(folder) = &settings.crl_folder {
        store
            .add_lookup(X509Lookup::<HashDir>::hash_dir())
            .and_then(|lookup| lookup.add_dir(folder, SslFiletype::PEM))
            .map_err(|error| broken("revocation folder", Path::new(folder), &error))?;
        revocations = true;
    }
    if revocations {
        store
            .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
            .map_err(bad_root)?;
    }
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    Ok(true)
}

fn no_roots(settings: &TlsSettings) -> PgError {
    let file = match &settings.roots {
        Some(Roots::File(path)) => format!("root certificate file \"{}\"", path.display()),
        _ => "the root certificate file".to_owned(),
    };
    refuse(format!(
        "{file} does not exist: provide it, use the system's with sslrootcert=system, or choose a weaker sslmode"
    ))
}

fn system_roots() -> Result<PathBuf, PgError> {
    std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .into_iter()
        .chain(SYSTEM_ROOTS.iter().map(PathBuf::from))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            refuse("the system has no file of trusted certificates: set SSL_CERT_FILE, or sslrootcert to a file")
        })
}

/// Returns a connector for servers other than PostgreSQL's, which trusts the system's certificates.
#[cfg(feature = "columnar")]
pub(crate) fn of_system() -> Result<SslConnectorBuilder, PgError> {
    let internal = |error: ErrorStack| refuse(format!("TLS: {}", reason(&error)));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(internal)?;
    // Without them no server is trusted, and one without TLS can be used.
    if let Ok(roots) = system_roots() {
        let read = builder.set_ca_file(&roots);
        read.map_err(|error| broken("root certificate file", &roots, &error))?;
    }
    Ok(builder)
}

/// Loads the client's certificate and key, if there are any.
fn identify(builder: &mut SslConnectorBuilder, settings: &TlsSettings) -> Result<(), PgError> {
    let files = settings.identity.as_ref();
    let Some((certificate, key)) = files.filter(|(certificate, _)| certificate.exists()) else {
        if settings.identity_required {
            return Err(refuse(
                "sslcertmode=require, but there is no client certificate: set sslcert",
            ));
        }
        return Ok(());
    };
    builder
        .set_certificate_chain_file(certificate)
        .map_err(|error| broken("client certificate", certificate, &error))?;
    let private = private_key(key, settings)?;
    builder
        .set_private_key(&private)
        .and_then(|()| builder.check_private_key())
        .map_err(|error| broken("private key file", key, &error))
}

fn private_key(path: &Path, settings: &TlsSettings) -> Result<PKey<Private>, PgError> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        refuse(format!(
            "certificate present, but not its private key file \"{shown}\": {error}"
        ))
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    let allowed = if metadata.uid() == 0 { 0o640 } else { 0o600 };
    if metadata.mode() & 0o077 & !allowed != 0 {
        return Err(refuse(format!(
            "private key file \"{shown}\" has group or world access: run chmod 0600 on it"
        )));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // With a pass phrase, even an empty one, OpenSSL never asks on the terminal.
    let phrase = settings.key_password.as_ref().map_or("", |p| p.reveal());
    PKey::private_key_from_pem_passphrase(&bytes, phrase.as_bytes())
        .or_else(|error| PKey::private_key_from_der(&bytes).map_err(|_| error))
        .map_err(|error| broken("private key file", path, &error))
}

/// Returns true if `certificate` is for `host`, by libpq's rules: alternative names come first (a numeric host also
/// matches a DNS entry with the same text), and the common name counts only if there is no entry of the host's kind.
fn names_host(certificate: &X509Ref, host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let octets = address.map(|address| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    });
    let mut common_name_counts = true;
    for name in certificate.subject_alt_names().iter().flatten() {
        if let Some(dns) = name.dnsname() {
            common_name_counts &= address.is_some();
            if pattern_fits(dns, host) {
                return true;
            }
        } else if let Some(ip) = name.ipaddress() {
            common_name_counts &= address.is_none();
            if octets.as_deref() == Some(ip) {
                return true;
            }
        }
    }
    let common_name = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next()
        .and_then(|entry| entry.data().to_string().ok());
    common_name_counts && common_name.is_some_and(|name| pattern_fits(&name, host))
}

/// Returns true if a host matches a name or a pattern, in which `*.` stands for exactly one label.
fn pattern_fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    if pattern == host {
        return true;
    }
    pattern
        .strip_prefix('*')
        .filter(|suffix| suffix.len() > 1 && suffix.starts_with('.'))
        .and_then(|suffix| host.strip_suffix(suffix))
        .is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

/// Describes a failed handshake for people: the reason, and the result of the verification.
pub(super) fn handshake_text(whole: &str, inner: &openssl::ssl::Error) -> String {
    let reason = inner.ssl_error().map_or_else(|| inner.to_string(), reason);
    let verdict = whole.strip_prefix(&inner.to_string()).unwrap_or_default();
    // The only error that our own callback in `connector` sets.
    let verdict = verdict.replace(
        "application verification failure",
        "the certificate is not for this host name",
    );
    Clean::new(&format!("TLS: {reason}{verdict}"))
        .as_str()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::extension::SubjectAlternativeName;
    use openssl::x509::{X509Builder, X509NameBuilder};

    fn certificate(common_name: &str, alternatives: &[&str]) -> X509 {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, common_name)
            .unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name.build()).unwrap();
        if !alternatives.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in alternatives {
                match name.parse::<IpAddr>() {
                    Ok(_) => names.ip(name),
                    Err(_) => names.dns(name.trim_start_matches('=')),
                };
            }
            let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.build()
    }

    #[test]
    fn names_follow_libpq() {
        for (common_name, alternatives, host, fits) in [
            ("db.example", &[][..], "db.example", true),
            ("db.example", &[], "DB.Example", true),
            ("db.example", &[], "other", false),
            ("db.example", &["other"], "db.example", false),
            ("x", &["a", "db.example"], "db.example", true),
            ("x", &["*.example"], "db.example", true),
            ("x", &["*.example"], "a.db.example", false),
            ("x", &["*.example"], ".example", false),
            ("x", &["*.example"], "example", false),
            ("*", &[], "db", false),
            ("*.", &[], "db.", false),
            ("x", &["127.0.0.1"], "127.0.0.1", true),
            ("x", &["::1"], "::1", true),
            ("x", &["127.0.0.2"], "127.0.0.1", false),
            ("127.0.0.1", &[], "127.0.0.1", true),
            ("127.0.0.1", &["127.0.0.2"], "127.0.0.1", false),
            ("127.0.0.1", &["name"], "127.0.0.1", true),
            ("x", &["=127.0.0.1"], "127.0.0.1", true),
            ("db", &["127.0.0.1"], "db", true),
        ] {
            let made = certificate(common_name, alternatives);
            assert_eq!(
                names_host(&made, host),
                fits,
                "{common_name} {alternatives:?} {host}"
            );
        }
    }
}
