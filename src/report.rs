//! A report for an issue: one text file of facts about the program, the machine and the server, without secrets.
//!
//! [`machine`] and [`server`] collect facts, [`settings`] masks the configuration file, and the last of a recording
//! comes from [`crate::dashboard::recording::excerpt`]. Nothing here writes a file: the user sees what is in a
//! report first.

pub(crate) mod machine;
pub(crate) mod server;
pub(crate) mod settings;

use crate::text::width;
use std::fmt::Write as _;

/// One part of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its title.
    pub title: &'static str,
    /// Table of contents, for the person who decides if it may be published.
    pub about: &'static str,
    /// Its text; shown as it is.
    pub body: String,
}

/// All of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Time at which it was made.
    pub made: String,
    /// Its parts.
    pub sections: Vec<Section>,
}

impl Report {
    /// The table of contents: title, lines and what is in each section.
    pub(crate) fn contents(&self) -> String {
        let rows = self.sections.iter().map(|section| {
            let lines = section.body.lines().count();
            let lines = format!("{lines} line{}", if lines == 1 { "" } else { "s" });
            vec![section.title.to_owned(), lines, section.about.to_owned()]
        });
        aligned(&rows.collect::<Vec<_>>())
    }

    /// The report in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "# htap-top report\n\nMade at {} by htap-top {}. Read it before you publish it.\n\n```text\n{}```\n",
            self.made,
            env!("CARGO_PKG_VERSION"),
            self.contents()
        );
        for Section { title, about, body } in &self.sections {
            let fence = fence(body);
            let end = if body.is_empty() || body.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let _ = write!(
                text,
                "\n## {title}\n\nContents: {about}.\n\n{fence}text\n{body}{end}{fence}\n"
            );
        }
        text
    }
}

/// A fence that nothing in `body` closes.
fn fence(body: &str) -> String {
    let longest = body.split(|c| c != '`').map(str::len).max();
    "`".repeat(longest.unwrap_or_default().max(2) + 1)
}

/// Rows in columns; the last column is as wide as it is.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            let gap = wide.saturating_sub(width(cell));
            let _ = write!(line, "{cell}{:gap$}  ", "");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_section_can_end_it() {
        let hostile = "a\n```\n## Not a section\n`````\nb";
        let report = Report {
            made: "now".into(),
            sections: vec![Section {
                title: "Log",
                about: "lines",
                body: hostile.into(),
            }],
        };
        let text = report.text();
        assert!(
            text.contains(&format!("\n``````text\n{hostile}\n``````\n")),
            "{text}"
        );
        assert_eq!(report.contents(), "Log  5 lines  lines\n");
    }
}
