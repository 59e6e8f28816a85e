//! A screen as a picture (SVG): cells on a grid, in a document that needs no font and no style sheet of its own.
//!
//! Blocks, lines and Braille are drawn as shapes, so that they meet their neighbours in any font.

mod canvas;
pub(crate) mod film;

use super::draw;
use crate::dashboard::model::Model;
use crate::dashboard::theme::{self, Theme};
use crate::text;
use canvas::Canvas;
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
        let ink = ink(paper);
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
        canvas.picture(self);
        let mut shapes = String::new();
        canvas.write_shapes(&mut shapes);
        let mut out = head(&self.title, self.size, 0.0);
        canvas.write_styles(&mut out);
        body(&mut out, self.paper, &shapes);
        out
    }

    /// Colour of text that has none of its own.
    fn ink(&self) -> Rgb {
        ink(self.paper)
    }
}

fn ink(paper: Rgb) -> Rgb {
    if paper.is_light() { ON_LIGHT } else { ON_DARK }
}

/// Begins a document of a screen of this size, with this much room below it; what follows is its style sheet.
fn head(title: &str, size: (u16, u16), below: f64) -> String {
    let width = number(f64::from(size.0) * W + 2.0 * PAD);
    let height = number(f64::from(size.1) * H + 2.0 * PAD + below);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>text{{font:{SIZE}px {FONTS};white-space:pre}}\n",
        escaped(title)
    )
}

/// Ends the style sheet and the document.
fn body(out: &mut String, paper: Rgb, shapes: &str) {
    let _ = writeln!(
        out,
        "</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{paper}\"/>"
    );
    // Browsers go by the style sheet, librsvg by the attribute.
    let _ = writeln!(
        out,
        "<g transform=\"translate({0} {0})\" xml:space=\"preserve\">",
        number(PAD)
    );
    out.push_str(shapes);
    out.push_str("</g></svg>\n");
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
