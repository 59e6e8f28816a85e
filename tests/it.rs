//! The integration tests: one binary, one module per kind. `tests/it/server.rs` says how a test
//! gets a PostgreSQL of its own.

mod it {
    mod board;
    mod connection;
    mod demo;
    mod queries;
    mod server;
    mod system;
    mod tidy;
    mod update;
}
