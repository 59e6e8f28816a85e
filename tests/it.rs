//! The integration tests: one binary with a module per kind. `tests/it/server.rs` describes how a test gets
//! its own PostgreSQL.
#![expect(
    unreachable_pub,
    reason = "helpers of tests, which nothing outside can reach"
)]

mod it {
    mod acting;
    mod bench;
    mod board;
    mod broker;
    mod compare;
    mod connection;
    mod cost;
    mod demo;
    mod diagnosis;
    mod docs;
    mod doctor;
    mod explain;
    mod facts;
    mod figures;
    mod guard;
    mod host;
    mod hostile;
    mod incident;
    mod isolate;
    mod log;
    mod nodes;
    mod output;
    mod pooler;
    mod programs;
    mod queries;
    mod quiet;
    mod recipes;
    mod recording;
    mod replica;
    mod router;
    mod sampler;
    mod screens;
    mod server;
    mod servers;
    mod stream;
    mod system;
    mod terminal;
    mod tidy;
    mod time;
    mod update;
}
