//! Checks that the schema can be installed in the connected database, and explains the remedy if not.

use super::InitError;
use crate::pg::{Client, quote_ident};
use crate::system::definition::{MARK, ROLES, SCHEMAS, VERSION};
use crate::system::schema;
use crate::system::survey::Survey;

/// The oldest major version the schema supports, as server_version_num.
const OLDEST: i64 = 130_000;

const CIRCUMSTANCES: &str = "
    SELECT r.rolsuper, r.rolcreaterole, d.datistemplate,
           pg_catalog.has_database_privilege(d.oid, 'CREATE') AS may_create,
           pg_catalog.pg_has_role('pg_monitor', 'MEMBER WITH ADMIN OPTION')
           AND pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER WITH ADMIN OPTION') AS may_grant,
           pg_catalog.pg_is_in_recovery() AS standby,
           pg_catalog.current_setting('server_version_num')::bigint AS version,
           r.rolname::text AS role, d.datname::text AS database
    FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d
    WHERE r.rolname = current_user AND d.datname = current_database()";

/// Returns an error if the schema cannot or should not be installed.
pub(in crate::system) async fn check(client: &Client, before: &Survey) -> Result<(), InitError> {
    let answer = client
        .query(CIRCUMSTANCES, &[])
        .await
        .map_err(InitError::server("read the catalogue"))?;
    let is = |column: &str| answer.first(column).is_true();
    let text = |column: &str| answer.first(column).text().unwrap_or_default();
    let version = answer.first("version").int().unwrap_or(0);
    let database = text("database");
    let refused = |why: String| Err(InitError::Refused(why));
    if version < OLDEST {
        return refused(format!(
            "the schema needs PostgreSQL {} or newer; this is server_version_num {version}",
            OLDEST / 10_000
        ));
    }
    if is("standby") {
        return refused("this server is a standby: install the schema on its primary".to_owned());
    }
    if is("datistemplate") {
        return refused(format!(
            "{database} is a template: every new database would hold the shop. Name another one with -d"
        ));
    }
    refuse_what_is_in_the_way(before).map_err(InitError::Refused)?;
    if is("rolsuper") {
        return Ok(());
    }
    let role = text("role");
    let (mut lacking, mut cure) = (Vec::new(), Vec::new());
    let name = quote_ident(role);
    if before.schemas.len() < SCHEMAS.len() && !is("may_create") {
        lacking.push(format!("CREATE on database {database}"));
        let database = quote_ident(database);
        cure.push(format!("GRANT CREATE ON DATABASE {database} TO {name}"));
    }
    let lacks_a_role = before.roles.len() < ROLES.len();
    if lacks_a_role && !is("rolcreaterole") {
        lacking.push("CREATEROLE".to_owned());
        cure.push(format!("ALTER ROLE {name} CREATEROLE"));
    }
    // Up to 15, CREATEROLE is enough to grant any role but a superuser.
    if lacks_a_role && version >= 160_000 && !is("may_grant") {
        lacking.push("ADMIN OPTION on pg_monitor and pg_signal_backend".to_owned());
        cure.push(format!(
            "GRANT pg_monitor, pg_signal_backend TO {name} WITH ADMIN OPTION"
        ));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    Err(InitError::Privilege(format!(
        "nothing was changed: role {role} lacks {}. Connect as a superuser (-U postgres), or have one run: {}",
        lacking.join(", "),
        cure.join("; ")
    )))
}

/// Refuses names that others use, foreign objects that depend on something the upgrade recreates, and a schema newer
/// than this program.
fn refuse_what_is_in_the_way(before: &Survey) -> Result<(), String> {
    if !before.unmarked.is_empty() {
        return Err(format!(
            "nothing was changed: there already is a {} that htap-top did not create (its comment would begin \
             with \"{MARK}\"). Rename it, or install into another database or cluster",
            before.unmarked.join(", a ")
        ));
    }
    if let Some(version) = before.version.filter(|version| *version > VERSION) {
        return Err(format!(
            "nothing was changed: the schema here has version {version}, installed by {}, and this program knows \
             only version {VERSION}: use the newer program",
            before.program
        ));
    }
    let clashes = before.clashes();
    if !clashes.is_empty() {
        return Err(format!(
            "nothing was changed: the schema needs the names of objects that htap-top did not create: {}. Rename or move them",
            some(&clashes)
        ));
    }
    let hanging = before.hanging_on(schema::replaced(before.version));
    if !hanging.is_empty() {
        return Err(format!(
            "nothing was changed: the upgrade recreates tables and views on which objects depend that htap-top \
             did not create: {}. Drop these, and create them again afterwards",
            some(&hanging)
        ));
    }
    Ok(())
}

/// Joins the first ten of a list, and says how many more there are.
pub(in crate::system) fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
