//! A PgBouncer for one test.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use crate::it::server::{Patience, Server};
use htap_top::pg::{Client, Target};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Bouncer {
    /// Ends it when this process is gone, however that happened.
    lifeline: Child,
    /// The user and group that it runs as: it refuses to run as root.
    owner: (u32, u32),
    folder: tempfile::TempDir,
    port: u16,
}

impl Bouncer {
    /// Starts one in this mode in front of a server, with `size` connections for each role and database.
    pub async fn start(server: &Server, mode: &str, size: u8, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let users = folder.path().join("users");
        let roles = [
            "postgres",
            "htap_oltp",
            "htap_olap",
            "htap_refresh",
            "htap_monitor",
            "hostile",
        ];
        let text: String = roles.map(|role| format!("\"{role}\" \"\"\n")).concat();
        std::fs::write(&users, text).unwrap();
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
             default_pool_size = {size}\nmax_client_conn = 500\nlogfile = {}\n{settings}\n",
            server.socket_dir().display(),
            server.port(),
            users.display(),
            folder.path().join("log").display(),
        );
        let ini = folder.path().join("ini");
        std::fs::write(&ini, text).unwrap();
        let owner = std::fs::metadata(server.socket_dir()).unwrap();
        let owner = (owner.uid(), owner.gid());
        std::os::unix::fs::chown(folder.path(), Some(owner.0), Some(owner.1)).unwrap();
        let bouncer = Self {
            lifeline: run(&ini, owner),
            owner,
            folder,
            port,
        };
        bouncer.ready().await;
        bouncer
    }

    /// Waits until it answers.
    async fn ready(&self) {
        let patience = Patience::begin();
        // This is allowed in statement mode, too.
        while Client::connect(&self.target("postgres", "postgres"))
            .await
            .is_err()
        {
            assert!(
                patience.lasts(),
                "no PgBouncer: run apt-get install pgbouncer\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
            crate::it::server::pause().await;
        }
    }

    /// Ends it as kill -9 does.
    pub fn kill(&mut self) {
        drop(self.lifeline.stdin.take());
        let _ = self.lifeline.wait();
    }

    /// Starts it again after [`Self::kill`], on the same port.
    pub async fn start_again(&mut self) {
        self.lifeline = run(&self.folder.path().join("ini"), self.owner);
        self.ready().await;
    }

    /// Connection settings for the program.
    pub fn conninfo(&self, dbname: &str, user: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user={user} dbname={dbname} sslmode=disable",
            self.port
        )
    }

    pub fn target(&self, dbname: &str, user: &str) -> Target {
        Target::resolve(
            &htap_top::pg::Flags {
                conninfo: Some(self.conninfo(dbname, user)),
                ..Default::default()
            },
            &|_| None,
        )
        .unwrap()
        .with_application_name("test")
    }
}

/// Runs it until the end of its lifeline's input.
fn run(ini: &Path, (uid, gid): (u32, u32)) -> Child {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-c", "pgbouncer -q \"$0\" & cat > /dev/null; kill -9 $!"])
        .arg(ini)
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
        .uid(uid)
        .gid(gid)
        .process_group(0)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.kill();
    }
}
