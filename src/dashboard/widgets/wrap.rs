//! Breaking text into lines of a display width. Our own: ratatui's `Paragraph` does not tell how many lines a text takes,
//! which scrolling and the height of a box need.

use crate::text::width;
use unicode_segmentation::UnicodeSegmentation;

/// Returns `text` in lines of at most `columns`: broken between words, or inside a word that is longer than a
/// line. Line breaks in `text` are kept.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if columns == 0 {
        return lines;
    }
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_inclusive(' ') {
            let solid = width(word.trim_end_matches(' '));
            if used > 0 && used + solid > columns {
                finish(&mut lines, &mut line);
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let wide = width(grapheme);
                if used + wide > columns {
                    if grapheme == " " || wide > columns {
                        continue;
                    }
                    finish(&mut lines, &mut line);
                    used = 0;
                }
                line.push_str(grapheme);
                used += wide;
            }
        }
        finish(&mut lines, &mut line);
    }
    lines
}

fn finish(lines: &mut Vec<String>, line: &mut String) {
    let full = std::mem::take(line);
    lines.push(full.trim_end().to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_break_between_words_and_inside_long_ones() {
        assert_eq!(
            wrap("needs pg_monitor: GRANT pg_monitor TO app;", 18),
            ["needs pg_monitor:", "GRANT pg_monitor", "TO app;"]
        );
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(wrap("  indented", 20), ["  indented"]);
        assert_eq!(wrap("x", 0), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked(text in "\\PC{0,60}", columns in 0usize..20) {
            for line in wrap(&text, columns) {
                prop_assert!(width(&line) <= columns);
            }
        }
    }
}
