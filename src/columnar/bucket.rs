//! Objects of a bucket that speaks Amazon's S3 protocol: `rusty-s3` signs, `hyper` sends. Credentials and address come from the
//! environment variables that Amazon's own programs read.

use super::error::ColumnarError;
use super::file::each_piece;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Request, Response, StatusCode};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openssl::hash::{Hasher, MessageDigest};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket as Signer, Credentials, S3Action, UrlStyle};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Validity of a signed request.
const SIGNED: Duration = Duration::from_secs(300);
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Silence of the server after which a request has failed.
const SILENCE: Duration = Duration::from_secs(30);
/// Pauses before a request is sent again that failed for a reason that may pass.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(3),
];
/// Bytes of a file that are sent at once.
const PIECE: u64 = 256 * 1024;
/// Bytes of an error that are read.
const MOST_OF_ERROR: usize = 16 * 1024;
/// Bytes of a list of objects that are read: a thousand of them take half a megabyte.
const MOST_OF_LIST: usize = 16 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Objects whose keys begin with a prefix.
pub(super) struct Bucket {
    /// Its URL, which ends with `/`.
    pub(super) url: String,
    prefix: String,
    signer: Signer,
    credentials: Credentials,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

/// A failed request.
enum Failed {
    /// It may succeed later.
    Now(String),
    Forever(String),
}

impl Bucket {
    /// A bucket with the credentials of the environment. Sends nothing.
    pub(super) fn open(name: &str, prefix: &str) -> Result<Self, ColumnarError> {
        let url = format!("s3://{name}/{prefix}");
        let refused = |why: String| ColumnarError::Refused(format!("cannot use {url}: {why}"));
        let credentials = Credentials::from_env().ok_or_else(|| {
            refused("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment".to_owned())
        })?;
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
        // Amazon's certificates are for one label before its domain.
        let style = if endpoint.is_some() || name.contains('.') {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let parsed = endpoint.parse();
        let parsed = parsed.map_err(|error| refused(format!("AWS_ENDPOINT_URL: {error}")))?;
        let signer = Signer::new(parsed, style, name.to_owned(), region);
        let signer = signer.map_err(|error| refused(format!("{endpoint}: {error}")))?;
        Ok(Self {
            client: client().map_err(&refused)?,
            prefix: prefix.to_owned(),
            signer,
            credentials,
            url,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// For `map_err`: the error of an operation on an object, or on all.
    fn failed(&self, verb: &str, name: &str) -> impl FnOnce(String) -> ColumnarError {
        let what = format!("{verb} {}{name}", self.url);
        move |why| ColumnarError::File {
            what,
            source: std::io::Error::other(why),
        }
    }

    /// Writes an object: all of the file, which has so many bytes.
    pub(super) async fn put(
        &self,
        name: &str,
        file: &File,
        bytes: u64,
    ) -> Result<(), ColumnarError> {
        let failed = || self.failed("write", name);
        let sum = md5(file).map_err(|error| failed()(error.to_string()))?;
        let key = self.key(name);
        let url = self.signer.put_object(Some(&self.credentials), &key);
        let url = url.sign(SIGNED);
        let sent = self.send(Method::PUT, url.as_str(), || {
            let body = sent(file.try_clone()?, bytes);
            Ok((
                body,
                vec![
                    ("content-length", bytes.to_string()),
                    ("content-md5", sum.clone()),
                ],
            ))
        });
        let answer = sent.await.map_err(failed())?;
        need(answer, &[StatusCode::OK]).await.map_err(failed())?;
        Ok(())
    }

    /// Reads an object into a temporary file of this folder; `None` if there is none.
    pub(super) async fn get(
        &self,
        name: &str,
        folder: &Path,
    ) -> Result<Option<File>, ColumnarError> {
        let failed = || self.failed("read", name);
        let key = self.key(name);
        let url = self.signer.get_object(Some(&self.credentials), &key);
        let url = url.sign(SIGNED);
        let mut pauses = PAUSES.iter();
        loop {
            let answer = self.send(Method::GET, url.as_str(), nothing).await;
            let answer = answer.map_err(failed())?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let answer = need(answer, &[StatusCode::OK]).await.map_err(failed())?;
            let file = tempfile::tempfile_in(folder);
            let mut file =
                file.map_err(ColumnarError::file("write a temporary file in", folder))?;
            match received(answer, &mut file).await {
                Ok(()) => return Ok(Some(file)),
                Err(Failed::Forever(why)) => {
                    return Err(ColumnarError::file("write a temporary file in", folder)(
                        std::io::Error::other(why),
                    ));
                }
                Err(Failed::Now(why)) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(failed()(why)),
                },
            }
        }
    }

    /// Removes an object, if it is there.
    pub(super) async fn delete(&self, name: &str) -> Result<(), ColumnarError> {
        let failed = || self.failed("remove", name);
        let key = self.key(name);
        let url = self.signer.delete_object(Some(&self.credentials), &key);
        let url = url.sign(SIGNED);
        let answer = self.send(Method::DELETE, url.as_str(), nothing).await;
        let answer = answer.map_err(failed())?;
        let gone = [
            StatusCode::OK,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_FOUND,
        ];
        need(answer, &gone).await.map_err(failed())?;
        Ok(())
    }

    /// Names and sizes of all objects.
    pub(super) async fn list(&self) -> Result<BTreeMap<String, u64>, ColumnarError> {
        let failed = || self.failed("list", "");
        let (mut all, mut token) = (BTreeMap::new(), None);
        loop {
            let mut url = self.signer.list_objects_v2(Some(&self.credentials));
            url.with_prefix(self.prefix.as_str());
            if let Some(token) = token {
                url.with_continuation_token(token);
            }
            let url = url.sign(SIGNED);
            let answer = self.send(Method::GET, url.as_str(), nothing).await;
            let answer = answer.map_err(failed())?;
            let answer = need(answer, &[StatusCode::OK]).await.map_err(failed())?;
            let text = text(answer, MOST_OF_LIST).await.map_err(failed())?;
            let listed = ListObjectsV2::parse_response(&text);
            let listed = listed.map_err(|error| failed()(format!("unknown answer: {error}")))?;
            for object in listed.contents {
                if let Some(name) = object.key.strip_prefix(&self.prefix) {
                    all.insert(name.to_owned(), object.size.unwrap_or_default());
                }
            }
            token = listed.next_continuation_token;
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Sends a request, again if the server is busy or cannot be reached. Returns what the server answers.
    async fn send(
        &self,
        method: Method,
        url: &str,
        body: impl Fn() -> std::io::Result<(Body, Vec<(&'static str, String)>)>,
    ) -> Result<Response<Incoming>, String> {
        let mut pauses = PAUSES.iter();
        loop {
            let why = match self.send_once(&method, url, &body).await {
                Ok(answer) if !may_pass(answer.status()) => return Ok(answer),
                Ok(answer) => said(answer).await,
                Err(Failed::Now(why)) => why,
                Err(Failed::Forever(why)) => return Err(why),
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(why),
            }
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &str,
        body: impl Fn() -> std::io::Result<(Body, Vec<(&'static str, String)>)>,
    ) -> Result<Response<Incoming>, Failed> {
        let (body, headers) = body().map_err(|error| Failed::Forever(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body);
        let request = request.map_err(|error| Failed::Forever(error.to_string()))?;
        // The time of sending is bounded by the transport, which notices when nothing is acknowledged.
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        // Half a megabyte per second is the slowest link on which a file is sent.
        let limit = SILENCE + Duration::from_secs(length.unwrap_or_default() >> 19);
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failed::Now(chain(&error))),
            Err(_) => Err(Failed::Now(format!(
                "no answer within {} s",
                limit.as_secs()
            ))),
        }
    }
}

/// An HTTP client that trusts the system's certificates.
fn client() -> Result<Client<HttpsConnector<HttpConnector>, Body>, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    http.set_nodelay(true);
    let tls = crate::pg::system_tls().map_err(|error| error.to_string())?;
    let https = HttpsConnector::with_connector(http, tls).map_err(|error| error.to_string())?;
    Ok(Client::builder(TokioExecutor::new()).build(https))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[expect(clippy::unnecessary_wraps, reason = "as the body of a file")]
fn nothing() -> std::io::Result<(Body, Vec<(&'static str, String)>)> {
    let body = Empty::new().map_err(|never| match never {});
    Ok((body.boxed_unsync(), Vec::new()))
}

/// A file as the body of a request.
fn sent(file: File, bytes: u64) -> Body {
    let pieces = try_unfold((file, 0), move |(file, at): (File, u64)| async move {
        if at == bytes {
            return Ok::<_, std::io::Error>(None);
        }
        let length = PIECE.min(bytes - at);
        let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut piece, at)?;
        Ok(Some((Frame::data(Bytes::from(piece)), (file, at + length))))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// Writes the body of an answer to a file.
async fn received(answer: Response<Incoming>, file: &mut File) -> Result<(), Failed> {
    let mut body = answer.into_body();
    while let Some(frame) = frame(&mut body).await.map_err(Failed::Now)? {
        file.write_all(&frame)
            .map_err(|error| Failed::Forever(error.to_string()))?;
    }
    Ok(())
}

/// The next piece of a body; `None` at its end.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        if body.is_end_stream() {
            return Ok(None);
        }
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(error))) => return Err(chain(&error)),
            Err(_) => return Err(format!("silent for {} s", SILENCE.as_secs())),
        }
    }
}

async fn text(answer: Response<Incoming>, most: usize) -> Result<String, String> {
    let (mut body, mut all) = (answer.into_body(), Vec::new());
    while let Some(piece) = frame(&mut body).await? {
        all.extend_from_slice(&piece);
        if all.len() > most {
            return Err("an answer that is too long".to_owned());
        }
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

async fn need(
    answer: Response<Incoming>,
    wanted: &[StatusCode],
) -> Result<Response<Incoming>, String> {
    if wanted.contains(&answer.status()) {
        Ok(answer)
    } else {
        Err(said(answer).await)
    }
}

/// What an answer says is wrong: code and message of S3's XML.
async fn said(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let text = text(answer, MOST_OF_ERROR).await.unwrap_or_default();
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (part, _) = rest.split_once("</")?;
        (!part.is_empty()).then(|| part.to_owned())
    };
    match (part("Code"), part("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => format!("the server answered {status}"),
    }
}

/// The MD5 of a file in Base64, by which the server knows that it has got all of it.
fn md5(file: &File) -> std::io::Result<String> {
    let mut hasher = Hasher::new(MessageDigest::md5())?;
    each_piece(file, |piece| Ok(hasher.update(piece)?))?;
    Ok(openssl::base64::encode_block(&hasher.finish()?))
}
