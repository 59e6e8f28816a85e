//! On real servers: the server's facts are queried until they are answered, and renewed; refused and unknown
//! figures; traces of this program's own work.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::without_host;
use super::server::{Database, Order, PATIENCE, Patience, Server, block_on, shared};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::feed::Feed;
use htap_top::dashboard::model::{Link, Model, Start};
use htap_top::dashboard::output::{self, prometheus};
use htap_top::dashboard::panels;
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::runtime::Targets;
use htap_top::dashboard::runtime::headless::Headless;
use htap_top::pg::{Target, Value};
use tokio::time::timeout;

/// A dashboard without a screen, connected to the target.
pub(super) fn watch(target: &Target, panels: &[&str]) -> Headless {
    watch_both(target, None, panels)
}

/// The same, with the admin console of a pooler.
pub(super) fn watch_both(target: &Target, pooler: Option<Target>, panels: &[&str]) -> Headless {
    let config = without_host(Config::default());
    watch_with(config, target, pooler, panels)
}

/// The same, with this configuration.
pub(super) fn watch_with(
    config: Config,
    target: &Target,
    pooler: Option<Target>,
    panels: &[&str],
) -> Headless {
    let target = target.with_application_name("htap-top");
    let start = Start {
        config,
        built_in: panels::built_in().unwrap(),
        own_panels: Vec::new(),
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Vec::new(),
        target: "test".into(),
        olap_target: None,
        olap_server: None,
        pooler: pooler.as_ref().map(|_| "pooler".into()),
        columnar: None,
        own_roles: vec![target.user().to_owned()],
        demo: false,
        server: None,
    };
    let targets = Targets::new(target, None, pooler);
    let panels: Vec<String> = panels.iter().map(|panel| (*panel).to_owned()).collect();
    Headless::start(start, targets, &panels, false)
}

/// Continues until the condition holds.
pub(super) async fn until(headless: &mut Headless, what: &str, good: impl Fn(&Model) -> bool) {
    let patience = Patience::begin();
    while !good(&headless.model) {
        assert!(
            patience.lasts(),
            "{what}: {:?}, {:?}",
            headless.model.cause,
            headless.model.unknown
        );
        let _ = timeout(PATIENCE, headless.step()).await;
    }
}

pub(super) fn feed<'a>(model: &'a Model, name: &str) -> &'a Feed {
    model
        .feed_named(name)
        .and_then(|id| model.feed(id))
        .unwrap()
}

pub(super) fn is_unknown(model: &Model, what: &str, why: &str) -> bool {
    let mut unknown = model.unknown.iter();
    unknown.any(|unknown| unknown.what == what && unknown.why.contains(why))
}

/// Sentences that must not appear while something is unknown.
fn assert_honest(model: &Model) {
    let sentence = &model.cause.sentence;
    assert!(
        model.unknown.is_empty() || !sentence.contains("all targets held"),
        "{sentence}: {:?}",
        model.unknown
    );
    assert!(
        model.cause.health != Health::Good || model.unknown.is_empty(),
        "{:?}",
        model.unknown
    );
}

#[test]
fn a_lock_at_connect_costs_what_rests_on_it_and_no_more() {
    block_on(async {
        let database = shared().database("facts").await;
        let admin = database.connect().await;
        admin
            .batch("BEGIN; LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        let mut headless = watch(&database.target(), &[]);
        until(&mut headless, "figures beside the lock", |model| {
            model.rows(Panel::Database).first("xact_commit").is_known()
                && feed(model, "extensions").sampling.failures > 1
        })
        .await;
        headless.model.judge();
        assert!(
            is_unknown(&headless.model, "extensions", "55P03"),
            "{:?}",
            headless.model.unknown
        );
        assert_honest(&headless.model);
        admin.batch("COMMIT").await.unwrap();
        until(&mut headless, "the extensions", |model| {
            feed(model, "extensions").sampling.error.is_none()
                && !feed(model, "statement_totals").sampling.missing.is_empty()
        })
        .await;
        admin
            .batch("CREATE EXTENSION pg_stat_statements")
            .await
            .unwrap();
        until(&mut headless, "the extension that was created", |model| {
            feed(model, "statement_totals").sampling.at.is_some()
        })
        .await;
        admin
            .batch("DROP EXTENSION pg_stat_statements")
            .await
            .unwrap();
        until(&mut headless, "the extension that was dropped", |model| {
            !feed(model, "statement_totals").sampling.missing.is_empty()
        })
        .await;
    });
}

/// Facts that cannot be read at first are queried again, and meanwhile the reason is shown.
#[test]
fn facts_are_asked_until_they_are_told() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("facts").await;
        let admin = database.connect().await;
        let refuse =
            "REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC; CREATE ROLE facts_plain LOGIN";
        admin.batch(refuse).await.unwrap();
        let mut headless = watch(&database.target_of("facts_plain"), &[]);
        until(&mut headless, "the reason", |model| {
            feed(model, "facts").sampling.failures > 1
        })
        .await;
        let model = &headless.model;
        assert!(is_unknown(model, "facts", "42501"), "{:?}", model.unknown);
        assert_honest(model);
        let why = output::unmeasured(model).unwrap();
        assert!(why.contains("pg_settings"), "{why}");
        admin
            .batch("GRANT SELECT ON pg_catalog.pg_settings TO PUBLIC")
            .await
            .unwrap();
        until(&mut headless, "the facts", |model| {
            model.facts.is_some() && output::unmeasured(model).is_none()
        })
        .await;
    });
}

/// Waits for the condition; returns how many samples of the counters were taken until then.
async fn samples_until(headless: &mut Headless, good: impl Fn(&Model) -> bool) -> usize {
    let now = |model: &Model| model.rows(Panel::Database).first("now_epoch").number();
    let (mut last, mut samples) = (now(&headless.model), 0);
    let patience = Patience::begin();
    while !good(&headless.model) {
        assert!(patience.lasts(), "{samples} samples");
        headless.step().await;
        let at = now(&headless.model);
        samples += usize::from(at != last);
        last = at;
    }
    samples
}

fn installed(model: &Model) -> bool {
    let facts = model.facts.as_ref();
    facts.is_some_and(|facts| facts.first("pgss_version").is_known())
}

/// On the same sessions, and without waiting for the next reading of the facts, which is 10 s away.
#[test]
fn promotion_and_extensions_are_seen_within_two_intervals() {
    block_on(async {
        let primary = Server::alone();
        let standby = primary.replica();
        let target = standby.target("postgres", "postgres");
        let mut headless = watch(&target, &[]);
        let is_standby = |model: &Model| {
            let facts = model.facts.as_ref();
            facts.map(|facts| facts.first("in_recovery").is_true())
        };
        until(&mut headless, "a standby", |model| {
            is_standby(model) == Some(true)
                && model.rows(Panel::Database).first("xact_commit").is_known()
        })
        .await;
        let admin = htap_top::pg::Client::connect(&target).await.unwrap();
        admin.query("SELECT pg_promote()", &[]).await.unwrap();
        let promoted = |model: &Model| is_standby(model) == Some(false);
        let samples = samples_until(&mut headless, promoted).await;
        assert!(samples <= 2, "the promotion after {samples} samples");
        for (sql, present) in [
            ("CREATE EXTENSION pg_stat_statements", true),
            ("DROP EXTENSION pg_stat_statements", false),
        ] {
            admin.batch(sql).await.unwrap();
            let samples = samples_until(&mut headless, |model| installed(model) == present).await;
            assert!(samples <= 2, "{sql} after {samples} samples");
        }
        let model = &headless.model;
        assert!(matches!(model.fast, Link::Live(_)));
        let told = model
            .log
            .iter()
            .filter(|line| line.text.as_str().contains("promoted"));
        assert_eq!(told.count(), 1, "{:?}", model.log);
        let lost = model
            .log
            .iter()
            .filter(|line| line.text.as_str().contains("lost"));
        assert_eq!(lost.count(), 0, "{:?}", model.log);
    });
}

/// Refuses what providers are known to refuse, and more: by an error inside a function, as Aurora does, and
/// by a privilege.
async fn forbid(database: &Database<'_>) {
    let admin = database.connect().await;
    admin
        .batch(
            "SET allow_system_table_mods = on;
             ALTER FUNCTION pg_catalog.pg_current_wal_lsn() RENAME TO the_real_one;
             CREATE FUNCTION pg_catalog.pg_current_wal_lsn() RETURNS pg_lsn LANGUAGE plpgsql AS
             $$BEGIN RAISE EXCEPTION 'Function pg_current_wal_lsn() is currently not supported'
                     USING ERRCODE = 'feature_not_supported'; END$$;
             ALTER FUNCTION pg_catalog.pg_control_system() RENAME TO the_real_other;
             CREATE FUNCTION pg_catalog.pg_control_system(OUT pg_control_version int4,
                 OUT catalog_version_no int4, OUT system_identifier int8, OUT pg_control_last_modified timestamptz)
             RETURNS record LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'pg_control_system is not for you'; END$$;
             REVOKE EXECUTE ON FUNCTION pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_current_snapshot(),
                 pg_catalog.pg_prepared_xact(), pg_catalog.pg_get_replication_slots(),
                 pg_catalog.pg_stat_get_archiver(), pg_catalog.pg_blocking_pids(int4),
                 pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn(),
                 pg_catalog.pg_last_xact_replay_timestamp(), pg_catalog.pg_xact_commit_timestamp(xid),
                 pg_catalog.pg_stat_get_wal_receiver() FROM PUBLIC;
             CREATE ROLE facts_hosted LOGIN; GRANT pg_monitor TO facts_hosted",
        )
        .await
        .unwrap();
}

#[test]
fn a_function_that_a_provider_forbids_costs_its_own_figures() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("hosted").await;
        forbid(&database).await;
        let panels = ["wal", "replication", "activity", "views"];
        let mut headless = watch(&database.target_of("facts_hosted"), &panels);
        let told = [
            "database",
            "wal",
            "replication",
            "activity",
            "views",
            "snapshots",
        ];
        until(&mut headless, "all panels", |model| {
            let told = told.iter().map(|name| feed(model, name));
            told.into_iter().all(|feed| feed.sampling.at.is_some())
                && model.history.oltp.tps.is_some()
        })
        .await;
        headless.model.judge();
        let model = &headless.model;
        let row = model.rows(Panel::Database);
        assert_eq!(row.first("wal_lsn_bytes"), &Value::Unavailable);
        assert_eq!(row.first("postmaster_start"), &Value::Unavailable);
        for name in ["now_epoch", "xact_commit", "numbackends_all", "checkpoints"] {
            assert!(row.first(name).is_known(), "{name}: {row:?}");
        }
        let wal = model.rows(Panel::Wal);
        assert_eq!(wal.first("wal_lsn_bytes"), &Value::Unavailable);
        assert!(wal.first("max_wal_size_bytes").is_known(), "{wal:?}");
        let sheets = output::sheets(model, &["database".to_owned()]);
        let why = sheets[0]
            .lacks
            .iter()
            .find(|(name, _)| name == "wal_lsn_bytes");
        assert!(why.unwrap().1.contains("not supported"), "{why:?}");
        let text = prometheus::text(model, &output::default_sheets(model)).unwrap();
        assert!(text.contains("\nhtap_top_up 1"), "{text}");
        assert!(
            text.contains("htap_top_unknown{what=\"snapshots: prepared\""),
            "{text}"
        );
        // Invisible holders are not the same as none.
        assert!(
            is_unknown(model, "snapshots: slot", "42501"),
            "{:?}",
            model.unknown
        );
        assert_honest(model);
    });
}

#[test]
fn a_target_that_nobody_measures_is_not_held() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("blind").await;
        let admin = database.connect().await;
        admin
            .batch(
                "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_get_dead_tuples(oid) FROM PUBLIC;
                 CREATE ROLE facts_blind LOGIN; GRANT pg_monitor TO facts_blind",
            )
            .await
            .unwrap();
        let mut headless = watch(&database.target_of("facts_blind"), &[]);
        until(&mut headless, "the other targets", |model| {
            let known = model
                .gauges
                .iter()
                .filter(|gauge| gauge.health == Health::Good);
            feed(model, "bloat").sampling.error.is_some() && known.count() >= 5
        })
        .await;
        headless.model.judge();
        let model = &headless.model;
        assert_honest(model);
        assert_eq!(model.cause.health, Health::Unknown);
        assert!(
            is_unknown(model, "dead", "pg_stat_get_dead_tuples"),
            "{:?}",
            model.unknown
        );
        let sentence = &model.cause.sentence;
        assert!(
            sentence.contains("not known: dead") && sentence.contains("pg_stat_get_dead_tuples"),
            "{sentence}"
        );
    });
}

/// A server on which only this program works.
#[test]
fn an_idle_server_is_idle() {
    block_on(async {
        let settings = vec![(
            "shared_preload_libraries".into(),
            "pg_stat_statements".into(),
        )];
        let server = Server::start(&Order {
            settings,
            ..Order::default()
        });
        let database = server.database("idle").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE EXTENSION pg_stat_statements; CREATE TABLE sold (n int);
                 CREATE MATERIALIZED VIEW idle_view AS SELECT n FROM sold; CREATE ROLE facts_load LOGIN;
                 GRANT SELECT ON sold TO facts_load; ALTER MATERIALIZED VIEW idle_view OWNER TO facts_load;
                 SELECT pg_stat_statements_reset()",
            )
            .await
            .unwrap();
        let load = database.connect_as("facts_load").await;
        load.batch("REFRESH MATERIALIZED VIEW idle_view")
            .await
            .unwrap();
        let mut headless = watch(&database.target(), &["statements", "databases"]);
        let mut seen = Vec::new();
        until(&mut headless, "transactions per second", |model| {
            model.history.oltp.tps.is_some()
        })
        .await;
        let mut last = 0.0;
        while seen.len() < 8 {
            headless.step().await;
            let at = headless
                .model
                .rows(Panel::Database)
                .first("now_epoch")
                .number()
                .unwrap();
            if at > last {
                last = at;
                seen.push(headless.model.history.oltp.tps.unwrap());
            }
        }
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        // It finishes some 20 transactions per second itself; sessions report them up to a second late.
        assert!(mean < 5.0, "transactions per second of nobody: {seen:?}");
        until(&mut headless, "its own statements", |model| {
            let totals = feed(model, "statement_totals");
            totals.sampling.at.is_some() && totals.sql.contains("'{-") | totals.sql.contains("'{1")
        })
        .await;
        let model = &headless.model;
        let table = model.rows(Panel::Statements);
        let rows = 0..table.rows.len();
        let text =
            |row: usize, name: &str| table.get(row, name).text().unwrap_or_default().to_owned();
        for row in rows.clone() {
            let query = text(row, "query");
            assert!(
                !query.contains("htap-top") && !query.contains("pg_stat_database"),
                "{query}"
            );
        }
        let mut refreshes = rows.filter(|row| text(*row, "query").starts_with("REFRESH"));
        assert_eq!(text(refreshes.next().unwrap(), "class"), "refresh");
    });
}
