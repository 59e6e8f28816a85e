//! Figures of hosts: how they can be read, and what is read next. There are two hosts: that of the watched server, and that
//! of the OLAP pool's own server if it has one.

use super::Model;
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::host;
use crate::dashboard::panels::nodes::Uses;
use crate::dashboard::rows::{Panel, Rows, host as host_rows};
use crate::host::local::Wanted;
use crate::pg::{Table, quote_ident};
use crate::text::Clean;
use std::sync::Arc;

/// The list of pids in the panel's statement.
const PIDS: &str = "'{}'/*pids*/";
/// The function that reads the files if the server is on another machine.
const FUNCTION: &str = "htap_host.files()";

/// What the panel needs if the function is not there.
const ELSEWHERE: &str = "htap_host.files(), as the server runs on another machine";

/// Reason why the function is not called.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is not installed.
    Absent,
    /// It is installed, but our role may not call it, or it is not trusted; the text says what to do.
    Barred(Clean),
}

/// How the host's figures can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Access {
    /// By this program; `None` until tried.
    here: Option<Result<(), Clean>>,
    /// By the server's function; `None` until known.
    function: Option<Result<(), Refusal>>,
}

/// The server whose host is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Watched,
    Olap,
}

impl Whose {
    /// Returns the server of a feed; `None` if it is not about a host.
    fn of(panel: Option<Panel>) -> Option<Self> {
        match panel? {
            Panel::Host | Panel::HostProcesses | Panel::HostServer => Some(Self::Watched),
            Panel::NodeHost | Panel::NodeHostProcesses | Panel::NodeHostServer => Some(Self::Olap),
            _ => None,
        }
    }

    /// The feed of the files.
    fn files(self) -> Panel {
        match self {
            Self::Watched => Panel::Host,
            Self::Olap => Panel::NodeHost,
        }
    }

    /// The feed of the processes to read.
    fn processes(self) -> Panel {
        match self {
            Self::Watched => Panel::HostProcesses,
            Self::Olap => Panel::NodeHostProcesses,
        }
    }

    /// The feed that says whether the function can be called.
    fn server(self) -> Panel {
        match self {
            Self::Watched => Panel::HostServer,
            Self::Olap => Panel::NodeHostServer,
        }
    }
}

/// A host.
#[derive(Clone, Debug, Default)]
struct Host {
    access: Access,
    /// Counters of the machine and its processes.
    counters: host::Memory,
}

/// The hosts of both servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    watched: Host,
    olap: Host,
}

impl Hosts {
    fn of(&self, whose: Whose) -> &Host {
        match whose {
            Whose::Watched => &self.watched,
            Whose::Olap => &self.olap,
        }
    }

    fn of_mut(&mut self, whose: Whose) -> &mut Host {
        match whose {
            Whose::Watched => &mut self.watched,
            Whose::Olap => &mut self.olap,
        }
    }
}

impl Access {
    /// Returns true if this program is to read the files.
    fn is_here(&self) -> bool {
        !matches!(self.here, Some(Err(_)))
    }
}

impl Model {
    /// Takes in an answer about a host.
    pub(super) fn took_of_host(&mut self, id: FeedId, panel: Panel, table: Table) -> Vec<Effect> {
        let whose = Whose::of(Some(panel)).unwrap_or(Whose::Watched);
        if panel == whose.server() {
            self.told_access(whose, id, table);
            return Vec::new();
        }
        if panel == whose.processes() {
            self.put(id, table);
            return self.ask_host_at_first(whose);
        }
        self.took_host(whose, id, &table)
    }

    /// Takes in whether the server's function can be called.
    fn told_access(&mut self, whose: Whose, id: FeedId, table: Table) {
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
        self.memory.hosts.of_mut(whose).access.function = Some(refusal.map_or(Ok(()), Err));
        self.put(id, table);
        self.tell_access(whose);
    }

    /// Notes in the panel what it needs, or that it can be read.
    fn tell_access(&mut self, whose: Whose) {
        let access = &self.memory.hosts.of(whose).access;
        let (missing, strange) = match (&access.here, &access.function) {
            (Some(Err(_)), Some(Err(Refusal::Barred(why)))) => (vec![FUNCTION], Some(why.clone())),
            (Some(Err(_)), Some(Err(Refusal::Absent))) => (vec![ELSEWHERE], None),
            _ => (Vec::new(), None),
        };
        let missing: Vec<Clean> = missing.into_iter().map(Clean::from).collect();
        let id = self.id_of(whose.files());
        let Some(feed) = id.and_then(|id| self.feed_mut(id)) else {
            return;
        };
        feed.sampling.strange = strange;
        if feed.sampling.missing != missing {
            feed.sampling.missing = missing;
            feed.sampling.due_ms = 0;
        }
    }

    /// Tries all ways again, with a new session.
    pub(super) fn forget_host(&mut self, whose: Whose) {
        *self.memory.hosts.of_mut(whose) = Host::default();
        let panels = [whose.files(), whose.server(), whose.processes()];
        for id in panels.map(|panel| self.id_of(panel)) {
            if let Some(feed) = id.and_then(|id| self.feed_mut(id)) {
                feed.sampling.missing.clear();
                feed.sampling.strange = None;
                feed.sampling.due_ms = 0;
            }
        }
    }

    /// Returns false if the feed is about a host that cannot be read yet, or not at all.
    pub(super) fn is_host_readable(&self, feed: &Feed) -> bool {
        let (Some(whose), Some(panel)) = (Whose::of(feed.panel), feed.panel) else {
            return true;
        };
        let access = &self.memory.hosts.of(whose).access;
        let readable = access.is_here() || access.function == Some(Ok(()));
        if panel == whose.files() {
            let told = |panel: Panel| {
                let feed = self.feed_of(panel);
                feed.is_some_and(|feed| feed.sampling.at.is_some())
            };
            return readable && told(whose.processes()) && told(whose.server());
        }
        self.id_of(Panel::Host).is_some() && (readable || panel == whose.server())
    }

    /// Returns true if this program answers the feed, from files.
    pub(super) fn is_read_here(&self, feed: &Feed) -> bool {
        let whose = Whose::of(feed.panel).filter(|whose| feed.panel == Some(whose.files()));
        whose.is_some_and(|whose| self.memory.hosts.of(whose).access.is_here())
    }

    /// Returns what this program is to read for the feed; `None` if the server answers it.
    pub(super) fn read_here(&self, feed: &Feed) -> Option<Wanted> {
        let whose = Whose::of(feed.panel).filter(|_| self.is_read_here(feed))?;
        let listed = Rows::<host_rows::HostProcess>::of(self.rows(whose.processes()));
        let server = Rows::<host_rows::HostServer>::of(self.rows(whose.server())).first();
        Some(Wanted {
            pids: self.memory.hosts.of(whose).counters.wanted(listed),
            started: (listed.iter())
                .filter_map(|row| Some((row.pid()?, row.started_s()?)))
                .collect(),
            directory: server.data_directory().raw().map(str::to_owned),
        })
    }

    /// Returns the statement of a feed; for a host it names the processes to read next.
    pub(super) fn statement_of(&self, feed: &Feed) -> Arc<str> {
        let whose = Whose::of(feed.panel).filter(|whose| feed.panel == Some(whose.files()));
        let Some(whose) = whose else {
            return Arc::clone(&feed.sql);
        };
        let listed = Rows::<host_rows::HostProcess>::of(self.rows(whose.processes()));
        let counters = &self.memory.hosts.of(whose).counters;
        let pids: Vec<String> = (counters.wanted(listed).iter())
            .map(ToString::to_string)
            .collect();
        feed.sql
            .replace(PIDS, &format!("'{{{}}}'", pids.join(",")))
            .into()
    }

    /// Reads the host as soon as it is known which processes to read.
    fn ask_host_at_first(&mut self, whose: Whose) -> Vec<Effect> {
        let first = |feed: &Feed| feed.sampling.at.is_none() && feed.sampling.in_flight.is_none();
        match self.feed_of(whose.files()) {
            Some(feed) if first(feed) && !self.paused => self.sample_due(),
            _ => Vec::new(),
        }
    }

    /// Takes in the files.
    fn took_host(&mut self, whose: Whose, id: FeedId, files: &Table) -> Vec<Effect> {
        let mut counters = std::mem::take(&mut self.memory.hosts.of_mut(whose).counters);
        let listed = self.rows(whose.processes());
        let derived = host::derive(files, listed, &self.classifier, &mut counters);
        let memory = self.memory.hosts.of_mut(whose);
        memory.counters = counters;
        match derived {
            Ok(table) => {
                if memory.access.is_here() {
                    memory.access.here = Some(Ok(()));
                }
                self.put(id, table);
                match whose {
                    Whose::Watched => self.judge(),
                    Whose::Olap => self.derive_nodes(),
                }
                Vec::new()
            }
            Err(why) => self.not_here(whose, id, &why),
        }
    }

    /// The server's processes are not on this machine: its function is called from now on, if it can be.
    fn not_here(&mut self, whose: Whose, id: FeedId, why: &str) -> Vec<Effect> {
        let here = &mut self.memory.hosts.of_mut(whose).access.here;
        let before = here.replace(Err(Clean::from(why)));
        if before == Some(Ok(())) && whose == Whose::Watched {
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
        self.tell_access(whose);
        if self.paused {
            Vec::new()
        } else {
            self.sample_due()
        }
    }

    /// Returns the use of a server's machine, for the panel Nodes; `hidden` is from [`Self::why_host_is_hidden`].
    pub(super) fn uses_of<'t>(&'t self, whose: Whose, hidden: Option<&'t Clean>) -> Uses<'t> {
        match hidden {
            _ if self.id_of(Panel::Host).is_none() => Uses::Off,
            Some(why) => Uses::Hidden(why),
            None => Uses::Told(Rows::of(self.rows(whose.files()))),
        }
    }

    /// Returns why the host of a server cannot be read, and what to do; `None` if it can be read, or if that is not known yet.
    pub(super) fn why_host_is_hidden(&self, whose: Whose) -> Option<Clean> {
        let sampling = &self.feed_of(whose.files())?.sampling;
        let missing = sampling.missing.first()?;
        Some((sampling.strange.clone()).unwrap_or_else(|| {
            Clean::from(format!("needs {missing}: htap-top init --host-figures"))
        }))
    }

    /// Writes the use of the machine into the rows of backends.
    pub(super) fn add_usage(&self, activity: &mut Table) {
        if self.shows_host() {
            host::add_usage(activity, &self.memory.hosts.watched.counters);
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

    /// Processors of the watched server's machine, if its figures are known.
    pub fn cores(&self) -> Option<f64> {
        let uses = Rows::<host_rows::HostUse>::of(self.rows(Panel::Host));
        let machine = uses.iter().find(|row| row.who().is("machine"))?;
        let cores = machine.cores().filter(|cores| *cores > 0)?;
        Some(cores as f64)
    }
}
