//! Columns chosen in a real terminal, and what becomes of them in the next run.

use super::super::server::{block_on, shared};
use super::tmux::Terminal;
use super::{assert_given_back, bank, live, started};

#[test]
fn chosen_columns_are_there_in_the_next_run_and_in_a_replay() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = started(&database, 80, 24, "");
        let configured = "# mine\n";
        terminal.config_file("config.toml", configured);
        let heads = |screen: &str| screen.lines().nth(4).unwrap_or_default().to_owned();
        terminal.keys("po");
        terminal.until("settings", |screen| heads(screen).contains("advice"));
        terminal.keys("f");
        terminal.until("the chooser", |screen| {
            screen.contains("Columns · Settings") && screen.contains("[by width]")
        });
        // The second column is hidden, and rows are sorted by the first.
        terminal.keys("sj");
        terminal.keys("Space");
        terminal.until("hidden", |screen| {
            screen.contains("▌[ ] value") && screen.contains("[x] setting▲")
        });
        terminal.escape("Columns · Settings");
        let chosen = |screen: &str| {
            let heads = heads(screen);
            heads.contains("setting▲") && !heads.contains("value")
        };
        terminal.until("it holds", chosen);
        terminal.keys("q");
        assert_given_back(&terminal);
        let file = terminal.state().join("htap-top/columns.json");
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept.contains("\"sort\": \"name\""), "{kept}");

        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", live);
        terminal.keys("po");
        terminal.until("the same columns", chosen);
        terminal.keys("q");
        assert_given_back(&terminal);

        terminal.run("replay");
        terminal.until("the replay", |screen| screen.contains("REPLAY"));
        terminal.keys("po");
        terminal.until("the same columns in the replay", |screen| {
            screen.contains("setting▲") && !heads(screen).contains("value")
        });
        terminal.keys("fr");
        terminal.until("forgotten", |screen| screen.contains("[x] value"));
        terminal.keys("q");
        assert_given_back(&terminal);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("settings"));
        let config = terminal.state().join("../config/htap-top/config.toml");
        assert_eq!(std::fs::read_to_string(config).unwrap(), configured);
    });
}

#[test]
fn a_damaged_file_is_told_and_is_still_there_after_the_next_choice() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = Terminal::open(80, 24);
        let file = terminal.state().join("htap-top/columns.json");
        std::fs::create_dir_all(terminal.state().join("htap-top")).unwrap();
        std::fs::write(&file, "{\"version\": 1, ").unwrap();
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", live);
        terminal.keys("L");
        terminal.until("the complaint", |screen| {
            screen.contains("Log · newest last") && screen.contains("columns.json: chosen")
        });
        terminal.escape("Log · newest last");
        terminal.keys("pof");
        terminal.until("the chooser", |screen| {
            screen.contains("Columns · Settings")
        });
        terminal.keys("s");
        terminal.until("sorted", |screen| screen.contains("▌[x] setting▲"));
        terminal.keys("q");
        assert_given_back(&terminal);
        let broken = terminal.state().join("htap-top/columns.json.broken.1");
        assert_eq!(
            std::fs::read_to_string(broken).unwrap(),
            "{\"version\": 1, "
        );
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept.contains("\"sort\": \"name\""), "{kept}");
    });
}
