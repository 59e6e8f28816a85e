//! The integration tests: one binary, one module per kind. `tests/it/server.rs` says how a test
//! gets a PostgreSQL of its own.

mod it {
    mod acting;
    mod bench;
    mod board;
    mod connection;
    mod demo;
    mod diagnosis;
    mod docs;
    mod doctor;
    mod explain;
    mod facts;
    mod figures;
    mod guard;
    mod hostile;
    mod output;
    mod pooler;
    mod programs;
    mod queries;
    mod quiet;
    mod recording;
    mod router;
    mod sampler;
    mod screens;
    mod server;
    mod system;
    mod terminal;
    mod tidy;
    mod time;
    mod update;
}
