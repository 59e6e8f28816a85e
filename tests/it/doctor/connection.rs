//! Clock and pooler.
#![expect(clippy::indexing_slicing, reason = "a pooler of a few lines")]

use super::{examined, of};
use crate::it::server::{Server, block_on, shared, until};
use htap_top::doctor::{Severity, Status, examine, session};
use htap_top::pg::{Param, Target};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

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

/// Reads one message of the server: its type and all of its bytes.
fn message(server: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    server.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut whole = head.to_vec();
    whole.resize(1 + length, 0);
    server.read_exact(&mut whole[5..]).unwrap();
    (head[0], whole)
}

/// Reads everything up to ReadyForQuery; true if that ends a transaction.
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

/// Opens a connection of the pool; returns it with the greeting for a client.
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

/// A pooler that lends its only connection to its only client, with the server's greeting.
fn lend(listener: &UnixListener, (mut server, greeting): (UnixStream, Vec<u8>)) {
    let (mut client, _) = listener.accept().unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut startup).unwrap();
    client.write_all(&greeting).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(&mut server, &mut client);
}

/// PgBouncer invents a process id; this pooler passes the real one on.
#[test]
fn a_backend_that_was_there_before_is_a_poolers() {
    block_on(async {
        let database = shared().database("pooled").await;
        let admin = database.connect().await;
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.6432")).unwrap();
        let connection = opened(shared(), &database.name);
        std::thread::spawn(move || lend(&listener, connection));
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = ''
                   AND backend_start < clock_timestamp() - interval '2 s'";
        let params = [Param::Text(&database.name)];
        until(&admin, "the backend is old", sql, &params, |table| {
            !table.rows.is_empty()
        })
        .await;
        let target = Target::local(folder.path(), 6432, "postgres", &database.name);
        let told = examine(&target).await.unwrap();
        let found = &of(&told, "pooler").findings;
        assert_eq!(found.len(), 1, "{told:#?}");
        assert_eq!(found[0].severity, Severity::Info, "{found:?}");
    });
}
