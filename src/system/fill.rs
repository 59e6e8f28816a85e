//! Filling an empty shop with a made-up history, by COPY over several sessions.
//!
//! The history is cut into parts, each a stretch of hours with at most some ten thousand orders. A part is loaded
//! in one transaction, with a row in `htap.load_part` that says so: whatever interrupts the filling, the same
//! call goes on with the parts that are missing.

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

/// What to fill the demo with.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Number of orders.
    pub orders: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// End of the history, in milliseconds since the epoch.
    pub end_ms: i64,
}

/// How many rows were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Orders.
    pub orders: u64,
    /// Order lines.
    pub items: u64,
    /// Rows of all tables; 0 for what an earlier call loaded.
    pub rows: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is there, from earlier calls too.
    pub loaded: Loaded,
    /// Orders that will be there in the end.
    pub orders: u64,
}

/// Orders of a part: enough to make a transaction worth while, few enough to be held in memory and to give
/// every session something to do.
fn part_orders(orders: u64) -> u64 {
    (orders / 16).clamp(500, 10_000)
}

/// Fills the empty schema of [`super::schema::create`] with the demo's history. `progress` is told the share
/// that is done, from 0 to 1, and what is being done.
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

/// How far the local clock is ahead of UTC at a time, in seconds: the shop lives by it.
pub fn offset_s(at_ms: i64) -> i64 {
    DateTime::from_timestamp_millis(at_ms).map_or(0, |at| {
        i64::from(at.with_timezone(&Local).offset().local_minus_utc())
    })
}

/// Loads what is missing of load `load_id`, over `jobs` sessions besides `client`, and tells the planner.
/// Where another session fills this shop, that is the error.
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
    // The first that failed has made the others' work useless; they end with this.
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| PgError::new(Class::Statement, error.to_string()))??;
    }
    client.batch(TIGHT).await?;
    client.batch(FINISH).await?;
    client.batch(VACUUM).await?;
    Ok(loaded)
}

/// Stock is laid down with more room in each page than its fillfactor says. A page is cleared of dead rows when
/// it has less room than that: laid down as full as that, it would be at every access after the first update.
const LOOSE: &str = "ALTER TABLE shop.inventory SET (fillfactor = 60)";
/// As queries/system/02_shop.sql has it.
const TIGHT: &str = "ALTER TABLE shop.inventory SET (fillfactor = 90)";

/// Counters go on behind the last number. The commit waits for the disk, and with it for all that was loaded:
/// before that, nothing can be marked as seen by everybody.
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

/// Whoever reads first would have to mark every row as committed, and write it again.
const VACUUM: &str = "VACUUM (ANALYZE) shop.users, shop.categories, shop.products, shop.inventory, shop.orders, \
                      shop.order_items, shop.payments, shop.shipments, shop.user_events";

impl Loaded {
    fn add(&mut self, part: Self) {
        self.orders += part.orders;
        self.items += part.items;
        self.rows += part.rows;
    }
}

/// Parts that nobody has begun: number and hours.
type Missing = Arc<Mutex<VecDeque<(usize, Range<usize>)>>>;

/// Loads parts until there are none, or one fails; that empties the list for all.
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

/// How rows are loaded without that every row is looked at: references are right by construction, and the
/// summaries are filled afterwards. A superuser's session switches triggers off for itself. Any other owner
/// switches the capture of inserts off for the transaction, which locks other writers out: one session loads.
/// References are checked then, and it takes several times longer.
#[derive(Clone, Debug)]
struct Way {
    /// session_replication_role, where it may be set.
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

    /// A session that loads. What is lost with the server's memory is a part and the note of it together.
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
