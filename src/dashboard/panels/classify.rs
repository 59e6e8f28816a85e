//! Classification of a backend's work: by configured rules first, then by names and queries.

use crate::config::{ClassRule, WorkClass};
use crate::pg::conninfo::APPLICATION_NAME;
use regex::Regex;

/// The known facts about a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session<'a> {
    /// Role.
    pub role: &'a str,
    /// application_name.
    pub application: &'a str,
    /// Database.
    pub database: &'a str,
    /// pg_stat_activity.backend_type.
    pub backend_type: &'a str,
    /// Its query.
    pub query: &'a str,
}

/// Seconds from which a transaction of this program is shown like any other.
const LONG_S: f64 = 10.0;
/// The role that refreshes the shop's views.
const REFRESHER: &str = "htap_refresh";

/// Beginning of the application name of `htap-top isolate`, which tells what it does: with the word OLAP.
const ISOLATION: &str = "htap-top isolate";

/// Assigns classes to sessions.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// Roles of this program's own sessions, which no panel shows.
    own_roles: Vec<String>,
    rules: Vec<ClassRule>,
    analytic: Option<Regex>,
    upkeep: Option<Regex>,
}

impl Classifier {
    /// Returns a classifier that applies the configured rules before the built-in ones.
    pub fn new(rules: Vec<ClassRule>, own_roles: Vec<String>) -> Self {
        Self {
            own_roles,
            rules,
            // Names of analytic clients, as roles or applications.
            analytic: Regex::new(
                "(?i)olap|report|analy|dashboard|metabase|superset|tableau|power ?bi|looker|grafana|notebook|\
                 jupyter|(^|[^a-z])(bi|adhoc|ad-hoc|dwh|etl)([^a-z]|$)",
            )
            .ok(),
            upkeep: Regex::new(
                "(?i)^\\s*(vacuum|analyze|create\\s+(unique\\s+)?index|reindex|cluster|alter|checkpoint)\\b",
            )
            .ok(),
        }
    }

    /// Returns true for sampling sessions of this program. Its refreshes are the user's work and are shown;
    /// they have another application name.
    pub fn is_own(&self, role: &str, application: &str) -> bool {
        base_name(application) == APPLICATION_NAME && self.own_roles.iter().any(|own| own == role)
    }

    /// Returns true if panels leave the session out: it is this program's own and its transaction is short.
    /// Anybody can use its name, and a long transaction is shown regardless of its owner.
    pub fn is_left_out(&self, role: &str, application: &str, age_s: Option<f64>) -> bool {
        self.is_own(role, application) && age_s.is_none_or(|age| age < LONG_S)
    }

    /// Returns true if the guard spares the session: an application name of this program, with a role of this
    /// program.
    pub fn is_spared(&self, role: &str, application: &str) -> bool {
        application.starts_with(APPLICATION_NAME)
            && (role == REFRESHER || self.own_roles.iter().any(|own| own == role))
    }

    /// Returns the class of `session`.
    pub fn classify(&self, session: &Session<'_>) -> WorkClass {
        let session = &Session {
            application: base_name(session.application),
            ..*session
        };
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern.as_ref().is_none_or(|regex| regex.is_match(text))
        };
        let configured = self.rules.iter().find(|rule| {
            fits(&rule.role, session.role)
                && fits(&rule.application, session.application)
                && fits(&rule.database, session.database)
                && fits(&rule.query, session.query)
        });
        if let Some(rule) = configured {
            return rule.class;
        }
        if is_refresh(session.query) {
            return WorkClass::Refresh;
        }
        let found = |regex: &Option<Regex>, text: &str| {
            regex.as_ref().is_some_and(|regex| regex.is_match(text))
        };
        let other_process = !matches!(
            session.backend_type,
            "" | "client backend" | "parallel worker"
        );
        if other_process
            || session.application.starts_with(ISOLATION)
            || matches!(
                session.application,
                "pg_dump" | "pg_dumpall" | "pg_basebackup" | "vacuumdb" | "reindexdb"
            )
            || found(&self.upkeep, without_comments(session.query))
        {
            return WorkClass::Maintenance;
        }
        if found(&self.analytic, session.role) || found(&self.analytic, session.application) {
            return WorkClass::Olap;
        }
        WorkClass::Oltp
    }
}

/// Returns the name that an application gave itself. PgBouncer (application_name_add_host) appends its
/// client's address: `storefront - 10.0.0.7:41234`.
pub fn base_name(application: &str) -> &str {
    let Some((name, address)) = application.rsplit_once(" - ") else {
        return application;
    };
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    let is_address = !address.contains(' ') && port.parse::<u16>().is_ok();
    if is_address { name } else { application }
}

/// Function calls that refresh a view or summary of the shop.
const REFRESHES: [&str; 4] = [
    "SELECT htap.refresh_view(",
    "SELECT htap.rebuild(",
    "SELECT htap.merge(",
    "SELECT changes, remaining FROM htap.merge(",
];

/// Returns true if a query is a refresh of a materialized view or a summary, ignoring leading comments.
pub fn is_refresh(query: &str) -> bool {
    // This program's form of refreshing a view whose name cannot be displayed.
    let query = without_comments(query.strip_prefix("DO /* ").unwrap_or(query));
    if REFRESHES.iter().any(|call| query.starts_with(call)) {
        return true;
    }
    let mut words = query.split_whitespace();
    ["refresh", "materialized", "view"]
        .iter()
        .all(|wanted| words.next().is_some_and(|w| w.eq_ignore_ascii_case(wanted)))
}

/// Returns a query without leading comments.
pub fn without_comments(query: &str) -> &str {
    let mut rest = query.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map(|(_, after)| after)
        } else {
            None
        };
        match after {
            Some(after) => rest = after.trim_start(),
            None => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_queries_tell_the_class() {
        let classifier = Classifier::new(Vec::new(), Vec::new());
        let class = |role, application, query| {
            classifier.classify(&Session {
                role,
                application,
                query,
                backend_type: "client backend",
                ..Session::default()
            })
        };
        assert_eq!(
            class("app", "checkout", "UPDATE inventory"),
            WorkClass::Oltp
        );
        assert_eq!(class("htap_olap", "", "SELECT 1"), WorkClass::Olap);
        assert_eq!(class("app", "bi-report", "SELECT 1"), WorkClass::Olap);
        assert_eq!(class("mobile", "billing", "SELECT 1"), WorkClass::Oltp);
        assert_eq!(
            class("app", "psql", "refresh  materialized view x"),
            WorkClass::Refresh
        );
        assert_eq!(
            class(
                "app",
                "psql",
                "/* cron */ -- nightly\nREFRESH MATERIALIZED VIEW x"
            ),
            WorkClass::Refresh
        );
        for call in [
            "SELECT htap.refresh_view('mart.sales_hourly_mv', true)",
            "/* htap-top */ SELECT changes, remaining FROM htap.merge($1, $2)",
        ] {
            assert_eq!(class("app", "psql", call), WorkClass::Refresh);
        }
        assert_eq!(
            class("app", "psql", " VACUUM orders"),
            WorkClass::Maintenance
        );
        assert_eq!(
            class("app", "pg_dump", "COPY x TO stdout"),
            WorkClass::Maintenance
        );
        assert_eq!(
            class("app", "metabase - 10.0.0.7:41234", "SELECT 1"),
            WorkClass::Olap
        );
        assert_eq!(
            class("app", "pg_dump - unix(7@):0", "COPY x TO stdout"),
            WorkClass::Maintenance
        );
        for (name, base) in [
            ("htap-top - 127.0.0.1:5", "htap-top"),
            ("a - b - [::1]:6", "a - b"),
            ("a - b", "a - b"),
            ("a - b:c", "a - b:c"),
            ("a - b c:1", "a - b c:1"),
            ("", ""),
        ] {
            assert_eq!(base_name(name), base);
        }
        let worker = Session {
            backend_type: "autovacuum worker",
            ..Session::default()
        };
        assert_eq!(classifier.classify(&worker), WorkClass::Maintenance);
    }
    #[test]
    fn the_session_of_isolate_is_maintenance_although_it_names_olap() {
        let session = Session {
            role: "reports",
            application: "htap-top isolate: olap 25% by cgroup v1 cpu.shares",
            backend_type: "client backend",
            ..Session::default()
        };
        let classifier = Classifier::new(Vec::new(), Vec::new());
        assert_eq!(classifier.classify(&session), WorkClass::Maintenance);
    }
}
