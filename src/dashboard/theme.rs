//! Styles by role: a theme is one TOML file.
//!
//! Widgets ask for a role (`Role::Danger`), never for a colour. A theme defines every role; [`Theme::adapt`]
//! reduces it to the colours that the terminal can show.

mod colour;
#[cfg(test)]
mod tests;

pub(crate) use colour::rgb;
pub use colour::{Colour, Depth};

use crate::embedded;
use ratatui::style::{Color, Modifier, Style};
use toml::{Table, Value};

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $role:ident = $name:literal,)+) => {
        /// The purpose of a piece of the screen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Role { $($(#[doc = $doc])+ $role,)+ }

        impl Role {
            /// Every role.
            pub const ALL: &[Self] = &[$(Self::$role,)+];

            /// The role's name in theme files.
            pub fn name(self) -> &'static str {
                match self { $(Self::$role => $name,)+ }
            }
        }
    };
}

roles! {
    /// Ordinary text and figures.
    Text = "text",
    /// Labels, units, less important text.
    Muted = "muted",
    /// A panel's title.
    Title = "title",
    /// A panel's border.
    Border = "border",
    /// The border of the panel that has the focus.
    BorderFocus = "border_focus",
    /// The heads of columns and the screen's first line.
    Header = "header",
    /// Within target.
    Ok = "ok",
    /// Beyond target.
    Warning = "warning",
    /// Far beyond target.
    Danger = "danger",
    /// Old data.
    Stale = "stale",
    /// The selected row.
    Selection = "selection",
    /// A key to press.
    Key = "key",
    /// Bars and lines.
    Chart = "chart",
    /// The heights that bars are compared with.
    ChartCompare = "chart_compare",
    /// The incomplete bar.
    ChartPartial = "chart_partial",
    /// OLTP work.
    ClassOltp = "class_oltp",
    /// OLAP work.
    ClassOlap = "class_olap",
    /// Refreshes of materialized views.
    ClassRefresh = "class_refresh",
    /// Vacuum and other maintenance.
    ClassMaintenance = "class_maintenance",
    /// Popups.
    Popup = "popup",
    /// Text that a filter matched.
    Match = "match",
}

impl Role {
    /// The role of a workload class, by its name in the queries.
    pub fn of_class(class: &str) -> Option<Self> {
        match class {
            "oltp" => Some(Self::ClassOltp),
            "olap" => Some(Self::ClassOlap),
            "refresh" => Some(Self::ClassRefresh),
            "maintenance" => Some(Self::ClassMaintenance),
            _ => None,
        }
    }
}

/// The default theme.
const DEFAULT: &str = "dark";

/// Name and text of each built-in theme.
fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    let files = embedded::THEMES.iter();
    files.map(|(file, text)| (file.strip_suffix(".toml").unwrap_or(file), *text))
}

/// A theme: a style for every role.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    /// Name of the theme: that of the file, without its extension.
    pub name: String,
    /// Background of the screen; `Color::Reset` keeps the terminal's own.
    pub background: Color,
    styles: Vec<Style>,
}

/// The reason why a theme was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("theme {theme}: {reason}")]
pub struct ThemeError {
    /// The theme's name.
    pub theme: String,
    /// Description of the error, with the closest known word.
    pub reason: String,
}

impl Default for Theme {
    fn default() -> Self {
        // A test parses every built-in theme, so the second branch is never taken.
        Self::built_in(DEFAULT).unwrap_or_else(|_| Self {
            name: DEFAULT.to_owned(),
            background: Color::Reset,
            styles: Vec::new(),
        })
    }
}

impl Theme {
    /// The names of the built-in themes, the default one first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let others = built_in().map(|(name, _)| name);
        std::iter::once(DEFAULT).chain(others.filter(|name| *name != DEFAULT))
    }

    /// Returns a built-in theme.
    pub fn built_in(name: &str) -> Result<Self, ThemeError> {
        match built_in().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(name, text),
            None => Err(ThemeError {
                theme: name.to_owned(),
                reason: format!("unknown theme{}", hint(name, Self::names())),
            }),
        }
    }

    /// Reads a theme file: `background = "#rrggbb"` (or `"terminal"`) and one table per role.
    pub fn parse(name: &str, text: &str) -> Result<Self, ThemeError> {
        Self::read(name, text).map_err(|reason| ThemeError {
            theme: name.to_owned(),
            reason,
        })
    }

    fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut file: Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        let background = match file.remove("background") {
            Some(Value::String(word)) if word == "terminal" => Color::Reset,
            Some(value) => read_colour(&value).map_err(|reason| format!("background: {reason}"))?,
            None => return Err("background is missing: \"#rrggbb\" or \"terminal\"".to_owned()),
        };
        let mut styles = Vec::with_capacity(Role::ALL.len());
        for role in Role::ALL {
            let name = role.name();
            let value = file
                .remove(name)
                .ok_or_else(|| format!("role {name} is missing"))?;
            styles.push(read_style(value).map_err(|reason| format!("{name}: {reason}"))?);
        }
        if let Some(unknown) = file.keys().next() {
            let nearest = hint(unknown, Role::ALL.iter().map(|role| role.name()));
            return Err(format!("unknown role {unknown}{nearest}"));
        }
        Ok(Self {
            name: name.to_owned(),
            background,
            styles,
        })
    }

    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(role as usize).copied().unwrap_or_default()
    }

    /// The style that fills the whole screen before anything is drawn.
    pub fn base(&self) -> Style {
        Style::new()
            .bg(self.background)
            .patch(self.style(Role::Text))
    }

    /// Returns the theme reduced to the colours that a terminal can show. Without colours the modifiers of
    /// the monochrome theme are used, so that every distinction stays visible.
    #[must_use]
    pub fn adapt(&self, depth: Depth) -> Self {
        match depth {
            Depth::True => self.clone(),
            Depth::Mono => Self::built_in("monochrome").unwrap_or_else(|_| self.clone()),
            Depth::Ansi256 | Depth::Ansi16 => {
                let background = depth.nearest(self.background);
                let styles = Role::ALL.iter().zip(&self.styles);
                Self {
                    name: self.name.clone(),
                    background,
                    styles: styles
                        .map(|(role, style)| reduce(*role, *style, background, depth))
                        .collect(),
                }
            }
        }
    }
}

/// Reduces a style to `depth`. If its background vanishes, a popup still has its border; a selection has
/// nothing else and is reversed instead.
fn reduce(role: Role, style: Style, background: Color, depth: Depth) -> Style {
    let fg = style.fg.map(|colour| depth.nearest(colour));
    let bg = style.bg.map(|colour| depth.nearest(colour));
    let mut out = Style { fg, bg, ..style };
    if bg.is_some() && (bg == Some(background) || bg == fg) {
        out.bg = None;
        if matches!(role, Role::Selection | Role::Match) {
            out.fg = None;
            return out.add_modifier(Modifier::REVERSED);
        }
    }
    if out.bg.is_none() && fg == Some(background) {
        out.fg = None;
    }
    out
}

fn read_style(value: Value) -> Result<Style, String> {
    const KEYS: [&str; 3] = ["fg", "bg", "modifiers"];
    let Value::Table(table) = value else {
        return Err("must be a table such as { fg = \"#rrggbb\", modifiers = [\"bold\"] }".into());
    };
    let mut style = Style::new();
    for (key, value) in table {
        match key.as_str() {
            "fg" => style = style.fg(read_colour(&value)?),
            "bg" => style = style.bg(read_colour(&value)?),
            "modifiers" => style = style.add_modifier(read_modifiers(&value)?),
            other => return Err(format!("unknown key {other}{}", hint(other, KEYS))),
        }
    }
    Ok(style)
}

fn read_modifiers(value: &Value) -> Result<Modifier, String> {
    const NAMES: [(&str, Modifier); 5] = [
        ("bold", Modifier::BOLD),
        ("dim", Modifier::DIM),
        ("italic", Modifier::ITALIC),
        ("underlined", Modifier::UNDERLINED),
        ("reversed", Modifier::REVERSED),
    ];
    let words = value
        .as_array()
        .ok_or("modifiers must be a list such as [\"bold\"]")?;
    let mut out = Modifier::empty();
    for word in words {
        let word = word.as_str().unwrap_or_default();
        let Some((_, modifier)) = NAMES.iter().find(|(name, _)| *name == word) else {
            let nearest = hint(word, NAMES.map(|(name, _)| name));
            return Err(format!("unknown modifier {word:?}{nearest}"));
        };
        out |= *modifier;
    }
    Ok(out)
}

/// Reads `#rrggbb`, the name of a colour, or a number from 0 to 255.
pub fn colour(word: &str) -> Result<Colour, String> {
    colour::parse(word)
        .ok_or_else(|| format!("unknown colour {word:?}{}", hint(word, colour::names())))
}

fn read_colour(value: &Value) -> Result<Color, String> {
    match value {
        Value::Integer(index) => u8::try_from(*index)
            .map(Color::Indexed)
            .map_err(|_| format!("colour {index} is not between 0 and 255")),
        Value::String(word) => colour(word),
        other => Err(format!(
            "{other} is not a colour: use \"#rrggbb\", a name or 0 to 255"
        )),
    }
}

/// Returns `; the nearest is …` with the known word that needs the fewest edits.
fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .min()
        .map_or_else(String::new, |(_, nearest)| {
            format!("; the nearest is {nearest}")
        })
}
