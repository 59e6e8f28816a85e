//! Every query on every supported major version: it runs for superuser, monitor and plain role in a read-only
//! session, with the same columns and types everywhere. On the default version: its answer is true.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod estimates;
mod situations;
mod standby;

use super::board::Board;
use super::output::sell;
use super::server::{Database, Server, block_on, pid, role, shared, until, until_waiting};
use htap_top::config::Config;
use htap_top::dashboard::feed::PID;
use htap_top::dashboard::panels::classify::Classifier;
use htap_top::dashboard::panels::spec::{Chart, Pool, Spec};
use htap_top::dashboard::panels::{
    self, activity, bloat, locks, replication, scans, snapshots, statements, views, waits, wal,
};
use htap_top::dashboard::rows::{self, Panel};
use htap_top::dashboard::xid_clock::{Clock, XidClock};
use htap_top::pg::{Client, Param, Settings, Table, Value};
use htap_top::system::schema;
use situations::Situations;
use standby::Standby;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A column's name and type.
type Columns = Vec<(String, String)>;

/// Columns of each query on one major version.
type Contract = BTreeMap<&'static str, Columns>;

const PGSS: &str = "\"public\".pg_stat_statements";

/// The statement of a built-in query for a major version, ready to run.
fn statement(name: &str, major: u16) -> String {
    panels::statement(name, i64::from(major))
        .unwrap()
        .replace("{pg_stat_statements}", PGSS)
        .replace(
            PID,
            "(SELECT max(pid) FROM pg_catalog.pg_stat_activity WHERE state LIKE 'idle in%')",
        )
}

fn spec(name: &str) -> Spec {
    let mut built_in = panels::built_in().unwrap().iter();
    // Some feeds run the statement of another's file.
    if let Some(spec) = built_in.find(|spec| spec.name == name) {
        return (**spec).clone();
    }
    let path = format!("{}/queries/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    Spec::parse(name, &std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A session set up like the dashboard's own.
async fn sampling(database: &Database<'_>, role: &str) -> Client {
    let target = database.target_of(role).with_application_name("htap-top");
    let settings = Settings::of_monitor(Duration::from_secs(20));
    Client::open(&target, &settings).await.unwrap()
}

/// The dashboard's schema with some data, and the three roles.
async fn shop(server: &Server) -> Database<'_> {
    let database = server.database("queries").await;
    let client = database.connect().await;
    schema::create(&client).await.unwrap();
    schema::extensions(&client).await.unwrap();
    sell(&client, "Books", 1).await;
    role(&client, "test_monitor", "IN ROLE pg_monitor").await;
    role(&client, "test_plain", "").await;
    client
        .batch(include_str!("../../queries/host/install.sql"))
        .await
        .unwrap();
    client
        .batch(
            "GRANT USAGE ON SCHEMA htap_host TO test_monitor, test_plain; \
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA htap_host TO test_monitor, test_plain",
        )
        .await
        .unwrap();
    let fill = htap_top::system::fill::Fill {
        orders: 1_000,
        seed: 1,
        end_ms: now_ms(),
    };
    htap_top::system::fill::fill(&database.target(), fill, |_, _| {})
        .await
        .unwrap();
    schema::fill_all(&client, |_, _| {}).await.unwrap();
    database
}

#[expect(clippy::disallowed_methods, reason = "the made-up history ends now")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The columns of a statement, with the server's types.
async fn columns(client: &Client, sql: &str) -> Columns {
    client
        .batch(&format!("CREATE TEMPORARY VIEW contract AS {sql}"))
        .await
        .unwrap();
    let sql = "SELECT attname::text AS name, format_type(atttypid, NULL) AS type FROM pg_attribute \
               WHERE attrelid = 'pg_temp.contract'::regclass AND attnum > 0 ORDER BY attnum";
    let table = client.query(sql, &[]).await.unwrap();
    client.batch("DROP VIEW contract").await.unwrap();
    let text = |row, name| table.get(row, name).text().unwrap().to_owned();
    (0..table.rows.len())
        .map(|row| (text(row, "name"), text(row, "type")))
        .collect()
}

/// The statements that a server is asked: those of the pooler are no SQL, and what is derived has none.
fn of_servers() -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    let asked = |spec: Spec| spec.front.pool != Pool::Pooler && !spec.front.sampling.derived;
    panels::variants().filter(move |(name, _)| asked(spec(name)))
}

#[test]
fn what_has_no_statement_explains_the_columns_that_it_is_made_of() {
    let specs = panels::built_in().unwrap().iter();
    let derived: Vec<_> = specs.filter(|spec| spec.front.sampling.derived).collect();
    assert!(!derived.is_empty());
    for spec in derived {
        let panel = Panel::of(&spec.name).unwrap();
        let made: BTreeSet<&str> = rows::derived(panel).collect();
        let explained: BTreeSet<&str> = spec.order.iter().map(String::as_str).collect();
        assert_eq!(made, explained, "{}", spec.name);
    }
}

/// Types that the client reads without loss; the query must cast all others.
const TYPES: [&str; 10] = [
    "bigint",
    "boolean",
    "double precision",
    "integer",
    "name",
    "numeric",
    "real",
    "text",
    "character varying",
    "bytea",
];

/// Columns of types that the client does not read without loss.
fn strange(columns: &Columns) -> Vec<&(String, String)> {
    let columns = columns.iter();
    columns
        .filter(|(_, kind)| !TYPES.contains(&kind.as_str()))
        .collect()
}

/// Columns that code reads and a query lacks, or has in another type.
fn unread(name: &str, found: &[(String, String)]) -> Vec<String> {
    let wanted = Panel::of(name).into_iter().flat_map(rows::wanted);
    let lacking = wanted.filter(|(_, column)| {
        !found.iter().any(|(name, kind)| {
            name == column.name
                && (column.types.is_empty() || column.types.contains(&kind.as_str()))
        })
    });
    lacking
        .map(|(structure, column)| format!("{structure}.{}", column.name))
        .collect()
}

/// Queries whose columns differ between two major versions, each as a complaint.
fn differences(found: &[(u16, Contract)]) -> Vec<String> {
    let mut first: BTreeMap<&str, (u16, &Columns)> = BTreeMap::new();
    let mut faults = Vec::new();
    for (major, contract) in found {
        for (name, columns) in contract {
            let (before, expected) = *first.entry(name).or_insert((*major, columns));
            if expected != columns {
                faults.push(format!(
                    "{name}: {before} has {expected:?}, {major} has {columns:?}"
                ));
            }
        }
    }
    faults
}

/// Queries that may find nothing.
const MAY_BE_EMPTY: [&str; 9] = [
    "needs",
    "stock_alerts",
    "active_users",
    "temp_files",
    "point_locks",
    "sequences",
    "routing",
    "stream",
    "columnar",
];

/// Runs every query on this major version, and returns their columns.
fn on_major(major: u16) -> Contract {
    let server = Server::of_major(major);
    assert_eq!(server.major(), major);
    block_on(async {
        let database = shop(&server).await;
        let situations = Situations::make(&database).await;
        let admin = database.connect().await;
        let pgss = "SELECT count(*) AS n FROM pg_extension WHERE extname = 'pg_stat_statements'";
        assert_eq!(
            admin.query(pgss, &[]).await.unwrap().first("n"),
            &Value::Int(1),
            "pg_stat_statements of {major} is missing: run apt-get install postgresql-contrib"
        );
        let mut contract = Contract::new();
        for (name, _) in of_servers() {
            let front = spec(name).front;
            if front.since.is_some_and(|since| i64::from(major) < since) {
                continue;
            }
            let sql = statement(name, major);
            let columns = columns(&admin, &sql).await;
            assert_eq!(
                strange(&columns),
                Vec::<&(String, String)>::new(),
                "{name} on {major}"
            );
            assert_eq!(
                unread(name, &columns),
                Vec::<String>::new(),
                "{name} on {major} has {columns:?}"
            );
            contract.insert(name, columns);
            let mut counts = Vec::new();
            for role in ["postgres", "test_monitor", "test_plain"] {
                let session = sampling(&database, role).await;
                match session.query(&sql, &[]).await {
                    Ok(table) => counts.push(table.rows.len()),
                    Err(error) => {
                        let shops = front.pool == Pool::Olap
                            || [
                                "canary_shop",
                                "columnar",
                                "heartbeat",
                                "node_beat",
                                "routing",
                                "stream",
                                "summaries",
                            ]
                            .contains(&name)
                            || (front.monitor && role == "test_plain");
                        let allowed = role != "postgres" && shops && error.code() == "42501";
                        assert!(allowed, "{name} on {major} as {role}: {error}");
                    }
                }
            }
            assert!(
                counts.first() > Some(&0) || MAY_BE_EMPTY.contains(&name),
                "{name} on {major} finds nothing"
            );
        }
        isolate_looks(&database).await;
        situations.end(&admin).await;
        super::explain::a_generic_plan(&database).await;
        contract
    })
}

/// The statements of `htap-top isolate`, while sessions wait for locks.
async fn isolate_looks(database: &Database<'_>) {
    let server = include_str!("../../queries/isolate/server.sql");
    let sample = include_str!("../../queries/isolate/sample.sql");
    for (role, sees) in [
        ("postgres", true),
        ("test_monitor", true),
        ("test_plain", false),
    ] {
        let session = sampling(database, role).await;
        let told = session.query(server, &[]).await.unwrap();
        assert_eq!(told.first("sees_all").is_true(), sees, "{role}");
        assert!(told.first("pid").int().is_some() && told.first("started_s").number().is_some());
        let seen = session.query(sample, &[]).await.unwrap();
        let known = |name: &str| {
            let rows = 0..seen.rows.len();
            rows.filter(|row| seen.get(*row, name).is_known()).count()
        };
        for name in ["started_s", "query", "backend_type", "blocked_by"] {
            assert_eq!(
                known(name) > 0,
                sees || name == "query",
                "{name}, {role}: {seen:?}"
            );
        }
    }
}

#[test]
fn all_run_on_every_major_and_tell_the_same_columns() {
    let found: Vec<(u16, Contract)> = std::thread::scope(|scope| {
        let halves = [[13, 15, 17], [14, 16, 18]]
            .map(|majors| scope.spawn(move || majors.map(|major| (major, on_major(major)))));
        let halves = halves.into_iter();
        halves.flat_map(|half| half.join().unwrap()).collect()
    });
    assert_eq!(differences(&found), Vec::<String>::new());
    for (name, from) in [("activity", 13), ("statements", 13), ("io", 16)] {
        let ran = found
            .iter()
            .filter(|(_, contract)| contract.contains_key(name));
        let mut ran: Vec<u16> = ran.map(|(major, _)| *major).collect();
        ran.sort_unstable();
        assert_eq!(ran, (from..=18).collect::<Vec<u16>>(), "{name}");
    }
}

#[test]
fn a_broken_contract_is_found() {
    let on = |major: u16, kind: &str| {
        let columns = vec![("x".to_owned(), kind.to_owned())];
        (major, Contract::from([("broken", columns)]))
    };
    let faults = differences(&[on(13, "text"), on(14, "bigint"), on(15, "text")]);
    assert_eq!(
        faults,
        [r#"broken: 13 has [("x", "text")], 14 has [("x", "bigint")]"#]
    );
    assert_eq!(strange(&on(14, "interval").1["broken"]).len(), 1);
    assert_eq!(strange(&on(14, "bigint").1["broken"]).len(), 0);
    let read = |kind: &str| {
        let kinds = [
            ("backend_type", "text"),
            ("context", "text"),
            ("evictions", kind),
        ];
        unread(
            "io",
            &kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())),
        )
    };
    assert_eq!(read("text").len(), 1, "a figure that code reads is text");
    assert_eq!(read("double precision"), Vec::<String>::new());
}

/// The result of the panel's own derivation for an answer.
fn derived(name: &str, table: Table, estimates: &Table) -> Table {
    let classifier = Classifier::new(Vec::new(), Vec::new());
    match name {
        "activity" => {
            let mut table = activity::derive(table, &classifier, &HashMap::new());
            // Only beside a pooler, or if the host is read.
            for column in rows::derived(Panel::Activity) {
                table.ensure_column(column);
            }
            table
        }
        "snapshots" => {
            let clock = Clock {
                xids: &XidClock::default(),
                xmax: 0,
                xmin: 0,
                now_s: 0.0,
            };
            let mut memory = snapshots::Memory::default();
            snapshots::derive(table, &classifier, &clock, &mut memory, |_| None)
        }
        "bloat" => {
            let mut table = bloat::derive(table, &mut bloat::Memory::default(), estimates, None);
            table.ensure_column("waiting");
            scans::derive(&mut table, &mut scans::Memory::default(), 0.0);
            table
        }
        "views" => {
            let config = Config::default();
            views::derive(
                table,
                &Table::default(),
                &mut views::Memory::default(),
                (0.0, 0.0),
                &|view| config.freshness_of(view),
            )
        }
        "statements" => {
            let mut memory = statements::Memory::default();
            statements::derive(table, &[], &mut memory, &classifier)
        }
        "waits" => {
            let mut memory = waits::Memory::default();
            memory.note(&table, &classifier, 1.0);
            let mut derived = memory.table(1.0, 1.0);
            for name in table.columns.iter() {
                derived.ensure_column(name);
            }
            derived
        }
        "locks" => locks::derive(table, &classifier),
        "indexes" => {
            let mut table = table;
            bloat::estimated(&mut table, estimates);
            table
        }
        "wraparound" => {
            let mut table = table;
            table.ensure_column("left_s");
            table
        }
        "host" => Table {
            columns: rows::derived(Panel::Host).map(Box::from).collect(),
            rows: Vec::new(),
        },
        "replication" => replication::derive(table, &mut replication::Memory::default(), 0.0),
        "nodes" => super::nodes::shown(),
        "wal" => wal::derive(table, &mut wal::Memory::default()),
        _ => table,
    }
}

/// Columns named in the front matter.
fn named(spec: &Spec) -> BTreeSet<String> {
    let front = &spec.front;
    let mut names: BTreeSet<String> = front
        .columns
        .keys()
        .chain(&front.compact)
        .chain(&front.key)
        .chain(&front.rates)
        .cloned()
        .collect();
    names.extend(
        Some(front.sort.trim_start_matches('-').to_owned()).filter(|name| !name.is_empty()),
    );
    match &front.chart {
        Chart::Bars {
            x,
            y,
            compare,
            partial,
        } => {
            names.extend([x, y].into_iter().chain(compare).chain(partial).cloned());
        }
        Chart::Line { x, y } | Chart::Ranking { x, y } => names.extend([x, y].into_iter().cloned()),
        Chart::Table | Chart::Stat => {}
    }
    names
}

fn unknown_columns(spec: &Spec, table: &Table) -> Vec<String> {
    named(spec)
        .into_iter()
        // Changes are there only while a moment is marked.
        .filter(|name| table.column(name).is_none() && !spec.column(name).change)
        .collect()
}

#[test]
fn every_column_named_in_a_front_matter_is_there() {
    block_on(async {
        let database = shop(shared()).await;
        let session = database.connect().await;
        let mut faults = Vec::new();
        let asked = of_servers().filter(|(name, _)| {
            let since = spec(name).front.since;
            since.is_none_or(|since| since <= i64::from(shared().major()))
        });
        // Its rows are derived as those of the host.
        for (name, _) in asked.filter(|(name, _)| *name != "node_host") {
            // The text protocol returns the columns of an empty answer, too.
            let table = session
                .query_text(&statement(name, shared().major()), 1_000)
                .await
                .unwrap();
            let spec = spec(name);
            let unknown = unknown_columns(&spec, &derived(name, table.clone(), &Table::default()));
            faults.extend(
                unknown
                    .into_iter()
                    .map(|column| format!("{name}: there is no column {column}")),
            );
            let own = table
                .columns
                .iter()
                .filter(|column| !spec.front.columns.contains_key(&***column));
            // Canaries, the list of relations and files are not shown.
            if !name.starts_with("canary") && !matches!(name, "needs" | "host") {
                faults.extend(own.map(|column| format!("{name}: {column} is not explained")));
            }
        }
        assert_eq!(faults, Vec::<String>::new());
    });
}

#[test]
fn a_column_that_is_not_there_is_found() {
    let text = "-- title = \"x\"\n-- pool = \"olap\"\n-- interval = \"1s\"\n-- about = \"x\"\n-- key = [\"a\"]\n\
                -- chart = { kind = \"bars\", x = \"b\", y = \"c\", partial = \"d\" }\n-- sort = \"-e\"\n-- [columns.f]\nSELECT 1";
    let spec = Spec::parse("x", text).unwrap();
    let table = Table {
        columns: ["a".into()].into(),
        rows: Vec::new(),
    };
    assert_eq!(unknown_columns(&spec, &table), ["b", "c", "d", "e", "f"]);
}

async fn ask(client: &Client, name: &str) -> Table {
    client
        .query(&statement(name, shared().major()), &[])
        .await
        .unwrap()
}

/// The row whose column contains this text or number.
fn row(table: &Table, column: &str, value: &str) -> Option<usize> {
    (0..table.rows.len()).find(|row| match table.get(*row, column) {
        Value::Int(number) => number.to_string() == value,
        cell => cell.text() == Some(value),
    })
}

/// Sizes are current and include TOAST; but a table that is locked exclusively is not waited for.
#[test]
fn sizes_are_true_and_are_not_waited_for() {
    block_on(async {
        let database = shared().database("sizes").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE grown (a int PRIMARY KEY, b text); ALTER TABLE grown ALTER b SET STORAGE EXTERNAL;
                 INSERT INTO grown SELECT g, 'x' FROM generate_series(1, 1000) AS g; ANALYZE grown;
                 INSERT INTO grown SELECT g, repeat('x', 3000) FROM generate_series(1001, 3000) AS g;
                 CREATE MATERIALIZED VIEW copied AS SELECT * FROM grown;
                 CREATE MATERIALIZED VIEW kept AS SELECT * FROM grown; ANALYZE kept;
                 CREATE TABLE held (a int); INSERT INTO held SELECT generate_series(1, 5000); ANALYZE held",
            )
            .await
            .unwrap();
        let holder = database.connect().await;
        holder
            .batch("BEGIN; LOCK TABLE held; REFRESH MATERIALIZED VIEW kept")
            .await
            .unwrap();
        let session = sampling(&database, "postgres").await;
        let truth = "SELECT pg_relation_size('grown') + pg_relation_size(reltoastrelid) AS n, \
                     pg_relation_size('grown_pkey') AS i FROM pg_class WHERE relname = 'grown'";
        let truth = admin.query(truth, &[]).await.unwrap();
        for name in ["tables", "vacuum", "bloat"] {
            let table = ask(&session, name).await;
            let size =
                |relation| table.get(row(&table, "relation", relation).unwrap(), "size_bytes");
            assert_eq!(size("grown"), truth.first("n"), "{name}");
            assert!(size("held").int().is_some_and(|size| size > 0), "{name}");
        }
        let views = ask(&session, "views").await;
        let size = |view| views.get(row(&views, "view", view).unwrap(), "size_bytes");
        let copied = "SELECT pg_relation_size('copied') + pg_relation_size(reltoastrelid) AS n \
                      FROM pg_class WHERE relname = 'copied'";
        let copied = admin.query(copied, &[]).await.unwrap();
        assert_eq!(size("public.copied"), copied.first("n"));
        let kept = size("public.kept").int();
        assert!(kept.is_some_and(|size| size > 0), "{views:?}");
        let indexes = ask(&session, "indexes").await;
        let at = row(&indexes, "index", "grown_pkey").unwrap();
        assert_eq!(indexes.get(at, "size_bytes"), truth.first("i"));
    });
}

#[test]
fn holders_of_the_horizon_of_every_kind_are_seen() {
    block_on(async {
        let database = shared().database("holders").await;
        let situations = Situations::make(&database).await;
        let admin = database.connect().await;
        let session = sampling(&database, "postgres").await;
        let table = ask(&session, "snapshots").await;
        for (kind, holder) in [
            ("backend", situations.reader_pid.to_string()),
            ("backend", situations.writer_pid.to_string()),
            ("prepared", situations.prepared.clone()),
            ("slot_catalog", situations.slot.clone()),
        ] {
            let at = row(&table, "holder", &holder)
                .unwrap_or_else(|| panic!("{kind} {holder} is not in {table:?}"));
            assert_eq!(table.get(at, "kind").text(), Some(kind));
            assert!(table.get(at, "age_xids").int().is_some_and(|age| age >= 0));
            assert_eq!(
                table.get(at, "own_database").is_true(),
                kind != "slot_catalog"
            );
        }
        let own = pid(&session).await.to_string();
        assert_eq!(row(&table, "holder", &own), None, "it blames itself");
        // A committed write holds nothing, nor does an idle READ COMMITTED transaction.
        assert_eq!(
            row(&table, "holder", &situations.idle_pid.to_string()),
            None
        );
        situations.end(&admin).await;
        let after = ask(&session, "snapshots").await;
        assert_eq!(row(&after, "holder", &situations.prepared), None);
    });
}

#[test]
fn replicas_and_their_slots_are_seen() {
    block_on(async {
        // Holding the horizon would hold back vacuum in other tests.
        let server = Server::alone();
        let database = server.database("replicas").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE t (id int); SELECT pg_create_physical_replication_slot('of_standby')",
            )
            .await
            .unwrap();
        let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS xmax";
        let xmin = u32::try_from(
            admin
                .query(sql, &[])
                .await
                .unwrap()
                .first("xmax")
                .int()
                .unwrap(),
        )
        .unwrap();
        let _by_slot = Standby::holding(&server, Some("of_standby"), xmin);
        let _without = Standby::holding(&server, None, xmin);
        for id in 0..3 {
            admin
                .batch(&format!("INSERT INTO t VALUES ({id})"))
                .await
                .unwrap();
        }
        let session = sampling(&database, "postgres").await;
        let both = |table: &Table| {
            row(table, "kind", "slot").is_some() && row(table, "kind", "replica").is_some()
        };
        let table = until(
            &session,
            "both hold",
            &statement("snapshots", server.major()),
            &[],
            both,
        )
        .await;
        for kind in ["slot", "replica"] {
            let at = row(&table, "kind", kind).unwrap();
            assert!(table.get(at, "age_xids").int() >= Some(3), "{table:?}");
            assert!(
                table.get(at, "own_database").is_true(),
                "it holds all databases: {table:?}"
            );
        }
        assert_eq!(
            table
                .get(row(&table, "kind", "slot").unwrap(), "holder")
                .text(),
            Some("of_standby")
        );
        let replica = row(&table, "kind", "replica").unwrap();
        assert_eq!(
            table.get(replica, "application_name").text(),
            Some("standby")
        );
        let replicas =
            (0..table.rows.len()).filter(|row| table.get(*row, "kind").text() == Some("replica"));
        assert_eq!(
            replicas.count(),
            1,
            "the one with a slot is counted twice: {table:?}"
        );
    });
}

#[test]
fn a_lock_queue_is_told_as_it_is() {
    block_on(async {
        let database = shared().database("queue").await;
        let (root, first, second) = (
            database.connect().await,
            database.connect().await,
            database.connect().await,
        );
        root.batch("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)")
            .await
            .unwrap();
        root.batch("BEGIN; UPDATE t SET n = 1 WHERE id = 1")
            .await
            .unwrap();
        let admin = database.connect().await;
        let (a, b, c) = (pid(&root).await, pid(&first).await, pid(&second).await);
        let update = "UPDATE t SET n = n + 1 WHERE id = 1";
        let waiting = async {
            let (one, two) = tokio::join!(first.batch(update), async {
                until_waiting(&admin, b).await;
                second.batch(update).await
            });
            one.and(two).unwrap();
        };
        let looking = async {
            until_waiting(&admin, b).await;
            until_waiting(&admin, c).await;
            let session = sampling(&database, "postgres").await;
            let table = activity::derive(
                ask(&session, "activity").await,
                &Classifier::new(Vec::new(), Vec::new()),
                &HashMap::new(),
            );
            let at = |pid: i64| row(&table, "pid", &pid.to_string()).unwrap();
            assert_eq!(
                table.get(at(b), "blocked_by").text(),
                Some(a.to_string().as_str())
            );
            assert!(
                table
                    .get(at(c), "blocked_by")
                    .text()
                    .is_some_and(|by| by.split(',').any(|by| by == b.to_string()))
            );
            assert_eq!(table.get(at(a), "blocks").int(), Some(2));
            assert_eq!(
                table.get(at(a), "state").text(),
                Some("idle in transaction")
            );
            assert!(at(a) < at(b), "the root of the queue comes first");
            root.batch("COMMIT").await.unwrap();
        };
        tokio::join!(waiting, looking);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_view_tells_how_it_can_be_refreshed() {
    block_on(async {
        let database = shared().database("views").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT g AS id, now() AS at FROM generate_series(1, 10) AS g;
                 CREATE MATERIALIZED VIEW s.keyed AS SELECT id FROM s.t; CREATE UNIQUE INDEX ON s.keyed (id);
                 CREATE MATERIALIZED VIEW s.keyless AS SELECT id FROM s.keyed;
                 CREATE MATERIALIZED VIEW s.partial AS SELECT id FROM s.t; CREATE UNIQUE INDEX ON s.partial (id) WHERE id > 3;
                 CREATE MATERIALIZED VIEW s.expression AS SELECT id FROM s.t; CREATE UNIQUE INDEX ON s.expression ((id + 1));
                 CREATE MATERIALIZED VIEW s.empty AS SELECT id, clock_timestamp() AS at FROM s.t WITH NO DATA;
                 CREATE UNIQUE INDEX ON s.empty (id)",
            )
            .await
            .unwrap();
        let session = sampling(&database, "postgres").await;
        let table = ask(&session, "views").await;
        let at = |view: &str| row(&table, "view", view).unwrap();
        for (view, reason) in [
            ("s.keyed", None),
            ("s.keyless", Some("no unique index")),
            ("s.partial", Some("unique index has a WHERE clause")),
            ("s.expression", Some("unique index is on an expression")),
            ("s.empty", Some("not populated")),
        ] {
            assert_eq!(
                table.get(at(view), "concurrent_ok").is_true(),
                reason.is_none(),
                "{view}"
            );
            assert_eq!(
                table.get(at(view), "concurrent_reason").text(),
                reason,
                "{view}"
            );
        }
        let keyed = table.get(at("s.keyed"), "relid").int().unwrap().to_string();
        assert_eq!(
            table.get(at("s.keyless"), "depends_on").text(),
            Some(keyed.as_str())
        );
        assert!(table.get(at("s.empty"), "def_has_now").is_true());
        assert!(!table.get(at("s.keyed"), "def_has_now").is_true());
        // Both kinds of refresh change the row version; the commit time is exact.
        let mut version = table.get(at("s.keyed"), "xmin").int().unwrap();
        for refresh in [
            "REFRESH MATERIALIZED VIEW s.keyed",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY s.keyed",
        ] {
            admin.batch(refresh).await.unwrap();
            let table = ask(&session, "views").await;
            let at = row(&table, "view", "s.keyed").unwrap();
            let now = table.get(at, "xmin").int().unwrap();
            assert_ne!(now, version, "{refresh}");
            version = now;
            assert!(
                table
                    .get(at, "refreshed_s")
                    .number()
                    .is_some_and(|age| age < 60.0),
                "{table:?}"
            );
        }
        // A refresh in progress: the view's function waits for a lock that this test holds.
        admin
            .batch(
                "SELECT pg_advisory_lock(7);
                 CREATE MATERIALIZED VIEW s.slow AS SELECT id FROM s.t, pg_advisory_xact_lock_shared(7) WHERE id > 0",
            )
            .await
            .unwrap();
        let refresher = database.connect().await;
        let refresh_pid = pid(&refresher).await;
        let running = refresher.batch("REFRESH MATERIALIZED VIEW s.slow");
        let looking = async {
            until_waiting(&admin, refresh_pid).await;
            let table = ask(&session, "views").await;
            let at = row(&table, "view", "s.slow").unwrap();
            assert_eq!(table.get(at, "refreshing").text(), Some("plain"));
            assert_eq!(table.get(at, "refresh_pid").int(), Some(refresh_pid));
            admin.batch("SELECT pg_advisory_unlock(7)").await.unwrap();
        };
        let (ended, ()) = tokio::join!(running, looking);
        ended.unwrap();
    });
}

#[test]
fn a_vacuum_held_back_is_proven() {
    block_on(async {
        let database = shared().database("vain").await;
        let (admin, holder) = (database.connect().await, database.connect().await);
        admin
            .batch("CREATE TABLE t WITH (autovacuum_enabled = off) AS SELECT g AS id FROM generate_series(1, 5000) AS g")
            .await
            .unwrap();
        holder
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            .await
            .unwrap();
        admin.batch("UPDATE t SET id = id").await.unwrap();
        let session = sampling(&database, "postgres").await;
        let mut memory = bloat::Memory::default();
        let sql = statement("bloat", shared().major());
        // Counters become visible a moment after the statement.
        let vacuums = |n: i64| {
            move |table: &Table| {
                row(table, "relation", "t").is_some_and(|at| {
                    table.get(at, "n_dead").int() >= Some(5000)
                        && table.get(at, "vacuums").int() == Some(n)
                })
            }
        };
        let before = until(&session, "5,000 dead rows", &sql, &[], vacuums(0)).await;
        bloat::derive(before, &mut memory, &Table::default(), None);
        admin.batch("VACUUM t").await.unwrap();
        let after = until(&session, "a vacuum", &sql, &[], vacuums(1)).await;
        let told = bloat::derive(after, &mut memory, &Table::default(), Some(("pid 1", 1e9)));
        let at = row(&told, "relation", "t").unwrap();
        assert_eq!(told.get(at, "in_vain"), &Value::Int(1));
        assert_eq!(told.get(at, "held_by").text(), Some("pid 1"));
        holder.batch("COMMIT").await.unwrap();
        admin.batch("VACUUM t").await.unwrap();
        let released = |table: &Table| {
            row(table, "relation", "t").is_some_and(|at| table.get(at, "n_dead").int() == Some(0))
        };
        let table = until(&session, "removed", &sql, &[], released).await;
        let told = bloat::derive(table, &mut memory, &Table::default(), Some(("pid 1", 1e9)));
        assert_eq!(
            told.get(row(&told, "relation", "t").unwrap(), "in_vain"),
            &Value::Null
        );
    });
}

#[test]
fn a_plain_role_is_told_what_is_hidden_from_it() {
    block_on(async {
        let database = shared().database("hidden").await;
        let admin = database.connect().await;
        role(&admin, "hidden_plain", "").await;
        let other = database.connect().await;
        let other_pid = pid(&other).await;
        let session = sampling(&database, "hidden_plain").await;
        let table = ask(&session, "activity").await;
        let at = row(&table, "pid", &other_pid.to_string())
            .unwrap_or_else(|| panic!("it empties the screen: {table:?}"));
        assert!(table.get(at, "restricted").is_true());
        let facts = ask(&session, "facts").await;
        assert_eq!(facts.first("pg_monitor"), &Value::Bool(false));
        let names = [Param::Text("x")];
        let none = session
            .query("SELECT $1 AS x WHERE false", &names)
            .await
            .unwrap();
        assert_eq!(none.rows.len(), 0);
        let denied = session.batch("CREATE TABLE x (id int)").await.unwrap_err();
        assert_eq!(denied.code(), "25006", "a sampling session could write");
    });
}

/// A schema that the role may not use must not hide what is known about all other relations.
#[test]
fn a_closed_schema_lacks_only_its_own_relations() {
    block_on(async {
        let database = shared().database("needs").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE SCHEMA shop; CREATE TABLE shop.products (product_id int);
                 CREATE SCHEMA mart; CREATE TABLE mart.daily_sales (id int);
                 CREATE ROLE needs_plain LOGIN; GRANT USAGE ON SCHEMA mart TO needs_plain",
            )
            .await
            .unwrap();
        let board = Board::live(Config::default());
        let sql = &board.model.feed(board.id("needs")).unwrap().sql;
        let client = sampling(&database, "needs_plain").await;
        let table = client.query(sql, &[]).await.unwrap();
        let found = |name: &str| {
            (0..table.rows.len())
                .find(|row| table.get(*row, "name").text() == Some(name))
                .map(|row| table.get(row, "found").clone())
        };
        assert_eq!(found("mart.daily_sales"), Some(Value::Bool(true)));
        assert_eq!(found("shop.products"), Some(Value::Bool(false)));
        assert_eq!(found("mart.sales_hourly"), Some(Value::Bool(false)));
        drop(client);
        admin
            .batch("DROP OWNED BY needs_plain; DROP ROLE needs_plain")
            .await
            .unwrap();
    });
}
