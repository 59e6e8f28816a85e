//! What is kept of a record that cannot be used, as a parameter of a statement.

use std::fmt::Write as _;

/// Bytes that are kept of it.
const KEPT: usize = 16_384;

/// Writes bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The same of the first ones.
pub(super) fn beginning(bytes: &[u8]) -> String {
    hex(bytes.get(..KEPT).unwrap_or(bytes))
}
