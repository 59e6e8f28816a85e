//! Nodes: the statements sent to them, the meaning of their answers, and the server on which the business panels are read
//! meanwhile.

use super::hosting::Whose;
use super::{Link, Model};
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::nodes::{self, Barred, Kind, OlapServer, Sources};
use crate::dashboard::panels::spec::Pool;
use crate::dashboard::rows::{Panel, Rows, nodes as rows, read};
use crate::format;
use crate::pg::Table;
use crate::text::Clean;
use std::time::Duration;

/// Placeholder in a statement for the number of the last heartbeat on the standby.
const LAST: &str = "0 /* last */";
/// Time between two looks for routers while no node is known, and at an OLAP server that is the watched one.
const SELDOM: Duration = Duration::from_secs(10);
/// Seconds between the answers of two servers whose positions are compared.
const PAIRED_S: f64 = 0.5;
/// Milliseconds that business figures may be old without a note.
const OLD_MS: f64 = 5_000.0;

impl Model {
    /// Returns true if there is a node beside this server.
    pub fn has_nodes(&self) -> bool {
        let olap = self.start.olap_server.is_some() && self.memory.nodes.kind != Some(Kind::Same);
        let replication = Rows::<read::Replication>::of(self.rows(Panel::Replication));
        let mut entries = replication.iter();
        olap || entries.any(nodes::is_of_node) || !self.rows(Panel::Routing).rows.is_empty()
    }

    /// Returns true if there is nothing to ask for this feed.
    pub fn is_idle(&self, feed: &Feed) -> bool {
        match feed.panel {
            Some(Panel::Nodes) => !self.has_nodes(),
            Some(Panel::NodeBeat) => !self.memory.nodes.follows(),
            Some(Panel::NodeHost | Panel::NodeHostProcesses | Panel::NodeHostServer) => {
                (self.memory.nodes.kind).is_none_or(|kind| kind == Kind::Same)
            }
            // Sent once the standby has reported its last heartbeat.
            Some(Panel::Heartbeat) => true,
            _ => self.lacks_column_store(feed),
        }
    }

    /// Returns the feed whose panel shows this one's rows on the screen.
    pub(super) fn shown_as(&self, id: FeedId, feed: &Feed) -> FeedId {
        match feed.panel {
            Some(Panel::NodeHost | Panel::NodeHostProcesses | Panel::NodeHostServer) => {
                self.id_of(Panel::Nodes).unwrap_or(id)
            }
            _ => id,
        }
    }

    /// Returns the time between two samples of something that may not exist, if it differs from that of other feeds of the pool.
    pub(super) fn pace_of_node(&self, feed: &Feed) -> Option<Duration> {
        match feed.panel? {
            Panel::Routing if !self.has_nodes() => Some(SELDOM.max(self.interval)),
            Panel::Columnar | Panel::Stream if feed.table.rows.is_empty() => {
                Some(SELDOM.max(self.interval))
            }
            Panel::Replication if self.has_nodes() => Some(self.interval),
            Panel::NodeReplica if self.memory.nodes.kind == Some(Kind::Same) => {
                Some(SELDOM.max(self.interval))
            }
            _ => None,
        }
    }

    /// Samples a feed sooner if it has found something for which it is sampled more often.
    pub(super) fn hasten(&mut self, id: FeedId) {
        let pace = self.feed(id).map(|feed| self.pace(feed));
        let pace_ms = pace.map_or(0, |pace| pace.as_millis() as u64);
        let due_ms = self.now.mono_ms.saturating_add(pace_ms);
        if let Some(feed) = self.feed_mut(id) {
            feed.sampling.due_ms = feed.sampling.due_ms.min(due_ms);
        }
    }

    /// Takes in an answer about nodes.
    pub(super) fn took_nodes(&mut self, id: FeedId, panel: Panel, table: Table) -> Vec<Effect> {
        match panel {
            Panel::Nodes => {
                if let Some(feed) = self.feed_mut(id) {
                    feed.raw = table;
                }
            }
            Panel::NodeBeat => {
                let last = Rows::<rows::Beat>::of(&table).first().seq();
                self.put(id, table);
                return last.map_or_else(Vec::new, |last| self.ask_heartbeat(last));
            }
            Panel::Heartbeat => {
                let lack = Rows::<rows::Lack>::of(&table).first();
                self.memory.nodes.lag.note_beat(lack);
                self.put(id, table);
            }
            Panel::Routing => {
                self.memory.nodes.routers.note(Rows::of(&table));
                self.put(id, table);
                // Shown with the next answer about nodes.
                return Vec::new();
            }
            _ => self.put(id, table),
        }
        let barred = self.olap_barred();
        self.derive_nodes();
        // The other answers follow at once; the replica's are judged with them, unless they change where reads go.
        if panel != Panel::NodeReplica || self.olap_barred() != barred {
            self.judge();
        }
        Vec::new()
    }

    /// Asks this server for the first heartbeat after `last`.
    fn ask_heartbeat(&mut self, last: i64) -> Vec<Effect> {
        let Some(id) = self.id_of(Panel::Heartbeat) else {
            return Vec::new();
        };
        let paused = self.paused;
        let Some(feed) = self.feed_mut(id) else {
            return Vec::new();
        };
        if !feed.sampling.missing.is_empty() || feed.sampling.denied || paused {
            return Vec::new();
        }
        let sql = feed.spec.sql.replace(LAST, &last.to_string());
        feed.ask_with(&sql);
        self.ask(&[id])
    }

    /// Derives the rows of nodes from the last answers.
    pub(super) fn derive_nodes(&mut self) {
        // An OLAP server that was the watched one may have become another.
        let wanted = self.has_nodes() || self.start.olap_server.is_some();
        let Some(id) = self.id_of(Panel::Nodes).filter(|_| wanted) else {
            return;
        };
        let raw = self.feed(id).map(|feed| feed.raw.clone());
        let before = self.olap_stands_in();
        let mut memory = std::mem::take(&mut self.memory.nodes);
        let lost = self.why_olap_is_lost();
        let hidden = [Whose::Watched, Whose::Olap].map(|whose| self.why_host_is_hidden(whose));
        let place = place_of(self.start.target.as_str()).to_owned();
        let sources = Sources {
            place: &place,
            system: self.fact().system_identifier().raw(),
            replication: Rows::of(self.rows(Panel::Replication)),
            olap: self.start.olap_server.as_ref().map(|place| OlapServer {
                place: place.as_str(),
                told: Rows::of(self.rows(Panel::NodeReplica)),
                lost: lost.as_ref(),
                paired: self.are_paired(),
                uses: self.uses_of(Whose::Olap, hidden[1].as_ref()),
            }),
            uses: self.uses_of(Whose::Watched, hidden[0].as_ref()),
            holders: Rows::of(self.rows(Panel::Snapshots)),
            now_s: self.now.mono_ms as f64 / 1000.0,
        };
        let table = nodes::derive(&raw.unwrap_or_default(), &sources, &mut memory);
        self.memory.nodes = memory;
        self.put(id, table);
        self.divert(before);
    }

    /// Returns why the OLAP pool's own server cannot be reached; `None` while it can, or before the first attempt.
    fn why_olap_is_lost(&self) -> Option<Clean> {
        let feed = self.feed_of(Panel::NodeReplica)?;
        match &self.replica {
            Link::Lost { error, .. } => Some(Clean::from(error.to_string())),
            Link::Live(_) if feed.sampling.outlived => {
                Some(Clean::from("connected again, no answer yet"))
            }
            Link::Idle | Link::Live(_) => None,
        }
    }

    /// Returns true if both servers have answered at about the same time.
    fn are_paired(&self) -> bool {
        let at = |panel: Panel| self.feed_of(panel)?.sampling.at;
        let both = at(Panel::Nodes).zip(at(Panel::NodeReplica));
        both.is_some_and(|(here, there)| here.since(there).max(there.since(here)) <= PAIRED_S)
    }

    /// Returns the reason why the OLAP pool's own server must not be read.
    pub(in crate::dashboard) fn olap_barred(&self) -> Option<Barred> {
        self.memory.nodes.barred
    }

    /// Returns the reason why the business panels are read from the watched server in place of the OLAP pool's own.
    pub(in crate::dashboard) fn olap_stands_in(&self) -> Option<Barred> {
        // A server that is no copy has figures of its own.
        let memory = &self.memory.nodes;
        let may = self.config.olap.fall_back && memory.kind != Some(Kind::Foreign);
        memory.barred.filter(|_| may)
    }

    /// Reads the business panels elsewhere, if that has just changed.
    fn divert(&mut self, before: Option<Barred>) {
        let now = self.olap_stands_in();
        if before == now {
            return;
        }
        if before.is_none() != now.is_none() {
            let feeds = self.feeds.iter_mut();
            for feed in feeds.filter(|feed| feed.spec.front.pool == Pool::Olap) {
                if feed.sampling.due_ms != u64::MAX {
                    feed.sampling.due_ms = 0;
                }
                feed.sampling.failures = 0;
            }
        }
        match now {
            Some(why) => {
                let (why, here) = (why.word(), self.here());
                let what = format!("OLAP server: {why}; business panels are read on {here}");
                self.say(Grade::Doubtful, &what);
            }
            None => self.say(
                Grade::Good,
                "business panels are read from the OLAP server again",
            ),
        }
    }

    /// Name of the watched server in a sentence.
    fn here(&self) -> &'static str {
        if self.fact().in_recovery() == Some(true) {
            "this server"
        } else {
            "the primary"
        }
    }

    /// Returns the link over which this feed is sampled next.
    pub(super) fn link_to_ask(&self, feed: &Feed) -> &Link {
        if feed.spec.front.pool == Pool::Olap && self.olap_stands_in().is_some() {
            &self.stand_in
        } else {
            self.link(feed)
        }
    }

    /// Returns true if a business panel shows what a standby had when its replay was paused.
    pub(super) fn is_of_the_past(&self, feed: &Feed) -> bool {
        let paused = self.memory.nodes.barred == Some(Barred::Paused);
        paused && feed.spec.front.pool == Pool::Olap && !feed.sampling.from_here
    }

    /// Age in seconds of a business panel's figures while the standby's replay is paused.
    pub(in crate::dashboard) fn olap_age_s(&self, feed: &Feed) -> Option<f64> {
        let lag_ms = self
            .memory
            .nodes
            .lag
            .ms
            .filter(|_| self.is_of_the_past(feed))?;
        Some(lag_ms / 1000.0)
    }

    /// Returns what a reader of a business panel must know about where its figures come from.
    pub fn olap_note(&self, feed: &Feed) -> Option<String> {
        if feed.spec.front.pool != Pool::Olap || self.start.olap_server.is_none() {
            return None;
        }
        let memory = &self.memory.nodes;
        if feed.sampling.at.is_some() && feed.sampling.from_here {
            return Some(format!("on {}", self.here().trim_start_matches("the ")));
        }
        let lag_ms = memory.lag.ms.filter(|_| memory.follows());
        let age = lag_ms.map_or_else(String::new, |ms| format::seconds(ms / 1000.0));
        match memory.barred {
            Some(Barred::Paused) => {
                Some(format!("{age} old: replay paused").trim_start().to_owned())
            }
            Some(Barred::Promoted) => Some("from a promoted standby".to_owned()),
            _ if lag_ms >= Some(OLD_MS) => Some(format!("{age} behind")),
            _ => None,
        }
    }
}

/// The server in `shop @ primary:5432`.
fn place_of(target: &str) -> &str {
    target.rsplit_once("@ ").map_or(target, |(_, place)| place)
}
