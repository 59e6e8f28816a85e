//! `htap-top bench`: it measures, saves, resumes and reports.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command
        .arg("bench")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn runs(folder: &Path) -> Vec<Value> {
    let text = std::fs::read(folder.join("bench-results.json")).unwrap_or_default();
    let file: Value = serde_json::from_slice(&text).unwrap_or_default();
    let runs = file.get("runs").and_then(Value::as_array);
    runs.cloned().unwrap_or_default()
}

const QUICK: [&str; 6] = ["--scale", "0.02", "--window", "300ms", "--repeats", "2"];

#[test]
fn every_experiment_runs_and_an_interrupted_bench_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = [
        "questions",
        "rewriting",
        "partitions",
        "brin",
        "capture",
        "router",
    ];
    let arguments = [&chosen[..], &QUICK].concat();
    let mut first = bench(folder.path(), &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while runs(folder.path()).len() < 3 {
        assert!(first.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(first.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let code = first.wait().unwrap().code();
    assert_eq!(code, Some(1));
    let before = runs(folder.path());
    assert!(before.len() < 30, "{}", before.len());

    let output = bench(folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let after = runs(folder.path());
    assert_eq!(after[..before.len()], before, "what was measured is kept");
    // 3 + 2 + 2 + 3 + 2 + 2 variants, twice.
    assert_eq!(after.len(), 28);
    for run in &after {
        let figures = run["figures"].as_object().unwrap();
        assert!(!figures.is_empty(), "{run}");
    }
    let table = said(&output);
    for expected in [
        "| 9.2 | keyword router, 16 traps | routes by features | right: 2 (keywords), 16 (ours); writes sent to the replica: 6, 0 |",
        "| 5.2 | HTAP corrected (5,000/s offered): group commit, asynchronous, Zipf 0.5, 64 clients, a report per processor \
         from summaries, merged within 1 s | (its goal: OLTP < 50 ms, OLAP < 1 s) | not run |",
        "| 7.1 | BRIN against B-tree: size | 50x smaller | ",
    ] {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
    let again = bench(folder.path(), &["--report", "--format", "json"])
        .output()
        .unwrap();
    let all: Vec<Value> = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(all, after);
}

#[test]
fn loads_and_refreshes_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = ["orders", "refresh", "mixed", "snapshot"];
    let arguments = [&chosen[..], &QUICK[..4], &["--repeats", "1"]].concat();
    let output = bench(folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let all = runs(folder.path());
    assert_eq!(all.len(), 10 + 7 + 11 + 2);
    let figure = |experiment: &str, variant: &str, name: &str| {
        let run = all
            .iter()
            .find(|run| run["experiment"] == experiment && run["variant"] == variant);
        run.unwrap()["figures"][name].as_f64().unwrap()
    };
    for variant in [
        "round trips, synchronous",
        "function, asynchronous",
        "pipelined, synchronous",
        "group, asynchronous",
        "pgbench function, synchronous",
    ] {
        assert!(
            figure("orders", variant, "orders_per_s") > 10.0,
            "{variant}"
        );
        assert!(figure("orders", variant, "wal_bytes_per_order") > 100.0);
        assert!(figure("orders", variant, "failed") < 1.0, "{variant}");
    }
    for kind in ["hourly full", "fact concurrent", "fact incremental"] {
        assert!(figure("refresh", kind, "idle_ms") > 0.0);
        assert!(figure("refresh", kind, "oltp_ms_p99") > 0.0);
    }
    assert!(figure("refresh", "fact incremental", "beside_ms") > 0.0);
    assert!(figure("mixed", "HTAP corrected", "olap_done_per_s") > 1.0);
    assert!(figure("mixed", "HTAP as written", "refreshing_pct") > 1.0);
    assert!(figure("mixed", "OLTP alone", "oltp_done_per_s") > 10.0);
    assert!(figure("snapshot", "snapshot held", "pairs_per_s") > 10.0);
    if cfg!(target_os = "linux") {
        assert!(figure("mixed", "HTAP corrected", "server_cpu") > 0.0);
    }
}

#[test]
fn isolation_and_a_replica_are_measured_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["isolation", "replica"], &QUICK[..4], &["--repeats", "1"]].concat();
    let output = bench(folder.path(), &arguments)
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    let all = runs(folder.path());
    // What a machine may lack is told.
    let lacking = told.matches("not measured: ").count();
    assert_eq!(all.len() + lacking, 8 + 5, "{told}");
    assert!(lacking <= 3, "{told}");
    let figure = |variant: &str, name: &str| {
        let run = all.iter().find(|run| run["variant"] == variant);
        run.unwrap()["figures"][name].as_f64().unwrap()
    };
    assert!(figure("none", "olap_cores") > 0.05, "{told}");
    assert!(figure("none", "hog_cores") > 0.05, "{told}");
    // On a busy machine a report may take longer than one of these short windows.
    let reports = all
        .iter()
        .filter_map(|run| run["figures"]["olap_done_per_s"].as_f64());
    assert!(reports.sum::<f64>() > 0.0, "{told}");
    assert!(figure("without OLAP", "olap_cores") < 0.3, "{told}");
    for variant in ["on the primary", "on the replica, feedback off"] {
        assert!(figure(variant, "oltp_done_per_s") > 10.0, "{told}");
        assert!(figure(variant, "inventory_growth") > 0.5, "{told}");
    }
    for variant in ["own writes, synchronous", "own writes, asynchronous"] {
        assert!(figure(variant, "trials") > 5.0, "{told}");
        assert!(figure(variant, "stale") < 0.5, "{told}");
        assert!(figure(variant, "failed") < 0.5, "{told}");
        assert!(figure(variant, "waited_pct") > 1.0, "{told}");
    }
    // No process is left in a group, and no file tells of one.
    let left = std::fs::read_dir(folder.path().join("htap-top/isolate"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "{told}");
}

/// Runs of the experiment `stream`, and what was told.
#[expect(clippy::unwrap_used, reason = "helper of a test")]
fn stream(java_home: Option<&str>) -> (Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    // In a shorter window no batch may end.
    let arguments = [
        &["stream"],
        &QUICK[..2],
        &["--window", "1s", "--repeats", "1"],
    ]
    .concat();
    let mut command = bench(folder.path(), &arguments);
    if let Some(home) = java_home {
        command.env("JAVA_HOME", home);
    }
    let output = command.output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    (runs(folder.path()), told)
}

#[test]
fn without_java_the_merge_is_measured_and_the_stream_is_told_to_be_left_out() {
    let (all, told) = stream(Some("/nonexistent"));
    let measured = all.iter().map(|run| run["variant"].as_str().unwrap());
    assert_eq!(
        measured.collect::<Vec<_>>(),
        [
            "1,000/s, neither",
            "1,000/s, refresh --fresh 1s",
            "5,000/s, neither",
            "5,000/s, refresh --fresh 1s"
        ]
    );
    assert_eq!(told.matches("not measured: ").count(), 4, "{told}");
    assert!(told.contains("/nonexistent/bin/java"), "{told}");
    let figures = &all[1]["figures"];
    assert!(
        figures["freshness_ms_p99"].as_f64().unwrap() > 1.0,
        "{told}"
    );
    assert!(
        figures["completed_per_s"].as_f64().unwrap() > 10.0,
        "{told}"
    );
}

#[test]
#[ignore = "needs Java 17 and Kafka's jars: .ci/run runs it"]
fn the_stream_is_measured() {
    let (all, told) = stream(None);
    assert_eq!(all.len(), 8, "{told}");
    let figure = |variant: &str, name: &str| {
        let run = all.iter().find(|run| run["variant"] == variant);
        let figure = run.unwrap()["figures"][name].as_f64();
        figure.unwrap_or_else(|| panic!("{variant} {name}: {told}"))
    };
    for who in ["relay", "aggregator"] {
        assert!(
            figure("backlog", &format!("{who}_events_per_s")) > 100.0,
            "{told}"
        );
        assert!(
            figure("backlog", &format!("{who}_rss_mib_max")) > 1.0,
            "{told}"
        );
        assert!(
            figure("killed", &format!("{who}_recovery_ms")) > 1.0,
            "{told}"
        );
    }
    assert!(figure("killed", "broker_recovery_ms") > 100.0, "{told}");
    assert!(
        figure("1,000/s, stream", "freshness_ms_p99") > 1.0,
        "{told}"
    );
    assert!(figure("1,000/s, stream", "events") > 100.0, "{told}");
    assert!(
        told.contains("| 9.3 | aggregator: a filled topic, exactly once | "),
        "{told}"
    );
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = bench(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    assert!(refused(&["nonesuch"]).contains("unknown experiment nonesuch"));
    assert!(refused(&["--scale", "0"]).contains("from 0.01 to 1000"));
    assert!(refused(&["--report", "--results", "none.json"]).contains("none.json"));
    std::fs::write(folder.path().join("x.json"), "{}").unwrap();
    let why = refused(&["router", "--results", "x.json"]);
    assert!(why.contains("not a results file"), "{why}");
    let listed = bench(folder.path(), &["--list"]).output().unwrap();
    assert!(said(&listed).contains("HTAP as written"));
}

#[cfg(feature = "columnar")]
#[test]
fn the_column_store_is_measured_and_gives_the_answers_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["columnar"], &QUICK[..4], &["--repeats", "1"]].concat();
    let output = bench(folder.path(), &arguments).output().unwrap();
    let told = said(&output);
    // Each answer was compared with that of the rows.
    assert!(output.status.success(), "{told}");
    let all = runs(folder.path());
    let without_duckdb = told.contains("not measured: no Python here has DuckDB");
    assert_eq!(all.len() + usize::from(without_duckdb), 8, "{told}");
    let figure = |variant: &str, name: &str| {
        let run = all.iter().find(|run| run["variant"] == variant);
        let figure = run.and_then(|run| run["figures"][name].as_f64());
        figure.unwrap_or_else(|| panic!("{variant} {name}: {told}"))
    };
    for variant in ["heap", "views", "column store"] {
        for question in ["hourly", "rfm", "pairs", "returning"] {
            for threads in [1, 2] {
                assert!(figure(variant, &format!("{question}_{threads}_ms")) > 0.0);
            }
        }
    }
    assert!(figure("summaries", "customers_1_ms") > 0.0);
    assert!(figure("column store", "rfm_cold_ms") > 0.0);
    assert!(figure("column store", "hourly_process_ms") > 0.0);
    assert!(figure("column store", "rows") > 1_000.0, "{told}");
    assert!(figure("heap", "bytes") > figure("heap", "heap_bytes"));
    for change in ["day", "history", "minute"] {
        assert!(figure("sync", &format!("{change}_files")) > 0.5, "{told}");
    }
    for variant in ["1,000/s, no sync", "1,000/s, sync --fresh 1s"] {
        assert!(figure(variant, "oltp_ms_p99") > 0.0, "{told}");
    }
    assert!(
        told.contains("| 8.2 | RFM by segment | a column store is 5 to 10x faster | rows "),
        "{told}"
    );
}

#[cfg(not(feature = "columnar"))]
#[test]
fn without_the_column_store_the_bench_says_how_to_build_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["columnar"], &QUICK[..4], &["--repeats", "1"]].concat();
    let told = said(&bench(folder.path(), &arguments).output().unwrap());
    assert!(
        told.contains("cargo build --release --features columnar"),
        "{told}"
    );
    assert_eq!(runs(folder.path()).len(), 0, "{told}");
}
