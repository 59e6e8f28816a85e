//! Serves the latest samples over HTTP. Each connection has its own task, and requests are answered between
//! two events, so that a slow client holds up nothing.

use super::headless::Headless;
use crate::dashboard::output::{self, prometheus};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

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

/// Subject of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Metrics,
    Health,
}

struct Ask {
    about: About,
    answer: oneshot::Sender<Answer>,
}

struct Answer {
    status: StatusCode,
    kind: &'static str,
    text: Bytes,
}

/// Samples and answers requests until `stop`.
pub(crate) async fn serve(
    mut headless: Headless,
    panels: &[String],
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let (asks, mut asked) = channel(CONNECTIONS);
    let door = tokio::spawn(accept(listener, asks));
    tokio::pin!(stop);
    let mut responder = Responder {
        panels,
        metrics: None,
    };
    loop {
        tokio::select! {
            () = &mut stop => break,
            ask = next(&mut asked) => {
                let answer = responder.answer(&mut headless, ask.about);
                let _ = ask.answer.send(answer);
            }
            () = headless.step() => {}
        }
    }
    door.abort();
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
    fn answer(&mut self, headless: &mut Headless, about: About) -> Answer {
        let model = &mut headless.model;
        match about {
            About::Health => match output::unmeasured(model) {
                None => plain(StatusCode::OK, "ok\n".into()),
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n").into()),
            },
            About::Metrics => {
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
                        return plain(StatusCode::INTERNAL_SERVER_ERROR, why.into());
                    };
                    model.dirty = false;
                    Bytes::from(text)
                };
                self.metrics = Some(text.clone());
                Answer {
                    status: StatusCode::OK,
                    kind: prometheus::CONTENT_TYPE,
                    text,
                }
            }
        }
    }
}

fn plain(status: StatusCode, text: Bytes) -> Answer {
    Answer {
        status,
        kind: "text/plain; charset=utf-8",
        text,
    }
}

/// A connection.
struct Guest {
    /// Set once its request has arrived.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

async fn accept(listener: TcpListener, asks: Sender<Ask>) {
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                guests.retain(|guest| !guest.task.is_finished());
                if guests.len() >= CONNECTIONS {
                    make_room(&mut guests);
                }
                let asked = Arc::new(AtomicBool::new(false));
                let conversation = converse(stream, asks.clone(), Arc::clone(&asked));
                let task = tokio::spawn(timeout(TIMEOUT, conversation)).abort_handle();
                guests.push_back(Guest { asked, task });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Closes the oldest connection without a request, or else the oldest.
fn make_room(guests: &mut VecDeque<Guest>) {
    let silent = |guest: &Guest| !guest.asked.load(Ordering::Relaxed);
    let place = guests.iter().position(silent).unwrap_or(0);
    if let Some(guest) = guests.remove(place) {
        guest.task.abort();
    }
}

/// Serves one request. Errors are the client's, so they are not reported.
async fn converse(stream: TcpStream, asks: Sender<Ask>, asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        respond(request, asks.clone())
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .max_headers(HEADER_LINES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    asks: Sender<Ask>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let about = match request.uri().path() {
        "/metrics" if reads => Some(About::Metrics),
        "/health" if reads => Some(About::Health),
        _ => None,
    };
    let answer = match about {
        None => plain(
            StatusCode::NOT_FOUND,
            "use GET /metrics or GET /health\n".into(),
        ),
        Some(about) => {
            let (answer, answered) = oneshot::channel();
            let asked = asks.send(Ask { about, answer }).await;
            match (asked, answered.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".into()),
            }
        }
    };
    let mut response = Response::new(Full::new(answer.text));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
