use super::*;

const REPLICATION: [&str; 16] = [
    "kind",
    "name",
    "pid",
    "client",
    "state",
    "active",
    "lasting",
    "lag_bytes",
    "lag_s",
    "retained_bytes",
    "wal_status",
    "safe_wal_bytes",
    "xmin_age",
    "restricted",
    "gone_s",
    "head_bytes",
];

fn table(columns: &[&str], rows: Vec<Vec<Value>>) -> Table {
    Table {
        columns: columns.iter().map(|name| (*name).into()).collect(),
        rows,
    }
}

fn sender(name: &str, pid: i64, client: &str, state: &str) -> Vec<Value> {
    let mut row = vec![Value::Null; REPLICATION.len()];
    let cells = [
        "replica".into(),
        name.into(),
        Value::Int(pid),
        client.into(),
        state.into(),
        Value::Bool(true),
    ];
    row.splice(..6, cells);
    row[6] = Value::Bool(true);
    row[7] = Value::Int(2_048);
    row[8] = Value::Float(0.5);
    row[13] = Value::Bool(false);
    row
}

fn slot(name: &str, pid: Option<i64>) -> Vec<Value> {
    let mut row = vec![Value::Null; REPLICATION.len()];
    row[0] = "slot".into();
    row[1] = name.into();
    row[2] = pid.map_or(Value::Null, Value::Int);
    row[4] = "physical".into();
    row[5] = Value::Bool(pid.is_some());
    row[6] = Value::Bool(true);
    row[9] = Value::Int(7_000_000);
    row[10] = "extended".into();
    row[12] = Value::Int(12);
    row[13] = Value::Bool(false);
    row
}

fn here() -> Table {
    let columns = [
        "in_recovery",
        "version",
        "started_us",
        "head_bytes",
        "sessions",
    ];
    let row = vec![
        Value::Bool(false),
        "17.2".into(),
        Value::Int(1),
        Value::Int(10_000),
        Value::Int(40),
    ];
    table(&columns, vec![row])
}

/// The OLAP pool's server: recovery, start, system, paused, slot, address.
fn olap(
    recovery: bool,
    started: i64,
    system: &str,
    paused: bool,
    slot: Option<&str>,
    address: Option<&str>,
) -> Table {
    let columns = [
        "in_recovery",
        "started_us",
        "system",
        "paused",
        "set_slot_name",
        "address",
        "receives",
        "caught_up",
        "replayed_bytes",
        "by_snapshot",
        "by_lock",
        "by_bufferpin",
        "by_deadlock",
        "by_tablespace",
        "version",
        "sessions",
        "feedback",
        "replay_age_s",
    ];
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let mut row = vec![
        Value::Bool(recovery),
        Value::Int(started),
        system.into(),
        Value::Bool(paused),
        text(slot),
        text(address),
        Value::Bool(true),
        Value::Bool(true),
        Value::Int(9_000),
    ];
    row.extend([3, 1, 0, 0, 0].map(Value::Int));
    row.extend([
        "17.1".into(),
        Value::Int(5),
        Value::Bool(true),
        Value::Float(4.0),
    ]);
    table(&columns, vec![row])
}

struct Seen {
    memory: Memory,
    now_s: f64,
}

impl Seen {
    fn new() -> Self {
        Self {
            memory: Memory::default(),
            now_s: 0.0,
        }
    }

    fn rows(
        &mut self,
        replication: Vec<Vec<Value>>,
        olap: Option<&Table>,
        lost: Option<&str>,
    ) -> Table {
        self.now_s += 1.0;
        let replication = table(&REPLICATION, replication);
        let lost = lost.map(Clean::from);
        let nothing = Table::default();
        let sources = Sources {
            place: "primary:5432",
            system: Some("777"),
            replication: Rows::of(&replication),
            olap: olap.map(|told| OlapServer {
                place: "replica:5432",
                told: Rows::of(told),
                lost: lost.as_ref(),
                paired: true,
                uses: Uses::Off,
            }),
            uses: Uses::Off,
            holders: Rows::of(&nothing),
            now_s: self.now_s,
        };
        derive(&here(), &sources, &mut self.memory)
    }
}

fn at<'t>(table: &'t Table, row: usize, column: &str) -> &'t Value {
    table.get(row, column)
}

fn texts<'t>(table: &'t Table, column: &str) -> Vec<&'t str> {
    let rows = 0..table.rows.len();
    rows.map(|row| table.get(row, column).text().unwrap_or("-"))
        .collect()
}

#[test]
fn a_standby_and_its_slot_are_one_node() {
    let replication = vec![
        sender("walreceiver", 7, "10.0.0.2", "streaming"),
        sender("walreceiver", 8, "10.0.0.3", "catchup"),
        sender("sub", 9, "10.0.0.4", "streaming"),
        sender("pg_basebackup", 10, "10.0.0.5", "backup"),
        slot("one", Some(7)),
        slot("unused", None),
        {
            let mut logical = slot("sub", Some(9));
            logical[3] = "shop".into();
            logical
        },
    ];
    let table = Seen::new().rows(replication, None, None);
    assert_eq!(
        texts(&table, "name"),
        ["primary:5432", "one", "unused", "walreceiver"]
    );
    assert_eq!(
        texts(&table, "role"),
        ["primary", "standby", "standby", "standby"]
    );
    assert_eq!(
        texts(&table, "state"),
        ["running", "streaming", "not connected", "catchup"]
    );
    assert_eq!(texts(&table, "address"), ["-", "10.0.0.2", "-", "10.0.0.3"]);
    assert_eq!(*at(&table, 1, "retained_bytes"), Value::Float(7e6));
    assert_eq!(*at(&table, 1, "xmin_age"), Value::Int(12));
    assert_eq!(*at(&table, 1, "lag_ms"), Value::Float(500.0));
    assert_eq!(*at(&table, 2, "since_s"), Value::AtLeast(0.0));
}

#[test]
fn the_olap_server_is_recognised_by_slot_then_by_address_or_not_at_all() {
    let both = || {
        vec![
            sender("walreceiver", 7, "10.0.0.2", "streaming"),
            sender("walreceiver", 8, "10.0.0.3", "streaming"),
            slot("one", Some(7)),
        ]
    };
    let known = |told: &Table| {
        let table = Seen::new().rows(both(), Some(told), None);
        let row = (0..table.rows.len())
            .find(|row| at(&table, *row, "olap").is_true())
            .unwrap();
        (
            at(&table, row, "name").clone(),
            at(&table, row, "known_by").clone(),
            table.rows.len(),
        )
    };
    let by = |name: &str, by: &str, rows| (Value::from(name), Value::from(by), rows);
    assert_eq!(
        known(&olap(true, 2, "777", false, Some("one"), Some("10.9.9.9"))),
        by("one", "slot", 3)
    );
    assert_eq!(
        known(&olap(true, 2, "777", false, None, Some("10.0.0.3"))),
        by("walreceiver", "address", 3)
    );
    // It follows another standby.
    let unknown = by("replica:5432", "not known", 4);
    assert_eq!(
        known(&olap(
            true,
            2,
            "777",
            false,
            Some("theirs"),
            Some("10.0.0.9")
        )),
        unknown
    );
    assert_eq!(
        known(&olap(true, 2, "888", false, Some("one"), Some("10.0.0.2"))),
        unknown
    );
}

#[test]
fn what_becomes_of_the_olap_server_is_seen_and_it_is_barred_meanwhile() {
    let mut seen = Seen::new();
    let there = || {
        vec![
            sender("walreceiver", 7, "local", "streaming"),
            slot("one", Some(7)),
        ]
    };
    let streams = olap(true, 2, "777", false, Some("one"), None);
    let table = seen.rows(there(), Some(&streams), None);
    assert_eq!(texts(&table, "state"), ["running", "streaming"]);
    assert_eq!(*at(&table, 1, "lag_bytes"), Value::Int(1_000));
    assert_eq!(*at(&table, 1, "lag_ms"), Value::Float(0.0));
    assert_eq!(*at(&table, 1, "conflicts"), Value::Int(4));
    assert_eq!(texts(&table, "version"), ["17.2", "17.1"]);
    assert_eq!(seen.memory.barred, None);

    let paused = olap(true, 2, "777", true, Some("one"), None);
    let table = seen.rows(there(), Some(&paused), None);
    assert_eq!(texts(&table, "state"), ["running", "paused"]);
    assert_eq!(*at(&table, 1, "since_s"), Value::Float(0.0));
    let table = seen.rows(there(), Some(&paused), None);
    assert_eq!(*at(&table, 1, "since_s"), Value::Float(1.0));
    assert_eq!(seen.memory.barred, Some(Barred::Paused));

    let table = seen.rows(
        vec![slot("one", None)],
        Some(&paused),
        Some("connection refused"),
    );
    assert_eq!(
        texts(&table, "state"),
        ["running", "lost"],
        "its slot tells which it was"
    );
    assert_eq!(texts(&table, "error"), ["-", "connection refused"]);
    assert_eq!(*at(&table, 1, "conflicts"), Value::Null, "nobody knows now");
    assert_eq!(seen.memory.barred, Some(Barred::Lost));

    let table = seen.rows(there(), Some(&streams), None);
    assert_eq!(texts(&table, "state"), ["running", "streaming"]);
    assert_eq!(
        (at(&table, 1, "since_s"), seen.memory.barred),
        (&Value::Null, None)
    );

    let promoted = olap(false, 2, "777", false, None, None);
    let table = seen.rows(vec![slot("one", None)], Some(&promoted), None);
    assert_eq!(texts(&table, "state"), ["running", "promoted"]);
    assert_eq!(texts(&table, "role"), ["primary", "primary"]);
    assert_eq!(seen.memory.barred, Some(Barred::Promoted));
}

#[test]
fn another_system_is_no_standby_and_the_watched_server_is_no_other_node() {
    let mut seen = Seen::new();
    let table = seen.rows(
        Vec::new(),
        Some(&olap(false, 2, "888", false, None, None)),
        None,
    );
    assert_eq!(texts(&table, "state"), ["running", "other system"]);
    assert_eq!(
        (seen.memory.kind, seen.memory.barred),
        (Some(Kind::Foreign), None)
    );
    let table = seen.rows(
        Vec::new(),
        Some(&olap(false, 1, "777", false, None, None)),
        None,
    );
    assert_eq!(texts(&table, "state"), ["running"]);
    assert_eq!(seen.memory.kind, Some(Kind::Same));
}

#[test]
fn a_trouble_that_was_there_first_has_lasted_longer() {
    let mut seen = Seen::new();
    let there = || {
        vec![
            sender("walreceiver", 7, "local", "streaming"),
            slot("one", Some(7)),
        ]
    };
    // The standbys are known before the OLAP pool's server has answered.
    let _ = seen.rows(there(), Some(&Table::default()), None);
    let table = seen.rows(
        there(),
        Some(&olap(true, 2, "777", true, Some("one"), None)),
        None,
    );
    assert_eq!(*at(&table, 1, "since_s"), Value::AtLeast(0.0));
}

#[test]
fn a_heartbeat_tells_the_lag_as_long_as_somebody_writes_any() {
    let lack = |newest: f64, missing: f64| {
        table(
            &["newest_ms", "missing_ms"],
            vec![vec![Value::Float(newest), Value::Float(missing)]],
        )
    };
    let mut seen = Seen::new();
    let streams = olap(true, 2, "777", false, Some("one"), None);
    seen.memory
        .lag
        .note_beat(Rows::of(&lack(50.0, 180.0)).first());
    let there = || vec![slot("one", None)];
    let table = seen.rows(there(), Some(&streams), None);
    assert_eq!(
        (at(&table, 1, "lag_ms"), at(&table, 1, "lag_by")),
        (&Value::Float(180.0), &"heartbeat".into())
    );
    seen.memory
        .lag
        .note_beat(Rows::of(&lack(60_000.0, 0.0)).first());
    let table = seen.rows(there(), Some(&streams), None);
    assert_eq!(
        (at(&table, 1, "lag_ms"), at(&table, 1, "lag_by")),
        (&Value::Float(0.0), &"replay".into())
    );
}

#[test]
fn the_use_of_a_machine_leaves_out_what_is_not_the_servers() {
    let use_of = |rows: Vec<Vec<Value>>| {
        let mut shown = Table::default();
        let added = ToNodes::to(&mut shown);
        let uses = table(&["who", "cpu_pct"], rows);
        shown.push(cells_of_use(Uses::Told(Rows::of(&uses)), &added));
        (
            at(&shown, 0, "cpu_pct").clone(),
            at(&shown, 0, "cpu_by").clone(),
        )
    };
    let row = |who: &str, cpu: Value| vec![who.into(), cpu];
    let rows = vec![
        row("machine", Value::Float(200.0)),
        row("oltp", Value::Float(20.0)),
        row("olap", Value::Float(90.0)),
        row("refresh", Value::Pending),
        row("server", Value::Float(0.1)),
        row("others", Value::Float(70.0)),
    ];
    let (cpu, by) = use_of(rows);
    assert!((cpu.number().unwrap() - 110.1).abs() < 1e-9, "{cpu:?}");
    assert_eq!(by, Value::from("olap 90%, oltp 20%"));
    assert_eq!(use_of(Vec::new()).0, Value::Pending);
    let pending = vec![row("olap", Value::Pending)];
    assert_eq!(use_of(pending).0, Value::Pending);
}

#[test]
fn dead_rows_are_those_of_the_nodes_own_feedback() {
    let holders = table(
        &["kind", "holder", "pid", "pins"],
        vec![
            vec!["backend".into(), "7".into(), Value::Int(7), Value::Int(9)],
            vec!["slot".into(), "one".into(), Value::Null, Value::Int(500)],
            vec!["replica".into(), "8".into(), Value::Int(8), Value::Int(40)],
        ],
    );
    let replication = table(
        &REPLICATION,
        vec![
            slot("one", None),
            slot("two", None),
            sender("three", 8, "local", "streaming"),
            sender("four", 7, "local", "streaming"),
        ],
    );
    let nodes = standbys(Rows::of(&replication), &mut Memory::default());
    let kept: Vec<(&str, Value)> = nodes
        .iter()
        .map(|node| (node.name.as_str(), dead_rows(node, Rows::of(&holders))))
        .collect();
    let expected = [
        ("one", Value::Int(500)),
        ("two", Value::Null),
        ("three", Value::Int(40)),
        ("four", Value::Null),
    ];
    assert_eq!(kept, expected);
}
