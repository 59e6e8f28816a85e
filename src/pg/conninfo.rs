//! Where to connect: libpq's settings with libpq's meanings.

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
}
