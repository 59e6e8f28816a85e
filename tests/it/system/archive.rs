//! Archives: everything dropped is in the files, complete.

use super::init::load;
use super::partitions::{month, the_summaries_follow};
use super::{ask, number, sqlstate};
use crate::it::server::{Database, Server, block_on};
use htap_top::pg::Client;
use htap_top::system::archive::{Archive, Archived, Format, archive};
use htap_top::system::init::init;
use htap_top::system::partitions::{self, Month, PartitionError};
use std::collections::BTreeMap;
use std::path::Path;

/// Installs a shop with a text that needs quoting, and a copy of the month to archive.
async fn shop_to_archive(database: &Database<'_>) -> (Client, Month) {
    init(&database.target(), Some(load(2_500, 1)), |_| {})
        .await
        .unwrap();
    let client = partitions::connect(&database.target()).await.unwrap();
    let gone = month(&client, 1).await;
    let suffix = gone.suffix();
    let strange = "E'a \"quoted\",\\nnew\\tline \\\\N \\\\'";
    client
        .batch(&format!("UPDATE shop.shipments{suffix} SET carrier = {strange} WHERE order_id = (SELECT min(order_id) FROM shop.shipments{suffix})"))
        .await
        .unwrap();
    let pending = format!(
        "INSERT INTO shop.orders (order_id, created_at, user_id, total_amount)
         SELECT min(order_id) + 1, min(created_at), 1, 0 FROM shop.orders{suffix}"
    );
    client.batch(&pending).await.unwrap();
    for table in ["orders", "order_items", "payments", "shipments"] {
        client
            .batch(&format!(
                "CREATE TABLE public.{table} AS SELECT * FROM shop.{table}{suffix}"
            ))
            .await
            .unwrap();
    }
    (client, gone)
}

/// A file that lost a line, or a table that lost a row, is detected before anything is dropped.
async fn nothing_is_dropped_without_its_copy(
    client: &Client,
    wanted: &Archive,
    to: &Path,
    gone: Month,
) {
    let refused = |outcome: Result<Vec<_>, PartitionError>| match outcome {
        Err(PartitionError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let path = to.join(format!("payments{}.csv", gone.suffix()));
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.trim_end().rsplit_once('\n').unwrap().0).unwrap();
    let why = refused(archive(client, wanted, |_| {}).await);
    assert!(
        why.contains("payments") && why.contains("nothing was dropped"),
        "{why}"
    );
    std::fs::write(&path, &whole).unwrap();
    let shipments = format!("shop.shipments{}", gone.suffix());
    client
            .batch(&format!("CREATE TABLE public.kept AS SELECT * FROM {shipments}; DELETE FROM {shipments} WHERE order_id = (SELECT max(order_id) FROM {shipments})"))
            .await
            .unwrap();
    let why = refused(archive(client, wanted, |_| {}).await);
    assert!(
        why.contains("shipments") && why.contains("nothing was dropped"),
        "{why}"
    );
    client
        .batch(&format!(
            "DELETE FROM {shipments}; INSERT INTO {shipments} SELECT * FROM public.kept"
        ))
        .await
        .unwrap();
}

/// Each file, read back, equals the table.
async fn the_files_hold_the_tables(client: &Client, to: &Path, gone: Month) {
    for table in ["orders", "order_items", "payments", "shipments"] {
        let text = std::fs::read(to.join(format!("{table}{}.csv", gone.suffix()))).unwrap();
        client
            .batch(&format!(
                "CREATE TABLE public.{table}_again (LIKE public.{table})"
            ))
            .await
            .unwrap();
        let rows = client
            .copy_in(
                &format!("COPY public.{table}_again FROM STDIN (FORMAT csv, HEADER)"),
                &text,
            )
            .await
            .unwrap();
        assert!(rows > 300, "{rows}");
        let differences = format!(
            "SELECT count(*) FROM (TABLE public.{table} EXCEPT ALL TABLE public.{table}_again) AS d"
        );
        assert_eq!(number(client, &differences).await, 0, "{table}");
        let same = format!("SELECT (SELECT count(*) FROM public.{table}) - {rows}");
        assert_eq!(number(client, &same).await, 0, "{table}");
    }
}

#[test]
fn an_archive_in_csv_holds_everything() {
    let server = Server::alone();
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let database = server.database("csv").await;
        let (client, gone) = shop_to_archive(&database).await;
        let to = folder.path().join("deep/er");
        let wanted = Archive {
            before: gone.following(),
            to: Some(to.clone()),
            format: Format::Csv,
            drop: false,
        };
        let mut said = Vec::new();
        archive(&client, &wanted, |what| said.push(what.to_owned()))
            .await
            .unwrap();
        // In the first days of a month the month before has more than the one that was made.
        let open = "SELECT count(*) FROM public.orders WHERE status < 3";
        let open = number(&client, open).await;
        assert!(open > 0);
        let told = format!("pending, paid or shipped: {open};");
        assert!(said.iter().any(|what| what.contains(&told)), "{said:?}");

        let wanted = Archive {
            drop: true,
            ..wanted
        };
        nothing_is_dropped_without_its_copy(&client, &wanted, &to, gone).await;
        let archived = archive(&client, &wanted, |_| {}).await.unwrap();
        assert!(
            archived
                .iter()
                .all(|month| month.dropped && month.detached.is_none() && month.files.len() == 4)
        );
        let left = format!(
            "SELECT count(*) FROM pg_class WHERE relname LIKE '%{}%'",
            gone.suffix()
        );
        assert_eq!(number(&client, &left).await, 0);
        assert_eq!(
            number(
                &client,
                &format!(
                    "SELECT count(*) FROM htap.object WHERE identity LIKE '%{}'",
                    gone.suffix()
                )
            )
            .await,
            0
        );
        the_files_hold_the_tables(&client, &to, gone).await;
        the_summaries_follow(&client).await;
        assert_eq!(archive(&client, &wanted, |_| {}).await.unwrap(), []);
        let files = std::fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert!(
            files
                .into_iter()
                .all(|name| !name.to_string_lossy().contains("unfinished"))
        );
    });
}

/// The rows of a Parquet file: fields by name as text; times as microseconds.
fn parquet_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    let text = |field: &Field| match field {
        Field::TimestampMicros(at) => at.to_string(),
        Field::Str(text) => text.clone(),
        Field::Null => "NULL".to_owned(),
        other => other.to_string(),
    };
    rows.map(|row| {
        let row = row.unwrap();
        let fields = row.get_column_iter();
        fields
            .map(|(name, field)| (name.clone(), text(field)))
            .collect()
    })
    .collect()
}

/// The rows of a table in the form of [`parquet_rows`], columns by name.
async fn table_rows(client: &Client, table: &str, key: &str) -> Vec<String> {
    let mut columns = ask(
                client,
                &format!("SELECT attname::text, CASE WHEN atttypid = 'timestamptz'::regtype THEN format('(extract(epoch FROM %I) * 1000000)::bigint', attname) ELSE quote_ident(attname) END AS value
                          FROM pg_attribute WHERE attrelid = 'public.{table}'::regclass AND attnum > 0"),
            )
            .await
            .rows;
    columns.sort_by_key(|row| row[0].text().unwrap().to_owned());
    let values: Vec<&str> = columns.iter().map(|row| row[1].text().unwrap()).collect();
    let sql = format!(
        "SELECT concat_ws('|', {}) FROM public.{table} ORDER BY {key}",
        values
            .iter()
            .map(|value| format!("coalesce(({value})::text, 'NULL')"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let rows = ask(client, &sql).await.rows;
    rows.iter()
        .map(|row| row[0].text().unwrap().to_owned())
        .collect()
}

#[test]
fn an_archive_in_parquet_holds_everything() {
    let server = Server::alone();
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let database = server.database("parquet").await;
        let (client, gone) = shop_to_archive(&database).await;
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, "x").unwrap();
        let wanted = |to: &Path| Archive {
            before: gone.following(),
            to: Some(to.to_owned()),
            format: Format::Parquet,
            drop: true,
        };
        let error = archive(&client, &wanted(&blocked), |_| {})
            .await
            .unwrap_err();
        assert!(matches!(error, PartitionError::File { .. }), "{error}");
        archive(&client, &wanted(folder.path()), |_| {})
            .await
            .unwrap();
        for (table, key) in [
            ("orders", "order_id"),
            ("order_items", "order_id, line_no"),
            ("payments", "order_id"),
            ("shipments", "order_id"),
        ] {
            let wanted = table_rows(&client, table, key).await;
            let mut found = parquet_rows(
                &folder
                    .path()
                    .join(format!("{table}{}.parquet", gone.suffix())),
            );
            let number = |row: &BTreeMap<String, String>, name: &str| {
                row.get(name).map_or(0, |text| text.parse::<i64>().unwrap())
            };
            found.sort_by_key(|row| (number(row, "order_id"), number(row, "line_no")));
            let found: Vec<String> = found
                .into_iter()
                .map(|row| row.into_values().collect::<Vec<_>>().join("|"))
                .collect();
            assert!(found.len() > 300);
            // Answers to queries are cleaned for the screen, hence without line breaks.
            let shown: Vec<String> = found
                .iter()
                .map(|row| row.replace(['\n', '\t'], " "))
                .collect();
            assert_eq!(wanted, shown, "{table}");
            let strange = "a \"quoted\",\nnew\tline \\N \\|";
            assert_eq!(
                table == "shipments",
                found.iter().any(|row| row.starts_with(strange))
            );
        }
    });
}

/// Runs an archive while another session's change of that month is uncommitted, and commits it when `archive`
/// waits for it or continues without it.
async fn commit_meanwhile(
    client: &Client,
    writer: &Client,
    wanted: &Archive,
    gone: Month,
) -> (Vec<String>, Vec<Archived>) {
    let dropping = format!("dropping the tables of {gone}");
    let (tell, told) = tokio::sync::oneshot::channel();
    let (mut tell, mut said) = (Some(tell), Vec::new());
    let archived = archive(client, wanted, |what| {
        said.push(what.to_owned());
        if (what.starts_with("waiting") || what == dropping)
            && let Some(tell) = tell.take()
        {
            tell.send(()).unwrap();
        }
    });
    let commit = async {
        told.await.unwrap();
        writer.batch("COMMIT").await.unwrap();
    };
    let (archived, ()) = tokio::join!(archived, commit);
    (said, archived.unwrap())
}

#[test]
fn what_is_committed_while_it_is_archived_is_in_the_files() {
    let server = Server::alone();
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let database = server.database("late").await;
        let (client, gone) = shop_to_archive(&database).await;
        let wanted = |to, drop| Archive {
            before: gone.following(),
            to,
            format: Format::Csv,
            drop,
        };
        let to = Some(folder.path().to_owned());
        archive(&client, &wanted(None, false), |_| {})
            .await
            .unwrap();
        let orders = format!("shop.orders{}", gone.suffix());
        let writer = database.connect().await;
        let change = format!(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0;
             UPDATE {orders} SET total_amount = total_amount + 1000 WHERE order_id = (SELECT max(order_id) FROM {orders});
             UPDATE public.orders SET total_amount = total_amount + 1000 WHERE order_id = (SELECT max(order_id) FROM public.orders)"
        );
        writer.batch(&change).await.unwrap();
        let (said, archived) = commit_meanwhile(&client, &writer, &wanted(to, true), gone).await;
        assert!(
            said.iter().any(|what| what.starts_with("waiting")),
            "{said:?}"
        );
        assert!(archived.iter().all(|month| month.dropped));
        the_files_hold_the_tables(&client, folder.path(), gone).await;
    });
}

#[test]
fn nobody_writes_to_a_month_from_the_first_row_to_the_drop() {
    let server = Server::alone();
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let database = server.database("held").await;
        let (client, gone) = shop_to_archive(&database).await;
        let wanted = Archive {
            before: gone.following(),
            to: Some(folder.path().to_owned()),
            format: Format::Parquet,
            drop: true,
        };
        let target = database.target();
        let change = format!(
            "UPDATE shop.orders{} SET total_amount = total_amount + 1000",
            gone.suffix()
        );
        let attempt = || {
            block_on(async {
                let other = Client::connect(&target).await.unwrap();
                other.batch("SET lock_timeout = '50ms'").await.unwrap();
                sqlstate(&other, &change).await
            })
        };
        let (mut codes, dropping) = (Vec::new(), format!("dropping the tables of {gone}"));
        let archived = archive(&client, &wanted, |what| {
            let writes = what.starts_with("writing") && what.contains(&gone.suffix());
            if writes || what == dropping {
                codes.push(std::thread::scope(|s| s.spawn(attempt).join().unwrap()));
            }
        });
        archived.await.unwrap();
        assert_eq!(codes, ["55P03"; 5]);
    });
}

/// The same number of rows with other contents.
#[test]
fn a_file_that_holds_something_else_keeps_the_tables() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("other").await;
        let (client, gone) = shop_to_archive(&database).await;
        for format in [Format::Csv, Format::Parquet] {
            let folder = tempfile::tempdir().unwrap();
            let wanted = |drop| Archive {
                before: gone.following(),
                to: Some(folder.path().to_owned()),
                format,
                drop,
            };
            archive(&client, &wanted(false), |_| {}).await.unwrap();
            let payments = format!("shop.payments{}", gone.suffix());
            let change = |by: &str| {
                format!(
                    "UPDATE {payments} SET amount = amount {by} WHERE order_id = (SELECT max(order_id) FROM {payments})"
                )
            };
            client.batch(&change("+ 0.01")).await.unwrap();
            let error = archive(&client, &wanted(true), |_| {}).await.unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("payments") && error.contains("nothing was dropped"),
                "{error}"
            );
            assert!(number(&client, &format!("SELECT count(*) FROM {payments}")).await > 300);
            client.batch(&change("- 0.01")).await.unwrap();
            let again = archive(&client, &wanted(false), |_| {}).await.unwrap();
            assert!(again.iter().all(|month| month.files.len() == 4));
        }
    });
}
