//! One leader of several processes that do the same work, by a session's advisory lock; the others wait to take over.

use crate::pg::{Client, Param, PgError};
use std::time::Duration;
use tokio::time::sleep;

/// Work that one process does at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Name of the lock.
    pub(crate) lock: &'static str,
    /// A table that the leader must have the privilege to use in this way.
    pub(crate) table: &'static str,
    /// That privilege.
    pub(crate) privilege: &'static str,
}

/// Takes the advisory lock. Anybody can take it, so a holder who may not do the work does not count as leader: two leaders
/// at once must only meet at locks or conditions of their own.
const LEAD: &str = "
    SELECT pg_catalog.pg_try_advisory_lock(hashtext($1), 0) OR h.leader IS NULL AND h.taken AS leads, h.leader
    FROM (SELECT count(*) > 0 AS taken,
                 min(l.pid::bigint) FILTER (WHERE pg_catalog.has_table_privilege(a.usesysid, $2, $3)) AS leader
          FROM pg_catalog.pg_locks AS l
          JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
          WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
            AND l.classid = (hashtext($1)::bigint & 4294967295)::oid AND l.objid = 0) AS h";

/// Time between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

impl Work {
    /// Tries to become the leader; otherwise returns the pid of the leader's backend, if known.
    pub(crate) async fn try_lead(
        &self,
        client: &Client,
    ) -> Result<Result<(), Option<i64>>, PgError> {
        let params = [
            Param::Text(self.lock),
            Param::Text(self.table),
            Param::Text(self.privilege),
        ];
        let answer = client.query(LEAD, &params).await?;
        Ok(if answer.first("leads").is_true() {
            Ok(())
        } else {
            Err(answer.first("leader").int())
        })
    }

    /// Waits until this session is the leader. Calls `waiting` once if it has to wait, with the pid of the leader's
    /// backend, if known.
    pub(crate) async fn lead(
        &self,
        client: &Client,
        waiting: impl FnOnce(Option<i64>),
    ) -> Result<(), PgError> {
        let mut waiting = Some(waiting);
        loop {
            let Err(leader) = self.try_lead(client).await? else {
                return Ok(());
            };
            if let Some(waiting) = waiting.take() {
                waiting(leader);
            }
            sleep(AGAIN).await;
        }
    }
}
