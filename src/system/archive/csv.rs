//! CSV, as the server writes it.

use super::{WriteError, in_order};
use crate::pg::Client;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};

pub(super) async fn write(client: &Client, table: &str, file: File) -> Result<File, WriteError> {
    let mut file = BufWriter::new(file);
    let copy = format!(
        "COPY (SELECT * FROM shop.{table} {}) TO STDOUT (FORMAT csv, HEADER)",
        in_order(table)
    );
    let take = |piece: &[u8]| Ok::<(), WriteError>(file.write_all(piece)?);
    client.copy_out(&copy, take).await?;
    let whole = file.into_inner();
    Ok(whole.map_err(std::io::IntoInnerError::into_error)?)
}

/// Rows besides the header. A newline within quotes is part of a field.
pub(super) fn rows(file: File) -> std::io::Result<u64> {
    let mut file = BufReader::new(file);
    let (mut lines, mut quoted) = (0_u64, false);
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(lines.saturating_sub(1));
        }
        for byte in piece.iter().take(length) {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => lines += 1,
                _ => {}
            }
        }
    }
}
