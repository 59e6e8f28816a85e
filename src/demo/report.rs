//! Output of a demo without a screen: JSON lines for the dashboard, sentences for people.

use crate::cluster::ClusterError;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::time::Instant;

/// Connection parameters of a demo that is ready.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ready {
    /// Folder of the socket.
    pub host: String,
    /// Port in the socket's name.
    pub port: u16,
    /// Name of the database.
    pub dbname: &'static str,
    /// Role of the dashboard.
    pub user: &'static str,
    /// Role of the dashboard's OLAP pool.
    pub olap_user: &'static str,
    /// Major version of the server.
    pub major: u16,
    /// Port of 127.0.0.1, if one was requested.
    pub listen: Option<u16>,
    /// Password of the roles for TCP.
    pub password: Option<String>,
    /// The replica, if there is one.
    pub replica: Option<Socket>,
    /// The stream, if it was requested.
    pub stream: Option<Streamed>,
}

/// What the stream runs on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Streamed {
    /// The broker; `None`: there is none.
    pub broker: Option<String>,
    /// The topic.
    pub topic: &'static str,
    /// Why it is not on Apache Kafka, or not at all, and what to do.
    pub note: Option<String>,
}

/// Place of a server's socket.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Socket {
    /// Its folder.
    pub host: String,
    /// Port in its name.
    pub port: u16,
}

/// Writes reports. Ignores write errors: the end of the reader is detected by other means.
pub(super) struct Report<'a, W: Write> {
    out: &'a mut W,
    json: bool,
    start: Instant,
}

impl<'a, W: Write> Report<'a, W> {
    #[expect(clippy::disallowed_methods, reason = "tells how long the start took")]
    pub(super) fn new(out: &'a mut W, json: bool) -> Self {
        let start = Instant::now();
        Self { out, json, start }
    }

    pub(super) fn progress(&mut self, share: f64, doing: &str) {
        let elapsed_s = (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        if self.json {
            let progress = (share * 1000.0).round() / 1000.0;
            self.line(
                &json!({"progress": progress, "doing": doing, "elapsed_s": elapsed_s}).to_string(),
            );
        } else {
            self.line(&format!("{elapsed_s:5.1} s  {doing}"));
        }
    }

    /// Tells people what went wrong without ending the demo. A dashboard shows it by itself.
    pub(super) fn note(&mut self, what: &str) {
        if !self.json {
            self.line(&format!("Note: {what}"));
        }
    }

    pub(super) fn error(&mut self, error: &ClusterError) {
        if self.json {
            self.line(&json!({"error": error.to_string()}).to_string());
        }
    }

    /// Reports that the demo is ready. `schedule` lists the coming troubles, if there are any.
    pub(super) fn ready(&mut self, ready: &Ready, schedule: &str) {
        if self.json {
            self.line(&json!({"ready": ready}).to_string());
            return;
        }
        self.progress(1.0, "ready");
        let Ready {
            host, port, dbname, ..
        } = ready;
        self.line(&format!(
            "\nPostgreSQL {} with the database {dbname}, under load. Ctrl-C ends it and leaves nothing \
             behind.\n\x20 htap-top 'host={host} port={port} dbname={dbname} user={}'\n\x20 psql -h {host} -p \
             {port} -U {} {dbname}",
            ready.major, ready.user, ready.user
        ));
        if let (Some(tcp), Some(password)) = (ready.listen, &ready.password) {
            self.line(&format!(
                "  psql 'host=127.0.0.1 port={tcp} dbname={dbname} user={} password={password}'",
                ready.user
            ));
        }
        if let Some(Socket { host, port }) = &ready.replica {
            self.line(&format!(
                "Its replica, with slot and bounded WAL:\n\x20 psql -h {host} -p {port} -U {} {dbname}\n\x20 htap-top \
                 'host={} port={} dbname={dbname} user={}' --olap 'host={host} port={port} dbname={dbname} user={}'",
                ready.olap_user, ready.host, ready.port, ready.user, ready.olap_user
            ));
        }
        if let Some(Streamed {
            broker: Some(broker),
            topic,
            ..
        }) = &ready.stream
        {
            self.line(&format!(
                "Its stream: orders go through topic {topic} of {broker} into mart.realtime_stream. The same in a browser:\n\x20 \
                 htap-top serve 'host={host} port={port} dbname={dbname} user={}'",
                ready.user
            ));
        }
        if let Some(note) = ready
            .stream
            .as_ref()
            .and_then(|stream| stream.note.as_ref())
        {
            self.note(note);
        }
        self.line(&format!(
            "Its server log is {host}/postgres.log; fsync, full_page_writes and synchronous_commit are off."
        ));
        if !schedule.is_empty() {
            self.line(&format!("\n{schedule}"));
        }
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}
