//! Decodes cures that the server sent in hexadecimal digits.

/// Returns the text that the hexadecimal digits encode; `None` if they encode none.
pub(super) fn of_hex(digits: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_text() {
        assert_eq!(of_hex("610a"), Some("a\n".to_owned()));
        assert_eq!(of_hex("ff"), None);
        assert_eq!(of_hex("6"), None);
    }
}
