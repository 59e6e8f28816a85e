//! `[[servers]]`: the servers that one dashboard watches.

use serde::Deserialize;

/// Maximum length of a name, in characters.
const NAME: usize = 40;

/// A server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its name, in its tab.
    pub name: String,
    /// Its connection string.
    pub conninfo: String,
    /// Connection string of the OLAP pool, as `--olap`.
    pub olap: Option<String>,
    /// Connection string of the pooler's admin console, as `--pooler`.
    pub pooler: Option<String>,
    /// Connection string of the column store, as `--columnar`.
    pub columnar: Option<String>,
    /// Colour of its name, as in theme files.
    pub colour: Option<String>,
}

/// Returns the error in the list, if any.
pub(super) fn fault(servers: &[Server]) -> Option<String> {
    if servers.is_empty() {
        return Some(
            "servers is an empty list: add a [[servers]] with name and conninfo, or remove it"
                .into(),
        );
    }
    for (position, server) in servers.iter().enumerate() {
        let number = position + 1;
        let name = server.name.as_str();
        let usable = name.trim() == name && !name.chars().any(char::is_control);
        if name.is_empty() || name.chars().count() > NAME || !usable {
            return Some(format!(
                "servers: number {number} needs a name of 1 to {NAME} characters, without blanks at its ends"
            ));
        }
        if server.conninfo.trim().is_empty() {
            return Some(format!(
                "servers: {name} needs a conninfo, such as \"host=10.0.0.7 dbname=shop\""
            ));
        }
        if servers
            .iter()
            .take(position)
            .any(|other| other.name == name)
        {
            return Some(format!(
                "servers: two are called {name:?}: give each a name of its own"
            ));
        }
    }
    None
}
