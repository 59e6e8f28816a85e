//! A shop that belongs to a role without rights: no command runs its code with the rights of whoever connects.

use crate::it::server::{Database, Server, block_on};
use htap_top::pg::Client;
use htap_top::system::refresh::{Mode, Refresh, View};
use std::path::Path;
use std::process::{Command, Stdio};

/// Gives the shop to `stranger`, who replaces each table by a view of it that calls a function when it is read, has triggers
/// on each table, and writes all functions anew. All of them fail with `sprung` unless the stranger calls them.
const GIVE_AWAY: &str = "
    CREATE ROLE stranger LOGIN;
    CREATE SCHEMA lure AUTHORIZATION stranger;
    GRANT USAGE ON SCHEMA lure TO PUBLIC;
    CREATE FUNCTION lure.spring() RETURNS boolean STABLE LANGUAGE plpgsql AS $$BEGIN
        IF current_user <> 'stranger' THEN RAISE EXCEPTION 'sprung by %', current_user; END IF;
        RETURN true;
    END$$;
    CREATE FUNCTION lure.written() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM lure.spring(); RETURN NULL; END$$;
    ALTER FUNCTION lure.spring() OWNER TO stranger;
    ALTER FUNCTION lure.written() OWNER TO stranger;
    DO $$
    DECLARE
        o record;
        made integer := 0;
    BEGIN
        FOR o IN SELECT p.oid, p.prokind FROM pg_proc AS p WHERE p.pronamespace IN ('shop'::regnamespace, 'mart'::regnamespace, 'htap'::regnamespace) LOOP
            EXECUTE format('ALTER ROUTINE %s OWNER TO stranger', o.oid::regprocedure);
            CONTINUE WHEN o.prokind <> 'f';
            EXECUTE format('CREATE OR REPLACE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                           (SELECT format('%I.%I', p.pronamespace::regnamespace, p.proname) FROM pg_proc AS p WHERE p.oid = o.oid),
                           pg_get_function_arguments(o.oid), pg_get_function_result(o.oid),
                           'BEGIN PERFORM lure.spring(); RAISE EXCEPTION ''nothing''; END');
            made := made + 1;
        END LOOP;
        FOR o IN SELECT s.oid, s.nspname FROM pg_namespace AS s WHERE s.nspname IN ('shop', 'mart', 'htap') LOOP
            EXECUTE format('ALTER SCHEMA %I OWNER TO stranger', o.nspname);
        END LOOP;
        FOR o IN SELECT c.oid, c.oid::regclass AS name, c.relname, c.relkind FROM pg_class AS c
                 WHERE c.relnamespace IN ('shop'::regnamespace, 'mart'::regnamespace, 'htap'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm')
                       AND NOT c.relispartition LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO stranger', o.name);
            IF o.relkind IN ('r', 'p') THEN
                EXECUTE format('CREATE TRIGGER lure BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION lure.written()', o.name);
            END IF;
        END LOOP;
        IF made < 20 THEN RAISE 'only % functions', made; END IF;
    END $$";

/// The second step: reading is a trap, too.
const REPLACE: &str = "
    DO $$
    DECLARE
        o record;
        made integer := 0;
    BEGIN
        FOR o IN SELECT c.oid, s.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace
                 WHERE s.nspname IN ('shop', 'mart', 'htap') AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition LOOP
            EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', o.nspname, o.relname, o.relname || '_');
            EXECUTE format('CREATE VIEW %1$I.%2$I AS SELECT * FROM %1$I.%3$I WHERE lure.spring()', o.nspname, o.relname, o.relname || '_');
            EXECUTE format('ALTER VIEW %1$I.%2$I OWNER TO stranger; GRANT ALL ON %1$I.%2$I TO PUBLIC', o.nspname, o.relname);
            made := made + 1;
        END LOOP;
        IF made < 30 THEN RAISE 'only % relations', made; END IF;
    END $$";

const COMMANDS: &[&str] = &[
    "once -d @ --wait 30s --format json",
    "doctor -d @",
    "record FILE -d @ --duration 2s --interval 500ms",
    "report -d @ -o -",
    "init -d @",
    "refresh -d @",
    "refresh -d @ --mode full",
    "refresh -d @ --verify",
    "refresh -d @ --pg-cron",
    "partitions -d @",
    "partitions make -d @",
    "route -d @ SELECT~1",
    "route -d @ SELECT~category,~sum(sales_amount)~FROM~mart.fact_sales~GROUP~BY~category",
    "order create -d @ --user 1 --line 1x1",
    "order login -d @ 1",
    "workload -d @ --duration 1s --oltp 2 --olap 1 --hybrid 1",
    "stream relay -d @ --brokers 127.0.0.1:1",
    "stream run -d @ --brokers 127.0.0.1:1",
    "stream replay -d @ --brokers 127.0.0.1:1",
    "stream pause -d @",
    "stream resume -d @",
    "stream slot create -d @",
    "replica status -d @",
    "columnar sync -d @",
    "columnar query -d @ SELECT~count(*)~FROM~fact_sales",
    "init -d @ --uninstall --yes",
];

fn run(database: &Database<'_>, role: &str, line: &str, folder: &Path) -> String {
    let words = line.split(' ').map(|word| match word {
        "@" => database.conninfo(role),
        "FILE" => folder.join("recording").display().to_string(),
        word => word.replace('~', " "),
    });
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(words)
        .env("XDG_CONFIG_HOME", folder)
        .env("XDG_STATE_HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!(
        "{:?} {}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn springs(client: &Client, sql: &str) {
    let error = client.query(sql, &[]).await.unwrap_err();
    assert!(error.message.as_str().contains("sprung"), "{sql}: {error}");
}

fn sprung(server: &Server, what: &str) {
    let log = std::fs::read(server.socket_dir().join("postgres.log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("sprung")).collect();
    assert!(lines.is_empty(), "{what}: {}", lines.join("\n"));
}

#[test]
fn no_code_of_a_shop_that_belongs_to_a_stranger_runs_with_our_rights() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("stranger").await;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let admin = database.connect().await;
        let init = run(
            &database,
            "postgres",
            "init -d @ --scale 0.002 --days 40",
            folder,
        );
        assert!(init.starts_with("Some(0)"), "{init}");
        #[cfg(feature = "columnar")]
        {
            let files = format!(
                "columnar sync -d @ --folder {}",
                folder.join("files").display()
            );
            let begun = run(&database, "postgres", &files, folder);
            assert!(begun.starts_with("Some(0)"), "{begun}");
        }
        admin.batch(GIVE_AWAY).await.unwrap();
        admin
            .batch("CREATE MATERIALIZED VIEW public.ours AS SELECT 1 AS one")
            .await
            .unwrap();
        let ours = View::new("public", "ours");
        let refresh = async |target| {
            let prepared = Refresh::prepare(target, &ours, Mode::Full).await;
            prepared?.run().await
        };
        let target = database.target();
        for (what, step) in [
            ("tables", ""),
            ("views", REPLACE),
            ("no watermark", "DROP VIEW htap.watermark"),
        ] {
            admin.batch(step).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            for line in COMMANDS {
                let said = run(&database, "postgres", line, folder.path());
                sprung(&server, &format!("{what}: {line}: {said}"));
            }
            let refreshed = refresh(&target).await;
            sprung(
                &server,
                &format!("{what}: a view of our own: {refreshed:?}"),
            );
        }
        // With a shop so incomplete, views of others are refreshed all the same.
        refresh(&target).await.unwrap();
        springs(&admin, "SELECT * FROM mart.fact_sales").await;
        springs(
            &admin,
            "INSERT INTO htap.refresh_run_ (view, mode) VALUES ('a', 'b')",
        )
        .await;
    });
}
