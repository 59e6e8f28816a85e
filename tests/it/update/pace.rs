//! When samples are due.

use crate::it::board::{Board, requests, table, with_host};
use htap_top::dashboard::event::Effect;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Pool;
use htap_top::pg::Table;

/// The second of two samples is not due after the panel's interval, but as soon as a rate means something.
#[test]
fn figures_of_two_samples_are_there_a_second_after_a_panel_opens() {
    let names: Vec<String> = panels::built_in()
        .unwrap()
        .iter()
        .filter(|spec| spec.front.takes_two() && spec.front.letter.is_some())
        .filter(|spec| matches!(spec.front.pool, Pool::Oltp | Pool::Slow))
        // These are asked every second anyway, if the machine or a replica is known.
        .filter(|spec| spec.name != "host" && spec.name != "nodes")
        .map(|spec| spec.name.clone())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let mut board = Board::new(with_host());
        board.mute = true;
        let connected = board.connect();
        let id = board.id(&name);
        let letter = board.model.feed(id).unwrap().spec.front.letter.unwrap();
        let mut sent = Vec::new();
        let told = board.answer("extensions", Table::default());
        let needs = &board.model.feed(id).unwrap().spec.front.needs;
        let needs: Vec<String> = needs
            .iter()
            .map(|name| format!("{name}|true|true"))
            .collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let needs = board.answer("needs", table("name|found|readable", &needs));
        let opened = board.keys(&format!("p{letter}"));
        let mut note = |at: u64, effects: &[Effect], board: &mut Board| {
            if requests(effects).iter().any(|request| request.feed == id) {
                sent.push(at);
                let _ = board.answer(&name, Table::default());
            }
        };
        for effects in [connected, told, needs, opened] {
            note(0, &effects, &mut board);
        }
        for quarter in 1..=80 {
            let effects = board.tick(250);
            note(quarter * 250, &effects, &mut board);
        }
        let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let pace = board.model.pace(board.model.feed(id).unwrap());
        let pace_ms = pace.as_millis() as u64;
        assert!(gaps.len() > 1, "{name} at {sent:?}");
        assert!(gaps[0] <= 1_000, "{name}: {gaps:?}");
        assert!(
            gaps[1..].iter().all(|gap| gap + 750 >= pace_ms),
            "{name}: {gaps:?}"
        );
    }
}
