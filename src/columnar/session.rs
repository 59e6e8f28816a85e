//! Sessions with the server, and the snapshots in which queries run.

use super::bucket::Bucket;
use super::engine;
use super::error::ColumnarError;
use super::manifest::{self, Found, KnownRows, Manifest};
use super::options::Options;
use super::place::Place;
use super::reader::{self, Opened};
use super::report;
use super::scan::Snapshot;
use super::tally::Tally;
use super::zone::Zone;
use crate::pg::session::SEARCH_PATH;
use crate::pg::{Class, Client, Description, Settings, Target, owners};
use futures_util::future::{join, join3};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a session need not read or open again for each query.
#[derive(Debug, Default)]
struct Known {
    /// The bucket of the files.
    bucket: Option<Arc<Bucket>>,
    rows: KnownRows,
    zone: Option<Arc<Zone>>,
}

/// A session with the server, in which queries follow each other.
#[derive(Debug)]
pub(super) struct Session {
    target: Target,
    options: Options,
    /// Whether the server must have asked for a password.
    proven: bool,
    /// `None` before the first use, and after one that was dropped halfway.
    client: Option<Arc<Client>>,
    known: Known,
    /// Whether one snapshot serves all queries until [`Self::release`].
    holds: bool,
    held: Option<Snapshot>,
}

impl Session {
    /// A session that connects when it is needed.
    pub(super) fn new(target: &Target, options: &Options) -> Self {
        Self {
            target: target.clone(),
            options: options.clone(),
            proven: false,
            client: None,
            known: Known::default(),
            holds: false,
            held: None,
        }
    }

    /// The session of somebody else, whom only the server's demand for a password tells from others.
    pub(super) fn of_client(target: &Target, options: &Options) -> Self {
        Self {
            proven: true,
            ..Self::new(target, options)
        }
    }

    /// Begins a transaction in this time zone, or in that of the user's own sessions, and opens the files that its manifest
    /// names. [`Self::end`] ends it; if a task is dropped in between, so is the session with the server, and what it does.
    pub(super) async fn begin(&mut self, zone: Option<&str>) -> Result<Snapshot, ColumnarError> {
        if let Some(mut held) = self.held.take() {
            let set = Zone::set(&held.client, zone).await;
            let zone = match set {
                Ok(name) => self.known.zone(&held.client, name, &held.manifest).await,
                Err(error) => Err(error),
            };
            if zone.is_err() {
                self.held = Some(held.clone());
            }
            held.zone = zone?;
            return Ok(held);
        }
        let kept = self.client.is_some();
        match self.begin_anew(zone).await {
            // The server ended it while nobody used it, and this was not noticed yet; or it forgot the name of a statement.
            Err(ColumnarError::Server { source, .. })
                if kept
                    && (matches!(source.class, Class::Reconnect | Class::BackOff)
                        || source.is_name_at_fault()) =>
            {
                self.begin_anew(zone).await
            }
            begun => begun,
        }
    }

    async fn begin_anew(&mut self, zone: Option<&str>) -> Result<Snapshot, ColumnarError> {
        let client = self.lend().await?;
        let begun = snapshot(Arc::clone(&client), &self.options, &mut self.known, zone).await;
        if begun.is_err() {
            // The server's log would tell of a session that ended within a transaction.
            let _ = client.rollback().await;
        }
        begun
    }

    /// Ends the transaction of a snapshot, unless it is held.
    pub(super) async fn end(&mut self, snapshot: &Snapshot) {
        if self.holds {
            self.held = Some(snapshot.clone());
        } else {
            self.finish(&snapshot.client, Some(snapshot)).await;
        }
    }

    /// From now on one snapshot serves all queries.
    pub(super) fn hold(&mut self) {
        self.holds = true;
    }

    /// Ends the transaction of the snapshot that was held.
    pub(super) async fn release(&mut self) {
        self.holds = false;
        if let Some(held) = self.held.take() {
            self.finish(&held.client, Some(&held)).await;
        }
    }

    async fn finish(&mut self, client: &Arc<Client>, snapshot: Option<&Snapshot>) {
        // A session that cannot even do this is not used again.
        if client.rollback().await.is_ok() {
            if let Some(snapshot) = snapshot {
                report::write(client, &snapshot.manifest.store).await;
            }
            self.client = Some(Arc::clone(client));
        }
    }

    /// The connection, in the transaction that is held, or in none. [`Self::give_back`] keeps it for the next use.
    pub(super) async fn lend(&mut self) -> Result<Arc<Client>, ColumnarError> {
        if let Some(held) = &self.held {
            return Ok(Arc::clone(&held.client));
        }
        if let Some(client) = self.client.take().filter(|client| client.is_free()) {
            return Ok(client);
        }
        let limit = self.options.timeout.unwrap_or(Duration::ZERO);
        let settings = Settings::of_analysis(limit, "64MB").with("lock_timeout", "10s");
        let client = Client::open(&self.target, &settings).await;
        let client = client.map_err(ColumnarError::server("connect"))?;
        if self.proven && !client.proved_password() {
            return Err(ColumnarError::Privilege(
                "PostgreSQL asked for no password, so nothing tells who this is: have pg_hba.conf demand one \
                 (scram-sha-256) of this role where htap-top columnar serve connects from"
                    .to_owned(),
            ));
        }
        // Another server may have another time zone database.
        self.known.zone = None;
        Ok(Arc::new(client))
    }

    /// Keeps the connection for the next use.
    pub(super) fn give_back(&mut self, client: Arc<Client>) {
        if self.held.is_none() {
            self.client = Some(client);
        }
    }

    /// Whether one snapshot serves all queries.
    pub(super) fn is_holding(&self) -> bool {
        self.holds
    }

    /// What the server says of a statement over the table.
    pub(super) async fn describe(
        &mut self,
        sql: &str,
        params: &[u32],
    ) -> Result<Description, ColumnarError> {
        let failed = || ColumnarError::server("read the statement");
        if let Some(held) = self.held.take() {
            let client = &held.client;
            let path = |path: &str| format!("SET LOCAL search_path = {path}");
            client.batch(&path(NAMES)).await.map_err(failed())?;
            let described = client.describe(sql, params).await;
            if described.is_ok() {
                let back = client.batch(&path(SEARCH_PATH)).await;
                back.map_err(failed())?;
            }
            self.held = Some(held);
            return described.map_err(failed());
        }
        let client = self.lend().await?;
        let path = format!("SET LOCAL search_path = {NAMES}");
        let (begun, described) = join(
            client.begin_as("ISOLATION LEVEL READ COMMITTED READ ONLY", &path),
            client.describe(sql, params),
        )
        .await;
        begun.map_err(failed())?;
        self.finish(&client, None).await;
        described.map_err(failed())
    }
}

impl Known {
    /// The zone of the open transaction, whose name this is, for times around those of the tables.
    async fn zone(
        &mut self,
        client: &Client,
        name: String,
        manifest: &Manifest,
    ) -> Result<Arc<Zone>, ColumnarError> {
        let starts = manifest.files().map(|(_, file)| file.span.hours.start);
        let first = starts.min().unwrap_or(manifest.now_hour);
        let hours = first..manifest.now_hour + 1;
        // A pooler may change the server, and so its time zone database, without a new connection.
        let known = self.zone.as_ref().filter(|_| !client.is_pooled());
        if let Some(zone) = known.filter(|zone| zone.serves(&name, &hours)) {
            return Ok(Arc::clone(zone));
        }
        let zone = Arc::new(Zone::read(client, name, &hours).await?);
        self.zone = Some(Arc::clone(&zone));
        Ok(zone)
    }
}

/// Schemas in which the names of a query are looked up.
const NAMES: &str = "pg_catalog, mart, pg_temp";

/// Attempts to open the files of a manifest, while a sync replaces them.
const ATTEMPTS: u32 = 5;

/// Begins a transaction in this time zone; returns the manifest, whether the database orders texts by their bytes, and the name of
/// the zone.
async fn begin_and_read(
    client: &Client,
    zone: Option<&str>,
) -> Result<(Manifest, bool, String), ColumnarError> {
    // The owners of an hour ago may be others now.
    let (begun, present) = join(
        owners::trust_the_shop_and_begin_as(client, "ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        manifest::need_present(client),
    )
    .await;
    begun.map_err(ColumnarError::server("trust the shop"))?;
    present?;
    let (found, bytewise, zone) = join3(
        manifest::read_present(client),
        engine::bytewise(client),
        Zone::set(client, zone),
    )
    .await;
    let manifest = match found? {
        Found::Store(manifest) => manifest,
        Found::Nothing(why) => {
            return Err(ColumnarError::Refused(format!(
                "{why}: run htap-top columnar sync first"
            )));
        }
    };
    Ok((manifest, bytewise?, zone?))
}

async fn snapshot(
    client: Arc<Client>,
    options: &Options,
    known: &mut Known,
    zone: Option<&str>,
) -> Result<Snapshot, ColumnarError> {
    for attempt in 1.. {
        let (manifest, bytewise, zone) = begin_and_read(&client, zone).await?;
        manifest.need_known_formats()?;
        let place = match &options.folder {
            Some(place) => place.clone(),
            None => Place::read(OsStr::new(manifest.folder.as_deref().unwrap_or(".")))?,
        };
        let opened = match &place {
            Place::Folder(folder) => open(&manifest, folder),
            Place::Bucket { name, prefix } => {
                let bucket = of_place(&mut known.bucket, &place, name, prefix)?;
                Ok(objects(&manifest, &bucket, &options.spill))
            }
        };
        match opened {
            Ok(files) => {
                let hour_rows = known.rows.of(&client, &manifest).await?;
                let zone = known.zone(&client, zone, &manifest).await?;
                return Ok(Snapshot {
                    client,
                    hour_rows,
                    bytewise,
                    zone,
                    manifest: Arc::new(manifest),
                    files: Arc::new(files),
                    tally: Arc::new(Tally::default()),
                    spill: options.spill.clone(),
                    dry: false,
                });
            }
            Err(failure) => {
                let ended = client.rollback().await;
                ended.map_err(ColumnarError::server("begin a transaction"))?;
                if attempt == ATTEMPTS {
                    // In a folder that the user names, they may never have been.
                    if let Some(file) = failure.missing.filter(|_| options.folder.is_none()) {
                        report::damaged_file(&manifest.store, file, "is missing".to_owned());
                        report::write(&client, &manifest.store).await;
                    }
                    return Err(*failure.error);
                }
            }
        }
    }
    Err(ColumnarError::Refused(
        "the column files cannot be opened".to_owned(),
    ))
}

/// The bucket of a place, opened once.
fn of_place(
    known: &mut Option<Arc<Bucket>>,
    place: &Place,
    name: &str,
    prefix: &str,
) -> Result<Arc<Bucket>, ColumnarError> {
    let url = place.to_string();
    if let Some(known) = known.as_ref().filter(|known| known.url == url) {
        return Ok(Arc::clone(known));
    }
    let opened = Arc::new(Bucket::open(name, prefix)?);
    *known = Some(Arc::clone(&opened));
    Ok(opened)
}

/// The files of a manifest in a bucket, of which a query fetches those that it reads.
fn objects(manifest: &Manifest, bucket: &Arc<Bucket>, folder: &Path) -> BTreeMap<i64, Arc<Opened>> {
    let (mut files, mut named) = (BTreeMap::new(), BTreeSet::new());
    for (table, entry) in manifest.files() {
        let name = entry.name(table, &manifest.store);
        named.insert(reader::key(bucket, &name, &entry.sha256));
        let (place, sha256) = (
            (Arc::clone(bucket), folder.to_owned()),
            entry.sha256.clone(),
        );
        let object = Opened::object(place, name, entry.bytes, sha256, manifest.now_hour);
        files.insert(entry.span.id, Arc::new(object));
    }
    let begin = manifest::beginnings(&manifest.store).map(|name| format!("{}{name}", bucket.url));
    reader::forget_others(&begin.collect::<Vec<_>>(), &named);
    files
}

/// Why the files cannot be opened.
struct Unopened {
    error: Box<ColumnarError>,
    /// A file that is missing.
    missing: Option<i64>,
}

fn open(manifest: &Manifest, folder: &Path) -> Result<BTreeMap<i64, Arc<Opened>>, Unopened> {
    let mut files = BTreeMap::new();
    for (table, entry) in manifest.files() {
        let name = entry.name(table, &manifest.store);
        let path = folder.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let error = ColumnarError::Refused(format!(
                    "{} is missing: run htap-top columnar sync, which writes it anew, or name the folder with --folder",
                    path.display()
                ));
                return Err(Unopened {
                    error: Box::new(error),
                    missing: Some(entry.span.id),
                });
            }
            Err(source) => {
                return Err(Unopened {
                    error: Box::new(ColumnarError::file("read", &path)(source)),
                    missing: None,
                });
            }
        };
        let sha256 = entry.sha256.clone();
        let opened = Opened::new(file, name, entry.bytes, sha256, manifest.now_hour);
        files.insert(entry.span.id, Arc::new(opened));
    }
    Ok(files)
}
