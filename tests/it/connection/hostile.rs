//! A malicious server: it implements as much of the protocol as it needs to send more than a client can
//! store. Only here is the server not a PostgreSQL, because none behaves like this.

use super::super::server::Patience;
use std::io::Read;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The attack.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// Before it has asked for a password: a message of 2 GB.
    EndlessGreeting,
    /// Endless parameters, each with its own name.
    Parameters,
    /// A row with an announced size of 2 GB.
    EndlessRow,
    /// A row of 500 MB that arrives in full.
    LongRow,
    /// Endless short rows.
    Rows,
    /// Endless notices.
    Notices,
}

const MB: usize = 1 << 20;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    headed(tag, body.len() + 4, body)
}

/// A message with a false length in its header.
fn headed(tag: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    whole.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    whole.extend_from_slice(body);
    whole
}

fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// Serves one client until it disconnects.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn serve(mut client: TcpStream, harm: Harm) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    client.read_exact(&mut vec![0; length as usize - 4]).await?;
    if harm == Harm::EndlessGreeting {
        client.write_all(&headed(b'E', 0x7fff_ffff, b"")).await?;
        return pour(&mut client, usize::MAX).await;
    }
    client.write_all(&message(b'R', &[0; 4])).await?;
    if harm == Harm::Parameters {
        for number in 0_u64.. {
            let name = format!("p{number}{}", "x".repeat(1000));
            client.write_all(&parameter(&name, "on")).await?;
        }
    }
    for (name, value) in [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
    ] {
        client.write_all(&parameter(name, value)).await?;
    }
    client
        .write_all(&message(b'K', &[0, 0, 0, 7, 0, 0, 0, 7]))
        .await?;
    client.write_all(&message(b'Z', b"I")).await?;
    loop {
        let tag = client.read_u8().await?;
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        match tag {
            // The session's setup does not matter.
            b'Q' => {
                client.write_all(&message(b'C', b"SET\0")).await?;
                client.write_all(&message(b'Z', b"I")).await?;
            }
            b'S' => break,
            b'X' => return Ok(()),
            _ => {}
        }
    }
    for (tag, body) in [(b'1', &b""[..]), (b'2', b""), (b't', &[0, 0])] {
        client.write_all(&message(tag, body)).await?;
    }
    let mut column = vec![0, 1];
    column.extend_from_slice(b"query\0");
    column.extend_from_slice(&[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0,
    ]);
    client.write_all(&message(b'T', &column)).await?;
    match harm {
        Harm::EndlessRow => {
            client.write_all(&headed(b'D', 0x7fff_ffff, b"")).await?;
            pour(&mut client, usize::MAX).await
        }
        Harm::LongRow => {
            let length = 500 * MB;
            client
                .write_all(&headed(b'D', 4 + 2 + 4 + length, &[0, 1]))
                .await?;
            client.write_u32(u32::try_from(length).unwrap()).await?;
            pour(&mut client, length).await
        }
        Harm::Notices => {
            let notice = message(
                b'N',
                &[b"SNOTICE\0C00000\0M", &[b'x'; 1000][..], b"\0\0"].concat(),
            );
            loop {
                client.write_all(&notice).await?;
            }
        }
        _ => {
            let cell = [b'x'; 200];
            let rows = message(b'D', &[&[0, 1, 0, 0, 0, 200][..], &cell].concat()).repeat(1000);
            loop {
                client.write_all(&rows).await?;
            }
        }
    }
}

async fn pour(client: &mut TcpStream, mut length: usize) -> std::io::Result<()> {
    let piece = vec![b'x'; 64 << 10];
    while length > 0 {
        let (now, _) = piece.split_at(length.min(piece.len()));
        client.write_all(now).await?;
        length -= now.len();
    }
    // Anything sent from now on is no answer.
    client.read_u8().await.map(drop)
}

/// Peak memory of a process in kB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs `htap-top once` against the server until it ends; returns its output and its peak memory in MB.
async fn once(harm: Harm) -> (String, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(client, harm));
        }
    });
    let home = tempfile::tempdir().unwrap();
    let conninfo = format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable");
    let mut child = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(["once", &conninfo, "--panel", "activity", "--wait", "5s"])
        .env("XDG_CONFIG_HOME", home.path())
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    let patience = Patience::begin();
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(child.id()).unwrap_or_default());
        assert!(patience.lasts(), "{harm:?}: it does not end");
        crate::it::server::pause().await;
    }
    server.abort();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (said, most / 1024)
}

#[test]
fn a_server_that_sends_without_end_is_given_up_before_it_fills_the_memory() {
    super::super::server::block_on(async {
        for (harm, why) in [
            (
                Harm::EndlessGreeting,
                "the server sent a message of 2.0 GB; the limit is 64 kB",
            ),
            (Harm::Parameters, "the limit"),
            (
                Harm::EndlessRow,
                "the server sent a row of 2.0 GB; the limit is 8.0 MB",
            ),
            (
                Harm::LongRow,
                "the server sent a row of 500 MB; the limit is 8.0 MB",
            ),
            (Harm::Rows, "the limit"),
            (Harm::Notices, "the limit"),
        ] {
            let (said, most) = once(harm).await;
            // Endless data may also be given up when the answer times out.
            let late =
                matches!(harm, Harm::Rows | Harm::Notices) && said.contains("no answer within");
            assert!(late || said.contains(why), "{harm:?}: {said}");
            assert!(most > 0 && most < 100, "{harm:?}: {most} MB");
        }
    });
}
