//! Streaming replicas: of temporary clusters on all versions, and of one's own server by `htap-top replica`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod own;

use super::server::{Order, Server, block_on, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;

const SLOT: &str = "it_s_replica";

async fn admin(server: &Server) -> Client {
    let target = server.target("postgres", SUPERUSER);
    Client::connect(&target).await.unwrap()
}

/// With pg_basebackup (15) and without (the others, as npm has them).
#[test]
fn a_copy_of_every_version_follows_its_primary_by_its_slot() {
    std::thread::scope(|scope| {
        let of = |majors: [u16; 3]| scope.spawn(move || majors.map(follows));
        let (old, new) = (of([13, 14, 15]), of([16, 17, 18]));
        old.join().unwrap();
        new.join().unwrap();
    });
}

fn follows(major: u16) {
    let primary = Server::of_major(major);
    // Files and rows that must arrive, and files that must not.
    let setup = "
        CREATE TABLE before (n int); INSERT INTO before SELECT generate_series(1, 20000);
        CREATE TEMP TABLE fleeting AS SELECT 1 AS n;
        CREATE TABLE dropped AS SELECT 1 AS n";
    let standby = block_on(async {
        // This session and its temporary table are there while the files are copied.
        let writer = admin(&primary).await;
        writer.batch(setup).await.unwrap();
        let standby = Server::start(&Order {
            major: Some(major),
            replica_of: Some((primary.socket_dir().to_owned(), primary.port())),
            slot: Some(SLOT.to_owned()),
            ..Order::default()
        });
        assert_eq!(standby.major(), major);
        has_what_the_primary_has(&writer, &admin(&standby).await).await;
        standby
    });
    let data = standby.data_dir();
    let left = |name: &str| data.join(name).exists();
    assert!(left("standby.signal") && !left("backup_label"), "{major}");
    assert!(left("pg_wal/archive_status"), "{major}");
    let log = std::fs::read_to_string(standby.socket_dir().join("postgres.log")).unwrap();
    for word in ["ERROR", "FATAL", "PANIC", "WARNING"] {
        assert!(!log.contains(word), "{major}: {log}");
    }
}

async fn has_what_the_primary_has(writer: &Client, reader: &Client) {
    let change =
        "INSERT INTO before VALUES (0); DROP TABLE dropped; CREATE TABLE after AS SELECT 7 AS n";
    writer.batch(change).await.unwrap();
    let arrived =
        "SELECT to_regclass('after') IS NOT NULL AND to_regclass('dropped') IS NULL AS yes";
    until(reader, "the table arrives", arrived, &[], |table| {
        table.first("yes").is_true()
    })
    .await;
    let state = "SELECT pg_is_in_recovery() AS recovery, (SELECT count(*) FROM before) AS n,
                        (SELECT system_identifier FROM pg_control_system())::text AS system";
    let table = reader.query(state, &[]).await.unwrap();
    assert!(table.first("recovery").is_true());
    assert_eq!(table.first("n").int(), Some(20_001));
    let slot = "SELECT (SELECT system_identifier FROM pg_control_system())::text AS system, active, wal_status
                FROM pg_replication_slots WHERE slot_name = 'it_s_replica'";
    let of_primary = writer.query(slot, &[]).await.unwrap();
    assert!(of_primary.first("active").is_true(), "{of_primary:?}");
    assert_eq!(table.first("system"), of_primary.first("system"));
    assert_eq!(of_primary.first("wal_status").text(), Some("reserved"));
}
