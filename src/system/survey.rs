//! Survey of a database: the objects that belong to the schema, those that do not, and the dependencies among them.
//!
//! An object is ours if it is a role or schema whose comment carries our mark, or if `htap.object` lists it.

use super::definition::{MARK, ROLES, SCHEMAS, files};
use crate::pg::{Client, Param, PgError, owners};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

const OBJECTS: &str = include_str!("../../queries/system/survey.sql");

/// The objects of version 1 of the schema, which kept no list of them.
const OBJECTS_1: &str = include_str!("../../queries/system/upgrade/1.objects");

/// Roles and schemas with our names, and their comments.
const TOP: &str = "
    SELECT 'role' AS kind, rolname::text AS name, pg_catalog.shobj_description(oid, 'pg_authid') AS comment
    FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)
    UNION ALL
    SELECT 'schema', nspname::text, pg_catalog.obj_description(oid, 'pg_namespace')
    FROM pg_catalog.pg_namespace WHERE nspname = ANY ($2)";

const RECORDED: &str = "
    SELECT kind, identity, (SELECT max(version) FROM htap.schema_version)::bigint AS version,
           (SELECT program FROM htap.schema_version ORDER BY version DESC LIMIT 1) AS program
    FROM htap.object";

/// Returns true if the tables of the record belong to the schema's owner, to the current role, or to a superuser, and
/// are tables. Reading a view that somebody else put in their place would run that person's code.
const TRUSTED: &str = "
    SELECT count(*) = 2 AS trusted
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
    WHERE n.nspname = 'htap' AND c.relname IN ('object', 'schema_version') AND c.relkind = 'r'
      AND (r.rolsuper OR r.rolname IN ('htap_owner', current_user))";

/// The kind in `htap.object` of a table that is or was a partition. Its indexes and constraints are not listed.
const PARTITION: &str = "partition";

/// A database object, as `pg_identify_object()` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// Kind of object: `table`, `materialized view`, `function`, `table constraint`, ...
    pub kind: String,
    /// Name with schema; for a function with its argument types, for a part of a table with the table.
    pub identity: String,
}

impl Thing {
    fn new(kind: &str, identity: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Returns true if it is an object in its own right, not a part of a table.
    pub fn stands_alone(&self) -> bool {
        !matches!(self.kind.as_str(), "index" | "default value" | "rule")
            && !self.identity.contains(" on ")
    }

    fn is_routine(&self) -> bool {
        matches!(self.kind.as_str(), "function" | "procedure" | "aggregate")
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.identity)
    }
}

/// The objects in a database under the schema's names.
#[derive(Debug, Default)]
pub struct Survey {
    /// Our roles that exist.
    pub roles: BTreeSet<String>,
    /// Our schemas that exist.
    pub schemas: BTreeSet<String>,
    /// Roles and schemas with our names but without our mark, such as `schema shop`.
    pub unmarked: Vec<String>,
    /// Version of the schema; `None` if it is not installed.
    pub version: Option<i64>,
    /// The program that installed that version.
    pub program: String,
    /// Objects recorded as ours, including those that no longer exist.
    recorded: BTreeSet<Thing>,
    /// Objects found, and those that each depends on.
    found: BTreeMap<Thing, BTreeSet<Thing>>,
}

impl Survey {
    /// Surveys a database. Reads the catalogues, and our own tables if the schema `htap` is ours.
    pub async fn of(client: &Client) -> Result<Self, PgError> {
        let mut survey = Self::default();
        survey.look_at_the_top(client).await?;
        let ours = survey.unmarked.is_empty() && survey.schemas.contains("htap");
        if ours && exists(client, "htap.object").await? {
            if client.query(TRUSTED, &[]).await?.first("trusted").is_true() {
                survey.read_the_record(client).await?;
            } else {
                survey.unmarked.push("table htap.object".to_owned());
            }
        }
        survey.look_into_the_schemas(client).await?;
        if survey.version.is_none() && survey.unmarked.is_empty() && survey.looks_like_version_1() {
            survey.version = Some(1);
            survey.recorded = OBJECTS_1
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(kind, identity)| Thing::new(kind, identity))
                .collect();
        }
        Ok(survey)
    }

    async fn look_at_the_top(&mut self, client: &Client) -> Result<(), PgError> {
        let (roles, schemas) = (ROLES.map(str::to_owned), SCHEMAS.map(str::to_owned));
        let found = client
            .query(TOP, &[Param::Texts(&roles), Param::Texts(&schemas)])
            .await?;
        for row in 0..found.rows.len() {
            let text = |column| found.get(row, column).text().unwrap_or_default();
            let (kind, name) = (text("kind"), text("name").to_owned());
            if !text("comment").starts_with(MARK) {
                self.unmarked.push(format!("{kind} {name}"));
            }
            let names = if kind == "role" {
                &mut self.roles
            } else {
                &mut self.schemas
            };
            names.insert(name);
        }
        Ok(())
    }

    async fn read_the_record(&mut self, client: &Client) -> Result<(), PgError> {
        let record = client.query(RECORDED, &[]).await?;
        self.version = record.first("version").int();
        record
            .first("program")
            .text()
            .unwrap_or_default()
            .clone_into(&mut self.program);
        for row in 0..record.rows.len() {
            let text = |column| record.get(row, column).text().unwrap_or_default();
            self.recorded
                .insert(Thing::new(text("kind"), text("identity")));
        }
        Ok(())
    }

    async fn look_into_the_schemas(&mut self, client: &Client) -> Result<(), PgError> {
        let schemas = SCHEMAS.map(str::to_owned);
        let partitions: Vec<String> = self
            .recorded
            .iter()
            .filter(|thing| thing.kind == PARTITION)
            .map(|thing| thing.identity.clone())
            .collect();
        let params = [Param::Texts(&schemas), Param::Texts(&partitions)];
        let found = client.query(OBJECTS, &params).await?;
        for row in 0..found.rows.len() {
            let text = |column| found.get(row, column).text();
            let thing = |kind, identity| Some(Thing::new(text(kind)?, text(identity)?));
            if let Some(here) = thing("kind", "identity") {
                let on = self.found.entry(here).or_default();
                on.extend(thing("via_kind", "via_identity"));
            }
        }
        Ok(())
    }

    /// Version 1 kept the freshness target of each view in a table, and its orders in an unpartitioned one.
    fn looks_like_version_1(&self) -> bool {
        let table = |name| self.found.contains_key(&Thing::new("table", name));
        ["shop.orders", "shop.order_items", "htap.refresh_target"]
            .into_iter()
            .all(table)
            && SCHEMAS.iter().all(|name| self.schemas.contains(*name))
    }

    /// Returns true if the object is ours.
    fn is_ours(&self, thing: &Thing) -> bool {
        self.recorded.contains(thing)
            || thing.kind == "table"
                && (self.recorded).contains(&Thing::new(PARTITION, &thing.identity))
    }

    /// Objects found that are ours.
    pub fn ours(&self) -> impl Iterator<Item = &Thing> {
        self.found.keys().filter(|thing| self.is_ours(thing))
    }

    /// Objects in our schemas, or dependent on something in them, that are not ours.
    pub fn foreign(&self) -> impl Iterator<Item = &Thing> {
        self.found.keys().filter(|thing| !self.is_ours(thing))
    }

    /// Foreign objects in their own right; leaves out those that depend on foreign objects only, such as a foreign
    /// table's constraints.
    pub fn strangers(&self) -> impl Iterator<Item = &Thing> {
        let hangs_on_strangers = |thing: &Thing| {
            let on = self.found.get(thing);
            on.is_some_and(|on| !on.is_empty() && on.iter().all(|root| !self.is_ours(root)))
        };
        self.foreign()
            .filter(move |thing| thing.stands_alone() || !hangs_on_strangers(thing))
    }

    /// Lists foreign objects whose names the schema needs.
    pub fn clashes(&self) -> Vec<String> {
        let clash = |thing: &&Thing| {
            let names = if thing.is_routine() {
                &NAMES.routines
            } else {
                &NAMES.relations
            };
            let name = thing.identity.split('(').next().unwrap_or_default();
            names.contains(name) || !thing.is_routine() && is_partition_name(name)
        };
        self.foreign().filter(clash).map(Thing::to_string).collect()
    }

    /// Lists foreign objects that depend on one of these objects of ours.
    pub fn hanging_on(&self, roots: &[&str]) -> Vec<String> {
        let hangs = |thing: &&Thing| {
            let on = self.found.get(thing);
            on.is_some_and(|on| {
                on.iter()
                    .any(|root| roots.contains(&root.identity.as_str()))
            })
        };
        self.foreign().filter(hangs).map(Thing::to_string).collect()
    }

    /// Objects to record as ours after an installation that began at `before`: those that exist now and were not
    /// foreign then.
    pub fn to_record<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Thing> {
        self.found.keys().filter(|thing| {
            let foreign = before.found.contains_key(thing) && !before.is_ours(thing);
            let partition = self
                .recorded
                .contains(&Thing::new(PARTITION, &thing.identity));
            !foreign && !partition
        })
    }
}

async fn exists(client: &Client, relation: &str) -> Result<bool, PgError> {
    match owners::unresolved(client, relation).await? {
        None => Ok(true),
        Some(error) if error.code() == "42P01" => Ok(false),
        Some(error) => Err(error),
    }
}

/// The names that the schema's files create.
#[derive(Debug)]
struct Names {
    relations: BTreeSet<String>,
    routines: BTreeSet<String>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names {
        relations: BTreeSet::new(),
        routines: BTreeSet::new(),
    };
    for line in files().flat_map(|(_, sql)| sql.lines()) {
        match created(line) {
            Some(("FUNCTION", name)) => names.routines.insert(name),
            Some((_, name)) => names.relations.insert(name),
            None => continue,
        };
    }
    names
});

/// Parses a line of the schema's files: returns the kind and name of the object that it creates. An index is in its
/// table's schema.
fn created(line: &str) -> Option<(&str, String)> {
    let mut words = line
        .strip_prefix("CREATE ")?
        .split([' ', '(', ';'])
        .filter(|word| {
            let decoration = [
                "OR",
                "REPLACE",
                "UNIQUE",
                "MATERIALIZED",
                "IF",
                "NOT",
                "EXISTS",
                "ON",
            ];
            !decoration.contains(word)
        });
    let (what, name) = (words.next()?, words.next()?);
    match what {
        "TABLE" | "VIEW" | "SEQUENCE" | "FUNCTION" => Some((what, name.to_owned())),
        "INDEX" => {
            let (schema, _) = words.next()?.split_once('.')?;
            Some((what, format!("{schema}.{name}")))
        }
        _ => None,
    }
}

/// Returns true if a relation of this name, with schema, would clash with a partition.
fn is_partition_name(name: &str) -> bool {
    ["orders", "order_items", "payments", "shipments"]
        .iter()
        .filter_map(|table| {
            name.strip_prefix("shop.")?
                .strip_prefix(table)?
                .strip_prefix('_')
        })
        .any(|suffix| {
            let month = |(position, c): (usize, char)| match position {
                4 => c == '_',
                _ => c.is_ascii_digit(),
            };
            suffix == "default" || suffix.len() == 7 && suffix.chars().enumerate().all(month)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_tell_which_names_they_need() {
        for name in [
            "shop.orders",
            "shop.order_counter",
            "mart.fact_sales",
            "mart.fact_sales_mv",
            "mart.inventory_alert",
            "mart.fact_sales_mv_key",
            "shop.orders_user_id_idx",
            "htap.object",
            "htap.load",
        ] {
            assert!(NAMES.relations.contains(name), "{name}");
        }
        for name in ["shop.create_order", "htap.make_month", "htap.rebuild"] {
            assert!(NAMES.routines.contains(name), "{name}");
        }
        assert!(
            is_partition_name("shop.orders_2026_05") && is_partition_name("shop.payments_default")
        );
        for other in [
            "shop.orders_2026_05_old",
            "shop.orders",
            "mart.orders_2026_05",
            "shop.orders_20_2605",
        ] {
            assert!(!is_partition_name(other), "{other}");
        }
    }

    #[test]
    fn what_clashes_is_what_has_a_name_of_ours_and_is_not_recorded() {
        let mut survey = Survey::default();
        let ours = Thing::new("table", "shop.users");
        let on_users = BTreeSet::from([ours.clone()]);
        survey.recorded.insert(ours.clone());
        survey
            .recorded
            .insert(Thing::new(PARTITION, "shop.orders_2026_05"));
        survey.found.insert(ours, BTreeSet::new());
        for (kind, identity) in [
            ("table", "shop.orders_2026_05"),
            ("table", "shop.orders_2026_06"),
            ("table", "shop.mine"),
            ("view", "shop.payments"),
            ("function", "shop.create_order(integer)"),
            ("function", "shop.orders(integer)"),
            ("type", "shop.order_items"),
        ] {
            survey
                .found
                .insert(Thing::new(kind, identity), BTreeSet::new());
        }
        survey
            .found
            .insert(Thing::new("view", "public.report"), on_users);
        let clashes = [
            "function shop.create_order(integer)",
            "table shop.orders_2026_06",
            "type shop.order_items",
            "view shop.payments",
        ];
        assert_eq!(survey.clashes(), clashes);
        assert_eq!(survey.hanging_on(&["shop.users"]), ["view public.report"]);
        assert_eq!(survey.foreign().count(), 7);
        assert_eq!(survey.ours().count(), 2);
    }
}
