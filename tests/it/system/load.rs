//! A shop's history: the same seed gives the same rows, whoever loads them and whatever interrupts the load.

use super::init::{load, refused, run};
use super::{ask, number, sqlstate};
use crate::it::server::{Database, Server, block_on, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::system::fill::{self, Entry, Standing};
use htap_top::system::generate::Shape;
use htap_top::system::init::{InitError, init};
use htap_top::system::schema;
use nix::sys::signal::Signal;
use std::process::{Child, Command, Stdio};

/// A text computed from the whole contents of a history.
const CONTENT: &str = "
    SELECT md5(string_agg(o::text, ',' ORDER BY order_id)) || (SELECT md5(string_agg(i::text, ',' ORDER BY order_id, line_no)) FROM shop.order_items AS i)
        || (SELECT md5(string_agg(p::text, ',' ORDER BY order_id)) FROM shop.payments AS p)
        || (SELECT md5(string_agg(s::text, ',' ORDER BY order_id)) FROM shop.shipments AS s)
        || (SELECT md5(string_agg(concat(user_id, occurred_at), ',' ORDER BY user_id, occurred_at)) FROM shop.user_events)
        || (SELECT md5(string_agg(u::text, ',' ORDER BY user_id)) FROM shop.users AS u)
        || (SELECT md5(string_agg(concat(p, i), ',' ORDER BY product_id)) FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)) AS content
    FROM shop.orders AS o";

#[test]
fn the_same_entry_gives_the_same_rows() {
    let server = Server::alone();
    block_on(async {
        let entry = |seed| Entry {
            shape: Shape::of(6_000, 50),
            seed,
            end_ms: 1_780_000_000_123,
            offset_s: 3_600,
        };
        let mut contents = Vec::new();
        for (seed, jobs) in [(1, 1), (1, 3), (2, 2)] {
            let database = server.database("same").await;
            let client = database.connect().await;
            schema::create(&client).await.unwrap();
            assert_eq!(fill::standing(&client).await.unwrap(), Standing::Empty);
            let load_id = entry(seed).open(&client).await.unwrap();
            let mut told = Vec::new();
            let target = database.target();
            let loading = fill::load(&target, &client, load_id, entry(seed), jobs, |at| {
                told.push(at.loaded);
            });
            let loaded = loading.await.unwrap();
            assert_eq!(loaded.orders, 6_000);
            assert_eq!(told.last(), Some(&loaded));
            assert!(told.len() >= 3 && told.is_sorted_by_key(|at| at.orders));
            assert_eq!(
                fill::standing(&client).await.unwrap(),
                Standing::Begun(load_id, entry(seed))
            );
            a_believable_shop(&client).await;
            contents.push(
                ask(&client, CONTENT)
                    .await
                    .first("content")
                    .text()
                    .unwrap()
                    .to_owned(),
            );
        }
        assert_eq!(contents[0], contents[1]);
        assert_ne!(contents[0], contents[2]);
    });
}

/// Every reference is valid, although no constraint was checked, and every table agrees with the orders'
/// status.
async fn a_believable_shop(client: &Client) {
    for (what, sql) in [
        ("orders without lines", "SELECT count(*) FROM shop.orders AS o WHERE NOT EXISTS (SELECT FROM shop.order_items AS i WHERE i.order_id = o.order_id)"),
        ("lines without orders", "SELECT count(*) FROM shop.order_items LEFT JOIN shop.orders AS o USING (order_id, created_at) WHERE o.order_id IS NULL"),
        ("orders without users", "SELECT count(*) FROM shop.orders AS o LEFT JOIN shop.users AS u USING (user_id) WHERE u.user_id IS NULL OR registered_at > created_at"),
        ("lines without products", "SELECT count(*) FROM shop.order_items LEFT JOIN shop.products AS p USING (product_id) WHERE p.product_id IS NULL"),
        ("wrong totals", "SELECT count(*) FROM shop.orders AS o WHERE total_amount <> (SELECT sum(price * quantity) FROM shop.order_items AS i WHERE i.order_id = o.order_id)"),
        ("payments that do not fit", "SELECT count(*) FROM shop.orders LEFT JOIN shop.payments AS p USING (order_id, created_at)
                                      WHERE (p.order_id IS NULL AND status IN (1, 2, 3)) OR (p.order_id IS NOT NULL AND status = 0) OR amount <> total_amount"),
        ("shipments that do not fit", "SELECT count(*) FROM shop.orders LEFT JOIN shop.shipments AS s USING (order_id, created_at)
                                       WHERE (s.order_id IS NOT NULL) <> (status IN (2, 3))"),
        ("strays", "SELECT htap.strays()"),
        ("captured changes", "SELECT (SELECT count(*) FROM htap.order_log) + (SELECT count(*) FROM htap.dirty_log)"),
        ("triggers left off", "SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O' AND tgname <> 'publish' AND tgrelid >= 16384"),
        ("tables that the planner does not know", "SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND reltuples <= 0
                                                   AND pg_relation_size(oid) > 0"),
    ] {
        assert_eq!(number(client, sql).await, 0, "{what}");
    }
    let next = number(
        client,
        "SELECT nextval(pg_get_serial_sequence('shop.users', 'user_id'))",
    )
    .await;
    assert_eq!(
        next,
        number(client, "SELECT max(user_id) + 1 FROM shop.users").await
    );
}

#[test]
fn whoever_owns_the_shop_may_load_it() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("owned").await;
        let admin = database.connect().await;
        let name = &database.name;
        let mut maker =
            format!("CREATE ROLE maker LOGIN CREATEROLE; GRANT CREATE ON DATABASE {name} TO maker");
        if server.major() >= 16 {
            maker.push_str("; GRANT pg_monitor, pg_signal_backend TO maker WITH ADMIN OPTION");
        }
        admin.batch(&maker).await.unwrap();
        let target = database.target_of("maker");
        init(&target, Some(load(3_000, 1)), |_| {}).await.unwrap();
        a_believable_shop(&admin).await;
        the_summaries_agree(&admin).await;
        // It captures changes again.
        let id = number(
            &admin,
            "SELECT min(order_id) FROM shop.orders WHERE status = 2",
        )
        .await;
        admin
            .batch(&format!("SELECT shop.complete_order({id})"))
            .await
            .unwrap();
        assert_eq!(
            number(&admin, "SELECT count(*) FROM htap.order_log").await,
            1
        );
    });
}

async fn the_summaries_agree(client: &Client) {
    for view in ["mart.sales_hourly", "mart.fact_sales", "mart.segment_rfm"] {
        let differences = format!("SELECT count(*) FROM htap.verify('{view}')");
        assert_eq!(number(client, &differences).await, 0, "{view}");
    }
    assert!(number(client, "SELECT count(*) FROM mart.fact_sales_mv").await > 1_000);
}

/// A load of three parts that stops before its last one, which waits for a lock.
struct Stopped {
    program: Child,
    lock: Client,
}

impl Stopped {
    async fn start(database: &Database<'_>) -> Self {
        let lock = database.connect().await;
        // In the first hour of a month that of the last orders is not there yet.
        let months = "SELECT htap.make_months(now() - interval '1 hour', 3)";
        lock.batch(months).await.unwrap();
        let month = ask(
            &lock,
            "SELECT 'shop.orders' || suffix AS name FROM htap.month_of(now() - interval '1 hour')",
        )
        .await;
        let month = month.first("name").text().unwrap();
        lock.batch(&format!("BEGIN; LOCK TABLE {month} IN SHARE MODE"))
            .await
            .unwrap();
        let program = Command::new(env!("CARGO_BIN_EXE_htap-top"))
            .args([
                "init",
                &database.conninfo(SUPERUSER),
                "--scale",
                "0.05",
                "--days",
                "90",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stopped = Self { program, lock };
        let waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted";
        until(&stopped.lock, "waits", waiting, &[], |table| {
            table.first("n").int() >= Some(1)
        })
        .await;
        let parts = "SELECT count(*) AS n FROM htap.load_part";
        until(&stopped.lock, "two parts and users", parts, &[], |table| {
            table.first("n").int() >= Some(2)
        })
        .await;
        stopped
    }

    fn kill(mut self) -> Client {
        self.program.kill().unwrap();
        assert!(!self.program.wait().unwrap().success());
        self.lock
    }
}

/// Checks that whole parts and their record were kept, and that only the same load can be resumed. Returns
/// the number of orders, and the oldest transaction that wrote some.
async fn what_a_killed_load_left(database: &Database<'_>) -> (i64, i64) {
    let client = database.connect().await;
    let there = number(&client, "SELECT count(*) FROM shop.orders").await;
    let told = number(&client, "SELECT sum(orders)::bigint FROM htap.load_part").await;
    assert!(
        there == told && (400..5_000).contains(&there),
        "{there}, {told}"
    );
    let why = refused(init(&database.target(), Some(load(1_000, 1)), |_| {}).await);
    assert!(
        why.contains("--scale 0.05 --days 90 --seed 1 continues it"),
        "{why}"
    );
    client
        .batch("UPDATE htap.load SET recipe = 0")
        .await
        .unwrap();
    let same = run(&[
        "init",
        &database.conninfo(SUPERUSER),
        "--scale",
        "0.05",
        "--days",
        "90",
    ]);
    assert!(
        same.0 == 1 && same.2.contains("already holds rows"),
        "{}",
        same.2
    );
    client
        .batch("UPDATE htap.load SET recipe = 1")
        .await
        .unwrap();
    let oldest = "SELECT min(xmin::text::bigint) FROM shop.orders";
    (there, number(&client, oldest).await)
}

/// Another load is running, and then the server crashes, too.
fn interrupted_again(server: &Server, database: &Database<'_>, again: &[&str]) {
    block_on(async {
        let other = database.connect().await;
        other
            .batch("SELECT pg_advisory_lock(hashtext('htap.load'), 0)")
            .await
            .unwrap();
        let (code, _, stderr) = run(again);
        assert!(
            code == 1 && stderr.contains("another session is filling this shop"),
            "{stderr}"
        );
    });
    block_on(async {
        let stopped = Stopped::start(database).await;
        server.signal(Signal::SIGKILL);
        stopped.kill();
    });
}

#[test]
fn a_load_that_was_killed_goes_on_where_it_stopped() {
    let server = Server::alone();
    let database = block_on(async {
        let database = server.database("killed").await;
        init(&database.target(), None, |_| {}).await.unwrap();
        database
    });
    let lock = block_on(async { Stopped::start(&database).await.kill() });
    drop(lock);
    let (loaded, xmin) = block_on(what_a_killed_load_left(&database));
    let conninfo = database.conninfo(SUPERUSER);
    let again = ["init", &conninfo, "--scale", "0.05", "--days", "90"];
    interrupted_again(&server, &database, &again);
    server.start_again();
    let (code, stdout, stderr) = run(&again);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("loaded 5000 orders"), "{stdout}");
    assert!(
        stderr.contains("loading: ") && !stderr.contains("loading: 0 of"),
        "{stderr}"
    );
    block_on(async {
        let client = database.connect().await;
        assert_eq!(
            number(&client, "SELECT count(*) FROM shop.orders").await,
            5_000
        );
        assert!(loaded < 5_000);
        let kept = format!("SELECT count(*) FROM shop.orders WHERE xmin::text::bigint = {xmin}");
        assert!(
            number(&client, &kept).await > 0,
            "what was there was loaded again"
        );
        a_believable_shop(&client).await;
        the_summaries_agree(&client).await;
        assert!(matches!(
            fill::standing(&client).await.unwrap(),
            Standing::Complete(_)
        ));
    });
    let (code, stdout, _) = run(&again);
    assert!(
        code == 0 && stdout.contains("nothing was loaded"),
        "{stdout}"
    );
}

#[test]
fn a_full_disk_and_a_truncated_shop_are_survived() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("full").await;
        init(&database.target(), None, |_| {}).await.unwrap();
        let client = database.connect().await;
        client
            .batch(
                "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END$$;
                 CREATE TRIGGER full_disk BEFORE INSERT ON shop.shipments FOR EACH ROW EXECUTE FUNCTION public.full();
                 ALTER TABLE shop.shipments ENABLE ALWAYS TRIGGER full_disk",
            )
            .await
            .unwrap();
        let error = init(&database.target(), Some(load(2_000, 1)), |_| {})
            .await
            .unwrap_err();
        assert!(matches!(error, InitError::Server { .. }));
        let told = error.to_string();
        assert!(
            told.contains("No space left") && told.contains("the same command continues it"),
            "{told}"
        );
        assert_eq!(number(&client, "SELECT count(*) FROM shop.orders").await, 0);
        client
            .batch("DROP TRIGGER full_disk ON shop.shipments; DROP FUNCTION public.full()")
            .await
            .unwrap();
        init(&database.target(), Some(load(2_000, 1)), |_| {})
            .await
            .unwrap();
        the_summaries_agree(&client).await;

        assert_eq!(
            sqlstate(&client, "TRUNCATE shop.users, shop.categories CASCADE").await,
            "00000"
        );
        assert_eq!(fill::standing(&client).await.unwrap(), Standing::Empty);
        init(&database.target(), Some(load(1_500, 2)), |_| {})
            .await
            .unwrap();
        assert_eq!(
            number(&client, "SELECT count(*) FROM shop.orders").await,
            1_500
        );
        the_summaries_agree(&client).await;
        client.batch("TRUNCATE shop.users, shop.categories CASCADE; INSERT INTO shop.users (user_name) VALUES ('x')").await.unwrap();
        let why = refused(init(&database.target(), Some(load(1_500, 3)), |_| {}).await);
        assert!(why.contains("TRUNCATE shop.users"), "{why}");
    });
}
