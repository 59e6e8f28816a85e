//! The sessions of queries: on a standby, and one for many queries.

use super::{Store, lines, number, sync};
use crate::it::server::{Server, block_on, until};
use crate::it::system::fill_one;
use htap_top::cluster::SUPERUSER;
use htap_top::columnar::query::{self, query};
use htap_top::columnar::sync::Sync;
use htap_top::columnar::{Columnar, Form};
use htap_top::pg::{Client, Table};

const SALES: &str =
    "SELECT category, sum(sales_amount) AS sum, count(*) AS n FROM fact_sales GROUP BY category";

async fn asked(server: &Server, spill: &std::path::Path) -> Vec<String> {
    let options = query::Options {
        form: Form::Csv,
        spill: spill.to_owned(),
        ..query::Options::default()
    };
    let (target, mut answer) = (server.target("filled", SUPERUSER), Vec::new());
    query(&target, SALES, &options, &mut answer).await.unwrap();
    lines(&answer)
}

#[test]
fn a_standby_answers_and_no_sync_runs_there() {
    block_on(async {
        let primary = fill_one().await;
        let folder = tempfile::tempdir().unwrap();
        let options = sync::Options {
            folder: Some(folder.path().to_owned().into()),
            ..sync::Options::default()
        };
        let target = primary.target("filled", SUPERUSER);
        let (mut running, _) = Sync::begin(&target, options.clone(), |_| ()).await.unwrap();
        let done = running.round(|_| ()).await.unwrap();
        assert!(done.written > 0, "{done:?}");
        drop(running);
        let standby = primary.replica();
        let client = Client::connect(&standby.target("filled", SUPERUSER))
            .await
            .unwrap();
        let files = format!(
            "SELECT count(*)::bigint AS n FROM htap.column_file HAVING count(*) = {}",
            done.files
        );
        until(&client, "the files are known", &files, &[], |table| {
            !table.rows.is_empty()
        })
        .await;
        assert_eq!(
            asked(&standby, folder.path()).await,
            asked(&primary, folder.path()).await
        );
        let refused = Sync::begin(&standby.target("filled", SUPERUSER), options, |_| ()).await;
        let why = refused.err().unwrap().to_string();
        assert!(
            why.contains("run htap-top columnar sync on its primary"),
            "{why}"
        );
        let log = std::fs::read(standby.socket_dir().join("postgres.log")).unwrap();
        let log = String::from_utf8_lossy(&log).into_owned();
        assert!(!log.contains("ERROR:"), "{log}");
    });
}

async fn answered(columnar: &Columnar) {
    let mut rows = columnar.query(SALES).await.unwrap();
    let mut count = 0;
    while let Some(batch) = rows.next().await.unwrap() {
        count += batch.num_rows();
    }
    assert!(count > 1);
}

#[test]
fn queries_of_one_columnar_share_a_session_and_find_another() {
    block_on(async {
        let store = Store::new().await;
        store.sync(None).await.unwrap();
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let one = format!("{sessions} HAVING count(*) = 1");
        let is_one = |table: &Table| !table.rows.is_empty();
        let columnar = Columnar::open(&store.database.target(), &store.options("UTC")).unwrap();
        let begun = "SELECT max(extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        answered(&columnar).await;
        // That of the sync may not have exited yet.
        until(&store.client, "one session", &one, &[], is_one).await;
        let first = number(&store.client, begun).await;
        for _ in 0..3 {
            answered(&columnar).await;
            assert_eq!(number(&store.client, begun).await, first);
        }
        // The server ends it while nobody uses it.
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        for _ in 0..5 {
            // The one before may not have exited yet.
            until(&store.client, "one session", &one, &[], is_one).await;
            assert_eq!(number(&store.client, end).await, 1);
            answered(&columnar).await;
        }
        assert!(number(&store.client, begun).await > first);
        // Two at a time have one each; one of them stays.
        let (first, second) = (columnar.clone(), columnar.clone());
        tokio::join!(answered(&first), answered(&second));
        until(&store.client, "one session", &one, &[], is_one).await;
    });
}

/// From its second query on a session has its statements prepared.
#[test]
fn a_prepared_statement_that_became_outdated_is_read_anew() {
    block_on(async {
        let store = Store::new().await;
        store.sync(None).await.unwrap();
        let columnar = Columnar::open(&store.database.target(), &store.options("UTC")).unwrap();
        for changed in ["varchar", "text"] {
            for _ in 0..3 {
                answered(&columnar).await;
            }
            let change = format!("ALTER TABLE htap.column_dirty ALTER relation TYPE {changed}");
            store.client.batch(&change).await.unwrap();
        }
        answered(&columnar).await;
    });
}
