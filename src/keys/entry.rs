//! `[keys]` of the configuration, as written there.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::fmt;
use toml::{Spanned, Value};

/// A table of bindings in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// `[keys]`: commands.
    Commands,
    /// `[keys.panels]`: panels, opened from every page.
    Panels,
    /// `[keys.list]`: panels, opened from the list of panels.
    List,
}

impl Section {
    /// Its name in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commands => "keys",
            Self::Panels => "keys.panels",
            Self::List => "keys.list",
        }
    }
}

/// A binding as written; its keys are not parsed yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its table.
    pub(super) section: Section,
    /// The command or panel.
    pub(super) name: String,
    /// Its offset in the file, in bytes.
    pub(super) at: usize,
    value: Value,
}

impl Entry {
    /// Returns the names of its keys.
    pub(super) fn keys(&self) -> Result<Vec<&str>, String> {
        let keys: Option<Vec<&str>> = match &self.value {
            Value::String(key) => Some(vec![key]),
            Value::Array(keys) => keys.iter().map(Value::as_str).collect(),
            _ => None,
        };
        keys.ok_or_else(|| {
            "takes a key or a list of keys, such as \"r\" or [\"r\", \"f5\"]; [] unbinds".to_owned()
        })
    }

    /// Reads `[keys]`.
    pub(super) fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        Reader(Section::Commands).deserialize(deserializer)
    }
}

/// Reads a table of bindings.
struct Reader(Section);

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Vec<Entry>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a table of keys, such as refresh = \"f5\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let within = match (self.0, name.as_str()) {
                (Section::Commands, "panels") => Some(Section::Panels),
                (Section::Commands, "list") => Some(Section::List),
                _ => None,
            };
            if let Some(within) = within {
                entries.extend(map.next_value_seed(Self(within))?);
                continue;
            }
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push(Entry {
                section: self.0,
                name,
                at: value.span().start,
                value: value.into_inner(),
            });
        }
        Ok(entries)
    }
}
