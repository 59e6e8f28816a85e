//! A server that a test may reconfigure.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

use super::certificates::Pair;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// pg_hba.conf distinguishes by role.
const HBA: &str = "
local   all all       trust
hostssl all tlsonly   all trust
hostnossl all plainonly all trust
host    all either    all trust
host    all secret    all scram-sha-256
hostssl all certified all cert
";

/// A separate server: the test changes its certificates and switches TLS off and on.
pub struct Server {
    bin: PathBuf,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

/// The folder of the newest installed server programs.
pub fn newest_bin() -> PathBuf {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    found
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| {
            let major = bin.parent().and_then(Path::file_name).unwrap();
            major.to_string_lossy().parse::<u32>().unwrap_or(0)
        })
        .unwrap_or_else(|| panic!("no PostgreSQL server: run apt-get install postgresql"))
}

fn postgres_ids() -> Option<(u32, u32)> {
    if !nix::unistd::Uid::effective().is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

pub fn own(path: &Path) {
    if let Some((uid, gid)) = postgres_ids() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

impl Server {
    /// Starts a server from `bin`; root switches to postgres for it.
    pub fn start(bin: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path());
        let port = free_port();
        let server = Self {
            bin: bin.to_owned(),
            folder,
            port,
        };
        server.run("initdb", &["-A", "trust", "-U", "postgres", "--no-sync"]);
        fs::write(server.data().join("pg_hba.conf"), HBA).unwrap();
        let settings = format!(
            "port={port}\nlisten_addresses='localhost'\nunix_socket_directories='{}'\nfsync=off\n",
            server.folder.path().display()
        );
        fs::write(server.data().join("postgresql.auto.conf"), settings).unwrap();
        server.run("pg_ctl", &["-w", "-l", "/dev/null", "start"]);
        server.sql(
            "CREATE ROLE either LOGIN; CREATE ROLE tlsonly LOGIN; CREATE ROLE plainonly LOGIN;
             CREATE ROLE certified LOGIN; CREATE ROLE secret LOGIN PASSWORD 'canary'",
        );
        server.sql("CREATE DATABASE readonly");
        server.sql("ALTER DATABASE readonly SET default_transaction_read_only = on");
        server
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, args: &[&str]) {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.bin.join(program));
        command
            .arg("-D")
            .arg(self.data())
            .args(args)
            .current_dir("/");
        if let Some((uid, gid)) = postgres_ids() {
            command.uid(uid).gid(gid);
        }
        // The server started by pg_ctl would keep inherited pipes open, so it gets none.
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        assert!(command.status().unwrap().success(), "{program} failed");
    }

    pub fn sql(&self, sql: &str) -> String {
        let folder = self.folder.path().display();
        let conninfo = format!(
            "host={folder} port={} user=postgres dbname=postgres",
            self.port
        );
        let output = psql(&conninfo, sql, Path::new("/nonexistent"));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Changes a server setting and waits until new sessions see it.
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.sql("SELECT pg_reload_conf()");
        while self.sql(&format!("SHOW {name}")) != value {}
    }

    pub fn install(&self, name: &str, pair: &Pair) {
        let write = |ending: &str, pem: Vec<u8>| {
            let path = self.data().join(format!("{name}.{ending}"));
            write_private(&path, &pem);
            own(&path);
        };
        write("crt", pair.certificate.to_pem().unwrap());
        write("key", pair.key.private_key_to_pem_pkcs8().unwrap());
        // The files are only read when TLS is switched on, and always as a pair.
        self.set("ssl", "off");
        self.set("ssl_cert_file", &format!("{name}.crt"));
        self.set("ssl_key_file", &format!("{name}.key"));
        self.set("ssl", "on");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

pub fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn psql(conninfo: &str, sql: &str, home: &Path) -> Output {
    Command::new("psql")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .args(["-XAtqw", "-c", sql, conninfo])
        .output()
        .unwrap()
}
