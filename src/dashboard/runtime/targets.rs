//! The servers that sessions connect to.

use crate::pg::Target;
use crate::pg::sampler::Tally;

/// The servers that sessions connect to.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The watched server.
    pub oltp: Target,
    /// The server that business panels query.
    pub olap: Target,
    /// The watched server with the role and database of the OLAP pool, if that has a server of its own: it is read while
    /// the other one must not be.
    pub stand_in: Option<Box<Target>>,
    /// The admin console of the pooler, if it is watched.
    pub pooler: Option<Box<Target>>,
    /// The column store, if panels may ask it.
    pub columnar: Option<Box<Target>>,
}

impl Targets {
    /// Returns the targets of the watched server and of the OLAP pool.
    pub fn new(watched: Target, olap: Option<Target>, pooler: Option<Target>) -> Self {
        let own = olap.as_ref();
        let own = own.filter(|olap| olap.host_display() != watched.host_display());
        let stand_in = own.map(|olap| Box::new(watched.with_role_of(olap)));
        Self {
            olap: olap.unwrap_or_else(|| watched.clone()),
            oltp: watched,
            stand_in,
            pooler: pooler.map(Box::new),
            columnar: None,
        }
    }

    /// Returns the targets with the column store.
    #[must_use]
    pub fn with_column_store(self, columnar: Option<Target>) -> Self {
        Self {
            columnar: columnar.map(Box::new),
            ..self
        }
    }

    /// Returns the counter for the OLAP pool's transactions: `here` if the pool works on the watched
    /// database.
    pub(super) fn tally(&self, here: &Tally) -> Tally {
        let place = |target: &Target| (target.host_display(), target.dbname().to_owned());
        if place(&self.oltp) == place(&self.olap) {
            Tally::clone(here)
        } else {
            Tally::default()
        }
    }
}
