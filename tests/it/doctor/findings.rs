//! Every trouble is found with the statement that fixes it, and no longer after that was run.

use super::{each, examined, found, is_sound, of, shop};
use crate::it::server::{Order, Patience, Server, block_on, shared};
use htap_top::doctor::{Examination, Severity, Status, check};
use htap_top::pg::Client;

/// A neglected server: forced vacuums come early, and autovacuum never runs.
fn neglected() -> Server {
    let settings = [
        ("htap_top.throw_away", "off"),
        ("shared_preload_libraries", ""),
        ("autovacuum", "off"),
        ("autovacuum_naptime", "1h"),
        ("autovacuum_freeze_max_age", "100000"),
        ("track_io_timing", "off"),
        ("track_commit_timestamp", "off"),
        ("track_activity_query_size", "1024"),
        ("checkpoint_timeout", "60"),
    ];
    Server::start(&Order {
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Order::default()
    })
}

/// Checks severity and cure of a finding.
#[track_caller]
fn tells(examination: &Examination, check: &str, subject: &str, severity: Severity, cure: &str) {
    let finding = found(examination, check, subject);
    assert_eq!(finding.severity, severity, "{finding:#?}");
    assert!(finding.cure.as_str().contains(cure), "{finding:#?}");
}

async fn rows(client: &Client, sql: &str) -> usize {
    client.query(sql, &[]).await.unwrap().rows.len()
}

/// Check, subject, severity, and a part of the cure.
type Expected = (&'static str, &'static str, Severity, &'static str);

const LACKS: [Expected; 15] = [
    (
        "durability",
        "fsync",
        Severity::Danger,
        "ALTER SYSTEM SET fsync = on",
    ),
    (
        "durability",
        "full_page_writes",
        Severity::Danger,
        "full_page_writes = on",
    ),
    (
        "durability",
        "synchronous_commit",
        Severity::Warning,
        "synchronous_commit = on",
    ),
    (
        "statements",
        "pg_stat_statements",
        Severity::Warning,
        "SET shared_preload_libraries = 'pg_stat_statements'; restart",
    ),
    (
        "tracking",
        "track_io_timing",
        Severity::Info,
        "track_io_timing = on",
    ),
    (
        "tracking",
        "track_activity_query_size",
        Severity::Info,
        "'4kB'",
    ),
    ("schema", "shop", Severity::Info, "htap-top init -d plain"),
    (
        "limits",
        "a, \"b c\"",
        Severity::Warning,
        "ALTER ROLE \"b c\" SET idle_in_transaction_session_timeout",
    ),
    (
        "limits",
        "idle_in_transaction_session_timeout",
        Severity::Warning,
        "ALTER SYSTEM SET idle_in",
    ),
    (
        "limits",
        "max_connections",
        Severity::Info,
        "ALTER SYSTEM SET max_connections = ",
    ),
    (
        "autovacuum",
        "autovacuum",
        Severity::Danger,
        "ALTER SYSTEM SET autovacuum = on",
    ),
    (
        "checkpoints",
        "max_wal_size",
        Severity::Warning,
        "SET max_wal_size = '2048MB'",
    ),
    (
        "checkpoints",
        "checkpoint_timeout",
        Severity::Warning,
        "checkpoint_timeout = '5min'",
    ),
    (
        "slots",
        "unread",
        Severity::Warning,
        "pg_drop_replication_slot('unread')",
    ),
    (
        "slots",
        "unused",
        Severity::Info,
        "pg_drop_replication_slot('unused')",
    ),
];

#[test]
fn what_a_server_lacks_is_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("plain").await;
        let admin = database.connect().await;
        each(
            &admin,
            &[
                "CREATE ROLE a LOGIN",
                "CREATE ROLE \"b c\" LOGIN",
                "CREATE ROLE many LOGIN CONNECTION LIMIT 200",
                "SELECT pg_create_physical_replication_slot('unread', true)",
                "SELECT pg_create_physical_replication_slot('unused')",
            ],
        )
        .await;
        each(&admin, &["CHECKPOINT"; 11]).await;
        let told = examined(&database, "postgres").await;
        is_sound(&told, "postgres");
        for (check, subject, severity, cure) in LACKS {
            tells(&told, check, subject, severity, cure);
        }
        // A role with its own limits does not see the server's default, and that hides nothing.
        each(&admin, &["ALTER ROLE a SET statement_timeout = '5s'"]).await;
        let told = examined(&database, "a").await;
        tells(
            &told,
            "limits",
            "\"b c\"",
            Severity::Warning,
            "ALTER ROLE \"b c\"",
        );
        let statements = of(&told, "statements");
        assert_eq!(statements.status(), Status::Warning);
        assert!(
            statements.reason.is_some(),
            "whether it is loaded is hidden"
        );
    });
}

#[test]
fn what_is_not_recorded_is_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("untracked").await;
        let admin = database.connect().await;
        for setting in ["track_counts", "track_activities"] {
            let switch = format!("ALTER DATABASE {} SET {setting} = off", database.name);
            admin.batch(&switch).await.unwrap();
        }
        let told = examined(&database, "postgres").await;
        for (check, subject, severity, cure) in [
            (
                "tracking",
                "track_counts",
                Severity::Danger,
                "track_counts = on",
            ),
            (
                "tracking",
                "track_activities",
                Severity::Warning,
                "track_activities = on",
            ),
            ("rules", "dead_rows", Severity::Info, "track_counts = on"),
            (
                "rules",
                "busy_backend",
                Severity::Info,
                "track_activities = on",
            ),
        ] {
            tells(&told, check, subject, severity, cure);
        }
    });
}

#[test]
fn ids_that_run_out_and_prepared_transactions_are_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("ids").await;
        let admin = database.connect().await;
        each(
            &admin,
            &[
                "CREATE TABLE t (id int)",
                "BEGIN",
                "INSERT INTO t VALUES (1)",
                "PREPARE TRANSACTION 'it''s left'",
            ],
        )
        .await;
        let old = check::all(i64::from(server.major())).unwrap();
        let prepared = old.iter().find(|check| check.name == "prepared").unwrap();
        assert_eq!(rows(&admin, &prepared.sql).await, 0, "it is young");
        let now = prepared.sql.replace("5 minutes", "0 minutes");
        let table = admin.query(&now, &[]).await.unwrap();
        assert_eq!(table.first("severity").text(), Some("danger"));
        assert_eq!(
            table.first("cure").text(),
            Some(
                format!(
                    "in database {}, as its owner or a superuser: COMMIT PREPARED 'it''s left' or ROLLBACK \
                     PREPARED 'it''s left', whichever the application's transaction manager says; the wrong one \
                     loses or corrupts its data",
                    database.name
                )
                .as_str()
            )
        );
        assert_eq!(
            of(&examined(&database, "postgres").await, "wraparound").status(),
            Status::Ok
        );
        // Each block that catches an exception is a subtransaction with its own id.
        let burn = "DO $$BEGIN FOR i IN 1..210000 LOOP BEGIN INSERT INTO t VALUES (i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END$$";
        admin.batch(burn).await.unwrap();
        let told = examined(&database, "postgres").await;
        tells(
            &told,
            "wraparound",
            &database.name,
            Severity::Warning,
            "VACUUM (FREEZE)",
        );
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn what_views_lack_is_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("views").await;
        let admin = database.connect().await;
        each(
            &admin,
            &[
                "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT g AS id, g % 7 AS kind FROM generate_series(1, 5000) AS g",
                "CREATE MATERIALIZED VIEW s.good AS SELECT id FROM s.t; CREATE UNIQUE INDEX ON s.good (id)",
                "CREATE MATERIALIZED VIEW s.keyed AS SELECT id, kind FROM s.t; ANALYZE s.keyed",
                "CREATE MATERIALIZED VIEW s.keyless AS SELECT kind FROM s.t; ANALYZE s.keyless",
                "CREATE MATERIALIZED VIEW s.partial AS SELECT kind FROM s.t; CREATE UNIQUE INDEX ON s.partial (kind) WHERE kind < 0",
                "CREATE MATERIALIZED VIEW s.empty AS SELECT id FROM s.t WITH NO DATA; CREATE UNIQUE INDEX ON s.empty (id)",
                "CREATE MATERIALIZED VIEW s.clock AS SELECT id, now() AS at FROM s.t; CREATE UNIQUE INDEX ON s.clock (id)",
                "CREATE MATERIALIZED VIEW s.broken AS SELECT kind FROM s.t",
            ],
        )
        .await;
        let failed = admin.batch("CREATE UNIQUE INDEX CONCURRENTLY broken_key ON s.broken (kind)");
        assert_eq!(failed.await.unwrap_err().code(), "23505");
        let told = examined(&database, "postgres").await;
        is_sound(&told, "postgres");
        for (subject, cure) in [
            (
                "s.keyed",
                "CREATE UNIQUE INDEX CONCURRENTLY ON s.keyed (id)",
            ),
            (
                "s.keyless",
                "CREATE UNIQUE INDEX CONCURRENTLY ON s.keyless (...)",
            ),
            (
                "s.partial",
                "CREATE UNIQUE INDEX CONCURRENTLY ON s.partial (...)",
            ),
            ("s.empty", "REFRESH MATERIALIZED VIEW s.empty"),
            ("s.clock", "create it again without that column"),
            ("s.broken", "REINDEX INDEX CONCURRENTLY s.broken_key"),
        ] {
            tells(&told, "views", subject, Severity::Warning, cure);
        }
        assert_eq!(of(&told, "views").findings.len(), 6);
        tells(
            &told,
            "indexes",
            "s.broken_key",
            Severity::Warning,
            "DROP INDEX CONCURRENTLY s.broken_key",
        );
        // A rebuild would fail again, so the cure begins with a query for the duplicate rows.
        let cure = found(&told, "indexes", "s.broken_key").cure.as_str();
        let look = cure.split(';').next().unwrap();
        assert!(look.ends_with("HAVING count(*) > 1"), "{cure}");
        let equal = admin.query(look, &[]).await.unwrap();
        assert!(equal.first("count").int().unwrap() > 1, "{look}");
        tells(
            &told,
            "tracking",
            "track_commit_timestamp",
            Severity::Warning,
            "restart the server",
        );
        found(&told, "rules", "late_view");
        // The cure as written fixes it.
        let cure = found(&told, "views", "s.keyed").cure.as_str().to_owned();
        each(
            &admin,
            &[&cure, "REFRESH MATERIALIZED VIEW CONCURRENTLY s.keyed"],
        )
        .await;
        let told = examined(&database, "postgres").await;
        assert_eq!(of(&told, "views").findings.len(), 5);
    });
}

/// Counters become visible a moment after the statement.
async fn until_found(
    database: &crate::it::server::Database<'_>,
    check: &str,
    subject: &str,
) -> Examination {
    let patience = Patience::begin();
    loop {
        let told = examined(database, "postgres").await;
        let outcome = of(&told, check);
        if (outcome.findings.iter()).any(|finding| finding.subject.as_str() == subject) {
            return told;
        }
        assert!(patience.lasts(), "{subject} is not found: {outcome:#?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn what_tables_lack_is_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("tables").await;
        let admin = database.connect().await;
        each(
            &admin,
            &[
                "CREATE TABLE hot (id int PRIMARY KEY, n int); CREATE INDEX ON hot (n)",
                "INSERT INTO hot SELECT g, g FROM generate_series(1, 1000000) AS g",
                "ANALYZE hot",
                "CREATE TABLE off (id int) WITH (autovacuum_enabled = off)",
                "CREATE TABLE unknown AS SELECT g AS id FROM generate_series(1, 20000) AS g",
                "CREATE TABLE small AS SELECT 1 AS id",
                "CREATE TABLE parted (id int) PARTITION BY HASH (id)",
                "CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
                "INSERT INTO parted SELECT g FROM generate_series(1, 20000) AS g; ANALYZE parted_0",
            ],
        )
        .await;
        let told = until_found(&database, "analyze", "public.unknown").await;
        is_sound(&told, "postgres");
        tells(
            &told,
            "analyze",
            "public.unknown",
            Severity::Warning,
            "ANALYZE public.unknown",
        );
        tells(
            &told,
            "analyze",
            "public.parted",
            Severity::Info,
            "ANALYZE public.parted",
        );
        assert_eq!(of(&told, "analyze").findings.len(), 2);
        tells(
            &told,
            "autovacuum",
            "public.off",
            Severity::Info,
            "ALTER TABLE public.off RESET (autovacuum_enabled)",
        );
        assert_eq!(of(&told, "hot_updates").status(), Status::Ok);
        each(&admin, &["UPDATE hot SET n = n + 1 WHERE id <= 150000"]).await;
        let told = until_found(&database, "hot_updates", "public.hot").await;
        assert!(
            found(&told, "hot_updates", "public.hot")
                .cure
                .as_str()
                .contains("SET (fillfactor = 85)")
        );
        tells(
            &told,
            "autovacuum",
            "public.hot",
            Severity::Warning,
            "autovacuum_vacuum_scale_factor = 0.01",
        );
        each(
            &admin,
            &[
                "ALTER TABLE hot SET (autovacuum_vacuum_scale_factor = 0.01, fillfactor = 85)",
                "ANALYZE unknown; ANALYZE parted",
            ],
        )
        .await;
        let told = examined(&database, "postgres").await;
        assert_eq!(of(&told, "hot_updates").status(), Status::Ok);
        assert_eq!(of(&told, "analyze").status(), Status::Ok);
        assert_eq!(
            of(&told, "autovacuum").findings.len(),
            2,
            "off for all, and for one"
        );
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn months_that_are_missing_are_found() {
    let server = neglected();
    block_on(async {
        let database = server.database("months").await;
        let admin = database.connect().await;
        each(
            &admin,
            &[
                "CREATE TABLE bare (at timestamptz NOT NULL) PARTITION BY RANGE (at)",
                "CREATE TABLE caught (at date NOT NULL) PARTITION BY RANGE (at)",
                "CREATE TABLE caught_rest PARTITION OF caught DEFAULT",
                "CREATE TABLE closed (at date NOT NULL) PARTITION BY RANGE (at)",
                "CREATE TABLE closed_1 PARTITION OF closed FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')",
                "CREATE TABLE endless (at date NOT NULL) PARTITION BY RANGE (at)",
                "CREATE TABLE endless_1 PARTITION OF endless FOR VALUES FROM ('2001-01-01') TO (MAXVALUE)",
                "CREATE TABLE numbers (id int NOT NULL) PARTITION BY RANGE (id)",
                "DO $$BEGIN
                    EXECUTE format('CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (%L) TO (%L)',
                        date_trunc('month', now()) - interval '1 month', date_trunc('month', now()));
                    EXECUTE format('CREATE TABLE caught_1 PARTITION OF caught FOR VALUES FROM (%L) TO (%L)',
                        date_trunc('month', now()), date_trunc('month', now()) + interval '1 month');
                 END$$",
                "INSERT INTO caught VALUES ('2001-01-01')",
            ],
        )
        .await;
        let told = until_found(&database, "partitions", "public.caught_rest").await;
        is_sound(&told, "postgres");
        tells(
            &told,
            "partitions",
            "public.bare",
            Severity::Danger,
            "CREATE TABLE public.bare_20",
        );
        tells(
            &told,
            "partitions",
            "public.caught",
            Severity::Warning,
            " PARTITION OF public.caught FOR VALUES FROM (",
        );
        tells(&told, "partitions", "public.closed", Severity::Info, "");
        tells(
            &told,
            "partitions",
            "public.caught_rest",
            Severity::Warning,
            "ALTER TABLE public.caught DETACH PARTITION public.caught_rest; ",
        );
        assert_eq!(of(&told, "partitions").findings.len(), 4);
        // Each run creates a month; the last one requested is the next month.
        for _ in 0..2 {
            let told = examined(&database, "postgres").await;
            let cure = found(&told, "partitions", "public.bare")
                .cure
                .as_str()
                .to_owned();
            each(&admin, &[&cure]).await;
        }
        let told = examined(&database, "postgres").await;
        assert_eq!(of(&told, "partitions").findings.len(), 3);
        let cure = found(&told, "partitions", "public.caught_rest")
            .cure
            .clone();
        let cure = cure.as_str().replace(
            "create the missing partitions",
            "CREATE TABLE caught_2001 PARTITION OF caught FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')",
        );
        for sql in cure.split("; ") {
            each(&admin, &[sql]).await;
        }
        let told = examined(&database, "postgres").await;
        assert_eq!(of(&told, "partitions").findings.len(), 2);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn what_a_shop_lacks_is_found() {
    let server = Server::alone();
    block_on(async {
        let database = shop(&server).await;
        let admin = database.connect().await;
        assert_eq!(
            of(&examined(&database, "postgres").await, "summaries").status(),
            Status::Ok
        );
        each(
            &admin,
            &[
                "ALTER ROLE htap_oltp RESET lock_timeout; ALTER ROLE htap_olap SET default_transaction_read_only = off",
                "UPDATE htap.schema_version SET version = 1",
                "UPDATE htap.watermark SET as_of = now() - interval '1 hour' WHERE view = 'mart.sales_hourly'",
                "UPDATE htap.watermark SET snapshot = NULL WHERE view = 'mart.segment_rfm'",
                "UPDATE htap.refresh_run SET started = started - interval '1 hour', finished = finished - interval '1 hour'",
                "INSERT INTO htap.order_log (order_id, user_id, completed_at, amount, sign) VALUES (1, 1, now(), 1, 1)",
            ],
        )
        .await;
        let told = examined(&database, "htap_monitor").await;
        is_sound(&told, "htap_monitor");
        let name = &database.name;
        tells(
            &told,
            "schema",
            "htap_oltp",
            Severity::Warning,
            "ALTER ROLE htap_oltp SET lock_timeout = '1s'",
        );
        tells(
            &told,
            "schema",
            "htap_olap",
            Severity::Warning,
            "ALTER ROLE htap_olap SET default_transaction_read_only = on",
        );
        tells(
            &told,
            "schema",
            "htap.schema_version",
            Severity::Warning,
            &format!("htap-top init -d {name}"),
        );
        tells(
            &told,
            "summaries",
            "mart.sales_hourly",
            Severity::Warning,
            &format!("htap-top refresh -d {name} --fresh 5s"),
        );
        tells(
            &told,
            "summaries",
            "mart.segment_rfm",
            Severity::Warning,
            &format!("htap-top refresh -d {name} mart.segment_rfm"),
        );
        tells(
            &told,
            "summaries",
            "htap.order_log",
            Severity::Warning,
            "--fresh 5s",
        );
        tells(
            &told,
            "reading",
            "shop",
            Severity::Info,
            "GRANT SELECT ON ALL TABLES IN SCHEMA shop TO htap_monitor",
        );
        let old =
            "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '1.9'";
        each(&admin, &["COMMENT ON SCHEMA mart IS NULL", old]).await;
        let told = examined(&database, "postgres").await;
        tells(
            &told,
            "statements",
            "pg_stat_statements",
            Severity::Info,
            "ALTER EXTENSION pg_stat_statements UPDATE",
        );
        each(&admin, &["DROP EXTENSION pg_stat_statements"]).await;
        let told = examined(&database, "postgres").await;
        tells(
            &told,
            "statements",
            "pg_stat_statements",
            Severity::Info,
            "CREATE EXTENSION pg_stat_statements",
        );
        found(&examined(&database, "postgres").await, "schema", "mart");
    });
}

#[test]
fn a_standby_is_told_from_a_primary() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("primary").await;
        assert_eq!(
            of(&examined(&database, "postgres").await, "standby").status(),
            Status::Ok
        );
        let admin = Client::connect(&server.target("postgres", "postgres"))
            .await
            .unwrap();
        each(
            &admin,
            &["CREATE TABLE twice AS SELECT 1 AS n FROM generate_series(1, 2)"],
        )
        .await;
        let failed = admin.batch("CREATE UNIQUE INDEX CONCURRENTLY twice_key ON twice (n)");
        assert_eq!(failed.await.unwrap_err().code(), "23505");
        let replica = server.replica();
        let target = replica.target("postgres", "postgres");
        let told = htap_top::doctor::examine(&target).await.unwrap();
        is_sound(&told, "standby");
        tells(&told, "standby", "standby", Severity::Info, "--olap");
        found(&told, "standby", "hot_standby_feedback");
        // A cure that is impossible here names the server where it is possible.
        let cure = &found(&told, "indexes", "public.twice_key").cure;
        assert!(
            cure.as_str()
                .starts_with("on the primary: SELECT n, count(*)"),
            "{cure}"
        );
        let client = Client::connect(&target).await.unwrap();
        client.batch("SELECT pg_wal_replay_pause()").await.unwrap();
        let told = htap_top::doctor::examine(&target).await.unwrap();
        tells(
            &told,
            "standby",
            "replay",
            Severity::Warning,
            "pg_wal_replay_resume",
        );
    });
}

/// A member of a superuser's role is a superuser.
#[test]
fn no_role_is_told_to_become_a_superuser_for_a_refresh() {
    block_on(async {
        let database = shared().database("views_of_others").await;
        let admin = database.connect().await;
        let (owner, plain) = (
            format!("owner_{}", database.name),
            format!("plain_{}", database.name),
        );
        let made = [
            format!("CREATE ROLE {owner}"),
            format!("CREATE ROLE {plain} LOGIN"),
            "CREATE MATERIALIZED VIEW mine AS SELECT 1 AS n".to_owned(),
            "CREATE MATERIALIZED VIEW theirs AS SELECT 1 AS n".to_owned(),
            format!("ALTER MATERIALIZED VIEW theirs OWNER TO {owner}"),
        ];
        each(&admin, &made.each_ref().map(String::as_str)).await;
        let told = examined(&database, &plain).await;
        let finding = found(&told, "views", "public.mine, public.theirs");
        assert!(
            finding.evidence.as_str().contains("a superuser owns some"),
            "{finding:#?}"
        );
        let cure = format!(
            "ALTER MATERIALIZED VIEW public.mine OWNER TO ...; GRANT ..., {owner} TO {plain}"
        );
        assert_eq!(finding.cure.as_str(), cure);
    });
}

/// Names that no screen shows unchanged: the cure can be copied nevertheless.
#[test]
fn a_cure_is_valid_whatever_the_name_is() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("names").await;
        let client = database.connect().await;
        let names = [
            "a\nb\u{200b}\\ \"x\"_ccnew",
            "rtl\u{202e}\u{202e}_ccnew1",
            "plain_ccnew",
        ];
        client
            .batch("CREATE SCHEMA \"s\t\u{feff}\"; CREATE TABLE \"s\t\u{feff}\".t (a int); INSERT INTO \"s\t\u{feff}\".t VALUES (1), (1)")
            .await
            .unwrap();
        for name in names {
            let name = name.replace('"', "\"\"");
            let made =
                format!("CREATE UNIQUE INDEX CONCURRENTLY \"{name}\" ON \"s\t\u{feff}\".t (a)");
            assert_eq!(client.batch(&made).await.unwrap_err().code(), "23505");
        }
        let examination = examined(&database, "postgres").await;
        let cures: Vec<String> = of(&examination, "indexes")
            .findings
            .iter()
            .map(|finding| finding.cure.as_str().to_owned())
            .collect();
        assert_eq!(cures.len(), 3, "{cures:?}");
        for cure in cures {
            assert!(cure.starts_with("DROP INDEX CONCURRENTLY "), "{cure}");
            client
                .batch(&cure)
                .await
                .unwrap_or_else(|error| panic!("{cure}: {error}"));
        }
        let left = "SELECT 1 AS n FROM pg_index WHERE NOT indisvalid";
        assert_eq!(rows(&client, left).await, 0);
    });
}
