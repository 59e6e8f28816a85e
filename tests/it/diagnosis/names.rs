//! Names that no screen shows unchanged, on a real server: comparisons use the raw name, not the displayed
//! one.

use super::bank;
use super::watch::Watch;
use crate::it::board::Board;
use crate::it::server::{Order, Patience, Server, block_on, pid, until};
use htap_top::config::Config;
use htap_top::dashboard::action::Action;
use htap_top::dashboard::event::Effect;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Param};
use std::path::Path;

#[test]
fn an_extension_in_a_schema_of_any_name_is_read() {
    block_on(async {
        let server = Server::start(&Order {
            settings: vec![(
                "shared_preload_libraries".into(),
                "pg_stat_statements".into(),
            )],
            ..Order::default()
        });
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE SCHEMA \"odd\nschema\"; CREATE SCHEMA \"odd schema\";
                 CREATE EXTENSION pg_stat_statements SCHEMA \"odd\nschema\"; CREATE ROLE teller LOGIN;
                 GRANT SELECT ON pgbench_accounts TO teller",
            )
            .await
            .unwrap();
        let teller = database.connect_as("teller").await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.keys("ps").await;
        let patience = Patience::begin();
        while watch.board.model.rows(Panel::Statements).rows.is_empty() {
            let feed = watch.board.model.feed_named("statements");
            let feed = feed.and_then(|id| watch.board.model.feed(id)).unwrap();
            assert!(patience.lasts(), "{:?}", feed.sampling.error);
            // Only statements that ran between two samples are listed.
            teller
                .batch("SELECT count(*) FROM pgbench_accounts")
                .await
                .unwrap();
            watch.look(5_000).await;
        }
    });
}

/// Two views that look the same: a target for one does not apply to the other.
#[test]
fn the_age_wanted_of_a_view_is_not_wanted_of_its_double() {
    block_on(async {
        let server = super::server(&[("track_commit_timestamp", "on")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        for sql in [
            "CREATE MATERIALIZED VIEW \"a b\" AS SELECT 1 AS n",
            "CREATE MATERIALIZED VIEW \"a\nb\" AS SELECT 2 AS n",
        ] {
            admin.batch(sql).await.unwrap();
        }
        let config = Config::parse(
            Path::new("config.toml"),
            "[freshness]\n\"public.a\\nb\" = \"1500ms\"\n",
        );
        let mut watch = Watch::begin(&database, config.unwrap()).await;
        let targets = |board: &Board| {
            let views = board.model.rows(Panel::Views);
            let rows = 0..views.rows.len();
            let targets = rows.map(|row| {
                (
                    views.get(row, "view").raw().unwrap().to_owned(),
                    views.get(row, "target_s").number(),
                )
            });
            targets.collect::<Vec<_>>()
        };
        watch
            .until("both are listed", |board| targets(board).len() == 2)
            .await;
        let told = targets(&watch.board);
        assert!(
            told.contains(&("public.a\nb".into(), Some(1.5))),
            "{told:?}"
        );
        assert!(told.contains(&("public.a b".into(), None)), "{told:?}");
        // The first one has a target. The audit file records both names of its refresh.
        let _ = watch.board.keys("7r");
        let effects = watch.board.keys("y");
        let views = effects.iter().filter_map(|effect| match effect {
            Effect::Act {
                action: Action::Refresh { view, .. },
                ..
            } => Some((view.name.as_str(), view.raw.as_deref())),
            _ => None,
        });
        let views: Vec<_> = views.collect();
        assert_eq!(views, [("a b", Some("public.a\nb"))]);
    });
}

/// A role that looks like the one named by a rule.
#[test]
fn a_rule_of_the_guard_is_about_names_as_they_are() {
    block_on(async {
        let server = super::server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut pids = Vec::new();
        let mut works = Vec::new();
        for role in ["od\nd", "od d"] {
            let create = format!("CREATE ROLE \"{role}\" LOGIN");
            admin.batch(&create).await.unwrap();
            let client = Client::connect(&database.target_of(role)).await.unwrap();
            let pid = pid(&client).await;
            pids.push(pid);
            works.push(tokio::spawn(async move {
                client.batch("SELECT pg_sleep(600)").await
            }));
            let old =
                "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'
                       AND clock_timestamp() - query_start > interval '1.5s'";
            until(&admin, "it sleeps", old, &[Param::Int(pid)], |table| {
                !table.rows.is_empty()
            })
            .await;
        }
        let rule = "[guard]\n[[guard.rule]]\nname = \"odd\"\naction = \"cancel\"\nlonger_than = \"1s\"\nrole = \"^od\\nd$\"\n";
        let config = Config::parse(Path::new("config.toml"), rule).unwrap();
        let mut watch = Watch::begin(&database, config).await;
        watch.board.model.guarding.armed = true;
        watch
            .until("it is told", |board| {
                board.said().contains("guard odd: cancel pid")
            })
            .await;
        watch.look(1_000).await;
        let log = watch.board.model.log.iter();
        let log: Vec<String> = log.map(|line| line.text.to_string()).collect();
        let log = log.join("\n");
        assert!(log.contains(&format!("cancel pid {} ", pids[0])), "{log}");
        assert!(!log.contains(&format!("cancel pid {} ", pids[1])), "{log}");
        for work in works {
            work.abort();
        }
    });
}
