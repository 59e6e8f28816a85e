//! htap-top: a terminal dashboard for a PostgreSQL that runs OLTP and OLAP side by side, and the shop
//! that it is shown on. This page is the map of the crate.
//!
//! # One way
//!
//! ```text
//!  keyboard ─┐                                        ┌─> view(&model, &theme): at most a frame per 33 ms,
//!  resize   ─┤                                        │   only after a change; a key is drawn at once
//!  clock    ─┼── Event ──> Model::update(&mut self) ──┤
//!  signals  ─┤   drained, then one frame              └─> Effect: statements, signals, refreshes, quit
//!  answers  ─┘                                                │
//!      ^                                                      v
//!      └────────────── Report ────────────── tasks that each own one PostgreSQL session
//! ```
//!
//! - [`dashboard::event`]: `Event` (has happened) and `Effect` (is wanted) are plain data. A recording
//!   is the events written down ([`dashboard::recording`]).
//! - [`dashboard::tape`]: the events of the last hour, packed, with the model at the beginning of each
//!   minute, its rows packed, too (`keyframe`; the series that minutes have in common are shared,
//!   [`dashboard::chunks`]): the model of any moment is made from them. [`dashboard::xid_clock`]: when which
//!   transaction id was the oldest that ran. [`dashboard::timeline`]: the live model and the past,
//!   and which is shown. `runtime/ring.rs`: the recordings that a dashboard makes by itself.
//! - [`dashboard::model`]: the state, and the only place where it changes. Pure: time comes in as
//!   `Event::Ticked`; it reads no clock, file or environment. One file per concern: what is sampled when
//!   (`sampling`), what the server is and has (`learning`), keys (`input`, `typing`), a row in full and what
//!   its backend does meanwhile (`detail`), what is asked before an action and said after it (`acting`,
//!   `refreshing`), what is done without a key (`guarding`, by the wishes of [`dashboard::guard`]).
//! - [`dashboard::view`], [`dashboard::widgets`], [`dashboard::theme`]: read the model, write cells.
//!   [`dashboard::model::layout`] says where everything lies, to them and to the model (pages, mouse).
//! - [`dashboard::runtime`]: the loop, the clock, and the runner that carries effects out. Nothing slow is
//!   ever awaited in the loop, so no server can hold a key press. At most one sample of a feed is under
//!   way; every channel is bounded.
//!
//! - [`dashboard::runtime::headless`]: the same model and sessions without a screen, for `once`, `record` and `serve`
//!   ([`dashboard::runtime::http`]); of the effects only samples are carried out. [`dashboard::output`]
//!   reads the model and writes tables, JSON, CSV and Prometheus' text, all from one form (`sheet`).
//!
//! # A panel is one SQL file
//!
//! `queries/<name>.sql` is a front matter in TOML (title, pool, interval, chart, columns and their help)
//! and a statement; `<name>.17.sql` holds the statement from PostgreSQL 17 on, with the same columns.
//! What some servers forbid stands between marks in it, and is left out where it is refused ([`dashboard::panels::parts`]).
//! [`dashboard::panels`] embeds them and picks by version; [`dashboard::panels::spec`] is the format;
//! `panels/own.rs` reads a user's files. Some panels derive columns in a file of their name: `activity`
//! (class, blocks, harm), `snapshots` (ages, pins), `bloat` (estimates, vacuums in vain), `views` (freshness), `locks`
//! (the tree), `waits` (the minute), `statements` (the interval), `wal` (checkpoints); `rates` makes rates of
//! any panel's counters.
//! [`dashboard::wait_graph`] tells who waits for whom, to them, to the rules and to what is asked before a signal.
//! [`dashboard::history`] keeps the series and makes rates; [`dashboard::diagnosis`] judges against
//! targets; its `rules` say one sentence each, or nothing, and `cause` chooses the one for the cause line; `blocker` tells
//! what stands in the way, which key ends it and what is lost by that, to the rules and to the question before a signal.
//!
//! # Sessions
//!
//! [`pg`] is the only room that knows the driver. [`pg::conninfo`] gives libpq's settings libpq's
//! meanings; [`pg::sampler`] runs the sampling sessions: a fast one (all due statements in one round
//! trip; those that go through all sessions as one, [`pg::shared`]), a slow one (a statement is asked again after at least 50 times its own duration), the OLAP
//! pool (read-only Repeatable Read transactions), the point query that is timed. A statement that comes
//! again is prepared, with a fall-back for poolers that forget it. [`pg::owners`] refuses what
//! only looks like the shop. [`pg::admin`] acts: a signal is
//! selected from pg_stat_activity by the session's full identity and read back; each action has a session
//! of its own, opened when it is taken. [`pg::measure`] reads a table or index in full, on demand.
//!
//! # The shop
//!
//! [`system::refresh`]: what is merged into the summaries, when, and the proof that it is right.
//! [`system::orders`] creates orders and leads them on, over the sessions of [`system::pools`], in messages
//! of prepared statements ([`pg::statement`]) that are done all or not at all.
//!
//! [`workload`]: a mixed load in an open loop. `arrivals` says when something falls due, `dispatch` puts it
//! into a `queue` then, `shop` takes it out when a session is free and does it, `tally` counts; `mix` says what
//! it is. `run` does that for some time and reports (`live`, `summary`); `trade` does it for the demo until it
//! is stopped, with `troubles` on a schedule. [`cluster`] finds or fetches server programs, starts a throw-away PostgreSQL and
//! clears up after it, for the demo, the benchmark and the tests. [`demo`]: such a server with both. The engine of the
//! demo is a child process that clears up when the dashboard's end of a pipe closes, however that ends.
//! [`mod@bench`]: the case study's experiments.
//!
//! [`explain`] plans a statement that somebody else runs, without running it.
//! [`router`] decides where a statement may run: primary or replica, OLTP or OLAP. What it asks a
//! server about names is in `queries/router/*.sql`.
//! [`system`]: the schema (`queries/system/*.sql`), its installation, upgrade and removal
//! ([`system::survey`] tells what is ours), its made-up history ([`system::generate`], loaded by
//! [`system::fill`]), its months ([`system::partitions`], [`system::archive`]).
//!
//! # The doctor
//!
//! [`mod@doctor`]: a check is one SQL file in `queries/doctor/`, a front matter and a statement whose rows are
//! findings; the few that are no SQL (clock, pooler) are in `doctor/session.rs`. A check that could
//! not run is reported with the reason, never as clean.
//!
//! # Documentation
//!
//! [`mod@docs`] holds the pages of `docs/`, which `htap-top help` shows. [`sqlfile`] splits a file of SQL into its front matter
//! and its statement, for panels and checks.
//!
//! # Rules
//!
//! `tests/it/tidy.rs` holds them: who may import whom, in no circle, where clocks are read, how long a file may be,
//! that panels, themes and docs/ say what the code does.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod demo;
pub mod docs;
pub mod doctor;
pub mod explain;
pub mod format;
pub mod pg;
pub mod router;
pub mod sqlfile;
pub mod system;
pub mod text;
pub mod workload;
