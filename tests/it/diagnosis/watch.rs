//! A dashboard's model whose statements a real server answers, interval by interval.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use crate::it::board::{Board, requests};
use crate::it::server::{Database, Patience};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Cause;
use htap_top::dashboard::event::{Effect, Event};
use htap_top::dashboard::panels;
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Client, Settings};
use std::time::Duration;

/// A model, and the session that answers its queries.
pub struct Watch {
    pub board: Board,
    session: Client,
}

impl Watch {
    pub async fn begin(database: &Database<'_>, config: Config) -> Self {
        Self::begin_as(database, "postgres", config).await
    }

    /// Like [`Self::begin`], with another role's privileges.
    pub async fn begin_as(database: &Database<'_>, user: &str, config: Config) -> Self {
        let target = database.target_of(user).with_application_name("htap-top");
        let settings = Settings::of_monitor(Duration::from_secs(20));
        let session = Client::open(&target, &settings).await.unwrap();
        let mut board = Board::with(config, |start| {
            start.own_roles = vec![user.into()];
        });
        board.mute = true;
        for session in [SessionId::Fast, SessionId::Slow, SessionId::Olap(0)] {
            let _ = board.open(session);
        }
        let major = i64::from(database.server.major());
        let facts = panels::statement("facts", major).unwrap();
        let facts = session.query(facts, &[]).await.unwrap();
        let mut effects = board.answer("facts", facts);
        // Queries sent when the sessions opened have to be answered explicitly.
        let extensions = panels::statement("extensions", major).unwrap();
        let extensions = session.query(extensions, &[]).await.unwrap();
        effects.extend(board.answer("extensions", extensions));
        let mut watch = Self { board, session };
        watch.serve(effects).await;
        watch
    }

    /// Lets `ms` pass, and answers the queries.
    pub async fn look(&mut self, ms: u64) {
        let effects = self.board.tick(ms);
        self.serve(effects).await;
    }

    /// Times point queries, and reports their latencies and the number of failures.
    pub async fn time_points(&mut self) {
        self.time(25).await;
    }

    /// Like [`Self::time_points`], with `n` queries.
    #[expect(clippy::disallowed_methods, reason = "latencies as they are")]
    pub async fn time(&mut self, n: usize) {
        let sql = self.board.model.config.canary.sql.clone();
        let sql = sql.unwrap_or_else(|| "SELECT 1 AS n".into());
        let (mut latencies_ms, mut failed) = (Vec::new(), 0);
        for _ in 0..n {
            let begun = std::time::Instant::now();
            failed += u32::from(self.session.query(&sql, &[]).await.is_err());
            latencies_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let timed = Event::CanaryTimed {
            latencies_ms,
            failed,
        };
        let effects = self.board.event(timed);
        self.serve(effects).await;
    }

    pub async fn keys(&mut self, keys: &str) {
        let effects = self.board.keys(keys);
        self.serve(effects).await;
    }

    async fn serve(&mut self, effects: Vec<Effect>) {
        let mut wanted = effects;
        while !wanted.is_empty() {
            let mut more = Vec::new();
            for request in requests(&wanted) {
                let name = self.board.name_of(request);
                let outcome = self.session.query(&request.sql, &[]).await;
                more.extend(self.board.outcome(&name, outcome));
            }
            wanted = more;
        }
    }

    /// Samples until the condition holds; returns the cause line.
    pub async fn until(&mut self, what: &str, good: impl Fn(&Board) -> bool) -> Cause {
        let patience = Patience::begin();
        loop {
            self.look(1_000).await;
            let model = &self.board.model;
            if good(&self.board) {
                return model.cause.clone();
            }
            assert!(
                patience.lasts(),
                "{what} never was: {:#?}\n{:#?}",
                model.cause,
                model.findings
            );
        }
    }

    /// Checks after a cure that the rule finds nothing within two intervals of its feeds.
    pub async fn calm_of(&mut self, rule: &str) {
        for _ in 0..4 {
            // The slowest feed of a rule has an interval of ten seconds.
            self.look(5_000).await;
        }
        let model = &self.board.model;
        assert_eq!(self.board.finding(rule), None, "it goes on after the cure");
        assert_ne!(model.cause.rule, rule);
    }
}
