//! The ledger of loads, kept in htap.load and htap.load_part: the parameters of each load, and the parts done.

use super::Loaded;
use crate::pg::{Class, Client, Param, PgError};
use crate::system::generate::{RECIPE, Shape, World};
use std::collections::BTreeSet;

/// The parameters of a load; the same entry gives the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Size of the shop.
    pub shape: Shape,
    /// Seed of the random numbers, below 2^63.
    pub seed: u64,
    /// End of the history, in milliseconds since the epoch.
    pub end_ms: i64,
    /// Seconds by which the shop's local time is ahead of UTC.
    pub offset_s: i64,
}

/// State of the data in a shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The shop is empty.
    Empty,
    /// Rows that no load wrote, or a load begun by another version of this program.
    Filled,
    /// A load that was interrupted, with its number.
    Begun(i64, Entry),
    /// A load that is complete.
    Complete(Entry),
}

/// Selects the newest load. If its users are gone, a TRUNCATE has undone it.
const NEWEST: &str = "
    SELECT load_id, orders, days::bigint, users, products, seed, (extract(epoch FROM ends_at) * 1000)::bigint AS end_ms,
           utc_offset::bigint, recipe::bigint, finished_at IS NOT NULL AS finished,
           EXISTS (SELECT FROM shop.users) AS has_users,
           EXISTS (SELECT FROM htap.load_part AS p WHERE p.load_id = l.load_id) AS has_parts
    FROM htap.load AS l ORDER BY load_id DESC LIMIT 1";

const ROWS: &str = "
    SELECT EXISTS (SELECT FROM shop.users) OR EXISTS (SELECT FROM shop.categories)
        OR EXISTS (SELECT FROM shop.products) OR EXISTS (SELECT FROM shop.orders) AS filled";

/// Returns the state of the data in this database's shop. The schema must exist.
pub async fn standing(client: &Client) -> Result<Standing, PgError> {
    let newest = client.query(NEWEST, &[]).await?;
    let int = |column| newest.first(column).int().unwrap_or_default();
    let entry = Entry {
        shape: Shape {
            orders: int("orders") as u64,
            days: int("days"),
            products: int("products") as usize,
            users: int("users"),
            sale_hours: 0,
        },
        seed: int("seed") as u64,
        end_ms: int("end_ms"),
        offset_s: int("utc_offset"),
    };
    let is = |column| newest.first(column).is_true();
    if !newest.rows.is_empty() && is("has_users") == is("has_parts") {
        return Ok(if is("finished") {
            Standing::Complete(entry)
        } else if int("recipe") == RECIPE {
            Standing::Begun(int("load_id"), entry)
        } else {
            Standing::Filled
        });
    }
    let rows = client.query(ROWS, &[]).await?;
    Ok(if rows.first("filled").is_true() {
        Standing::Filled
    } else {
        Standing::Empty
    })
}

impl Entry {
    /// Records a load before it begins; returns its number.
    pub async fn open(&self, client: &Client) -> Result<i64, PgError> {
        let insert = "
            INSERT INTO htap.load (orders, days, users, products, seed, ends_at, utc_offset, recipe)
            VALUES ($1, $2, $3, $4, $5, to_timestamp($6::float8 / 1000), $7, $8) RETURNING load_id";
        let Shape {
            orders,
            days,
            products,
            users,
            ..
        } = self.shape;
        let numbers = [
            orders as i64,
            days,
            users,
            products as i64,
            self.seed as i64,
            self.end_ms,
            self.offset_s,
            RECIPE,
        ];
        let written = client.query(insert, &numbers.map(Param::Int)).await?;
        Ok(written.first("load_id").int().unwrap_or_default())
    }

    pub(super) fn world(&self) -> Result<World, PgError> {
        World::new(self.shape, self.seed, self.end_ms, self.offset_s)
            .ok_or_else(|| PgError::new(Class::Statement, "a shop needs products"))
    }
}

/// Records that a load is complete, summaries included.
pub async fn close(client: &Client, load_id: i64) -> Result<(), PgError> {
    let update = "UPDATE htap.load SET finished_at = clock_timestamp() WHERE load_id = $1";
    client.execute(update, &[Param::Int(load_id)]).await?;
    Ok(())
}

/// Takes the lock that each loading session holds.
pub(super) const SHARE: &str = "SELECT pg_advisory_lock_shared(hashtext('htap.load'), 1)";

/// Makes this session the only one that fills this shop. Sessions of a killed load may not have noticed yet; this waits
/// for them, because they would load the same parts again.
pub(super) async fn lock(client: &Client) -> Result<(), PgError> {
    let alone = "SET lock_timeout = '4s'; SELECT pg_advisory_lock(hashtext('htap.load'), 0)";
    client
        .batch(alone)
        .await
        .map_err(|error| match error.code() {
            "55P03" => PgError::new(
                Class::Statement,
                "another session is filling this shop: wait for it, or end it",
            ),
            _ => error,
        })?;
    client
        .batch(
            "SET lock_timeout = 0;
             SELECT pg_advisory_lock(hashtext('htap.load'), 1);
             SELECT pg_advisory_unlock(hashtext('htap.load'), 1)",
        )
        .await
}

/// Returns the parts that are loaded, and the rows they hold.
pub(super) async fn done(
    client: &Client,
    load_id: i64,
) -> Result<(BTreeSet<usize>, Loaded), PgError> {
    let select = "SELECT part::bigint, orders, items FROM htap.load_part WHERE load_id = $1";
    let table = client.query(select, &[Param::Int(load_id)]).await?;
    let int = |row, column| table.get(row, column).int().unwrap_or_default();
    let mut loaded = Loaded::default();
    let mut parts = BTreeSet::new();
    for row in 0..table.rows.len() {
        parts.insert(int(row, "part") as usize);
        loaded.orders += int(row, "orders") as u64;
        loaded.items += int(row, "items") as u64;
    }
    Ok((parts, loaded))
}
