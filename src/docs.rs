//! The pages of `docs/`, for `htap-top help`.

use crate::embedded;

/// The page that lists the others and gives their order.
const CONTENTS: &str = "README";
/// Start of a first line that lists alternative names of the page: `<!-- help: keys -->`.
const TOPICS: &str = "<!-- help: ";

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// File name without ending.
    pub name: &'static str,
    /// Alternative names.
    pub topics: Vec<&'static str>,
    /// Its text, in Markdown.
    pub text: &'static str,
}

/// All pages, in the order of `docs/README.md`.
pub fn pages() -> Vec<Page> {
    let files = embedded::PAGES.iter();
    let files = files.map(|(file, text)| (file.strip_suffix(".md").unwrap_or(file), *text));
    let (contents, files): (Vec<_>, Vec<_>) = files.partition(|(name, _)| *name == CONTENTS);
    let contents = contents.first().map_or("", |(_, text)| text);
    let mut pages: Vec<Page> = files
        .into_iter()
        .map(|(name, text)| page(name, text))
        .collect();
    pages.sort_by_key(|page| {
        let place = contents.find(&format!("]({}.md)", page.name));
        place.unwrap_or(usize::MAX)
    });
    pages
}

fn page(name: &'static str, text: &'static str) -> Page {
    let listed = text
        .strip_prefix(TOPICS)
        .and_then(|rest| rest.split_once(" -->"));
    let (topics, text) = listed.unwrap_or(("", text));
    let topics = topics.split(", ").filter(|topic| !topic.is_empty());
    Page {
        name,
        topics: topics.collect(),
        text: text.trim_start(),
    }
}

/// Returns the page called `topic`, by its name or an alternative one.
pub fn find(topic: &str) -> Option<Page> {
    let mut pages = pages().into_iter();
    pages.find(|page| page.name == topic || page.topics.contains(&topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_topic_leads_to_one_page() {
        let mut seen = HashSet::new();
        for page in pages() {
            assert!(page.text.starts_with("# "), "{} has no title", page.name);
            for topic in page.topics.iter().chain([&page.name]) {
                assert!(seen.insert(*topic), "{topic} leads to two pages");
                assert_eq!(find(topic), Some(page.clone()));
            }
        }
        assert_eq!(find("privileges"), find("connection"));
        assert_eq!(find("nothing"), None);
    }
}
