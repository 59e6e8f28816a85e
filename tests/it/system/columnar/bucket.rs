//! Column files in object storage: a real S3 server, S3Proxy, over a folder of this machine.

use super::{Store, hour, lines, number};
use crate::it::server::{Patience, block_on_within};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

const VERSION: &str = "2.6.0";
const POM: &str = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>test</groupId>\
    <artifactId>s3proxy</artifactId><version>1</version><dependencies><dependency><groupId>org.gaul</groupId>\
    <artifactId>s3proxy</artifactId><version>VERSION</version></dependency></dependencies></project>";
const SALES: &str =
    "SELECT category, sum(sales_amount) AS sum, count(*) AS n FROM fact_sales GROUP BY category";

/// The folder of the server's jars, which Maven fetches once.
fn jars() -> PathBuf {
    static FETCHED: OnceLock<PathBuf> = OnceLock::new();
    let fetch = || {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = parent.join(format!("s3proxy-{VERSION}"));
        if !home.exists() {
            let staging = tempfile::tempdir_in(parent).unwrap();
            fs::write(
                staging.path().join("pom.xml"),
                POM.replace("VERSION", VERSION),
            )
            .unwrap();
            let status = Command::new("mvn")
                .args([
                    "-q",
                    "-B",
                    "dependency:copy-dependencies",
                    "-DoutputDirectory=jars",
                ])
                .current_dir(staging.path())
                .stdin(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "Maven did not fetch S3Proxy");
            fs::rename(staging.path().join("jars"), &home).unwrap();
        }
        home
    };
    FETCHED.get_or_init(fetch).clone()
}

/// An S3 server with a bucket called `shop`.
struct Storage {
    folder: TempDir,
    port: u16,
    server: Child,
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Storage {
    fn start() -> Self {
        // Not in a file system of memory, which may have no extended attributes.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir_all(folder.path().join("data/shop")).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = format!(
            "s3proxy.endpoint=http://127.0.0.1:{port}\ns3proxy.authorization=aws-v2-or-v4\ns3proxy.identity=shop\n\
             s3proxy.credential=secret\njclouds.provider=filesystem-nio2\njclouds.identity=x\njclouds.credential=x\n\
             jclouds.filesystem.basedir={}\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("config"), config).unwrap();
        // S3Proxy brings a logger that writes everything by default.
        let quiet = "<configuration><root level=\"OFF\"/></configuration>";
        fs::write(folder.path().join("logback.xml"), quiet).unwrap();
        let mut storage = Self {
            server: Self::run(folder.path()),
            folder,
            port,
        };
        storage.until_up();
        storage
    }

    fn run(folder: &Path) -> Child {
        // It ends with the test, however that ends.
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "java", "-Xmx256m"])
            .arg(format!(
                "-Dlogback.configurationFile={}",
                folder.join("logback.xml").display()
            ))
            .arg("-cp")
            .arg(jars().join("*"))
            .args(["org.gaul.s3proxy.Main", "--properties"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn until_up(&mut self) {
        let patience = Patience::begin();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(self.server.try_wait().unwrap().is_none(), "S3Proxy ended");
            assert!(patience.lasts(), "S3Proxy does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.server = Self::run(self.folder.path());
        self.until_up();
    }

    /// The objects under a prefix, sorted.
    fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let found = fs::read_dir(self.folder.path().join("data/shop").join(prefix));
        let mut found: Vec<PathBuf> = found.unwrap().map(|file| file.unwrap().path()).collect();
        found.sort();
        found
    }

    /// The largest object of sales.
    fn largest(&self) -> PathBuf {
        let of_sales = |path: &PathBuf| path.to_string_lossy().contains("/fact_sales-");
        let sales = self.objects("columns").into_iter().filter(of_sales);
        sales
            .max_by_key(|path| fs::metadata(path).unwrap().len())
            .unwrap()
    }

    /// `htap-top columnar` with this server's address and credentials.
    fn columnar(&self, store: &Store, command: &str, arguments: &[&str]) -> Output {
        let mut program = self.program(store, command);
        program.args(arguments).output().unwrap()
    }

    fn program(&self, store: &Store, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_htap-top"));
        program
            .args([
                "columnar",
                command,
                "-d",
                &store.database.conninfo("postgres"),
            ])
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port),
            )
            .env("AWS_ACCESS_KEY_ID", "shop")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env_remove("AWS_ENDPOINT_URL_S3")
            .env_remove("AWS_SESSION_TOKEN")
            .stdin(Stdio::null());
        program
    }

    /// The objects answer as the rows.
    async fn agrees(&self, store: &Store) {
        let asked = self.columnar(
            store,
            "query",
            &["--format", "csv", "--time-zone", "UTC", SALES],
        );
        assert!(asked.status.success(), "{}", error(&asked));
        assert_eq!(lines(&asked.stdout), store.right(SALES, "UTC").await);
    }
}

fn error(ended: &Output) -> String {
    assert!(!ended.status.success());
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn told(ended: &Output) -> String {
    let text = [ended.stdout.as_slice(), &ended.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(ended.status.success(), "{text}");
    text
}

#[test]
#[ignore = "needs Java 17 and Maven: .ci/run runs it"]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn files_in_a_bucket_answer_as_rows_do() {
    block_on_within(Duration::from_secs(400), async {
        let mut storage = Storage::start();
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        let until = chrono::DateTime::from_timestamp(until * 3600, 0)
            .unwrap()
            .to_rfc3339();
        let place = ["--until", until.as_str(), "--folder", "s3://shop/columns"];
        // What cannot be used is said, with what to do.
        for (name, value, why) in [
            ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
            (
                "AWS_ACCESS_KEY_ID",
                "",
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ),
            (
                "AWS_ENDPOINT_URL",
                "http://127.0.0.1:1",
                "Connection refused",
            ),
            ("AWS_ENDPOINT_URL", "nowhere", "AWS_ENDPOINT_URL"),
        ] {
            let ended = storage
                .program(&store, "sync")
                .args(place)
                .env(name, value)
                .output();
            let said = error(&ended.unwrap());
            assert!(
                said.contains(why) && said.contains("s3://shop/columns/"),
                "{name}: {said}"
            );
        }
        let ended = storage.columnar(&store, "sync", &["--folder", "s3://nobodys"]);
        assert!(error(&ended).contains("NoSuchBucket"));
        let ended = storage.columnar(&store, "sync", &["--folder", "gs://shop"]);
        assert_eq!(ended.status.code(), Some(2));
        assert!(error(&ended).contains("only folders and s3:// are known"));

        told(&storage.columnar(&store, "sync", &place));
        // Of somebody else, as S3Proxy writes it: with extended attributes.
        let mine = storage.objects("columns")[0].with_file_name("mine.parquet");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&storage.objects("columns")[0])
            .arg(&mine)
            .status();
        assert!(copied.unwrap().success());
        let files = "SELECT count(*) FROM htap.column_file";
        let first = storage.objects("columns").len();
        assert_eq!(first as i64, 1 + number(&store.client, files).await);
        let known = "SELECT count(*) FROM htap.column_store WHERE folder = 's3://shop/columns/'";
        assert_eq!(number(&store.client, known).await, 1);
        storage.agrees(&store).await;
        // An hour that is written anew: the object of before stays for queries that began before, until another sync.
        let change = "UPDATE mart.fact_sales SET quantity = quantity + 1
                      WHERE sale_time = (SELECT min(sale_time) FROM mart.fact_sales)";
        store.client.batch(change).await.unwrap();
        storage.agrees(&store).await;
        told(&storage.columnar(&store, "sync", &place));
        storage.agrees(&store).await;
        let named = number(&store.client, files).await;
        let left = storage.objects("columns").len() as i64;
        told(&storage.columnar(&store, "sync", &place));
        assert_eq!(storage.objects("columns").len() as i64, named + 1);
        assert!(left > named, "{left} {named}");
        storage.agrees(&store).await;

        // Lost and altered objects.
        let largest = storage.largest();
        let name = largest.file_name().unwrap().to_string_lossy().into_owned();
        let whole = fs::read(&largest).unwrap();
        fs::remove_file(&largest).unwrap();
        let said = error(&storage.columnar(&store, "query", &[SALES]));
        assert!(
            said.contains(&name) && said.contains("is missing"),
            "{said}"
        );
        let said = told(&storage.columnar(&store, "sync", &place));
        assert!(
            said.contains("is missing: its hours are written anew"),
            "{said}"
        );
        storage.agrees(&store).await;
        let largest = storage.largest();
        let mut altered = fs::read(&largest).unwrap();
        assert_eq!(altered.len(), whole.len());
        altered[100] ^= 1;
        fs::write(&largest, altered).unwrap();
        let said = error(&storage.columnar(&store, "query", &[SALES]));
        assert!(
            said.contains("has another content than was written"),
            "{said}"
        );
        let said = told(&storage.columnar(&store, "sync", &place));
        assert!(
            said.contains("has another content than was written: its hours are written anew"),
            "{said}"
        );
        storage.agrees(&store).await;
        assert!(
            storage
                .objects("columns")
                .iter()
                .any(|path| path.ends_with("mine.parquet"))
        );

        // While the server is away, nothing is answered and nothing is lost.
        storage.kill();
        let said = error(&storage.columnar(&store, "query", &[SALES]));
        assert!(said.contains("failed to read s3://shop/columns/"), "{said}");
        store.client.batch(change).await.unwrap();
        let said = error(&storage.columnar(&store, "sync", &place));
        assert!(said.contains("failed to list s3://shop/columns/"), "{said}");
        storage.start_again();
        storage.agrees(&store).await;
        told(&storage.columnar(&store, "sync", &place));
        storage.agrees(&store).await;
        // A folder again: all files are written there.
        let folder = store.folder.path().to_str().unwrap();
        told(&storage.columnar(&store, "sync", &["--until", &until, "--folder", folder]));
        storage.agrees(&store).await;
    });
}
