//! The questions at a moment, and the right answers.

use super::super::{BenchError, Lab};
use super::{QUESTIONS, failed};
use crate::pg::{Client, PgError, Settings};
use std::time::Duration;
use tokio::time::Instant;

/// Times a question is asked; the fastest counts, because only disturbances by the machine make one slower.
const TRIES: usize = 5;

const TEXTS: &str = include_str!("../../../queries/columnar/questions.sql");

/// The moments in the texts. `{end}` is filled in first: an hour may end meanwhile.
const MOMENTS: &str = "
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS+00:00') AS time
    FROM (SELECT timestamptz '{end}' - back * interval '1 day' FROM unnest(ARRAY[1, 7, 30, 150]) AS back
          UNION ALL SELECT (w.day - 179)::timestamp AT TIME ZONE 'UTC' FROM mart.rfm_window AS w) AS m (moment)
    ORDER BY moment DESC";

/// Questions about sales until the end of the last whole hour.
pub(super) struct Asked {
    /// A session in UTC that answers them from rows.
    pub(super) client: Client,
    /// End of the last whole hour.
    pub(super) end: String,
    questions: Vec<(&'static str, String)>,
}

impl Asked {
    /// Brings the summaries up to date.
    pub(super) async fn prepare(lab: &Lab) -> Result<Self, BenchError> {
        lab.batch(include_str!("../../../queries/bench/columnar.sql"))
            .await?;
        let end = "SELECT to_char(date_trunc('hour', now(), 'UTC') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS+00:00') AS time";
        let end = lab.query(end).await?;
        let end = end.first("time").text().unwrap_or_default().to_owned();
        lab.settle().await?;
        lab.batch("VACUUM (ANALYZE) mart.fact_sales").await?;
        let moments = lab.query(&MOMENTS.replace("{end}", &end)).await?;
        let text = |row: usize| moments.get(row, "time").text().unwrap_or_default();
        let places = [
            ("{end}", end.as_str()),
            ("{day}", text(0)),
            ("{week}", text(1)),
            ("{month}", text(2)),
            ("{past}", text(3)),
            ("{first}", text(4)),
        ];
        let questions = QUESTIONS.iter().map(|(name, _)| {
            let sql = places
                .iter()
                .fold(question(name).to_owned(), |sql, (place, time)| {
                    sql.replace(place, time)
                });
            (*name, sql)
        });
        let settings = Settings::of_analysis(Duration::ZERO, "64MB")
            .with("timezone", "UTC")
            .with("lock_timeout", "0");
        let client = Client::open(lab.target(), &settings);
        Ok(Self {
            client: client.await.map_err(BenchError::doing("connect"))?,
            questions: questions.collect(),
            end,
        })
    }

    /// Name and text of each question.
    pub(super) fn questions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.questions
            .iter()
            .map(|(name, sql)| (*name, sql.as_str()))
    }

    /// PostgreSQL's answer as CSV.
    pub(super) async fn answer(&self, sql: &str) -> Result<String, BenchError> {
        let mut answer = Vec::new();
        let copy = format!("COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)");
        let copied = self.client.copy_out::<PgError>(&copy, |piece| {
            answer.extend_from_slice(piece);
            Ok(())
        });
        copied
            .await
            .map_err(BenchError::doing("answer from the rows"))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Returns an error if an answer is not that of the rows; `until_now`: of all rows, also of the hour that still runs.
    pub(super) async fn compare(
        &self,
        name: &str,
        answer: &str,
        until_now: bool,
    ) -> Result<(), BenchError> {
        let sql = self.questions().find(|(known, _)| *known == name);
        let mut sql = sql.map_or_else(String::new, |(_, sql)| from(sql, "mart.fact_sales"));
        if until_now {
            sql = sql.replace(&format!(" AND sale_time < '{}'", self.end), "");
        }
        match difference(&self.answer(&sql).await?, answer) {
            None => Ok(()),
            Some(difference) => Err(failed("a question")(format!(
                "{name} has another answer than from the rows: {difference}"
            ))),
        }
    }
}

/// A question from another table than `fact_sales`.
pub(super) fn from(sql: &str, table: &str) -> String {
    sql.replace("fact_sales", table)
}

/// The text of a question.
fn question(name: &str) -> &'static str {
    let parts = TEXTS.split("\n\n").filter_map(|part| {
        let (heading, sql) = part.split_once('\n')?;
        let (found, _) = heading.strip_prefix("-- ")?.split_once(": ")?;
        (found == name).then_some(sql.trim_end())
    });
    parts.last().unwrap_or_default()
}

/// How two answers differ, apart from the order of their rows.
fn difference(right: &str, found: &str) -> Option<String> {
    let (right, found) = (rows(right), rows(found));
    if right.len() != found.len() {
        return Some(format!("{} lines instead of {}", found.len(), right.len()));
    }
    let names = right.first().cloned().unwrap_or_default();
    let mut pairs = right.iter().zip(&found);
    pairs.find_map(|(right, found)| {
        let equal = right.len() == found.len()
            && names
                .iter()
                .zip(right.iter().zip(found))
                .all(|(name, (right, found))| is_same(name, right, found));
        (!equal).then(|| format!("{} instead of {}", found.join(","), right.join(",")))
    })
}

/// The names, then the rows in an order.
fn rows(csv: &str) -> Vec<Vec<String>> {
    let mut lines = csv
        .lines()
        .map(|line| line.split(',').map(shortened).collect());
    let names: Option<Vec<String>> = lines.next();
    let mut rows: Vec<Vec<String>> = lines.collect();
    rows.sort();
    names.into_iter().chain(rows).collect()
}

/// A number without zeros at its end: engines write different numbers of them.
fn shortened(cell: &str) -> String {
    match cell.split_once('.') {
        Some((_, decimals)) if decimals.bytes().all(|byte| byte.is_ascii_digit()) => {
            cell.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => cell.to_owned(),
    }
}

/// Averages have as many digits as an engine gives them.
fn is_same(name: &str, right: &str, found: &str) -> bool {
    let near = || {
        let (right, found): (f64, f64) = (right.parse().ok()?, found.parse().ok()?);
        Some((right - found).abs() <= 1e-6 * right.abs().max(1.0))
    };
    right == found || name.starts_with("avg_") && near() == Some(true)
}

/// Asks several times, and returns the last answer with the shortest time in milliseconds. A slow question is asked less
/// often.
pub(super) async fn fastest<T, F: Future<Output = Result<(f64, T), BenchError>>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<(f64, T), BenchError> {
    let begun = Instant::now();
    let (mut best, mut answer) = ask().await?;
    for _ in 1..TRIES {
        if begun.elapsed() > limit {
            break;
        }
        let (ms, next) = ask().await?;
        best = best.min(ms);
        answer = next;
    }
    Ok((best, answer))
}

/// Runs something, and returns how long it took in milliseconds.
pub(super) async fn timed<T>(
    work: impl Future<Output = Result<T, BenchError>>,
) -> Result<(f64, T), BenchError> {
    let begun = Instant::now();
    let done = work.await?;
    Ok((begun.elapsed().as_secs_f64() * 1_000.0, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_a_text() {
        for (name, _) in QUESTIONS {
            assert!(question(name).contains("fact_sales"), "{name}");
        }
    }

    #[test]
    fn only_averages_may_have_other_digits() {
        let right = "category,amount,avg_amount\nb,1.50,2.333333\na,20,5\n";
        assert_eq!(
            difference(
                right,
                "category,amount,avg_amount\na,20.0,5.0\nb,1.5,2.33333333333\n"
            ),
            None
        );
        for wrong in [
            "category,amount,avg_amount\na,20,5\n",
            "category,amount,avg_amount\na,20,5\nb,1.51,2.333333\n",
            "category,amount,avg_amount\na,20,5.1\nb,1.5,2.333333\n",
            "category,amount,avg_amount\na,20,5\nc,1.5,2.333333\n",
        ] {
            assert!(difference(right, wrong).is_some(), "{wrong}");
        }
    }
}
