//! Sessions that make a database interesting: they wait, hold and refresh.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use crate::it::server::{Database, pid, until_waiting};
use htap_top::pg::{Client, PgError};
use tokio::task::JoinHandle;

/// Sessions that run until this is dropped.
pub struct Situations {
    /// Idle in a REPEATABLE READ transaction with a snapshot.
    pub reader_pid: i64,
    /// Idle in a transaction with a write that another session waits for.
    pub writer_pid: i64,
    /// Idle in a READ COMMITTED transaction that has written nothing.
    pub idle_pid: i64,
    /// Name of a prepared transaction.
    pub prepared: String,
    /// Name of a logical slot.
    pub slot: String,
    writer: Client,
    reader: Client,
    idle: Client,
    gate: Client,
    waiting: Vec<JoinHandle<Result<(), PgError>>>,
}

impl Situations {
    #[expect(clippy::too_many_lines, reason = "one story")]
    pub async fn make(database: &Database<'_>) -> Self {
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE public.busy (id int PRIMARY KEY, n int); INSERT INTO public.busy VALUES (1, 0), (2, 0);
                 CREATE MATERIALIZED VIEW public.gated AS
                     SELECT id FROM public.busy, pg_advisory_xact_lock_shared(42) WHERE id > 0;
                 CREATE TABLE public.indexed AS SELECT 1 AS id;
                 CREATE FUNCTION public.gate(int) RETURNS int LANGUAGE sql IMMUTABLE
                     AS 'SELECT 1 FROM pg_advisory_xact_lock_shared(42)'",
            )
            .await
            .unwrap();
        let connect = || database.connect();
        let (writer, waiter, reader, idle) = (
            connect().await,
            connect().await,
            connect().await,
            connect().await,
        );
        let (gate, refresher, indexer) = (connect().await, connect().await, connect().await);
        let (prepared, slot) = (
            format!("p_{}", database.name),
            format!("s_{}", database.name),
        );
        // Before any write, because creating a slot waits for all writers.
        admin
            .batch(&format!(
                "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
            ))
            .await
            .unwrap();
        let (reader_pid, writer_pid, idle_pid) =
            (pid(&reader).await, pid(&writer).await, pid(&idle).await);
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.busy")
            .await
            .unwrap();
        writer
            .batch("BEGIN; UPDATE public.busy SET n = 1 WHERE id = 1")
            .await
            .unwrap();
        idle.batch("BEGIN; SELECT 1").await.unwrap();
        gate.batch("SELECT pg_advisory_lock(42)").await.unwrap();
        admin
            .batch(&format!(
                "BEGIN; UPDATE public.busy SET n = 2 WHERE id = 2; PREPARE TRANSACTION '{prepared}'"
            ))
            .await
            .unwrap();
        let (blocked_pid, refresher_pid) = (pid(&waiter).await, pid(&refresher).await);
        let indexer_pid = pid(&indexer).await;
        let waiting = vec![
            tokio::spawn(async move {
                waiter
                    .batch("UPDATE public.busy SET n = 3 WHERE id = 1")
                    .await
            }),
            tokio::spawn(async move {
                refresher
                    .batch("REFRESH MATERIALIZED VIEW public.gated")
                    .await
            }),
            tokio::spawn(async move {
                indexer
                    .batch("CREATE INDEX ON public.indexed (public.gate(id))")
                    .await
            }),
        ];
        until_waiting(&admin, blocked_pid).await;
        until_waiting(&admin, refresher_pid).await;
        until_waiting(&admin, indexer_pid).await;
        Self {
            reader_pid,
            writer_pid,
            idle_pid,
            prepared,
            slot,
            writer,
            reader,
            idle,
            gate,
            waiting,
        }
    }

    /// Ends them all; the waiting sessions must have got their turn.
    pub async fn end(&self, admin: &Client) {
        self.writer.batch("COMMIT").await.unwrap();
        self.reader.batch("COMMIT").await.unwrap();
        self.idle.batch("COMMIT").await.unwrap();
        self.gate
            .batch("SELECT pg_advisory_unlock(42)")
            .await
            .unwrap();
        admin
            .batch(&format!("ROLLBACK PREPARED '{}'", self.prepared))
            .await
            .unwrap();
        admin
            .batch(&format!("SELECT pg_drop_replication_slot('{}')", self.slot))
            .await
            .unwrap();
        while !self.waiting.iter().all(JoinHandle::is_finished) {
            crate::it::server::pause().await;
        }
    }
}
