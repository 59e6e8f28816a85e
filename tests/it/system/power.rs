//! The shop grants nobody power: code that a role can change is never run by another role.

use super::init::refused;
use super::{ask, number, sqlstate};
use crate::it::server::{Database, Server, block_on};
use htap_top::pg::{Client, Param};
use htap_top::system::definition::{SCHEMAS, VIEWS};
use htap_top::system::generate::Shape;
use htap_top::system::init::{Load, init};
use htap_top::system::partitions;
use htap_top::system::refresh::{self, Mode};
use htap_top::system::survey::Survey;
use std::process::{Command, Stdio};

/// The roles that can log in.
const ROLES: [&str; 4] = ["htap_oltp", "htap_olap", "htap_refresh", "htap_monitor"];

/// Makes the session's user a superuser if a superuser runs it.
const RISE: &str = "EXECUTE format('ALTER ROLE %I SUPERUSER', session_user); ";

/// Number of the shop's roles that are superusers or members of the owner.
const RISEN: &str = "
    SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname ~ '^htap_'
       AND (rolsuper OR rolcreaterole OR EXISTS (
            SELECT FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS o ON o.oid = m.roleid
            WHERE m.member = pg_roles.oid AND o.rolname = 'htap_owner'))";

/// A role that is read-only by a setting may change that setting.
const MAY_WRITE: &str = "SET default_transaction_read_only = off";

/// The program's commands with a superuser's rights.
async fn a_superuser_works(database: &Database<'_>) {
    let client = database.connect().await;
    client
        .batch("SELECT htap.maintain(); SELECT htap.make_months(now(), 5); SELECT htap.house_strays();
                SELECT shop.complete_order(o.id) FROM (
                    SELECT shop.create_order(1, '{1,2}', '{1,1}') AS id) AS o, shop.pay_order(o.id), shop.ship_order(o.id);
                UPDATE shop.orders SET total_amount = total_amount + 1;
                UPDATE shop.users SET user_segment = 'VIP'; SELECT htap.tidy()")
        .await
        .unwrap();
    partitions::list(&client).await.unwrap();
    init(&database.target(), None, |_| {}).await.unwrap();
    let refresher = refresh::connect(&database.target()).await.unwrap();
    for known in refresh::known(&refresher).await.unwrap() {
        for mode in [Mode::Full, Mode::Concurrent, known.best_mode()] {
            refresh::refresh(&refresher, &known.view, known.kind, mode)
                .await
                .unwrap_or_else(|error| panic!("{error}: {known:?}"));
        }
    }
    client.batch("ANALYZE").await.unwrap();
}

async fn shop_of(database: &Database<'_>) {
    let load = Load {
        shape: Shape::of(500, 20),
        seed: 5,
        jobs: 1,
    };
    init(&database.target(), Some(load), |_| {}).await.unwrap();
}

/// Ways to plant code where others run it, for every existing object.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn attacks(client: &Client) -> Vec<String> {
    let body = |returns: &str| {
        format!("RETURNS {returns} LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN NULL; END $x$")
    };
    let mut attacks = vec![
        "SET ROLE htap_owner".to_owned(),
        "GRANT htap_owner TO CURRENT_USER".to_owned(),
        "ALTER ROLE htap_owner LOGIN".to_owned(),
        "INSERT INTO htap.view_def (view, kind, tables) VALUES ('x', 'incremental', '{\"shop.orders; ALTER ROLE htap_oltp SUPERUSER\"}')"
            .to_owned(),
        "UPDATE htap.view_def SET tables = '{pg_authid}'".to_owned(),
        "UPDATE htap.partitioned SET options = 'x'".to_owned(),
        "DELETE FROM htap.object".to_owned(),
    ];
    for schema in SCHEMAS {
        attacks.extend([
            format!("DROP SCHEMA {schema} CASCADE"),
            format!("ALTER SCHEMA {schema} RENAME TO elsewhere"),
            format!(
                "CREATE FUNCTION {schema}.make_month(date) {}",
                body("boolean")
            ),
            format!("CREATE TABLE {schema}.orders_2099_01 ()"),
            format!(
                "CREATE OPERATOR {schema}.= (LEFTARG = oid, RIGHTARG = regrole, FUNCTION = oideq)"
            ),
            format!("CREATE DOMAIN {schema}.int8 AS integer"),
        ]);
    }
    let all = ask(
        client,
        "SELECT 'function' AS kind, p.oid::regprocedure::text AS name, pg_get_function_result(p.oid) AS returns,
                pg_get_function_arguments(p.oid) AS arguments, n.nspname || '.' || p.proname AS called
         FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname IN ('shop', 'mart', 'htap')
         UNION ALL
         SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END,
                c.oid::regclass::text, NULL, NULL, NULL
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('shop', 'mart', 'htap') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')",
    )
    .await;
    for row in 0..all.rows.len() {
        let text = |column| all.get(row, column).text().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        attacks.extend([
            format!("DROP {kind} {name} CASCADE"),
            format!("ALTER {kind} {name} OWNER TO CURRENT_USER"),
            format!("ALTER {kind} {name} RENAME TO other"),
            format!("ALTER {kind} {name} SET SCHEMA pg_temp"),
        ]);
        match kind {
            "function" => attacks.push(format!(
                "CREATE OR REPLACE FUNCTION {}({}) {}",
                text("called"),
                text("arguments"),
                body(text("returns"))
            )),
            "table" => attacks.extend([
                format!("CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION pg_temp.rise()"),
                format!("CREATE RULE r AS ON INSERT TO {name} DO ALSO SELECT pg_temp.rise_too(1)"),
                format!("CREATE POLICY p ON {name} USING (pg_temp.rise_too(1) = 1)"),
                format!("CREATE INDEX ON {name} ((pg_temp.rise_too(1)))"),
                format!("CREATE STATISTICS pg_temp.s ON (pg_temp.rise_too(1)), (pg_temp.rise_too(2)) FROM {name}"),
                format!("ALTER TABLE {name} ADD COLUMN x int DEFAULT pg_temp.rise_too(1)"),
                format!("ALTER TABLE {name} ADD CHECK (pg_temp.rise_too(1) = 1)"),
                format!("CREATE TABLE pg_temp.below () INHERITS ({name})"),
            ]),
            "materialized view" => attacks.extend([
                format!("CREATE INDEX ON {name} ((pg_temp.rise_too(1)))"),
                format!("CREATE STATISTICS pg_temp.s ON (pg_temp.rise_too(1)), (pg_temp.rise_too(2)) FROM {name}"),
            ]),
            "view" => attacks.push(format!("CREATE OR REPLACE VIEW {name} AS SELECT pg_temp.rise_too(1)")),
            _ => {}
        }
    }
    attacks
}

/// Runs each attack in its own transaction; none may succeed.
async fn attack(database: &Database<'_>, role: &str, attacks: &[String]) {
    let client = database.connect_as(role).await;
    client.batch(MAY_WRITE).await.unwrap();
    client
        .batch(&format!(
            "CREATE FUNCTION pg_temp.rise() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN NEW; END $x$;
             CREATE FUNCTION pg_temp.rise_too(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $x$ BEGIN {RISE} RETURN 1; END $x$"
        ))
        .await
        .unwrap();
    let mut forbidden = 0;
    for attack in attacks {
        let code = sqlstate(&client, attack).await;
        assert!(
            HARMLESS.contains(&code.as_str()),
            "{role}: {attack}: {code}"
        );
        forbidden += usize::from(code == "42501");
    }
    assert!(
        forbidden * 10 > attacks.len() * 8,
        "{role}: {forbidden} of {} were forbidden",
        attacks.len()
    );
}

async fn nobody_rises(major: u16) {
    let server = Server::of_major(major);
    let database = server.database("power").await;
    shop_of(&database).await;
    let client = database.connect().await;
    // The sample that once made htap_monitor a superuser.
    let monitor = database.connect_as("htap_monitor").await;
    for step in [
        "SET ROLE htap_refresh",
        "DROP FUNCTION htap.make_months(timestamptz, integer)",
    ] {
        let wanted = if step.starts_with("SET") {
            "00000"
        } else {
            "42501"
        };
        assert_eq!(sqlstate(&monitor, step).await, wanted, "{step}");
    }
    let attacks = attacks(&client).await;
    assert!(attacks.len() > 400, "{}", attacks.len());
    for role in ROLES {
        attack(&database, role, &attacks).await;
    }
    a_superuser_works(&database).await;
    assert_eq!(number(&client, RISEN).await, 0);
    the_catalogue_says_so(&client).await;
    a_reader_forges_nothing(&database, &client).await;
}

#[test]
fn nobody_becomes_superuser_by_the_shop_on_13() {
    block_on(nobody_rises(13));
}

#[test]
fn nobody_becomes_superuser_by_the_shop_on_15() {
    block_on(nobody_rises(15));
}

#[test]
fn nobody_becomes_superuser_by_the_shop_on_18() {
    block_on(nobody_rises(18));
}

/// Functions without a fixed search_path in which every name is qualified.
const IMMUNE: [&str; 3] = [
    "shop.is_order(bigint,timestamp with time zone,smallint,numeric,timestamp with time zone)",
    "shop.new_order_id()",
    "shop.order_time(bigint)",
];

/// Functions that every role of the shop may call: they count queries, and note what a query found damaged.
const COUNTS: &str = "ARRAY['htap.count_column_queries(bigint,bigint,bigint)', 'htap.report_column_damage(bigint,text)']";

async fn the_catalogue_says_so(client: &Client) {
    const OURS: &str = "nspname IN ('shop', 'mart', 'htap')";
    for (what, sql) in [
        (
            "belong to somebody else",
            format!("SELECT oid::regclass::text AS name FROM (SELECT c.oid, c.relowner, n.nspname FROM pg_class AS c
                     JOIN pg_namespace AS n ON n.oid = c.relnamespace) AS c WHERE {OURS} AND relowner <> 'htap_owner'::regrole
                     UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
                     WHERE {OURS} AND proowner <> 'htap_owner'::regrole
                     UNION ALL SELECT nspname FROM pg_namespace WHERE {OURS} AND nspowner <> 'htap_owner'::regrole"),
        ),
        (
            "are everybody's",
            format!("SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace,
                     aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE {OURS} AND a.grantee = 0
                     UNION ALL SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
                     aclexplode(c.relacl) AS a WHERE {OURS} AND a.grantee = 0
                     UNION ALL SELECT nspname FROM pg_namespace, aclexplode(nspacl) AS a
                     WHERE {OURS} AND (a.grantee = 0 OR a.privilege_type = 'CREATE' AND a.grantee <> nspowner)"),
        ),
        (
            "run with their owner's rights for more than is listed",
            format!("SELECT p.oid::regprocedure || ' for ' || a.grantee::regrole AS name FROM pg_proc AS p
                     JOIN pg_namespace AS n ON n.oid = p.pronamespace, aclexplode(p.proacl) AS a
                     WHERE {OURS} AND prosecdef AND a.grantee <> p.proowner AND p.oid::regprocedure::text <> ALL ({COUNTS})
                       AND (p.oid::regprocedure::text, a.grantee::regrole::text) NOT IN (
                           ('shop.create_order(bigint,bigint[],bigint[],text)', 'htap_oltp'),
                           ('shop.create_orders(bigint[],integer[],bigint[],bigint[],text[])', 'htap_oltp'),
                           ('shop.pay_order(bigint)', 'htap_oltp'), ('shop.ship_order(bigint)', 'htap_oltp'),
                           ('shop.complete_order(bigint)', 'htap_oltp'), ('shop.cancel_order(bigint)', 'htap_oltp'),
                           ('htap.pause_relay(boolean,text)', 'htap_refresh'), ('htap.make_shadow(text)', 'htap_refresh'),
                           ('htap.drop_shadow(text)', 'htap_refresh'),
                           ('htap.maintain()', 'htap_refresh'), ('htap.refresh_view(text,boolean)', 'htap_refresh'),
                           ('htap.strays()', 'htap_refresh'), ('htap.strays()', 'htap_olap'), ('htap.strays()', 'htap_oltp'))"),
        ),
        (
            "may log in or be become",
            "SELECT rolname AS name FROM pg_roles WHERE rolname = 'htap_owner' AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb)
             UNION ALL SELECT member::regrole::text FROM pg_auth_members WHERE roleid = 'htap_owner'::regrole"
                .to_owned(),
        ),
    ] {
        let table = ask(client, &sql).await;
        assert!(table.rows.is_empty(), "{what}: {table:?}");
    }
    let sql = format!(
        "SELECT p.oid::regprocedure::text AS name, prosrc FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE {OURS} AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) ORDER BY 1"
    );
    let table = ask(client, &sql).await;
    let text = |row, column| table.get(row, column).text().unwrap_or_default();
    let names: Vec<&str> = (0..table.rows.len()).map(|row| text(row, "name")).collect();
    assert_eq!(names, IMMUNE);
    for row in 0..names.len() {
        let source = text(row, "prosrc").replace("OPERATOR(pg_catalog.", "(");
        for cast in source.split("::").skip(1) {
            let qualified = cast.trim_start().starts_with("pg_catalog.");
            assert!(qualified, "{cast}: {source}");
        }
        let operators = source
            .chars()
            .zip(source.chars().skip(1))
            .any(|(one, next)| "+-*/<>=~!@#%^&|".contains(one) && one != '(' && next == ' ');
        assert!(!operators, "an operator without schema: {source}");
    }
}

/// A read-only role cannot forge sales: not by its own trigger, and not on a table where it may create one.
async fn a_reader_forges_nothing(database: &Database<'_>, client: &Client) {
    let logged = "SELECT (SELECT count(*) FROM htap.order_log) + (SELECT count(*) FROM htap.outbox) + (SELECT count(*) FROM htap.dirty_log)";
    let before = number(client, logged).await;
    let mine = "CREATE TEMPORARY TABLE mine (order_id bigint, user_id bigint, status smallint, total_amount numeric, completed_at timestamptz,
                                     created_at timestamptz)";
    for function in [
        "log_order",
        "log_line",
        "log_truncate",
        "publish_order",
        "log_dimension",
    ] {
        let attach = format!(
            "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION htap.{function}('user')"
        );
        let reader = database.connect_as("htap_olap").await;
        reader.batch(MAY_WRITE).await.unwrap();
        reader.batch(mine).await.unwrap();
        assert_eq!(sqlstate(&reader, &attach).await, "42501", "{function}");
        // A superuser, who may attach it, cannot forge anything by it either.
        let admin = database.connect().await;
        admin.batch(mine).await.unwrap();
        admin.batch(&attach).await.unwrap();
        let insert = "INSERT INTO mine VALUES (1, 1, 3, 9999999, now(), now())";
        assert_eq!(sqlstate(&admin, insert).await, "42501", "{function}");
    }
    assert_eq!(number(client, logged).await, before);
}

/// SQLSTATEs of attacks that fail, including statements that this version or kind of object does not support.
const HARMLESS: [&str; 8] = [
    "42501", "42601", "42809", "42P13", "42P16", "0A000", "42P07", "42883",
];

const VERSION_2: &str = include_str!("version_2.sql");

pub(super) async fn install_version_2(client: &Client) {
    client.batch(VERSION_2).await.unwrap();
    let there = Survey::of(client).await.unwrap();
    for thing in there.to_record(&Survey::default()) {
        let names = [Param::Text(&thing.kind), Param::Text(&thing.identity)];
        let insert = "INSERT INTO htap.object SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM htap.object WHERE identity = $2)";
        client.execute(insert, &names).await.unwrap();
    }
    let version = "INSERT INTO htap.schema_version (version, program) VALUES (2, 'htap-top 0.1.0')";
    client.batch(version).await.unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn what_was_planted_in_version_2_does_not_rise_with_it() {
    let server = Server::of_major(15);
    block_on(async {
        let database = server.database("planted").await;
        let client = database.connect().await;
        install_version_2(&client).await;
        client
            .batch("INSERT INTO shop.categories (category_name) VALUES ('a'); INSERT INTO shop.users (user_name) VALUES ('u');
                    INSERT INTO shop.products (category_id, product_name, price) VALUES (1, 'p', 1), (1, 'q', 2);
                    INSERT INTO shop.inventory (product_id, quantity) VALUES (1, 1000), (2, 1000);
                    SELECT shop.pay_order(shop.create_order(1, '{1}', '{1}')); DELETE FROM shop.payments")
            .await
            .unwrap();
        let planter = database.connect_as("htap_refresh").await;
        planter
            .batch(&format!(
                "UPDATE htap.view_def SET freshness = '77 s' WHERE view = 'mart.fact_sales';
                 INSERT INTO htap.refresh_run (view, mode) VALUES ('mart.fact_sales', 'full');
                 INSERT INTO htap.outbox (topic, key, payload) VALUES ('orders', 'k', '{{}}');
                 CREATE FUNCTION htap.rise() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN NEW; END $x$;
                 CREATE FUNCTION htap.rise_too(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $x$ BEGIN {RISE} RETURN 1; END $x$;
                 CREATE OR REPLACE FUNCTION htap.log_order() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN NULL; END $x$;
                 CREATE OR REPLACE FUNCTION htap.merge(wanted text, step bigint DEFAULT 100000, OUT changes bigint, OUT remaining boolean,
                     OUT as_of timestamptz) LANGUAGE plpgsql AS $x$ BEGIN {RISE} END $x$;
                 DROP FUNCTION htap.make_months(timestamptz, integer);
                 CREATE FUNCTION htap.make_months(since timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS integer
                     LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN 0; END $x$;
                 ALTER TABLE htap.view_def ALTER freshness SET DEFAULT make_interval(secs => htap.rise_too(1));
                 ALTER TABLE htap.refresh_run ALTER started SET DEFAULT now() + make_interval(secs => htap.rise_too(1))"
            ))
            .await
            .unwrap();
        // Objects that were not there before are named.
        planter
            .batch("CREATE TRIGGER rise BEFORE UPDATE ON htap.watermark FOR EACH ROW EXECUTE FUNCTION htap.rise()")
            .await
            .unwrap();
        let why = refused(init(&database.target(), None, |_| {}).await);
        assert!(
            why.contains(
                "default value for htap.view_def.freshness, trigger rise on htap.watermark"
            ),
            "{why}"
        );
        planter
            .batch("DROP TRIGGER rise ON htap.watermark; ALTER TABLE htap.view_def ALTER freshness DROP DEFAULT")
            .await
            .unwrap();
        let done = init(&database.target(), None, |_| {}).await.unwrap();
        assert_eq!(done.was, Some(2));
        a_superuser_works(&database).await;
        assert_eq!(number(&client, RISEN).await, 0);
        client
            .batch("DROP FUNCTION htap.rise(), htap.rise_too(integer)")
            .await
            .unwrap();
        the_catalogue_says_so(&client).await;
        for (what, sql, wanted) in [
            (
                "payments",
                "SELECT count(*) FROM shop.orders LEFT JOIN shop.payments AS p USING (order_id) WHERE status = 1 AND p.amount IS NULL",
                0,
            ),
            (
                "freshness",
                "SELECT extract(epoch FROM freshness)::bigint FROM htap.view_def WHERE view = 'mart.fact_sales'",
                77,
            ),
            (
                "runs",
                "SELECT count(*) FROM htap.refresh_run WHERE run_id = 1 AND mode = 'full'",
                1,
            ),
            (
                "events",
                "SELECT count(*) FROM htap.outbox WHERE event_id = 1 AND key = 'k'",
                1,
            ),
        ] {
            assert_eq!(number(&client, sql).await, wanted, "{what}");
        }
    });
}

#[test]
fn a_record_that_somebody_else_put_there_is_not_read() {
    let server = Server::of_major(15);
    block_on(async {
        let database = server.database("record").await;
        let client = database.connect().await;
        install_version_2(&client).await;
        let planter = database.connect_as("htap_refresh").await;
        planter
            .batch(&format!(
                "CREATE FUNCTION htap.rise_too(integer) RETURNS text LANGUAGE plpgsql AS $x$ BEGIN {RISE} RETURN 'x'; END $x$;
                 DROP TABLE htap.object CASCADE;
                 CREATE VIEW htap.object AS SELECT htap.rise_too(1) AS kind, htap.rise_too(1) AS identity"
            ))
            .await
            .unwrap();
        let why = refused(init(&database.target(), None, |_| {}).await);
        assert!(why.contains("table htap.object"), "{why}");
        assert_eq!(number(&client, RISEN).await, 0);
    });
}

/// With JIT, the statement would be compiled in each session before it is used: 80 ms.
#[test]
fn owners_are_looked_up_without_jit() {
    let server = Server::of_major(15);
    block_on(async {
        let database = server.database("owners").await;
        shop_of(&database).await;
        let client = database.connect().await;
        let logged = format!("ALTER DATABASE {} SET log_statement = 'all'", database.name);
        client.batch(&logged).await.unwrap();
        refresh::connect(&database.target()).await.unwrap();
        let log = std::fs::read(server.socket_dir().join("postgres.log")).unwrap();
        let log = String::from_utf8_lossy(&log).into_owned();
        let looked = log.rfind("schemas AS MATERIALIZED").unwrap();
        let before = log.get(..looked).unwrap();
        let off = before.rfind("SET LOCAL jit = off").unwrap();
        assert!(
            !before.get(off..).unwrap().contains("COMMIT"),
            "it has ended"
        );
    });
}

#[test]
fn who_installs_without_being_superuser_owns_what_it_installs() {
    let server = Server::of_major(15);
    block_on(async {
        let database = server.database("maker").await;
        let client = database.connect().await;
        client
            .batch(&format!(
                "CREATE ROLE maker LOGIN CREATEROLE; GRANT CREATE ON DATABASE {} TO maker",
                database.name
            ))
            .await
            .unwrap();
        let maker = database.target_of("maker");
        init(&maker, None, |_| {}).await.unwrap();
        let members = "SELECT member::regrole::text AS name FROM pg_auth_members WHERE roleid = 'htap_owner'::regrole";
        assert_eq!(
            ask(&client, members).await.first("name").text(),
            Some("maker")
        );
        let session = database.connect_as("maker").await;
        session
            .batch("SELECT htap.make_months(now(), 7); SELECT htap.tidy()")
            .await
            .unwrap();
        for view in VIEWS {
            let refresh = format!("REFRESH MATERIALIZED VIEW {view}");
            session.batch(&refresh).await.unwrap();
        }
    });
}

/// Calls by hand of the shop's roles and of a superuser, with any session settings.
const BY_SHOPPERS: [&str; 8] = [
    "SELECT shop.create_order(1, '{1,2}', '{1,1}', 'k')",
    "SELECT shop.complete_order(o.id) FROM (SELECT shop.create_order(1, '{2,1,2}', '{1,1,1}') AS id OFFSET 0) AS o,
            shop.pay_order(o.id), shop.ship_order(o.id)",
    "SELECT shop.cancel_order(shop.create_order(1, '{5}', '{1}'))",
    "SELECT * FROM shop.create_orders('{1,2}', '{1,2}', '{1,2}', '{1,1}', '{y,z}')",
    "SELECT shop.log_in(1)",
    "SELECT shop.restock(2), shop.count_stock(2)",
    "UPDATE shop.orders SET updated_at = pg_catalog.clock_timestamp(), total_amount = 5::pg_catalog.numeric",
    "UPDATE shop.users SET user_segment = 'VIP'",
];
const BY_REFRESHERS: [&str; 15] = [
    "SELECT htap.maintain()",
    "SELECT htap.strays()",
    "SELECT htap.tidy()",
    "SELECT htap.pause_relay(true, 'x'), htap.pause_relay(false), htap.make_shadow('replay'), htap.drop_shadow('replay')",
    "SELECT htap.check_capture('mart.sales_hourly')",
    "SELECT htap.check_capture('mart.fact_sales')",
    "SELECT htap.check_capture('mart.segment_rfm')",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "SELECT htap.rebuild('mart.sales_hourly'), htap.rebuild('mart.fact_sales', true), htap.rebuild('mart.segment_rfm')",
    "SELECT htap.verify('mart.fact_sales')",
    "COMMIT",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "SELECT htap.merge('mart.sales_hourly'), htap.merge('mart.fact_sales'), htap.merge('mart.segment_rfm')",
    "COMMIT",
    "SELECT htap.refresh_view('mart.sales_hourly_mv', true), htap.refresh_view('mart.user_behavior_mv'),
            htap.refresh_view('mart.fact_sales_mv'), htap.refresh_view('mart.daily_sales_summary')",
];
const BY_SUPERUSERS: [&str; 7] = [
    "SELECT htap.make_months(pg_catalog.now(), 5)",
    "SELECT htap.make_month('2024-02-01'::pg_catalog.timestamptz)",
    "SELECT htap.detach_month('2024-02-01')",
    "SELECT htap.attach_month('2024-02-01')",
    "SELECT htap.house_strays()",
    "SELECT htap.switch_outbox(true)",
    "SELECT htap.switch_outbox(false)",
];

async fn nothing_planted_is_found(major: u16) {
    let server = Server::of_major(major);
    let database = server.database("traps").await;
    shop_of(&database).await;
    let client = database.connect().await;
    client
        .batch("CREATE ROLE planter LOGIN; GRANT CREATE ON SCHEMA public TO planter; UPDATE shop.inventory SET quantity = 1000")
        .await
        .unwrap();
    let author = database.connect_as("planter").await;
    author.batch(include_str!("traps.sql")).await.unwrap();
    client.batch("SET search_path = pg_catalog").await.unwrap();
    let planted = "SELECT (SELECT count(*) FROM pg_operator WHERE oprowner = 'planter'::regrole)
                        + (SELECT count(*) FROM pg_proc WHERE proowner = 'planter'::regrole)";
    assert!(number(&client, planted).await > 6_000);
    client
        .batch(&format!(
            "ALTER DATABASE {} SET search_path = public, pg_catalog",
            database.name
        ))
        .await
        .unwrap();
    let calls = [
        ("htap_oltp", &BY_SHOPPERS[..]),
        ("htap_refresh", &BY_REFRESHERS[..]),
        ("htap_monitor", &BY_REFRESHERS[..]),
        ("postgres", &BY_SHOPPERS[..]),
        ("postgres", &BY_REFRESHERS[..]),
        ("postgres", &BY_SUPERUSERS[..]),
    ];
    for (role, statements) in calls {
        let session = match role {
            "postgres" => database.connect().await,
            role => database.connect_as(role).await,
        };
        session
            .batch("SET search_path = public, pg_catalog")
            .await
            .unwrap();
        for statement in statements {
            session
                .batch(statement)
                .await
                .unwrap_or_else(|error| panic!("{role}: {error}: {statement}"));
        }
    }
    // The installer, run on what it finds.
    init(&database.target(), None, |_| {}).await.unwrap();
}

#[test]
fn our_functions_find_nothing_planted_on_13() {
    block_on(nothing_planted_is_found(13));
}

#[test]
fn our_functions_find_nothing_planted_on_15() {
    block_on(nothing_planted_is_found(15));
}

/// A database without the shop, in which a role that may create schemas has created a lookalike: everything
/// read or called there runs its author's code.
async fn pretend(database: &Database<'_>, author: &str) {
    let admin = database.connect().await;
    admin
        .batch(&format!(
            "CREATE ROLE {author} LOGIN; GRANT CREATE ON DATABASE {} TO {author}",
            database.name
        ))
        .await
        .unwrap();
    let body = format!("BEGIN {RISE} EXCEPTION WHEN OTHERS THEN END");
    let rise = body.replace("session_user", &format!("'{author}'"));
    let pretender = database.connect_as(author).await;
    pretender
        .batch(&format!(
            "CREATE SCHEMA shop; CREATE SCHEMA mart; CREATE SCHEMA htap;
             GRANT USAGE ON SCHEMA shop, mart, htap TO PUBLIC;
             CREATE FUNCTION shop.rise() RETURNS bigint VOLATILE LANGUAGE plpgsql AS $$ BEGIN {rise}; RETURN 1; END $$;
             CREATE VIEW shop.products AS SELECT shop.rise() AS product_id, shop.rise() AS category_id, 'x'::text AS product_name,
                 shop.rise()::numeric AS price;
             CREATE VIEW mart.sales_hourly AS SELECT now() AS hour, shop.rise() AS order_count, shop.rise()::numeric AS total_sales,
                 shop.rise() AS unique_customers, shop.rise()::numeric AS avg_order_value;
             CREATE VIEW htap.view_def AS SELECT 'mart.sales_hourly'::text AS view, 'incremental'::text AS kind,
                 ARRAY['mart.sales_hourly'] AS tables, '2 s'::interval AS freshness, shop.rise()::smallint AS depth;
             CREATE VIEW htap.watermark AS SELECT 'mart.sales_hourly'::text AS view, pg_current_snapshot() AS snapshot, now() AS as_of,
                 shop.rise() AS heartbeat;
             CREATE VIEW htap.order_log AS SELECT pg_current_xact_id() AS xid, shop.rise() AS order_id;
             CREATE VIEW htap.refresh_run AS SELECT 'mart.sales_hourly'::text AS view, now() AS started, now() AS finished,
                 shop.rise() AS rows, 'full'::text AS mode;
             CREATE VIEW htap.schema_version AS SELECT shop.rise()::int AS version, 'x'::text AS program, now() AS installed_at;
             CREATE FUNCTION htap.merge(wanted text, step bigint DEFAULT 1, OUT changes bigint, OUT remaining boolean) LANGUAGE plpgsql AS $$
                 BEGIN {rise}; changes := 0; remaining := false; END $$;
             CREATE FUNCTION htap.refresh_view(wanted text, beside boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
                 BEGIN {rise}; END $$;
             CREATE FUNCTION htap.make_months(since timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS integer LANGUAGE plpgsql
                 AS $$ BEGIN {rise}; RETURN 0; END $$;
             CREATE FUNCTION shop.create_order(buyer bigint, product_ids bigint[], quantities bigint[], key text DEFAULT NULL)
                 RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN {rise}; RETURN 1; END $$;
             CREATE MATERIALIZED VIEW mart.own AS SELECT 1 AS a;
             GRANT SELECT ON ALL TABLES IN SCHEMA shop, mart, htap TO PUBLIC"
        ))
        .await
        .unwrap();
}

/// The program's output, regardless of its exit code.
fn said(database: &Database<'_>, role: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(arguments)
        .args(["-d", &database.conninfo(role)])
        .env("XDG_CONFIG_HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Every command that reads or calls objects of the shop, run as a superuser.
#[test]
fn what_only_looks_like_the_shop_is_neither_read_nor_called() {
    block_on(async {
        let server = Server::of_major(15);
        let database = server.database("pretended").await;
        pretend(&database, "pretender").await;
        for role in ["postgres", "monitor"] {
            if role == "monitor" {
                let admin = database.connect().await;
                let made =
                    "CREATE ROLE monitor LOGIN; GRANT pg_monitor, pg_signal_backend TO monitor";
                admin.batch(made).await.unwrap();
            }
            for (arguments, says) in [
                (&["once", "--check", "--wait", "1s"][..], ""),
                (&["once", "--panel", "hourly_sales"], "belongs to pretender"),
                (&["once", "--panel", "views"], ""),
                (&["doctor"], "belongs to pretender"),
                (&["refresh", "mart.sales_hourly"], "belongs to pretender"),
                (&["refresh", "--verify"], "belongs to pretender"),
                (&["partitions"], "belongs to pretender"),
                (&["partitions", "make"], "belongs to pretender"),
                (
                    &["order", "create", "--user", "1", "--line", "1x1"],
                    "belongs to pretender",
                ),
            ] {
                let said = said(&database, role, arguments);
                assert!(said.contains(says), "{arguments:?} as {role}: {said}");
            }
        }
        let admin = database.connect().await;
        let risen = "SELECT count(*) FROM pg_roles WHERE rolname = 'pretender' AND rolsuper";
        assert_eq!(number(&admin, risen).await, 0);
        // It would have had an effect: the same query in psql does.
        admin
            .batch("SELECT price FROM shop.products")
            .await
            .unwrap();
        assert_eq!(number(&admin, risen).await, 1);
    });
}

/// Whoever may create functions in a schema of the shop can create one that is called in place of the owner's. A function elsewhere
/// that only mentions the schema cannot.
#[test]
fn a_function_of_somebody_else_in_the_shop_is_told_and_none_elsewhere() {
    block_on(async {
        let server = Server::of_major(15);
        let database = server.database("overloaded").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE ROLE guest LOGIN; CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop, public TO guest;
                 CREATE FUNCTION shop.f(n bigint) RETURNS bigint LANGUAGE sql RETURN n;
                 CREATE FUNCTION public.g(n bigint) RETURNS bigint LANGUAGE sql RETURN n",
            )
            .await
            .unwrap();
        let guest = database.connect_as("guest").await;
        for (function, refused) in [
            ("shop.another(n text)", false),
            (
                "public.g(s regnamespace DEFAULT 'shop'::regnamespace)",
                false,
            ),
            ("shop.f(n text)", true),
        ] {
            let create = format!("CREATE FUNCTION {function} RETURNS bigint LANGUAGE sql RETURN 1");
            guest.batch(&create).await.unwrap();
            let said = said(&database, "postgres", &["partitions"]);
            let complaint = "function shop.f(text) or its schema belongs to guest";
            assert_eq!(said.contains(complaint), refused, "{function}: {said}");
            assert_eq!(said.contains("belongs to"), refused, "{function}: {said}");
        }
    });
}
