//! The slot itself: made, checked and removed.

use super::Lsn;
use crate::pg::{
    Client, Param, PgError, Settings, Table, Target, owners, quote_ident, quote_literal,
};
use crate::stream::StreamError;
use std::time::Duration;

/// Name of the publication, which publishes nothing.
const PUBLICATION: &str = "htap_events";
/// A new slot waits for the transactions that run.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// What was made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Name of the slot.
    pub slot: String,
    /// Name of the publication.
    pub publication: String,
    /// False if there was none any more.
    pub existed: bool,
}

const FACTS: &str = "
    SELECT current_setting('server_version_num')::bigint AS version, current_setting('wal_level') AS wal_level,
           pg_is_in_recovery() AS standby, current_user::text AS me, current_database()::text AS here,
           (SELECT r.rolsuper OR r.rolreplication FROM pg_roles AS r WHERE r.rolname = current_user) AS may,
           current_setting('max_replication_slots')::bigint AS slots,
           (SELECT count(*) FROM pg_replication_slots) AS used,
           has_database_privilege(current_database(), 'CREATE') AS creates,
           to_regclass('htap.stream_slot') IS NOT NULL AS installed,
           coalesce(has_table_privilege(to_regclass('htap.stream_slot'), 'INSERT'), false) AS owns";

const OURS: &str =
    "SELECT s.slot, s.publication, s.ended_at IS NULL AS written, s.ended_at > s.sent_to AS unsent
                    FROM htap.stream_slot AS s";

const FOUND: &str = "
    SELECT r.plugin::text AS plugin, r.slot_type, r.database::text AS dbname, current_database()::text AS here,
           r.wal_status, r.temporary, pg_wal_lsn_diff(r.confirmed_flush_lsn, '0/0')::bigint AS confirmed,
           (SELECT u.rolsuper OR u.rolreplication FROM pg_roles AS u WHERE u.rolname = current_user) AS may,
           current_user::text AS me, pg_is_in_recovery() AS standby
    FROM (SELECT $1 AS name) AS w LEFT JOIN pg_replication_slots AS r ON r.slot_name = w.name";

fn refused(why: impl Into<String>) -> StreamError {
    StreamError::Refused(why.into())
}

fn may_not(me: &str) -> StreamError {
    refused(format!(
        "role {me} may not use replication slots: run ALTER ROLE {} REPLICATION as a superuser. The attribute is not \
         inherited: the role that connects needs it",
        quote_ident(me)
    ))
}

/// Opens a session for the functions below.
pub async fn open(target: &Target) -> Result<Client, StreamError> {
    let client = Client::open(target, &Settings::of_work(LOCK_TIMEOUT)).await?;
    client.need_own_session("the change of a slot")?;
    owners::need_of_shop(&client, "htap.stream_slot").await?;
    Ok(client)
}

/// Makes the slot and its publication, and notes both. Events are not written for it until they are switched to it.
pub async fn create(client: &Client, name: &str) -> Result<Made, StreamError> {
    ready(client, name).await?;
    let made = Made {
        slot: name.to_owned(),
        publication: PUBLICATION.to_owned(),
        existed: true,
    };
    // Before the slot: decoding looks it up as it was when a change was made.
    let sql = "SELECT EXISTS (SELECT FROM pg_publication AS p WHERE p.pubname = $1) AS there";
    let there = client.query(sql, &[Param::Text(PUBLICATION)]).await?;
    if !there.first("there").is_true() {
        let sql = format!("CREATE PUBLICATION {}", quote_ident(PUBLICATION));
        client.batch(&sql).await?;
    }
    let sql =
        "SELECT c.lsn::text AS lsn FROM pg_create_logical_replication_slot($1, 'pgoutput') AS c";
    let created = client.query(sql, &[Param::Text(name)]).await;
    let created = created.map_err(|error| match error.code() {
        "55P03" => refused(format!(
            "slot {name} was not created: transactions that began before have not ended within {} s. End them, or try \
             again later",
            LOCK_TIMEOUT.as_secs()
        )),
        "42710" => refused(format!(
            "there is a replication slot {name} already: choose another name, or drop it if nobody reads it"
        )),
        _ => StreamError::Server(error),
    })?;
    let noted = "INSERT INTO htap.stream_slot (slot, publication, secret, sent_to, ended_at)
                 SELECT $1, $2, sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')),
                        $3::pg_lsn, $3::pg_lsn";
    let lsn = created.first("lsn").text().unwrap_or("0/0");
    let params = [
        Param::Text(name),
        Param::Text(PUBLICATION),
        Param::Text(lsn),
    ];
    if let Err(error) = client.execute(noted, &params).await {
        // A slot that nobody knows would keep WAL for ever.
        let drop = "SELECT pg_drop_replication_slot($1)::text AS dropped";
        client.query(drop, &[Param::Text(name)]).await?;
        return Err(error.into());
    }
    Ok(made)
}

/// Returns an error if a slot cannot be made here, with what to do.
async fn ready(client: &Client, name: &str) -> Result<(), StreamError> {
    let facts = client.query(FACTS, &[]).await?;
    let (flag, count) = (
        |column| facts.first(column).is_true(),
        |column| facts.first(column).int().unwrap_or(0),
    );
    let text = |column| facts.first(column).text().unwrap_or("?");
    if count("version") < 140_000 {
        return Err(refused(
            "logical decoding returns messages from PostgreSQL 14 on: use the outbox here",
        ));
    }
    if flag("standby") {
        return Err(refused(
            "this server is a standby: make the slot on the primary, which the relay reads",
        ));
    }
    if !flag("installed") {
        return Err(refused("htap.stream_slot is missing: run htap-top init"));
    }
    if text("wal_level") != "logical" {
        return Err(refused(format!(
            "wal_level is {}, and logical decoding needs logical: run ALTER SYSTEM SET wal_level = logical and restart the \
             server",
            text("wal_level")
        )));
    }
    if !flag("may") {
        return Err(may_not(text("me")));
    }
    if !flag("owns") || !flag("creates") {
        return Err(refused(format!(
            "role {} may not make a publication, or may not write htap.stream_slot: connect as the role that ran htap-top \
             init, or as a superuser",
            text("me")
        )));
    }
    if let Some(ours) = ours(client).await?.first("slot").text() {
        return Err(refused(format!(
            "there is a slot for events already: {ours}. htap-top stream slot drop removes it",
        )));
    }
    if count("used") >= count("slots") {
        return Err(refused(format!(
            "all {} replication slots are in use, so {name} was not created: drop one that nobody reads, or raise \
             max_replication_slots and restart the server",
            count("slots")
        )));
    }
    Ok(())
}

async fn ours(client: &Client) -> Result<Table, PgError> {
    client.query(OURS, &[]).await
}

/// Removes slot, publication and note. Refuses while events are written for it, or were not sent, unless `discard`.
pub async fn remove(client: &Client, discard: bool) -> Result<Made, StreamError> {
    let told = ours(client).await?;
    let Some(slot) = told.first("slot").text() else {
        return Err(refused("there is no slot for events in this database"));
    };
    let publication = told.first("publication").text().unwrap_or(PUBLICATION);
    if told.first("written").is_true() {
        return Err(refused(format!(
            "events are written for slot {slot}: SELECT htap.switch_outbox(true), or false, ends that"
        )));
    }
    let found = client.query(FOUND, &[Param::Text(slot)]).await?;
    let existed = found.first("dbname").text() == found.first("here").text();
    if existed && told.first("unsent").is_true() && !discard {
        return Err(refused(format!(
            "slot {slot} has events that no relay has sent: let htap-top stream relay run until it has, or pass --discard"
        )));
    }
    if existed && !found.first("may").is_true() {
        return Err(may_not(found.first("me").text().unwrap_or("?")));
    }
    let drop = if existed {
        format!("SELECT pg_drop_replication_slot({});", quote_literal(slot))
    } else {
        String::new()
    };
    // All or nothing as far as it goes: the slot is gone at once, so the rest comes before it.
    let sql = format!(
        "BEGIN; DELETE FROM htap.stream_slot; DROP PUBLICATION IF EXISTS {}; {drop} COMMIT",
        quote_ident(publication)
    );
    if let Err(error) = client.batch(&sql).await {
        if error.session_survives() {
            client.rollback().await?;
        }
        return Err(error.into());
    }
    Ok(Made {
        slot: slot.to_owned(),
        publication: publication.to_owned(),
        existed,
    })
}

/// Returns where the slot is, or an error if it cannot be read from `sent_to` on.
pub(super) async fn check(client: &Client, name: &str, sent_to: Lsn) -> Result<Lsn, StreamError> {
    let found = client.query(FOUND, &[Param::Text(name)]).await?;
    let text = |column| found.first(column).text();
    let again = "To go on without them: SELECT htap.switch_outbox(true), then htap-top stream slot drop --discard";
    let Some(kind) = text("slot_type") else {
        return Err(StreamError::Replaced(format!(
            "replication slot {name} does not exist on this server (it was dropped, or another server was promoted): the \
             events since {sent_to} are lost. {again}"
        )));
    };
    if kind != "logical" || text("plugin") != Some("pgoutput") || text("dbname") != text("here") {
        return Err(refused(format!(
            "replication slot {name} is not the one that htap-top stream slot create made: it is {kind}, of plugin {}, in \
             database {}",
            text("plugin").unwrap_or("none"),
            text("dbname").unwrap_or("none")
        )));
    }
    if !found.first("may").is_true() {
        return Err(may_not(text("me").unwrap_or("?")));
    }
    let confirmed = found.first("confirmed").int();
    let Some(confirmed) = confirmed.filter(|_| text("wal_status") != Some("lost")) else {
        return Err(StreamError::Replaced(format!(
            "replication slot {name} has lost its WAL (max_slot_wal_keep_size, or invalidated): the events since {sent_to} \
             are lost. {again}"
        )));
    };
    let confirmed = Lsn::of(confirmed);
    if confirmed > sent_to {
        return Err(StreamError::Replaced(format!(
            "replication slot {name} is at {confirmed}, but events were sent up to {sent_to} only: it was made anew, or \
             somebody else reads it. The events in between are lost. {again}"
        )));
    }
    Ok(confirmed)
}

/// Says what a failure of a function of slots means.
pub(super) fn explain(error: &PgError, slot: &str) -> StreamError {
    match error.code() {
        "42704" => StreamError::Replaced(format!(
            "replication slot {slot} cannot be read: {error}. To go on without its events: SELECT \
             htap.switch_outbox(true), then htap-top stream slot drop --discard"
        )),
        _ => StreamError::Server(error.clone()),
    }
}
