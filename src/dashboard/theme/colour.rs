//! Colours: their names in theme files, and the nearest ones on terminals with fewer colours.

use ratatui::style::Color;

/// A colour.
pub type Colour = Color;

/// Number of colours that the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None: modifiers only.
    Mono,
    /// The 16 colours of the terminal's palette.
    Ansi16,
    /// The palette of 256 colours.
    Ansi256,
    /// 24-bit colour.
    True,
}

/// The sixteen colours in ANSI order, with the values xterm gives them.
const ANSI: [(&str, Color, [u8; 3]); 16] = [
    ("black", Color::Black, [0, 0, 0]),
    ("red", Color::Red, [205, 0, 0]),
    ("green", Color::Green, [0, 205, 0]),
    ("yellow", Color::Yellow, [205, 205, 0]),
    ("blue", Color::Blue, [0, 0, 238]),
    ("magenta", Color::Magenta, [205, 0, 205]),
    ("cyan", Color::Cyan, [0, 205, 205]),
    ("gray", Color::Gray, [229, 229, 229]),
    ("dark-gray", Color::DarkGray, [127, 127, 127]),
    ("light-red", Color::LightRed, [255, 0, 0]),
    ("light-green", Color::LightGreen, [0, 255, 0]),
    ("light-yellow", Color::LightYellow, [255, 255, 0]),
    ("light-blue", Color::LightBlue, [92, 92, 255]),
    ("light-magenta", Color::LightMagenta, [255, 0, 255]),
    ("light-cyan", Color::LightCyan, [0, 255, 255]),
    ("white", Color::White, [255, 255, 255]),
];

/// The levels of the 6x6x6 cube in the palette of 256.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl Depth {
    /// Reads the depth from the environment: `NO_COLOR`, `COLORTERM`, `TERM`.
    pub fn detect(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| env(name).unwrap_or_default().to_ascii_lowercase();
        let term = get("TERM");
        // no-color.org: any value counts, except an empty one.
        if !get("NO_COLOR").is_empty() || term.starts_with("vt") || term == "dumb" {
            return Self::Mono;
        }
        let true_terms = ["direct", "kitty", "alacritty", "ghostty", "foot", "wezterm"];
        if matches!(get("COLORTERM").as_str(), "truecolor" | "24bit")
            || !get("WT_SESSION").is_empty()
            || true_terms.iter().any(|part| term.contains(part))
        {
            Self::True
        } else if term.contains("256") {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }

    /// Returns the nearest colour of this depth; `None` if it has no colours.
    pub fn shown(self, colour: Color) -> Option<Color> {
        (self != Self::Mono).then(|| self.nearest(colour))
    }

    /// Returns the nearest colour of this depth.
    pub(super) fn nearest(self, colour: Color) -> Color {
        match (self, colour) {
            (Self::Mono, _) => Color::Reset,
            (Self::Ansi256, Color::Rgb(r, g, b)) => Color::Indexed(index256([r, g, b])),
            (Self::Ansi16, Color::Rgb(r, g, b)) => ansi16([r, g, b]),
            (Self::Ansi16, Color::Indexed(_)) => rgb(colour).map_or(colour, ansi16),
            _ => colour,
        }
    }
}

/// The names of the sixteen colours, and `reset` for the terminal's own.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ANSI.iter().map(|(name, ..)| *name).chain(["reset"])
}

/// Reads `#rrggbb`, a name or a number from 0 to 255.
pub(super) fn parse(word: &str) -> Option<Color> {
    if let Some(hex) = word.strip_prefix('#') {
        if hex.len() != 6 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        return u32::from_str_radix(hex, 16).ok().map(Color::from_u32);
    }
    if let Ok(index) = word.parse::<u8>() {
        return Some(Color::Indexed(index));
    }
    let name = word
        .to_ascii_lowercase()
        .replace(['_', ' '], "-")
        .replace("bright-", "light-")
        .replace("grey", "gray");
    if name == "reset" {
        return Some(Color::Reset);
    }
    ANSI.iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, colour, _)| *colour)
}

/// Red, green and blue of a colour; `None` for the terminal's own.
pub(crate) fn rgb(colour: Color) -> Option<[u8; 3]> {
    match colour {
        Color::Reset => None,
        Color::Rgb(r, g, b) => Some([r, g, b]),
        Color::Indexed(index @ 0..=15) => ANSI.get(usize::from(index)).map(|(.., rgb)| *rgb),
        Color::Indexed(index @ 16..=231) => {
            let cube = index - 16;
            let level = |digit: u8| CUBE.get(usize::from(digit)).copied().unwrap_or_default();
            Some([level(cube / 36), level(cube / 6 % 6), level(cube % 6)])
        }
        Color::Indexed(index) => Some([8 + 10 * (index - 232); 3]),
        named => ANSI
            .iter()
            .find(|(_, colour, _)| *colour == named)
            .map(|(.., rgb)| *rgb),
    }
}

fn squared_distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(left, right)| u32::from(left.abs_diff(right)).pow(2))
        .sum()
}

/// Returns the nearest colour of the cube and the greys; the first 16 colours differ between terminals and
/// are not used.
fn index256(wanted: [u8; 3]) -> u8 {
    (16..=255)
        .filter_map(|index| Some((squared_distance(rgb(Color::Indexed(index))?, wanted), index)))
        .min()
        .map_or(0, |(_, index)| index)
}

/// Returns the nearest of the 16 colours by hue: by distance alone a pale green would become grey.
fn ansi16(wanted: [u8; 3]) -> Color {
    let [r, g, b] = wanted;
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    if high - low < 48 {
        return match high {
            0..=64 => Color::Black,
            65..=160 => Color::DarkGray,
            161..=220 => Color::Gray,
            _ => Color::White,
        };
    }
    let middle = low + (high - low) / 2;
    let bits = u8::from(r > middle) + 2 * u8::from(g > middle) + 4 * u8::from(b > middle);
    let bright = if high > 170 { 8 } else { 0 };
    ANSI.get(usize::from(bits + bright))
        .map_or(Color::Reset, |(_, colour, _)| *colour)
}
