//! htap-top: a terminal dashboard for PostgreSQL servers that run OLTP and OLAP side by side, and a sample
//! system, the shop, to show it on. This page is the map of the crate.
//!
//! # Data flow
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
//! - [`dashboard::event`]: `Event` (it has happened) and `Effect` (it is requested) are plain data. A
//!   recording consists of events ([`dashboard::recording`]).
//! - [`dashboard::tape`]: the compressed events of the last hour, with the model at the beginning of each
//!   minute, its rows compressed, too (`keyframe`; the series shared between minutes are stored once,
//!   [`dashboard::chunks`]). The model of any moment is rebuilt from them. [`dashboard::xid_clock`]: the
//!   times at which transaction ids were the oldest running. [`dashboard::timeline`]: the live model and the
//!   past, and the choice of the one shown. `runtime/ring.rs`: the recordings that a dashboard makes by
//!   itself. An event is encoded once for both ([`dashboard::encoded`]).
//! - [`dashboard::model`]: the state, and the only place that changes it. Pure: time comes in as
//!   `Event::Ticked`; it reads no clock, file or environment. One file per concern: scheduling of samples
//!   (`sampling`, how soon: `pacing`), the server's version and objects (`learning`), keys (`input`, `typing`), the detail of a
//!   row and its backend's activity (`detail`), the pooler (`pooling`), confirmations, actions and their results (`acting`,
//!   `refreshing`), actions without a key (`guarding`, by the rules in [`dashboard::guard`]).
//! - [`dashboard::compare`]: the moment marked (`Baseline`), two periods, and their changes by weight; `model/comparing` keeps the
//!   mark, `commands/compare` compares two recordings.
//! - [`dashboard::choices`]: columns chosen on the screen (`model/choosing`), and the file that keeps them; `feed/columns` decides
//!   which columns a table shows, `runtime/keeping` writes the file on a thread of its own.
//! - [`dashboard::view`], [`dashboard::widgets`], [`dashboard::theme`]: read the model and write cells.
//!   [`dashboard::model::layout`] computes the areas of the screen for them and for the model (pages, mouse).
//! - [`dashboard::incident`]: the report of an incident, made from a copy of the model without literals. `view/picture` draws a
//!   screen as SVG, for the report and for `screenshots/make`; `model/reporting` decides what is read for it and when it is written,
//!   `runtime/reports` writes it on a thread of its own. [`dashboard::notice`]: a notification, due by `model/notifying`, carried
//!   out by `runtime/notifying` (a command) and the terminal.
//! - [`dashboard::runtime`]: the loop, the clock, and the runner that carries out effects. The loop never
//!   awaits anything slow, so no server and no disk can delay a key: recordings and the audit file are written
//!   by threads of their own (`writer`, `auditing`). At most one sample per feed is in progress; every channel is
//!   bounded.
//!
//! - Several servers: `runtime/watched` holds a timeline and a recording for each, `runtime/source` their runners; keys
//!   go to the one shown, ticks to all, answers to their own. `Event::Background` changes the scope of a model's samples
//!   (`sampling.background` in panel files); [`dashboard::tabs`] is the row of tabs and its order, `model/tabbing` what
//!   a model shows in its tab. `commands/servers` finds them on the command line or in the configuration.
//!
//! - [`dashboard::runtime::headless`]: the same model and sessions without a screen, for `once`, `record` and
//!   `serve` ([`dashboard::runtime::http`]); the only effects carried out are samples. [`dashboard::output`]
//!   reads the model and writes tables, JSON, CSV and Prometheus text, all from one form (`sheet`), and the parts of the
//!   state that `GET /live` sends when they change (`output/live`, `http/live`). The page is in `page/`,
//!   plain files that the program carries; `http/access` decides who may read.
//!
//! # A panel is one SQL file
//!
//! `queries/<name>.sql` consists of a front matter in TOML (title, pool, interval, chart, columns and their
//! help) and a statement; `<name>.17.sql` holds the statement for PostgreSQL 17 and later, `<name>.columnar.sql` that for the
//! column store, with the same columns. Parts that some servers forbid stand between markers and are left out if they are refused
//! ([`dashboard::panels::parts`]). [`dashboard::panels`] embeds the files and selects by version;
//! [`dashboard::panels::spec`] is the format; `panels/own.rs` reads a user's files. Some panels derive
//! columns in a file of their name: `activity` (class, blocks, harm), `snapshots` (ages, pins), `bloat`
//! (estimates, vacuums in vain), `views` (freshness), `locks` (the tree), `waits` (the minute), `statements`
//! (the interval), `wal` (checkpoints), `host` (use of the machine by class), `pooler` (pools, and the client behind a
//! backend), `nodes` (standbys, the OLAP pool's own server, and what routers report); `rates` computes the rates of any
//! panel's counters.
//! Code reads rows by declared columns ([`dashboard::rows`]): a structure per kind of row, resolved once per
//! table; a column that a panel's statement lacks fails a test, and its answer is an error.
//! [`dashboard::wait_graph`] is the graph of waiting sessions, used by panels, rules and confirmations of
//! signals.
//! [`dashboard::course`] is what the timeline shows: the load of each moment ([`dashboard::load`]) and bars of what went on
//! ([`dashboard::lanes`]), made of the samples of other panels (`model/lanes`); the panel has no statement (`sampling.derived`).
//! [`dashboard::trend`]: the course of the figures that a panel file lists, drawn below its rows in full screen.
//! [`dashboard::history`] keeps the time series and computes rates; [`dashboard::diagnosis`] judges figures
//! against targets. Each of its `rules` returns one sentence or nothing, and `cause` selects the one for the
//! cause line; `blocker` tells rules and confirmations what kind of work a blocker does, which key ends it,
//! and which work is lost then. A finding leads by itself from `Health::Warning` on; below that it only explains a missed
//! gauge, one of those in its `explains`.
//!
//! # Keys
//!
//! [`mod@keys`] is the table of commands, each with its name, its keys and its help, and the keys that a configuration
//! binds instead ([`keys::Keymap`]). Dispatch, footer, help and every message that names a key go by it.
//!
//! # Sessions
//!
//! [`pg`] is the only room that knows the driver. [`pg::conninfo`] interprets libpq's settings as libpq does;
//! [`pg::sampler`] runs the sampling sessions: a fast one (all due statements in one round trip; those that
//! scan all sessions as one, [`pg::shared`]), a slow one (a statement is repeated only after 50 times its own
//! duration), the OLAP pool (read-only Repeatable Read transactions), the timed point query, one that watches the OLAP pool's own server
//! and one that stands in for it on the watched server, PgBouncer's admin console if there is one ([`pg::console`]: SHOW commands, of whose answers the known columns are kept),
//! and `columnar serve` if panels ask it ([`pg::column_store`]). A repeated
//! statement is prepared, with a fallback for poolers that lose it. [`pg::owners`] refuses objects that only
//! look like the shop's. [`pg::admin`] carries out actions: a signal selects its session from
//! pg_stat_activity by its full identity and verifies the result; each action has its own session, opened
//! when it starts. [`pg::measure`] reads a table or index in full, on demand.
//!
//! # The machine
//!
//! [`host`] reads the formats of `/proc`. Its files come as rows of the panel `host`: from [`host::local`], if the server's
//! processes are proven to be on this machine, else from the function of `queries/host/install.sql`, which [`system::host`]
//! installs. `model/hosting.rs` decides which, and which processes are read next.
//!
//! # The shop
//!
//! [`system::refresh`]: merges changes into the summaries, schedules refreshes, and proves the summaries
//! correct. [`system::orders`] creates and advances orders over the sessions of [`system::pools`], as batches
//! of prepared statements ([`pg::Statement`]) that succeed or fail as a whole.
//!
//! [`workload`]: a mixed open-loop load. `arrivals` computes the times of requests, `dispatch` then puts them
//! into a `queue`, `shop` carries them out when a session is free, `tally` counts; `mix` defines the
//! proportions. `run` does that for a given time and reports (`live`, `summary`); `trade` does it for the
//! demo until it is stopped, with `troubles` on a schedule. [`cluster`] finds or fetches server programs,
//! starts a temporary PostgreSQL and cleans up after it, for the demo, the benchmark and the tests. [`demo`]:
//! such a server with the shop and a load. The demo's engine is a child process that cleans up when the
//! dashboard's end of a pipe closes, however the dashboard ends. `demo --replica` has a streaming replica, too
//! (`cluster/standby`, by pg_basebackup or `cluster/copy`), `demo --stream` a broker, a relay and an aggregator (`demo/stream`). [`mod@bench`]: the case study's experiments.
//!
//! [`replica`]: a streaming replica of one's own server: built (`create`), shown (`status`), removed (`discard`, only what
//! carries the `marker`). Its queries are in `queries/replica/*.sql`.
//!
//! [`isolate`]: keeps OLAP's processes in a group of lower weight, on the database's host. `plan` finds the server's
//! processes and a mechanism (`choice`: `cgroup`, `autogroup`; weights by `share`), `judge` says from a sample which of
//! them belong in the group, `keeper` moves them, `state` is the file by which all of it is undone. Its queries are in
//! `queries/isolate/*.sql`.
//!
//! [`stream`]: events of orders go from the outbox to a topic of Kafka (`relay`, which reads the `outbox`, and a replication `slot` if there is one) and from there into
//! `mart.realtime_stream` (`aggregator`: a `reader` of the topic, a `batch` of its records, read by `events`, that `apply`
//! writes in one transaction; `watermark` decides which windows are complete). `kafka` makes the clients, `state` publishes
//! what they do in `htap.stream_state`. `pause` stops and resumes relays, `aggregator::replay` counts the topic once more beside
//! the live table and compares. `broker` runs Apache Kafka on this machine, from `jars` that it fetches, in a
//! `folder` of its own; `mock` stands in for it in a demo without Java.
//!
//! [`explain`] plans another session's statement without running it.
//! [`router`] decides where a statement may run: on the primary or a replica, as OLTP or OLAP, and
//! [`router::executor`] sends it there; dear reads of `mart.fact_sales` and `mart.user_day` to a column store, if it is given one
//! ([`router::ColumnStore`]). Its queries are in `queries/router/*.sql`. The load's reads go through it, over the pools of [`system::nodes`]; [`system::routing`] publishes what it does in `htap.routing`. [`sql`] reads SQL as text: tokens, canonical texts, and texts without literals.
//! [`system`]: the schema (`queries/system/*.sql`), its installation, upgrade and removal ([`system::survey`]
//! recognises its objects), its generated history ([`system::generate`], loaded by [`system::fill`]), its
//! monthly partitions ([`system::partitions`], [`system::archive`]).
//!
//! # The column store
//!
//! `columnar`, with cargo's feature of this name: closed hours of sales, orders and customers' days in Parquet files (`columnar/sync`), and one
//! SELECT over them and the rows of all other hours (`columnar/query`). It alone knows the engine, DataFusion. What the server
//! keeps of it is in `queries/system/09_columnar.sql`; the panel Columnar and its rules read only that, so they are in every build.
//!
//! # The doctor
//!
//! [`mod@doctor`]: a check is one SQL file in `queries/doctor/`, a front matter and a statement whose rows
//! are findings; the few checks that are not SQL (clock, pooler) are in `doctor/session.rs`. A check that
//! could not run is reported with the reason, never as clean.
//!
//! # The log
//!
//! [`log`] writes what happened to the program in a file that can be attached to a bug report: what may stand in it is
//! said there. [`pg`] logs sessions (opened, lost, refused) and failed statements by their place in the code;
//! `runtime/logged.rs` logs the model's events and effects.
//!
//! [`report`] bundles facts about program, machine and server, the log's tail and the end of a recording into one text.
//!
//! # Documentation
//!
//! [`mod@docs`] holds the pages of `docs/`, which `htap-top help` shows. [`sqlfile`] splits an SQL file into
//! its front matter and its statement, for panels and checks. [`embedded`] lists the files in the program (panels, checks,
//! schema, themes, pages), which `build.rs` finds.
//!
//! # Rules
//!
//! `tests/it/tidy.rs` enforces them: permitted imports, no import cycles, no clock outside of the runtime,
//! limits on the length of files, and agreement of panels, themes and docs/ with the code.

mod bench;
pub mod cluster;
#[cfg(feature = "columnar")]
pub mod columnar;
pub mod commands;
pub mod config;
pub mod dashboard;
mod demo;
pub mod docs;
pub mod doctor;
pub mod embedded;
pub mod explain;
pub mod format;
mod host;
mod isolate;
pub mod keys;
mod log;
pub mod pg;
mod private;
mod replica;
mod report;
pub mod router;
pub mod sql;
pub mod sqlfile;
pub mod stream;
pub mod system;
pub mod text;
mod workload;
