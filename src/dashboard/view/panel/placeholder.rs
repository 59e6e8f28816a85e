//! The text in place of figures that cannot be shown.

use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Link, Model};
use crate::dashboard::panels::spec::{Pool, SearchPath};
use crate::pg::{Class, PgError};
use crate::text::Clean;

/// The option that panels of the column store need.
pub const COLUMN_STORE: &str =
    "--columnar CONNINFO, the host, port and password of `htap-top columnar serve`";

/// Returns the text that replaces the figures if they cannot be shown: what is missing and how to get it.
pub fn placeholder(model: &Model, feed: &Feed) -> Option<String> {
    if model.lacks_column_store(feed) {
        return Some(format!("needs {COLUMN_STORE}."));
    }
    if !feed.sampling.missing.is_empty() {
        if let Some(why) = &feed.sampling.strange {
            return Some(why.as_str().to_owned());
        }
        let missing = feed.sampling.missing.iter().map(Clean::as_str);
        let missing = missing.collect::<Vec<_>>().join(", ");
        if let Some(extension) = &feed.spec.front.extension {
            return Some(format!(
                "needs the extension {extension}: CREATE EXTENSION {extension} (htap-top doctor checks its settings)"
            ));
        }
        let remedy = &feed.spec.front.remedy;
        let cure = if remedy.is_empty() {
            String::new()
        } else {
            format!(" `{remedy}` creates it; `htap-top demo` shows it filled.")
        };
        return Some(format!("needs {missing}.{cure}"));
    }
    if feed.sampling.at.is_some() {
        return None;
    }
    if let Some(error) = &feed.sampling.error {
        return Some(refused(feed, error));
    }
    let link = model.link(feed);
    Some(match link {
        Link::Lost { error, .. } => format!("not connected: {error}"),
        _ => "…".into(),
    })
}

fn refused(feed: &Feed, error: &PgError) -> String {
    let unsupported = error.code() == "0A000" && feed.spec.front.pool == Pool::Columnar;
    // Its hint is to ask PostgreSQL.
    let hint = error.hint.as_ref().filter(|_| !unsupported);
    let hint = hint.map(|hint| format!(" {hint}")).unwrap_or_default();
    let cure = match error.code() {
        "42501" if error.hint.is_none() => " Grant the privilege to the connecting role.",
        "57014" => " It exceeded its time limit.",
        _ if unsupported && feed.foreign => {
            " Set pool = \"olap\" in its file to ask PostgreSQL; `htap-top help columnar` lists what the column store answers."
        }
        _ if unsupported => " Leave pool out of its [panels] entry to ask PostgreSQL.",
        // undefined_table, undefined_function, undefined_object
        "42P01" | "42883" | "42704"
            if feed.foreign
                && feed.spec.front.pool == Pool::Olap
                && feed.spec.front.search_path == SearchPath::Catalog =>
        {
            " Qualify names with their schema, or set search_path = \"role\" in the file."
        }
        _ => "",
    };
    let again = if error.class == Class::Statement {
        " Tried again every 30 s."
    } else {
        ""
    };
    format!("cannot be shown: {error}.{hint}{cure}{again}")
}
