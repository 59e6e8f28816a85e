//! Plans of other roles' statements, made with the rights of the current role; each is recorded in the audit
//! file.

use super::auditing::{AuditWriter, Unwritten, Written};
use super::wall_clock;
use crate::dashboard::action::ActionId;
use crate::dashboard::event::Event;
use crate::explain::{Explained, Whose, explain};
use crate::pg::Target;
use crate::text::Clean;
use tokio::sync::mpsc::Sender;

/// Plans a statement. The audit file gets its origin before, and the result after.
pub(super) async fn planned(
    target: &Target,
    audit: &AuditWriter,
    tell: &Sender<Event>,
    id: ActionId,
    whose: &Whose,
) -> Result<Explained, Clean> {
    let unaudited = |unwritten: Unwritten| {
        let why = unwritten.why();
        Clean::from(format!("the audit file cannot be written: {why}"))
    };
    let (at, asked) = (wall_clock().to_rfc3339(), whose.clone());
    let intent = audit.write(move |audit| audit.asked(&at, id, &asked));
    if let Err(unwritten) = intent.wait().await {
        if !matches!(unwritten, Unwritten::Refused(_)) {
            let why = "not planned: the audit file was not written in time".to_owned();
            let _ = answered(audit, id, Some(why));
        }
        return Err(unaudited(unwritten));
    }
    let _ = tell.send(Event::ActionStarted(id)).await;
    let outcome = explain(target, whose).await;
    let outcome = outcome.map_err(|why| Clean::from(why.to_string()));
    let refused = outcome.as_ref().err().map(Clean::to_string);
    answered(audit, id, refused)
        .wait()
        .await
        .map_err(unaudited)?;
    outcome
}

fn answered(audit: &AuditWriter, id: ActionId, refused: Option<String>) -> Written {
    let at = wall_clock().to_rfc3339();
    audit.write(move |audit| audit.answered(&at, id, refused.as_deref()))
}
