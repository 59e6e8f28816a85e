//! Facts about a server, and reasons why it cannot have a replica.

use super::error::ReplicaError;
use crate::pg::{Client, Param, Settings, Table, Target};
use std::time::Duration;

const SERVER: &str = include_str!("../../queries/replica/primary.sql");

/// Time limit of a statement.
const LIMIT: Duration = Duration::from_secs(10);
/// WAL senders that a base backup uses: one for the files, one for the WAL.
const SENDERS: i64 = 2;

/// A server, and what it reports about itself.
pub(super) struct Server {
    /// The session.
    pub(super) client: Client,
    told: Table,
}

impl Server {
    /// Connects, and asks. `slot` is the name of a slot to look for.
    pub(super) async fn ask(target: &Target, slot: &str) -> Result<Self, ReplicaError> {
        let opened = Client::open(target, &Settings::of_application()).await;
        let client = opened.map_err(|source| ReplicaError::Connect {
            target: target.to_string(),
            source,
        })?;
        let slot = [Param::Text(slot)];
        let asked = client.query(SERVER, &slot);
        let asked = tokio::time::timeout(LIMIT, asked).await;
        let told = asked
            .map_err(|_| ReplicaError::Refused("the server does not answer".to_owned()))?
            .map_err(ReplicaError::server("ask the server what it is"))?;
        Ok(Self { client, told })
    }

    /// Returns a number that the server reported; 0 if it did not.
    pub(super) fn number(&self, name: &str) -> i64 {
        self.told.first(name).int().unwrap_or(0)
    }

    /// Returns true if the server reported `name` as true.
    pub(super) fn is(&self, name: &str) -> bool {
        self.told.first(name).is_true()
    }

    /// Returns a text that the server reported; `None` if our role may not see it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.told.first(name).raw()
    }

    /// Returns the major version.
    pub(super) fn major(&self) -> u16 {
        u16::try_from(self.number("version_num") / 10_000).unwrap_or(0)
    }

    /// Returns the reason why this server cannot have a replica with this slot, and the remedy.
    pub(super) fn refusal(&self, slot: &str) -> Option<ReplicaError> {
        let refused = |why: String| Some(ReplicaError::Refused(why));
        if self.is("standby") {
            return refused(
                "the server is a standby itself, and this command does not build a replica of a replica: name the primary"
                    .to_owned(),
            );
        }
        if !self.is("may_replicate") {
            let role = self.text("role").unwrap_or_default();
            let role = crate::pg::quote_ident(role);
            return Some(ReplicaError::Privilege(format!(
                "the role {role} may not replicate: as a superuser, run ALTER ROLE {role} REPLICATION, or name another \
                 role (-U)"
            )));
        }
        if self.text("wal_level") == Some("minimal") {
            return refused(
                "wal_level is minimal, which has too little WAL for a replica: run ALTER SYSTEM SET wal_level = replica, \
                 and restart the server"
                    .to_owned(),
            );
        }
        let limits = [
            ("max_wal_senders", "senders", SENDERS),
            ("max_replication_slots", "slots", 1),
        ];
        for (setting, used, more) in limits {
            let (limit, used) = (self.number(setting), self.number(used));
            if limit < used + more {
                return refused(format!(
                    "{setting} is {limit}, {used} are in use, and a replica needs {more}: run ALTER SYSTEM SET {setting} = \
                     {}, and restart the server",
                    (used + more).max(10)
                ));
            }
        }
        if self.is("has_slot") {
            return refused(format!(
                "the server has a slot {slot} already: name another with --slot, or, if nobody uses it, run SELECT \
                 pg_drop_replication_slot('{slot}')"
            ));
        }
        if let Some(tablespace) = self.text("tablespace") {
            let name = crate::pg::quote_ident(tablespace);
            return refused(format!(
                "the server has the tablespace {name}, which lies outside of its data directory and would collide with its \
                 copy on the same host: move its contents to pg_default and drop it, or run pg_basebackup with \
                 --tablespace-mapping yourself"
            ));
        }
        None
    }
}
