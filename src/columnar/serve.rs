//! `htap-top columnar serve`: PostgreSQL's protocol, so that psql and other programs ask the column store.
//!
//! - A client logs in with a role of PostgreSQL and its password, which PostgreSQL itself verifies (`login`), and all that
//!   it asks runs in a session of this role.
//! - `talk` answers its requests, read and written by `wire`. `command` reads a statement: what PostgreSQL says of it
//!   (types and names of columns, parameters) is asked of PostgreSQL, and its rows come from [`Columnar`]; `portal` has its
//!   parameters and rows, whose bytes `values` knows; `execute` runs it, under what `interrupt` watches. `variables` are the settings of the
//!   session.
//! - `fault` gives errors their SQLSTATE.

mod command;
mod execute;
mod fault;
mod interrupt;
mod login;
mod portal;
mod talk;
mod values;
mod variables;

mod wire;

use super::engine;
use super::error::ColumnarError;
use super::options::Options;
use super::store::Columnar;
use crate::pg::Target;
use fault::{Fault, fault};
use login::Wanted;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use talk::Talk;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wire::Wire;

/// Time in which a client must log in.
const LOGIN: Duration = Duration::from_secs(10);
/// Connections beyond those of sessions: those that log in, or cancel a statement.
const OTHERS: usize = 50;
/// Time for which a client waits until one that goes has given up its place.
const YIELD: Duration = Duration::from_millis(250);
/// Time in which sessions end.
const GRACE: Duration = Duration::from_secs(5);

/// Listens at an address of this machine alone.
///
/// # Errors
/// The address is another machine's to reach, or in use.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ColumnarError> {
    if !address.ip().is_loopback() {
        return Err(ColumnarError::Refused(format!(
            "passwords would cross the network in clear text, so columnar serve does not listen on {address}: use 127.0.0.1 \
             or [::1], and an SSH tunnel for other machines"
        )));
    }
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ColumnarError::File {
        what: format!("listen on {address}"),
        source,
    })
}

/// What all connections share.
struct Shared {
    target: Target,
    options: Options,
    columnar: Columnar,
    sessions: Semaphore,
    /// For each session, its secret, and how its statement is canceled.
    running: Mutex<BTreeMap<i32, (i32, Arc<Notify>)>>,
}

/// Serves clients until `stop`, at most so many at a time. The memory of `options` is for all of them.
///
/// # Errors
/// The folder of temporary files cannot be used.
pub async fn serve(
    target: &Target,
    options: &Options,
    (listener, most): (TcpListener, usize),
    stop: impl Future<Output = ()>,
) -> Result<(), ColumnarError> {
    let shared = Arc::new(Shared {
        target: target.clone(),
        options: options.clone(),
        columnar: Columnar::open(target, options)?,
        sessions: Semaphore::new(most),
        running: Mutex::default(),
    });
    let threads = engine::threads()?;
    let (tell, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < most + OTHERS => {
                    let connection = connection(Arc::clone(&shared), stream, told.clone());
                    connections.spawn_on(connection, threads);
                }
                Ok(_) => {}
                // No more files can be opened, perhaps.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
        }
    }
    drop(listener);
    let _ = tell.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(GRACE, ended).await;
    connections.shutdown().await;
    Ok(())
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, stop: watch::Receiver<bool>) {
    let mut wire = Wire::new(stream);
    let wanted = timeout(LOGIN, login::wanted(&mut wire)).await;
    match wanted {
        Ok(Ok(Wanted::Cancel(number, secret))) => shared.cancel(number, secret),
        Ok(Ok(Wanted::Session(startup))) => {
            Box::pin(session(&shared, wire, &startup, stop)).await;
        }
        Ok(Err(why)) => login::farewell(&mut wire, why).await,
        // Too slow.
        Err(_) => {}
    }
}

async fn session(
    shared: &Shared,
    mut wire: Wire,
    startup: &login::Startup,
    stop: watch::Receiver<bool>,
) {
    // A client that has just gone may not have given up its place yet.
    let place = timeout(YIELD, shared.sessions.acquire()).await;
    let Ok(Ok(_place)) = place else {
        let why = "sorry, too many clients already: see --connections";
        return login::farewell(&mut wire, fault("53300", why)).await;
    };
    let work = login::login(&mut wire, startup, (&shared.target, &shared.options));
    let (session, variables) = match timeout(LOGIN, Box::pin(work)).await {
        Ok(Ok(session)) => session,
        Ok(Err(why)) => return login::farewell(&mut wire, why).await,
        Err(_) => return,
    };
    let cancel = Arc::new(Notify::new());
    let number = shared.register(&mut wire, &cancel);
    let columnar = shared.columnar.clone();
    let limits = (variables, shared.options.timeout);
    let mut talk = Talk::new((wire, stop), columnar, session, limits, cancel);
    let ended: Result<(), Fault> = Box::pin(talk.run()).await;
    shared.forget(number);
    if let Err(why) = ended {
        login::farewell(&mut talk.wire, why).await;
    }
}

impl Shared {
    /// Gives a session its number and secret, and tells the client.
    fn register(&self, wire: &mut Wire, cancel: &Arc<Notify>) -> i32 {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = rand::random();
        let number = loop {
            let number = rand::random_range(1..i32::MAX);
            if !running.contains_key(&number) {
                break number;
            }
        };
        running.insert(number, (secret, Arc::clone(cancel)));
        wire.add(b'K', |out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&i32::to_be_bytes(secret));
        });
        number
    }

    fn forget(&self, number: i32) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&number);
    }

    /// Cancels the statement of a session.
    fn cancel(&self, number: i32, secret: i32) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, cancel)) = running.get(&number)
            && *known == secret
        {
            cancel.notify_one();
        }
    }
}
