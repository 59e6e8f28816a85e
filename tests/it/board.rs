//! A dashboard without terminal and server: a model that receives events as from the runtime.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use htap_top::config::{Config, PanelConfig};
use htap_top::dashboard::diagnosis::finding::Finding;
use htap_top::dashboard::event::{Effect, Event, FeedId, Key, Moment, OwnCost, Request};
use htap_top::dashboard::model::layout;
use htap_top::dashboard::model::{Model, Start};
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Pool;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::view::view;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Class, Peer, PgError, Protection, Table, Value};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::collections::BTreeSet;
use std::time::Duration;

/// Start of the wall clock of all boards: 2026-01-02 03:04:05 UTC.
const EPOCH_MS: i64 = 1_767_323_045_000;

/// Feeds that no board is about: they are answered at once without rows.
pub const NOTHING_TO_TELL: [&str; 9] = [
    "extensions",
    "temp_files",
    "sequences",
    "io",
    "wal",
    "wraparound",
    "replication",
    "routing",
    "waits",
];

/// A model, and the invariants checked after every event.
pub struct Board {
    pub model: Model,
    now_ms: u64,
    /// Feeds with a statement in progress.
    asked: BTreeSet<u16>,
    /// Feeds asked a second time before the first answer.
    pub asked_twice: Vec<String>,
    /// True while time passes: queries are not due to a new session.
    ticking: bool,
    /// True if not even [`NOTHING_TO_TELL`] are answered automatically.
    pub mute: bool,
}

impl Board {
    /// The finding of the rule called `rule`.
    pub fn finding(&self, rule: &str) -> Option<&Finding> {
        let mut findings = self.model.findings.iter();
        findings.find(|finding| finding.rule == rule)
    }

    /// A board with a freshness target of five seconds, unless the test sets another.
    pub fn new(mut config: Config) -> Self {
        let fresh = &mut config.targets.freshness;
        fresh.get_or_insert(Duration::from_secs(5));
        Self::with(config, |_| {})
    }

    /// A board whose start parameters the test has changed.
    pub fn with(config: Config, change: impl FnOnce(&mut Start)) -> Self {
        let config = without_host(config);
        let mut start = Start {
            config,
            built_in: panels::built_in().unwrap(),
            own_panels: Vec::new(),
            own_roles: vec!["monitor".into()],
            complaints: Vec::new(),
            utc_offset_s: 0,
            themes: Theme::names().map(str::to_owned).collect(),
            target: "shop @ primary:5432".into(),
            olap_target: None,
            olap_server: None,
            pooler: None,
            columnar: None,
            demo: false,
            server: None,
        };
        change(&mut start);
        let mut board = Self {
            model: Model::new(start),
            now_ms: 0,
            asked: BTreeSet::new(),
            asked_twice: Vec::new(),
            ticking: false,
            mute: false,
        };
        let effects = board.tick(0);
        // A pooler is asked without a server, too.
        let watched = board.model.start.pooler.is_some();
        assert!(watched || effects.is_empty(), "asks before it is connected");
        board
    }

    /// A board whose OLAP pool has a server of its own, with the shop's heartbeats and routing. From here on nothing is
    /// answered automatically.
    pub fn beside_replica(config: Config, change: impl FnOnce(&mut Start)) -> Self {
        let mut board = Self::with(config, |start| {
            start.olap_target = Some("shop @ replica:5432".into());
            start.olap_server = Some("replica:5432".into());
            change(start);
        });
        let _ = board.connect();
        let _ = board.open(SessionId::Replica);
        let needs = ["htap.routing|true|true", "htap.heartbeat|true|true"];
        let _ = board.answer("needs", table("name|found|readable", &needs));
        board.mute = true;
        board
    }

    /// A board on a live server, all first answers pending.
    pub fn live(config: Config) -> Self {
        let mut board = Self::new(config);
        board.connect();
        board
    }

    /// Opens the sessions and answers the facts.
    pub fn connect(&mut self) -> Vec<Effect> {
        for session in [SessionId::Fast, SessionId::Slow, SessionId::Olap(0)] {
            let _ = self.open(session);
        }
        self.answer("facts", facts())
    }

    pub fn event(&mut self, event: Event) -> Vec<Effect> {
        match &event {
            Event::Reported(Report::Answered { id, .. }) => {
                self.asked.remove(id);
            }
            // A statement on a session is never answered once the session is gone.
            Event::Reported(Report::Opened { session, .. } | Report::Lost { session, .. }) => {
                let gone = match session {
                    SessionId::Fast => Some(Pool::Oltp),
                    SessionId::Slow => Some(Pool::Slow),
                    SessionId::Pooler => Some(Pool::Pooler),
                    SessionId::Replica => Some(Pool::Replica),
                    SessionId::Columnar => Some(Pool::Columnar),
                    SessionId::Olap(_) | SessionId::StandIn | SessionId::Canary => None,
                };
                let model = &self.model;
                self.asked
                    .retain(|id| model.feed(FeedId(*id)).map(|feed| feed.spec.front.pool) != gone);
            }
            _ => {}
        }
        self.ticking = matches!(event, Event::Ticked { .. });
        let effects = self.model.update(event);
        self.took(effects)
    }

    fn took(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut quiet = Vec::new();
        for request in requests(&effects) {
            let name = self.name_of(request);
            if !self.mute && NOTHING_TO_TELL.contains(&name.as_str()) {
                quiet.push(name.clone());
            }
            if !self.mute && self.ticking && name == "facts" && self.model.facts.is_some() {
                // A renewed answer: nothing has changed, unless the test says so.
                quiet.push(name.clone());
            }
            if !self.asked.insert(request.feed.0) {
                self.asked_twice.push(name);
            }
        }
        for name in quiet {
            let facts = self.model.facts.clone().filter(|_| name == "facts");
            let _ = self.answer(&name, facts.unwrap_or_default());
        }
        effects
    }

    /// Lets `ms` pass in one tick.
    pub fn tick(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        let now = Moment {
            mono_ms: self.now_ms,
            epoch_ms: EPOCH_MS + self.now_ms as i64,
        };
        self.event(Event::Ticked {
            now,
            cost: OwnCost {
                cpu_ms: self.now_ms as f64 * 0.004,
            },
        })
    }

    pub fn open(&mut self, session: SessionId) -> Vec<Effect> {
        let peer = Peer {
            host: "primary".into(),
            port: 5432,
            protection: Protection::Local,
            pooled: false,
        };
        self.event(Event::Reported(Report::Opened { session, peer }))
    }

    pub fn lose(&mut self, session: SessionId, attempt: u32) -> Vec<Effect> {
        let error = PgError::new(Class::Reconnect, "connection refused");
        self.event(Event::Reported(Report::Lost {
            session,
            error,
            attempt,
            retry_in_ms: Some(400),
        }))
    }

    pub fn id(&self, feed: &str) -> FeedId {
        self.model
            .feed_named(feed)
            .unwrap_or_else(|| unreachable!("no feed {feed}"))
    }

    pub fn answer(&mut self, feed: &str, table: Table) -> Vec<Effect> {
        self.outcome(feed, Ok(table))
    }

    pub fn outcome(&mut self, feed: &str, outcome: Result<Table, PgError>) -> Vec<Effect> {
        let id = self.id(feed).0;
        self.event(Event::Reported(Report::Answered {
            id,
            took_ms: 1.5,
            outcome,
        }))
    }

    /// Presses keys one after another; returns the effects of the last one.
    pub fn keys(&mut self, keys: &str) -> Vec<Effect> {
        keys.chars()
            .flat_map(|c| self.key(if c == '\n' { Key::Enter } else { Key::Char(c) }))
            .collect()
    }

    pub fn key(&mut self, key: Key) -> Vec<Effect> {
        self.event(Event::KeyPressed(key))
    }

    /// Name of the feed that a request is for.
    pub fn name_of(&self, request: &Request) -> String {
        self.model.feed(request.feed).unwrap().spec.name.clone()
    }

    /// The last line of the log.
    pub fn said(&self) -> String {
        self.model
            .log
            .back()
            .map(|line| line.text.to_string())
            .unwrap_or_default()
    }

    /// The figures of one column, in the order shown.
    pub fn shown(&self, feed: &str, column: &str) -> Vec<Value> {
        let feed = self.model.feed(self.id(feed)).unwrap();
        feed.cursor
            .order
            .iter()
            .map(|row| feed.table.get(*row, column).clone())
            .collect()
    }

    /// Errors in cursors and requests.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .asked_twice
            .iter()
            .map(|name| format!("{name} was asked twice"))
            .collect();
        for feed in &self.model.feeds {
            let (cursor, rows) = (&feed.cursor, feed.cursor.order.len());
            if cursor.selected >= rows.max(1) {
                faults.push(format!(
                    "{}: row {} of {rows} is selected",
                    feed.spec.name, cursor.selected
                ));
            }
            if cursor.order.iter().any(|row| *row >= feed.table.rows.len()) {
                faults.push(format!("{}: shows a row that is not there", feed.spec.name));
            }
        }
        faults
    }

    /// The screen at this size, as text.
    pub fn screen(&mut self, width: u16, height: u16) -> String {
        let _ = self.event(Event::Resized { width, height });
        assert!(
            layout::regions(&self.model)
                .panels
                .iter()
                .all(|(_, area)| area.right() <= width.max(area.right()))
        );
        let theme = Theme::built_in("dark").unwrap();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| view(&self.model, &theme, frame))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..height {
            let mut line = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += (unicode_width::UnicodeWidthStr::width(symbol) as u16).max(1);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Turns the panel of the host off, unless the test has it in its configuration: what others use of the machine is chance.
pub fn without_host(mut config: Config) -> Config {
    let host = config.panels.entry("host".into());
    host.or_insert_with(|| PanelConfig {
        off: true,
        ..PanelConfig::default()
    });
    config
}

/// A configuration with the panel of the host.
pub fn with_host() -> Config {
    let mut config = Config::default();
    config.panels.insert("host".into(), PanelConfig::default());
    config
}

/// All requested statements.
pub fn requests(effects: &[Effect]) -> Vec<&Request> {
    let sampled = effects.iter().filter_map(|effect| {
        if let Effect::Sample(requests) = effect {
            Some(requests)
        } else {
            None
        }
    });
    sampled.flatten().collect()
}

/// A table written as text: columns separated by `
/// `. An empty cell is NULL, digits are an integer, digits with a point a double, `true` and `false`
/// booleans; everything else, and everything after a `'`, is text.
pub fn table(columns: &str, rows: &[&str]) -> Table {
    let columns: Vec<Box<str>> = columns.split('|').map(|name| name.trim().into()).collect();
    let rows = rows.iter().map(|row| {
        let cells: Vec<Value> = row.split('|').map(cell).collect();
        assert_eq!(cells.len(), columns.len(), "{row}");
        cells
    });
    Table {
        rows: rows.collect(),
        columns: columns.clone().into(),
    }
}

fn cell(text: &str) -> Value {
    let text = text.trim();
    match text {
        "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if text.starts_with('\'') => text.trim_start_matches('\'').into(),
        _ => match (text.parse(), text.parse()) {
            (Ok(whole), _) => Value::Int(whole),
            (_, Ok(double)) if text.contains('.') => Value::Float(double),
            _ => text.into(),
        },
    }
}

/// The facts that a PostgreSQL 17 reports to a member of pg_monitor.
pub fn facts() -> Table {
    table(
        "server_version_num|server_version|current_database|current_user|is_superuser|pg_monitor|read_all_stats|\
         signal_backend|in_recovery|track_commit_timestamp|track_activity_query_size|pgss_version|pgss_schema|\
         system_identifier|cluster_name",
        &[
            "170010|'17.10|shop|monitor|false|true|true|true|false|true|4096|'1.11|public|'7500000000000000001|",
        ],
    )
}

const ACTIVITY: &str = "pid|datname|usename|application_name|backend_type|state|wait_event_type|wait_event|query_age_s|\
                        xact_age_s|xmin_age|xid_age|blocked_by|wait_s|query|backend_start|xact_start|query_start|restricted";

/// Sessions, each as `pid
/// datname
/// usename
/// application_name
/// …` with the columns above.
pub fn activity(rows: &[&str]) -> Table {
    table(ACTIVITY, rows)
}

/// A lock queue behind an idle transaction, a report on an old snapshot, a young write.
pub fn trouble() -> Table {
    activity(&[
        "812|shop|billing|billing-job|client backend|idle in transaction|Client|ClientRead|48.2|50.3|91000|91000|||\
         UPDATE shop.inventory SET quantity = quantity - 1 WHERE product_id = 7|2026-01-02 03:00:00.000001+00|\
         2026-01-02 03:03:15+00|2026-01-02 03:03:17+00|false",
        "901|shop|app|checkout|client backend|active|Lock|transactionid|12.0|12.1|10|9|'812|11.9|\
         UPDATE shop.inventory SET quantity = 3 WHERE product_id = 7|2026-01-02 03:01:00.000001+00|\
         2026-01-02 03:03:53+00|2026-01-02 03:03:53+00|false",
        "902|shop|app|checkout|client backend|active|Lock|tuple|9.0|9.1|8||'901|8.9|\
         UPDATE shop.inventory SET quantity = 4 WHERE product_id = 7|2026-01-02 03:01:01.000001+00|\
         2026-01-02 03:03:56+00|2026-01-02 03:03:56+00|false",
        "777|shop|reports|metabase|client backend|active|IO|DataFileRead|75.0|75.0|120000||||\
         SELECT category, sum(amount) FROM mart.fact_sales_mv GROUP BY category|2026-01-02 02:00:00.000001+00|\
         2026-01-02 03:02:50+00|2026-01-02 03:02:50+00|false",
        "655|shop|app|checkout|client backend|active|||0.002|0.002|||||INSERT INTO shop.orders VALUES ($1)|\
         2026-01-02 03:02:00.000001+00|2026-01-02 03:04:05+00|2026-01-02 03:04:05+00|false",
    ])
}

const VIEWS: &str = "relid|view|schemaname|matviewname|owner|populated|rows|size_bytes|xmin|refreshed_s|refreshed_epoch|\
                     commit_ts|refreshing|refresh_pid|refresh_waiting|refresh_running_s|concurrent_ok|concurrent_reason|\
                     may_refresh|on_standby|depends_on|tup_changes|def_has_now";

/// Four views: `daily` reads `fact` and `hourly`; `plain` has no unique index.
pub fn views() -> Table {
    table(
        VIEWS,
        &[
            "24002|mart.daily|mart|daily|owner|true|300|98304|700|90.5|1767322955.0|true|||false||true||true|false|24001,24003|900|false",
            "24003|mart.fact|mart|fact|owner|true|120000|52428800|701|61.0|1767322984.0|true|||false||true||true|false||5000|false",
            "24001|mart.hourly|mart|hourly|owner|true|720|131072|702|2.5|1767323042.5|true|||false||true||true|false|'24003|400|false",
            "24004|mart.plain|mart|plain|owner|true|10|8192|703|4.0|1767323041.0|true|||false||false|no unique index|true|false||0|true",
        ],
    )
}
