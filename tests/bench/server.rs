//! A server that is made up: its answers to what a dashboard asks, for benchmarks and for the test of costs.

use htap_top::config::Config;
use htap_top::dashboard::event::{Event, FeedId, Moment, OwnCost};
use htap_top::dashboard::model::{Model, Start};
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Spec;
use htap_top::format::Unit;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Peer, Protection, Table, Value};

/// What there is on the server.
#[derive(Clone, Copy)]
pub struct Server {
    pub sessions: usize,
    pub tables: usize,
}

impl Server {
    /// Returns a model that knows no answer yet.
    pub fn model(width: u16, height: u16) -> Model {
        let mut model = Model::new(Start {
            config: Config::default(),
            built_in: panels::built_in().unwrap(),
            own_panels: Vec::new(),
            complaints: Vec::new(),
            utc_offset_s: 0,
            themes: vec!["dark".into()],
            target: "shop @ primary:5432".into(),
            olap_target: None,
            olap_server: None,
            pooler: None,
            columnar: None,
            own_roles: vec!["htap_monitor".into()],
            demo: false,
            server: None,
        });
        let _ = model.update(Event::Resized { width, height });
        model
    }

    /// The sessions that open at first.
    pub fn opened() -> impl Iterator<Item = Event> {
        let sessions = [SessionId::Fast, SessionId::Slow, SessionId::Olap(0)];
        sessions.into_iter().map(|session| {
            let peer = Peer {
                host: "primary".into(),
                port: 5432,
                protection: Protection::Verified,
                pooled: false,
            };
            Event::Reported(Report::Opened { session, peer })
        })
    }

    /// The answer of the feed with this number.
    pub fn answer(self, model: &Model, feed: FeedId, second: u64) -> Option<Event> {
        let spec = &model.feed(feed)?.spec;
        Some(Event::Reported(Report::Answered {
            id: feed.0,
            took_ms: 0.4,
            outcome: Ok(self.sample(spec, second)),
        }))
    }

    /// Rows with the columns described in the panel's file, filled according to their units.
    fn sample(self, spec: &Spec, second: u64) -> Table {
        let columns = &spec.front.columns;
        let rows = match spec.name.as_str() {
            "activity" => self.sessions,
            "bloat" => self.tables,
            "database" | "facts" | "extensions" | "wal" => 1,
            "needs" | "statement_kinds" | "routing" | "replication" | "host_server" => 0,
            "hourly_sales" => 25,
            _ => 20,
        };
        let cells = |row: usize| {
            columns
                .iter()
                .map(|(column, spec)| cell(column, spec.unit, row, second))
                .collect()
        };
        let rows = (0..rows).map(cells).collect();
        Table {
            columns: columns.keys().map(|name| name.as_str().into()).collect(),
            rows,
        }
    }
}

/// The clock at this time since the start.
pub fn ticked(ms: u64) -> Event {
    let now = Moment {
        mono_ms: ms,
        epoch_ms: 1_790_000_000_000 + ms as i64,
    };
    Event::Ticked {
        now,
        cost: OwnCost {
            cpu_ms: ms as f64 / 1000.0,
        },
    }
}

fn cell(column: &str, unit: Unit, row: usize, second: u64) -> Value {
    let at = 1_790_000_000 + second as i64;
    let number = row as i64;
    match (column, unit) {
        ("pid", _) => Value::Int(10_000 + number),
        ("server_version_num", _) => Value::Int(170_002),
        ("usename" | "role", _) => ["app", "reports", "refresh"]
            .get(row % 3)
            .copied()
            .unwrap_or("app")
            .into(),
        ("application_name", _) => ["checkout", "metabase", "htap-refresh"]
            .get(row % 3)
            .copied()
            .unwrap_or("")
            .into(),
        ("state", _) => ["active", "idle in transaction", "active"]
            .get(row % 3)
            .copied()
            .unwrap_or("active")
            .into(),
        ("backend_type", _) => "client backend".into(),
        ("wait_event_type", _) => {
            if row.is_multiple_of(4) {
                "Lock".into()
            } else {
                Value::Null
            }
        }
        ("wait_event", _) => {
            if row.is_multiple_of(4) {
                "transactionid".into()
            } else {
                Value::Null
            }
        }
        // One in four waits, fifty at a time for the same backend.
        ("blocked_by", _) if row.is_multiple_of(4) && row > 0 => {
            format!("{}", 10_000 + (row / 200) * 200).as_str().into()
        }
        ("blocked_by" | "leader_pid", _) => Value::Null,
        ("pgss_schema", _) => "public".into(),
        ("query", _) => {
            let text = format!(
                "UPDATE shop.inventory SET quantity = quantity - $1 WHERE product_id = {number} RETURNING quantity"
            );
            text.as_str().into()
        }
        ("kind", _) => "backend".into(),
        ("xmax", _) => Value::Int(1_000_000 + second as i64 * 150),
        ("now_epoch", _) => Value::Float(at as f64),
        (_, Unit::Count) => Value::Int(number * 37 + second as i64 * 150),
        (_, Unit::Bytes) => Value::Int(number * 8192),
        (_, Unit::Seconds | Unit::Ms | Unit::Percent | Unit::PerSecond) => {
            Value::Float(row as f64 % 90.0 + 0.25)
        }
        (_, Unit::Money) => Value::Decimal("1234.50".into(), 1234.5 + row as f64),
        (_, Unit::Time | Unit::Hour) => Value::Float((at - 3600 * number) as f64),
        (_, Unit::Flag) => Value::Bool(row.is_multiple_of(5)),
        (_, Unit::Plain) => format!("{column} {number}").as_str().into(),
    }
}
