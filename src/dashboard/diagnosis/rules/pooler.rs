//! Clients that wait for a server connection of the pooler, and why.

use super::{described, doing, row_of, short};
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Damage, Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, Pools};
use crate::dashboard::panels::pooler::Behind;
use crate::dashboard::rows::{Row, console, read};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;

/// Seconds of an idle transaction from which it holds a server connection.
const IDLE_S: f64 = 1.0;
/// Seconds of a transaction at work from which it holds a server connection.
const LONG_S: f64 = 10.0;
/// Seconds after which a lost pooler is reported: a restart takes less.
const LOST_S: f64 = 2.0;
/// Maximum number of backends listed.
const LISTED: usize = 5;

const EXPLAINS: &[&str] = &["maxwait"];

/// The pool with the longest wait.
struct Waiting<'a> {
    pools: &'a Pools<'a>,
    pool: Row<'a, console::ClientPool>,
    wait_s: f64,
    clients: i64,
    /// Maximum number of server connections of the pool; the number in use if the limit is not known.
    size: i64,
    /// Backends behind its server connections, as far as the activity panel lists them.
    backends: Vec<(Row<'a, read::Backend>, &'a Behind)>,
}

impl<'a> Waiting<'a> {
    /// Returns the pool if its clients wait longer than they should.
    fn of(evidence: &'a Evidence<'a>) -> Option<Self> {
        let pools = evidence.pools.as_ref()?;
        let targets = &evidence.config.targets;
        let waited = pools.rows.iter().filter_map(|row| {
            let clients = row.cl_waiting().filter(|clients| *clients > 0)?;
            Some((row, row.wait_s()?, clients))
        });
        let (pool, wait_s, clients) = waited.max_by(|a, b| a.1.total_cmp(&b.1))?;
        if wait_s < targets.pooler_wait.as_secs_f64() * targets.warn_at {
            return None;
        }
        let (database, user) = (pool.database().name(), pool.user().name());
        let of_it = |behind: &&Behind| &*behind.pool.0 == database && &*behind.pool.1 == user;
        let behind = pools.behind.iter();
        let behind = behind.filter(|(_, behind)| of_it(behind));
        let backends =
            behind.filter_map(|(pid, behind)| Some((row_of(evidence.activity, *pid)?, behind)));
        let mut backends: Vec<_> = backends.collect();
        backends.sort_by(|(a, _), (b, _)| super::age_s(*b).total_cmp(&super::age_s(*a)));
        Some(Self {
            pools,
            pool,
            wait_s,
            clients,
            size: pool.pool_size().or(pool.sv_active()).unwrap_or(0),
            backends,
        })
    }

    /// Name of the pool: `shop/app`.
    fn name(&self) -> String {
        let (database, user) = (self.pool.database().shown(), self.pool.user().shown());
        format!("{database}/{user}")
    }

    /// Returns `36 clients wait up to 2.1s`.
    fn clients(&self) -> String {
        let clients = match self.clients {
            1 => "1 client waits".to_owned(),
            n => format!("{n} clients wait"),
        };
        format!("{clients} up to {}", format::seconds(self.wait_s))
    }

    /// Server connections of the pool, whatever their state.
    fn open(&self) -> i64 {
        let pool = self.pool;
        let states = [
            pool.sv_active(),
            pool.sv_idle(),
            pool.sv_used(),
            pool.sv_tested(),
        ];
        states.into_iter().flatten().sum()
    }

    /// Its database in the pooler's configuration.
    fn database(&self) -> Option<Row<'a, console::PooledDatabase>> {
        let name = self.pool.database().name();
        let mut databases = self.pools.databases.iter();
        databases.find(|row| row.name().name() == name)
    }

    /// The backends that keep their connection from other clients.
    fn holders(&self) -> Vec<(Row<'a, read::Backend>, &'a Behind)> {
        let holds = |row: Row<'_, read::Backend>| {
            let age_s = super::age_s(row);
            if row.state().shown().starts_with("idle in transaction") {
                age_s >= IDLE_S
            } else {
                age_s >= LONG_S && !waits(row)
            }
        };
        let backends = self.backends.iter().copied();
        let holders: Vec<_> = backends.filter(|(row, _)| holds(*row)).collect();
        // A few of many connections leave enough for the others.
        let matters = holders.len() as i64 * 4 >= self.size;
        if matters { holders } else { Vec::new() }
    }

    /// The backends that wait for something in the server, if that holds for most of the pool.
    fn waiting_in_server(&self) -> Vec<(Row<'a, read::Backend>, &'a Behind)> {
        let backends = self.backends.iter().copied();
        let waiting: Vec<_> = backends.filter(|(row, _)| waits(*row)).collect();
        let most = waiting.len() as i64 * 4 >= self.size * 3;
        if most { waiting } else { Vec::new() }
    }

    /// Returns true if the database may not use the pool, or the pool has fewer connections than it may.
    fn is_closed(&self) -> bool {
        self.pool.paused() == Some(true) || self.open() < self.size
    }

    fn finding(&self, sentence: String, cure: String, mut facts: Vec<Fact>) -> Finding {
        let pool = self.pool;
        let count = |count: Option<i64>| count.map_or_else(|| "n/a".to_owned(), |n| n.to_string());
        let states = [
            ("busy", pool.sv_active()),
            ("idle", pool.sv_idle()),
            ("used", pool.sv_used()),
            ("tested", pool.sv_tested()),
            ("login", pool.sv_login()),
        ];
        let states = states.map(|(state, n)| format!("{} {state}", count(n)));
        facts.insert(
            0,
            fact("pool", format!("{}, {}", self.name(), self.clients())),
        );
        facts.insert(
            1,
            fact(
                "server connections",
                format!("{} of {}", states.join(", "), count(pool.pool_size())),
            ),
        );
        Finding {
            explains: EXPLAINS,
            subject: self.name(),
            sentence,
            cure,
            evidence: facts,
            ..Finding::default()
        }
    }
}

/// Returns true if the backend waits for something that other work of the server must release.
fn waits(row: Row<'_, read::Backend>) -> bool {
    let kind = row.wait_event_type().shown();
    row.state().is("active") && matches!(kind, "Lock" | "LWLock" | "BufferPin" | "IO")
}

/// Facts about backends and the clients that have them.
fn told(backends: &[(Row<'_, read::Backend>, &Behind)]) -> Vec<Fact> {
    let told = |(row, behind): &(Row<'_, read::Backend>, &Behind)| {
        let client = match behind.client.as_str() {
            "" => String::new(),
            client => format!(", client {client}"),
        };
        let wait = match row.wait().shown() {
            "" => String::new(),
            wait => format!(", {wait}"),
        };
        let what = format!("{}{wait}{client}: {}", doing(*row), row.query().shown());
        fact(described(*row), what)
    };
    backends.iter().take(LISTED).map(told).collect()
}

/// Finds a pooler that cannot be reached.
pub(super) fn pooler_lost(evidence: &Evidence<'_>) -> Option<Finding> {
    let lost = evidence.pools.as_ref()?.lost.as_ref()?;
    if lost.since_s < LOST_S {
        return None;
    }
    let (place, since) = (lost.place.as_str(), format::seconds(lost.since_s));
    let clients = if lost.answered {
        "clients may have lost the database"
    } else {
        "it has not answered yet"
    };
    let sentence = format!("pooler {place} unreachable from here for {since}: {clients}");
    Some(Finding {
        health: if lost.answered {
            Health::Danger
        } else {
            Health::Warning
        },
        damage: Damage::Halt,
        subject: place.to_owned(),
        sentence,
        cure: "start PgBouncer, or check its log".to_owned(),
        evidence: vec![fact("last error", lost.error.to_string())],
        ..Finding::default()
    })
}

/// Finds a pool without a free connection because its database is paused or no more connections can be opened.
pub(super) fn pool_closed(evidence: &Evidence<'_>) -> Option<Finding> {
    let waiting = Waiting::of(evidence)?;
    if !waiting.is_closed() {
        return None;
    }
    let (name, clients) = (waiting.name(), waiting.clients());
    let database = waiting.pool.database().shown();
    if waiting.pool.paused() == Some(true) {
        let sentence =
            format!("{clients} for pool {name}: database {database} is paused in PgBouncer");
        return Some(waiting.finding(sentence, format!("RESUME {database}"), Vec::new()));
    }
    let limit = waiting.database().and_then(|row| {
        let limit = row.max_connections().filter(|limit| *limit > 0)?;
        (row.current_connections()? >= limit).then_some(limit)
    });
    let (open, size) = (waiting.open(), waiting.size);
    let sentence = match limit {
        Some(limit) => format!(
            "{clients} for pool {name}: it has {open} of {size} server connections, as all {limit} of its database are \
             taken (max_db_connections)"
        ),
        None => format!(
            "{clients} for pool {name}: it has {open} of {size} server connections, and PgBouncer opens no more"
        ),
    };
    let cure = match limit {
        Some(_) => "raise max_db_connections",
        None => "PgBouncer's log says why",
    };
    Some(waiting.finding(sentence, cure.into(), Vec::new()))
}

/// Finds transactions that keep the server connections of a pool from the clients that wait for one.
pub(super) fn pool_held(evidence: &Evidence<'_>) -> Option<Finding> {
    let waiting = Waiting::of(evidence)?;
    let holders = waiting.holders();
    let (row, behind) = *holders.first()?;
    if waiting.is_closed() {
        return None;
    }
    let client = behind.client.split(' ').next().unwrap_or_default();
    let client = match client {
        "" => String::new(),
        client => format!(" for client {client}"),
    };
    let who = format!("{}{client}", described(row));
    let state = short(row.state().shown());
    let age = format::seconds(super::age_s(row));
    let (name, size, clients) = (waiting.name(), waiting.size, waiting.clients());
    let sentence = match holders.len() {
        1 => format!(
            "{clients} for pool {name}: {who}, {state} for {age}, holds 1 of its {size} server connections"
        ),
        n => format!(
            "{clients} for pool {name}: long transactions hold {n} of its {size} server connections, the oldest is {who}, \
             {state} for {age}"
        ),
    };
    let blocker = Blocker::of(evidence, row);
    let mut facts = told(&holders);
    facts.push(fact("ending it", blocker.kind.loss()));
    Some(Finding {
        ends: blocker.ends(),
        ..waiting.finding(sentence, blocker.cure(), facts)
    })
}

/// Finds a pool whose connections all wait in the server: then the pool is not the cause.
pub(super) fn pool_waits(evidence: &Evidence<'_>) -> Option<Finding> {
    let waiting = Waiting::of(evidence)?;
    let backends = waiting.waiting_in_server();
    if backends.is_empty() || waiting.is_closed() {
        return None;
    }
    let locked = backends.iter();
    let locked = locked.filter(|(row, _)| row.wait_event_type().is("Lock"));
    let locked: Vec<_> = locked.collect();
    let graph = WaitGraph::of(evidence.activity.table());
    let blocks = |root: &usize| {
        let behind = graph.behind(*root);
        locked
            .iter()
            .any(|(row, _)| behind.contains(&row.position()))
    };
    let root = graph
        .roots()
        .find(|root| graph.is_row(*root) && blocks(root));
    let root = root.map(|root| evidence.activity.at(root));
    let what = match (root, locked.len() * 2 >= backends.len()) {
        (Some(root), true) => format!(
            "for locks behind {}, {}",
            described(root),
            short(root.state().shown())
        ),
        (None, true) => "for locks".to_owned(),
        (_, false) => {
            let wait = backends.first().map_or("", |(row, _)| row.wait().shown());
            format!("in the server ({wait})")
        }
    };
    let sentence = format!(
        "{} for pool {}: {} of its {} server connections wait {what}; the pool is not the cause",
        waiting.clients(),
        waiting.name(),
        backends.len(),
        waiting.size
    );
    let blocker = root.map(|root| Blocker::of(evidence, root));
    let cure = blocker.as_ref().map(Blocker::cure).unwrap_or_default();
    Some(Finding {
        ends: blocker.and_then(|blocker| blocker.ends()),
        ..waiting.finding(sentence, cure, told(&backends))
    })
}

/// Finds a pool that is too small: all its connections are busy with short work.
pub(super) fn pool_small(evidence: &Evidence<'_>) -> Option<Finding> {
    let waiting = Waiting::of(evidence)?;
    let is_else = waiting.is_closed()
        || !waiting.holders().is_empty()
        || !waiting.waiting_in_server().is_empty();
    if is_else {
        return None;
    }
    let oltp = evidence.oltp;
    let p99 = oltp.p99_ms.filter(|_| oltp.failed == 0);
    let limit = evidence.config.targets.oltp_p99_ms;
    let slow = p99.map(|p99| p99 >= limit);
    let (name, size, clients) = (waiting.name(), waiting.size, waiting.clients());
    let database = waiting.pool.database().shown();
    let mut facts = told(&waiting.backends);
    if let Some(p99) = p99 {
        facts.push(fact("p99 of the server", format::ms(p99)));
    }
    if slow == Some(true) {
        let p99 = p99.map_or_else(String::new, |p99| format!(" (p99 {})", format::ms(p99)));
        let sentence = format!(
            "{clients} for pool {name}: its {size} server connections are busy, and the server is slow, too{p99}"
        );
        let cure = "find what slows the server first: a larger pool adds to its load";
        return Some(waiting.finding(sentence, cure.into(), facts));
    }
    let mode = if waiting.pool.pool_mode().is("session") {
        "; or pool_mode = transaction"
    } else {
        ""
    };
    let server = if slow.is_none() {
        ""
    } else {
        ", and the server is not busy"
    };
    let sentence = format!("{clients} for pool {name}: its size of {size} is too small{server}");
    let cure = format!("raise pool_size of {database} or default_pool_size, then RELOAD{mode}");
    Some(waiting.finding(sentence, cure, facts))
}
