//! Fills an empty shop with a generated history, by COPY over several sessions.
//!
//! The history is cut into parts: ranges of hours with about ten thousand orders at most. Each part is loaded in one
//! transaction, together with a row in `htap.load_part` that records it. After an interruption the same call continues
//! with the missing parts.

mod ledger;
mod part;
mod rows;

pub use ledger::{Entry, Standing, close, standing};

use crate::pg::{Class, Client, Param, PgError, Settings, Target};
use crate::system::generate::{Shape, World};
use chrono::{DateTime, Local};
use part::Part;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Parameters of the demo's history.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Number of orders.
    pub orders: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// End of the history, in milliseconds since the epoch.
    pub end_ms: i64,
}

/// Number of rows loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Orders.
    pub orders: u64,
    /// Order lines.
    pub items: u64,
    /// Rows of all tables; 0 for parts that an earlier call loaded.
    pub rows: u64,
}

/// Progress of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows present, including those of earlier calls.
    pub loaded: Loaded,
    /// Number of orders when the load is complete.
    pub orders: u64,
}

/// Number of orders in a part: enough to justify a transaction, few enough to hold them in memory and to keep every
/// session busy.
fn part_orders(orders: u64) -> u64 {
    (orders / 16).clamp(500, 10_000)
}

/// Fills the empty schema of [`super::schema::create`] with the demo's history. Calls `progress` with the share that is
/// done, from 0 to 1, and the current step.
pub async fn fill(
    target: &Target,
    fill: Fill,
    mut progress: impl FnMut(f64, &str),
) -> Result<Loaded, PgError> {
    let entry = Entry {
        shape: Shape::demo(fill.orders),
        seed: fill.seed,
        end_ms: fill.end_ms,
        offset_s: offset_s(fill.end_ms),
    };
    let client = Client::open(target, &Settings::of_work(Duration::ZERO)).await?;
    let load_id = entry.open(&client).await?;
    let loaded = load(target, &client, load_id, entry, 2, |at| {
        let share = at.loaded.orders as f64 / at.orders.max(1) as f64;
        progress(0.9 * share, "loading orders");
    });
    let loaded = loaded.await?;
    close(&client, load_id).await?;
    progress(1.0, "loaded");
    Ok(loaded)
}

/// Returns the offset of the local time zone from UTC at a time, in seconds. The shop's days follow local time.
pub fn offset_s(at_ms: i64) -> i64 {
    DateTime::from_timestamp_millis(at_ms).map_or(0, |at| {
        i64::from(at.with_timezone(&Local).offset().local_minus_utc())
    })
}

/// Loads the missing parts of load `load_id` over `jobs` sessions besides `client`, then runs ANALYZE. Returns an error
/// if another session is filling this shop.
pub async fn load(
    target: &Target,
    client: &Client,
    load_id: i64,
    entry: Entry,
    jobs: usize,
    mut progress: impl FnMut(Progress),
) -> Result<Loaded, PgError> {
    ledger::lock(client).await?;
    let (done, mut loaded) = ledger::done(client, load_id).await?;
    let world = blocking(move || entry.world()).await??;
    let (world, way) = (Arc::new(world), Way::of(target, client).await?);
    if !done.contains(&0) {
        let months = "SELECT htap.make_months(to_timestamp($1))";
        let since = Param::Float((world.start_ms() / 1000) as f64);
        client.query(months, &[since]).await?;
        let part = blocking({
            let world = Arc::clone(&world);
            move || Part::dimensions(&world)
        })
        .await?;
        client.batch(LOOSE).await?;
        let session = way.session(target).await?;
        part.load(&session, &way, load_id, 0).await?;
    }
    let missing: VecDeque<_> = world
        .parts(part_orders(entry.shape.orders))
        .into_iter()
        .zip(1..)
        .map(|(hours, number)| (number, hours))
        .filter(|(number, _)| !done.contains(number))
        .collect();
    let orders = entry.shape.orders;
    progress(Progress { loaded, orders });
    let missing: Missing = Arc::new(Mutex::new(missing));
    let (say, mut hear) = mpsc::channel(jobs.max(1));
    let mut tasks = JoinSet::new();
    for _ in 0..if way.alone { 1 } else { jobs.max(1) } {
        tasks.spawn(work(
            way.session(target).await?,
            way.clone(),
            load_id,
            Arc::clone(&world),
            Arc::clone(&missing),
            say.clone(),
        ));
    }
    drop(say);
    while let Some(part) = hear.recv().await {
        loaded.add(part);
        progress(Progress { loaded, orders });
    }
    // The first failure makes the work of the others useless; they are aborted on return.
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| PgError::new(Class::Statement, error.to_string()))??;
    }
    client.batch(TIGHT).await?;
    client.batch(FINISH).await?;
    client.batch(VACUUM).await?;
    Ok(loaded)
}

/// The fillfactor of the inventory while it is loaded: pages get more room than its final fillfactor asks for. Page
/// pruning starts when a page has less free space than the fillfactor reserves; a page filled exactly to it would be
/// pruned at every access after the first update.
const LOOSE: &str = "ALTER TABLE shop.inventory SET (fillfactor = 60)";
/// The fillfactor in queries/system/02_shop.sql.
const TIGHT: &str = "ALTER TABLE shop.inventory SET (fillfactor = 90)";

/// Moves the sequences past the last number. The commit waits for the disk, and so for everything loaded before it:
/// until then, no row can be marked as visible to all.
const FINISH: &str = "
    BEGIN;
    SET LOCAL synchronous_commit = on;
    SELECT setval(pg_get_serial_sequence('shop.users', 'user_id'), (SELECT max(user_id) FROM shop.users));
    SELECT setval(pg_get_serial_sequence('shop.categories', 'category_id'),
                  (SELECT max(category_id) FROM shop.categories));
    SELECT setval(pg_get_serial_sequence('shop.products', 'product_id'),
                  (SELECT max(product_id) FROM shop.products));
    SELECT pg_current_xact_id();
    COMMIT";

/// Marks the rows as committed; otherwise the first reader would have to, and would write every page again.
const VACUUM: &str = "VACUUM (ANALYZE) shop.users, shop.categories, shop.products, shop.inventory, shop.orders, \
                      shop.order_items, shop.payments, shop.shipments, shop.user_events";

impl Loaded {
    fn add(&mut self, part: Self) {
        self.orders += part.orders;
        self.items += part.items;
        self.rows += part.rows;
    }
}

/// Parts that no session has begun: number and hours.
type Missing = Arc<Mutex<VecDeque<(usize, Range<usize>)>>>;

/// Loads parts until none is left or one fails. A failure empties the list for all sessions.
async fn work(
    client: Client,
    way: Way,
    load_id: i64,
    world: Arc<World>,
    missing: Missing,
    say: mpsc::Sender<Loaded>,
) -> Result<(), PgError> {
    let next = || missing.lock().ok().and_then(|mut list| list.pop_front());
    while let Some((number, hours)) = next() {
        let world = Arc::clone(&world);
        let part = blocking(move || Part::orders(&world, hours)).await?;
        if let Err(error) = part.load(&client, &way, load_id, number).await {
            if let Ok(mut list) = missing.lock() {
                list.clear();
            }
            return Err(error);
        }
        let _ = say.send(part.loaded).await;
    }
    Ok(())
}

/// The method of loading rows without firing triggers for each: references are correct by construction, and the
/// summaries are filled afterwards. A superuser disables triggers for its sessions. Any other owner disables the
/// capture of inserts for the transaction, which locks out other writers, so only one session loads; references are
/// then checked, and the load takes several times longer.
#[derive(Clone, Debug)]
struct Way {
    /// Value of session_replication_role, if the session may set it.
    role: Option<&'static str>,
    before: String,
    after: String,
    alone: bool,
}

const INSERT_TRIGGERS: &str = "
    SELECT tgrelid::regclass::text AS relation, quote_ident(tgname) AS trigger FROM pg_catalog.pg_trigger
    WHERE tgrelid IN ('shop.orders'::regclass, 'shop.order_items'::regclass) AND NOT tgisinternal
      AND tgenabled = 'O' AND tgtype & 4 <> 0
    ORDER BY 1, 2";

impl Way {
    async fn of(target: &Target, client: &Client) -> Result<Self, PgError> {
        let way = Self {
            role: Some("replica"),
            before: String::new(),
            after: String::new(),
            alone: false,
        };
        match way.session(target).await {
            Ok(_) => Ok(way),
            Err(error) if error.code() == "42501" => Self::of_owner(client).await,
            Err(error) => Err(error),
        }
    }

    async fn of_owner(client: &Client) -> Result<Self, PgError> {
        let triggers = client.query(INSERT_TRIGGERS, &[]).await?;
        let switch = |wanted: &str| {
            let mut sql = String::new();
            for row in 0..triggers.rows.len() {
                let text = |column| triggers.get(row, column).text().unwrap_or_default();
                let (relation, trigger) = (text("relation"), text("trigger"));
                let _ = write!(sql, "ALTER TABLE {relation} {wanted} TRIGGER {trigger};");
            }
            sql
        };
        Ok(Self {
            role: None,
            before: switch("DISABLE"),
            after: switch("ENABLE"),
            alone: true,
        })
    }

    /// Opens a session that loads. It may commit asynchronously: a crash of the server loses a part together with the
    /// row that records it.
    async fn session(&self, target: &Target) -> Result<Client, PgError> {
        let target = target.with_application_name("htap-top load");
        let mut settings = Settings::of_work(Duration::ZERO).with("synchronous_commit", "off");
        if let Some(role) = self.role {
            settings = settings.with("session_replication_role", role);
        }
        let client = Client::open(&target, &settings).await?;
        client.batch(ledger::SHARE).await?;
        Ok(client)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PgError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PgError::new(Class::Statement, error.to_string()))
}
