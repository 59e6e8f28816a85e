//! Compares the case study's keyword router with ours.

use super::figures::{Figures, figures};
use super::{BenchError, Experiment, Lab};
use crate::router::catalogue::Catalogue;
use crate::router::traps::TRAPS;
use crate::router::{Outcome, ReplicaState, Router, Session, keywords};
use tokio::time::Instant;

/// The experiment `router`.
pub(super) const ROUTER: Experiment = Experiment {
    name: "router",
    about: "16 statements, 14 of which a keyword router gets wrong",
    section: "9.2",
    variants: &["keywords", "parser"],
    run: |lab, variant| Box::pin(router(lab, variant)),
};

async fn router(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let begun = Instant::now();
    let (mut right, mut dangerous) = (0, 0);
    if variant == "keywords" {
        for trap in &TRAPS {
            right += u32::from(!trap.misleads_keywords());
            dangerous += u32::from(trap.endangers());
            std::hint::black_box(keywords::route(trap.sql));
        }
    } else {
        let router = Router::new(Catalogue::new(lab.target().clone()));
        // A replica that has replayed everything, so that only the statement decides.
        let replica = ReplicaState::Current;
        for trap in &TRAPS {
            let mut session = Session::default();
            let decision = router.route(&session, trap.sql, replica).await;
            session.settle(&decision, Outcome::Done(None));
            right += u32::from(trap.is_right(&decision));
            dangerous += u32::from(
                decision.lane().node == crate::router::Node::Replica
                    && trap.right.node == crate::router::Node::Primary,
            );
        }
    }
    Ok(figures([
        ("right", f64::from(right)),
        ("writes_to_replica", f64::from(dangerous)),
        ("statements", TRAPS.len() as f64),
        (
            "us_per_statement",
            begun.elapsed().as_secs_f64() * 1e6 / TRAPS.len() as f64,
        ),
    ]))
}
