//! Clock and pooler.
#![expect(clippy::indexing_slicing, reason = "a pooler of a few lines")]

use super::{examined, of};
use crate::it::server::{Server, block_on, shared, until};
use htap_top::doctor::{Severity, Status, examine, session};
use htap_top::pg::{Param, Target};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "the clock that is compared")]
fn now() -> f64 {
    chrono::Utc::now().timestamp_micros() as f64 / 1e6
}

#[test]
fn clocks_that_differ_are_found() {
    block_on(async {
        let database = shared().database("clock").await;
        let client = database.connect().await;
        assert_eq!(session::clock(&client, now).await.unwrap(), None);
        for (ahead, says) in [(3600.0, "3600.0 s behind"), (-2.0, "2.0 s ahead of")] {
            let found = session::clock(&client, || now() + ahead)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(found.severity, Severity::Warning);
            assert!(found.evidence.as_str().contains(says), "{found:?}");
        }
        let told = examined(&database, "postgres").await;
        assert_eq!(of(&told, "clock").status(), Status::Ok);
        assert_eq!(of(&told, "pooler").status(), Status::Ok);
    });
}

/// One message of the server: its type and the whole of it.
fn message(server: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    server.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut whole = head.to_vec();
    whole.resize(1 + length, 0);
    server.read_exact(&mut whole[5..]).unwrap();
    (head[0], whole)
}

/// Everything up to ReadyForQuery, and whether that ends a transaction.
fn answer(server: &mut UnixStream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        let (kind, whole) = message(server);
        all.extend_from_slice(&whole);
        if kind == b'Z' {
            return (all, whole.last() == Some(&b'I'));
        }
    }
}

/// Opens a connection of the pool: the connection, and what a client is greeted with.
fn opened(server: &Server, dbname: &str) -> (UnixStream, Vec<u8>) {
    let path = server
        .socket_dir()
        .join(format!(".s.PGSQL.{}", server.port()));
    let mut stream = UnixStream::connect(path).unwrap();
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    body.extend_from_slice(format!("user\0postgres\0database\0{dbname}\0\0").as_bytes());
    let length = u32::try_from(body.len() + 4).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let (greeting, _) = answer(&mut stream);
    (stream, greeting)
}

/// A pooler: lends its connections to one client after the other, the next one after each transaction.
fn pool(listener: &UnixListener, mut connections: Vec<(UnixStream, Vec<u8>)>) {
    for client in listener.incoming() {
        let mut client = client.unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut startup).unwrap();
        client.write_all(&connections[0].1).unwrap();
        // A request is whole with its Query or Sync; whatever a client sends at once is one here.
        let mut buffer = vec![0; 65_536];
        loop {
            let read = client.read(&mut buffer).unwrap_or(0);
            if read == 0 || buffer[0] == b'X' {
                break;
            }
            let server = &mut connections[0].0;
            server.write_all(&buffer[..read]).unwrap();
            let (all, idle) = answer(server);
            if client.write_all(&all).is_err() {
                break;
            }
            if idle {
                connections.rotate_left(1);
            }
        }
    }
}

/// A folder with a pooler's socket.
fn pooler(server: &Server, dbname: &str, connections: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.6432")).unwrap();
    let connections = (0..connections).map(|_| opened(server, dbname)).collect();
    std::thread::spawn(move || pool(&listener, connections));
    folder
}

fn target(folder: &Path, dbname: &str) -> Target {
    Target::local(folder, 6432, "postgres", dbname)
}

#[test]
fn a_pooler_is_found_by_what_it_does() {
    block_on(async {
        let database = shared().database("pooled").await;
        let admin = database.connect().await;
        for (connections, severity) in [(1, Severity::Info), (2, Severity::Warning)] {
            let folder = pooler(shared(), &database.name, connections);
            // Older than a session that is opened now.
            let sql =
                "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = ''
                       AND backend_start < clock_timestamp() - interval '2 s'";
            let params = [Param::Text(&database.name)];
            until(&admin, "the pool is old", sql, &params, |table| {
                table.rows.len() >= connections
            })
            .await;
            let told = examine(&target(folder.path(), &database.name))
                .await
                .unwrap();
            let found = &of(&told, "pooler").findings;
            assert_eq!(found.len(), 1, "{told:#?}");
            assert_eq!(found[0].severity, severity, "{found:?}");
            for outcome in &told.outcomes {
                assert!(
                    outcome
                        .reason
                        .as_ref()
                        .is_none_or(|why| !why.as_str().contains("SQLSTATE")),
                    "{outcome:#?}"
                );
            }
        }
    });
}
