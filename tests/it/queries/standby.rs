//! A standby's end of a replication connection: just enough of the protocol to hold the horizon like a real
//! one with hot_standby_feedback.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use crate::it::server::Server;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub struct Standby {
    stream: UnixStream,
}

impl Standby {
    /// Streams from the server, with or without a physical slot, and reports that it still needs `xmin`.
    pub fn holding(server: &Server, slot: Option<&str>, xmin: u32) -> Self {
        let socket = server
            .socket_dir()
            .join(format!(".s.PGSQL.{}", server.port()));
        let mut standby = Self {
            stream: UnixStream::connect(socket).unwrap(),
        };
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in [
            ("user", "postgres"),
            ("replication", "true"),
            ("application_name", "standby"),
        ] {
            startup.extend(format!("{name}\0{value}\0").bytes());
        }
        startup.push(0);
        standby.send(None, &startup);
        standby.until(b'Z');
        let by = slot.map(|slot| format!("SLOT {slot} ")).unwrap_or_default();
        // Any start position works, as the stream is not read.
        standby.send(Some(b'Q'), b"IDENTIFY_SYSTEM\0");
        let row = standby.until(b'D');
        standby.until(b'Z');
        let text = String::from_utf8_lossy(&row).into_owned();
        let position = text
            .split(|c: char| !c.is_ascii_hexdigit() && c != '/')
            .find(|word| word.contains('/'))
            .unwrap();
        standby.send(
            Some(b'Q'),
            format!("START_REPLICATION {by}PHYSICAL {position}\0").as_bytes(),
        );
        standby.until(b'W');
        // Hot standby feedback: its clock, xmin and epoch, catalog_xmin and epoch.
        let mut feedback = vec![b'h'];
        feedback.extend(0_i64.to_be_bytes());
        for number in [xmin, 0, 0, 0] {
            feedback.extend(number.to_be_bytes());
        }
        standby.send(Some(b'd'), &feedback);
        standby
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message).unwrap();
    }

    /// Returns the next message of this type.
    fn until(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).unwrap();
            let [kind, length @ ..] = head;
            let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
            self.stream.read_exact(&mut body).unwrap();
            assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&body));
            if kind == wanted {
                return body;
            }
        }
    }
}
