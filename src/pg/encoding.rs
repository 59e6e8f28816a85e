//! Decodes texts from the server's encodings.

use encoding_rs::Encoding;
use std::borrow::Cow;

/// Encoding of the texts that a server sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charset(Option<&'static Encoding>);

impl Charset {
    /// Returns the server's encoding of this name (PostgreSQL's documentation, 24.3). SQL_ASCII makes no promise and is
    /// read as UTF-8, as are `MULE_INTERNAL` and `EUC_TW`, for which no decoder is available.
    pub(super) fn of(server_encoding: &str) -> Self {
        let label = match server_encoding {
            "EUC_CN" => "gbk",
            "EUC_JP" | "EUC_JIS_2004" => "euc-jp",
            "EUC_KR" => "euc-kr",
            "KOI8R" => "koi8-r",
            "KOI8U" => "koi8-u",
            "LATIN1" => "iso-8859-1",
            "LATIN2" => "iso-8859-2",
            "LATIN3" => "iso-8859-3",
            "LATIN4" => "iso-8859-4",
            "LATIN5" => "iso-8859-9",
            "LATIN6" => "iso-8859-10",
            "LATIN7" => "iso-8859-13",
            "LATIN8" => "iso-8859-14",
            "LATIN9" => "iso-8859-15",
            "LATIN10" => "iso-8859-16",
            "ISO_8859_5" => "iso-8859-5",
            "ISO_8859_6" => "iso-8859-6",
            "ISO_8859_7" => "iso-8859-7",
            "ISO_8859_8" => "iso-8859-8",
            "WIN866" => "ibm866",
            "WIN874" => "windows-874",
            "WIN1250" => "windows-1250",
            "WIN1251" => "windows-1251",
            "WIN1252" => "windows-1252",
            "WIN1253" => "windows-1253",
            "WIN1254" => "windows-1254",
            "WIN1255" => "windows-1255",
            "WIN1256" => "windows-1256",
            "WIN1257" => "windows-1257",
            "WIN1258" => "windows-1258",
            _ => return Self(None),
        };
        Self(Encoding::for_label(label.as_bytes()))
    }

    /// Returns true if texts are UTF-8, or may be.
    pub(super) fn is_utf8(self) -> bool {
        self.0.is_none()
    }

    /// Decodes a text; unreadable parts become `�`. ASCII, including zero bytes, is unchanged in all encodings.
    pub(super) fn read(self, bytes: &[u8]) -> Cow<'_, str> {
        match self.0 {
            None => String::from_utf8_lossy(bytes),
            Some(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_encoding_reads_what_no_other_would() {
        for (name, bytes, text) in [
            ("UTF8", &b"gr\xc3\xbcn"[..], "grün"),
            ("SQL_ASCII", b"gr\xfcn", "gr\u{fffd}n"),
            ("LATIN1", b"gr\xfcn", "grün"),
            ("LATIN2", b"\xb3", "ł"),
            ("LATIN9", b"\xa4", "€"),
            ("WIN1251", b"\xe4", "д"),
            ("KOI8R", b"\xc4", "д"),
            ("WIN866", b"\xa4", "д"),
            ("EUC_JP", b"\xc6\xfc\xcb\xdc", "日本"),
            ("EUC_KR", b"\xc7\xd1", "한"),
            ("EUC_CN", b"\xd6\xd0", "中"),
            ("EUC_JP", b"a\xff\0b", "a\u{fffd}\0b"),
        ] {
            assert_eq!(Charset::of(name).read(bytes), text, "{name}");
        }
    }
}
