//! A screen as a picture (SVG): cells on a grid, in a document that needs no font and no style sheet of its own.
//!
//! Blocks, lines and Braille are drawn as shapes, so that they meet their neighbours in any font.

mod shapes;

use super::draw;
use crate::dashboard::model::Model;
use crate::dashboard::theme::{self, Theme};
use crate::text;
use ratatui::buffer::{Buffer, Cell as ScreenCell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use serde::Deserialize;
use std::fmt::{self, Write as _};

/// Width and height of a cell, size of the font, and the margin around the screen.
const W: f64 = 8.43;
const H: f64 = 18.0;
const SIZE: u32 = 14;
const PAD: f64 = 12.0;
/// Height of the base line in a cell.
const ASCENT: f64 = 13.5;
const FONTS: &str =
    "'DejaVu Sans Mono','JetBrains Mono',Menlo,Consolas,'Liberation Mono',monospace";
/// Background of a theme that keeps the terminal's own, and the text on a dark and on a light background.
const PAPER: Rgb = Rgb([0x14, 0x17, 0x1c]);
const ON_DARK: Rgb = Rgb([0xd3, 0xd8, 0xe0]);
const ON_LIGHT: Rgb = Rgb([0x24, 0x29, 0x2f]);
/// Share of the background in dim text.
const DIM: f64 = 0.4;

/// A colour; `#rrggbb` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Rgb([u8; 3]);

impl TryFrom<String> for Rgb {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let colour = theme::colour(&text)?;
        theme::rgb(colour)
            .map(Self)
            .ok_or_else(|| format!("{text} is no colour"))
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl Rgb {
    /// Mixes in this share of another colour.
    fn mixed(self, other: Self, share: f64) -> Self {
        let mix = |one: u8, other: u8| {
            let (one, other) = (f64::from(one), f64::from(other));
            (one + (other - one) * share).round() as u8
        };
        let ([r, g, b], [other_r, other_g, other_b]) = (self.0, other.0);
        Self([mix(r, other_r), mix(g, other_g), mix(b, other_b)])
    }

    fn is_light(self) -> bool {
        self.0.iter().map(|part| u32::from(*part)).sum::<u32>() > 382
    }
}

/// Bold, italic, underlined, crossed out.
type Attributes = [bool; 4];

/// A character on the screen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Cell {
    /// Column, from 0.
    column: u16,
    /// The character, with its combining marks.
    text: String,
    /// Columns that it takes.
    width: u16,
    fg: Rgb,
    bg: Rgb,
    attributes: Attributes,
}

/// A screen to draw.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Picture {
    title: String,
    /// Columns and rows.
    size: (u16, u16),
    /// Colour of the background.
    paper: Rgb,
    /// The cells of each row, from left to right.
    rows: Vec<Vec<Cell>>,
}

/// Draws the model's page as a picture of this many columns and rows.
pub(crate) fn of(model: &Model, theme: &Theme, size: (u16, u16), title: &str) -> String {
    let mut buf = Buffer::empty(Rect::new(0, 0, size.0, size.1));
    draw(model, theme, &mut buf);
    Picture::of(&buf, theme, title).svg()
}

impl Picture {
    fn of(buf: &Buffer, theme: &Theme, title: &str) -> Self {
        let paper = theme::rgb(theme.background).map_or(PAPER, Rgb);
        let ink = if paper.is_light() { ON_LIGHT } else { ON_DARK };
        let columns = usize::from(buf.area.width).max(1);
        let row = |cells: &[ScreenCell]| {
            let mut row = Vec::with_capacity(columns);
            // A wide character covers the cell after it.
            let mut covered = 0;
            for (column, cell) in cells.iter().enumerate() {
                if column < covered {
                    continue;
                }
                let width = text::width(cell.symbol()).max(1);
                covered = column + width;
                row.push(seen(cell, (column as u16, width as u16), paper, ink));
            }
            row
        };
        Self {
            title: title.to_owned(),
            size: (buf.area.width, buf.area.height),
            paper,
            rows: buf.content.chunks(columns).map(row).collect(),
        }
    }

    /// Returns the document.
    pub(crate) fn svg(&self) -> String {
        let mut canvas = Canvas::on(self.paper);
        for (y, row) in self.rows.iter().enumerate() {
            canvas.backgrounds(y as f64, row);
        }
        for (y, row) in self.rows.iter().enumerate() {
            canvas.row(y as f64, row);
        }
        let width = number(f64::from(self.size.0) * W + 2.0 * PAD);
        let height = number(f64::from(self.size.1) * H + 2.0 * PAD);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>text{{font:{SIZE}px {FONTS};white-space:pre}}\n",
            escaped(&self.title)
        );
        canvas.write_styles(&mut out);
        let _ = writeln!(
            out,
            "</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>",
            self.paper
        );
        // Browsers go by the style sheet, librsvg by the attribute.
        let _ = writeln!(
            out,
            "<g transform=\"translate({0} {0})\" xml:space=\"preserve\">",
            number(PAD)
        );
        canvas.write_shapes(&mut out);
        out.push_str("</g></svg>\n");
        out
    }
}

/// A cell with the colours that it is seen in.
fn seen(cell: &ScreenCell, (column, width): (u16, u16), paper: Rgb, ink: Rgb) -> Cell {
    let colour = |colour: Color, own: Rgb| theme::rgb(colour).map_or(own, Rgb);
    let (mut fg, mut bg) = (colour(cell.fg, ink), colour(cell.bg, paper));
    let has = |modifier| cell.modifier.contains(modifier);
    if has(Modifier::REVERSED) {
        std::mem::swap(&mut fg, &mut bg);
    }
    if has(Modifier::DIM) {
        fg = fg.mixed(bg, DIM);
    }
    Cell {
        column,
        text: cell.symbol().to_owned(),
        width,
        fg,
        bg,
        attributes: [
            has(Modifier::BOLD),
            has(Modifier::ITALIC),
            has(Modifier::UNDERLINED),
            has(Modifier::CROSSED_OUT),
        ],
    }
}

/// Formats a length with at most two decimals.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text for a document of XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML has no way to write these.
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

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
struct Canvas {
    paper: Rgb,
    fills: Vec<(Rgb, String)>,
    /// Paths by colour and weight: 1 light, 2 heavy.
    lines: Vec<((Rgb, u8), String)>,
    texts: String,
    classes: Vec<(Rgb, Attributes)>,
}

impl Canvas {
    fn on(paper: Rgb) -> Self {
        Self {
            paper,
            fills: Vec::new(),
            lines: Vec::new(),
            texts: String::new(),
            classes: Vec::new(),
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

    fn write_styles(&self, out: &mut String) {
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

    fn write_shapes(&self, out: &mut String) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    #[test]
    fn a_screen_becomes_text_shapes_and_backgrounds() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 8, 2));
        let red = Style::new().fg(Color::Rgb(255, 0, 0));
        buf.set_string(0, 0, "a <b", red);
        buf.set_string(4, 0, "日█─", red);
        buf.set_string(0, 1, "│⠁", red.add_modifier(Modifier::REVERSED));
        let theme = Theme::default();
        let svg = Picture::of(&buf, &theme, "x < y\u{1b}").svg();
        for part in [
            "<title>x &lt; y\u{fffd}</title>",
            // One text, with its width, for neighbours in one style.
            "x=\"0\" y=\"13.5\" textLength=\"33.72\" lengthAdjust=\"spacingAndGlyphs\">a &lt;b</text>",
            "x=\"33.72\" y=\"13.5\">日</text>",
            // A full block is a rectangle of its colour, a line a stroke; reversed cells have a background.
            "fill=\"#ff0000\" d=\"M0 18h16.86v18h-16.86zM50.58 0h8.43v18h-8.43z\"",
            "stroke=\"#ff0000\" stroke-width=\"1.2\" d=\"M59.01 9H67.44\"",
            "stroke=\"#14171c\" stroke-width=\"1.2\"",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        let cells = serde_json::json!({
            "title": "t", "size": [1, 1], "paper": "#000000",
            "rows": [[[0, "a", 1, "#ffffff", "#000000", [true, false, false, false]]]],
        });
        let picture: Picture = serde_json::from_value(cells).unwrap();
        assert!(picture.svg().contains(".c0{fill:#ffffff;font-weight:bold}"));
    }
}
