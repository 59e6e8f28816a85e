//! The column store: whatever happens, it answers as PostgreSQL does from the rows of the same moment.

mod bucket;
mod damage;
mod oracle;
mod queries;
mod routed;
mod served;
mod sessions;
mod tables;
mod watched;

use super::{ask, number, shop};
use crate::it::server::Database;
use htap_top::columnar::query::{self, query};
use htap_top::columnar::sync::{self, Done, Sync};
use htap_top::columnar::{ColumnarError, Form};
use htap_top::pg::Client;
use queries::QUESTIONS;
use tempfile::TempDir;

/// A shop with summaries, and a folder for its column files.
struct Store {
    database: Database<'static>,
    client: Client,
    folder: TempDir,
}

/// Hours since 1970 of a time of the server.
async fn hour(client: &Client, time: &str) -> i64 {
    number(
        client,
        &format!("SELECT floor(extract(epoch FROM {time}) / 3600)::bigint"),
    )
    .await
}

impl Store {
    async fn new() -> Self {
        let database = shop().await;
        let client = database.connect().await;
        Self {
            database,
            client,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// One round of a sync; hours from `until` on stay open.
    async fn sync(&self, until: Option<i64>) -> Result<Done, ColumnarError> {
        let options = sync::Options {
            folder: Some(self.folder.path().to_owned().into()),
            until,
            ..sync::Options::default()
        };
        let (mut sync, mut notes) = Sync::begin(&self.database.target(), options, |_| ()).await?;
        let mut done = sync.round(|_| ()).await?;
        notes.append(&mut done.notes);
        Ok(Done { notes, ..done })
    }

    fn options(&self, zone: &str) -> query::Options {
        query::Options {
            time_zone: Some(zone.to_owned()),
            form: Form::Csv,
            spill: self.folder.path().to_owned(),
            ..query::Options::default()
        }
    }

    /// The column store's answer as lines of CSV, sorted, behind the names.
    async fn asked(&self, sql: &str, zone: &str) -> Result<Vec<String>, ColumnarError> {
        let mut answer = Vec::new();
        query(
            &self.database.target(),
            sql,
            &self.options(zone),
            &mut answer,
        )
        .await?;
        Ok(lines(&answer))
    }

    /// PostgreSQL's answer in the same form.
    async fn right(&self, sql: &str, zone: &str) -> Vec<String> {
        let session =
            format!("SET search_path = mart; SET timezone = '{zone}'; SET datestyle = 'ISO, MDY'");
        self.client.batch(&session).await.unwrap();
        let mut answer = Vec::new();
        let copy = format!("COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)");
        let copied = self
            .client
            .copy_out::<htap_top::pg::PgError>(&copy, |piece| {
                answer.extend_from_slice(piece);
                Ok(())
            });
        copied
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        self.client
            .batch("RESET search_path; RESET timezone")
            .await
            .unwrap();
        lines(&answer)
    }

    /// Both answers are the same rows.
    async fn agrees(&self, sql: &str, zone: &str) {
        if let Some(difference) = self.difference(sql, zone).await {
            panic!("{difference}");
        }
    }

    /// How the answers differ.
    async fn difference(&self, sql: &str, zone: &str) -> Option<String> {
        let found = match self.asked(sql, zone).await {
            Ok(found) => found,
            Err(error) => return Some(format!("{error}: {sql}")),
        };
        let right = self.right(sql, zone).await;
        if found == right {
            return None;
        }
        let extra = found.iter().filter(|line| !right.contains(line));
        let missing = right.iter().filter(|line| !found.contains(line));
        Some(format!(
            "{sql} in {zone}: {} rows instead of {}; extra {:?}, missing {:?}",
            found.len(),
            right.len(),
            extra.take(5).collect::<Vec<_>>(),
            missing.take(5).collect::<Vec<_>>()
        ))
    }

    /// All rows of all tables are the same.
    async fn holds_all_rows(&self) {
        for table in ["fact_sales", "user_day", "orders"] {
            self.agrees(&format!("SELECT * FROM {table}"), "UTC").await;
        }
    }
}

/// Lines with numbers in one form: PostgreSQL chooses how many zeros end a quotient.
fn lines(csv: &[u8]) -> Vec<String> {
    let text = String::from_utf8(csv.to_vec()).unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.split(',').map(shortened).collect::<Vec<_>>().join(","));
    let names: Option<String> = lines.next();
    let mut rows: Vec<String> = lines.collect();
    rows.sort();
    names.into_iter().chain(rows).collect()
}

fn shortened(cell: &str) -> String {
    match cell.split_once('.') {
        Some((whole, decimals)) if decimals.bytes().all(|byte| byte.is_ascii_digit()) => {
            let decimals = decimals.trim_end_matches('0');
            let point = if decimals.is_empty() { "" } else { "." };
            format!("{whole}{point}{decimals}")
        }
        _ => cell.to_owned(),
    }
}
