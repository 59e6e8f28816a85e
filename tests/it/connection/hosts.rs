//! Several hosts, addresses and kinds of server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

use super::server::{Server, free_port};
use super::{connect, psql_verdict};
use std::net::TcpListener;

/// Settings, with the host they connect to or the error.
const HOSTS: &[(&str, Result<&str, &str>)] = &[
    (
        "host=127.0.0.1,localhost port=CLOSED,OPEN user=either",
        Ok("localhost"),
    ),
    (
        "host=nosuchhost.invalid,127.0.0.1 port=OPEN user=either",
        Ok("127.0.0.1"),
    ),
    (
        "host=/nonexistent,localhost port=OPEN user=either",
        Ok("localhost"),
    ),
    (
        "host=127.0.0.1,localhost port=SILENT,OPEN user=either connect_timeout=2",
        Ok("localhost"),
    ),
    (
        "host=other hostaddr=127.0.0.1 port=OPEN user=either",
        Ok("other"),
    ),
    (
        "hostaddr=127.0.0.1 port=OPEN user=either sslmode=require",
        Ok("127.0.0.1"),
    ),
    (
        "hostaddr=127.0.0.1 port=OPEN user=either sslmode=verify-full",
        Err("host name"),
    ),
    (
        "postgres://either@127.0.0.1:CLOSED,localhost:OPEN/postgres",
        Ok("localhost"),
    ),
    (
        "host=localhost,127.0.0.1 port=OPEN,CLOSED user=secret password=x",
        Err("28P01"),
    ),
    (
        "host=localhost,127.0.0.1 port=OPEN,CLOSED user=either dbname=none",
        Err("3D000"),
    ),
    (
        "host=localhost,127.0.0.1 port=CLOSED user=either",
        Err("refused"),
    ),
    (
        "host=FOLDER port=OPEN user=postgres sslmode=verify-full",
        Ok("/"),
    ),
    (
        "host=FOLDER port=OPEN user=postgres requirepeer=nobody",
        Err("requirepeer"),
    ),
    (
        "host=localhost port=OPEN user=either target_session_attrs=standby",
        Err("standby"),
    ),
    (
        "host=localhost port=OPEN user=either target_session_attrs=primary",
        Ok("localhost"),
    ),
    (
        "host=localhost port=OPEN user=either target_session_attrs=read-write",
        Ok("localhost"),
    ),
    (
        "host=localhost port=OPEN user=either target_session_attrs=prefer-standby",
        Ok("localhost"),
    ),
    (
        "host=localhost port=OPEN user=either dbname=readonly target_session_attrs=read-write",
        Err("read-only"),
    ),
    (
        "host=localhost port=OPEN user=either dbname=readonly target_session_attrs=read-only",
        Ok("localhost"),
    ),
    (
        "host=localhost port=OPEN user=either dbname=readonly target_session_attrs=standby",
        Err("standby"),
    ),
];

/// The next host is tried after a failure to connect, never after a refusal.
pub async fn are_tried_in_libpq_s_order(server: &Server) {
    let home = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let fill_in = |text: &str| {
        let text = text
            .replace("OPEN", &server.port.to_string())
            .replace("CLOSED", &free_port().to_string())
            .replace("SILENT", &silent.local_addr().unwrap().port().to_string())
            .replace("FOLDER", &server.folder.path().to_string_lossy());
        if text.contains("dbname") || text.contains("://") {
            text
        } else {
            format!("{text} dbname=postgres")
        }
    };
    for (conninfo, ends) in HOSTS {
        let conninfo = fill_in(conninfo);
        let theirs = psql_verdict(&conninfo, home.path());
        let ours = connect(&conninfo, home.path()).await;
        assert_eq!(
            ours.is_ok(),
            theirs.is_ok(),
            "{conninfo}\nours {ours:?}\npsql {theirs:?}"
        );
        match (ours, ends) {
            (Ok(client), Ok(host)) => assert!(client.peer.host.starts_with(host), "{conninfo}"),
            (Err(error), Err(said)) => assert!(error.to_string().contains(said), "{error}"),
            (ours, _) => panic!("{conninfo}: {ours:?}"),
        }
    }
}
