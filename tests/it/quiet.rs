//! No command leaves a line in the log of a healthy server.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Order, Patience, Server, block_on};
use super::terminal::tmux::Terminal;
use htap_top::system::{fill, schema};
use std::process::{Command, Output, Stdio};

#[expect(clippy::disallowed_methods, reason = "the made-up history ends now")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn log(server: &Server) -> String {
    let bytes = std::fs::read(server.socket_dir().join("postgres.log")).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns true for lines that are not caused by a statement.
fn is_of_the_server(line: &str) -> bool {
    line.contains("LOG:  checkpoint ")
        || line.contains("automatic ")
        || line.contains("LOG:  skipping ")
}

/// Runs the program to its end.
fn ended(database: &Database<'_>, role: &str, line: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let words = line.split(' ').map(|word| match word {
        "@" => database.conninfo(role),
        "FILE" => folder.path().join("file").display().to_string(),
        word => word.replace('~', " "),
    });
    Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(words)
        .env("XDG_CONFIG_HOME", folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the program to its end and returns its output.
fn run(database: &Database<'_>, role: &str, line: &str) -> String {
    let output = ended(database, role, line);
    // 4: a requested panel cannot be shown; 5: a target is missed, or the doctor has findings.
    assert!(
        matches!(output.status.code(), Some(0 | 4 | 5)),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Commands that can do nothing in a database without the shop. `workload` is none of them: it connects as a role of the shop.
const NEED_THE_SHOP: &[&str] = &[
    "refresh -d @",
    "refresh -d @ --fresh 1s",
    "refresh -d @ --verify",
    "refresh -d @ --pg-cron",
    "partitions @",
    "partitions make -d @",
    "order create -d @ --user 1 --line 1x1",
    "stream relay -d @ --brokers 127.0.0.1:1",
    "stream run -d @ --brokers 127.0.0.1:1",
    "stream replay -d @ --brokers 127.0.0.1:1",
    "stream pause -d @",
    "stream resume -d @",
    "stream slot create -d @",
];

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn on_major(major: u16) {
    let settings = [("log_lock_waits", "off")].map(|(name, value)| (name.into(), value.into()));
    let server = Server::start(&Order {
        major: Some(major),
        settings: settings.into(),
        ..Order::default()
    });
    block_on(async {
        let database = server.database("quiet").await;
        let client = database.connect().await;
        client
            .batch("CREATE ROLE quiet_monitor LOGIN; GRANT pg_monitor TO quiet_monitor; CREATE ROLE quiet_plain LOGIN")
            .await
            .unwrap();
        drop(client);
        let mut told = log(&server).len();
        let mut nothing = |what: &str| {
            let log = log(&server);
            let new = log.get(told..).unwrap_or_default();
            let ours: Vec<&str> = new.lines().filter(|line| !is_of_the_server(line)).collect();
            assert!(ours.is_empty(), "{major}: {what}:\n{}", ours.join("\n"));
            told = log.len();
        };
        for role in ["postgres", "quiet_monitor", "quiet_plain"] {
            for line in [
                "once @ --wait 30s",
                "doctor @",
                "record FILE @ --duration 2s --interval 500ms",
            ] {
                run(&database, role, line);
                nothing(&format!("{line} as {role} of a database without the shop"));
            }
        }
        for line in NEED_THE_SHOP {
            let output = ended(&database, "postgres", line);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{line}: {told}");
            assert!(told.contains("htap-top init"), "{line}: {told}");
            nothing(&format!("{line} in a database without the shop"));
        }
        run(&database, "postgres", "init @");
        nothing("init");
        run(&database, "postgres", "init @");
        nothing("init once more");
        let client = database.connect().await;
        let what = fill::Fill {
            orders: 500,
            seed: 1,
            end_ms: now_ms(),
        };
        fill::fill(&database.target(), what, |_, _| {})
            .await
            .unwrap();
        schema::fill_all(&client, |_, _| {}).await.unwrap();
        let sql = "SELECT product_id FROM shop.inventory ORDER BY quantity DESC LIMIT 1";
        let product = client.query(sql, &[]).await.unwrap();
        let product = product.first("product_id").int().unwrap();
        drop(client);
        nothing("filling");
        // This role may not use the schemas of the shop.
        for line in NEED_THE_SHOP.iter().chain(&["init @"]) {
            let output = ended(&database, "quiet_plain", line);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{line}: {told}");
            assert!(
                told.contains("permission denied for schema"),
                "{line}: {told}"
            );
            nothing(&format!("{line} as a role that may not use the shop"));
        }
        let order = format!("order create -d @ --user 1 --line {product}x1");
        for (role, line) in [
            ("postgres", "once @ --wait 30s"),
            ("quiet_monitor", "once @ --wait 30s"),
            ("quiet_plain", "once @ --wait 30s"),
            ("htap_oltp", "once @ --wait 30s --panel hourly_sales"),
            ("postgres", "doctor @"),
            ("htap_oltp", "doctor @"),
            ("htap_refresh", "refresh -d @"),
            ("htap_refresh", "refresh -d @ --verify"),
            ("htap_oltp", order.as_str()),
            (
                "htap_olap",
                "route -d @ SELECT~count(*)~FROM~shop.orders SELECT~$1::text",
            ),
            ("quiet_plain", "route -d @ SELECT~1"),
            #[cfg(feature = "columnar")]
            ("quiet_plain", "columnar query -d @ SELECT~1"),
            #[cfg(feature = "columnar")]
            ("quiet_plain", "columnar sync -d @"),
            ("postgres", "partitions @"),
            ("postgres", "workload @ --duration 2s --oltp 20 --olap 2"),
            ("postgres", "init @ --uninstall --yes"),
        ] {
            let told = run(&database, role, line);
            nothing(&format!("{line} as {role}"));
            // Relations that a role may not read are not queried, and the reason is shown.
            let lacks = r#"our role may not read mart.sales_hourly (SQLSTATE 42501). GRANT SELECT ON mart.sales_hourly TO "htap_oltp"."#;
            let asked = line.contains("--panel hourly_sales");
            assert_eq!(told.contains(lacks), asked, "{line} as {role}: {told}");
        }
        let terminal = Terminal::open(150, 45);
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", |screen| screen.contains("live"));
        for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"] {
            terminal.keys(key);
            terminal.until("still live", |screen| screen.contains("live"));
        }
        let patience = Patience::begin();
        while patience.seconds() < 3 && patience.lasts() {
            crate::it::server::pause().await;
        }
        terminal.keys("q");
        terminal.until("the prompt", |screen| screen.contains("exit=0"));
        nothing("the dashboard");
    });
}

#[test]
fn no_command_is_in_the_servers_log_on_13() {
    on_major(13);
}

#[test]
fn no_command_is_in_the_servers_log_on_15() {
    on_major(15);
}

#[test]
fn no_command_is_in_the_servers_log_on_18() {
    on_major(18);
}
