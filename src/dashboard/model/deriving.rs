//! Processing of answers: figures over time, and the derived columns of panels.

use super::Model;
use crate::dashboard::event::{Effect, FeedId, Moment};
use crate::dashboard::panels::spec::{Chart, Spec};
use crate::dashboard::panels::{
    activity, bloat, locks, point_locks, rates, replication, scans, snapshots, statements, views,
    wal,
};
use crate::dashboard::rows::{Columns, Panel, Row, Rows, added, read};
use crate::dashboard::xid_clock::Clock;
use crate::format::Unit;
use crate::pg::{Table, Value};

/// Average delay in seconds until a working session reports its counters, which it does once per second.
const LATE_S: f64 = 0.5;

impl Model {
    pub(super) fn ingest(&mut self, id: FeedId, panel: Panel, table: Table) -> Vec<Effect> {
        let mut effects = Vec::new();
        match panel {
            Panel::Facts => return self.learned(table),
            Panel::Extensions => return self.told_extensions(table),
            Panel::StatementKinds => return self.told_kinds(&table),
            Panel::Needs => return self.found(&table),
            Panel::Database => effects = self.took_counters(id, table),
            Panel::Sessions => {
                self.history.sessions(&table, &self.classifier);
                self.put(id, table);
            }
            Panel::StatementTotals => self.history.statements(&table, &self.classifier),
            Panel::Activity => {
                let held = activity::held(self.rows(Panel::Snapshots));
                let mut table = activity::derive(table, &self.classifier, &held);
                self.name_clients(&mut table);
                self.add_usage(&mut table);
                effects = self.watch_refreshes(&table);
                self.put(id, table);
                self.judge();
                self.note_sessions();
                effects.extend(self.guard());
            }
            Panel::Snapshots => {
                let table = self.derive_snapshots(table);
                let oldest = snapshots::oldest(Rows::of(&table));
                let oldest = oldest.and_then(|row| row.age_s());
                self.history.snapshot.push(oldest);
                self.put(id, table);
            }
            Panel::Bloat => {
                let table = self.derive_bloat(table);
                let worst = Rows::<read::Relation>::of(&table).first();
                let dead = worst.n_dead().map(|dead| dead as f64);
                self.history.dead.push(dead);
                self.put(id, table);
            }
            Panel::Views => {
                if let Some(feed) = self.feed_mut(id) {
                    feed.raw = table;
                }
                self.derive_views();
            }
            Panel::Summaries => {
                self.put(id, table);
                self.derive_views();
            }
            Panel::Host
            | Panel::HostProcesses
            | Panel::HostServer
            | Panel::NodeHost
            | Panel::NodeHostProcesses
            | Panel::NodeHostServer => {
                effects = self.took_of_host(id, panel, table);
            }
            Panel::Nodes
            | Panel::NodeReplica
            | Panel::NodeBeat
            | Panel::Heartbeat
            | Panel::Routing => {
                effects = self.took_nodes(id, panel, table);
            }
            _ => self.took_panel(id, panel, table),
        }
        effects
    }

    /// Takes in the server's counters.
    fn took_counters(&mut self, id: FeedId, table: Table) -> Vec<Effect> {
        let skipped = self.skipped();
        self.memory.taken += 1 + skipped as u64;
        self.history.skip(skipped);
        let own = self.own_counted();
        self.history.database(&table, own);
        let counters = Rows::<read::Counters>::of(&table).first();
        let effects = self.follow_server(counters);
        if self.history.oltp.reset && counters.xact_commit().is_some() {
            self.memory.reset = Some(self.now);
        }
        if let (Some(xmax), Some(at)) = (counters.xmax(), counters.now_epoch()) {
            let xmin = counters.xmin().unwrap_or(xmax);
            self.memory.xids.note(xmin, xmax, at);
        }
        self.put(id, table);
        self.judge();
        effects
    }

    /// Number of this program's transactions contained in the server's counters. Sessions report with a
    /// delay: the fast one when it reads the counters, so that its work up to the previous reading is
    /// included; the others once per second, so that the last half second is not.
    fn own_counted(&mut self) -> f64 {
        let now = self.now;
        let own = &mut self.memory.own;
        let (fast, others, at) = own.before.unwrap_or((0.0, own.others, now));
        let seconds = now.since(at);
        let late = if seconds > 0.0 {
            (own.others - others) * (LATE_S / seconds).min(1.0)
        } else {
            0.0
        };
        own.before = Some((own.fast, own.others, now));
        fast + own.others - late
    }

    /// Number of samples of the counters that were not taken because the server was in the background.
    fn skipped(&self) -> usize {
        let Some((_, _, at)) = self.memory.own.before else {
            return 0;
        };
        let returned = self.memory.returned.is_some_and(|returned| at < returned);
        if !(returned || self.is_in_background()) {
            return 0;
        }
        let intervals = self.now.since(at) / self.interval.as_secs_f64().max(0.1);
        (intervals.round() as usize).saturating_sub(1)
    }

    /// Reloads the facts if a standby was promoted, or the reverse, or if the server was restarted, perhaps as another
    /// version behind the same pooler: everything derived from them may change.
    fn follow_server(&mut self, counters: Row<'_, read::Counters>) -> Vec<Effect> {
        let differ = |now: Option<f64>, before: Option<f64>| {
            now.is_some() && before.is_some() && now != before
        };
        let flag = |known: Option<bool>| known.map(f64::from);
        let before = Rows::<read::Counters>::of(self.rows(Panel::Database)).first();
        let promoted = differ(
            flag(counters.in_recovery()),
            flag(self.fact().in_recovery()),
        );
        let restarted = differ(counters.postmaster_start(), before.postmaster_start());
        if promoted || restarted {
            self.ask_facts()
        } else {
            Vec::new()
        }
    }

    /// Derives data that only one panel shows.
    fn took_panel(&mut self, id: FeedId, panel: Panel, table: Table) {
        match panel {
            Panel::Statements => {
                let key = self.feed(id).map(|feed| feed.spec.front.key.clone());
                let table = statements::derive(
                    table,
                    &key.unwrap_or_default(),
                    &mut self.memory.statements,
                    &self.classifier,
                );
                self.put(id, table);
                self.keep_statements();
                self.compare_statements();
            }
            Panel::Waits => {
                let now_s = self.now.mono_ms as f64 / 1000.0;
                let every_s = self.interval.as_secs_f64();
                self.memory.waits.note(&table, &self.classifier, now_s);
                let table = self.memory.waits.table(now_s, every_s);
                self.put(id, table);
            }
            Panel::Locks => {
                let table = locks::derive(table, &self.classifier);
                self.put(id, table);
                if self.history.oltp.restricted > 0 {
                    self.judge();
                }
            }
            Panel::PointLocks => {
                let statement = self.memory.canary.as_deref().unwrap_or_default();
                let now_s = self.now.mono_ms as f64 / 1000.0;
                let memory = &mut self.memory.point_locks;
                let table = point_locks::derive(table, statement, memory, now_s);
                self.put(id, table);
                self.judge();
            }
            Panel::Columnar | Panel::Stream => {
                self.put(id, table);
                self.hasten(id);
            }
            Panel::Indexes => {
                let mut table = table;
                bloat::estimated(&mut table, self.rows(Panel::IndexBloatEstimate));
                self.put(id, table);
            }
            Panel::Wraparound => {
                let table = time_left(table, self.memory.xids.per_s());
                self.put(id, table);
            }
            Panel::Replication => {
                let now_s = self.server_s();
                let table = replication::derive(table, &mut self.memory.replication, now_s);
                self.put(id, table);
                self.derive_nodes();
            }
            Panel::Wal => {
                let table = wal::derive(table, &mut self.memory.wal);
                self.put(id, table);
                self.note_checkpoints();
            }
            Panel::Pooler | Panel::PoolerStats | Panel::PoolerDatabases | Panel::PoolerVersion => {
                self.took_pooler(id, panel, table);
            }
            _ => self.put(id, table),
        }
    }

    pub(super) fn put(&mut self, id: FeedId, mut table: Table) {
        let now = self.now;
        if let Some(feed) = self.feed_mut(id) {
            if feed.foreign {
                read_flags(&feed.spec, &mut table);
            }
            rates::derive(&mut table, &feed.spec.front, &mut feed.rates);
            feed.accept(table);
            feed.follow(now);
        }
    }

    fn derive_snapshots(&mut self, table: Table) -> Table {
        let mut memory = std::mem::take(&mut self.memory.snapshots);
        let counters = Rows::<read::Counters>::of(self.rows(Panel::Database)).first();
        let xmax = counters.xmax().unwrap_or(0);
        let clock = Clock {
            xids: &self.memory.xids,
            xmax,
            xmin: counters.xmin().unwrap_or(xmax),
            now_s: self.server_s(),
        };
        let bloat = self.rows(Panel::Bloat);
        let table = snapshots::derive(table, &self.classifier, &clock, &mut memory, |holder| {
            bloat::waits(bloat, &holding(holder)).1
        });
        self.memory.snapshots = memory;
        table
    }

    /// The server's time as of the last sample, in seconds since the epoch.
    fn server_s(&self) -> f64 {
        let counters = Rows::<read::Counters>::of(self.rows(Panel::Database));
        counters.first().now_epoch().unwrap_or(0.0)
    }

    fn derive_bloat(&mut self, table: Table) -> Table {
        let now_s = self.server_s();
        let deaths = bloat::deaths(&table);
        self.memory.snapshots.note_deaths(deaths, now_s);
        let holder = snapshots::oldest(Rows::of(self.rows(Panel::Snapshots)));
        let holder = holder.map(|row| snapshots::Holder::of(row, &self.memory.snapshots));
        let blamed = self.holder().zip(holder.as_ref());
        let blamed = blamed.map(|(name, holder)| (name, holder.least_s));
        let estimates = self.rows(Panel::BloatEstimate).clone();
        let (waiting, _) = holder.map_or_else(Default::default, |holder| {
            bloat::waits(&table, &holding(&holder))
        });
        let mut table = bloat::derive(
            table,
            &mut self.memory.bloat,
            &estimates,
            blamed
                .as_ref()
                .map(|(name, least_s)| (name.as_str(), *least_s)),
        );
        self.blame_for_catalogues(&mut table);
        scans::derive(&mut table, &mut self.memory.scans, now_s);
        self.compare_tables(&mut table);
        let added = added::Waiting::to(&mut table);
        for (row, waiting) in waiting.into_iter().enumerate() {
            let waiting = waiting.map_or(Value::Pending, Value::Int);
            table.put(row, added.waiting, waiting);
        }
        table
    }

    /// Adjusts `held_by` of system catalogues: logical slots keep dead rows of them, too.
    fn blame_for_catalogues(&self, table: &mut Table) {
        let holders = Rows::<read::Holder>::of(self.rows(Panel::Snapshots)).iter();
        let oldest = holders.max_by_key(|row| {
            let kept = row.own_database() == Some(true) || row.kind().is("slot_catalog");
            row.age_xids().filter(|_| kept)
        });
        let Some(oldest) = oldest.filter(|row| row.kind().is("slot_catalog")) else {
            return;
        };
        let holder = format!("slot_catalog {}", oldest.holder().shown());
        let added = added::ToBloat::to(table);
        let columns = read::Relation::of(table);
        for row in 0..table.rows.len() {
            let relation = Row::of(table, columns, row);
            let catalogue = relation
                .relid()
                .is_some_and(|relid| relid < bloat::USER_OID);
            if catalogue && relation.in_vain().is_some() {
                table.put(row, added.held_by, holder.as_str().into());
            }
        }
    }

    /// Returns the oldest holder that concerns this database, as `pid 812` or `slot debezium`. A holder
    /// younger than the dead rows in question is not to blame for them.
    fn holder(&self) -> Option<String> {
        let row = snapshots::oldest(Rows::of(self.rows(Panel::Snapshots)))?;
        if row.age_s().is_some_and(|age| age < snapshots::YOUNG_S) {
            return None;
        }
        let (holder, kind) = (row.holder().text()?, row.kind().text()?);
        Some(if kind == "backend" {
            format!("pid {holder}")
        } else {
            format!("{kind} {holder}")
        })
    }

    /// Derives the views' rows from their last answer.
    fn derive_views(&mut self) {
        let Some(id) = self.id_of(Panel::Views) else {
            return;
        };
        let Some(feed) = self.feed(id) else { return };
        let raw = feed.raw.clone();
        let seconds = |at: Moment| at.mono_ms as f64 / 1000.0;
        let now_s = seconds(self.now);
        let at_s = feed.sampling.at.map_or(now_s, seconds);
        let summaries = self.current(Panel::Summaries).clone();
        let config = &self.config;
        let table = views::derive(
            raw,
            &summaries,
            &mut self.memory.views,
            (at_s, now_s),
            &|view| config.freshness_of(view),
        );
        self.put(id, table);
        self.note_refreshes();
    }

    /// Queries the blockers of the point query while it fails: no other panel lists this program's own
    /// sessions.
    pub(super) fn ask_point_locks(&mut self) -> Vec<Effect> {
        let failing = self.history.oltp.failed > 0 && !self.paused;
        let id = self.id_of(Panel::PointLocks).filter(|_| failing);
        let due = id.filter(|id| {
            let feed = self.feed(*id);
            feed.is_some_and(|feed| feed.sampling.due_ms <= self.now.mono_ms)
        });
        due.map_or_else(Vec::new, |id| self.ask(&[id]))
    }

    /// Samples the views every interval while a refresh runs.
    fn watch_refreshes(&mut self, activity: &Table) -> Vec<Effect> {
        let mut backends = Rows::<read::Backend>::of(activity).iter();
        let refreshing = backends.any(|row| row.class().is("refresh"));
        let Some(id) = self
            .id_of(Panel::Views)
            .filter(|_| refreshing || !self.running.is_empty())
        else {
            return Vec::new();
        };
        let old = self
            .feed(id)
            .and_then(|feed| self.age_s(feed))
            .is_none_or(|age| age > 0.9);
        if old { self.ask(&[id]) } else { Vec::new() }
    }
}

/// Converts a holder to the form that the bloat derivation needs.
fn holding(holder: &snapshots::Holder) -> bloat::Holder<'_> {
    bloat::Holder {
        age_xids: holder.age_xids,
        least_s: holder.least_s,
        base: holder.base.as_ref().map(|base| bloat::Base {
            deaths: &base.deaths,
            before: base.before.as_deref(),
            whole: base.whole,
        }),
    }
}

/// Adds `left_s`: seconds until transaction ids run out, if their rate of use is known.
fn time_left(mut table: Table, xids_per_s: Option<f64>) -> Table {
    let columns = read::Wraparound::of(&table);
    let added = added::ToWraparound::to(&mut table);
    for row in 0..table.rows.len() {
        let left = Row::of(&table, columns, row).xid_left();
        let seconds = left.zip(xids_per_s.filter(|rate| *rate > 0.0));
        let seconds = seconds.map(|(left, rate)| left / rate);
        let seconds = seconds.map_or(Value::Pending, Value::Float);
        table.put(row, added.left_s, seconds);
    }
    table
}

/// Converts columns that are used as flags to booleans: the text protocol returns `t` or `f`.
fn read_flags(spec: &Spec, table: &mut Table) {
    let partial = match &spec.front.chart {
        Chart::Bars { partial, .. } => partial.as_deref(),
        _ => None,
    };
    for column in 0..table.columns.len() {
        let Some(name) = table.columns.get(column) else {
            continue;
        };
        if spec.column(name).unit != Unit::Flag && Some(&**name) != partial {
            continue;
        }
        for cell in table.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            match cell.text() {
                Some("t") => *cell = Value::Bool(true),
                Some("f") => *cell = Value::Bool(false),
                _ => {}
            }
        }
    }
}
