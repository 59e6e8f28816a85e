//! Recordings: everything written is shown again, however the program ended, and no file can do harm.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{activity, facts, table, trouble};
use htap_top::config::Config;
use htap_top::dashboard::action::{Action, ActionId, Outcome};
use htap_top::dashboard::encoded::Encoded;
use htap_top::dashboard::event::{Acted, Event, Moment, OwnCost};
use htap_top::dashboard::incident::{self, Incident};
use htap_top::dashboard::lanes::Lane;
use htap_top::dashboard::model::{Model, Start};
use htap_top::dashboard::panels;
use htap_top::dashboard::recording::{self, Header, Recorder, Recording, RecordingError};
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::tabs::Place;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::timeline::Timeline;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Class, Peer, PgError, Protection, Table};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn start() -> Start {
    Start {
        config: Config::default(),
        built_in: panels::built_in().unwrap(),
        own_panels: Vec::new(),
        own_roles: vec!["monitor".into()],
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Theme::names().map(str::to_owned).collect(),
        target: "shop @ primary:5432".into(),
        olap_target: None,
        olap_server: None,
        pooler: None,
        columnar: None,
        demo: false,
        server: None,
    }
}

fn answered(model: &Model, feed: &str, outcome: Table) -> Event {
    Event::Reported(Report::Answered {
        id: model.feed_named(feed).unwrap().0,
        took_ms: 1.0,
        outcome: Ok(outcome),
    })
}

fn ticked(mono_ms: u64) -> Event {
    let now = Moment {
        mono_ms,
        epoch_ms: 1_767_323_045_000 + mono_ms as i64,
    };
    Event::Ticked {
        now,
        cost: OwnCost::default(),
    }
}

/// Writes five minutes with a lock queue in the third; with `end` the file is finished as by a program that
/// ends normally.
fn record(path: &Path, mask: bool, end: bool) -> Model {
    let mut model = Model::new(start());
    let file = File::create(path).unwrap();
    let header = Header::of(&model, mask, 1_767_323_045_000);
    let mut recorder = Recorder::begin(file, &header).unwrap();
    let peer = Peer {
        host: "primary".into(),
        port: 5432,
        protection: Protection::Local,
        pooled: false,
    };
    let session = SessionId::Fast;
    let mut events = vec![
        ticked(0),
        Event::Reported(Report::Opened { session, peer }),
        answered(&model, "facts", facts()),
    ];
    for at in 1..300_u64 {
        let backends = if (120..150).contains(&at) {
            trouble()
        } else {
            activity(&[])
        };
        let counters = format!("{at}.0|{at}|{}|0", at * 10);
        events.extend([
            ticked(at * 1000),
            answered(
                &model,
                "database",
                table("now_epoch|xmax|xact_commit|xact_rollback", &[&counters]),
            ),
            answered(&model, "activity", backends),
        ]);
    }
    for event in events {
        recorder.note(&Encoded::of(&event).unwrap()).unwrap();
        let _ = model.update(event);
    }
    if end {
        recorder.end().unwrap();
    } else {
        // As after a kill: the flushed part, without an end.
        std::mem::forget(recorder);
    }
    model
}

fn read(path: &Path) -> Result<Recording, RecordingError> {
    recording::read(&[PathBuf::from(path)], start())
}

/// A trouble is known from its beginning to its end, and with the moment at which it was worst.
#[test]
fn a_trouble_has_an_end_and_a_worst_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    let _ = record(&path, false, true);
    let recording = read(&path).unwrap();
    let troubles: Vec<_> = recording.tape.troubles().cloned().collect();
    let [trouble] = troubles.as_slice() else {
        unreachable!("{troubles:?}");
    };
    let (worst, ..) = trouble.worst;
    assert_eq!(
        [trouble.at, trouble.until, worst].map(|at| at.mono_ms),
        [120_000, 150_000, 149_000],
        "the waits are the same in all samples; the tick at 150 comes before its sample"
    );
    // The report of the moment in the middle says the same, and so does one after the end.
    let mut timeline = Timeline::replay(recording.tape).unwrap();
    let reports = incident::Place {
        folder: folder.path().join("reports"),
        audit: folder.path().join("audit.jsonl"),
    };
    let mut report = |mono_ms: u64| {
        timeline.show(mono_ms);
        let path = Incident::of(&timeline, true).write(&reports, &Theme::default());
        std::fs::read_to_string(path.unwrap()).unwrap()
    };
    let times = "from 2026-01-02 03:06:05 +00:00 to 2026-01-02 03:06:35 +00:00";
    let during = report(130_000);
    assert!(
        during.contains(&format!("- When: {times} (30s).")),
        "{during}"
    );
    assert!(during.contains("quantity = quantity - ? WHERE product_id = ?"));
    assert!(!during.contains("product_id = 7"), "{during}");
    let after = report(290_000);
    assert!(after.contains("- When: no danger was found"), "{after}");
    assert!(
        after.contains(&format!("- The last trouble: {times}: ")),
        "{after}"
    );
    assert!(after.contains("nobody waited for a lock"), "{after}");
}

/// A server that can be in the background is recorded in a version of its own, which earlier programs refuse as a whole.
#[test]
fn a_recording_of_several_servers_holds_their_time_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    let several = Start {
        server: Some(Place {
            number: 2,
            name: "reports".into(),
            colour: None,
        }),
        ..start()
    };
    let version = |start: Start| {
        let header = Header::of(&Model::new(start), true, 0);
        let header = serde_json::to_value(header).unwrap();
        header["htap_top_recording"].as_u64()
    };
    assert_eq!(version(several.clone()), Some(3));
    let read_only = |mut start: Start| {
        start.config.read_only = true;
        start
    };
    assert_eq!(
        (
            version(read_only(start())),
            version(read_only(several.clone()))
        ),
        (Some(1), Some(2))
    );
    let model = Model::new(several);
    let header = Header::of(&model, true, 0);
    let mut recorder = Recorder::begin(File::create(&path).unwrap(), &header).unwrap();
    let events = [
        Event::Background(true),
        ticked(0),
        ticked(1_000),
        ticked(2_000),
        Event::Background(false),
        ticked(3_000),
    ];
    for event in events {
        recorder.note(&Encoded::of(&event).unwrap()).unwrap();
    }
    recorder.end().unwrap();
    let recording = read(&path).unwrap();
    assert_eq!(recording.torn, None);
    let behind = [0, 1_000, 3_000].map(|at| {
        let then = recording.tape.at(at).unwrap().model;
        then.is_in_background()
    });
    assert_eq!(behind, [true, true, false]);
}

/// What a dashboard did is on the timeline and in the log of a replay, once, without what the server quoted.
#[test]
fn a_recording_holds_actions_and_their_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    let mut live = Model::new(start());
    let header = Header::of(&live, true, 0);
    let mut recorder = Recorder::begin(File::create(&path).unwrap(), &header).unwrap();
    let (id, action) = (ActionId(1), Action::PauseRelay);
    let mut quoted = PgError::new(Class::Statement, "duplicate key value 'planted'");
    quoted.sqlstate = Some("23505".into());
    let outcome = Outcome::Failed(quoted);
    let acted = Acted::of(id, &action, &outcome, Duration::from_millis(400));
    for event in [
        ticked(0),
        ticked(10_000),
        Event::Acted(acted.clone()),
        Event::Acted(acted),
        ticked(20_000),
    ] {
        recorder.note(&Encoded::of(&event).unwrap()).unwrap();
        let _ = live.update(event);
    }
    recorder.end().unwrap();
    let mut unpacked = Vec::new();
    zstd::stream::copy_decode(File::open(&path).unwrap(), &mut unpacked).unwrap();
    assert!(!String::from_utf8_lossy(&unpacked).contains("planted"));
    let replayed = read(&path).unwrap().tape.at(20_000).unwrap().model;
    for model in [&live, &replayed] {
        let bars = model.history.course.lanes.since(0);
        let bars: Vec<_> = bars
            .filter(|bar| bar.lane == Lane::Action)
            .map(|bar| (bar.start_ms, bar.end_ms))
            .collect();
        assert_eq!(bars, [(9_600, Some(10_000))]);
        let told = model.log.iter().map(|line| line.text.as_str());
        let told: Vec<&str> = told.filter(|text| text.contains("relay")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("pause the relay: failed"), "{told:?}");
    }
}

#[test]
fn a_recording_shows_what_was_shown_and_its_troubles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    let live = record(&path, true, true);
    let recording = read(&path).unwrap();
    assert_eq!(recording.torn, None);
    assert_eq!(recording.target.as_str(), "shop @ primary:5432");
    let last = recording.tape.at(u64::MAX).unwrap().model;
    assert_eq!((&last.cause, &last.gauges), (&live.cause, &live.gauges));
    assert_eq!(last.history.tps.last(300), live.history.tps.last(300));
    let troubles: Vec<u64> = recording
        .tape
        .troubles()
        .map(|trouble| trouble.at.mono_ms / 1000)
        .collect();
    assert_eq!(troubles, [120]);
    let then = recording.tape.at(125_000).unwrap().model;
    assert!(
        then.cause.sentence.contains("pid 812"),
        "{}",
        then.cause.sentence
    );
    // Statements lose their literals; everything else is unchanged.
    let query = |model: &Model| {
        model
            .rows(Panel::Activity)
            .first("query")
            .text()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        query(&then).ends_with("WHERE product_id = ?"),
        "{}",
        query(&then)
    );
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 40_000, "{size} bytes for five minutes");
}

#[test]
fn a_killed_recording_is_shown_up_to_its_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    record(&path, false, false);
    let recording = read(&path).unwrap();
    let (_, last) = recording.tape.ends().unwrap();
    assert!(last.mono_ms >= 298_000, "{last:?}");
    // Cut anywhere, it is shown up to the cut, or reported as empty.
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 50) {
        std::fs::write(&path, bytes.get(..length).unwrap()).unwrap();
        match read(&path) {
            Ok(recording) => assert!(recording.tape.ends().unwrap().1.mono_ms <= last.mono_ms),
            Err(RecordingError::Empty) => {}
            Err(error) => panic!("cut to {length} bytes: {error}"),
        }
    }
}

/// One flipped bit, as from a faulty disk.
#[test]
fn an_altered_recording_is_never_shown_as_if_it_were_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    record(&path, true, true);
    let bytes = std::fs::read(&path).unwrap();
    let (_, last) = read(&path).unwrap().tape.ends().unwrap();
    for at in (6..bytes.len()).step_by(bytes.len() / 25) {
        for bit in [0, 7] {
            let mut altered = bytes.clone();
            if let Some(byte) = altered.get_mut(at) {
                *byte ^= 1 << bit;
            }
            std::fs::write(&path, altered).unwrap();
            if let Ok(recording) = read(&path) {
                let (_, end) = recording.tape.ends().unwrap();
                let said = recording.torn.is_some() || end.mono_ms < last.mono_ms;
                assert!(said, "bit {bit} of byte {at}");
            }
        }
    }
}

fn packed(path: &Path, lines: &[&str]) {
    let mut stream = zstd::stream::write::Encoder::new(File::create(path).unwrap(), 1).unwrap();
    for line in lines {
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    stream.finish().unwrap();
}

#[test]
fn foreign_newer_and_hostile_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.htap");
    let said = |path: &Path| {
        read(path)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    std::fs::write(&path, "PGDMP").unwrap();
    assert_eq!(said(&path), "it is not a recording of htap-top");
    packed(&path, &["{\"a\":1}"]);
    assert_eq!(said(&path), "it is not a recording of htap-top");
    packed(&path, &["{\"htap_top_recording\":4,\"more\":true}"]);
    assert!(
        said(&path).contains("use a newer htap-top"),
        "{}",
        said(&path)
    );
    packed(&path, &[]);
    assert_eq!(said(&path), "it ended before anything was recorded");
    assert!(said(&folder.path().join("nowhere")).starts_with("cannot read it"));
    let header = "{\"htap_top_recording\":1,\"program\":\"0\",\"target\":\"a\\u001b[31m\",\"epoch_ms\":0,\"interval_ms\":0,\
                  \"utc_offset_s\":2147483647,\"masked\":true,\"feeds\":[\"activity\",\"nowhere\"]}";
    let tick = |ms: &str| {
        format!(
            "{{\"Ticked\":{{\"now\":{{\"mono_ms\":{ms},\"epoch_ms\":-9223372036854775808}},\"cost\":{{\"cpu_ms\":1.0}}}}}}"
        )
    };
    let rows = "{\"Reported\":{\"Answered\":{\"id\":0,\"took_ms\":1e308,\"outcome\":{\"Ok\":{\"columns\":[\"pid\",\"pid\"],\
                \"rows\":[[{\"Int\":-1}],[]]}}}}}";
    let strange = rows.replace("\"id\":0", "\"id\":65535");
    packed(
        &path,
        &[
            header,
            &tick("0"),
            rows,
            &strange,
            &tick("18446744073709551615"),
            &tick("5"),
            "{\"KeyPressed\":{\"Char\":\"q\"}}",
            "{\"Unheard\":1}",
        ],
    );
    let recording = read(&path).unwrap();
    assert!(recording.torn.unwrap().contains("Unheard"));
    assert!(!recording.target.as_str().contains('\u{1b}'));
    for at in [0, 5, u64::MAX] {
        assert!(recording.tape.at(at).is_some());
    }
    // A later file of the run is damaged: the earlier part is shown, and the file is named.
    packed(&path, &[header, &tick("0"), &tick("1000")]);
    let spoilt = folder.path().join("b.htap");
    std::fs::write(&spoilt, [0; 4096]).unwrap();
    let recording = recording::read(&[path.clone(), spoilt], start()).unwrap();
    assert_eq!(recording.tape.ends().unwrap().1.mono_ms, 1000);
    let torn = recording.torn.unwrap();
    assert!(torn.contains("b.htap: it is not a recording"), "{torn}");
    // Many events within one moment are compressed like those of a minute.
    let word = format!("{{\"Warned\":\"{}\"}}", "a".repeat(1 << 20));
    let first = tick("0");
    let lines = [header, &first].into_iter();
    let lines: Vec<&str> = lines.chain(std::iter::repeat_n(&*word, 64)).collect();
    packed(&path, &lines);
    let tape = read(&path).unwrap().tape;
    assert!(tape.bytes() < 32 << 20, "{} bytes", tape.bytes());
    let many = rows.replace("[]]", &format!("[]{}]", ",[]".repeat(10_000)));
    packed(&path, &[header, &tick("0"), &many]);
    let torn = read(&path).unwrap().torn.unwrap();
    assert!(torn.contains("more than 10000 rows"), "{torn}");
}

/// An event that the reader would refuse is not written, and the recording says so in its place.
#[test]
fn an_answer_too_long_for_a_recording_does_not_spoil_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.htap");
    let mut model = Model::new(start());
    let file = File::create(&path).unwrap();
    let header = Header::of(&model, false, 1_767_323_045_000);
    let mut recorder = Recorder::begin(file, &header).unwrap();
    let long = "x".repeat(100 << 20);
    let rows = vec![vec![htap_top::pg::Value::Null]; 10_001];
    let many = Table {
        columns: ["n".into()].into(),
        rows,
    };
    let session = SessionId::Fast;
    let peer = Peer {
        pooled: false,
        host: "primary".into(),
        port: 5432,
        protection: Protection::Local,
    };
    for event in [
        ticked(0),
        Event::Reported(Report::Opened { session, peer }),
        answered(&model, "facts", facts()),
        answered(&model, "locks", table("query", &[&long])),
        answered(&model, "waits", many),
        answered(&model, "activity", trouble()),
        ticked(2_000),
    ] {
        recorder.note(&Encoded::of(&event).unwrap()).unwrap();
        if !matches!(&event, Event::Reported(Report::Answered { id, .. }) if *id == model.feed_named("waits").unwrap().0)
        {
            let _ = model.update(event);
        }
    }
    recorder.end().unwrap();
    let recording = read(&path).unwrap();
    assert_eq!(recording.torn, None);
    let last = recording.tape.at(u64::MAX).unwrap().model;
    let feed = |name: &str| last.feed(last.feed_named(name).unwrap()).unwrap();
    for name in ["locks", "waits"] {
        let error = feed(name).sampling.error.as_ref().unwrap();
        assert_eq!(
            error.message.as_str(),
            "this answer was too long to be recorded",
            "{name}"
        );
    }
    assert_eq!(feed("activity").table.rows.len(), trouble().rows.len());
}

/// The pools of a pooler with a waiting client, as its console answers.
const POOLS: (&str, &str) = (
    "database|user|cl_active|cl_waiting|sv_active|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode|now_epoch",
    "shop|app|4|36|4|0|0|0|0|2|500000|transaction|1.0",
);

#[test]
fn the_pooler_s_panel_is_replayed_without_a_pooler() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let mut model = Model::new(Start {
        pooler: Some("10.0.0.7:6432".into()),
        ..start()
    });
    let header = Header::of(&model, true, 1_767_323_045_000);
    let mut recorder = Recorder::begin(File::create(&path).unwrap(), &header).unwrap();
    let peer = Peer {
        host: "primary".into(),
        port: 5432,
        protection: Protection::Local,
        pooled: false,
    };
    let open = |session| {
        let peer = peer.clone();
        Event::Reported(Report::Opened { session, peer })
    };
    for event in [
        ticked(0),
        open(SessionId::Fast),
        open(SessionId::Pooler),
        answered(&model, "facts", facts()),
        answered(&model, "pooler", table(POOLS.0, &[POOLS.1])),
        ticked(1000),
        ticked(2000),
    ] {
        recorder.note(&Encoded::of(&event).unwrap()).unwrap();
        let _ = model.update(event);
    }
    recorder.end().unwrap();
    let replayed = recording::read(&[path], start()).unwrap();
    let timeline = Timeline::replay(replayed.tape).unwrap();
    let shown = timeline.shown();
    let id = shown.feed_named("pooler").unwrap();
    let feed = shown.feed(id).unwrap();
    assert_eq!(feed.table.first("wait_s").number(), Some(2.5));
    let gauge = shown.gauges.iter().find(|gauge| gauge.label == "maxwait");
    assert_eq!(gauge.unwrap().figure, Some(2.5));
    assert_eq!(shown.cause.rule, "pool_small", "{:?}", shown.cause);
}
