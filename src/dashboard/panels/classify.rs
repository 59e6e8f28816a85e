//! Which kind of work a backend does: configured rules first, then what names and queries tell.

use crate::config::{ClassRule, WorkClass};
use crate::pg::conninfo::APPLICATION_NAME;
use regex::Regex;

/// What is known of a session.
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

/// A transaction of our own that is older, in seconds, is shown like any other.
const LONG_S: f64 = 10.0;
/// The role that refreshes the shop's views.
const REFRESHER: &str = "htap_refresh";

/// Decides a session's class.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// Roles of this program's own sessions, which no panel shows.
    own_roles: Vec<String>,
    rules: Vec<ClassRule>,
    analytic: Option<Regex>,
    upkeep: Option<Regex>,
}

impl Classifier {
    /// A classifier with the configured rules in front of the built-in ones.
    pub fn new(rules: Vec<ClassRule>, own_roles: Vec<String>) -> Self {
        Self {
            own_roles,
            rules,
            // Role and application names of analytic clients.
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

    /// Returns true if a session is one of this program's own sampling sessions. A refresh that it was asked
    /// for is the user's work and is shown: it calls itself otherwise.
    pub fn is_own(&self, role: &str, application: &str) -> bool {
        base_name(application) == APPLICATION_NAME && self.own_roles.iter().any(|own| own == role)
    }

    /// Returns true if it is left out of the panels: one of our own, as long as it is short. A name can be anybody's, and
    /// what holds others up for long is shown whosever it is.
    pub fn is_left_out(&self, role: &str, application: &str, age_s: Option<f64>) -> bool {
        self.is_own(role, application) && age_s.is_none_or(|age| age < LONG_S)
    }

    /// Returns true if the guard spares it: this program's work, by a role that does this program's work.
    pub fn is_spared(&self, role: &str, application: &str) -> bool {
        application.starts_with(APPLICATION_NAME)
            && (role == REFRESHER || self.own_roles.iter().any(|own| own == role))
    }

    /// The class of `session`.
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

/// The name that an application gave itself. PgBouncer (application_name_add_host) writes its client's address
/// behind it: `storefront - 10.0.0.7:41234`.
pub fn base_name(application: &str) -> &str {
    let Some((name, address)) = application.rsplit_once(" - ") else {
        return application;
    };
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    let is_address = !address.contains(' ') && port.parse::<u16>().is_ok();
    if is_address { name } else { application }
}

/// How a view or summary of the shop is refreshed by a function.
const REFRESHES: [&str; 4] = [
    "SELECT htap.refresh_view(",
    "SELECT htap.rebuild(",
    "SELECT htap.merge(",
    "SELECT changes, remaining FROM htap.merge(",
];

/// Returns true if a query text is a refresh of a materialized view or a summary, whatever comments stand before it.
pub fn is_refresh(query: &str) -> bool {
    // As this program refreshes a view whose name cannot be shown.
    let query = without_comments(query.strip_prefix("DO /* ").unwrap_or(query));
    if REFRESHES.iter().any(|call| query.starts_with(call)) {
        return true;
    }
    let mut words = query.split_whitespace();
    ["refresh", "materialized", "view"]
        .iter()
        .all(|wanted| words.next().is_some_and(|w| w.eq_ignore_ascii_case(wanted)))
}

/// A query text from its first word on.
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
}
