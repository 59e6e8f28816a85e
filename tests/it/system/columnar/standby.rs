//! The column store of a primary, asked on its standby.

use super::{lines, sync};
use crate::it::server::{Server, block_on, until};
use crate::it::system::fill_one;
use htap_top::cluster::SUPERUSER;
use htap_top::columnar::Form;
use htap_top::columnar::query::{self, query};
use htap_top::columnar::sync::Sync;
use htap_top::pg::Client;

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
