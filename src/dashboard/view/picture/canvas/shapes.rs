//! Characters that must meet their neighbours: lines, blocks, shades, Braille.

use super::{Canvas, Cell, H, Span, W, number};

/// Arms of the box drawing characters: up, right, down, left; 1 light, 2 heavy.
const ARMS: [(&str, [u8; 4]); 23] = [
    ("─", [0, 1, 0, 1]),
    ("│", [1, 0, 1, 0]),
    ("┌", [0, 1, 1, 0]),
    ("┐", [0, 0, 1, 1]),
    ("└", [1, 1, 0, 0]),
    ("┘", [1, 0, 0, 1]),
    ("├", [1, 1, 1, 0]),
    ("┤", [1, 0, 1, 1]),
    ("┬", [0, 1, 1, 1]),
    ("┴", [1, 1, 0, 1]),
    ("┼", [1, 1, 1, 1]),
    ("╴", [0, 0, 0, 1]),
    ("╵", [1, 0, 0, 0]),
    ("╶", [0, 1, 0, 0]),
    ("╷", [0, 0, 1, 0]),
    ("━", [0, 2, 0, 2]),
    ("┃", [2, 0, 2, 0]),
    ("┏", [0, 2, 2, 0]),
    ("┓", [0, 0, 2, 2]),
    ("┗", [2, 2, 0, 0]),
    ("┛", [2, 0, 0, 2]),
    ("╸", [0, 0, 0, 2]),
    ("╺", [0, 2, 0, 0]),
];
/// Corners that are round: true if one arm points down, and if the other points to the right.
const ROUND: [(&str, bool, bool); 4] = [
    ("╭", true, true),
    ("╮", true, false),
    ("╰", false, true),
    ("╯", false, false),
];
/// Quarters of a cell: upper left, upper right, lower left, lower right.
const QUADRANTS: [(&str, &str); 10] = [
    ("▖", "c"),
    ("▗", "d"),
    ("▘", "a"),
    ("▝", "b"),
    ("▚", "ad"),
    ("▞", "bc"),
    ("▙", "acd"),
    ("▛", "abc"),
    ("▜", "abd"),
    ("▟", "bcd"),
];
/// Column and row of the dot of each bit of a Braille pattern.
const DOTS: [(f64, f64); 8] = [
    (0.0, 0.0),
    (0.0, 1.0),
    (0.0, 2.0),
    (1.0, 0.0),
    (1.0, 1.0),
    (1.0, 2.0),
    (0.0, 3.0),
    (1.0, 3.0),
];

/// Part of a cell in shares of it: x, y, width, height.
type Part = (f64, f64, f64, f64);

/// Returns the character if equal neighbours are drawn as one shape.
pub(super) fn continuous(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next().filter(|_| chars.next().is_none())?;
    matches!(first, '█' | '─' | '░' | '▒' | '▓').then_some(first)
}

/// The rectangles that make up a block element or a Braille pattern.
fn parts(text: &str) -> Vec<Part> {
    let mut chars = text.chars();
    let (Some(first), None) = (chars.next(), chars.next()) else {
        return Vec::new();
    };
    let eighths = |code: u32| f64::from(code) / 8.0;
    match (u32::from(first), first) {
        (code @ 0x2581..=0x2588, _) => {
            let share = eighths(code - 0x2580);
            vec![(0.0, 1.0 - share, 1.0, share)]
        }
        (code @ 0x2589..=0x258f, _) => vec![(0.0, 0.0, eighths(0x2590 - code), 1.0)],
        (_, '▀') => vec![(0.0, 0.0, 1.0, 0.5)],
        (_, '▐') => vec![(0.5, 0.0, 0.5, 1.0)],
        (_, '▔') => vec![(0.0, 0.0, 1.0, 0.125)],
        (_, '▕') => vec![(0.875, 0.0, 0.125, 1.0)],
        (code @ 0x2801..=0x28ff, _) => {
            let dots = DOTS.iter().enumerate();
            let dots = dots.filter(|(bit, _)| code >> bit & 1 == 1);
            dots.map(|(_, (x, y))| (0.14 + 0.5 * x, 0.06 + 0.25 * y, 0.22, 0.12))
                .collect()
        }
        _ => quadrants(text),
    }
}

fn quadrants(text: &str) -> Vec<Part> {
    let known = QUADRANTS.iter().find(|(symbol, _)| *symbol == text);
    let corner = |corner: char| match corner {
        'a' => (0.0, 0.0, 0.5, 0.5),
        'b' => (0.5, 0.0, 0.5, 0.5),
        'c' => (0.0, 0.5, 0.5, 0.5),
        _ => (0.5, 0.5, 0.5, 0.5),
    };
    known.map_or_else(Vec::new, |(_, corners)| {
        corners.chars().map(corner).collect()
    })
}

impl Canvas {
    /// Draws neighbours of the same block, shade or line.
    pub(super) fn span(&mut self, y: f64, span: Option<Span>) {
        let Some(span) = span else { return };
        let (x, end) = (f64::from(span.first) * W, f64::from(span.end) * W);
        let share = match span.kind {
            '─' => {
                let path = format!("M{} {}H{}", number(x), number(y * H + H / 2.0), number(end));
                self.stroke(span.fg, 1, &path);
                return;
            }
            '░' => 0.25,
            '▒' => 0.5,
            '▓' => 0.75,
            _ => 1.0,
        };
        let colour = self.paper.mixed(span.fg, share);
        self.rectangle(colour, (x, y * H), (end - x, H));
    }

    /// Draws a character as a shape; returns false if it is to be drawn as text.
    pub(super) fn shape(&mut self, y: f64, cell: &Cell) -> bool {
        let (left, top) = (f64::from(cell.column) * W, y * H);
        let (middle, centre) = (left + W / 2.0, top + H / 2.0);
        let text = cell.text.as_str();
        if let Some((_, arms)) = ARMS.iter().find(|(symbol, _)| *symbol == text) {
            let ends = [
                (middle, top),
                (left + W, centre),
                (middle, top + H),
                (left, centre),
            ];
            let drawn = arms.iter().zip(ends).filter(|(weight, _)| **weight > 0);
            for (weight, (x, end)) in drawn {
                let path = format!(
                    "M{} {}L{} {}",
                    number(middle),
                    number(centre),
                    number(x),
                    number(end)
                );
                self.stroke(cell.fg, *weight, &path);
            }
            return true;
        }
        if let Some((_, down, right)) = ROUND.iter().find(|(symbol, ..)| *symbol == text) {
            let y_end = if *down { top + H } else { top };
            let x_end = if *right { left + W } else { left };
            let path = format!(
                "M{0} {1}Q{0} {2} {3} {2}",
                number(middle),
                number(y_end),
                number(centre),
                number(x_end)
            );
            self.stroke(cell.fg, 1, &path);
            return true;
        }
        let parts = parts(text);
        for (x, y, width, height) in &parts {
            let corner = (left + x * W, top + y * H);
            self.rectangle(cell.fg, corner, (width * W, height * H));
        }
        !parts.is_empty()
    }
}
