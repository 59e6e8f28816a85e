//! Panels that ask `htap-top columnar serve`: their figures are PostgreSQL's, and what goes wrong is said in the panel alone.

use super::{ENDLESS, Served, program};
use crate::it::board::without_host;
use crate::it::facts::{feed, until};
use crate::it::output::Program;
use crate::it::server::block_on;
use htap_top::cluster::SUPERUSER;
use htap_top::columnar::Options;
use htap_top::config::Config;
use htap_top::dashboard::model::{Link, Model, Start};
use htap_top::dashboard::output;
use htap_top::dashboard::panels::{self, own};
use htap_top::dashboard::recording;
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::runtime::Targets;
use htap_top::dashboard::runtime::headless::Headless;
use htap_top::dashboard::timeline::Timeline;
use htap_top::pg::{Class, Flags, Target};
use htap_top::system::schema;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};

/// A process of `columnar serve`.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    fn start(served: &Served, port: u16) -> Self {
        let conninfo = served.store.database.conninfo(SUPERUSER);
        let folder = served.store.folder.path().to_str().unwrap();
        let listen = format!("127.0.0.1:{port}");
        let mut child = program(&[
            "columnar", "serve", "-d", &conninfo, "--listen", &listen, "--folder", folder,
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut said = String::new();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        told.read_line(&mut said).unwrap();
        let port = said.trim().rsplit_once("port=");
        let port = port.unwrap_or_else(|| panic!("{said}")).1.parse().unwrap();
        Self { child, port }
    }

    fn conninfo(&self, password: &str) -> String {
        format!("port={} user=asker password={password}", self.port)
    }

    fn target(&self, served: &Served, password: &str) -> Target {
        let conninfo = self.conninfo(password);
        let database = &served.store.database.name;
        let flags = Flags {
            conninfo: Some(format!("host=127.0.0.1 {conninfo} dbname={database}")),
            ..Flags::default()
        };
        Target::resolve(&flags, &|_| None).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of a panel.
fn panel(folder: &Path, name: &str, front: &str, sql: &str) {
    let text =
        format!("-- title = \"Mine\"\n-- interval = \"500ms\"\n-- about = \"a\"\n{front}\n{sql}\n");
    std::fs::write(folder.join(format!("{name}.sql")), text).unwrap();
}

/// A dashboard without a screen, with the panels of a folder.
fn watch(served: &Served, folder: &Path, config: &str, store: Option<Target>) -> Headless {
    let config = Config::parse(Path::new("config.toml"), config).unwrap();
    let (own_panels, complaints) = own::read(folder);
    assert_eq!(complaints, Vec::<String>::new());
    let names: Vec<String> = own_panels.iter().map(|own| own.name.clone()).collect();
    let start = Start {
        columnar: store.as_ref().map(|_| "store".into()),
        ..start(config, own_panels)
    };
    let target = served.store.database.target();
    let target = target.with_application_name("htap-top");
    let targets = Targets::new(target, None, None).with_column_store(store);
    Headless::start(start, targets, &names, false)
}

fn start(config: Config, own_panels: Vec<panels::spec::Spec>) -> Start {
    Start {
        config: without_host(config),
        built_in: panels::built_in().unwrap(),
        own_panels,
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Vec::new(),
        target: "test".into(),
        olap_target: None,
        olap_server: None,
        pooler: None,
        columnar: None,
        own_roles: vec![SUPERUSER.to_owned()],
        demo: false,
        server: None,
    }
}

/// Why a panel has no figures.
fn reason(model: &Model, name: &str) -> String {
    let sheets = output::sheets(model, &[name.to_owned()]);
    sheets[0].reason.clone().unwrap_or_default()
}

/// Runs `once` for one panel.
fn once(home: &Program, served: &Served, store: Option<&str>, panel: &str, format: &str) -> Output {
    let conninfo = served.store.database.conninfo(SUPERUSER);
    let mut arguments = vec![
        "once", &conninfo, "--wait", "60s", "--panel", panel, "--format", format,
    ];
    if let Some(store) = store {
        arguments.extend(["--columnar", store]);
    }
    home.command(&arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rows of a panel in any order, each with its figures in the order of their names, to a millionth.
fn rows(output: &Output, panel: &str) -> Vec<Vec<String>> {
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = told["panels"][panel].as_array();
    let rows = rows.unwrap_or_else(|| panic!("{told}"));
    let cell = |(name, cell): (&String, &Value)| {
        let number = cell.as_f64().or_else(|| cell.as_str()?.parse().ok());
        let cell = number.map_or_else(|| cell.to_string(), |number| format!("{number:.6}"));
        format!("{name}={cell}")
    };
    let rows = rows.iter();
    let mut rows: Vec<Vec<String>> = rows
        .map(|row| row.as_object().unwrap().iter().map(cell).collect())
        .collect();
    rows.sort();
    rows
}

const COLUMNS: &str =
    "-- [columns.month]\n-- unit = \"time\"\n-- [columns.amount]\n-- unit = \"money\"";

#[test]
fn a_panel_of_ones_own_has_postgresqls_figures() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let serving = Serving::start(&served, 0);
        let home = Program::new();
        let folder = home.path("htap-top/queries");
        let sql = "SELECT date_trunc('month', sale_time) AS month, category, count(*) AS n, sum(sales_amount) AS amount,
                          avg(quantity) AS pieces, max(sale_time) AS last, sum(quantity) FILTER (WHERE quantity < 0) AS nothing
                   FROM mart.fact_sales GROUP BY date_trunc('month', sale_time), category";
        for (name, pool) in [("mine", "columnar"), ("theirs", "olap")] {
            let front = format!("-- pool = \"{pool}\"\n-- sort = \"-last\"\n{COLUMNS}");
            panel(&folder, name, &front, &format!("{sql};"));
        }
        let store = serving.conninfo("asks");
        let mine = rows(&once(&home, &served, Some(&store), "mine", "json"), "mine");
        let theirs = rows(&once(&home, &served, None, "theirs", "json"), "theirs");
        assert!(mine.len() > 3, "{mine:?}");
        assert_eq!(mine, theirs);
        let first = mine[0].join(" ");
        // A time is a number of seconds where one is wanted, and a text elsewhere; NULL is none.
        assert!(
            first.contains("month=1") && first.contains("nothing=null"),
            "{first}"
        );
        assert!(
            first.contains("last=\"20") && first.contains("+00\""),
            "{first}"
        );
        let csv = once(&home, &served, Some(&store), "mine", "csv");
        let lines = text(&csv.stdout);
        assert!(lines.starts_with("month,amount,"), "{lines}");
        assert_eq!(lines.lines().count(), mine.len() + 1, "{lines}");

        // A truth value, a date, no rows, and more rows than a panel keeps.
        panel(
            &folder,
            "kinds",
            "-- pool = \"columnar\"\n-- [columns.many]\n-- unit = \"flag\"",
            "SELECT count(*) > 0 AS many, max(sale_time)::date AS day FROM fact_sales",
        );
        panel(
            &folder,
            "none",
            "-- pool = \"columnar\"",
            "SELECT 1 AS a FROM fact_sales WHERE quantity < 0",
        );
        panel(
            &folder,
            "large",
            "-- pool = \"columnar\"",
            "SELECT a.order_id FROM fact_sales AS a JOIN fact_sales AS b ON a.category = b.category LIMIT 12000",
        );
        let kinds = rows(
            &once(&home, &served, Some(&store), "kinds", "json"),
            "kinds",
        );
        assert!(
            kinds[0][0].starts_with("day=\"20") && kinds[0][1] == "many=true",
            "{kinds:?}"
        );
        let none = rows(&once(&home, &served, Some(&store), "none", "json"), "none");
        assert_eq!(none.len(), 0);
        let large = rows(
            &once(&home, &served, Some(&store), "large", "json"),
            "large",
        );
        assert_eq!(large.len(), 10_000);
        served.end().await;
    });
}

/// Orders that are not completed are in no fact, so all are completed at once, which no trigger would allow.
const COMPLETED: &str = "
    SET session_replication_role = replica;
    UPDATE shop.orders SET status = 3, completed_at = created_at WHERE status <> 4;
    RESET session_replication_role";

/// Takes the recency out of rows.
fn taken(rows: &mut [Vec<String>]) -> Vec<f64> {
    let taken = rows.iter_mut().filter_map(|row| {
        let place = row.iter().position(|cell| cell.starts_with("recency_s="))?;
        row.remove(place).split_once('=')?.1.parse().ok()
    });
    taken.collect()
}

#[test]
fn business_panels_have_the_figures_of_the_summaries() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let admin = &served.store.client;
        admin.batch(COMPLETED).await.unwrap();
        schema::fill_all(admin, |_, _| {}).await.unwrap();
        let serving = Serving::start(&served, 0);
        let store = serving.conninfo("asks");
        let (usual, moved) = (Program::new(), Program::new());
        let names = ["hourly_sales", "top_categories", "rfm_segments"];
        let config = names.map(|name| format!("[panels.{name}]\npool = \"columnar\"\n"));
        std::fs::write(moved.path("htap-top/config.toml"), config.concat()).unwrap();
        for name in names {
            let mut asked = 0;
            // Both ask for what was sold until now, one after the other.
            loop {
                let right = rows(&once(&usual, &served, None, name, "json"), name);
                let found = once(&moved, &served, Some(&store), name, "json");
                let (mut right, mut found) = (right, rows(&found, name));
                assert!(right.len() > 3, "{right:?}");
                // It grows between the two questions.
                let recencies = (taken(&mut right), taken(&mut found));
                asked += 1;
                if found == right {
                    assert_eq!(recencies.0.len(), recencies.1.len());
                    for (right, found) in recencies.0.iter().zip(&recencies.1) {
                        assert!((right - found).abs() < 60.0, "{recencies:?}");
                    }
                    assert_eq!(recencies.0.is_empty(), name != "rfm_segments");
                    break;
                }
                assert!(asked < 4, "{name}: {found:#?} instead of {right:#?}");
            }
        }
        let refused = once(&moved, &served, None, "rfm_segments", "json");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            text(&refused.stderr).contains("panel rfm_segments needs --columnar"),
            "{refused:?}"
        );
        served.end().await;
    });
}

const COUNT: &str = "SELECT count(*) AS n FROM fact_sales";

#[test]
fn a_lost_column_store_is_told_and_comes_back() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let mut serving = Serving::start(&served, 0);
        let folder = tempfile::tempdir().unwrap();
        panel(folder.path(), "mine", "-- pool = \"columnar\"", COUNT);
        let store = serving.target(&served, "asks");
        let mut headless = watch(&served, folder.path(), "", Some(store));
        let at = |model: &Model, name: &str| feed(model, name).sampling.at.map(|at| at.mono_ms);
        until(&mut headless, "the first figures", |model| {
            at(model, "mine").is_some()
        })
        .await;
        let right = feed(&headless.model, "mine").table.clone();
        assert!(right.first("n").int() > Some(0), "{right:?}");

        serving.child.kill().unwrap();
        serving.child.wait().unwrap();
        until(&mut headless, "the panel says that it is lost", |model| {
            let feed = feed(model, "mine");
            let why = format!("no column store at 127.0.0.1:{}", serving.port);
            let told = |link: &Link| match link {
                Link::Lost { error, attempt, .. } => {
                    let error = error.message.as_str();
                    *attempt > 0
                        && error.contains(&why)
                        && error.contains("start `htap-top columnar serve`")
                }
                Link::Idle | Link::Live(_) => false,
            };
            told(&model.columnar) && model.is_stale(feed)
        })
        .await;
        let model = &headless.model;
        assert_eq!(feed(model, "mine").table, right);
        assert!(
            reason(model, "mine").contains("no column store at"),
            "{}",
            reason(model, "mine")
        );
        let told = model.log.iter().any(|line| {
            line.text
                .as_str()
                .starts_with("column store: connection lost")
        });
        assert!(told, "{:?}", model.log);
        // Nothing else waits for it.
        let before = at(model, "database");
        until(&mut headless, "other figures", |model| {
            at(model, "database") > before
        })
        .await;
        assert!(!headless.model.is_stale(feed(&headless.model, "database")));

        let again = Serving::start(&served, serving.port);
        let before = at(&headless.model, "mine");
        until(&mut headless, "it is back", |model| {
            at(model, "mine") > before && !model.is_stale(feed(model, "mine"))
        })
        .await;
        assert_eq!(reason(&headless.model, "mine"), "");
        drop(again);
        headless.end().await;
        served.end().await;
    });
}

#[test]
fn a_statement_that_is_refused_says_why_and_harms_no_other() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let serving = Serving::start(&served, 0);
        let folder = tempfile::tempdir().unwrap();
        for (name, sql) in [
            ("good", COUNT),
            ("deviation", "SELECT stddev(quantity) AS s FROM fact_sales"),
            ("two", "SELECT 1; DELETE FROM fact_sales"),
            ("writes", "DELETE FROM fact_sales"),
            ("unknown", "SELECT count(*) AS n FROM mart.sales_hourly"),
            ("endless", ENDLESS),
        ] {
            panel(folder.path(), name, "-- pool = \"columnar\"", sql);
        }
        let store = serving.target(&served, "asks");
        let config = "[olap]\nstatement_timeout = \"1s\"";
        let mut headless = watch(&served, folder.path(), config, Some(store));
        let code = |model: &Model, name: &str| {
            let error = feed(model, name).sampling.error.as_ref();
            error.map_or("", |error| error.code()).to_owned()
        };
        until(&mut headless, "each is answered", |model| {
            let told = ["deviation", "two", "unknown"]
                .iter()
                .all(|name| code(model, name) == "0A000");
            let at = feed(model, "good").sampling.at;
            told && code(model, "writes") == "25006"
                && code(model, "endless") == "57014"
                && at.is_some()
        })
        .await;
        let why = reason(&headless.model, "deviation");
        for part in [
            "SQLSTATE 0A000",
            "stddev",
            "htap-top help columnar",
            "Set pool = \"olap\" in its file",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert!(matches!(headless.model.columnar, Link::Live(_)));
        headless.end().await;
        served.end().await;
    });
}

#[test]
fn what_is_missing_or_wrong_is_said_in_the_panel() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let home = Program::new();
        let folder = home.path("htap-top/queries");
        panel(&folder, "mine", "-- pool = \"columnar\"", COUNT);
        // Without the option.
        let mut headless = watch(&served, &folder, "", None);
        until(&mut headless, "the facts", |model| model.facts.is_some()).await;
        let why = reason(&headless.model, "mine");
        assert!(why.starts_with("needs --columnar CONNINFO"), "{why}");
        headless.end().await;
        let refused = once(&home, &served, None, "mine", "json");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            text(&refused.stderr).contains("panel mine needs --columnar"),
            "{refused:?}"
        );
        served.end().await;
    });
}

#[test]
fn a_wrong_connection_is_said_with_its_cure() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let serving = Serving::start(&served, 0);
        let home = Program::new();
        let folder = home.path("htap-top/queries");
        panel(&folder, "mine", "-- pool = \"columnar\"", COUNT);
        // A wrong password, another database, PostgreSQL itself, nobody, a setting.
        let socket = served.store.database.conninfo(SUPERUSER);
        let store = serving.conninfo("asks");
        for (conninfo, parts) in [
            (
                serving.conninfo("wrong"),
                ["refuses user asker or the password", "PGPASSWORD"],
            ),
            (
                format!("port={} user=asker", serving.port),
                ["asks for a password", "PGPASSWORD"],
            ),
            (
                format!("{store} dbname=other"),
                ["\"other\" is not served here", "connect to"],
            ),
            (
                socket,
                ["is PostgreSQL, not the column store", "127.0.0.1:5439"],
            ),
            (
                "port=9 user=asker password=x".to_owned(),
                ["no column store at", "start `htap-top columnar serve`"],
            ),
            (
                format!("{store} options='-c work_mem=1MB'"),
                ["work_mem cannot be set here", "leave it out of --columnar"],
            ),
        ] {
            let told = once(&home, &served, Some(&conninfo), "mine", "json");
            assert_eq!(told.status.code(), Some(1), "{told:?}");
            for part in parts {
                assert!(text(&told.stderr).contains(part), "{part}: {told:?}");
            }
        }
        // A refused password is not tried again and again, for PostgreSQL logs each.
        let mut headless = watch(&served, &folder, "", Some(serving.target(&served, "wrong")));
        until(&mut headless, "the refusal", |model| {
            matches!(&model.columnar, Link::Lost { error, given_up: true, attempt: 1, .. } if error.class == Class::Configuration)
        })
        .await;
        headless.end().await;
        panel(
            &folder,
            "path",
            "-- pool = \"columnar\"\n-- search_path = \"role\"",
            COUNT,
        );
        let (_, complaints) = own::read(&folder);
        assert!(
            complaints[0].contains("search_path is for pool \"olap\""),
            "{complaints:?}"
        );
        served.end().await;
    });
}

#[test]
fn a_recording_shows_the_panels_again() {
    block_on(async {
        let served = Served::new(Options::default(), 20).await;
        let serving = Serving::start(&served, 0);
        let home = Program::new();
        let folder = home.path("htap-top/queries");
        panel(
            &folder,
            "mine",
            &format!("-- pool = \"columnar\"\n{COLUMNS}"),
            "SELECT max(sale_time) AS month FROM fact_sales",
        );
        let config = "[panels.hourly_sales]\npool = \"columnar\"\n";
        std::fs::write(home.path("htap-top/config.toml"), config).unwrap();
        let (conninfo, store) = (
            served.store.database.conninfo(SUPERUSER),
            serving.conninfo("asks"),
        );
        let path = home.path("recording");
        let recorded = home
            .command(&[
                "record",
                path.to_str().unwrap(),
                &conninfo,
                "--columnar",
                &store,
                "--duration",
                "8s",
            ])
            .output()
            .unwrap();
        assert!(recorded.status.success(), "{recorded:?}");
        // Whoever replays it need not have the configuration, but the panel.
        for config in [config, ""] {
            let config = Config::parse(Path::new("config.toml"), config).unwrap();
            let (own_panels, _) = own::read(&folder);
            let replayed =
                recording::read(std::slice::from_ref(&path), start(config, own_panels)).unwrap();
            assert_eq!(replayed.torn, None);
            let (_, last) = replayed.tape.ends().unwrap();
            let mut timeline = Timeline::replay(replayed.tape).unwrap();
            timeline.show(last.mono_ms);
            let model = timeline.shown();
            let sales = model.rows(Panel::HourlySales);
            assert_eq!(sales.rows.len(), 24);
            assert!(sales.first("hour").number() > Some(1.7e9), "{sales:?}");
            let mine = &feed(model, "mine").table;
            assert!(mine.first("month").number() > Some(1.7e9), "{mine:?}");
            assert_eq!(reason(model, "mine"), "");
        }
        served.end().await;
    });
}
