//! The shapes and texts of a picture.

mod shapes;

use super::{ASCENT, Attributes, Cell, H, Picture, Rgb, W, escaped, number};
use std::fmt::Write as _;

/// Texts in one style.
struct Run {
    class: usize,
    first: u16,
    end: u16,
    text: String,
    plain: bool,
}

/// Neighbours of the same full block, shade or horizontal line.
struct Span {
    kind: char,
    fg: Rgb,
    first: u16,
    end: u16,
}

/// The shapes and texts of a picture, each kind in the order in which it first occurs.
pub(super) struct Canvas {
    paper: Rgb,
    fills: Vec<(Rgb, String)>,
    /// Paths by colour and weight: 1 light, 2 heavy.
    lines: Vec<((Rgb, u8), String)>,
    texts: String,
    classes: Vec<(Rgb, Attributes)>,
}

impl Canvas {
    pub(super) fn on(paper: Rgb) -> Self {
        Self {
            paper,
            fills: Vec::new(),
            lines: Vec::new(),
            texts: String::new(),
            classes: Vec::new(),
        }
    }

    /// Forgets what was drawn; the styles stay.
    pub(super) fn clear(&mut self) {
        self.fills.clear();
        self.lines.clear();
        self.texts.clear();
    }

    /// Draws all rows.
    pub(super) fn picture(&mut self, picture: &Picture) {
        for (y, row) in picture.rows.iter().enumerate() {
            self.backgrounds(y as f64, row);
        }
        for (y, row) in picture.rows.iter().enumerate() {
            self.row(y as f64, row);
        }
    }

    /// The number of a style.
    fn class(&mut self, fg: Rgb, attributes: Attributes) -> usize {
        let known = self.classes.iter().position(|is| *is == (fg, attributes));
        known.unwrap_or_else(|| {
            self.classes.push((fg, attributes));
            self.classes.len() - 1
        })
    }

    fn rectangle(&mut self, colour: Rgb, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let path = format!(
            "M{} {}h{}v{}h{}z",
            number(x),
            number(y),
            number(width),
            number(height),
            number(-width)
        );
        match self.fills.iter_mut().find(|(known, _)| *known == colour) {
            Some((_, paths)) => paths.push_str(&path),
            None => self.fills.push((colour, path)),
        }
    }

    fn stroke(&mut self, colour: Rgb, weight: u8, path: &str) {
        let pen = (colour, weight);
        match self.lines.iter_mut().find(|(known, _)| *known == pen) {
            Some((_, paths)) => paths.push_str(path),
            None => self.lines.push((pen, path.to_owned())),
        }
    }

    /// Draws the backgrounds of a row; equal neighbours are one rectangle.
    fn backgrounds(&mut self, y: f64, row: &[Cell]) {
        let mut begun: Option<(Rgb, u16, u16)> = None;
        for cell in row.iter().map(Some).chain([None]) {
            let end = cell.map_or(0, |cell| cell.column + cell.width);
            match (&mut begun, cell) {
                (Some((bg, _, last)), Some(cell)) if *bg == cell.bg && *last == cell.column => {
                    *last = end;
                    continue;
                }
                (Some((bg, first, last)), _) if *bg != self.paper => {
                    let (bg, x) = (*bg, f64::from(*first) * W);
                    let width = f64::from(*last) * W - x;
                    self.rectangle(bg, (x, y * H), (width, H));
                }
                _ => {}
            }
            begun = cell.map(|cell| (cell.bg, cell.column, end));
        }
    }

    /// Draws the characters of a row.
    fn row(&mut self, y: f64, row: &[Cell]) {
        let (mut run, mut span): (Option<Run>, Option<Span>) = (None, None);
        for cell in row {
            let kind = shapes::continuous(&cell.text);
            match (&mut span, kind) {
                (Some(open), Some(kind))
                    if open.kind == kind && open.fg == cell.fg && open.end == cell.column =>
                {
                    open.end += 1;
                    continue;
                }
                _ => self.span(y, span.take()),
            }
            if let Some(kind) = kind {
                span = Some(Span {
                    kind,
                    fg: cell.fg,
                    first: cell.column,
                    end: cell.column + 1,
                });
                continue;
            }
            let [_, _, underlined, crossed] = cell.attributes;
            let blank = cell.text.trim().is_empty() && !underlined && !crossed;
            if blank || self.shape(y, cell) {
                continue;
            }
            self.write(y, &mut run, cell);
        }
        self.span(y, span);
        self.text(y, run);
    }

    /// Adds a character to the run, or begins another one.
    fn write(&mut self, y: f64, run: &mut Option<Run>, cell: &Cell) {
        let class = self.class(cell.fg, cell.attributes);
        let plain = cell.text.is_ascii();
        // A few blanks inside a run are cheaper than a new one.
        if let Some(open) = run
            && plain
            && open.plain
            && open.class == class
            && cell
                .column
                .checked_sub(open.end)
                .is_some_and(|gap| gap <= 2)
        {
            let gap = usize::from(cell.column - open.end);
            open.text.push_str(&" ".repeat(gap));
            open.text.push_str(&cell.text);
            open.end = cell.column + cell.width;
            return;
        }
        let begun = Run {
            class,
            first: cell.column,
            end: cell.column + cell.width,
            text: cell.text.clone(),
            plain,
        };
        let ended = run.replace(begun);
        self.text(y, ended);
    }

    fn text(&mut self, y: f64, run: Option<Run>) {
        let Some(run) = run.filter(|run| !run.text.trim().is_empty()) else {
            return;
        };
        // The width is said, so that columns meet in any font.
        let width = if run.plain && run.text.len() > 1 {
            format!(
                " textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\"",
                number(f64::from(run.end - run.first) * W)
            )
        } else {
            String::new()
        };
        // As text, never as a coloured picture.
        let as_text = if matches!(run.text.as_str(), "✔" | "✖" | "▲" | "▼" | "●") {
            "\u{fe0e}"
        } else {
            ""
        };
        let _ = writeln!(
            self.texts,
            "<text class=\"c{}\" x=\"{}\" y=\"{}\"{width}>{}{as_text}</text>",
            run.class,
            number(f64::from(run.first) * W),
            number(y * H + ASCENT),
            escaped(&run.text)
        );
    }

    pub(super) fn write_styles(&self, out: &mut String) {
        for (number, (fg, [bold, italic, underlined, crossed])) in self.classes.iter().enumerate() {
            let mut rules = format!("fill:{fg}");
            let mut add = |on: bool, rule: &str| rules.push_str(if on { rule } else { "" });
            add(*bold, ";font-weight:bold");
            add(*italic, ";font-style:italic");
            match (underlined, crossed) {
                (true, true) => add(true, ";text-decoration:underline line-through"),
                (true, false) => add(true, ";text-decoration:underline"),
                (false, true) => add(true, ";text-decoration:line-through"),
                (false, false) => {}
            }
            let _ = writeln!(out, ".c{number}{{{rules}}}");
        }
    }

    pub(super) fn write_shapes(&self, out: &mut String) {
        for (colour, paths) in &self.fills {
            // Neighbours that only touch would show a seam where pixels are not whole.
            let _ = writeln!(
                out,
                "<path shape-rendering=\"crispEdges\" fill=\"{colour}\" d=\"{paths}\"/>"
            );
        }
        for ((colour, weight), paths) in &self.lines {
            let weight = number(1.2 * f64::from(*weight));
            let _ = writeln!(
                out,
                "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"{weight}\" d=\"{paths}\"/>"
            );
        }
        out.push_str(&self.texts);
    }
}
