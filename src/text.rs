//! Text from outside, made safe for a terminal.
//!
//! Query texts, application names, relation names, server errors and recordings may contain escape sequences,
//! bidirectional overrides, zero-width characters or invalid UTF-8. They are cleaned once, on entry, into
//! [`Clean`]; widgets accept nothing else.

use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Maximum number of combining marks kept per base character; more would overdraw the lines above.
const MAX_MARKS: usize = 4;

/// Text that is safe to draw: without control, invisible or direction-changing characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub struct Clean {
    shown: Box<str>,
    /// The original text, if it differs and was to be kept.
    raw: Option<Box<Raw>>,
}

/// Kept behind a thin pointer, because nearly all texts equal their displayed form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Raw(Box<str>);

/// Serializes the displayed form.
impl Serialize for Clean {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.shown)
    }
}

/// Maximum bytes of a quoted name with its schema, or of a prepared transaction's name.
const NAME_CAP: usize = 600;

impl Clean {
    /// Cleans `text`: each white-space character becomes a blank, other control characters their visible
    /// symbol (`␛` for ESC), bidirectional controls and zero-width characters `·`.
    pub fn new(text: &str) -> Self {
        if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Self::shown(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut marks = 0;
        for c in text.chars() {
            // Files of /proc, statements of several lines and our own bars need no tables of Unicode.
            let simple = match c {
                ' '..='~' | '\u{2500}'..='\u{259f}' => c,
                '\t' | '\n' | '\r' => ' ',
                _ => '\0',
            };
            if simple != '\0' {
                marks = 0;
                out.push(simple);
                continue;
            }
            let c = visible(c);
            if c.width() == Some(0) {
                marks += 1;
                if marks > MAX_MARKS || out.is_empty() {
                    continue;
                }
            } else {
                marks = 0;
            }
            out.push(c);
        }
        Self::shown(out)
    }

    fn shown(text: impl Into<Box<str>>) -> Self {
        Self {
            shown: text.into(),
            raw: None,
        }
    }

    /// Cleans the first `cap` bytes; invalid UTF-8 becomes `�`.
    pub fn from_bytes(bytes: &[u8], cap: usize) -> Self {
        let (head, cut) = match bytes.get(..cap) {
            Some(head) if bytes.len() > cap => (head, true),
            _ => (bytes, false),
        };
        // A character that the cut splits is dropped.
        let whole = match std::str::from_utf8(head) {
            Err(error) if cut && error.error_len().is_none() => head.get(..error.valid_up_to()),
            _ => None,
        };
        let mut clean = Self::new(&String::from_utf8_lossy(whole.unwrap_or(head)));
        if cut {
            clean.shown = format!("{}…", clean.shown).into();
        }
        clean
    }

    /// Like [`Self::from_bytes`], for text that may be a name: the original is kept, too.
    pub fn of_name(bytes: &[u8], cap: usize) -> Self {
        let mut clean = Self::from_bytes(bytes, cap);
        let name = std::str::from_utf8(bytes).ok();
        let other = name.filter(|name| name.len() <= NAME_CAP && **name != *clean.shown);
        clean.raw = other.map(|name| Box::new(Raw(name.into())));
        clean
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The original text, if it was kept; must never be drawn.
    pub fn raw(&self) -> &str {
        self.raw.as_ref().map_or(&self.shown, |raw| &raw.0)
    }

    /// Returns true if there is no text.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl From<String> for Clean {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Clean {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn visible(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('·'),
        '\u{7f}' => '␡',
        // C1 control characters; zero-width, bidirectional and invisible formatting characters.
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => '·',
        other => other,
    }
}

/// Returns true if a terminal shows this character unchanged.
pub fn is_plain(c: char) -> bool {
    visible(c) == c
}

/// Number of columns that `text` occupies on a terminal.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// Cuts `text` at a grapheme boundary to at most `columns`; ends in `…` if anything was cut.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    if let Some(head) = text.get(..columns - 1).filter(|_| text.is_ascii()) {
        return Cow::Owned(format!("{head}…"));
    }
    let mut out: String = fitting(text.graphemes(true), columns - 1).concat();
    out.push('…');
    Cow::Owned(out)
}

/// Like [`cut`], but keeps the end and cuts the beginning.
pub fn cut_front(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut kept = fitting(text.graphemes(true).rev(), columns - 1);
    kept.push("…");
    kept.reverse();
    Cow::Owned(kept.concat())
}

/// The first graphemes that fit into `columns`.
fn fitting<'a>(graphemes: impl Iterator<Item = &'a str>, columns: usize) -> Vec<&'a str> {
    let mut used = 0;
    let fits = |grapheme: &&str| {
        used += width(grapheme);
        used <= columns
    };
    graphemes.take_while(fits).collect()
}

/// Returns the word of `known` most similar to `word`, if at most a third of its letters differ.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let ranked = known
        .iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), *candidate));
    ranked
        .min()
        .filter(|(edits, _)| *edits <= (word.chars().count() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_loses_its_power_but_stays_recognisable() {
        assert_eq!(Clean::new("a\u{1b}[31mb").as_str(), "a␛[31mb");
        assert_eq!(Clean::new("a\u{202e}b\u{200b}c").as_str(), "a·b·c");
        assert_eq!(Clean::new("one\ntwo\tthree").as_str(), "one two three");
        assert_eq!(Clean::new("\u{9b}31m").as_str(), "·31m");
        assert_eq!(Clean::new("▁\0█─\u{7f}·\u{25a0}").as_str(), "▁␀█─␡·■");
        let pile = format!("e{}", "\u{301}".repeat(2000));
        assert_eq!(Clean::new(&pile).as_str().chars().count(), 1 + MAX_MARKS);
        assert_eq!(
            Clean::from_bytes(b"a\xff\xfeb", 10).as_str(),
            "a\u{fffd}\u{fffd}b"
        );
        assert_eq!(Clean::from_bytes(b"abcdef", 3).as_str(), "abc…");
        assert_eq!(Clean::from_bytes("aüb".as_bytes(), 2).as_str(), "a…");
    }

    #[test]
    fn a_cut_respects_columns_and_graphemes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(cut_front("abcdef", 6), "abcdef");
        assert_eq!(cut_front("abcdef", 4), "…def");
        assert_eq!(cut_front("日本語", 4), "…語");
        assert_eq!(cut_front("··▁▂", 3), "…▁▂");
        assert_eq!(cut_front("abc", 0), "");
    }

    #[test]
    fn the_nearest_word_is_found_but_not_any_word() {
        assert_eq!(
            nearest("intervall", &["theme", "interval"]),
            Some("interval")
        );
        assert_eq!(nearest("sslmod", &["sslmode", "sslcert"]), Some("sslmode"));
        assert_eq!(nearest("xyz", &["theme", "interval"]), None);
    }
}
