//! Figures of the host: how they can be read, and what is read next.

use super::Model;
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::host;
use crate::dashboard::rows::{Panel, Rows, host as host_rows};
use crate::host::local::Wanted;
use crate::pg::{Table, quote_ident};
use crate::text::Clean;
use std::sync::Arc;

/// The list of pids in the panel's statement.
const PIDS: &str = "'{}'/*pids*/";
/// The function that reads for those on other machines.
const FUNCTION: &str = "htap_host.files()";

/// What the panel needs if the function is not there.
const ELSEWHERE: &str = "htap_host.files(), as the server runs on another machine";

/// Reason why the function is not called.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is not installed.
    Absent,
    /// It is there, but not for our role or not to be trusted; the text says what to do.
    Barred(Clean),
}

/// How the host's figures can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// By this program; `None` until tried.
    here: Option<Result<(), Clean>>,
    /// By the server's function; `None` until known.
    function: Option<Result<(), Refusal>>,
}

impl Access {
    /// Returns true if this program is to read the files.
    fn is_here(&self) -> bool {
        !matches!(self.here, Some(Err(_)))
    }
}

impl Model {
    /// Takes in an answer about the host.
    pub(super) fn took_of_host(&mut self, id: FeedId, panel: Panel, table: Table) -> Vec<Effect> {
        match panel {
            Panel::HostServer => {
                self.told_access(id, table);
                Vec::new()
            }
            Panel::HostProcesses => {
                self.put(id, table);
                self.ask_host_at_first()
            }
            _ => self.took_host(id, &table),
        }
    }

    /// Takes in how the server's function can be called.
    fn told_access(&mut self, id: FeedId, table: Table) {
        let told = Rows::<host_rows::HostServer>::of(&table).first();
        let role = self.fact().current_user().text();
        let role = role.map_or_else(|| "the role".to_owned(), quote_ident);
        let refusal = match (told.installed(), told.owner().text(), told.executable()) {
            (Some(true), None, Some(true)) => None,
            (Some(true), Some(owner), _) => Some(Refusal::Barred(Clean::from(format!(
                "{FUNCTION} or its schema belongs to {owner}, who is no superuser: it is not called, as it may be planted. Drop \
                 it, then run htap-top init --host-figures"
            )))),
            (Some(true), None, _) => Some(Refusal::Barred(Clean::from(format!(
                "our role may not call {FUNCTION}: GRANT htap_monitor TO {role}"
            )))),
            _ => Some(Refusal::Absent),
        };
        self.memory.host_access.function = Some(refusal.map_or(Ok(()), Err));
        self.put(id, table);
        self.tell_access();
    }

    /// Writes into the panel what it needs, or that it can be read.
    fn tell_access(&mut self) {
        let access = &self.memory.host_access;
        let (missing, strange) = match (&access.here, &access.function) {
            (Some(Err(_)), Some(Err(Refusal::Barred(why)))) => (vec![FUNCTION], Some(why.clone())),
            (Some(Err(_)), Some(Err(Refusal::Absent))) => (vec![ELSEWHERE], None),
            _ => (Vec::new(), None),
        };
        let missing: Vec<Clean> = missing.into_iter().map(Clean::from).collect();
        let Some(feed) = self.id_of(Panel::Host).and_then(|id| self.feed_mut(id)) else {
            return;
        };
        feed.sampling.strange = strange;
        if feed.sampling.missing != missing {
            feed.sampling.missing = missing;
            feed.sampling.due_ms = 0;
        }
    }

    /// Tries all ways again, with a new session.
    pub(super) fn forget_host(&mut self) {
        self.memory.host_access = Access::default();
        self.memory.host = host::Memory::default();
        let panels = [Panel::Host, Panel::HostServer, Panel::HostProcesses];
        for id in panels.map(|panel| self.id_of(panel)) {
            if let Some(feed) = id.and_then(|id| self.feed_mut(id)) {
                feed.sampling.missing.clear();
                feed.sampling.due_ms = 0;
            }
        }
    }

    /// Returns true unless the feed is one of the host's, and cannot be read yet or at all.
    pub(super) fn is_host_readable(&self, feed: &Feed) -> bool {
        let access = &self.memory.host_access;
        let readable = access.is_here() || access.function == Some(Ok(()));
        let is_on = || self.id_of(Panel::Host).is_some();
        match feed.panel {
            Some(Panel::Host) => {
                let listed = self.feed_of(Panel::HostProcesses);
                let listed = listed.is_some_and(|feed| feed.sampling.at.is_some());
                let told = self.feed_of(Panel::HostServer);
                listed && readable && told.is_some_and(|feed| feed.sampling.at.is_some())
            }
            Some(Panel::HostProcesses) => readable && is_on(),
            Some(Panel::HostServer) => is_on(),
            _ => true,
        }
    }

    /// Returns true if this program answers the feed, from files.
    pub(super) fn is_read_here(&self, feed: &Feed) -> bool {
        feed.panel == Some(Panel::Host) && self.memory.host_access.is_here()
    }

    /// Returns what this program is to read for the feed; none if the server answers it.
    pub(super) fn read_here(&self, feed: &Feed) -> Option<Wanted> {
        if !self.is_read_here(feed) {
            return None;
        }
        let listed = Rows::<host_rows::HostProcess>::of(self.rows(Panel::HostProcesses));
        let server = Rows::<host_rows::HostServer>::of(self.rows(Panel::HostServer)).first();
        Some(Wanted {
            pids: self.memory.host.wanted(listed),
            started: (listed.iter())
                .filter_map(|row| Some((row.pid()?, row.started_s()?)))
                .collect(),
            directory: server.data_directory().raw().map(str::to_owned),
        })
    }

    /// The statement of a feed; that of the host names the processes to read next.
    pub(super) fn statement_of(&self, feed: &Feed) -> Arc<str> {
        if feed.panel != Some(Panel::Host) {
            return Arc::clone(&feed.sql);
        }
        let listed = Rows::<host_rows::HostProcess>::of(self.rows(Panel::HostProcesses));
        let pids: Vec<String> = (self.memory.host.wanted(listed).iter())
            .map(ToString::to_string)
            .collect();
        feed.sql
            .replace(PIDS, &format!("'{{{}}}'", pids.join(",")))
            .into()
    }

    /// Reads the host as soon as it is known which processes to read.
    fn ask_host_at_first(&mut self) -> Vec<Effect> {
        let first = |feed: &Feed| feed.sampling.at.is_none() && feed.sampling.in_flight.is_none();
        match self.feed_of(Panel::Host) {
            Some(feed) if first(feed) && !self.paused => self.sample_due(),
            _ => Vec::new(),
        }
    }

    /// Takes in the files.
    fn took_host(&mut self, id: FeedId, files: &Table) -> Vec<Effect> {
        let mut memory = std::mem::take(&mut self.memory.host);
        let listed = self.rows(Panel::HostProcesses);
        let derived = host::derive(files, listed, &self.classifier, &mut memory);
        self.memory.host = memory;
        match derived {
            Ok(table) => {
                if self.memory.host_access.is_here() {
                    self.memory.host_access.here = Some(Ok(()));
                }
                self.put(id, table);
                self.judge();
                Vec::new()
            }
            Err(why) => self.not_here(id, &why),
        }
    }

    /// The server's processes are not on this machine: its function is called from now on, if it can be.
    fn not_here(&mut self, id: FeedId, why: &str) -> Vec<Effect> {
        let before = self.memory.host_access.here.replace(Err(Clean::from(why)));
        if before == Some(Ok(())) {
            self.say(
                Grade::Doubtful,
                &format!("the host is no longer read directly: {why}"),
            );
        }
        if let Some(feed) = self.feed_mut(id) {
            feed.sampling.at = None;
            feed.sampling.due_ms = 0;
            feed.accept(Table::default());
        }
        self.tell_access();
        if self.paused {
            Vec::new()
        } else {
            self.sample_due()
        }
    }

    /// Writes the use of the machine into the rows of backends.
    pub(super) fn add_usage(&self, activity: &mut Table) {
        if self.shows_host() {
            host::add_usage(activity, &self.memory.host);
        }
    }

    /// Returns true if figures of the host have been read.
    pub fn shows_host(&self) -> bool {
        self.feed_of(Panel::Host)
            .is_some_and(|feed| feed.sampling.at.is_some())
    }

    /// The note of the panel: figures of the machine.
    pub fn host_note(&self) -> Option<String> {
        let machine = Rows::<host_rows::HostUse>::of(self.rows(Panel::Host)).first();
        Some(host::machine::summary(machine)).filter(|note| !note.is_empty())
    }
}
