//! The monthly partitions of the shop: lists them, creates those of future months, and attaches archived ones again.

use crate::pg::{Client, Param, PgError, Settings, Target, owners};
use chrono::{Datelike, Months, NaiveDate};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const LISTING: &str = include_str!("../../queries/system/partitions.sql");

/// Number of months after the current one whose partitions should exist.
pub const AHEAD: u32 = 3;

/// Number of attempts to get a lock that other sessions hold, and the pause between them.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of the transactions that change partitions. They read a month only after it is locked, so the isolation
/// level is fixed, independent of the role's default.
const SETTINGS: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '2s'; \
                        SET LOCAL statement_timeout = 0; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'";

/// Reason why an operation on partitions failed. Its text can follow `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The server was not reached, or refused the connection.
    #[error("failed to connect to {target}: {source}")]
    Connect {
        /// The server.
        target: String,
        /// Reason of the failure.
        source: PgError,
    },
    /// The current state does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The server rejected the operation.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: String,
        /// The server's error.
        source: PgError,
    },
    /// A file could not be read or written.
    #[error("failed to {what}: {source}")]
    File {
        /// The operation, as a verb phrase that includes the file's name.
        what: String,
        /// Reason of the failure.
        source: std::io::Error,
    },
}

impl PartitionError {
    pub(super) fn server(what: impl Into<String>) -> impl FnOnce(PgError) -> Self {
        let what = what.into();
        move |source| match source.code() {
            "42P01" | "3F000" | "42883" => Self::Refused(format!(
                "failed to {what}: there is no shop in this database, or an older one: htap-top init installs it"
            )),
            // Messages of queries/system/04_partitions.sql.
            "55000" => Self::Refused(format!("failed to {what}: {}", source.message)),
            _ => Self::Server { what, source },
        }
    }
}

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

impl Month {
    /// Returns the next month.
    #[must_use]
    pub fn following(self) -> Self {
        Self(self.0.checked_add_months(Months::new(1)).unwrap_or(self.0))
    }

    /// Returns the suffix of its tables' names: `_2026_05`.
    pub fn suffix(self) -> String {
        self.0.format("_%Y_%m").to_string()
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d");
        match date {
            Ok(date) if (1..=9999).contains(&date.year()) && text.len() == 7 => Ok(Self(date)),
            _ => Err("expected a month such as 2026-05".to_owned()),
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m"))
    }
}

impl Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// State of a month: attached to the shop's tables or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All its tables are attached.
    Attached,
    /// None of its tables is attached.
    Detached,
    /// Some of its tables are attached: somebody detached or dropped one by hand.
    Partly,
}

/// The partitions of a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The month.
    pub month: Month,
    /// Attached or not.
    pub state: State,
    /// Orders, as estimated by the planner.
    pub orders: i64,
    /// Rows of all its tables, as estimated by the planner.
    pub rows: i64,
    /// Size with indexes, in bytes.
    pub size_bytes: i64,
}

/// All partitions of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The months, oldest first.
    pub months: Vec<Listed>,
    /// Number of orders in the default partition, counted exactly.
    pub strays: i64,
    /// Months without partitions, from the current one to [`AHEAD`] months later.
    pub missing: Vec<Month>,
}

impl Listing {
    /// Lists problems that need attention, each with its remedy.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.strays > 0 {
            warnings.push(format!(
                "{} orders fit no month and are in the default partition: htap-top partitions make moves them",
                self.strays
            ));
        }
        if !self.missing.is_empty() {
            let missing: Vec<String> = self.missing.iter().map(Month::to_string).collect();
            warnings.push(format!(
                "no partitions for {}: htap-top partitions make creates them",
                missing.join(", ")
            ));
        }
        for listed in self.months.iter().filter(|m| m.state == State::Partly) {
            warnings.push(format!(
                "some tables of {} are not attached: somebody detached or dropped them by hand",
                listed.month
            ));
        }
        warnings
    }
}

/// Opens a session for work on partitions.
pub async fn connect(target: &Target) -> Result<Client, PartitionError> {
    let connected = Client::open(target, &Settings::of_work(Duration::ZERO)).await;
    let own = async {
        let client = connected?;
        client.need_own_session("work on partitions")?;
        Ok(client)
    };
    let client = own.await.map_err(|source| PartitionError::Connect {
        target: target.to_string(),
        source,
    })?;
    let needed = owners::need_of_shop(&client, "shop.orders").await;
    needed.map_err(PartitionError::server("use the shop"))?;
    Ok(client)
}

/// Lists the partitions.
pub async fn list(client: &Client) -> Result<Listing, PartitionError> {
    let reading = || PartitionError::server("list the partitions");
    let table = client.query(LISTING, &[]).await.map_err(reading())?;
    let mut months = Vec::new();
    for row in 0..table.rows.len() {
        let int = |column| table.get(row, column).int().unwrap_or_default();
        let Some(Ok(month)) = table.get(row, "month").text().map(Month::from_str) else {
            continue;
        };
        months.push(Listed {
            month,
            state: match int("attached") {
                0 => State::Detached,
                attached if attached == int("tables") && attached == 4 => State::Attached,
                _ => State::Partly,
            },
            orders: int("orders"),
            rows: int("rows"),
            size_bytes: int("size_bytes"),
        });
    }
    let strays = client.query("SELECT htap.strays() AS strays", &[]);
    let strays = strays.await.map_err(reading())?.first("strays").int();
    let mut wanted = today(client).await.map_err(reading())?;
    let mut missing = Vec::new();
    for _ in 0..=AHEAD {
        if months.iter().all(|listed| listed.month != wanted) {
            missing.push(wanted);
        }
        wanted = wanted.following();
    }
    Ok(Listing {
        months,
        strays: strays.unwrap_or_default(),
        missing,
    })
}

/// Returns the current month in UTC, by the server's clock.
pub(super) async fn today(client: &Client) -> Result<Month, PgError> {
    let now = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM') AS month";
    let now = client.query(now, &[]).await?;
    let month = now.first("month").text().unwrap_or_default();
    Month::from_str(month).map_err(|why| PgError::new(crate::pg::Class::Statement, why))
}

/// Creates the partitions of the months ahead, and those for orders in the default partition. Returns the number of
/// partitions created.
pub async fn make(
    client: &Client,
    ahead: u32,
    waiting: impl FnMut(),
) -> Result<i64, PartitionError> {
    let sql = "SELECT (htap.make_months(now(), $1::integer) + htap.house_strays())::bigint AS n";
    let params = [Param::Int(i64::from(ahead))];
    change(client, sql, &params, "make partitions", waiting).await
}

/// Attaches a month to the shop, adds it to the summaries, and returns the number of its orders.
pub async fn attach(
    client: &Client,
    month: Month,
    waiting: impl FnMut(),
) -> Result<i64, PartitionError> {
    let what = format!("attach the month {month}");
    let sql = "SELECT htap.attach_month(($1 || '-01 00:00+00')::timestamptz) AS n";
    let text = month.to_string();
    change(client, sql, &[Param::Text(&text)], &what, waiting).await
}

/// Detaches a month from the shop, takes it out of the summaries, and returns the number of its orders.
pub(super) async fn detach(
    client: &Client,
    month: Month,
    waiting: impl FnMut(),
) -> Result<i64, PartitionError> {
    let what = format!("detach the month {month}");
    let sql = "SELECT htap.detach_month(($1 || '-01 00:00+00')::timestamptz) AS n";
    let text = month.to_string();
    change(client, sql, &[Param::Text(&text)], &what, waiting).await
}

/// Runs a statement that needs strong locks briefly, in a transaction of its own, and returns the number it selects.
async fn change(
    client: &Client,
    sql: &str,
    params: &[Param<'_>],
    what: &str,
    waiting: impl FnMut(),
) -> Result<i64, PartitionError> {
    let answer = patiently(client, what, waiting, || client.query(sql, params)).await?;
    let committed = client.commit().await;
    committed.map_err(PartitionError::server(what))?;
    Ok(answer.first("n").int().unwrap_or_default())
}

/// Opens a transaction with an operation that needs strong locks, and leaves it open if the operation succeeds. It
/// gives way to sessions that hold or want these locks: it waits two seconds at most, and retries a few times. Calls
/// `waiting` before each pause.
pub(super) async fn patiently<T>(
    client: &Client,
    what: &str,
    mut waiting: impl FnMut(),
    mut attempt: impl AsyncFnMut() -> Result<T, PgError>,
) -> Result<T, PartitionError> {
    for left in (0..ATTEMPTS).rev() {
        let begun = client.begin(SETTINGS).await;
        let done = match begun {
            Ok(()) => attempt().await,
            Err(error) => Err(error),
        };
        let error = match done {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let _ = client.rollback().await;
        if !matches!(error.code(), "55P03" | "40P01") {
            return Err(PartitionError::server(what)(error));
        }
        if left > 0 {
            waiting();
            tokio::time::sleep(PAUSE).await;
        }
    }
    Err(PartitionError::Refused(format!(
        "failed to {what}: other sessions held locks on the shop's tables in all {ATTEMPTS} attempts. See which \
         ones (htap-top, panel 8), or try again at a quieter time"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_and_written_alike() {
        for text in ["2026-05", "0001-01", "9999-12"] {
            assert_eq!(Month::from_str(text).unwrap().to_string(), text);
        }
        for wrong in [
            "2026-13",
            "2026-5",
            "26-05",
            "2026-05-01",
            "2026",
            "",
            "2026-00",
            "12026-05",
        ] {
            assert!(Month::from_str(wrong).is_err(), "{wrong}");
        }
        let month = Month::from_str("2026-12").unwrap();
        assert_eq!(month.following().to_string(), "2027-01");
        assert_eq!(month.suffix(), "_2026_12");
    }

    #[test]
    fn a_listing_says_what_to_see_to() {
        let month = Month::from_str("2026-12").unwrap();
        let mut listing = Listing {
            months: vec![Listed {
                month,
                state: State::Attached,
                orders: 1,
                rows: 4,
                size_bytes: 8192,
            }],
            strays: 0,
            missing: Vec::new(),
        };
        assert_eq!(listing.warnings(), Vec::<String>::new());
        listing.strays = 7;
        listing.missing = vec![month.following()];
        listing.months[0].state = State::Partly;
        let warnings = listing.warnings();
        assert!(warnings[0].starts_with("7 orders fit no month"));
        assert!(warnings[1].starts_with("no partitions for 2027-01"));
        assert!(warnings[2].starts_with("some tables of 2026-12"));
    }
}
