//! Connections to a real server: every sslmode with every kind of certificate ends as in psql, errors have
//! their class, several hosts are tried in libpq's order.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

mod certificates;
mod hostile;
mod hosts;
mod server;
mod spellings;

use certificates::{Pair, Recipe, make};
use htap_top::pg::{Class, Client, Flags, Param, PgError, Protection, Target, Value};
use server::{Server, newest_bin, own, psql, write_private};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Result of a connection: `Ok(true)` with TLS.
type Verdict = Result<bool, String>;

const USES_TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn psql_verdict(conninfo: &str, home: &Path) -> Verdict {
    let output = psql(conninfo, USES_TLS, home);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim() == "t");
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn target(conninfo: &str, home: &Path) -> Target {
    let flags = Flags {
        conninfo: Some(conninfo.to_owned()),
        ..Flags::default()
    };
    let home = home.to_string_lossy().into_owned();
    Target::resolve(&flags, &|name| (name == "HOME").then(|| home.clone())).unwrap()
}

async fn connect(conninfo: &str, home: &Path) -> Result<Client, PgError> {
    let target = target(conninfo, home);
    let deadline = target.connect_deadline() * 2;
    let connected = tokio::time::timeout(deadline, Client::connect(&target));
    connected
        .await
        .unwrap_or_else(|_| panic!("{conninfo}: hangs"))
}

/// This client's result, after checking that the protection displayed is what the server sees.
async fn our_verdict(conninfo: &str, home: &Path) -> Verdict {
    let client = match connect(conninfo, home).await {
        Ok(client) => client,
        Err(error) => return Err(format!("{:?}: {error}", error.class)),
    };
    let answer = client.query(USES_TLS, &[]).await.unwrap();
    let tls = answer.get(0, "ssl").is_true();
    let shown = matches!(
        client.peer.protection,
        Protection::Verified | Protection::Unverified
    );
    assert_eq!(shown, tls, "{conninfo}: {:?}", client.peer);
    if conninfo.contains("verify-") {
        assert_eq!(client.peer.protection, Protection::Verified, "{conninfo}");
    }
    Ok(tls)
}

fn authority(common_name: &str) -> Recipe<'_> {
    Recipe {
        common_name,
        authority: true,
        ..Recipe::default()
    }
}

/// The server's certificates; `None` means that TLS is off.
fn certificate_kinds(ca: &Pair) -> Vec<(&'static str, Option<Pair>)> {
    let plain = |common_name| Recipe {
        common_name,
        ..Recipe::default()
    };
    let named = |names| Recipe {
        common_name: "x",
        names,
        ..Recipe::default()
    };
    let version_1 = Recipe {
        version_1: true,
        ..plain("localhost")
    };
    let expired = Recipe {
        expired: true,
        ..plain("localhost")
    };
    vec![
        ("name", Some(make(&named(&["localhost"]), Some(ca)))),
        ("common", Some(make(&plain("localhost"), Some(ca)))),
        (
            "address",
            Some(make(&named(&["127.0.0.1", "::1"]), Some(ca))),
        ),
        ("other", Some(make(&named(&["elsewhere"]), Some(ca)))),
        ("version1", Some(make(&version_1, Some(ca)))),
        ("expired", Some(make(&expired, Some(ca)))),
        ("itself", Some(make(&authority("localhost"), None))),
        ("off", None),
    ]
}

/// Every sslmode x certificate x trusted root x host name x kind of pg_hba.conf entry.
pub async fn every_sslmode_ends_as_psql_does(server: &Server) {
    let ca = make(&authority("test authority"), None);
    let stranger = make(&authority("other"), None);
    let kinds = certificate_kinds(&ca);
    let home = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (kind, pair) in &kinds {
        match pair {
            Some(pair) => server.install(kind, pair),
            None => server.set("ssl", "off"),
        }
        let right = match (*kind, pair) {
            ("itself", Some(pair)) => pair,
            _ => &ca,
        };
        for (root, pair) in [("right", right), ("wrong", &stranger)] {
            let pem = pair.certificate.to_pem().unwrap();
            fs::write(home.path().join(root), pem).unwrap();
        }
        for conninfo in combinations(kind, server.port, home.path()) {
            let theirs = psql_verdict(&conninfo, home.path());
            let ours = our_verdict(&conninfo, home.path()).await;
            let same = match (&ours, &theirs) {
                // With allow and prefer libpq verifies if a root file exists, and on failure continues
                // without TLS or not at all; this client keeps TLS, unverified and shown as such.
                (Ok(true), Ok(false) | Err(_)) => {
                    conninfo.contains("sslmode=prefer") || conninfo.contains("sslmode=allow")
                }
                (Ok(ours), Ok(theirs)) => ours == theirs,
                (ours, theirs) => ours.is_err() == theirs.is_err(),
            };
            assert!(same, "{kind}: {conninfo}\nours {ours:?}\npsql {theirs:?}");
            if let Err(error) = &ours {
                assert!(error.starts_with("Configuration"), "{conninfo}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen} combinations");
}

fn combinations(kind: &str, port: u16, home: &Path) -> Vec<String> {
    let all_roles = matches!(kind, "name" | "off");
    let mut all = Vec::new();
    for role in ["either", "tlsonly", "plainonly"] {
        for mode in MODES {
            for host in ["localhost", "127.0.0.1"] {
                for root in ["right", "wrong", "missing"] {
                    // Only verify-full checks the host's name, only hba entries depend on the role, and
                    // disable and allow (with a role that needs no TLS) check no certificate.
                    if (host != "localhost" && mode != "verify-full")
                        || (!all_roles && (role != "either" || matches!(mode, "disable" | "allow")))
                    {
                        continue;
                    }
                    let root = home.join(root);
                    all.push(format!(
                        "host={host} port={port} user={role} dbname=postgres sslmode={mode} sslrootcert={}",
                        root.display()
                    ));
                }
            }
        }
    }
    all
}

/// Client certificates, and private keys that others can read.
pub async fn a_client_certificate_is_sent_and_its_key_guarded(server: &Server) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    fs::create_dir(&folder).unwrap();
    let recipe = |common_name, authority| Recipe {
        common_name,
        authority,
        ..Recipe::default()
    };
    let ca = make(&recipe("client authority", true), None);
    let client = make(&recipe("certified", false), Some(&ca));
    let root = server.data().join("clients.crt");
    write_private(&root, &ca.certificate.to_pem().unwrap());
    own(&root);
    server.set("ssl", "off");
    server.set("ssl_ca_file", "clients.crt");
    server.install("server", &make(&recipe("localhost", false), Some(&ca)));
    let port = server.port;
    let conninfo =
        format!("host=localhost port={port} user=certified dbname=postgres sslmode=require");
    let both = || async {
        let ours = our_verdict(&conninfo, home.path()).await;
        let theirs = psql_verdict(&conninfo, home.path());
        assert_eq!(
            ours.is_ok(),
            theirs.is_ok(),
            "ours {ours:?}\npsql {theirs:?}"
        );
        ours
    };
    assert!(both().await.is_err());
    fs::write(
        folder.join("postgresql.crt"),
        client.certificate.to_pem().unwrap(),
    )
    .unwrap();
    assert!(both().await.unwrap_err().contains("private key file"));
    let key = folder.join("postgresql.key");
    write_private(&key, &client.key.private_key_to_pem_pkcs8().unwrap());
    assert!(both().await.unwrap());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    assert!(both().await.unwrap_err().contains("chmod 0600"));
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let locked = client
        .key
        .private_key_to_pem_pkcs8_passphrase(cipher, b"pass");
    write_private(&key, &locked.unwrap());
    assert!(both().await.unwrap_err().contains("private key file"));
    let conninfo = format!("{conninfo} sslpassword=pass");
    assert!(our_verdict(&conninfo, home.path()).await.unwrap());
    // require with a root certificate present verifies, as libpq's does.
    fs::write(folder.join("root.crt"), ca.certificate.to_pem().unwrap()).unwrap();
    let client = connect(&conninfo, home.path()).await.unwrap();
    assert_eq!(client.peer.protection, Protection::Verified);
}

/// A revoked server certificate is refused; another of the same authority is not.
pub async fn a_revoked_certificate_is_refused(server: &Server) {
    let home = tempfile::tempdir().unwrap();
    let authority = Recipe {
        common_name: "revoking authority",
        authority: true,
        ..Recipe::default()
    };
    let ca = make(&authority, None);
    let recipe = |common_name| Recipe {
        common_name,
        names: &["localhost"],
        ..Recipe::default()
    };
    let revoked = make(&recipe("revoked"), Some(&ca));
    let crl = certificates::revocation_list(&ca, &revoked, home.path());
    let root = home.path().join("ca.crt");
    let conninfo = format!(
        "host=localhost port={} user=either dbname=postgres sslmode=verify-full sslrootcert={} sslcrl={}",
        server.port,
        root.display(),
        crl.display()
    );
    for (name, pair, works) in [
        ("revoked", &revoked, false),
        ("valid", &make(&recipe("another name"), Some(&ca)), true),
    ] {
        server.install(name, pair);
        let ours = our_verdict(&conninfo, home.path()).await;
        let theirs = psql_verdict(&conninfo, home.path());
        assert_eq!(
            (ours.is_ok(), theirs.is_ok()),
            (works, works),
            "{ours:?} {theirs:?}"
        );
        if let Err(error) = ours {
            assert!(error.contains("revoked"), "{error}");
        }
    }
}

/// Errors that a user can fix have their class; no message contains the password.
pub async fn refusals_are_for_the_user_to_mend(server: &Server) {
    let home = tempfile::tempdir().unwrap();
    let base = format!("host=localhost port={}", server.port);
    for (rest, code, part) in [
        (
            "user=secret password=canaryX dbname=postgres",
            "28P01",
            "authentication failed",
        ),
        ("user=secret dbname=postgres", "", "PGPASSWORD"),
        ("user=nobody dbname=postgres", "28000", "pg_hba"),
        ("user=either dbname=nothing", "3D000", "nothing"),
        (
            "user=secret password=canary dbname=postgres sslmode=disable channel_binding=require",
            "",
            "channel binding",
        ),
    ] {
        let conninfo = format!("{base} {rest}");
        let error = connect(&conninfo, home.path()).await.unwrap_err();
        assert_eq!(
            (error.class, error.code()),
            (Class::Configuration, code),
            "{error}"
        );
        assert!(error.to_string().contains(part), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error}");
        assert!(psql_verdict(&conninfo, home.path()).is_err(), "{conninfo}");
    }
    let conninfo =
        format!("{base} user=secret dbname=postgres channel_binding=require sslmode=require");
    let passfile = home.path().join(".pgpass");
    write_private(
        &passfile,
        format!("localhost:{}:*:secret:canary\n", server.port).as_bytes(),
    );
    assert_eq!(our_verdict(&conninfo, home.path()).await, Ok(true));
    assert_eq!(psql_verdict(&conninfo, home.path()), Ok(true));
    write_private(&passfile, b"*:*:*:*:wrong\n");
    let error = connect(&conninfo, home.path()).await.unwrap_err();
    assert_eq!(error.code(), "28P01");
    assert!(error.hint.unwrap().as_str().contains("password file"));
    fs::set_permissions(&passfile, Permissions::from_mode(0o644)).unwrap();
    let error = connect(&conninfo, home.path()).await.unwrap_err();
    assert!(error.to_string().contains("chmod 0600"), "{error}");
}

/// Startup parameters arrive; a cancel request finds its session through TLS.
pub async fn sessions_carry_their_settings_and_can_be_cancelled(server: &Server) {
    let home = tempfile::tempdir().unwrap();
    for sslmode in ["require", "prefer", "disable"] {
        let conninfo = format!(
            "host=localhost port={} user=either dbname=postgres sslmode={sslmode} options='-c work_mem=77kB'",
            server.port
        );
        let target = target(&conninfo, home.path());
        let client = Client::connect(&target).await.unwrap();
        let sql = "SELECT current_setting('work_mem') AS mem, current_setting('application_name') AS name";
        let answer = client.query(sql, &[]).await.unwrap();
        assert_eq!(answer.first("mem"), &Value::from("77kB"));
        assert_eq!(answer.first("name"), &Value::from("htap-top"));
        let canceller = client.canceller(&target);
        let sleep = client.query("SELECT pg_sleep($1)::text", &[Param::Float(60.0)]);
        let cancel = async {
            let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1)%' AND wait_event = 'PgSleep'";
            while server.sql(running) != "1" {}
            canceller.cancel().await.unwrap();
        };
        let both = async { tokio::join!(sleep, cancel).0 };
        let ended = tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap();
        assert_eq!(ended.unwrap_err().code(), "57014", "{sslmode}");
    }
}

#[test]
fn connections_behave_as_libpq_s() {
    let server = Server::start(&newest_bin());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        every_sslmode_ends_as_psql_does(&server).await;
        a_client_certificate_is_sent_and_its_key_guarded(&server).await;
        a_revoked_certificate_is_refused(&server).await;
        refusals_are_for_the_user_to_mend(&server).await;
        hosts::are_tried_in_libpq_s_order(&server).await;
        spellings::mean_what_psql_takes_them_for(&server).await;
        sessions_carry_their_settings_and_can_be_cancelled(&server).await;
    });
}
