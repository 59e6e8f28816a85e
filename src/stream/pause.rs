//! Pauses and resumes relays. A row of `htap.stream_pause` says so, and each relay looks at it several times per second;
//! so it holds for a relay that starts later, too.

use super::slot;
use crate::pg::{Client, Param, PgError, Settings, Target, owners};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What came of pausing or resuming.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The relay that leads reports that it does as it is told.
    Obeyed,
    /// It is written down, and no relay leads: the next one will do as it is told.
    Unled,
    /// It is written down, but the relay still reports this state.
    Pending(String),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// False if it was so before.
    pub changed: bool,
    /// What the relay says.
    pub verdict: Verdict,
}

/// Longest time to wait for the relay, which reports once per second.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether relays are paused, and what is said of the slot.
pub(super) async fn orders(client: &Client) -> Result<(bool, Option<slot::Told>), PgError> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM htap.stream_pause WHERE component = 'relay') AS is_paused, {}
         FROM (VALUES (1)) AS one (row) LEFT JOIN htap.stream_slot AS s ON true",
        slot::Told::COLUMNS
    );
    let answer = client.query(&sql, &[]).await?;
    Ok((answer.first("is_paused").is_true(), slot::Told::of(&answer)))
}

/// Opens a session for [`switch`].
pub async fn open(target: &Target) -> Result<Client, PgError> {
    let client = Client::open(target, &Settings::of_work(LOCK_TIMEOUT)).await?;
    owners::need_of_shop(&client, "htap.stream_slot").await?;
    Ok(client)
}

/// Pauses relays, or lets them go on, and waits until the one that leads says so. `actor`: the person who wants it.
pub async fn switch(client: &Client, paused: bool, actor: &str) -> Result<Switched, PgError> {
    let params = [Param::Int(paused.into()), Param::Text(actor)];
    let sql = "SELECT htap.pause_relay($1 = 1, $2) AS changed";
    let changed = client.query(sql, &params).await?.first("changed").is_true();
    let began = Instant::now();
    loop {
        let verdict = verdict(client, paused).await?;
        if !matches!(verdict, Verdict::Pending(_)) || began.elapsed() >= PATIENCE {
            return Ok(Switched { changed, verdict });
        }
        sleep(LOOK).await;
    }
}

async fn verdict(client: &Client, paused: bool) -> Result<Verdict, PgError> {
    let sql = "SELECT s.state FROM htap.stream_state AS s
               WHERE s.component = 'relay' AND s.state <> 'waiting' AND s.reported_at > clock_timestamp() - interval '5 s'
               ORDER BY s.reported_at DESC LIMIT 1";
    let answer = client.query(sql, &[]).await?;
    let Some(state) = answer.first("state").text() else {
        return Ok(Verdict::Unled);
    };
    Ok(if (state == "paused") == paused {
        Verdict::Obeyed
    } else {
        Verdict::Pending(state.to_owned())
    })
}
