use super::*;

fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
    let cell = |text: &&str| match (*text, text.parse()) {
        ("", _) => Value::from(""),
        (_, Ok(number)) => Value::Int(number),
        _ => (*text).into(),
    };
    Table {
        columns: columns.iter().map(|name| (*name).into()).collect(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(cell).collect())
            .collect(),
    }
}

const SERVERS: &[&str] = &[
    "database",
    "user",
    "addr",
    "port",
    "local_port",
    "ptr",
    "link",
    "remote_pid",
];
const CLIENTS: &[&str] = &["addr", "port", "ptr", "link", "application_name"];
const BACKENDS: &[&str] = &["pid", "datname", "usename", "client_port"];
const DATABASES: &[&str] = &["name", "database", "force_user"];

/// The clients found behind these server connections, each of which the client of the same number has.
fn found(backends: &[&[&str]], servers: &[&[&str]]) -> Vec<(i64, String)> {
    let clients = table(
        CLIENTS,
        &[
            &["10.0.0.1", "4001", "c1", "s1", "one"],
            &["unix", "6432", "c2", "s2", ""],
            &["fe80::1", "4003", "c3", "s3", "a b"],
        ],
    );
    let databases = table(
        DATABASES,
        &[&["alias", "shop", ""], &["fixed", "shop", "boss"]],
    );
    let behind = behind(
        &table(BACKENDS, backends),
        &table(SERVERS, servers),
        &clients,
        &databases,
    );
    let mut found: Vec<_> = behind
        .into_iter()
        .map(|(pid, behind)| (pid, behind.client))
        .collect();
    found.sort();
    found
}

#[test]
fn a_backend_is_known_by_pid_database_and_role() {
    let backends: &[&[&str]] = &[
        &["11", "shop", "app", "7001"],
        &["12", "shop", "boss", "7002"],
        &["13", "shop", "app", "7003"],
    ];
    let servers: &[&[&str]] = &[
        &["alias", "app", "10.1.1.1", "5432", "7001", "s1", "c1", "11"],
        &[
            "fixed", "boss", "10.1.1.1", "5432", "7002", "s2", "c2", "12",
        ],
        // Another role: another server's backend of the same pid.
        &[
            "alias", "other", "10.1.1.1", "5432", "7003", "s3", "c3", "13",
        ],
    ];
    let expected = [
        (11, "10.0.0.1:4001 one".to_owned()),
        (12, "local".to_owned()),
    ];
    assert_eq!(found(backends, servers), expected);
}

#[test]
fn a_pid_of_another_server_is_not_taken_for_ours() {
    let backends: &[&[&str]] = &[
        &["11", "shop", "app", "7001"],
        &["13", "shop", "app", "7003"],
    ];
    // The replica's backend has a pid, a database and a role that one of ours has, too.
    let servers: &[&[&str]] = &[
        &["alias", "app", "10.1.1.1", "5432", "7001", "s1", "c1", "11"],
        &["alias", "app", "10.2.2.2", "5432", "9999", "s3", "c3", "13"],
        &["alias", "app", "10.2.2.2", "5432", "9998", "s2", "c2", "99"],
    ];
    assert_eq!(
        found(backends, servers),
        [(11, "10.0.0.1:4001 one".to_owned())]
    );
}

#[test]
fn translated_ports_hide_nobody_if_most_connections_are_found() {
    let backends: &[&[&str]] = &[
        &["11", "shop", "app", "50001"],
        &["13", "shop", "app", "50003"],
    ];
    let servers: &[&[&str]] = &[
        &["alias", "app", "10.1.1.1", "5432", "7001", "s1", "c1", "11"],
        &["alias", "app", "10.1.1.1", "5432", "7003", "s3", "c3", "13"],
    ];
    let expected = [
        (11, "10.0.0.1:4001 one".to_owned()),
        (13, "[fe80::1]:4003 a b".to_owned()),
    ];
    assert_eq!(found(backends, servers), expected);
}

#[test]
fn a_connection_that_changes_hands_names_nobody() {
    let backends: &[&[&str]] = &[&["11", "shop", "app", "7001"]];
    // The client's answer says that it has another one by now.
    let servers: &[&[&str]] = &[&["alias", "app", "10.1.1.1", "5432", "7001", "s9", "c1", "11"]];
    assert_eq!(found(backends, servers), [(11, String::new())]);
}

#[test]
fn what_an_old_pooler_lacks_is_not_available() {
    let mut pools = table(
        &["database", "user", "cl_waiting"],
        &[&["shop", "app", "3"], &["pgbouncer", "pgbouncer", "0"]],
    );
    pools.ensure(&["maxwait", "maxwait_us"]);
    for row in &mut pools.rows {
        row.resize(5, Value::Unavailable);
    }
    let mut derived = derive(pools, &Table::default(), &Table::default());
    assert_eq!(derived.rows.len(), 1, "the console is no pool");
    let added = added::ToPooler::to(&mut derived);
    let row = derived.rows.first().unwrap();
    assert_eq!(added.wait_s.of(row), &Value::Unavailable);
    assert_eq!(added.pool_size.of(row), &Value::Pending);
    assert_eq!(added.xacts_per_s.of(row), &Value::Pending);
    assert_eq!(longest_wait_s(Rows::of(&derived)), None);
}

#[test]
fn an_old_version_is_told_with_the_cure() {
    let old = outdated("PgBouncer 1.17.0").unwrap();
    assert!(
        old.contains("older than 1.18") && old.contains("upgrade"),
        "{old}"
    );
    for known in [
        "PgBouncer 1.18.0",
        "PgBouncer 1.25.1",
        "PgBouncer 2.0",
        "",
        "x",
    ] {
        assert_eq!(outdated(known), None, "{known}");
    }
}
