//! What a sync begins with: the store, its log of changes, and its folder.

use super::{Options, used};
use crate::columnar::error::ColumnarError;
use crate::columnar::folder::claim;
use crate::columnar::manifest::{self, Barred, Found, Held, Manifest};
use crate::columnar::table::Table;
use crate::pg::Client;
use nix::fcntl::Flock;
use std::fs::File;
use std::path::PathBuf;

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
) -> Result<(PathBuf, Flock<File>, Manifest), ColumnarError> {
    let store = match manifest::read(client).await? {
        Found::Store(store) => store,
        Found::Nothing(why) => {
            say(&format!("all files are written anew: {why}"));
            manifest::switch_on(client, None).await?;
            found(client).await?
        }
    };
    let store = need_logs(client, store, say).await?;
    let folder = options
        .folder
        .clone()
        .or_else(|| store.folder.clone().map(PathBuf::from));
    let Some(folder) = folder else {
        return Err(ColumnarError::Refused(
            "name a folder for the column files with --folder".to_owned(),
        ));
    };
    let marker = claim(&folder, &store.store)?;
    let folder = folder
        .canonicalize()
        .map_err(ColumnarError::file("open", &folder))?;
    Ok((folder, marker, store))
}
