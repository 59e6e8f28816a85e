//! `init --uninstall` removes exactly what `init` created, and nothing of others.

use super::init::{refused, run};
use super::{catalogue, number};
use crate::it::server::{Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::system::init::init;
use htap_top::system::uninstall::Uninstall;

/// Objects that others attached to the shop or created in its schemas, how they are named, and how they are
/// removed.
const FOREIGN: [(&str, &str, &str); 9] = [
    (
        "CREATE TABLE shop.mine (x int)",
        "table shop.mine",
        "DROP TABLE shop.mine",
    ),
    (
        "CREATE FUNCTION mart.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function mart.f()",
        "DROP FUNCTION mart.f()",
    ),
    (
        "CREATE TYPE htap.colour AS ENUM ('red')",
        "type htap.colour",
        "DROP TYPE htap.colour",
    ),
    (
        "CREATE VIEW public.report AS SELECT * FROM mart.fact_sales",
        "view public.report",
        "DROP VIEW public.report",
    ),
    (
        "CREATE TABLE public.review (user_id bigint REFERENCES shop.users)",
        "table constraint review_user_id_fkey on public.review",
        "DROP TABLE public.review",
    ),
    (
        "CREATE INDEX by_name ON shop.users (user_name)",
        "index shop.by_name",
        "DROP INDEX shop.by_name",
    ),
    (
        "CREATE TABLE public.piece PARTITION OF shop.payments FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')",
        "table public.piece",
        "DROP TABLE public.piece",
    ),
    (
        "CREATE PUBLICATION p FOR TABLE shop.categories",
        "publication relation shop.categories in publication p",
        "DROP PUBLICATION p",
    ),
    (
        "CREATE TRIGGER audit AFTER INSERT ON shop.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "trigger audit on shop.users",
        "DROP TRIGGER audit ON shop.users",
    ),
];

#[test]
fn what_is_not_its_own_is_named_and_nothing_goes() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("mixed").await;
        let client = database.connect().await;
        let before = catalogue(&client).await;
        init(&database.target(), None, |_| {}).await.unwrap();
        for (make, name, drop) in FOREIGN {
            client.batch(make).await.unwrap();
            let there = catalogue(&client).await;
            let why = refused(Uninstall::prepare(&database.target()).await);
            assert!(why.contains(&format!("did not create {name}. ")), "{why}");
            assert_eq!(there, catalogue(&client).await);
            client.batch(drop).await.unwrap();
        }
        // Objects created between the confirmation and the removal are noticed as well.
        let prepared = Uninstall::prepare(&database.target()).await.unwrap();
        client.batch("CREATE TABLE shop.late ()").await.unwrap();
        let why = refused(prepared.run(|_| {}).await);
        assert!(why.contains("table shop.late"), "{why}");
        client.batch("DROP TABLE shop.late").await.unwrap();
        // A session that reads the shop is waited for, but not forever.
        let reader = database.connect().await;
        reader
            .batch("BEGIN; SELECT count(*) FROM shop.orders")
            .await
            .unwrap();
        let prepared = Uninstall::prepare(&database.target()).await.unwrap();
        let why = refused(prepared.run(|_| {}).await);
        assert!(
            why.contains("other sessions kept using the tables"),
            "{why}"
        );
        reader.batch("ROLLBACK").await.unwrap();

        // A detached partition, and one created by the scheduler, belong to the shop.
        client
            .batch(
                "SELECT htap.make_month('2024-02-01'); SELECT htap.detach_month('2024-02-01'); SELECT htap.make_months(now(), 5);
                 CREATE TABLE public.untouched (x int)",
            )
            .await
            .unwrap();
        let prepared = Uninstall::prepare(&database.target()).await.unwrap();
        prepared.run(|_| {}).await.unwrap();
        client.batch("DROP TABLE public.untouched").await.unwrap();
        assert_eq!(before, catalogue(&client).await);
        assert_eq!(
            Uninstall::prepare(&database.target()).await.unwrap().plan,
            None
        );
    });
}

#[test]
fn a_role_that_is_used_elsewhere_stays() {
    let server = Server::alone();
    block_on(async {
        let (one, two) = (server.database("one").await, server.database("two").await);
        init(&one.target(), None, |_| {}).await.unwrap();
        init(&two.target(), None, |_| {}).await.unwrap();
        let prepared = Uninstall::prepare(&one.target()).await.unwrap();
        let removed = prepared.run(|_| {}).await.unwrap();
        assert!(removed.roles.is_empty() && removed.kept.len() == 5);
        let told = removed.to_string();
        assert!(
            told.contains(&format!("used by database {}", two.name)),
            "{told}"
        );
        let client = two.connect().await;
        client
            .batch("CREATE TABLE public.mine (x int); GRANT SELECT ON public.mine TO htap_olap; CREATE ROLE app; GRANT htap_oltp TO app")
            .await
            .unwrap();
        let prepared = Uninstall::prepare(&two.target()).await.unwrap();
        let removed = prepared.run(|_| {}).await.unwrap();
        assert_eq!(
            removed.roles,
            ["htap_monitor", "htap_owner", "htap_refresh"]
        );
        let told = removed.to_string();
        assert!(
            told.contains("htap_olap: used by table public.mine"),
            "{told}"
        );
        assert!(told.contains("htap_oltp: used by its member app"), "{told}");
        let left = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^htap_'";
        assert_eq!(number(&client, left).await, 2);
    });
}

#[test]
fn it_asks_before_it_removes() {
    let server = Server::alone();
    let database = block_on(async {
        let database = server.database("asked").await;
        let role = "CREATE ROLE plain LOGIN";
        database.connect().await.batch(role).await.unwrap();
        database
    });
    let conninfo = database.conninfo(SUPERUSER);
    assert_eq!(run(&["init", &conninfo, "--scale", "0.01"]).0, 0);
    let (code, stdout, stderr) = run(&["init", &conninfo, "--uninstall"]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(
        stderr.contains("lost for good: 1000 rows of shop.orders") && stderr.contains("--yes"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&["init", &database.conninfo("plain"), "--uninstall", "--yes"]);
    assert_eq!(code, 4, "{stderr}");
    let (code, stdout, stderr) = run(&["init", &conninfo, "--uninstall", "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("removed the schemas htap, mart, shop")
            && stdout.contains("removed the roles htap_monitor"),
        "{stdout}"
    );
    let (code, stdout, _) = run(&["init", &conninfo, "--uninstall", "--yes"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "nothing installed by htap-top was found\n")
    );
}
