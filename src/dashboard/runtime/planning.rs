//! Plans of other roles' statements, made with the rights of the current role; each is recorded in the audit
//! file.

use super::wall_clock;
use crate::dashboard::action::ActionId;
use crate::dashboard::audit::Audit;
use crate::explain::{Explained, Whose, explain};
use crate::pg::Target;
use crate::text::Clean;

/// Plans a statement. The audit file gets its origin before, and the result after.
pub(super) async fn planned(
    target: &Target,
    audit: &Audit,
    id: ActionId,
    whose: &Whose,
) -> Result<Explained, Clean> {
    let unaudited = |error: std::io::Error| {
        let path = audit.path.display();
        Clean::from(format!("the audit file cannot be written: {path}: {error}"))
    };
    let now = || wall_clock().to_rfc3339();
    audit.asked(&now(), id, whose).map_err(unaudited)?;
    let outcome = explain(target, whose).await;
    let outcome = outcome.map_err(|why| Clean::from(why.to_string()));
    let refused = outcome.as_ref().err().map(Clean::as_str);
    audit.answered(&now(), id, refused).map_err(unaudited)?;
    outcome
}
