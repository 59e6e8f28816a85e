//! What a sync begins with: the store, its log of changes, and its folder.

use super::{Options, used};
use crate::columnar::error::ColumnarError;
use crate::columnar::files::Files;
use crate::columnar::manifest::{self, Barred, Found, Held, Manifest};
use crate::columnar::place::Place;
use crate::columnar::table::Table;
use crate::pg::Client;
use std::ffi::OsStr;

/// Begins the log of changes of tables that lack it, and refuses those that cannot be held.
async fn need_logs(
    client: &Client,
    store: Manifest,
    say: &mut impl FnMut(&str),
) -> Result<Manifest, ColumnarError> {
    let unlogged = |held: &&Held| held.barred == Some(Barred::Unlogged);
    let lacking: Vec<&'static Table> = store
        .held
        .iter()
        .filter(unlogged)
        .map(|held| held.table)
        .collect();
    for table in &lacking {
        say(&format!(
            "all files of {} are written anew: triggers that log its changes were missing or disabled",
            table.name
        ));
        manifest::switch_on(client, Some(table)).await?;
    }
    let store = if lacking.is_empty() {
        store
    } else {
        found(client).await?
    };
    for held in used(&store) {
        held.need_usable()?;
    }
    Ok(store)
}

/// Refuses a standby, on which nothing can be written.
pub(super) async fn need_primary(client: &Client) -> Result<(), ColumnarError> {
    let standby = "SELECT pg_catalog.pg_is_in_recovery() AS standby";
    let standby = client.query(standby, &[]).await;
    let standby = standby.map_err(ColumnarError::server("ask for the server's state"))?;
    if standby.first("standby").is_true() {
        return Err(ColumnarError::Refused(
            "this server is a standby: run htap-top columnar sync on its primary; queries can run here".to_owned(),
        ));
    }
    Ok(())
}

async fn found(client: &Client) -> Result<Manifest, ColumnarError> {
    match manifest::read(client).await? {
        Found::Store(store) => Ok(store),
        Found::Nothing(why) => Err(ColumnarError::Refused(why.to_owned())),
    }
}

/// Finds the store and its folder, and begins them if there are none.
pub(super) async fn find(
    client: &Client,
    options: &Options,
    say: &mut impl FnMut(&str),
) -> Result<(Files, Manifest), ColumnarError> {
    let store = match manifest::read(client).await? {
        Found::Store(store) => store,
        Found::Nothing(why) => {
            say(&format!("all files are written anew: {why}"));
            manifest::switch_on(client, None).await?;
            found(client).await?
        }
    };
    let store = need_logs(client, store, say).await?;
    let known = store.folder.as_deref().map(OsStr::new);
    let place = match (&options.folder, known) {
        (Some(place), _) => place.clone(),
        (None, Some(known)) => Place::read(known)?,
        (None, None) => {
            return Err(ColumnarError::Refused(
                "name a folder for the column files with --folder".to_owned(),
            ));
        }
    };
    let files = Files::claim(&place, &store).await?;
    Ok((files, store))
}
