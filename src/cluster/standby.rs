//! A streaming replica of a temporary cluster, beside it on the same host.

use super::copy::{Tree, end, session, start};
use super::error::ClusterError;
use super::{Binaries, Cluster, ClusterOptions, SUPERUSER};
use crate::pg::{Client, Param, Target};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

/// The primary of a replica, and how the replica is tied to it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Folder of the primary's socket.
    pub socket_dir: PathBuf,
    /// Number in the primary's socket name.
    pub port: u16,
    /// Name of the physical slot that is created on the primary; without one, the primary may remove WAL that the
    /// replica still needs.
    pub slot: Option<String>,
    /// True to let the replica report its oldest snapshot: the primary then keeps the rows that its queries need.
    pub feedback: bool,
}

impl Origin {
    fn target(&self) -> Target {
        Target::local(&self.socket_dir, self.port, SUPERUSER, "postgres")
            .with_application_name("htap-top")
    }

    /// Returns the settings that make a copy follow the primary.
    fn settings(&self) -> String {
        // A value within a conninfo string, then the string as a value in the file.
        let folder = self.socket_dir.display().to_string();
        let folder = folder.replace('\\', r"\\").replace('\'', r"\'");
        let conninfo = format!("host='{folder}' port={} user={SUPERUSER}", self.port);
        let mut text = String::from("# htap-top\n");
        let mut set = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        };
        set("primary_conninfo", &conninfo);
        if let Some(slot) = &self.slot {
            set("primary_slot_name", slot);
        }
        set(
            "hot_standby_feedback",
            if self.feedback { "on" } else { "off" },
        );
        text
    }
}

impl Cluster {
    /// Copies a running cluster and starts the copy as its streaming replica: by pg_basebackup if that is among the
    /// server programs, else by PostgreSQL's low-level functions for a base backup. Blocks for about 1 s plus the time
    /// of the copy; must not be called by an asynchronous task.
    ///
    /// # Errors
    /// The primary refuses, the copy fails, or the copy does not start. The slot is dropped then.
    pub fn standby(
        binaries: &Binaries,
        origin: &Origin,
        options: &ClusterOptions,
    ) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClusterError::io("start a runtime"))?;
        let cluster = Self::prepare(binaries, options)?;
        let copy = async {
            let client = session(&origin.target()).await?;
            if let Some(slot) = &origin.slot {
                create_slot(&client, slot).await?;
            }
            let built = Box::pin(cluster.copy(&client, origin, options)).await;
            if let (Err(_), Some(slot)) = (&built, &origin.slot) {
                drop_slot(&client, slot).await;
            }
            client.close().await;
            built
        };
        runtime.block_on(copy)?;
        Ok(cluster)
    }

    async fn copy(
        &self,
        client: &Client,
        origin: &Origin,
        options: &ClusterOptions,
    ) -> Result<(), ClusterError> {
        if self.binaries.bindir.join("pg_basebackup").is_file() {
            self.copy_by_program(origin)?;
        } else {
            self.copy_by_functions(client).await?;
        }
        self.follow(origin)?;
        self.configure(options)?;
        self.start_again()
    }

    fn copy_by_program(&self, origin: &Origin) -> Result<(), ClusterError> {
        let mut command = self
            .account
            .command(&self.binaries.bindir.join("pg_basebackup"));
        if let Some(slot) = &origin.slot {
            command.args(["-S", slot]);
        }
        let copied = command
            .arg("-D")
            .arg(&self.data)
            .args(["-X", "stream", "-c", "fast", "--no-sync", "-w"])
            .arg("-h")
            .arg(&origin.socket_dir)
            .args(["-p", &origin.port.to_string(), "-U", SUPERUSER])
            .current_dir(self.socket_dir())
            .stdin(Stdio::null())
            .output()
            .map_err(ClusterError::io("run pg_basebackup"))?;
        if copied.status.success() {
            Ok(())
        } else {
            Err(ClusterError::program("pg_basebackup", &copied.stderr))
        }
    }

    /// Copies the data directory between the start and the end of a base backup, both in this session.
    async fn copy_by_functions(&self, client: &Client) -> Result<(), ClusterError> {
        let source = start(client, self.binaries.major).await?;
        let tree = Tree {
            source: &source,
            account: &self.account,
        };
        let copied = tree.copy_to(&self.data);
        // Ended in any case: it makes the server write full pages.
        let ended = end(client, self.binaries.major).await;
        copied?;
        let (label, map) = ended?;
        tree.write(&self.data.join("backup_label"), &label)?;
        if !map.is_empty() {
            tree.write(&self.data.join("tablespace_map"), &map)?;
        }
        Ok(())
    }

    /// Makes the copy a standby of the primary.
    fn follow(&self, origin: &Origin) -> Result<(), ClusterError> {
        let signal = self.data.join("standby.signal");
        let wrong = |path: &std::path::Path| ClusterError::io(format!("write {}", path.display()));
        std::fs::write(&signal, "").map_err(wrong(&signal))?;
        self.account.own(&signal)?;
        let auto = self.data.join("postgresql.auto.conf");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&auto)
            .and_then(|mut file| file.write_all(origin.settings().as_bytes()))
            .map_err(wrong(&auto))
    }
}

/// Creates a physical slot that keeps WAL from now on.
async fn create_slot(client: &Client, name: &str) -> Result<(), ClusterError> {
    let sql = "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)";
    let created = client.query(sql, &[Param::Text(name)]).await;
    created.map_err(ClusterError::server("create the replica's slot"))?;
    Ok(())
}

/// Drops a slot that is not in use. An error is not reported: another one led here.
async fn drop_slot(client: &Client, name: &str) {
    let sql = "SELECT pg_catalog.pg_drop_replication_slot(s.slot_name) FROM pg_catalog.pg_replication_slots AS s
               WHERE s.slot_name = $1 AND NOT s.active";
    let _ = client.query(sql, &[Param::Text(name)]).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_folder_is_quoted_twice() {
        let origin = Origin {
            socket_dir: "/srv/it's".into(),
            port: 5,
            slot: Some("a".to_owned()),
            feedback: true,
        };
        assert_eq!(
            origin.settings(),
            "# htap-top\nprimary_conninfo = 'host=''/srv/it\\''s'' port=5 user=postgres'\nprimary_slot_name = \
             'a'\nhot_standby_feedback = 'on'\n"
        );
    }
}
