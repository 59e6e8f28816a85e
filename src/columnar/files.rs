//! The files of a store as its sync has them: in a folder, or as objects of a bucket.

use super::bucket::Bucket;
use super::error::ColumnarError;
use super::file::{self, Written, checksum};
use super::folder;
use super::manifest::{self, Entry, Manifest};
use super::place::Place;
use super::table::FORMAT;
use nix::fcntl::Flock;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Time after which the objects of a bucket are listed again, which costs money.
const LISTED: Duration = Duration::from_secs(60);
/// Time for which an object stays that the manifest no longer names: a query that began before reads it. (A file of a folder can
/// go at once: a query has opened all of its files.)
const LEFT: Duration = Duration::from_secs(600);

/// The files of a store that this process alone writes.
pub(super) enum Files {
    Folder {
        path: PathBuf,
        /// Held as long as the store is written here.
        _marker: Flock<File>,
    },
    Bucket {
        bucket: Box<Bucket>,
        listed: Listed,
    },
}

/// What is known of a bucket.
pub(super) struct Listed {
    /// Names and sizes.
    objects: BTreeMap<String, u64>,
    at: Instant,
    /// Objects that the manifest does not name, and from when on they may go.
    due: BTreeMap<String, Instant>,
}

impl Files {
    /// Makes a place this store's. One that is another store's is left alone.
    pub(super) async fn claim(place: &Place, store: &Manifest) -> Result<Self, ColumnarError> {
        match place {
            Place::Folder(path) => {
                let marker = folder::claim(path, &store.store)?;
                let path = path
                    .canonicalize()
                    .map_err(ColumnarError::file("open", path))?;
                Ok(Self::Folder {
                    path,
                    _marker: marker,
                })
            }
            Place::Bucket { name, prefix } => {
                let bucket = Box::new(Bucket::open(name, prefix)?);
                let objects = bucket.list().await?;
                // What an earlier sync left.
                let named: BTreeSet<String> = store
                    .files()
                    .map(|(table, entry)| entry.name(table, &store.store))
                    .collect();
                let at = Instant::now();
                let left = objects.keys().filter(|name| {
                    manifest::is_of_store(name, &store.store) && !named.contains(*name)
                });
                let due = left.map(|name| (name.clone(), at)).collect();
                let listed = Listed { objects, at, due };
                Ok(Self::Bucket { bucket, listed })
            }
        }
    }

    /// The place as `--folder` takes it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Folder { path, .. } => path.to_string_lossy().into_owned(),
            Self::Bucket { bucket, .. } => bucket.url.clone(),
        }
    }

    /// The name of a file with its place.
    pub(super) fn path(&self, name: &str) -> String {
        match self {
            Self::Folder { path, .. } => path.join(name).display().to_string(),
            Self::Bucket { bucket, .. } => format!("{}{name}", bucket.url),
        }
    }

    /// Whether to read files costs nothing but time.
    pub(super) fn are_local(&self) -> bool {
        matches!(self, Self::Folder { .. })
    }

    /// Begins a file, which is none of the store before [`Self::keep`].
    pub(super) fn create(&self, name: &str) -> Result<File, ColumnarError> {
        match self {
            Self::Folder { path, .. } => {
                let path = path.join(name);
                let file = File::create(file::unfinished(&path));
                file.map_err(ColumnarError::file("write", &path))
            }
            Self::Bucket { .. } => {
                let file = tempfile::tempfile();
                file.map_err(ColumnarError::file(
                    "write a temporary file in",
                    &std::env::temp_dir(),
                ))
            }
        }
    }

    /// Gives a complete file its name, so that it survives a crash from here on.
    pub(super) async fn keep(&mut self, file: &File, name: &str) -> Result<Written, ColumnarError> {
        match self {
            Self::Folder { path, .. } => file::keep(file, &path.join(name)),
            Self::Bucket { bucket, listed } => {
                let failed =
                    || ColumnarError::file("read", std::path::Path::new("a temporary file"));
                let bytes = file.metadata().map_err(failed())?.len();
                let sha256 = checksum(file).map_err(failed())?;
                bucket.put(name, file, bytes).await?;
                listed.objects.insert(name.to_owned(), bytes);
                Ok(Written { bytes, sha256 })
            }
        }
    }

    /// Removes a file that got no name.
    pub(super) fn abandon(&self, name: &str) {
        if let Self::Folder { path, .. } = self {
            let _ = std::fs::remove_file(file::unfinished(&path.join(name)));
        }
    }

    /// What is wrong with a file of the manifest. Only `whole` files are read.
    pub(super) async fn fault(
        &mut self,
        name: &str,
        entry: &Entry,
        whole: bool,
    ) -> Result<Option<String>, ColumnarError> {
        let (bucket, listed) = match self {
            Self::Folder { path, .. } => {
                return Ok(folder::fault(&path.join(name), entry, whole));
            }
            Self::Bucket { bucket, listed } => (bucket, listed),
        };
        if entry.format != FORMAT {
            return Ok(Some("is of another version of htap-top".to_owned()));
        }
        if listed.at.elapsed() >= LISTED {
            listed.objects = bucket.list().await?;
            listed.at = Instant::now();
        }
        match listed.objects.get(name) {
            None => return Ok(Some("is missing".to_owned())),
            Some(bytes) if *bytes != entry.bytes => {
                return Ok(Some(format!(
                    "has {bytes} bytes instead of {}",
                    entry.bytes
                )));
            }
            Some(_) if !whole => return Ok(None),
            Some(_) => {}
        }
        let Some(file) = bucket.get(name, &std::env::temp_dir()).await? else {
            return Ok(Some("is missing".to_owned()));
        };
        let sum = checksum(&file).map_err(ColumnarError::file(
            "read",
            std::path::Path::new("a temporary file"),
        ))?;
        Ok((sum != entry.sha256).then(|| "has another content than was written".to_owned()))
    }

    /// Removes files of this store that are not `named`: left by a process that died, or replaced. Returns what is worth to be
    /// told.
    pub(super) async fn remove_orphans(
        &mut self,
        store: &str,
        named: &BTreeSet<String>,
    ) -> Result<Vec<String>, ColumnarError> {
        let (bucket, listed) = match self {
            Self::Folder { path, .. } => return folder::remove_orphans(path, store, named),
            Self::Bucket { bucket, listed } => (bucket, listed),
        };
        let now = Instant::now();
        listed.due.retain(|name, _| !named.contains(name));
        for name in listed.objects.keys() {
            if manifest::is_of_store(name, store) && !named.contains(name) {
                listed.due.entry(name.clone()).or_insert(now + LEFT);
            }
        }
        let due = listed.due.iter().filter(|(_, at)| **at <= now);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            bucket.delete(&name).await?;
            listed.due.remove(&name);
            listed.objects.remove(&name);
        }
        Ok(Vec::new())
    }

    /// Bytes that are left on the disk of the folder, and its size; a bucket has no limit.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        match self {
            Self::Folder { path, .. } => folder::space(path),
            Self::Bucket { .. } => None,
        }
    }
}
