//! The pages of `docs/`, for `htap-top help`.

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../docs/", $name, ".md")))),*]
    };
}

/// Name and text of each page.
pub const PAGES: &[(&str, &str)] = pages![
    "install",
    "screen",
    "keys",
    "connection",
    "diagnosis",
    "recording",
    "actions",
    "doctor",
    "scripts",
    "deploy",
    "panels",
    "demo",
    "shop",
    "refresh",
    "workload",
    "experiments",
    "router",
    "architecture",
    "troubleshooting",
];

/// Alternative names of pages.
const ALIASES: [(&str, &str); 9] = [
    ("bindings", "keys"),
    ("privileges", "connection"),
    ("pooler", "connection"),
    ("rules", "diagnosis"),
    ("recordings", "recording"),
    ("guard", "actions"),
    ("prometheus", "scripts"),
    ("configuration", "panels"),
    ("orders", "shop"),
];

/// Returns the text of the page called `topic`, by its name or an alternative one.
pub fn page(topic: &str) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(word, _)| *word == topic);
    let name = alias.map_or(topic, |(_, name)| name);
    let page = PAGES.iter().find(|(page, _)| *page == name);
    page.map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_leads_to_a_page() {
        for (word, name) in ALIASES {
            assert!(page(name).is_some(), "{word}");
            assert!(PAGES.iter().all(|(page, _)| *page != word), "{word}");
        }
        assert_eq!(page("privileges"), page("connection"));
        assert_eq!(page("nothing"), None);
    }
}
