//! CSV, in the server's own format.

use super::{Content, WriteError, in_order};
use crate::pg::Client;
use openssl::sha::Sha256;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};

/// Copies a table from the server to `file`, if there is one, and returns the content that the server sent.
pub(super) async fn write(
    client: &Client,
    table: &str,
    file: Option<File>,
) -> Result<(Option<File>, Content), WriteError> {
    let mut file = file.map(BufWriter::new);
    let mut sent = Sent::default();
    let copy = format!(
        "COPY (SELECT * FROM shop.{table} {}) TO STDOUT (FORMAT csv, HEADER)",
        in_order(table)
    );
    let take = |piece: &[u8]| {
        sent.take(piece);
        if let Some(file) = &mut file {
            file.write_all(piece)?;
        }
        Ok::<(), WriteError>(())
    };
    client.copy_out(&copy, take).await?;
    let whole = file.map(BufWriter::into_inner).transpose();
    let whole = whole.map_err(std::io::IntoInnerError::into_error)?;
    Ok((whole, sent.finish()))
}

/// Reads the content of a file.
pub(super) fn read(file: File) -> std::io::Result<Content> {
    let mut file = BufReader::new(file);
    let mut sent = Sent::default();
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut piece)?;
        match piece.get(..length) {
            Some(piece) if !piece.is_empty() => sent.take(piece),
            _ => return Ok(sent.finish()),
        }
    }
}

/// Counts the rows in a stream of CSV, not counting the header, and computes its checksum. A newline within quotes is
/// part of a field.
#[derive(Default)]
struct Sent {
    sum: Sha256,
    lines: u64,
    quoted: bool,
}

impl Sent {
    fn take(&mut self, piece: &[u8]) {
        self.sum.update(piece);
        for byte in piece {
            match byte {
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => self.lines += 1,
                _ => {}
            }
        }
    }

    fn finish(self) -> Content {
        Content {
            rows: self.lines.saturating_sub(1),
            sum: self.sum.finish(),
        }
    }
}
