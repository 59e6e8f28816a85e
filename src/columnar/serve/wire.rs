//! The messages of PostgreSQL's protocol, version 3, as a server reads and writes them. Whatever the client sends, a message
//! takes no more memory than its limit, and a client that does not read is left.

use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Longest message before the client has logged in, and after.
const LONGEST_BEFORE: usize = 10_000;
const LONGEST: usize = 1 << 20;
/// Bytes that are collected before they are sent.
const COLLECTED: usize = 64 << 10;
/// Time in which a client must take what is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client's connection.
pub(super) struct Wire {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    /// What is not sent yet.
    pending: Vec<u8>,
    longest: usize,
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let (input, output) = stream.into_split();
        Self {
            input: BufReader::new(input),
            output,
            pending: Vec::new(),
            longest: LONGEST_BEFORE,
        }
    }

    /// The client has logged in.
    pub(super) fn is_trusted(&mut self) {
        self.longest = LONGEST;
    }

    /// Reads the first message, which has no kind.
    pub(super) async fn first(&mut self) -> io::Result<Fields> {
        self.body().await
    }

    /// Reads a message: its kind and its fields. `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> io::Result<Option<(u8, Fields)>> {
        let kind = match self.input.read_u8().await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            kind => kind?,
        };
        Ok(Some((kind, self.body().await?)))
    }

    async fn body(&mut self) -> io::Result<Fields> {
        let length = self.input.read_i32().await?;
        let length = usize::try_from(length).ok().and_then(|n| n.checked_sub(4));
        let Some(length) = length.filter(|length| *length <= self.longest) else {
            return Err(malformed("a message is too long, or none"));
        };
        // Grows with what comes, not with what is announced.
        let mut bytes = Vec::new();
        let mut body = (&mut self.input).take(length as u64);
        if body.read_to_end(&mut bytes).await? < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Fields { bytes, at: 0 })
    }

    /// Resolves when the client is gone. One that has sent more meanwhile is not.
    pub(super) async fn gone(&mut self) {
        if self.input.buffer().is_empty() {
            match self.input.get_mut().peek(&mut [0]).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }

    /// Adds a message; [`Self::send`] sends it.
    pub(super) fn add(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.pending.push(kind);
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; 4]);
        write(&mut self.pending);
        let length = self.pending.len().saturating_sub(start);
        let length = i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes();
        if let Some(place) = self.pending.get_mut(start..start + 4) {
            place.copy_from_slice(&length);
        }
    }

    /// Adds bytes that are no message.
    pub(super) fn add_raw(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Whether enough was added to be sent.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= COLLECTED
    }

    /// Sends what was added.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        for piece in pending.chunks(COLLECTED) {
            timeout(PATIENCE, self.output.write_all(piece)).await??;
        }
        Ok(())
    }
}

/// The fields of a message.
pub(super) struct Fields {
    bytes: Vec<u8>,
    at: usize,
}

impl Fields {
    /// Bytes of the message.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let taken = self.rest().get(..count).map(<[u8]>::to_vec);
        self.at += count;
        taken.ok_or_else(|| malformed("a message ends too early"))
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.bytes(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn i32(&mut self) -> io::Result<i32> {
        let word = self.rest().first_chunk::<4>().copied();
        self.at += 4;
        let word = word.ok_or_else(|| malformed("a message ends too early"))?;
        Ok(i32::from_be_bytes(word))
    }

    pub(super) fn i16(&mut self) -> io::Result<i16> {
        let word = self.rest().first_chunk::<2>().copied();
        self.at += 2;
        let word = word.ok_or_else(|| malformed("a message ends too early"))?;
        Ok(i16::from_be_bytes(word))
    }

    /// Reads a count, and as many fields.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let count = self.i16()?;
        (0..count.cast_unsigned()).map(|_| read(self)).collect()
    }

    /// Reads a text that ends with a zero byte.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| malformed("a text does not end"))?;
        let text = rest.get(..end).unwrap_or_default().to_vec();
        self.at += end + 1;
        String::from_utf8(text).map_err(|_| malformed("a text is not UTF-8"))
    }

    /// Whether all fields were read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

/// Writes a text, which ends with a zero byte.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

/// Writes a number of fields.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}

/// Writes a value with its length; `None` is NULL.
pub(super) fn put_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(value) => {
            let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// Adds an error.
pub(super) fn put_error(
    wire: &mut Wire,
    severity: &str,
    (code, message, hint): (&str, &str, Option<&str>),
) {
    wire.add(b'E', |out| {
        let fields = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(code)),
            (b'M', Some(message)),
            (b'H', hint),
        ];
        for (kind, text) in fields {
            if let Some(text) = text {
                out.push(kind);
                put_text(out, text);
            }
        }
        out.push(0);
    });
}

/// Adds the value of a setting.
pub(super) fn put_status(wire: &mut Wire, name: &str, value: &str) {
    wire.add(b'S', |out| {
        put_text(out, name);
        put_text(out, value);
    });
}
