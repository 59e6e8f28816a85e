//! Text that came from outside, made safe to put on a terminal.
//!
//! Query texts, application names, relation names, server errors and recordings can hold escape
//! sequences, bidirectional overrides, zero-width characters or invalid UTF-8. They are cleaned once,
//! where they enter, into [`Clean`]; widgets accept nothing else.

use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The most combining marks kept on one base character; more of them overdraw the lines above.
const MAX_MARKS: usize = 4;

/// Text that is safe to draw: no control characters, no invisible or direction-changing ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub struct Clean {
    shown: Box<str>,
    /// What it was made of, where that is another text and was to be kept.
    raw: Option<Box<Raw>>,
}

/// Behind a thin pointer: nearly all texts are as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Raw(Box<str>);

/// Written is what is shown.
impl Serialize for Clean {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.shown)
    }
}

/// No name is longer than this many bytes, with its schema and in quotes; nor is what a prepared transaction is called.
const NAME_CAP: usize = 600;

impl Clean {
    /// Cleans `text`: white space becomes one blank each, other control characters become their
    /// visible picture (`␛` for ESC), bidi controls and zero-width characters become `·`.
    pub fn new(text: &str) -> Self {
        if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Self::shown(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut marks = 0;
        for c in text.chars() {
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

    /// Cleans bytes of which at most `cap` are looked at; invalid UTF-8 becomes `�`.
    pub fn from_bytes(bytes: &[u8], cap: usize) -> Self {
        let (head, cut) = match bytes.get(..cap) {
            Some(head) if bytes.len() > cap => (head, true),
            _ => (bytes, false),
        };
        // A cut is no reason for half a character.
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

    /// As [`Self::from_bytes`], of what may be a name: it is known as it is, too.
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

    /// The text as it came, where that is known: never to be drawn.
    pub fn raw(&self) -> &str {
        self.raw.as_ref().map_or(&self.shown, |raw| &raw.0)
    }

    /// Returns true if nothing is left to show.
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
        // Old control characters; zero-width, bidirectional and invisible formatting characters.
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

/// Returns true if a terminal shows this character as it is.
pub fn is_plain(c: char) -> bool {
    visible(c) == c
}

/// Columns that `text` takes on a terminal.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// `text` cut on a grapheme border to at most `columns`, ending in `…` where something was cut.
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

/// As [`cut`], but the end stays and the beginning is cut.
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

/// The first graphemes that take no more than `columns`.
fn fitting<'a>(graphemes: impl Iterator<Item = &'a str>, columns: usize) -> Vec<&'a str> {
    let mut used = 0;
    let fits = |grapheme: &&str| {
        used += width(grapheme);
        used <= columns
    };
    graphemes.take_while(fits).collect()
}

/// The one of `known` that `word` was most likely meant to be: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let ranked = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate));
    ranked
        .min()
        .filter(|(edits, _)| *edits <= (word.chars().count() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (diagonal + usize::from(x != y))
                .min(*cell + 1)
                .min(left + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
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
