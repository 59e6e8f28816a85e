//! The configuration file: TOML with optional keys; an unknown key is an error that names its line.

mod charts;
mod guard;
mod notify;
mod panel;
pub mod servers;

pub use charts::Charts;
pub use guard::{Guard, GuardAction, GuardMode, GuardRule, GuardState};
pub use notify::{Notify, TerminalNotice};
pub use panel::{PanelConfig, PanelPool, Profile};

use crate::format::duration::{
    deserialize as duration, maybe as maybe_duration, parse as parse_duration,
};
use crate::keys::Keymap;
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration file with all keys and their defaults, as `htap-top config` prints it.
pub const EXAMPLE: &str = include_str!("config.toml");

/// The configuration. Durations are written like `500ms`, `5s`, `2m`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time between samples of the fast panels.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// Theme: a built-in name, or a file in the configuration folder's `themes/`.
    pub theme: String,
    /// Characters that the timeline is drawn with.
    pub charts: Charts,
    /// How many columns of all panels are shown; by the size of the screen if not set.
    pub profile: Option<Profile>,
    /// Switch off all actions: no session that could act is ever opened.
    pub read_only: bool,
    /// Targets of figures.
    pub targets: Targets,
    /// Freshness target per materialized view (`"mart.sales_hourly_mv" = "5s"`), overriding
    /// `targets.freshness`.
    #[serde(deserialize_with = "durations")]
    pub freshness: BTreeMap<String, Duration>,
    /// Connection string of the pooler's admin console.
    pub pooler: Option<String>,
    /// Connection string of the column store.
    pub columnar: Option<String>,
    /// The servers to watch if the command line names none.
    pub servers: Option<Vec<servers::Server>>,
    /// The OLAP pool of the dashboard.
    pub olap: Olap,
    /// The point query whose latency is the OLTP latency.
    pub canary: Canary,
    /// Rules that assign backends to classes; the first match wins.
    #[serde(rename = "class")]
    pub classes: Vec<ClassRule>,
    /// Settings per panel.
    pub panels: BTreeMap<String, PanelConfig>,
    /// Keys bound to commands and panels.
    pub keys: Keymap,
    /// Recordings.
    pub record: Record,
    /// Actions without a key.
    pub guard: Guard,
    /// Notifications of dangers.
    pub notify: Notify,
    /// Audit file; `$XDG_STATE_HOME/htap-top/audit.jsonl` if not set.
    pub audit_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            theme: "dark".into(),
            charts: Charts::default(),
            profile: None,
            read_only: false,
            targets: Targets::default(),
            freshness: BTreeMap::new(),
            pooler: None,
            columnar: None,
            servers: None,
            olap: Olap::default(),
            canary: Canary::default(),
            classes: Vec::new(),
            panels: BTreeMap::new(),
            keys: Keymap::default(),
            record: Record::default(),
            guard: Guard::default(),
            notify: Notify::default(),
            audit_file: None,
        }
    }
}

/// Settings of recordings.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// Always record what a dashboard shows.
    pub always: bool,
    /// Maximum size of these recordings, in megabytes.
    pub limit_mb: u64,
    /// Record literals in statements instead of masking them.
    pub literals: bool,
    /// Folder of the recordings; `$XDG_STATE_HOME/htap-top/recordings` if not set.
    pub folder: Option<PathBuf>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            always: true,
            limit_mb: 64,
            literals: false,
            folder: None,
        }
    }
}

/// Targets of figures. The defaults are the case study's.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// 99th percentile of OLTP latency, in milliseconds.
    pub oltp_p99_ms: f64,
    /// Latency of an OLAP query.
    #[serde(deserialize_with = "duration")]
    pub olap_latency: Duration,
    /// Age of the data in materialized views without their own target.
    #[serde(deserialize_with = "maybe_duration")]
    pub freshness: Option<Duration>,
    /// Transactions per second that the system is designed for.
    pub tps: f64,
    /// Age of the oldest snapshot.
    #[serde(deserialize_with = "duration")]
    pub snapshot_age: Duration,
    /// Dead rows of the worst table, as a percentage of its rows.
    pub dead_pct: f64,
    /// Sessions of the OLTP pool.
    pub oltp_connections: u32,
    /// Sessions of the OLAP pool.
    pub olap_connections: u32,
    /// Longest wait of a client of the pooler for a server connection.
    #[serde(deserialize_with = "duration")]
    pub pooler_wait: Duration,
    /// Busy share of all cores of the server's machine, in percent.
    pub cpu_pct: f64,
    /// Free share of a disk in percent below which it is reported, unless 100 GB are left.
    pub disk_left_pct: f64,
    /// Age from which `X` cancels an OLAP statement.
    #[serde(deserialize_with = "duration")]
    pub olap_limit: Duration,
    /// Share of a target from which a warning is shown.
    pub warn_at: f64,
}

impl Targets {
    /// Returns the error in them, if any: a target that nothing or everything can meet is useless.
    fn fault(&self) -> Option<String> {
        let targets = [
            ("oltp_p99_ms", self.oltp_p99_ms),
            ("olap_latency", self.olap_latency.as_secs_f64()),
            (
                "freshness",
                self.freshness.map_or(1.0, |wanted| wanted.as_secs_f64()),
            ),
            ("tps", self.tps),
            ("snapshot_age", self.snapshot_age.as_secs_f64()),
            ("dead_pct", self.dead_pct),
            ("oltp_connections", f64::from(self.oltp_connections)),
            ("olap_connections", f64::from(self.olap_connections)),
            ("pooler_wait", self.pooler_wait.as_secs_f64()),
            ("cpu_pct", self.cpu_pct),
            ("disk_left_pct", self.disk_left_pct),
            ("olap_limit", self.olap_limit.as_secs_f64()),
        ];
        let wrong = |(_, value): &(&str, f64)| !(value.is_finite() && *value > 0.0);
        if let Some((name, value)) = targets.into_iter().find(wrong) {
            return Some(format!(
                "targets.{name} must be greater than 0, not {value}"
            ));
        }
        let warn_at = self.warn_at;
        (!(0.0..=1.0).contains(&warn_at))
            .then(|| format!("targets.warn_at must lie between 0 and 1, not {warn_at}"))
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            oltp_p99_ms: 50.0,
            olap_latency: Duration::from_secs(1),
            freshness: None,
            tps: 10_000.0,
            snapshot_age: Duration::from_secs(30),
            dead_pct: 20.0,
            oltp_connections: 100,
            olap_connections: 20,
            pooler_wait: Duration::from_secs(1),
            cpu_pct: 90.0,
            disk_left_pct: 10.0,
            olap_limit: Duration::from_secs(60),
            warn_at: 0.8,
        }
    }
}

/// The OLAP pool of the dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Olap {
    /// Maximum number of sessions, 1 to 20.
    pub connections: u8,
    /// work_mem of each session, in PostgreSQL's notation.
    pub work_mem: String,
    /// statement_timeout of each session.
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
    /// True to read business panels from the watched server while the pool's own server is lost, paused or promoted.
    pub fall_back: bool,
}

impl Default for Olap {
    fn default() -> Self {
        Self {
            connections: 3,
            work_mem: "512MB".into(),
            statement_timeout: Duration::from_secs(60),
            fall_back: true,
        }
    }
}

/// The point query whose latency is the OLTP latency.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// The statement; by default a product's price, or a row of pg_class if there is no shop.
    pub sql: Option<String>,
    /// Interval between two executions.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            sql: None,
            interval: Duration::from_millis(200),
        }
    }
}

/// Kind of work that a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkClass {
    /// Short transactions.
    Oltp,
    /// Analytic queries.
    Olap,
    /// Refreshes of materialized views.
    Refresh,
    /// Vacuum, analyze, index builds, backups, replication.
    Maintenance,
}

impl WorkClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Oltp, Self::Olap, Self::Refresh, Self::Maintenance];

    /// The name shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oltp => "oltp",
            Self::Olap => "olap",
            Self::Refresh => "refresh",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A rule for [`WorkClass`]: all given patterns must match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// The class.
    pub class: WorkClass,
    /// Pattern for the role.
    #[serde(default, deserialize_with = "pattern")]
    pub role: Option<Regex>,
    /// Pattern for application_name.
    #[serde(default, deserialize_with = "pattern")]
    pub application: Option<Regex>,
    /// Pattern for the database.
    #[serde(default, deserialize_with = "pattern")]
    pub database: Option<Regex>,
    /// Pattern for the query.
    #[serde(default, deserialize_with = "pattern")]
    pub query: Option<Regex>,
}

/// The reason why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, the key and the fix.
        message: String,
    },
}

impl Config {
    /// Reads `path`; a missing file is an error only if it was `asked_for` by name.
    pub fn load(path: &Path, asked_for: bool) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => {
                Ok(Self::default())
            }
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Parses the text of a configuration file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let fail = |message: String| ConfigError::Parse {
            path: path.to_owned(),
            message,
        };
        let mut config: Self =
            toml::from_str(text).map_err(|error| fail(with_nearest(&error.to_string())))?;
        config.keys.settle(text).map_err(fail)?;
        let servers = config.servers.as_deref();
        let servers = servers.and_then(servers::fault);
        if let Some(fault) = config.targets.fault().or(servers) {
            return Err(fail(fault));
        }
        if config.record.limit_mb == 0 {
            return Err(fail(
                "record.limit_mb must be at least 1; to record nothing, set always = false".into(),
            ));
        }
        if !(1..=20).contains(&config.olap.connections) {
            return Err(fail(format!(
                "olap.connections must lie between 1 and 20, not {}",
                config.olap.connections
            )));
        }
        // Five are reported together, and percentiles cover half a minute.
        if config.canary.interval < Duration::from_millis(10)
            || config.canary.interval > Duration::from_secs(5)
        {
            return Err(fail("canary.interval must lie between 10ms and 5s".into()));
        }
        if config.interval < Duration::from_millis(100)
            || config.interval > Duration::from_secs(3600)
        {
            return Err(fail("interval must lie between 100ms and 1h".into()));
        }
        match config.guard.fault().or(config.notify.fault()) {
            Some(fault) => Err(fail(fault)),
            None => Ok(config),
        }
    }

    /// Returns the freshness target configured for the view, and the one for all views, if set.
    pub fn freshness_of(&self, view: &str) -> (Option<Duration>, Option<Duration>) {
        (self.freshness.get(view).copied(), self.targets.freshness)
    }
}

/// `$XDG_CONFIG_HOME/htap-top`, or `~/.config/htap-top`.
pub fn folder(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    xdg(env, "XDG_CONFIG_HOME", ".config")
}

/// `$XDG_STATE_HOME/htap-top`, or `~/.local/state/htap-top`.
pub fn state_folder(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    xdg(env, "XDG_STATE_HOME", ".local/state")
}

fn xdg(env: &dyn Fn(&str) -> Option<String>, variable: &str, fallback: &str) -> PathBuf {
    let base = env(variable)
        .filter(|path| Path::new(path).is_absolute())
        .map(PathBuf::from);
    let base = base
        .unwrap_or_else(|| PathBuf::from(env("HOME").unwrap_or_else(|| "/".into())).join(fallback));
    base.join("htap-top")
}

/// Adds the closest known name to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_nearest(message: &str) -> String {
    let message = message.trim_end();
    if message.contains("[servers]") && message.contains("expected a sequence") {
        return format!("{message}\nwrite [[servers]], once for each server");
    }
    let quoted: Vec<&str> = message
        .find("unknown field `")
        .and_then(|start| message.get(start..))
        .map(|tail| tail.split('`').skip(1).step_by(2).collect())
        .unwrap_or_default();
    let Some((unknown, known)) = quoted.split_first() else {
        return message.to_owned();
    };
    match crate::text::nearest(unknown, known) {
        Some(nearest) => format!("{message}\ndid you mean `{nearest}`?"),
        None => message.to_owned(),
    }
}

fn durations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Duration>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let parsed = texts
        .into_iter()
        .map(|(view, text)| Ok((view, parse_duration(&text)?)));
    parsed
        .collect::<Result<_, String>>()
        .map_err(serde::de::Error::custom)
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    Regex::new(&String::deserialize(deserializer)?)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("config.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_optional_and_can_be_set() {
        let config = parse("").unwrap();
        assert!((config.targets.oltp_p99_ms - 50.0).abs() < f64::EPSILON);
        let config = parse(
            "interval = \"500ms\"\n[freshness]\n\"mart.x\" = \"2m\"\n[[class]]\nclass = \"olap\"\nrole = \"^bi_\"\n\
             [panels.bloat]\ninterval = \"1m\"\ncolumns = [\"relation\"]\nhide = [\"held_by\"]\nsort = \"-dead_pct\"\n",
        )
        .unwrap();
        let (own, others) = config.freshness_of("mart.x");
        assert_eq!((own, others), (Some(Duration::from_secs(120)), None));
        assert_eq!(config.freshness_of("mart.y").0, None);
        assert_eq!(config.classes.len(), 1);
        assert_eq!(
            config.panels["bloat"].interval,
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn the_example_holds_the_defaults() {
        let (example, default) = (parse(EXAMPLE).unwrap(), Config::default());
        // Maps and rules are examples; everything else is the default.
        let figures = |config: &Config| {
            format!(
                "{:?}{:?}{:?}{:?}{:?}{:?}",
                config.interval,
                config.targets,
                config.olap,
                config.theme,
                config.guard,
                config.notify
            )
        };
        assert_eq!(figures(&example), figures(&default));
        let uncommented: String = EXAMPLE
            .lines()
            .flat_map(|line| [line.trim_start_matches("#= "), "\n"])
            .collect();
        let full = parse(&uncommented).unwrap();
        assert!(!full.classes.is_empty() && !full.freshness.is_empty() && !full.panels.is_empty());
        assert_eq!(full.guard.rules.len(), 3);
    }

    #[test]
    fn a_guard_that_says_too_little_is_refused() {
        let rule = |text: &str| parse(&format!("[[guard.rule]]\n{text}"));
        let old = "name = \"a\"\naction = \"cancel\"\nlonger_than = \"60s\"";
        assert_eq!(rule(old).unwrap().guard.mode, GuardMode::DryRun);
        for (text, why) in [
            (
                "name = \"a\"\naction = \"cancel\"",
                "longer_than is required",
            ),
            (
                "name = \" \"\naction = \"cancel\"\nlonger_than = \"60s\"",
                "needs a name",
            ),
            (
                "name = \"a\"\naction = \"terminate\"\nlonger_than = \"60s\"",
                "must name its targets",
            ),
            (
                "name = \"a\"\naction = \"hold_refreshes\"",
                "needs oltp_p99_over_ms",
            ),
            ("name = \"a\"\naction = \"kill\"", "unknown variant"),
            (
                "name = \"a\"\naction = \"hold_refreshes\"\noltp_p99_over_ms = 5\nrole = \"x\"",
                "only oltp_p99_over_ms",
            ),
            (
                "name = \"a\"\naction = \"cancel\"\nlonger_than = \"60s\"\nstate = \"idle_in_transaction\"",
                "use terminate",
            ),
            (
                &format!("{old}\n[[guard.rule]]\n{old}"),
                "another rule has this name",
            ),
            (
                &format!("{old}\n[guard]\nper_minute = 0"),
                "between 1 and 60",
            ),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_list_of_servers_that_says_too_little_is_refused() {
        let shop = "[[servers]]\nname = \"shop\"\nconninfo = \"host=a\"\n";
        let config = parse(&format!("{shop}{}", shop.replace("shop", "reports"))).unwrap();
        assert_eq!(config.servers.unwrap().len(), 2);
        for (text, why) in [
            ("servers = []", "empty list: add a [[servers]]"),
            (&format!("{shop}{shop}"), "two are called \"shop\""),
            (&shop.replace("shop", " "), "number 1 needs a name"),
            (&shop.replace("host=a", ""), "shop needs a conninfo"),
            (
                &shop.replace("conninfo", "coninfo"),
                "did you mean `conninfo`?",
            ),
            (&shop.replace("name =", "#"), "missing field `name`"),
            (
                &shop.replace("[[servers]]", "[servers]"),
                "write [[servers]], once",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_names_line_and_cure() {
        let error = parse("theme = \"dark\"\nintervall = \"1s\"\n").unwrap_err();
        assert!(
            error.contains("line 2") && error.contains("did you mean `interval`?"),
            "{error}"
        );
        let error = parse("interval = \"1 fortnight\"").unwrap_err();
        assert!(error.contains("use ms, s, m, h or d"), "{error}");
        let error = parse("[[class]]\nclass = \"olap\"\nrole = \"(\"").unwrap_err();
        assert!(error.contains("unclosed group"), "{error}");
        assert!(
            parse("[targets]\nwarn_at = 3.0")
                .unwrap_err()
                .contains("between 0 and 1")
        );
        for target in [
            "tps = nan",
            "oltp_p99_ms = -1.0",
            "dead_pct = 0.0",
            "snapshot_age = \"0s\"",
            "olap_connections = 0",
        ] {
            let error = parse(&format!("[targets]\n{target}")).unwrap_err();
            assert!(
                error.contains("must be greater than 0"),
                "{target}: {error}"
            );
        }
        assert!(
            parse("[olap]\nconnections = 0")
                .unwrap_err()
                .contains("between 1 and 20")
        );
        for interval in ["0s", "1m"] {
            let error = parse(&format!("[canary]\ninterval = \"{interval}\"")).unwrap_err();
            assert!(error.contains("between 10ms and 5s"), "{error}");
        }
    }
}
