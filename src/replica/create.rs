//! Builds a replica of one's own server: slot, copy, settings, start; or, if a step fails, removes what was made.

use super::error::ReplicaError;
use super::facts::Server;
use super::local::{check_slot, clear, place, port, programs, run, shown};
use super::marker::{FILE, Marker};
use crate::cluster::Binaries;
use crate::cluster::account::Account;
use crate::cluster::sweep::{end_postmaster, postmaster_pid};
use crate::pg::{Param, Target};
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Name of the server's log in the data directory.
const LOG: &str = "htap-top-replica.log";
/// Time for the started replica to connect to its primary, in tenths of a second.
const PATIENCE: u32 = 150;
/// Creates the slot, which keeps WAL from then on.
const CREATE_SLOT: &str = "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)";
const SLOT_STATE: &str =
    "SELECT s.active FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1";
/// Drops the slot if nobody uses it.
pub(super) const DROP_SLOT: &str = "SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)
     FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1 AND NOT s.active";

/// The requested replica.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The data directory, which does not exist or is empty.
    pub(crate) folder: PathBuf,
    /// Name of the slot.
    pub(crate) slot: String,
    /// Port of the replica; default: the first free one above the primary's.
    pub(crate) port: Option<u16>,
    /// True for hot_standby_feedback.
    pub(crate) feedback: bool,
    /// Folder of the server programs, if they are not where they usually are.
    pub(crate) bindir: Option<PathBuf>,
}

/// A replica that can be built, as far as can be checked beforehand.
pub(crate) struct Plan {
    primary: Server,
    /// How the programs reach the primary.
    conninfo: String,
    password: Option<String>,
    account: Account,
    binaries: Binaries,
    basebackup: PathBuf,
    folder: PathBuf,
    slot: String,
    port: u16,
    feedback: bool,
    made: Made,
}

/// What has been created so far.
#[derive(Default)]
struct Made {
    slot: bool,
    folder: bool,
    contents: bool,
}

impl Plan {
    /// Checks the primary and this machine; changes nothing.
    ///
    /// # Errors
    /// What forbids the replica, and what to do about it.
    pub(crate) async fn new(target: &Target, wish: &Wish) -> Result<Self, ReplicaError> {
        check_slot(&wish.slot)?;
        let folder = place(&wish.folder)?;
        let target = target.with_application_name(&wish.slot);
        let primary = Server::ask(&target, &wish.slot).await?;
        let pooled = primary.client.need_own_session("a replica");
        pooled.map_err(|error| ReplicaError::Refused(error.to_string()))?;
        if let Some(refusal) = primary.refusal(&wish.slot) {
            return Err(refusal);
        }
        let major = primary.major();
        let (binaries, basebackup) = programs(wish.bindir.as_deref(), major)?;
        let (conninfo, password) = target.for_program(&primary.client.peer);
        Ok(Self {
            port: port(wish.port, primary.number("port"))?,
            primary,
            conninfo,
            password,
            account: Account::of_folder(&folder)?,
            binaries,
            basebackup,
            folder,
            slot: wish.slot.clone(),
            feedback: wish.feedback,
            made: Made::default(),
        })
    }

    /// Describes the steps: each statement and each command as it is run.
    pub(crate) fn steps(&self) -> String {
        let (who, folder) = (self.account.name(), self.folder.display());
        let mut text = format!(
            "1. On the primary, create the slot:\n     {};\n",
            CREATE_SLOT.replace("$1", &format!("'{}'", self.slot))
        );
        let _ = writeln!(
            text,
            "2. As {who}, copy the server ({}):\n     {}",
            self.folder_step(),
            shown(&self.copy())
        );
        let _ = writeln!(
            text,
            "3. Write the replica's settings to {folder}/postgresql.auto.conf:"
        );
        for line in self.settings().lines() {
            let _ = writeln!(text, "     {line}");
        }
        let _ = writeln!(
            text,
            "   where its own files are to its postgresql.conf, and the mark {FILE}, by which `htap-top replica drop` knows it"
        );
        let _ = writeln!(
            text,
            "4. As {who}, start it:\n     {}",
            shown(&self.start())
        );
        if self.primary.text("slot_keeps") == Some("-1") {
            text.push_str(
                "Note: max_slot_wal_keep_size is -1 on the primary: while the replica is away, WAL grows there without \
                 limit. To set one:\n     ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();\n",
            );
        }
        text
    }

    fn folder_step(&self) -> &'static str {
        if self.folder.is_dir() {
            "into the empty folder"
        } else {
            "into a folder made with mode 700"
        }
    }

    /// Carries out the steps, and reports each before it begins. Returns what to do next.
    ///
    /// # Errors
    /// The step that failed, and why; [`Plan::undo`] removes what the earlier ones made.
    pub(crate) async fn carry_out(
        &mut self,
        mut tell: impl FnMut(&str),
    ) -> Result<String, ReplicaError> {
        tell("creating the slot");
        let name = [Param::Text(&self.slot)];
        let created = self.primary.client.query(CREATE_SLOT, &name).await;
        created.map_err(ReplicaError::server("create the slot"))?;
        self.made.slot = true;
        tell("copying the server");
        self.make_folder()?;
        self.made.contents = true;
        self.copied().await?;
        tell("writing the settings");
        self.configure()?;
        tell("starting the replica");
        run(self.start(), "pg_ctl")
            .await
            .map_err(|error| self.with_log(error))?;
        tell("waiting until it follows");
        self.follows().await?;
        Ok(format!(
            "the replica follows its primary: port {}, slot {}, data in {}\n  htap-top … --olap 'port={} …' reads reports \
             from it\n  htap-top replica status … shows how far it is\n  htap-top replica drop {} removes it\n",
            self.port,
            self.slot,
            self.folder.display(),
            self.port,
            self.folder.display()
        ))
    }

    fn make_folder(&mut self) -> Result<(), ReplicaError> {
        // Checked again: somebody may have used it while the question was open.
        place(&self.folder)?;
        if self.folder.is_dir() {
            return Ok(());
        }
        let made = std::fs::create_dir(&self.folder);
        made.map_err(ReplicaError::io(format!("make {}", self.folder.display())))?;
        self.made.folder = true;
        std::fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
            .map_err(ReplicaError::io(format!("close {}", self.folder.display())))?;
        Ok(self.account.own(&self.folder)?)
    }

    fn copy(&self) -> Command {
        let mut command = self.account.command(&self.basebackup);
        command.arg("-D").arg(&self.folder);
        command.args(["-R", "-S", &self.slot, "-X", "stream", "-c", "fast", "-w"]);
        command.args(["-d", &self.conninfo]);
        command
    }

    async fn copied(&self) -> Result<(), ReplicaError> {
        let mut command = self.copy();
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        run(command, "pg_basebackup").await.map_err(|error| {
            let text = error.to_string();
            if !text.contains("pg_hba.conf") {
                return error;
            }
            ReplicaError::Refused(format!(
                "{text}. Let the role in: add a line such as \"host replication {} samenet scram-sha-256\" (\"local\" for a \
                 socket) to the server's pg_hba.conf, and run SELECT pg_reload_conf()",
                self.primary.text("role").unwrap_or("ROLE")
            ))
        })
    }

    /// Returns what is added to the copy's postgresql.auto.conf; pg_basebackup -R has written the connection and the slot.
    fn settings(&self) -> String {
        let feedback = if self.feedback { "on" } else { "off" };
        format!("port = {}\nhot_standby_feedback = {feedback}\n", self.port)
    }

    fn configure(&self) -> Result<(), ReplicaError> {
        let mut marker = Marker::new(&self.folder, &self.slot);
        marker.system = self.primary.text("system").map(str::to_owned);
        marker.primary.clone_from(&self.conninfo);
        marker.bindir.clone_from(&self.binaries.bindir);
        marker.made_folder = self.made.folder;
        self.write(FILE, &marker.text())?;
        self.write("postgresql.auto.conf", &self.settings())?;
        let folder = self.folder.display().to_string().replace('\'', "''");
        let mut own =
            String::from("\n# htap-top replica create: of this server, not of the primary.\n");
        if self.folder.join("postgresql.conf").exists() {
            // It may name the primary's.
            let _ = writeln!(own, "external_pid_file = '{folder}/htap-top-replica.pid'");
        } else {
            // The primary's files are elsewhere, as on Debian; a standby needs at least these values.
            for name in [
                "max_connections",
                "max_worker_processes",
                "max_wal_senders",
                "max_prepared_transactions",
                "max_locks_per_transaction",
            ] {
                let number = self.primary.number(name).to_string();
                let value = self.primary.text(name).unwrap_or(&number);
                let _ = writeln!(own, "{name} = {value}");
            }
        }
        let _ = writeln!(own, "data_directory = '{folder}'");
        let _ = writeln!(own, "hba_file = '{folder}/pg_hba.conf'");
        let _ = writeln!(own, "ident_file = '{folder}/pg_ident.conf'");
        self.write("postgresql.conf", &own)?;
        for (name, text) in [("pg_hba.conf", HBA), ("pg_ident.conf", "")] {
            if !self.folder.join(name).exists() {
                self.write(name, text)?;
            }
        }
        Ok(())
    }

    /// Adds text to a file of the data directory.
    fn write(&self, name: &str, text: &str) -> Result<(), ReplicaError> {
        let path = self.folder.join(name);
        let mut file = std::fs::OpenOptions::new();
        file.append(true).create(true);
        file.custom_flags(OFlag::O_NOFOLLOW.bits());
        let opened = file.open(&path);
        opened
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(0o600))?;
                file.write_all(text.as_bytes())
            })
            .map_err(ReplicaError::io(format!("write {}", path.display())))?;
        Ok(self.account.own(&path)?)
    }

    fn start(&self) -> Command {
        let mut command = self.account.command(&self.binaries.bindir.join("pg_ctl"));
        command.arg("-D").arg(&self.folder);
        command.arg("-l").arg(self.folder.join(LOG));
        command.args(["-w", "-t", "60", "-s", "start"]);
        command
    }

    /// Waits until the replica uses its slot.
    async fn follows(&self) -> Result<(), ReplicaError> {
        for _ in 0..PATIENCE {
            let state = self
                .primary
                .client
                .query(SLOT_STATE, &[Param::Text(&self.slot)])
                .await;
            let state = state.map_err(ReplicaError::server("look at the slot"))?;
            if state.first("active").is_true() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = PATIENCE / 10;
        let why = format!(
            "the replica has started, but has not connected to its primary within {seconds} s"
        );
        Err(self.with_log(ReplicaError::Refused(why)))
    }

    /// Adds the end of the replica's log to an error.
    fn with_log(&self, error: ReplicaError) -> ReplicaError {
        match std::fs::read(self.folder.join(LOG)) {
            Ok(log) if !log.is_empty() => ReplicaError::Refused(format!(
                "{error}. Its log ends with: {}",
                crate::cluster::last_lines(&log)
            )),
            _ => error,
        }
    }

    /// Removes what was made. Returns a sentence about it.
    pub(crate) async fn undo(&mut self) -> String {
        let mut removed = Vec::new();
        let mut left = Vec::new();
        if std::mem::take(&mut self.made.contents) || self.made.folder {
            if postmaster_pid(&self.folder).is_some() {
                end_postmaster(&self.folder);
            }
            let what = format!("{}", self.folder.display());
            let folder = self.made.folder;
            match clear(&self.folder, folder).await {
                Ok(()) if folder => removed.push(what),
                Ok(()) => removed.push(format!("the contents of {what}")),
                Err(error) => left.push(format!("{what} ({error})")),
            }
        }
        if std::mem::take(&mut self.made.slot) {
            let what = format!("the slot {}", self.slot);
            if drop_slot(&self.primary, &self.slot).await {
                removed.push(what);
            } else {
                left.push(format!(
                    "{what} (SELECT pg_drop_replication_slot('{}'))",
                    self.slot
                ));
            }
        }
        let sentence = |verb: &str, what: &[String]| match what {
            [] => String::new(),
            what => format!("{verb} {}", what.join(" and ")),
        };
        let said = [
            sentence("removed", &removed),
            sentence("could not remove", &left),
        ];
        let said: Vec<String> = said.into_iter().filter(|text| !text.is_empty()).collect();
        if said.is_empty() {
            "nothing was changed".to_owned()
        } else {
            said.join("; ")
        }
    }
}

/// Access to a replica whose primary keeps its pg_hba.conf elsewhere: from this host only.
const HBA: &str = "\
# Written by htap-top replica create, because the primary's file is not in its data directory.
local all all peer
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
";

/// Drops the slot; waits for a sender that is about to end. Returns false if it is still there.
pub(super) async fn drop_slot(primary: &Server, slot: &str) -> bool {
    for _ in 0..PATIENCE {
        let parameter = [Param::Text(slot)];
        if primary.client.query(DROP_SLOT, &parameter).await.is_err() {
            return false;
        }
        match primary.client.query(SLOT_STATE, &parameter).await {
            Ok(table) if table.rows.is_empty() => return true,
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => return false,
        }
    }
    false
}
