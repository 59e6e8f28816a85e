//! Where to connect: libpq's settings with libpq's meanings.

use std::path::Path;

/// A resolved connection target.
#[derive(Clone, Debug)]
pub struct Target {
    /// keyword=value settings.
    pub conninfo: String,
}

impl Target {
    /// PROVISIONAL: takes the text as the driver understands it.
    pub fn plain(conninfo: &str) -> Self {
        Self {
            conninfo: conninfo.to_owned(),
        }
    }

    /// PROVISIONAL: a server behind a socket in `socket_dir`.
    pub fn local(socket_dir: &Path, port: u16, user: &str, dbname: &str) -> Self {
        let host = socket_dir.display();
        Self::plain(&format!(
            "host='{host}' port={port} user='{user}' dbname='{dbname}'"
        ))
    }

    /// PROVISIONAL: the same server as another role.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Self {
        Self::plain(&format!("{} user='{user}'", self.conninfo))
    }

    /// PROVISIONAL: another database of the same server.
    #[must_use]
    pub fn with_dbname(&self, dbname: &str) -> Self {
        Self::plain(&format!("{} dbname='{dbname}'", self.conninfo))
    }

    /// PROVISIONAL: the same under another application_name.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Self {
        Self::plain(&format!("{} application_name='{name}'", self.conninfo))
    }
}
