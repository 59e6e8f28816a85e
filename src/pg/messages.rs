//! Filters a server's messages before the driver sees them.
//!
//! The driver keeps a whole message in memory, no matter how long the server says it is, and gives up a session over a
//! text that is not UTF-8. This module rejects a message that is too long by its header, and an answer that exceeds a
//! limit; and it converts texts to UTF-8, in the rows of the simple protocol, in column names and in errors.

use super::encoding::Charset;
use crate::format;
use crate::text::Clean;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Limits on the data that a session accepts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Maximum size of a message, which holds one row.
    pub(super) message: u64,
    /// Maximum size of the answer to a request; COPY data does not count, because it is passed on as it arrives.
    pub(super) answer: u64,
    /// Maximum memory for the rows of an answer.
    pub(super) kept: u64,
}

impl Limits {
    /// Limits for our own statements, whose answers are far smaller.
    pub(super) const OURS: Self = Self {
        message: 8 << 20,
        answer: 32 << 20,
        kept: 16 << 20,
    };
    /// Limits for statements of a user who wants their complete results.
    pub(super) const OF_A_USER: Self = Self {
        message: 256 << 20,
        answer: 1 << 30,
        kept: 1 << 30,
    };
}

/// Maximum size of a message before the session is open, when the server has nothing long to send.
const MESSAGE_BEFORE: u64 = 64 << 10;
/// Maximum size of all messages before the session is open.
const ANSWER_BEFORE: u64 = 1 << 20;
/// Maximum number of parameters that a server reports; PostgreSQL 18 has 15.
const PARAMETERS: usize = 256;
/// Bytes of a server's version that are kept.
const VERSION: usize = 100;
/// Memory overhead counted for each message in addition to its length.
const OVERHEAD: u64 = 256;
/// Size of a message's kind and length, in bytes.
const HEADER: usize = 5;

/// Parameter that `htap-top columnar serve` reports beside PostgreSQL's own ones.
pub(crate) const COLUMN_STORE: &str = "htap_top_columnar";

/// Facts about a session from its messages, shared with its owner.
#[derive(Debug, Default)]
pub(super) struct Seen {
    refused: OnceLock<Box<str>>,
    backend: AtomicU32,
    /// True if the server asked for a password.
    password: AtomicBool,
    /// True if the server is `htap-top columnar serve`.
    column_store: AtomicBool,
    version: OnceLock<Box<str>>,
    encoding: Mutex<Encodings>,
}

#[derive(Clone, Debug, Default)]
struct Encodings {
    server: Box<str>,
    client: Box<str>,
}

impl Seen {
    /// Returns the reason why the session was closed, if the cause was data from the server.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.get().map(|why| &**why)
    }

    /// Returns the process ID of the backend (BackendKeyData); 0 if not reported. Behind a pooler it is the ID that the
    /// pooler reported.
    pub(super) fn backend(&self) -> u32 {
        self.backend.load(Ordering::Relaxed)
    }

    /// True if the server asked for a password, of which it accepted the one that was sent.
    pub(super) fn wanted_password(&self) -> bool {
        self.password.load(Ordering::Relaxed)
    }

    /// True if the server said that it is `htap-top columnar serve`.
    pub(super) fn is_column_store(&self) -> bool {
        self.column_store.load(Ordering::Relaxed)
    }

    /// The server's version, as it has reported it; empty if it has not.
    pub(super) fn version(&self) -> &str {
        self.version.get().map_or("", |version| version)
    }

    /// Returns the server's encoding as it reported it; empty if it did not.
    pub(super) fn server_encoding(&self) -> Box<str> {
        let encodings = self.encoding.lock();
        encodings.map_or_else(|_| "".into(), |encodings| encodings.server.clone())
    }
}

/// Parses the messages that a server sends.
#[derive(Debug)]
pub(super) struct Messages {
    limits: Limits,
    seen: Arc<Seen>,
    header: [u8; HEADER],
    /// Number of header bytes received.
    filled: usize,
    /// Number of body bytes still to come.
    left: usize,
    /// The body received so far, if it is examined before it is passed on.
    held: Option<Vec<u8>>,
    /// True after the first ReadyForQuery: the session is open.
    open: bool,
    /// Bytes since the last ReadyForQuery.
    spent: u64,
    /// True if the current answer is one of the simple protocol, in which all cells are texts.
    simple: bool,
    /// True during COPY TO STDOUT.
    copying: bool,
    /// Hashes of the names of reported parameters.
    parameters: HashSet<u64>,
    /// Encoding of the texts.
    charset: Charset,
    /// For each column of the coming rows, true if it is a text.
    texts: Vec<bool>,
}

impl Messages {
    pub(super) fn new(limits: Limits, seen: Arc<Seen>) -> Self {
        Self {
            limits,
            seen,
            header: [0; HEADER],
            filled: 0,
            left: 0,
            held: None,
            open: false,
            spent: 0,
            simple: true,
            copying: false,
            parameters: HashSet::new(),
            charset: Charset::default(),
            texts: Vec::new(),
        }
    }

    /// Takes received bytes and adds to `out` those that the driver may see.
    ///
    /// # Errors
    /// The server sends more than the limits allow, or something that is not a message. Bytes after an error must not
    /// be passed in.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.filled < HEADER {
                let (first, rest) = bytes.split_at(bytes.len().min(HEADER - self.filled));
                for (to, from) in self.header.iter_mut().skip(self.filled).zip(first) {
                    *to = *from;
                }
                self.filled += first.len();
                bytes = rest;
                if self.filled < HEADER {
                    return Ok(());
                }
                self.begin(out).map_err(|why| self.refuse(why))?;
            } else {
                let (first, rest) = bytes.split_at(bytes.len().min(self.left));
                match &mut self.held {
                    Some(held) => held.extend_from_slice(first),
                    None => out.extend_from_slice(first),
                }
                self.left -= first.len();
                bytes = rest;
            }
            if self.left == 0 {
                self.filled = 0;
                self.end(out).map_err(|why| self.refuse(why))?;
            }
        }
        Ok(())
    }

    fn refuse(&self, why: String) -> io::Error {
        let _ = self.seen.refused.set(why.as_str().into());
        io::Error::other(why)
    }

    fn tag(&self) -> u8 {
        let [tag, ..] = self.header;
        tag
    }

    /// Handles a complete header: checks the limits, and decides if the body is examined.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let [tag, a, b, c, d] = self.header;
        let length = i32::from_be_bytes([a, b, c, d]);
        let Some(left) = usize::try_from(length).ok().and_then(|l| l.checked_sub(4)) else {
            return Err("the answer does not come from a PostgreSQL server".to_owned());
        };
        let (longest, most) = if self.open {
            (self.limits.message, self.limits.answer)
        } else {
            (MESSAGE_BEFORE, ANSWER_BEFORE)
        };
        if left as u64 > longest {
            let what = match tag {
                b'D' => "a row",
                _ => "a message",
            };
            return Err(format!(
                "the server sent {what} of {}; the limit is {}",
                format::bytes(left as f64),
                format::bytes(longest as f64)
            ));
        }
        if tag != b'd' {
            self.spent += left as u64 + OVERHEAD;
        } else if !self.copying {
            return Err("the server sent COPY data that was not requested".to_owned());
        }
        if self.spent > most {
            return Err(format!(
                "the server's answer exceeds the limit of {}",
                format::bytes(most as f64)
            ));
        }
        self.left = left;
        let looked_at = match tag {
            b'D' => self.simple || !self.charset.is_utf8(),
            b'T' | b'E' | b'N' | b'S' | b'K' | b'A' | b'C' => true,
            b'R' => !self.open,
            _ => false,
        };
        if looked_at {
            self.held = Some(Vec::with_capacity(left.min(MESSAGE_BEFORE as usize)));
        } else {
            out.extend_from_slice(&self.header);
        }
        Ok(())
    }

    /// Handles a complete message.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let tag = self.tag();
        let body = self.held.take();
        match (tag, body) {
            (b'Z', _) => {
                (self.open, self.spent) = (true, 0);
                (self.simple, self.copying) = (true, false);
            }
            // BindComplete: this answer is one of the extended protocol.
            (b'2', _) => self.simple = false,
            (b'H', _) => self.copying = true,
            // Notifications are dropped: this program does not LISTEN.
            (b'A', _) | (_, None) => {}
            (b'K', Some(body)) => {
                if let Some(pid) = body.first_chunk::<4>() {
                    let pid = u32::from_be_bytes(*pid);
                    self.seen.backend.store(pid, Ordering::Relaxed);
                }
                hand_on(tag, &body, out);
            }
            (b'R', Some(body)) => {
                // Clear text, MD5, SCRAM.
                if let Some([0, 0, 0, 3 | 5 | 10]) = body.first_chunk::<4>() {
                    self.seen.password.store(true, Ordering::Relaxed);
                }
                hand_on(tag, &body, out);
            }
            (b'S', Some(body)) => {
                self.parameter(&body)?;
                hand_on(tag, self.charset.read(&body).as_bytes(), out);
            }
            (b'T', Some(body)) => {
                let body = self.columns(body);
                hand_on(tag, &body, out);
            }
            (b'D', Some(body)) => {
                let body = self.row(body);
                hand_on(tag, &body, out);
            }
            (_, Some(body)) => hand_on(tag, self.charset.read(&body).as_bytes(), out),
        }
        Ok(())
    }

    /// Handles a ParameterStatus: a name and a value.
    fn parameter(&mut self, body: &[u8]) -> Result<(), String> {
        let mut parts = body.split(|byte| *byte == 0);
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let mut hash = DefaultHasher::new();
        name.hash(&mut hash);
        self.parameters.insert(hash.finish());
        if self.parameters.len() > PARAMETERS {
            return Err(format!(
                "the server reports more than {PARAMETERS} parameters, the limit"
            ));
        }
        let value: Box<str> = String::from_utf8_lossy(value).into();
        if name == b"server_version" {
            let version = Clean::from_bytes(value.as_bytes(), VERSION);
            let _ = self.seen.version.set(version.as_str().into());
            return Ok(());
        }
        if name == COLUMN_STORE.as_bytes() {
            self.seen.column_store.store(true, Ordering::Relaxed);
        }
        let Ok(mut encodings) = self.seen.encoding.lock() else {
            return Ok(());
        };
        match name {
            b"server_encoding" => encodings.server = value,
            b"client_encoding" => encodings.client = value,
            _ => return Ok(()),
        }
        // In this case the server converts nothing.
        self.charset = if &*encodings.client == "SQL_ASCII" {
            Charset::of(&encodings.server)
        } else {
            Charset::default()
        };
        Ok(())
    }

    /// Converts the names in a RowDescription to UTF-8. Malformed data is returned unchanged.
    fn columns(&mut self, body: Vec<u8>) -> Vec<u8> {
        self.texts.clear();
        let Some((count, mut rest)) = body.split_first_chunk::<2>() else {
            return body;
        };
        let mut made = count.to_vec();
        while !rest.is_empty() {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                return body;
            };
            let (name, more) = rest.split_at(end);
            // Zero byte, table and column, type, its length and modifier, format.
            let Some((fixed, more)) = more.split_first_chunk::<19>() else {
                return body;
            };
            made.extend_from_slice(self.charset.read(name).as_bytes());
            made.extend_from_slice(fixed);
            let kind = fixed.get(7..11).and_then(|oid| oid.first_chunk::<4>());
            self.texts
                .push(kind.is_some_and(|oid| is_text(u32::from_be_bytes(*oid))));
            rest = more;
        }
        made
    }

    /// Converts the texts in a DataRow to UTF-8. Malformed data is returned unchanged.
    fn row(&self, body: Vec<u8>) -> Vec<u8> {
        let Some((count, mut rest)) = body.split_first_chunk::<2>() else {
            return body;
        };
        let mut made = count.to_vec();
        let mut altered = false;
        let mut column = 0;
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                // NULL
                made.extend_from_slice(length);
                (rest, column) = (more, column + 1);
                continue;
            };
            let Some((cell, more)) = more.split_at_checked(length) else {
                return body;
            };
            let is_text = self.simple || self.texts.get(column).copied().unwrap_or(false);
            if is_text {
                let text = self.charset.read(cell);
                altered |= text.as_bytes() != cell;
                made.extend_from_slice(&(text.len() as i32).to_be_bytes());
                made.extend_from_slice(text.as_bytes());
            } else {
                made.extend_from_slice(&(length as i32).to_be_bytes());
                made.extend_from_slice(cell);
            }
            (rest, column) = (more, column + 1);
        }
        if altered { made } else { body }
    }
}

/// Returns true for types whose binary format is the text itself: bytea (which our statements use only for texts),
/// "char", name, text, json, unknown, bpchar, varchar.
fn is_text(oid: u32) -> bool {
    matches!(oid, 17 | 18 | 19 | 25 | 114 | 705 | 1042 | 1043)
}

fn hand_on(tag: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}
