//! Serves the latest samples over HTTP: to Prometheus, and to the page, whose events are those of [`live`]. Each
//! connection has its own task, and requests are answered between two events, so that a slow client holds up nothing.

mod access;
mod live;

use super::clock::wall_clock;
use super::headless::Headless;
use crate::dashboard::output::{self, prometheus};
use crate::dashboard::rows::Panel;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use live::{READERS, Readers, Stream};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep;

pub(crate) use access::{Access, Token};

/// Maximum number of connections. One more is accepted nevertheless, and an idle one is closed for it: a
/// client with a request is answered regardless of how many are silent.
const CONNECTIONS: usize = 64;
/// Maximum size of a request's head in bytes.
const HEAD: usize = 8 * 1024;
/// Maximum number of header lines.
const HEADER_LINES: usize = 64;
/// Time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the whole connection.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Delay after a failure to accept a connection, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// The header of every answer, and what browsers may do with it: the page loads its own script and style sheet, asks
/// this address, and nothing else.
const HEADERS: [(&str, &str); 6] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
];
const TEXT: &str = "text/plain; charset=utf-8";
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        text: include_str!("../../../page/index.html"),
    },
    Asset {
        path: "/page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("../../../page/page.css"),
    },
    Asset {
        path: "/page.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../../../page/page.js"),
    },
];

/// Subject of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Asset(&'static Asset),
    Metrics,
    Health,
    Live,
    /// Exchanges the token for a cookie.
    Login,
}

impl Subject {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/health" => Some(Self::Health),
            "/live" => Some(Self::Live),
            "/login" => Some(Self::Login),
            _ => ASSETS
                .iter()
                .find(|asset| asset.path == path)
                .map(Self::Asset),
        }
    }
}

/// A question to the task that has the model.
enum Ask {
    Metrics(oneshot::Sender<Answer>),
    Health(oneshot::Sender<Answer>),
    Live {
        /// The id of the last event that the reader has.
        after: Option<String>,
        connection: Arc<Connection>,
        answer: oneshot::Sender<Option<Stream>>,
    },
}

type Content = Either<Full<Bytes>, Stream>;

struct Answer {
    status: StatusCode,
    kind: &'static str,
    content: Content,
}

/// What a connection's task and others know of it.
#[derive(Default)]
struct Connection {
    /// Set once its request has arrived.
    asked: AtomicBool,
    /// Set if it reads events: it stays open.
    reads: AtomicBool,
    /// Closes it.
    hang_up: Notify,
}

/// What all connections share.
struct Door {
    access: Access,
    asks: Sender<Ask>,
}

/// Samples and answers requests until `stop`.
pub(crate) async fn serve(
    mut headless: Headless,
    panels: &[String],
    (listener, access): (TcpListener, Access),
    stop: impl Future<Output = ()>,
) {
    let (asks, mut asked) = channel(CONNECTIONS);
    let accepting = tokio::spawn(accept(listener, Arc::new(Door { access, asks })));
    tokio::pin!(stop);
    let mut responder = Responder {
        panels,
        metrics: None,
    };
    let mut readers = Readers::new(wall_clock().timestamp_millis());
    loop {
        tokio::select! {
            () = &mut stop => break,
            ask = next(&mut asked) => match ask {
                Ask::Metrics(answer) => {
                    let _ = answer.send(responder.metrics(&mut headless));
                }
                Ask::Health(answer) => {
                    let _ = answer.send(health(&headless));
                }
                Ask::Live { after, connection, answer } => {
                    let stream = readers.join(&headless.model, after.as_deref(), connection);
                    let _ = answer.send(stream);
                }
            },
            () = headless.step() => readers.look(&headless.model),
        }
        headless.ask_also(Panel::StreamWindows, readers.any());
    }
    accepting.abort();
    headless.end().await;
}

async fn next(asked: &mut Receiver<Ask>) -> Ask {
    match asked.recv().await {
        Some(ask) => ask,
        None => std::future::pending().await,
    }
}

/// Answers requests; keeps the text until the model changes.
struct Responder<'a> {
    panels: &'a [String],
    metrics: Option<Bytes>,
}

impl Responder<'_> {
    fn metrics(&mut self, headless: &mut Headless) -> Answer {
        let model = &mut headless.model;
        // The text is rendered only once per change of the model.
        let fresh = self.metrics.as_ref().filter(|_| !model.dirty).cloned();
        let text = if let Some(text) = fresh {
            text
        } else {
            let sheets = if self.panels.is_empty() {
                output::default_sheets(model)
            } else {
                output::sheets(model, self.panels)
            };
            let Ok(text) = prometheus::text(model, &sheets) else {
                let why = "the metrics cannot be written\n";
                return plain(StatusCode::INTERNAL_SERVER_ERROR, why);
            };
            model.dirty = false;
            Bytes::from(text)
        };
        self.metrics = Some(text.clone());
        whole(StatusCode::OK, prometheus::CONTENT_TYPE, text)
    }
}

fn health(headless: &Headless) -> Answer {
    match output::unmeasured(&headless.model) {
        None => plain(StatusCode::OK, "ok\n"),
        Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn whole(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    Answer {
        status,
        kind,
        content: Either::Left(Full::new(text.into())),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, TEXT, text)
}

/// A connection and its task.
struct Guest {
    connection: Arc<Connection>,
    task: AbortHandle,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                guests.retain(|guest| !guest.task.is_finished());
                if guests.len() >= CONNECTIONS {
                    make_room(&mut guests);
                }
                let connection = Arc::new(Connection::default());
                let conversation = converse(stream, Arc::clone(&door), Arc::clone(&connection));
                let task = tokio::spawn(conversation).abort_handle();
                guests.push_back(Guest { connection, task });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Closes the oldest connection without a request, or else the oldest that does not read events: those are fewer than
/// the connections.
fn make_room(guests: &mut VecDeque<Guest>) {
    let silent = |guest: &Guest| !guest.connection.asked.load(Ordering::Relaxed);
    let brief = |guest: &Guest| !guest.connection.reads.load(Ordering::Relaxed);
    let place = guests.iter().position(silent);
    let place = place.or_else(|| guests.iter().position(brief)).unwrap_or(0);
    if let Some(guest) = guests.remove(place) {
        guest.task.abort();
    }
}

/// Serves one request. Errors are the client's, so they are not reported.
async fn converse(stream: TcpStream, door: Arc<Door>, connection: Arc<Connection>) {
    let service = service_fn(|request| {
        connection.asked.store(true, Ordering::Relaxed);
        respond(request, Arc::clone(&door), Arc::clone(&connection))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .max_headers(HEADER_LINES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let time_up = async {
        sleep(TIMEOUT).await;
        if connection.reads.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = served => {}
        () = time_up => {}
        () = connection.hang_up.notified() => {}
    }
}

async fn respond(
    request: Request<Incoming>,
    door: Arc<Door>,
    connection: Arc<Connection>,
) -> Result<Response<Content>, Infallible> {
    let answer = answer(&request, &door, connection).await;
    let mut response = Response::new(answer.content);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let (name, value) = match answer.status {
        StatusCode::METHOD_NOT_ALLOWED => (header::ALLOW, "GET, HEAD"),
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::NO_CONTENT => {
            headers.remove(header::CONTENT_TYPE);
            headers.extend(door.access.set_cookie().map(|it| (header::SET_COOKIE, it)));
            return Ok(response);
        }
        _ => return Ok(response),
    };
    headers.insert(name, HeaderValue::from_static(value));
    Ok(response)
}

async fn answer(request: &Request<Incoming>, door: &Door, connection: Arc<Connection>) -> Answer {
    let Some(subject) = Subject::of(request.uri().path()) else {
        let what = "use GET /, GET /live, GET /metrics or GET /health\n";
        return plain(StatusCode::NOT_FOUND, what);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    if let Err(refusal) = door.access.admit(subject, request.headers()) {
        return plain(refusal.status, refusal.why);
    }
    let answer = match subject {
        Subject::Asset(asset) => Some(whole(StatusCode::OK, asset.kind, asset.text)),
        Subject::Login => Some(plain(StatusCode::NO_CONTENT, "")),
        Subject::Metrics => door.ask(Ask::Metrics).await,
        Subject::Health => door.ask(Ask::Health).await,
        Subject::Live if *request.method() == Method::HEAD => {
            Some(whole(StatusCode::OK, EVENTS, ""))
        }
        Subject::Live => read(request, door, connection).await,
    };
    answer.unwrap_or_else(|| plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"))
}

impl Door {
    /// Asks the task that has the model; returns `None` if it has ended.
    async fn ask<T>(&self, about: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(about(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// Answers with the events.
async fn read(
    request: &Request<Incoming>,
    door: &Door,
    connection: Arc<Connection>,
) -> Option<Answer> {
    let after = request.headers().get("last-event-id");
    let after = after.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let reader = Arc::clone(&connection);
    let ask = |answer| Ask::Live {
        after,
        connection: reader,
        answer,
    };
    let Some(stream) = door.ask(ask).await? else {
        let why = format!("all {READERS} places are taken: try again later\n");
        return Some(plain(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    connection.reads.store(true, Ordering::Relaxed);
    Some(Answer {
        status: StatusCode::OK,
        kind: EVENTS,
        content: Either::Right(stream),
    })
}
