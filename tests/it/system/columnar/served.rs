//! `columnar serve`: what clients of PostgreSQL's protocol get, and what they do not get.

mod panels;

use super::{QUESTIONS, Store, hour, number};
use crate::it::server::{Patience, Server, block_on};
use crate::it::system::server;
use bytes::BytesMut;
use htap_top::cluster::SUPERUSER;
use htap_top::columnar::Options;
use htap_top::columnar::arrow::ipc::reader::StreamReader;
use htap_top::columnar::serve::{listen, serve};
use htap_top::pg::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Config, NoTls, Row, SimpleQueryMessage};

/// Roles that must give a password, and their rights.
const ROLES: &str = "
    CREATE ROLE served;
    CREATE ROLE asker LOGIN PASSWORD 'asks' IN ROLE served, htap_olap;
    CREATE ROLE stranger LOGIN PASSWORD 'asks' IN ROLE served";

/// Waits until something is so.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let patience = Patience::begin();
    while !is().await {
        assert!(patience.lasts(), "{what}: not yet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Has the server demand passwords of these roles.
async fn demand(server: &'static Server) {
    static DEMANDED: OnceCell<()> = OnceCell::const_new();
    DEMANDED
        .get_or_init(async || {
            let admin = Client::connect(&server.target("postgres", SUPERUSER)).await.unwrap();
            admin.batch(ROLES).await.unwrap();
            let hba = server.data_dir().join("pg_hba.conf");
            let before = std::fs::read_to_string(&hba).unwrap();
            std::fs::write(&hba, format!("local all +served scram-sha-256\n{before}")).unwrap();
            admin.batch("SELECT pg_reload_conf()").await.unwrap();
            let rule = "SELECT count(*) FROM pg_hba_file_rules WHERE '+served' = ANY (user_name) AND auth_method = 'scram-sha-256'";
            until("the rule is read", async || number(&admin, rule).await == 1).await;
        })
        .await;
}

/// A store that is served.
struct Served {
    store: Store,
    port: u16,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Served {
    async fn new(options: Options, most: usize) -> Self {
        let store = Store::new().await;
        demand(server().await).await;
        let until = hour(&store.client, "now() - interval '9 days'").await;
        store.sync(Some(until)).await.unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let target = store.database.target();
        let options = Options {
            spill: store.folder.path().to_owned(),
            ..options
        };
        let ended = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(&target, &options, (listener, most), stopped)
                .await
                .unwrap();
        });
        Self {
            store,
            port,
            stop,
            ended,
        }
    }

    fn config(&self, user: &str, password: &str) -> Config {
        self.config_at(self.port, user, password)
    }

    fn config_at(&self, port: u16, user: &str, password: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(port)
            .user(user)
            .password(password)
            .dbname(&self.store.database.name);
        config
    }

    async fn connect_as(
        &self,
        user: &str,
        password: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = self.config(user, password).connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A session with PostgreSQL itself.
    async fn direct(&self) -> tokio_postgres::Client {
        let server = self.store.database.server;
        let mut config = Config::new();
        config
            .host_path(server.socket_dir())
            .port(server.port())
            .user(SUPERUSER)
            .dbname(&self.store.database.name);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn connect(&self) -> tokio_postgres::Client {
        self.connect_as("asker", "asks").await.unwrap()
    }

    fn psql(&self, arguments: &[&str]) -> Command {
        let name = &self.store.database.name;
        let mut command = Command::new("psql");
        command
            .args([
                "-X",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "asker",
                "-d",
                name,
            ])
            .args(arguments)
            .env("PGPASSWORD", "asks");
        command
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), self.ended)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A value's bytes.
#[derive(Debug, PartialEq, Eq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

fn cell<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> T {
    row.try_get(at).unwrap()
}

fn code(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

/// Rows of the simple protocol as lines of CSV, sorted, behind the names.
async fn simple(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let mut csv = String::new();
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                csv += &columns
                    .iter()
                    .map(tokio_postgres::SimpleColumn::name)
                    .collect::<Vec<_>>()
                    .join(",");
                csv.push('\n');
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned());
                csv += &cells.collect::<Vec<_>>().join(",");
                csv.push('\n');
            }
            _ => {}
        }
    }
    super::lines(csv.as_bytes())
}

/// OIDs of the columns of the answer.
async fn types(client: &tokio_postgres::Client, sql: &str) -> Vec<(String, u32)> {
    let prepared = client
        .prepare(sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    let columns = prepared.columns().iter();
    columns
        .map(|column| (column.name().to_owned(), column.type_().oid()))
        .collect()
}

/// Lines without their quotes.
fn csv(mut lines: Vec<String>) -> Vec<String> {
    for line in &mut lines {
        line.retain(|c| c != '"');
    }
    lines
}

#[test]
fn the_time_zone_that_is_set_last_counts() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        let sql = "SELECT date_trunc('day', sale_time) AS day, count(*) AS sales FROM fact_sales GROUP BY 1 ORDER BY 1";
        // Each query has a snapshot of its own, then one serves all.
        for begin in ["", "BEGIN"] {
            client.batch_execute(begin).await.unwrap();
            for zone in [
                "Asia/Kathmandu",
                "UTC",
                "Australia/Lord_Howe",
                "Asia/Kathmandu",
            ] {
                let set = format!("SET TimeZone = '{zone}'");
                client.batch_execute(&set).await.unwrap();
                let right = csv(served.store.right(sql, zone).await);
                assert!(right.len() > 20, "{right:?}");
                assert_eq!(csv(simple(&client, sql).await), right, "{zone}");
            }
        }
        for sql in ["COMMIT", "RESET TimeZone"] {
            client.batch_execute(sql).await.unwrap();
        }
        let own = simple(&served.direct().await, "SHOW TimeZone").await;
        let own = own.last().unwrap();
        let right = csv(served.store.right(sql, own).await);
        assert_eq!(csv(simple(&client, sql).await), right, "{own}");
        served.end().await;
    });
}

#[test]
fn answers_are_those_of_postgresql_in_both_protocols() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        let direct = served.direct().await;
        direct
            .batch_execute("SET search_path = mart")
            .await
            .unwrap();
        client
            .batch_execute("SET TimeZone = 'Australia/Lord_Howe'")
            .await
            .unwrap();
        for sql in QUESTIONS {
            let right = csv(served.store.right(sql, "Australia/Lord_Howe").await);
            assert_eq!(csv(simple(&client, sql).await), right, "{sql}");
            assert_eq!(
                types(&client, sql).await,
                types(&direct, sql).await,
                "{sql}"
            );
            // In the binary format.
            let rows = client
                .query(*sql, &[])
                .await
                .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
            assert_eq!(rows.len(), right.len() - 1, "{sql}");
        }
        served.end().await;
    });
}

#[test]
fn values_and_parameters_are_exact_in_the_binary_format() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        let total = served
            .store
            .client
            .query(
                "SELECT count(*) AS n, max(quantity)::bigint AS q FROM mart.fact_sales",
                &[],
            )
            .await
            .unwrap();
        let row = client.query_one("SELECT sum(sales_amount), count(*), max(quantity), max(category), sum(sales_amount) > $1, NULL FROM fact_sales WHERE quantity >= $2 AND sale_time > $3 AND category <> $4", &[
            &Raw(vec![0, 2, 0, 0, 0x40, 0, 0, 1, 0, 1, 0x13, 0x88]), &1_i32, &(UNIX_EPOCH + Duration::from_secs(86_400)), &"it's \\ not",
        ]).await.unwrap();
        let right = served
            .direct()
            .await
            .query_one("SELECT sum(sales_amount) FROM mart.fact_sales", &[])
            .await;
        assert_eq!(cell::<Raw>(&row, 0), cell::<Raw>(&right.unwrap(), 0));
        assert_eq!(
            (cell::<i64>(&row, 1), i64::from(cell::<i32>(&row, 2))),
            (
                total.first("n").int().unwrap(),
                total.first("q").int().unwrap()
            )
        );
        assert!(!cell::<String>(&row, 3).is_empty() && cell::<bool>(&row, 4));
        assert_eq!(cell::<Option<String>>(&row, 5), None);
        // A time is the same in both formats.
        let later = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let at = client
            .query_one(
                "SELECT max(sale_time) FROM fact_sales WHERE sale_time < $1",
                &[&later],
            )
            .await
            .unwrap();
        let at: SystemTime = cell(&at, 0);
        let micros = at.duration_since(UNIX_EPOCH).unwrap().as_micros();
        let right = number(
            &served.store.client,
            "SELECT (extract(epoch FROM max(sale_time)) * 1000000)::bigint FROM mart.fact_sales",
        )
        .await;
        assert_eq!(micros, right.unsigned_abs().into());
        served.end().await;
    });
}

#[test]
fn statements_are_kept_and_rows_come_in_portions() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        let prepared = client.prepare("SELECT order_id, line_no FROM fact_sales WHERE quantity = $1 ORDER BY order_id, line_no LIMIT $2").await.unwrap();
        for limit in [0_i64, 3, 7] {
            assert_eq!(
                client
                    .query(&prepared, &[&1_i32, &limit])
                    .await
                    .unwrap()
                    .len(),
                usize::try_from(limit).unwrap()
            );
        }
        let mut client = client;
        let transaction = client.transaction().await.unwrap();
        let portal = transaction
            .bind(&prepared, &[&1_i32, &25_i64])
            .await
            .unwrap();
        let mut portions = Vec::new();
        loop {
            let rows = transaction.query_portal(&portal, 10).await.unwrap();
            portions.push(rows.len());
            if rows.len() < 10 {
                break;
            }
        }
        assert_eq!(portions, [10, 10, 5]);
        transaction.commit().await.unwrap();
        // What the server alone knows.
        let row = client
            .query_one(
                "SELECT current_user::text, version(), 1, 'x', NULL::float8",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            (
                cell::<&str>(&row, 0),
                cell::<i32>(&row, 2),
                cell::<&str>(&row, 3)
            ),
            ("asker", 1, "x")
        );
        assert!(cell::<&str>(&row, 1).starts_with("PostgreSQL"));
        served.end().await;
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of statements")]
fn what_is_not_a_select_of_the_table_is_refused() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let mut client = served.connect().await;
        let mut wrong = Vec::new();
        for (sql, sqlstate) in [
            ("DELETE FROM fact_sales", "25006"),
            ("INSERT INTO fact_sales SELECT * FROM fact_sales", "25006"),
            (
                "WITH x AS (DELETE FROM fact_sales RETURNING 1) SELECT * FROM x",
                "0A000",
            ),
            ("COPY fact_sales TO '/tmp/htap-top-copied'", "0A000"),
            ("COPY fact_sales TO STDOUT", "0A000"),
            ("COPY (SELECT 1) TO PROGRAM 'id'", "0A000"),
            ("CREATE TABLE x (a int)", "25006"),
            ("SELECT 1 AS a INTO x", "0A000"),
            ("SELECT * INTO x FROM fact_sales", "0A000"),
            ("SELECT 1; SELECT 2", "0A000"),
            ("SELECT pg_read_file('/etc/passwd')", "0A000"),
            ("SELECT pg_sleep(10) FROM fact_sales", "0A000"),
            ("SELECT lo_export(1, '/tmp/x'), * FROM fact_sales", "0A000"),
            ("SELECT set_config('x.y', 'z', false)", "0A000"),
            ("SELECT pg_terminate_backend(pg_backend_pid())", "0A000"),
            ("SELECT * FROM pg_catalog.pg_authid", "0A000"),
            ("SELECT * FROM shop.users", "0A000"),
            ("SELECT * FROM mart.sales_hourly", "0A000"),
            ("SELECT 1) TO PROGRAM 'id' --", "0A000"),
            ("SELECT nothing FROM fact_sales", "42703"),
            ("SELECT FROM WHERE", "42601"),
            ("SELECT * FROM fact_sales WHERE sale_time > 'soon'", "22007"),
            ("SELECT quantity / 0 FROM fact_sales", "22012"),
            ("SELECT quantity + 2147483647 FROM fact_sales", "22003"),
            ("SET session_authorization = postgres", "0A000"),
            ("SET role = postgres", "0A000"),
            ("SET default_transaction_read_only = off", "0A000"),
            ("SET TimeZone = 'Nowhere/City'", "22023"),
            ("BEGIN READ WRITE", "25006"),
            ("SAVEPOINT a", "0A000"),
            ("LISTEN a", "0A000"),
            ("DO $$ BEGIN END $$", "25006"),
            ("VACUUM", "25006"),
            ("PREPARE a AS SELECT 1", "0A000"),
            ("DECLARE a CURSOR FOR SELECT 1", "0A000"),
            ("SHOW nothing", "42704"),
            ("EXECUTE a", "0A000"),
        ] {
            for error in [
                client.simple_query(sql).await.err(),
                client.query(sql, &[]).await.err(),
            ] {
                let found = error.as_ref().map_or_else(|| "none".to_owned(), code);
                if found != sqlstate {
                    wrong.push(format!("{sql}: {found} instead of {sqlstate}, {error:?}"));
                }
            }
        }
        // As deep as it is long.
        let deep = format!("SELECT {} FROM fact_sales", vec!["1"; 5000].join(" + "));
        assert_eq!(
            code(&client.simple_query(&deep).await.unwrap_err()),
            "0A000"
        );
        let deep = format!(
            "SELECT count(*) FROM fact_sales WHERE {}",
            vec!["quantity = 1"; 140].join(" OR ")
        );
        simple(&client, &deep).await;
        let nested = format!(
            "SELECT {}1{} FROM fact_sales",
            "(".repeat(10_000),
            ")".repeat(10_000)
        );
        assert_eq!(
            code(&client.simple_query(&nested).await.unwrap_err()),
            "0A000"
        );
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(
            simple(&client, "SELECT 1 AS a").await,
            ["a", "1"],
            "the session survives"
        );
        assert!(simple(&client, "").await.is_empty());
        assert!(
            simple(&client, "EXPLAIN SELECT * FROM fact_sales").await[1].contains("column files")
        );
        assert_eq!(simple(&client, "SHOW transaction_read_only").await[1], "on");
        // A transaction that has failed goes on only after its end.
        let transaction = client.transaction().await.unwrap();
        assert_eq!(
            code(
                &transaction
                    .simple_query("SELECT x FROM fact_sales")
                    .await
                    .unwrap_err()
            ),
            "42703"
        );
        assert_eq!(
            code(&transaction.simple_query("SELECT 1").await.unwrap_err()),
            "25P02"
        );
        transaction.rollback().await.unwrap();
        client.simple_query("SELECT 1").await.unwrap();
        served.end().await;
    });
}

#[test]
fn a_role_reads_what_postgresql_lets_it_read() {
    block_on(async {
        let served = Served::new(Options::default(), 1).await;
        let said = async |user: &str, password: &str| {
            let refused = served.connect_as(user, password).await;
            refused
                .err()
                .map_or_else(|| "let in".to_owned(), |error| code(&error))
        };
        assert_eq!(said("asker", "guesses").await, "28P01");
        assert_eq!(said("asker", "").await, "28P01");
        assert_eq!(said("nobody", "asks").await, "28000");
        // PostgreSQL lets this role in without a password, for which anybody here could then stand.
        assert_eq!(said(SUPERUSER, "asks").await, "42501");
        let elsewhere = served
            .config("asker", "asks")
            .dbname("postgres")
            .connect(NoTls)
            .await;
        assert_eq!(code(&elsewhere.err().unwrap()), "3D000");
        let first = served.connect_as("stranger", "asks").await.unwrap();
        let sql = "SELECT count(*) FROM mart.fact_sales";
        let grant = "GRANT USAGE ON SCHEMA mart, htap TO stranger";
        // Neither the schema nor the table.
        assert_eq!(code(&first.simple_query(sql).await.unwrap_err()), "42501");
        served.store.client.batch(grant).await.unwrap();
        assert_eq!(code(&first.simple_query(sql).await.unwrap_err()), "42501");
        // No more sessions than there may be.
        assert_eq!(said("asker", "asks").await, "53300");
        drop(first);
        until("the place is free", async || {
            said("asker", "asks").await == "let in"
        })
        .await;
        let error = listen("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("clear text"), "{error}");
        served.end().await;
    });
}

const ENDLESS: &str = "SELECT count(*) FROM fact_sales AS a, fact_sales AS b, fact_sales AS c WHERE a.quantity + b.quantity > c.quantity";

#[test]
fn statements_end_when_they_are_canceled_or_take_too_long() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        client
            .batch_execute("SET statement_timeout = '300ms'")
            .await
            .unwrap();
        assert_eq!(
            code(&client.simple_query(ENDLESS).await.unwrap_err()),
            "57014"
        );
        client
            .batch_execute("RESET statement_timeout")
            .await
            .unwrap();
        let token = client.cancel_token();
        let running =
            tokio::spawn(async move { (client.simple_query(ENDLESS).await.err(), client) });
        // A request before the statement begins has no effect.
        let (error, client) = loop {
            token.cancel_query(NoTls).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if running.is_finished() {
                break running.await.unwrap();
            }
        };
        assert_eq!(code(&error.unwrap()), "57014");
        assert_eq!(simple(&client, "SELECT 1 AS a").await, ["a", "1"]);
        drop(client);
        // A client that is gone leaves nothing behind; nor does the end of the server.
        let admin = &served.store.client;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'asker' AND datname = current_database()";
        until("its session ends", async || {
            number(admin, sessions).await == 0
        })
        .await;
        let mut child = served.psql(&["-c", ENDLESS]).spawn().unwrap();
        until("it runs", async || number(admin, sessions).await > 0).await;
        child.kill().unwrap();
        child.wait().unwrap();
        until("its session ends", async || {
            number(admin, sessions).await == 0
        })
        .await;
        let client = served.connect().await;
        let running = tokio::spawn(async move { client.simple_query(ENDLESS).await.err() });
        until("it runs", async || {
            number(&served.store.client, sessions).await > 0
        })
        .await;
        let (stop, ended, store) = (served.stop, served.ended, served.store);
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .unwrap()
            .unwrap();
        assert!(running.await.unwrap().is_some());
        until("its session ends", async || {
            number(&store.client, sessions).await == 0
        })
        .await;
    });
}

#[test]
fn a_repeatable_transaction_has_one_snapshot() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let client = served.connect().await;
        let count = "SELECT count(*) FROM fact_sales";
        let change = "DELETE FROM mart.fact_sales WHERE order_id = (SELECT min(order_id) FROM mart.fact_sales)";
        client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .unwrap();
        let before = simple(&client, count).await;
        served.store.client.batch(change).await.unwrap();
        assert_eq!(simple(&client, count).await, before);
        client.batch_execute("COMMIT").await.unwrap();
        let after = simple(&client, count).await;
        assert_ne!(after, before);
        client.batch_execute("BEGIN").await.unwrap();
        served.store.client.batch(change).await.unwrap();
        assert_ne!(simple(&client, count).await, after);
        client.batch_execute("ROLLBACK").await.unwrap();
        // SET in a transaction that is rolled back.
        client.batch_execute("BEGIN").await.unwrap();
        client
            .batch_execute("SET TIME ZONE 'Asia/Tokyo'")
            .await
            .unwrap();
        assert_eq!(simple(&client, "SHOW TimeZone").await[1], "Asia/Tokyo");
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_ne!(simple(&client, "SHOW TimeZone").await[1], "Asia/Tokyo");
        served.end().await;
    });
}

/// psql and pgbench, as people use them.
#[test]
fn psql_and_pgbench_ask() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let shown = |output: &Output| {
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        };
        let right = number(&served.store.client, "SELECT count(*) FROM mart.fact_sales").await;
        let asked = served
            .psql(&["-Atc", "SELECT count(*) FROM fact_sales"])
            .output()
            .unwrap();
        assert_eq!(shown(&asked).trim(), right.to_string());
        let session = "SET TIME ZONE 'UTC';\n\\timing off\nBEGIN;\nSELECT category, sum(sales_amount) FROM fact_sales GROUP BY category ORDER BY 2 DESC;\nCOMMIT;\nDELETE FROM fact_sales;\n";
        let file = served.store.folder.path().join("asked.sql");
        std::fs::write(&file, session).unwrap();
        let asked = shown(
            &served
                .psql(&["-f", file.to_str().unwrap()])
                .output()
                .unwrap(),
        );
        for part in [
            "category",
            "COMMIT",
            "cannot execute DELETE in a read-only transaction",
        ] {
            assert!(asked.contains(part), "{asked}");
        }
        let script = served.store.folder.path().join("bench.sql");
        std::fs::write(&script, "\\set n random(1, 4)\nSELECT category, sum(sales_amount) FROM fact_sales WHERE quantity = :n AND user_id > 0 GROUP BY category;\n").unwrap();
        for mode in ["simple", "extended", "prepared"] {
            let ran = Command::new("/usr/lib/postgresql/15/bin/pgbench")
                .args([
                    "-n",
                    "-M",
                    mode,
                    "-t",
                    "5",
                    "-c",
                    "2",
                    "-f",
                    script.to_str().unwrap(),
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &served.port.to_string(),
                    "-U",
                    "asker",
                ])
                .arg(&served.store.database.name)
                .env("PGPASSWORD", "asks")
                .output()
                .unwrap();
            assert!(
                shown(&ran).contains("number of transactions actually processed: 10/10"),
                "{mode}: {}",
                shown(&ran)
            );
        }
        served.end().await;
    });
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.args(arguments).env_remove("PGPASSWORD");
    command
}

/// The program itself: it serves until it is told to end, and writes Arrow's format.
#[test]
fn the_program_serves_and_writes_arrow() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let conninfo = served.store.database.conninfo(SUPERUSER);
        let folder = served.store.folder.path().to_str().unwrap();
        let right = number(&served.store.client, "SELECT count(*) FROM mart.fact_sales").await;
        let sql = "SELECT order_id, category, sales_amount, sale_time FROM fact_sales";
        let written = program(&[
            "columnar", "query", "-d", &conninfo, "--format", "arrow", "--folder", folder, sql,
        ])
        .output()
        .unwrap();
        assert!(written.status.success(), "{written:?}");
        let stream = StreamReader::try_new(&written.stdout[..], None).unwrap();
        let names: Vec<String> = stream
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(names, ["order_id", "category", "sales_amount", "sale_time"]);
        let rows: usize = stream.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(i64::try_from(rows).unwrap(), right);
        let mut child = program(&[
            "columnar",
            "serve",
            "-d",
            &conninfo,
            "--listen",
            "127.0.0.1:0",
            "--folder",
            folder,
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut said = String::new();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        told.read_line(&mut said).unwrap();
        let port = said.trim().rsplit_once("port=").unwrap().1.parse().unwrap();
        let config = served.config_at(port, "asker", "asks");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(
            simple(&client, "SELECT count(*) FROM fact_sales").await[1],
            right.to_string()
        );
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
        until("the client is told", async || client.is_closed()).await;
        served.end().await;
    });
}

#[test]
fn garbage_ends_its_own_connection_alone() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let startup = |pairs: &[(&str, &str)]| {
            let mut body = 196_608_i32.to_be_bytes().to_vec();
            for (name, value) in pairs {
                body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
            }
            body.push(0);
            let mut message = i32::try_from(body.len() + 4)
                .unwrap()
                .to_be_bytes()
                .to_vec();
            message.extend(body);
            message
        };
        let login = startup(&[("user", "asker"), ("database", &served.store.database.name)]);
        let logged_in = [login.clone(), b"p\0\0\0\x09asks\0".to_vec()].concat();
        let with = |after: &[u8]| [logged_in.clone(), after.to_vec()].concat();
        let long = startup(&[("user", &"x".repeat(20_000))]);
        for garbage in [
            b"".to_vec(),
            b"\0\0".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0; 64],
            vec![255; 64],
            i32::MAX.to_be_bytes().to_vec(),
            long,
            startup(&[]),
            startup(&[("user", "asker"), ("replication", "database")]),
            startup(&[("user", "asker"), ("options", "--help")]),
            [login.clone(), b"p\x7f\xff\xff\xff".to_vec()].concat(),
            [login.clone(), b"p\0\0\0\x05x".to_vec()].concat(),
            [login.clone(), b"Q\0\0\0\x0dSELECT 1\0".to_vec()].concat(),
            with(b"Q\x7f\xff\xff\xff"),
            with(b"Q\0\0\0\x03"),
            with(b"Q\0\0\0\x08\xff\xff\xff\xff"),
            with(b"Q\0\0\0\x05x"),
            with(b"P\0\0\0\x08\0\0\xff\xff"),
            with(b"B\0\0\0\x0a\0\0\xff\xff\xff\xff"),
            with(b"B\0\0\0\x10\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
            with(b"D\0\0\0\x04"),
            with(b"E\0\0\0\x05\0"),
            with(b"~\0\0\0\x04"),
            with(b"F\0\0\0\x04"),
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", served.port)).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let _ = stream.write_all(&garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(
                !answer.windows(5).any(|part| part == b"SELEC"),
                "{garbage:?}"
            );
        }
        let client = served.connect().await;
        assert_eq!(simple(&client, "SELECT 1 AS a").await, ["a", "1"]);
        assert!(!served.ended.is_finished());
        served.end().await;
    });
}
