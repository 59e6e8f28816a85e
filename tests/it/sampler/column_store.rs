//! The session with the column store, in every build: a stand-in for `htap-top columnar serve` writes down what it is sent.
//! Whether the real one answers is tested where it is built.

use super::{PATIENCE, Session, block_on, config, job, start};
use htap_top::pg::sampler::{Job, Report, ServerKind, SessionConfig};
use htap_top::pg::{Class, Flags, Target, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Log = Arc<Mutex<Vec<String>>>;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    whole.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    whole.extend_from_slice(body);
    whole
}

/// Columns of an answer, by their types, and one row of them in the binary format.
fn answer() -> (Vec<u8>, Vec<u8>) {
    let cells: [(&str, u32, Option<&[u8]>); 5] = [
        ("n", 20, Some(&[0, 0, 0, 0, 0, 0, 0, 7])),
        ("at", 1184, Some(&[0; 8])),
        (
            "amount",
            1700,
            Some(&[0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 13, 72]),
        ),
        ("partial", 16, Some(&[1])),
        ("nothing", 1700, None),
    ];
    let count = u16::try_from(cells.len()).unwrap().to_be_bytes();
    let (mut columns, mut row) = (count.to_vec(), count.to_vec());
    for (name, oid, cell) in cells {
        columns.extend_from_slice(format!("{name}\0").as_bytes());
        columns.extend_from_slice(&[0; 6]);
        columns.extend_from_slice(&oid.to_be_bytes());
        columns.extend_from_slice(&[255, 255, 255, 255, 255, 255, 0, 1]);
        let length = cell.map_or(-1, |cell| i32::try_from(cell.len()).unwrap());
        row.extend_from_slice(&length.to_be_bytes());
        row.extend_from_slice(cell.unwrap_or_default());
    }
    (message(b'T', &columns), message(b'D', &row))
}

/// Serves a client until it leaves.
async fn serve(mut client: TcpStream, marked: bool, log: Log) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    let said = String::from_utf8_lossy(&startup).replace('\0', " ");
    log.lock().unwrap().push(said.trim().to_owned());
    let mut out = message(b'R', &[0; 4]);
    out.extend(message(b'S', b"server_version\x0015.18\0"));
    if marked {
        out.extend(message(b'S', b"htap_top_columnar\0on\0"));
    }
    out.extend(message(b'Z', b"I"));
    let (columns, row) = answer();
    loop {
        client.write_all(&out).await?;
        out.clear();
        let tag = client.read_u8().await?;
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        let text = String::from_utf8_lossy(&body).replace('\0', "");
        match tag {
            b'Q' => {
                log.lock().unwrap().push(text);
                out.extend(message(b'C', b"SET\0"));
                out.extend(message(b'Z', b"I"));
            }
            b'P' => {
                log.lock().unwrap().push(text);
                out.extend(message(b'1', b""));
            }
            b'B' => out.extend(message(b'2', b"")),
            b'D' => {
                if body.starts_with(b"S") {
                    out.extend(message(b't', &[0; 2]));
                }
                out.extend_from_slice(&columns);
            }
            b'E' => {
                out.extend_from_slice(&row);
                out.extend(message(b'C', b"SELECT 1\0"));
            }
            b'S' => out.extend(message(b'Z', b"I")),
            b'X' => return Ok(()),
            other => log.lock().unwrap().push(format!("message {other}")),
        }
    }
}

/// A session with a stand-in that says that it is the column store, or does not.
async fn opened(marked: bool) -> (Session, Log, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Log::default();
    let kept = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, marked, Arc::clone(&kept)));
        }
    });
    let flags = Flags {
        conninfo: Some(format!(
            "host=127.0.0.1 port={port} user=asker dbname=shop sslmode=disable"
        )),
        ..Flags::default()
    };
    let target = Target::resolve(&flags, &|_| None).unwrap();
    let config = SessionConfig {
        kind: ServerKind::ColumnStore(Duration::from_secs(60)),
        late: true,
        hands_back: true,
        ..config(Duration::from_secs(1), PATIENCE)
    };
    (start(&target, config), log, port)
}

#[test]
fn the_column_store_is_sent_two_settings_and_the_statements_of_panels() {
    block_on(async {
        let (mut session, log, _) = opened(true).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            log.lock().unwrap().len(),
            0,
            "it is opened for the first statement"
        );
        for text in [false, true] {
            let sql = "SELECT count(*) AS n FROM fact_sales";
            session
                .ask(vec![Job {
                    as_text: text,
                    ..job(3, sql)
                }])
                .await;
            if !text {
                session.opened().await;
            }
            let (id, table) = session.answer().await;
            let table = table.unwrap();
            let cells = ["n", "at", "amount", "partial", "nothing"];
            let right = [
                Value::Int(7),
                Value::from("2000-01-01 00:00:00+00"),
                Value::Decimal("12.34".into(), 12.34),
                Value::Bool(true),
                Value::Null,
            ];
            assert_eq!(
                (id, cells.map(|name| table.first(name).clone())),
                (3, right)
            );
        }
        let sent = log.lock().unwrap().clone();
        let [startup, rest @ ..] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert!(
            startup.contains("user asker") && !startup.contains("options"),
            "{startup}"
        );
        let asked = "SELECT count(*) AS n FROM fact_sales";
        let settings = ["SET TimeZone = 'UTC'", "SET statement_timeout = '60000ms'"];
        assert_eq!(rest, [settings[0], settings[1], asked, asked]);
    });
}

#[test]
fn what_is_not_the_column_store_is_asked_nothing() {
    block_on(async {
        let (mut session, log, port) = opened(false).await;
        session.ask(vec![job(3, "DELETE FROM fact_sales")]).await;
        let Report::Answered {
            outcome: Err(error),
            ..
        } = session.next().await
        else {
            panic!("it was answered")
        };
        assert_eq!(error.class, Class::Configuration);
        let why = format!("127.0.0.1:{port} is PostgreSQL, not the column store");
        assert!(error.message.as_str().starts_with(&why), "{error}");
        let (_, attempt, again) = session.lost().await;
        assert_eq!((attempt, again), (1, None), "only the user can help");
        assert_eq!(log.lock().unwrap().len(), 1, "nothing but the startup");
    });
}
