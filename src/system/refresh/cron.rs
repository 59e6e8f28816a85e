//! Jobs of the extension pg_cron that refresh views in place of this program.

use super::{Kind, Known, Mode};
use crate::pg::{Client, Param, PgError, quote_literal};
use crate::system::definition::VIEWS;
use std::time::Duration;

/// A scheduled job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Name of the job, derived from its view; scheduling a job of the same name replaces it.
    pub name: String,
    /// Schedule in cron's format.
    pub schedule: String,
    /// SQL command.
    pub command: String,
}

/// Returns the jobs for these views. cron works in whole minutes: `every` must be minutes that divide an hour, or hours
/// that divide a day.
pub(crate) fn jobs(views: &[(Known, Mode)], every: Duration) -> Result<Vec<Job>, String> {
    let minutes = every.as_secs() / 60;
    let schedule = match minutes {
        _ if minutes == 0 || !every.as_secs().is_multiple_of(60) => None,
        1 => Some("* * * * *".to_owned()),
        2..=59 if 60 % minutes == 0 => Some(format!("*/{minutes} * * * *")),
        60 => Some("0 * * * *".to_owned()),
        120..=720 if minutes.is_multiple_of(60) && 24 % (minutes / 60) == 0 => {
            Some(format!("0 */{} * * *", minutes / 60))
        }
        1440 => Some("0 0 * * *".to_owned()),
        _ => None,
    };
    let Some(schedule) = schedule else {
        return Err(
            "pg_cron begins jobs at whole minutes: --every must be minutes that divide an hour or hours that \
             divide a day, such as 1min, 5min or 1h. For less, run htap-top refresh --fresh"
                .to_owned(),
        );
    };
    Ok(views
        .iter()
        .map(|(known, mode)| Job {
            name: format!("htap-top refresh {}", known.view),
            schedule: schedule.clone(),
            command: match (known.kind, mode) {
                (Kind::Materialized, mode) if VIEWS.contains(&known.view.to_string().as_str()) => {
                    known.view.call(*mode != Mode::Full)
                }
                (Kind::Materialized, mode) => known.view.statement(*mode != Mode::Full),
                (Kind::Incremental, Mode::Incremental) => format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT htap.merge({}); COMMIT; \
                     SELECT htap.trim_log()",
                    quote_literal(&known.view.to_string())
                ),
                (Kind::Incremental, mode) => format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT htap.rebuild({}, {}); COMMIT",
                    quote_literal(&known.view.to_string()),
                    *mode == Mode::Concurrent
                ),
            },
        })
        .collect())
}

/// Schedules the jobs under the connected role, which they will run as. Needs the extension in this database.
pub(crate) async fn schedule(client: &Client, jobs: &[Job]) -> Result<(), PgError> {
    let sql = "SELECT extname::text FROM pg_catalog.pg_extension WHERE extname = 'pg_cron'";
    if client.query(sql, &[]).await?.rows.is_empty() {
        return Err(PgError::new(
            crate::pg::Class::Statement,
            "this database has no extension pg_cron. Install it (shared_preload_libraries = 'pg_cron', \
             cron.database_name, CREATE EXTENSION pg_cron), or run htap-top refresh --every instead",
        ));
    }
    for job in jobs {
        let params = [
            Param::Text(&job.name),
            Param::Text(&job.schedule),
            Param::Text(&job.command),
        ];
        let scheduled = client.query("SELECT cron.schedule($1, $2, $3)", &params);
        scheduled.await.map_err(|error| match error.code() {
            "42501" => PgError::new(
                error.class,
                "this role may not use pg_cron: GRANT USAGE ON SCHEMA cron TO it",
            ),
            _ => error,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::refresh::View;

    #[test]
    fn cron_knows_whole_minutes_only() {
        let known = Known {
            view: View::new("mart", "a"),
            kind: Kind::Incremental,
            freshness: Duration::from_secs(1),
            filled: true,
        };
        let views = [(known, Mode::Incremental)];
        let schedule = |seconds| {
            jobs(&views, Duration::from_secs(seconds)).map(|jobs| jobs[0].schedule.clone())
        };
        assert_eq!(schedule(60).as_deref(), Ok("* * * * *"));
        assert_eq!(schedule(300).as_deref(), Ok("*/5 * * * *"));
        assert_eq!(schedule(7200).as_deref(), Ok("0 */2 * * *"));
        for wrong in [0, 1, 90, 420, 5400] {
            assert!(
                schedule(wrong).unwrap_err().contains("whole minutes"),
                "{wrong}"
            );
        }
    }
}
