//! Troubles that stay silent until it is too late.

use super::{examined, found};
use crate::it::server::{Order, Server, block_on, until};
use htap_top::doctor::{Examination, Severity};

#[track_caller]
fn tells(examination: &Examination, check: &str, subject: &str, severity: Severity, cure: &str) {
    let finding = found(examination, check, subject);
    assert_eq!(finding.severity, severity, "{finding:#?}");
    assert!(finding.cure.as_str().contains(cure), "{finding:#?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn archiver_sequences_keys_and_toast_are_examined() {
    let settings = [("archive_mode", "on"), ("archive_command", "false")];
    let server = Server::start(&Order {
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Order::default()
    });
    block_on(async {
        let database = server.database("silent").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE parent (id int PRIMARY KEY, x bigint UNIQUE); CREATE INDEX twin ON parent (x);
                 INSERT INTO parent SELECT g, g FROM generate_series(1, 100) AS g;
                 CREATE TABLE child (id serial, p int REFERENCES parent, keyed int REFERENCES parent);
                 CREATE INDEX ON child (keyed, id);
                 INSERT INTO child (p) SELECT 1 + g % 100 FROM generate_series(1, 20000) AS g;
                 DELETE FROM parent WHERE id = 101; INSERT INTO parent VALUES (101, 101); DELETE FROM parent WHERE id = 101;
                 SELECT setval('child_id_seq', 2140000000);
                 CREATE SEQUENCE big; CREATE TABLE fed (id int DEFAULT nextval('big')); SELECT setval('big', 2000000000);
                 CREATE SEQUENCE alone MAXVALUE 100; SELECT setval('alone', 97);
                 CREATE SEQUENCE circle CYCLE MAXVALUE 10; SELECT setval('circle', 10);
                 CREATE TABLE docs (id int, t text) WITH (toast.autovacuum_enabled = off);
                 ALTER TABLE docs ALTER t SET STORAGE EXTERNAL;
                 INSERT INTO docs SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 1000) AS g;
                 UPDATE docs SET t = t || 'x'",
            )
            .await
            .unwrap();
        admin.batch("ANALYZE").await.unwrap();
        admin.batch("SELECT pg_switch_wal()").await.unwrap();
        let failed = "SELECT failed_count AS n, pg_stat_get_tuples_deleted('parent'::regclass) AS d FROM pg_stat_archiver";
        until(&admin, "it fails", failed, &[], |table| {
            table.first("n").int() > Some(0) && table.first("d").int() > Some(0)
        })
        .await;
        let examination = examined(&database, "postgres").await;
        tells(
            &examination,
            "archiver",
            "archiver",
            Severity::Danger,
            "fix archive_command",
        );
        tells(
            &examination,
            "sequences",
            "public.child_id_seq",
            Severity::Danger,
            "AS bigint",
        );
        let finding = found(&examination, "sequences", "public.big");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding
                .evidence
                .as_str()
                .contains("the most that public.fed.id (integer) holds"),
            "{finding:#?}"
        );
        found(&examination, "sequences", "public.alone");
        let sequences = super::of(&examination, "sequences");
        assert_eq!(sequences.findings.len(), 3, "{sequences:#?}");
        tells(
            &examination,
            "keys",
            "public.child",
            Severity::Warning,
            "CREATE INDEX CONCURRENTLY ON public.child (p)",
        );
        tells(
            &examination,
            "keys",
            "public.twin",
            Severity::Warning,
            "DROP INDEX CONCURRENTLY public.twin",
        );
        let keys = super::of(&examination, "keys");
        assert_eq!(keys.findings.len(), 2, "{keys:#?}");
        tells(
            &examination,
            "autovacuum",
            "public.docs",
            Severity::Warning,
            "ALTER TABLE public.docs RESET (toast.autovacuum_enabled)",
        );
    });
}
