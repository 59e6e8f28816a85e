//! Files and tables that somebody or something has altered: a clear sentence, never a wrong answer, and the next sync repairs.

use super::{Store, hour, number};
use crate::it::server::block_on;
use htap_top::columnar::sync::{self, Sync};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn files(store: &Store) -> Vec<PathBuf> {
    let found = std::fs::read_dir(store.folder.path()).unwrap();
    let mut files: Vec<PathBuf> = found.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    files.sort();
    files
}

pub(super) const ALL: &str = "SELECT * FROM fact_sales";

fn cut(one: &Path, _: &Path) {
    let bytes = std::fs::read(one).unwrap();
    std::fs::write(one, &bytes[..bytes.len() / 2]).unwrap();
}

pub(super) fn alter(one: &Path, _: &Path) {
    let mut bytes = std::fs::read(one).unwrap();
    let place = bytes.len() / 3;
    bytes[place] ^= 4;
    std::fs::write(one, bytes).unwrap();
}

fn swap(one: &Path, two: &Path) {
    let kept = one.with_extension("kept");
    std::fs::rename(one, &kept).unwrap();
    std::fs::rename(two, one).unwrap();
    std::fs::rename(&kept, two).unwrap();
}

#[test]
fn damaged_files_are_found_and_written_anew() {
    type Damage = fn(&Path, &Path);
    let damages: [(&str, Damage); 5] = [
        ("is missing", |one, _| std::fs::remove_file(one).unwrap()),
        ("bytes instead of", cut),
        ("another content", alter),
        ("instead of", swap),
        ("bytes instead of", |one, _| {
            std::fs::write(one, "PAR1 of somebody else PAR1").unwrap();
        }),
    ];
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        store.sync(Some(until)).await.unwrap();
        for (why, damage) in damages {
            let whole = files(&store);
            damage(&whole[0], &whole[1]);
            let error = store.asked(ALL, "UTC").await.unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("htap-top columnar sync"),
                "{error}"
            );
            let done = store.sync(Some(until)).await.unwrap();
            assert!(
                done.written > 0 && done.notes.iter().any(|note| note.contains(why)),
                "{why}: {done:?}"
            );
            store.holds_all_rows().await;
        }
        // A file that replaced an hour of a larger one is lost: the larger one's older rows of this hour do not come back.
        store.client.batch("UPDATE mart.fact_sales SET quantity = quantity + 1 WHERE order_id = (SELECT min(order_id) FROM mart.fact_sales)").await.unwrap();
        let done = store.sync(Some(until)).await.unwrap();
        assert_eq!(done.written, 1);
        let last = number(&store.client, "SELECT max(file_id) FROM htap.column_file").await;
        let gone = files(&store).into_iter().find(|path| {
            path.to_string_lossy()
                .ends_with(&format!("-{last}.parquet"))
        });
        std::fs::remove_file(gone.unwrap()).unwrap();
        let target = store.database.target();
        let options = sync::Options {
            folder: Some(store.folder.path().to_owned().into()),
            until: Some(until),
            ..Default::default()
        };
        let (mut begun, notes) = Sync::begin(&target, options, |_| ()).await.unwrap();
        assert_eq!(notes.len(), 1);
        store.holds_all_rows().await;
        begun.round(|_| ()).await.unwrap();
        store.holds_all_rows().await;
    });
}

#[test]
fn what_a_dead_sync_leaves_is_removed_and_what_is_foreign_is_left() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        store.sync(Some(until)).await.unwrap();
        let whole = files(&store);
        // Killed between the rename and the manifest, and while it wrote.
        let name = whole[0].file_name().unwrap().to_string_lossy().into_owned();
        let (stem, _) = name.rsplit_once('-').unwrap();
        let folder = store.folder.path();
        std::fs::copy(&whole[0], folder.join(format!("{stem}-999999.parquet"))).unwrap();
        std::fs::write(
            folder.join(format!(".{stem}-999998.parquet.unfinished")),
            "half",
        )
        .unwrap();
        std::fs::write(folder.join("mine.parquet"), "of somebody").unwrap();
        store.holds_all_rows().await;
        let done = store.sync(Some(until)).await.unwrap();
        assert_eq!(done.written, 0);
        let now: Vec<PathBuf> = files(&store)
            .into_iter()
            .filter(|path| !path.ends_with("mine.parquet"))
            .collect();
        assert_eq!(now, whole);
        assert!(folder.join("mine.parquet").exists());
        // A second database does not write into the folder of the first.
        let other = Store::new().await;
        let options = sync::Options {
            folder: Some(folder.to_owned().into()),
            ..Default::default()
        };
        let error = Sync::begin(&other.database.target(), options, |_| ())
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("another database"), "{error}");
        // A clock that was set back, or an earlier --until, closes nothing and breaks nothing.
        store.sync(Some(until - 100)).await.unwrap();
        store.holds_all_rows().await;
        // Hours that are too old have no files.
        let keep = sync::Options {
            folder: Some(folder.to_owned().into()),
            until: Some(until),
            keep: Some(40 * 24),
            ..Default::default()
        };
        let (mut kept, _) = Sync::begin(&store.database.target(), keep, |_| ())
            .await
            .unwrap();
        kept.round(|_| ()).await.unwrap();
        let oldest = number(
            &store.client,
            "SELECT count(*) FROM htap.column_file WHERE to_hour < now() - interval '50 days'",
        )
        .await;
        assert_eq!(oldest, 0);
        store.holds_all_rows().await;
    });
}

#[test]
fn what_escapes_the_log_of_changes_is_refused() {
    block_on(async {
        let store = Store::new().await;
        let error = store.asked(ALL, "UTC").await.unwrap_err().to_string();
        assert!(error.contains("htap-top columnar sync first"), "{error}");
        store.sync(None).await.unwrap();
        for (spoil, why, mend) in [
            (
                "ALTER TABLE mart.fact_sales DISABLE TRIGGER log_columns_update",
                "triggers",
                "",
            ),
            (
                "DROP TRIGGER log_columns_insert ON mart.fact_sales",
                "triggers",
                "",
            ),
            (
                "UPDATE htap.column_store SET log_oid = 1",
                "restored from a dump",
                "",
            ),
            (
                "UPDATE htap.column_file SET format = 0",
                "another version",
                "",
            ),
            (
                "ALTER TABLE mart.fact_sales ADD COLUMN x text",
                "other columns",
                "ALTER TABLE mart.fact_sales DROP COLUMN x",
            ),
            (
                "ALTER TABLE mart.fact_sales RENAME COLUMN category TO kind",
                "other columns",
                "ALTER TABLE mart.fact_sales RENAME COLUMN kind TO category",
            ),
        ] {
            store.client.batch(spoil).await.unwrap();
            let error = store.asked(ALL, "UTC").await.unwrap_err().to_string();
            assert!(error.contains(why), "{spoil}: {error}");
            store.client.batch(mend).await.unwrap();
            if why.contains("dump") {
                std::fs::remove_dir_all(store.folder.path()).unwrap();
            }
            store.sync(None).await.unwrap();
            store.holds_all_rows().await;
        }
        for change in [
            "TRUNCATE mart.fact_sales",
            "SELECT htap.switch_columnar(false)",
        ] {
            store.client.batch(change).await.unwrap();
            if change.starts_with("TRUNCATE") {
                store.holds_all_rows().await;
            }
            if change.contains("false") {
                // Nobody needs the files any more.
                std::fs::remove_dir_all(store.folder.path()).unwrap();
            }
            store.client.batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT htap.rebuild('mart.fact_sales'); COMMIT").await.unwrap();
            store.sync(None).await.unwrap();
            store.holds_all_rows().await;
        }
        // Writing as a replica does is logged, too.
        store.client.batch("SET session_replication_role = replica; DELETE FROM mart.fact_sales WHERE line_no = 1; RESET session_replication_role").await.unwrap();
        store.holds_all_rows().await;
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_full_disk_and_a_role_without_privileges_say_so() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '60 days'").await;
        store.sync(Some(until)).await.unwrap();
        // No file may grow beyond 2 kB; the signal of that is ignored, so that writing fails.
        let limited = format!(
            "trap '' XFSZ; ulimit -f 2; exec {} columnar sync -d '{}' --settle 1h",
            env!("CARGO_BIN_EXE_htap-top"),
            store.database.conninfo("postgres")
        );
        let ended = Command::new("bash")
            .args(["-c", &limited])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.contains("failed to write") && said.contains("too large"),
            "{said}"
        );
        store.holds_all_rows().await;
        store.sync(None).await.unwrap();
        store.holds_all_rows().await;
        let unfinished = std::fs::read_dir(store.folder.path()).unwrap();
        assert!(
            !unfinished
                .map(|file| file.unwrap().file_name())
                .any(|name| name.to_string_lossy().starts_with('.'))
        );

        let run = |role: &str, arguments: &[&str]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_htap-top"));
            program
                .arg("columnar")
                .args(arguments)
                .args(["-d", &store.database.conninfo(role)]);
            let ended = program.output().unwrap();
            let text = [ended.stdout, ended.stderr].concat();
            (
                ended.status.code(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        };
        store
            .client
            .batch("CREATE ROLE columnar_nobody LOGIN")
            .await
            .unwrap();
        let (code, said) = run(
            "columnar_nobody",
            &["query", "SELECT count(*) FROM fact_sales"],
        );
        assert_eq!(code, Some(4), "{said}");
        let (code, said) = run("htap_oltp", &["query", "SELECT count(*) FROM fact_sales"]);
        assert!(code == Some(4) && said.contains("GRANT SELECT"), "{said}");
        let (code, said) = run(
            "htap_olap",
            &[
                "query",
                "SELECT count(*) AS n FROM fact_sales",
                "--format",
                "json",
            ],
        );
        assert_eq!(code, Some(0), "{said}");
        let rows = number(&store.client, "SELECT count(*) FROM mart.fact_sales").await;
        assert_eq!(said, format!("[\n  {{\"n\": {rows}}}\n]\n"));
        let (code, said) = run("htap_refresh", &["sync"]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = run(
            "htap_olap",
            &["query", "SELECT sum(quantity) OVER () FROM fact_sales"],
        );
        assert_eq!(code, Some(2), "{said}");
        store
            .client
            .batch("DROP ROLE columnar_nobody")
            .await
            .unwrap();
    });
}
