//! Group commit: orders that arrive at nearly the same time share a transaction.

use super::error::refusal;
use super::place::Request;
use super::{Commit, OrderError};
use crate::pg::{Answer, Class, Param, PgError, Pool, Statement};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::sleep;

/// Maximum number of orders in a transaction.
const MOST: usize = 16;
/// Time that the first order waits for others.
const WAIT: Duration = Duration::from_millis(2);
/// Transactions in progress at once. More would only wait for each other's products.
const UNDER_WAY: usize = 4;

const CREATE_MANY: Statement = Statement {
    name: "create_orders",
    types: &[
        "bigint[]",
        "integer[]",
        "bigint[]",
        "bigint[]",
        "text[]",
        "text",
    ],
    sql: "SELECT o.*, set_config('synchronous_commit', $6, true) FROM shop.create_orders($1, $2, $3, $4, $5) AS o",
};

/// An order that waits for its transaction.
struct Entry {
    request: Request,
    commit: Commit,
    reply: oneshot::Sender<Result<i64, OrderError>>,
}

/// Collects orders into groups. The task that collects them starts with the first order.
#[derive(Debug)]
pub(super) struct Group {
    pool: Pool,
    entrance: OnceLock<mpsc::Sender<Entry>>,
}

impl Group {
    pub(super) fn new(pool: Pool) -> Self {
        let entrance = OnceLock::new();
        Self { pool, entrance }
    }

    pub(super) async fn create(
        &self,
        request: &Request,
        commit: Commit,
    ) -> Result<i64, OrderError> {
        let (reply, replied) = oneshot::channel();
        let entry = Entry {
            request: request.clone(),
            commit,
            reply,
        };
        let entrance = self.entrance.get_or_init(|| {
            let (entrance, entries) = mpsc::channel(MOST * UNDER_WAY);
            tokio::spawn(collect(self.pool.clone(), entries));
            entrance
        });
        let gone = || OrderError::Server(PgError::new(Class::Reconnect, "group commit ended"));
        entrance.send(entry).await.map_err(|_| gone())?;
        replied.await.map_err(|_| gone())?
    }
}

async fn collect(pool: Pool, mut entries: mpsc::Receiver<Entry>) {
    let slots = Arc::new(Semaphore::new(UNDER_WAY));
    // Take a slot before collecting: orders that arrive while all slots are taken then form a full group at once.
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Some(first) = entries.recv().await else {
            return;
        };
        let mut closing = pin!(sleep(WAIT));
        let mut group = Vec::with_capacity(MOST);
        group.push(first);
        while group.len() < MOST {
            tokio::select! {
                biased;
                entry = entries.recv() => match entry {
                    Some(entry) => group.push(entry),
                    None => break,
                },
                () = &mut closing => break,
            }
        }
        let pool = pool.clone();
        tokio::spawn(async move {
            let outcomes = create(&pool, &group).await;
            for (entry, outcome) in group.into_iter().zip(outcomes) {
                // The receiver may have stopped waiting.
                let _ = entry.reply.send(outcome);
            }
            drop(slot);
        });
    }
}

/// Returns the outcome of each order of the group.
async fn create(pool: &Pool, group: &[Entry]) -> Vec<Result<i64, OrderError>> {
    match try_create(pool, group).await {
        Ok(answer) => group
            .iter()
            .zip(0..)
            .map(|(entry, row)| outcome(&entry.request, &answer, row))
            .collect(),
        Err(error) => group.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn try_create(pool: &Pool, group: &[Entry]) -> Result<Answer, OrderError> {
    let session = pool.get().await?;
    let mut line_of = Vec::new();
    let (mut products, mut quantities) = (Vec::new(), Vec::new());
    for (entry, ordinal) in group.iter().zip(1_i64..) {
        line_of.extend(entry.request.products.iter().map(|_| ordinal));
        products.extend_from_slice(&entry.request.products);
        quantities.extend_from_slice(&entry.request.quantities);
    }
    let users: Vec<i64> = group.iter().map(|entry| entry.request.user).collect();
    let keys: Vec<Option<&str>> = group
        .iter()
        .map(|entry| entry.request.key.as_deref())
        .collect();
    let keyed = keys.iter().any(Option::is_some);
    // One order that needs a synchronous commit decides for all.
    let commit = if group.iter().all(|e| e.commit == Commit::Asynchronous) {
        Commit::Asynchronous
    } else {
        Commit::Synchronous
    };
    let params = [
        Param::Ints(&users),
        Param::Ints(&line_of),
        Param::Ints(&products),
        Param::Ints(&quantities),
        if keyed {
            Param::MaybeTexts(&keys)
        } else {
            Param::MaybeText(None)
        },
        commit.param(),
    ];
    Ok(session.run(&CREATE_MANY, &params).await?)
}

fn outcome(request: &Request, answer: &Answer, row: usize) -> Result<i64, OrderError> {
    let text = |name| answer.text(row, name);
    match (answer.int(row, "order_id"), text("sqlstate")) {
        (Some(order), None) => Ok(order),
        (_, Some(code)) => {
            let refused = PgError {
                sqlstate: Some(code.into()),
                detail: text("detail").map(Into::into),
                ..PgError::new(Class::Statement, text("message").unwrap_or_default())
            };
            Err(refusal(refused, request.user, request.key.as_deref()))
        }
        (None, None) => Err(OrderError::Invalid(
            "the server's answer lacks an order".to_owned(),
        )),
    }
}
