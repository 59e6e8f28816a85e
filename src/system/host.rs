//! `htap-top init --host-figures`: the function by which PostgreSQL reads the use of its machine, `htap_host.files()`.

use super::init::{InitError, connect};
use crate::pg::{Client, PgError, Target};

const INSTALL: &str = include_str!("../../queries/host/install.sql");
/// Fails if something depends on them.
const REMOVE: &str = "\
DROP FUNCTION htap_host.files(pg_catalog.int4[]);
DROP SCHEMA htap_host;
";
/// Part of the schema's comment, by which the schema is recognised.
const MARK: &str = "init --host-figures --uninstall";

const CIRCUMSTANCES: &str = "
    SELECT (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) AS superuser,
           pg_catalog.pg_is_in_recovery() AS standby,
           pg_catalog.version() AS version,
           EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'htap_monitor') AS monitor,
           n.oid IS NOT NULL AS present,
           pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid)
             + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid)
             + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS t WHERE t.typnamespace = n.oid) AS objects
    FROM (SELECT) AS one
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'htap_host'";

/// Reads this session's own process.
const TRIAL: &str = "
    SELECT pg_catalog.count(f.content) = 2 AS works
    FROM htap_host.files(ARRAY[pg_catalog.pg_backend_pid()]) AS f
    WHERE f.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";

/// The change to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Install the function, or replace an earlier one of this program.
    Install,
    /// Remove it.
    Remove,
}

/// The statements that install it.
pub(crate) fn script() -> &'static str {
    INSTALL
}

/// A change that can be made.
#[derive(Debug)]
pub(crate) struct Prepared {
    client: Client,
    change: Change,
    /// The statements; empty if there is nothing to change.
    pub(crate) sql: String,
}

impl Prepared {
    /// Checks that the change can be made. Changes nothing.
    pub(crate) async fn new(target: &Target, change: Change) -> Result<Self, InitError> {
        let client = connect(target).await?;
        let told = client.query(CIRCUMSTANCES, &[]).await;
        let told = told.map_err(InitError::server("read the catalogue"))?;
        let flag = |name: &str| told.first(name).is_true();
        let refused = |why: &str| Err(InitError::Refused(why.to_owned()));
        if !flag("superuser") {
            return Err(InitError::Privilege(
                "only a superuser may let a function read the server's files: connect as one, such as postgres. Managed \
                 services give none; use their own figures of the machine there"
                    .to_owned(),
            ));
        }
        if flag("standby") {
            return refused(
                "the server is a standby, which cannot be written: connect to its primary; the function arrives by replication",
            );
        }
        let comment = told.first("comment").text().unwrap_or_default();
        let ours = comment.contains(MARK) && told.first("objects").int() == Some(1);
        if flag("present") && !ours {
            return refused(
                "the schema htap_host has other contents than htap-top's function, or was created by somebody else: it is left \
                 alone. Rename it, or remove what does not belong there",
            );
        }
        let sql = match (change, flag("present")) {
            (Change::Remove, false) => String::new(),
            (Change::Remove, true) => REMOVE.to_owned(),
            (Change::Install, _) if !flag("monitor") => {
                return refused(
                    "the role htap_monitor, which may call the function, does not exist: create it as the README says, under \
                     \"Connect to your own server\"",
                );
            }
            (Change::Install, _)
                if !told
                    .first("version")
                    .text()
                    .unwrap_or_default()
                    .contains("linux") =>
            {
                return refused("the server does not run on Linux: there is no /proc to read");
            }
            (Change::Install, true) => format!("{REMOVE}\n{INSTALL}"),
            (Change::Install, false) => INSTALL.to_owned(),
        };
        Ok(Self {
            client,
            change,
            sql,
        })
    }

    /// Makes the change, all or nothing, and tries the function.
    pub(crate) async fn run(self) -> Result<(), InitError> {
        let what = match self.change {
            Change::Install => "install htap_host.files()",
            Change::Remove => "remove htap_host.files()",
        };
        let client = &self.client;
        let done = async {
            client.batch(&format!("BEGIN;\n{}", self.sql)).await?;
            if self.change == Change::Remove {
                return Ok(true);
            }
            let tried = client.query(TRIAL, &[]).await?;
            Ok::<bool, PgError>(tried.first("works").is_true())
        };
        let works = done.await.map_err(InitError::server(what))?;
        if !works {
            return Err(InitError::Refused(
                "the server cannot read its own files in /proc (mounted with hidepid, or not at all): nothing was installed"
                    .to_owned(),
            ));
        }
        client
            .batch("COMMIT")
            .await
            .map_err(InitError::server(what))
    }
}
