//! Turns frames into what a terminal must be sent: only cells that look different from the frame before, with as few
//! moves of the cursor and changes of colour as that takes.
//!
//! Our own instead of ratatui's backend, which moves the cursor for each cell of a figure that changes, sets both colours
//! if one of them changes, and sets the colours of blanks: two thirds of the bytes of a second.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use std::io::Write as _;
use unicode_width::UnicodeWidthStr;

/// Modifiers that show on a blank.
const ON_BLANKS: Modifier = Modifier::REVERSED
    .union(Modifier::UNDERLINED)
    .union(Modifier::CROSSED_OUT);
/// Unchanged cells between two changed ones are written again instead of moving the cursor, up to this many.
const GAP: usize = 4;
/// Modifiers with the numbers that switch them on and off.
const MODIFIERS: [(Modifier, u8, u8); 9] = [
    (Modifier::BOLD, 1, 22),
    (Modifier::DIM, 2, 22),
    (Modifier::ITALIC, 3, 23),
    (Modifier::UNDERLINED, 4, 24),
    (Modifier::SLOW_BLINK, 5, 25),
    (Modifier::RAPID_BLINK, 6, 25),
    (Modifier::REVERSED, 7, 27),
    (Modifier::HIDDEN, 8, 28),
    (Modifier::CROSSED_OUT, 9, 29),
];

/// The frame that a terminal shows, and the next one.
#[derive(Debug)]
pub struct Canvas {
    shown: Buffer,
    next: Buffer,
    pen: Pen,
}

impl Default for Canvas {
    fn default() -> Self {
        Self {
            shown: Buffer::empty(Rect::ZERO),
            next: Buffer::empty(Rect::ZERO),
            pen: Pen::default(),
        }
    }
}

impl Canvas {
    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        (self.shown.area.width, self.shown.area.height)
    }

    /// Takes over a terminal of this size, whatever it shows, and returns what blanks it.
    pub fn begin(&mut self, width: u16, height: u16) -> &[u8] {
        let area = Rect::new(0, 0, width, height);
        self.next.resize(area);
        self.shown.resize(area);
        self.shown.reset();
        self.pen.out.clear();
        self.pen.out.extend_from_slice(b"\x1b[0m\x1b[2J");
        &self.pen.out
    }

    /// Draws the next frame and returns what shows it; nothing if it looks like the one before.
    pub fn draw(&mut self, render: impl FnOnce(&mut Buffer)) -> &[u8] {
        self.next.reset();
        render(&mut self.next);
        self.pen.begin();
        let width = usize::from(self.next.area.width).max(1);
        let rows = self.next.content.chunks(width);
        for ((next, shown), y) in rows.zip(self.shown.content.chunks(width)).zip(0..) {
            self.pen.row(y, shown, next);
        }
        self.pen.write_runs(&self.next.content, width);
        std::mem::swap(&mut self.shown, &mut self.next);
        &self.pen.out
    }
}

/// The look of cells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Look {
    const PLAIN: Self = Self {
        fg: Color::Reset,
        bg: Color::Reset,
        modifier: Modifier::empty(),
    };

    fn of(cell: &Cell) -> Self {
        Self {
            fg: cell.fg,
            bg: cell.bg,
            modifier: cell.modifier,
        }
    }
}

/// Cells of a row that are written with one look: the look's number, the row, the first column, and the one behind the last.
type Run = (usize, u16, usize, usize);

/// Writes cells, and knows where the terminal's cursor is and how it writes.
#[derive(Debug, Default)]
struct Pen {
    out: Vec<u8>,
    /// What is still to be written, and its looks. It is written look by look: a move of the cursor takes fewer bytes than
    /// a change of colour.
    runs: Vec<Run>,
    looks: Vec<Look>,
    /// Row and column of the cursor, where they are known.
    at: Option<(u16, usize)>,
    /// `None` at the beginning of a frame: something else may have written to the terminal.
    look: Option<Look>,
}

impl Pen {
    fn begin(&mut self) {
        self.out.clear();
        (self.at, self.look) = (None, None);
    }

    /// Writes what differs in a row.
    fn row(&mut self, y: u16, shown: &[Cell], next: &[Cell]) {
        let mut differing = shown
            .iter()
            .zip(next)
            .map(|(shown, next)| !looks_same(shown, next));
        let Some(first) = differing.position(|differs| differs) else {
            return;
        };
        // What is left of a wide character that is half overwritten depends on the terminal.
        if shown.iter().chain(next).any(is_wide) {
            self.whole_row(y, next);
            return;
        }
        let cells = || next.iter().enumerate().zip(shown).skip(first);
        let differing = || cells().filter(|((_, cell), shown)| !looks_same(shown, cell));
        // A character that a terminal draws too wide covers the next cell, which has to be written after it.
        if differing().any(|((_, cell), _)| !is_narrow(cell.symbol())) {
            for ((x, cell), _) in differing() {
                self.go(y, x, next);
                self.write(x, cell);
            }
            self.leave_margin(next.len());
            return;
        }
        for ((x, cell), _) in differing() {
            self.add(y, x, cell);
        }
    }

    /// Adds a cell to the run before it, or begins another.
    fn add(&mut self, y: u16, x: usize, cell: &Cell) {
        if let Some((look, row, _, end)) = self.runs.last_mut()
            && (*row, *end) == (y, x)
            && self.looks.get(*look).is_some_and(|look| suits(*look, cell))
        {
            *end += 1;
            return;
        }
        let known = self.looks.iter().position(|look| suits(*look, cell));
        let look = known.unwrap_or_else(|| {
            self.looks.push(Look::of(cell));
            self.looks.len() - 1
        });
        self.runs.push((look, y, x, x + 1));
    }

    /// Writes all runs, look by look.
    fn write_runs(&mut self, cells: &[Cell], width: usize) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_unstable();
        for (_, y, from, to) in runs.drain(..) {
            let start = usize::from(y) * width;
            let row = cells.get(start..start + width).unwrap_or_default();
            self.go(y, from, row);
            for (x, cell) in row.iter().enumerate().take(to).skip(from) {
                self.write(x, cell);
            }
            self.leave_margin(width);
        }
        self.runs = runs;
        self.looks.clear();
    }

    fn whole_row(&mut self, y: u16, next: &[Cell]) {
        let mut hidden = 0;
        for (x, cell) in next.iter().enumerate() {
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            hidden = cell.symbol().width().saturating_sub(1);
            self.go(y, x, next);
            self.write(x, cell);
        }
        self.leave_margin(next.len());
    }

    /// Behind the last column, terminals differ in where the cursor is.
    fn leave_margin(&mut self, width: usize) {
        if self.at.is_some_and(|(_, x)| x >= width) {
            self.at = None;
        }
    }

    /// Brings the cursor to a cell of the row `next`.
    fn go(&mut self, y: u16, x: usize, next: &[Cell]) {
        let Some((_, from)) = self.at.filter(|(row, at)| *row == y && *at <= x) else {
            let _ = match x {
                0 => write!(self.out, "\x1b[{}H", y + 1),
                _ => write!(self.out, "\x1b[{};{}H", y + 1, x + 1),
            };
            self.at = Some((y, x));
            return;
        };
        let passed = next.get(from..x).unwrap_or_default();
        if passed.len() <= GAP && passed.iter().all(|cell| self.is_free(cell)) {
            for (x, cell) in (from..).zip(passed) {
                self.write(x, cell);
            }
        } else {
            let _ = match passed.len() {
                1 => write!(self.out, "\x1b[C"),
                by @ ..10 if x >= 9 => write!(self.out, "\x1b[{by}C"),
                _ => write!(self.out, "\x1b[{}G", x + 1),
            };
        }
        self.at = Some((y, x));
    }

    /// Returns true if a cell is one byte and needs no other look.
    fn is_free(&self, cell: &Cell) -> bool {
        cell.symbol().len() == 1 && self.look.is_some_and(|look| suits(look, cell))
    }

    fn write(&mut self, x: usize, cell: &Cell) {
        if !self.look.is_some_and(|look| suits(look, cell)) {
            self.wear(cell);
        }
        let symbol = cell.symbol();
        self.out.extend_from_slice(symbol.as_bytes());
        // Terminals and the tables of Unicode differ about the width of some characters.
        self.at = self
            .at
            .filter(|_| is_narrow(symbol))
            .map(|(y, _)| (y, x + 1));
    }

    /// Changes colours and modifiers to those of a cell.
    fn wear(&mut self, cell: &Cell) {
        let mut wanted = Look::of(cell);
        let before = self.look;
        if is_plain_blank(cell)
            && let Some(before) = before
        {
            // Nobody sees the rest on a blank.
            wanted.fg = before.fg;
            wanted.modifier = before.modifier - ON_BLANKS;
        }
        self.out.extend_from_slice(b"\x1b[");
        let begun = self.out.len();
        let from = before.unwrap_or_else(|| {
            self.out.extend_from_slice(b"0;");
            Look::PLAIN
        });
        let gone = from.modifier - wanted.modifier;
        let mut kept = from.modifier & wanted.modifier;
        for (modifier, _, off) in MODIFIERS {
            if gone.contains(modifier) {
                let _ = write!(self.out, "{off};");
                // One number ends two of them.
                let ended = MODIFIERS.iter().filter(|(.., other)| *other == off);
                kept = ended.fold(kept, |kept, (modifier, ..)| kept - *modifier);
            }
        }
        for (modifier, on, _) in MODIFIERS {
            if (wanted.modifier - kept).contains(modifier) {
                let _ = write!(self.out, "{on};");
            }
        }
        if from.fg != wanted.fg {
            self.colour(wanted.fg, 30);
        }
        if from.bg != wanted.bg {
            self.colour(wanted.bg, 40);
        }
        // The last `;` becomes the end.
        if self.out.len() > begun {
            self.out.pop();
        }
        self.out.push(b'm');
        self.look = Some(wanted);
    }

    /// Writes the parameters of a colour; `base` is 30 for the foreground, 40 for the background.
    fn colour(&mut self, colour: Color, base: u8) {
        let named = |number: u8| {
            if number < 8 {
                base + number
            } else {
                base + 52 + number
            }
        };
        let number = match colour {
            Color::Rgb(r, g, b) => {
                let _ = write!(self.out, "{};2;{r};{g};{b};", base + 8);
                return;
            }
            Color::Indexed(index) => {
                let _ = write!(self.out, "{};5;{index};", base + 8);
                return;
            }
            Color::Reset => base + 9,
            Color::Black => named(0),
            Color::Red => named(1),
            Color::Green => named(2),
            Color::Yellow => named(3),
            Color::Blue => named(4),
            Color::Magenta => named(5),
            Color::Cyan => named(6),
            Color::Gray => named(7),
            Color::DarkGray => named(8),
            Color::LightRed => named(9),
            Color::LightGreen => named(10),
            Color::LightYellow => named(11),
            Color::LightBlue => named(12),
            Color::LightMagenta => named(13),
            Color::LightCyan => named(14),
            Color::White => named(15),
        };
        let _ = write!(self.out, "{number};");
    }
}

/// Returns true if a cell written with this look appears as it should.
fn suits(look: Look, cell: &Cell) -> bool {
    if look.bg != cell.bg {
        return false;
    }
    if is_plain_blank(cell) {
        return (look.modifier & ON_BLANKS).is_empty();
    }
    look.fg == cell.fg && look.modifier == cell.modifier
}

/// Returns true if nobody can tell the cells apart.
fn looks_same(one: &Cell, other: &Cell) -> bool {
    // Nearly all cells are the same ASCII character in both frames.
    let same = match (one.symbol().as_bytes(), other.symbol().as_bytes()) {
        ([one], [other]) => one == other,
        (one, other) => one == other,
    };
    if !same || one.bg != other.bg {
        return false;
    }
    let same = one.fg == other.fg && one.modifier == other.modifier;
    same || (is_plain_blank(one) && is_plain_blank(other))
}

/// Returns true for a blank that shows its background alone.
fn is_plain_blank(cell: &Cell) -> bool {
    cell.symbol().as_bytes() == [b' '] && (cell.modifier & ON_BLANKS).is_empty()
}

/// Returns true for characters that every terminal draws in one column: ASCII, lines, blocks and Braille.
fn is_narrow(symbol: &str) -> bool {
    match *symbol.as_bytes() {
        [_] => true,
        // U+2500 to U+259F, U+2800 to U+28FF
        [0xE2, middle, last] => match middle {
            0x94 | 0x95 | 0xA0..=0xA3 => true,
            0x96 => last < 0xA0,
            _ => false,
        },
        _ => false,
    }
}

fn is_wide(cell: &Cell) -> bool {
    let symbol = cell.symbol();
    !is_narrow(symbol) && symbol.width() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A terminal that understands what a canvas writes, and nothing else.
    struct Terminal {
        cells: Buffer,
        at: (u16, u16),
        look: Look,
    }

    impl Terminal {
        fn new(width: u16, height: u16) -> Self {
            let mut cells = Buffer::empty(Rect::new(0, 0, width, height));
            for cell in &mut cells.content {
                cell.set_symbol("?");
            }
            Self {
                cells,
                at: (0, 0),
                look: Look::PLAIN,
            }
        }

        fn take(&mut self, bytes: &[u8]) {
            let text = std::str::from_utf8(bytes).unwrap();
            let mut rest = text.chars();
            while let Some(letter) = rest.next() {
                if let Some(order) = rest.as_str().strip_prefix('[').filter(|_| letter == '\x1b') {
                    let end = order.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let (numbers, after) = order.split_at(end);
                    let numbers: Vec<u16> =
                        numbers.split(';').filter_map(|n| n.parse().ok()).collect();
                    rest = after.chars();
                    self.obey(rest.next().unwrap(), &numbers);
                } else {
                    self.print(&letter.to_string());
                }
            }
        }

        fn print(&mut self, symbol: &str) {
            let (x, y) = self.at;
            let width = symbol.width() as u16;
            assert!(x + width <= self.cells.area.width, "a line would wrap");
            let written = x..x + width;
            for x in written.clone() {
                // Half of a wide character that was there is gone with the other half.
                let before = self.cells.cell((x, y)).unwrap().symbol();
                let other = match before.width() {
                    _ if before.is_empty() => x.checked_sub(1),
                    2 => Some(x + 1),
                    _ => None,
                };
                if let Some(other) = other.filter(|other| !written.contains(other)) {
                    self.cells.cell_mut((other, y)).unwrap().set_symbol("?");
                }
                let cell = self.cells.cell_mut((x, y)).unwrap();
                cell.set_symbol(if x == self.at.0 { symbol } else { "" });
                (cell.fg, cell.bg, cell.modifier) =
                    (self.look.fg, self.look.bg, self.look.modifier);
            }
            self.at.0 += width;
        }

        fn obey(&mut self, order: char, numbers: &[u16]) {
            match (order, numbers) {
                ('H', [y]) => self.at = (0, y - 1),
                ('H', [y, x]) => self.at = (x - 1, y - 1),
                ('G', [x]) => self.at.0 = x - 1,
                ('C', []) => self.at.0 += 1,
                ('C', [by]) => self.at.0 += by,
                ('J', [2]) => {
                    assert_eq!(self.look, Look::PLAIN);
                    self.cells.reset();
                }
                ('m', numbers) => self.wear(numbers),
                other => panic!("{other:?}"),
            }
        }

        fn wear(&mut self, mut numbers: &[u16]) {
            while let [number, rest @ ..] = numbers {
                numbers = rest;
                match number {
                    0 => self.look = Look::PLAIN,
                    38 | 48 => {
                        let [2, r, g, b, rest @ ..] = numbers else {
                            panic!("{numbers:?}")
                        };
                        numbers = rest;
                        let colour = Color::Rgb(*r as u8, *g as u8, *b as u8);
                        *if *number == 38 {
                            &mut self.look.fg
                        } else {
                            &mut self.look.bg
                        } = colour;
                    }
                    39 => self.look.fg = Color::Reset,
                    49 => self.look.bg = Color::Reset,
                    31 => self.look.fg = Color::Red,
                    101 => self.look.bg = Color::LightRed,
                    number => {
                        for (modifier, on, off) in MODIFIERS {
                            if u16::from(off) == *number {
                                self.look.modifier -= modifier;
                            }
                            if u16::from(on) == *number {
                                self.look.modifier |= modifier;
                            }
                        }
                    }
                }
            }
        }

        fn assert_shows(&self, wanted: &Buffer) {
            let mut hidden = 0;
            for (position, (cell, wanted)) in
                self.cells.content.iter().zip(&wanted.content).enumerate()
            {
                if hidden > 0 {
                    hidden -= 1;
                    continue;
                }
                hidden = wanted.symbol().width() - 1;
                assert!(looks_same(cell, wanted), "{position}: {cell:?} {wanted:?}");
            }
        }
    }

    const SIZE: (u16, u16) = (24, 4);

    fn look() -> impl Strategy<Value = Look> {
        let colour = prop_oneof![
            Just(Color::Reset),
            Just(Color::Rgb(20, 23, 28)),
            Just(Color::Rgb(1, 2, 3))
        ];
        let modifiers = [
            Modifier::empty(),
            Modifier::BOLD,
            Modifier::DIM,
            Modifier::BOLD | Modifier::DIM,
            Modifier::REVERSED,
            Modifier::ITALIC | Modifier::UNDERLINED,
        ];
        let fg = prop_oneof![colour.clone(), Just(Color::Red)];
        let bg = prop_oneof![colour, Just(Color::LightRed)];
        (fg, bg, prop::sample::select(modifiers.to_vec())).prop_map(|(fg, bg, modifier)| Look {
            fg,
            bg,
            modifier,
        })
    }

    /// Texts at places of a frame.
    fn frame() -> impl Strategy<Value = Vec<(u16, u16, String, Look)>> {
        let text = prop_oneof![
            "[ab ]{0,9}",
            "[│▁█⣿✖… a]{0,6}",
            "[a木│ 大b]{0,6}",
            Just(" ".repeat(9))
        ];
        prop::collection::vec((0..SIZE.0, 0..SIZE.1, text, look()), 0..9)
    }

    proptest! {
        #[test]
        fn a_terminal_shows_every_frame(frames in prop::collection::vec(frame(), 1..6)) {
            let mut canvas = Canvas::default();
            let mut terminal = Terminal::new(SIZE.0, SIZE.1);
            terminal.take(canvas.begin(SIZE.0, SIZE.1));
            for texts in frames {
                let render = |buf: &mut Buffer| {
                    for (x, y, text, look) in &texts {
                        let style = ratatui::style::Style::new()
                            .fg(look.fg)
                            .bg(look.bg)
                            .add_modifier(look.modifier);
                        buf.set_string(*x, *y, text, style);
                    }
                };
                terminal.take(canvas.draw(render));
                terminal.assert_shows(&canvas.shown);
                prop_assert_eq!(canvas.draw(render), b"");
            }
        }
    }

    #[test]
    fn a_figure_that_changes_takes_few_bytes() {
        let mut canvas = Canvas::default();
        canvas.begin(80, 2);
        let style = ratatui::style::Style::new()
            .fg(Color::Rgb(1, 2, 3))
            .bg(Color::Rgb(4, 5, 6));
        canvas.draw(|buf| {
            buf.set_string(0, 1, "p99 12.25 ms", style);
        });
        let bytes = canvas.draw(|buf| {
            buf.set_string(0, 1, "p99 11.24 ms", style);
        });
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(text, "\x1b[2;6H\x1b[0;38;2;1;2;3;48;2;4;5;6m1.24");
    }
}
